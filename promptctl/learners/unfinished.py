"""Unfinished: how far a long run has come, beside the feature cache, so that the same command goes on after Ctrl-C.

One file for each run, named by the sha256 of everything that decides it; written whole or not at all. It may be deleted
at any time, and one that is damaged is none: the run then starts again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptctl.paths import cache_home
from promptctl.store import files

MOST_KEPT = 8  # runs; those that were left alone longest go first
SUFFIX = ".run"
_SECONDS_OF_A_PART = 3600.0  # by then nobody writes it any more
_SUM_BYTES = 32
_KEY = "facts"
_LARGEST = 1 << 31  # bytes; tokens for every block of the largest tower and a context for each of a thousand classes


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a run has come."""

    arrays: Mapping[str, NDArray[np.float32]]
    facts: Mapping[str, Any] = field(default_factory=dict)  # as JSON has them


def path_of(decides: Mapping[str, Any]) -> Path:
    """The file of a run.

    decides   all that its result depends on, as JSON has it
    """
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return _folder() / f"{key}{SUFFIX}"


def write(path: Path, progress: Progress) -> bool:
    """Whether it is kept; where nothing can be written a run starts again."""
    from safetensors.numpy import save

    data = save(dict(progress.arrays), metadata={_KEY: json.dumps(progress.facts)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(path, hashlib.sha256(data).digest() + data, replace=True)
        _drop_all_but(MOST_KEPT)
        _drop_parts(older_than=_SECONDS_OF_A_PART)
    except OSError:
        return False
    return True


def read(path: Path, like: Mapping[str, NDArray[np.float32]]) -> Progress | None:
    """What was written, if it is whole and has arrays of these names and shapes; None: the run starts from nothing."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        if path.stat().st_size > _LARGEST:
            return None
        whole = path.read_bytes()
        data = whole[_SUM_BYTES:]
        if hashlib.sha256(data).digest() != whole[:_SUM_BYTES]:
            return None
        arrays, length = load(data), int.from_bytes(data[:8], "little")
        facts = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_KEY])
    except (OSError, SafetensorError, ValueError, LookupError, TypeError):
        return None
    shapes = ({name: (array.shape, array.dtype) for name, array in some.items()} for some in (arrays, like))
    return Progress(arrays, facts) if next(shapes) == next(shapes) else None


def remove(path: Path | None) -> None:
    """What comes of the run is stored, or nobody wants it any more."""
    if path is not None:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def count() -> int:
    return len(_all())


def n_bytes() -> int:
    return sum(map(files.size_of, _all()))


def clear() -> None:
    for path in _all():
        remove(path)
    _drop_parts(older_than=0.0)


def _drop_all_but(most: int) -> None:
    def changed(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:  # another command has just removed it
            return 0.0

    for path in sorted(_all(), key=changed, reverse=True)[most:]:
        remove(path)


def _drop_parts(older_than: float) -> None:
    """What commands that were killed while they wrote have left behind; seconds."""
    for path in filter(files.is_part, _inside()):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime >= older_than:
                path.unlink()


def _all() -> list[Path]:
    return [path for path in _inside() if path.suffix == SUFFIX]


def _inside() -> list[Path]:
    try:
        return list(_folder().iterdir())
    except OSError:
        return []


def _folder() -> Path:
    return cache_home() / "unfinished"
