"""Features of images, computed once per content, backbone and preprocessing, and kept."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from promptctl.homes import cache_home
from promptctl.images import DECODER, OnProgress, Skipped, UnreadableImage, decode, read_file

if TYPE_CHECKING:
    from promptctl.backbone import Backbone

Vector = NDArray[np.float32]
_BATCH = 32
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# promptctl's image features; may be deleted at any time\n"


@dataclass(frozen=True)
class Features:
    """Images as a backbone sees them."""

    paths: tuple[Path, ...]
    sha256: tuple[str, ...]  # of each file
    vectors: Vector  # (N, E) unit rows

    def __len__(self) -> int:
        return len(self.paths)


class FeatureCache:
    """SQLite table of feature vectors; several processes may use it, and losing it loses only time."""

    def __init__(self, folder: Path | None = None) -> None:
        self.path = (folder or cache_home()) / "features.sqlite"
        self._lock = threading.Lock()
        self._db = self._open()

    def get(self, key: str) -> Vector | None:
        """The vector under a key, or None when it is not known."""
        if self._db is None:
            return None
        with suppress(sqlite3.Error), self._lock:
            row = self._db.execute("SELECT vector FROM features WHERE key = ?", (key,)).fetchone()
            whole = row is not None and len(row[0]) % 4 == 0
            return np.frombuffer(row[0], dtype="<f4").astype(np.float32) if whole else None
        return None

    def put(self, vectors: dict[str, Vector]) -> None:
        if self._db is None:
            return
        rows = [(key, vector.astype("<f4").tobytes()) for key, vector in vectors.items()]
        with suppress(sqlite3.Error), self._lock, self._db:
            self._db.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    def _open(self) -> sqlite3.Connection | None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError), (self.path.parent / "CACHEDIR.TAG").open("x") as tag:
                tag.write(_TAG)
            return _connect(self.path)
        except sqlite3.DatabaseError:
            return self._start_again()
        except OSError:  # a read-only home: work without
            return None

    def _start_again(self) -> sqlite3.Connection | None:
        # an unreadable cache is an empty cache
        with suppress(OSError, sqlite3.Error):
            self.path.unlink(missing_ok=True)
            return _connect(self.path)
        return None


def encode(
    paths: Sequence[Path], backbone: Backbone, cache: FeatureCache, on_progress: OnProgress | None = None
) -> tuple[Features, tuple[Skipped, ...]]:
    """Features of every readable image, in order, and the files that were passed over."""
    known: list[_Known] = []
    skipped: list[Skipped] = []
    for batch in _batches(_prepared(paths, backbone, cache)):
        known += _encoded([item for item in batch if not isinstance(item, Skipped)], backbone, cache)
        skipped += [item for item in batch if isinstance(item, Skipped)]
        if on_progress:
            on_progress(len(known) + len(skipped), len(paths))
    vectors = np.array([item.vector for item in known], np.float32).reshape(-1, backbone.tower.joint_width)
    return Features(tuple(item.path for item in known), tuple(item.sha256 for item in known), vectors), tuple(skipped)


@dataclass(frozen=True)
class _Known:
    path: Path
    sha256: str
    vector: Vector


@dataclass(frozen=True)
class _Picture:
    path: Path
    sha256: str
    pixels: torch.Tensor  # (3, S, S)


def _prepared(paths: Sequence[Path], backbone: Backbone, cache: FeatureCache) -> Iterator[_Known | _Picture | Skipped]:
    """Every file read and hashed, and decoded if its feature is not known, in order, a little ahead of the tower."""
    fingerprint = backbone.id.fingerprint

    def prepare(path: Path) -> _Known | _Picture | Skipped:
        try:
            data = read_file(path)
            sha256 = hashlib.sha256(data).hexdigest()
            vector = cache.get(_key(fingerprint, sha256))
            if vector is not None and vector.shape == (backbone.tower.joint_width,):
                return _Known(path, sha256, vector)
            return _Picture(path, sha256, backbone.transform(decode(data)))
        except UnreadableImage as reason:
            return Skipped(path, str(reason))

    pool = ThreadPoolExecutor(max_workers=4)
    ahead: deque[Future[_Known | _Picture | Skipped]] = deque()
    try:
        for path in paths:
            ahead.append(pool.submit(prepare, path))
            if len(ahead) > 2 * _BATCH:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _batches(items: Iterator[_Known | _Picture | Skipped]) -> Iterator[list[_Known | _Picture | Skipped]]:
    while batch := list(islice(items, _BATCH)):
        yield batch


def _encoded(batch: Sequence[_Known | _Picture], backbone: Backbone, cache: FeatureCache) -> list[_Known]:
    pictures = [item for item in batch if isinstance(item, _Picture)]
    if not pictures:
        return [item for item in batch if isinstance(item, _Known)]
    vectors = backbone.encode(torch.stack([picture.pixels for picture in pictures]))
    fresh = {picture.path: vector for picture, vector in zip(pictures, vectors, strict=True)}
    cache.put({_key(backbone.id.fingerprint, p.sha256): fresh[p.path] for p in pictures})
    return [_Known(i.path, i.sha256, fresh[i.path]) if isinstance(i, _Picture) else i for i in batch]


def _key(fingerprint: str, sha256: str) -> str:
    return f"{fingerprint}:{DECODER}:{sha256}"


def _connect(path: Path) -> sqlite3.Connection:
    # worker threads look up, one at a time under the cache's lock
    db = sqlite3.connect(path, timeout=10, check_same_thread=False)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute("CREATE TABLE IF NOT EXISTS features (key TEXT PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID")
    return db
