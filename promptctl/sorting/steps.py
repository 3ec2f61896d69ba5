"""Steps: what the journal says of a file that is carried, and how one is told from another."""

from __future__ import annotations

import base64
import binascii
import os
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptctl.sorting.plan import COPY, LINK, MOVE
from promptctl.store.journal import Step

FOLDER, RMDIR, DROP, WRITE = "folder", "rmdir", "drop", "write"  # beside the modes: move, copy, link
KINDS = frozenset({FOLDER, RMDIR, DROP, MOVE, COPY, LINK, WRITE})
MOST_WRITTEN = 1 << 26  # bytes of a file that a step may hold
_CHUNK = 1 << 20  # bytes that are compared at a time


def folder_step(folder: Path) -> Step:
    return {"do": FOLDER, "to": os.fspath(folder)}


def file_step(do: str, source: Path, target: Path, status: os.stat_result, **more: Any) -> Step:
    """A file from one place to another, and which one it is.

    more   sha256 of its bytes, where known; lead: the photo it goes with; was: of a drop, whether it is of a link
    """
    return {
        "do": do,
        "from": os.fspath(source),
        "to": os.fspath(target),
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "dev": status.st_dev,
        "ino": status.st_ino,
        **{key: value for key, value in more.items() if value is not None},
    }


def write_step(
    path: Path, before: bytes | None, after: bytes | None, *, was_ns: int | None, set_ns: int | None = None, **more: Any
) -> Step:
    """A small file with other bytes than before, both of which the step holds; None: there is no file.

    was_ns, set_ns   its mtime as it was, and as it is to be; None: now
    more             lead: the photo that it is about
    """
    return {
        "do": WRITE,
        "to": os.fspath(path),
        "before": _packed(before),
        "after": _packed(after),
        "was_ns": was_ns,
        "set_ns": set_ns,
        **more,
    }


def written(step: Step, key: str) -> bytes | None:
    """What a file held `before` a step that writes it, or holds `after` it; ValueError for what holds nothing."""
    if step[key] is None:
        return None
    try:
        unpack = zlib.decompressobj()
        data = unpack.decompress(base64.b64decode(step[key], validate=True), MOST_WRITTEN)
    except (TypeError, binascii.Error, zlib.error) as error:
        raise ValueError("a step holds no bytes") from error
    if not unpack.eof:
        raise ValueError("a step holds more than a file has")
    return data


def _packed(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(zlib.compress(data, 9)).decode("ascii")


def _writes_soundly(step: Step) -> bool:
    try:
        for key in ("before", "after"):
            written(step, key)
    except (KeyError, ValueError):
        return False
    times = (step.get("was_ns"), step.get("set_ns"))
    return isinstance(step.get("to"), str) and all(time is None or isinstance(time, int) for time in times)


def is_sound(step: Step) -> bool:
    """Whether a step of one of the kinds has all that carrying it out or taking it back asks for."""
    if step["do"] == WRITE:
        return _writes_soundly(step)
    texts = ("to",) if step["do"] in (FOLDER, RMDIR) else ("from", "to")
    numbers = () if step["do"] in (FOLDER, RMDIR) else ("size", "mtime_ns", "dev", "ino")
    told = all(isinstance(step.get(key), str) for key in texts) and all(isinstance(step.get(n), int) for n in numbers)
    return told and (step["do"] != DROP or step.get("was") in (COPY, LINK))


def ends(step: Step) -> tuple[Path, Path]:
    """Where a file comes from, and where it goes."""
    return Path(step["from"]), Path(step["to"])


def status_of(path: Path) -> os.stat_result | None:
    """None where there is nothing."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: no file can be called so
        return None


def is_same_file(status: os.stat_result | None, step: Step) -> bool:
    """Whether this is the very file of a step, whatever was written into it since."""
    return status is not None and (status.st_dev, status.st_ino) == (step["dev"], step["ino"])


def looks_unchanged(status: os.stat_result | None, step: Step) -> bool:
    """Whether a file, or its copy, is as it was: a file with its size and its time."""
    return (
        status is not None
        and stat.S_ISREG(status.st_mode)
        and (status.st_size, status.st_mtime_ns) == (step["size"], step["mtime_ns"])
    )


def leads_to(link: Path, source: Path) -> bool:
    """Whether there is a symbolic link that leads to a file."""
    try:
        return os.readlink(link) == os.fspath(source)  # noqa: PTH115  as it is written
    except OSError:
        return False


def same_bytes(one: Path, other: Path) -> bool:
    with one.open("rb") as a, other.open("rb") as b:
        while True:
            left, right = a.read(_CHUNK), b.read(_CHUNK)
            if left != right:
                return False
            if not left:
                return True


# --------------------------------------------------------------------------- back


def inverse(step: Step) -> Step:
    """The step that takes one back, as the disk is now; where it cannot be taken back, carrying it out says why."""
    if step["do"] in (FOLDER, RMDIR):
        return {"do": RMDIR if step["do"] == FOLDER else FOLDER, "to": step["to"]}
    if step["do"] == WRITE:
        return _unwritten(step)
    source, target = ends(step)
    if step["do"] == MOVE:
        return _back(step, source, target)
    if step["do"] == DROP:
        return {**step, "do": step["was"]}
    if step["do"] == COPY and status_of(source) is None:  # the copy is all that is left of it
        return _back(step, source, target)
    return {**step, "do": DROP, "was": step["do"]}


def _unwritten(step: Step) -> Step:
    status = status_of(Path(step["to"]))
    was_ns = None if status is None else status.st_mtime_ns
    return {**step, "before": step["after"], "after": step["before"], "was_ns": was_ns, "set_ns": step["was_ns"]}


def _back(step: Step, source: Path, target: Path) -> Step:
    status = status_of(target)
    # a sidecar that gets its old bytes first is no file that is there now
    known: Mapping[str, Any] = {"size": step["size"], "mtime_ns": step["mtime_ns"], "dev": 0, "ino": 0}
    if status is not None and (is_same_file(status, step) or looks_unchanged(status, step)):
        return file_step(MOVE, target, source, status)
    return {"do": MOVE, "from": os.fspath(target), "to": os.fspath(source), **known}
