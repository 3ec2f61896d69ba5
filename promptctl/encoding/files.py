"""Files: image files read whole, within the memory that all of them share, and refused by how they start."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from promptctl.encoding import formats
from promptctl.encoding.budget import FILES
from promptctl.encoding.formats import Format
from promptctl.encoding.tiff import Tiff
from promptctl.errors import reason_of
from promptctl.remote import RemotePath


class UnreadableImage(Exception):
    """One file that is not a usable image; `str()` says why in a few words."""


class NotAnImage(UnreadableImage):
    """One file that holds something else altogether: a note, a video, a program's own data."""


@dataclass(frozen=True)
class Skipped:
    """A file that was passed over, and why."""

    path: Path
    reason: str
    foreign: bool = False  # never an image nor called like one: a sidecar, a video, a note


_FIRST = 4_000_000  # bytes of a file elsewhere that are asked for at once, which most photos are no larger than


class _Kept:
    """Files elsewhere that were fetched since somebody began to keep them, as many as there is room for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keeping = 0
        self._files: dict[RemotePath, bytes] = {}
        self._free = FILES.n_bytes

    @contextmanager
    def begin(self) -> Iterator[None]:
        with self._lock:
            self._keeping += 1
        try:
            yield
        finally:
            with self._lock:
                self._keeping -= 1
                if not self._keeping:
                    self._files, self._free = {}, FILES.n_bytes

    def get(self, path: RemotePath) -> bytes | None:
        return self._files.get(path)

    def add(self, path: RemotePath, data: bytes) -> None:
        """The first ones stay, so that whoever goes through all of them again finds some where they are too many."""
        with self._lock:
            if self._keeping and path not in self._files and len(data) <= self._free:
                self._files[path] = data
                self._free -= len(data)


_KEPT = _Kept()


def fetched_once() -> AbstractContextManager[None]:
    """Within it files elsewhere are kept for whoever reads them again, in as much memory as FILES has besides."""
    return _KEPT.begin()


@contextmanager
def file_bytes(path: Path) -> Iterator[bytes]:
    """What `read_file` reads, counted in the budget for as long as it is needed."""
    if isinstance(path, RemotePath):
        with _fetched(path) as data:
            yield data
        return
    with _opened(path) as (file, n_bytes), FILES.reserve(n_bytes):
        yield _as_named(_read(file, n_bytes), path)


def read_file(path: Path) -> bytes:
    """The bytes of a regular file that starts like an image we read, or UnreadableImage."""
    if isinstance(path, RemotePath):
        with _fetched(path) as data:
            return data
    with _opened(path) as (file, n_bytes):
        return _as_named(_read(file, n_bytes), path)


def read_start(path: Path, n_bytes: int) -> bytes:
    """The first bytes of a regular file that starts like an image we read, or UnreadableImage."""
    if isinstance(path, RemotePath):
        kept = _KEPT.get(path)
        start = _fetch(path, max(n_bytes, formats.HEAD)) if kept is None else kept
        check_start(start[: formats.HEAD], formats.of_name(path))
        return start[:n_bytes]
    with _opened(path) as (file, _):
        return _read(file, n_bytes)


@contextmanager
def _fetched(path: RemotePath) -> Iterator[bytes]:
    """The bytes of a file elsewhere, counted: an ordinary photo in one request, of a larger file its size first."""
    if (kept := _KEPT.get(path)) is not None:
        yield _as_named(kept, path)
        return
    named = formats.of_name(path)
    first = min(_FIRST, FILES.n_bytes) if named else formats.HEAD
    with FILES.reserve(first) as held:
        data = _fetch(path, first)
        check_start(data[: formats.HEAD], named)
        if len(data) < first:
            held.keep(len(data))
            yield _kept(data, path)
            return
        del data
    n_bytes = _size_of(path)
    check_size(n_bytes)
    with FILES.reserve(n_bytes):
        yield _kept(_fetch(path, n_bytes), path)


def _kept(data: bytes, path: RemotePath) -> bytes:
    named = _as_named(data, path)
    _KEPT.add(path, named)
    return named


def _fetch(path: RemotePath, n_bytes: int) -> bytes:
    try:
        return path.read(0, n_bytes)
    except OSError as error:
        raise UnreadableImage(reason_of(error)) from error


def n_bytes_of(path: Path) -> int:
    """How large a file is; OSError."""
    kept = _KEPT.get(path) if isinstance(path, RemotePath) else None
    return path.stat().st_size if kept is None else len(kept)


def _size_of(path: RemotePath) -> int:
    """The size of a file elsewhere; one more than is read where a server does not say."""
    try:
        return path.stat().st_size or FILES.n_bytes + 1
    except OSError as error:
        raise UnreadableImage(reason_of(error)) from error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """A file and how large it is, or UnreadableImage where its kind, its start or its size says not to read it."""
    file, n_bytes = _open(path)
    with file:
        head = _read(file, formats.HEAD)
        check_start(head, formats.of_name(path))
        n_bytes = max(n_bytes, len(head))
        check_size(n_bytes)
        yield file, n_bytes


def check_size(n_bytes: int) -> None:
    if n_bytes > FILES.n_bytes:
        most = megabytes(FILES.n_bytes)
        raise UnreadableImage(f"a file of {megabytes(n_bytes)}, {most} is the most that is read")


def _open(path: Path) -> tuple[BinaryIO, int]:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for ever
            raise UnreadableImage("not a readable folder" if stat.S_ISDIR(found.st_mode) else "not a regular file")
        return path.open("rb"), found.st_size
    except OSError as error:
        raise UnreadableImage(reason_of(error)) from error
    except ValueError as error:  # a NUL in it, or half a character, as JSON may hold
        raise UnreadableImage("no file has such a name") from error


def _read(file: BinaryIO, n_bytes: int) -> bytes:
    """So many bytes from the start: of a file that grows meanwhile no more than are counted."""
    try:
        file.seek(0)
        return file.read(n_bytes)
    except OSError as error:
        raise UnreadableImage(reason_of(error)) from error


def check_start(head: bytes, named: Format | None = None) -> Format:
    """The format of a file that starts like this and is called like that; only what is read comes back."""
    if not head:
        raise UnreadableImage("empty file")
    found = formats.of_content(head)
    if found is None and named and named.why_not:
        raise UnreadableImage(named.why_not)
    if found is None:
        raise NotAnImage(formats.foreign(head))
    if found.why_not:
        raise UnreadableImage(found.why_not)
    if found is formats.TIFF and named is formats.RAW_PHOTO and named.why_not:
        raise UnreadableImage(named.why_not)
    return found


def _as_named(data: bytes, path: Path) -> bytes:
    """A file; UnreadableImage for a TIFF that is called like a raw photo and is none: it shows a thumbnail."""
    if formats.of_name(path) is formats.RAW_PHOTO and formats.of_content(data[: formats.HEAD]) is formats.TIFF:
        with suppress(ValueError):
            if Tiff(data).is_raw():
                return data
        raise UnreadableImage(formats.RAW_UNKNOWN)
    return data


def megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
