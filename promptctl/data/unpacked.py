"""Unpacked: photos that lie inside tables, each written to a file once, so that everything else finds a path.

They are kept in the cache as `unpacked/<start of the sha256>/<name>`: a photo is one file whatever tables it is in, a
second run writes nothing, and reports name a photo as its table does. They may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from promptctl.errors import DatasetError, InvalidSetting, reason_of
from promptctl.paths import cache_home

LIMIT_VARIABLE = "PROMPTCTL_UNPACKED_LIMIT"
_LIMIT_MB = 20_000
_IN_USE = 24 * 3600  # seconds since it was asked for, in which a photo is not deleted to make room for others
_DIGITS = 32  # of the sha256
_DIGEST = re.compile(rf"[0-9a-f]{{{_DIGITS}}}")
_LONGEST_NAME = 80
_OF_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)  # which Windows makes no file of


def home() -> Path:
    return cache_home() / "unpacked"


def limit_from_environment() -> int:
    """Bytes they may take, from PROMPTCTL_UNPACKED_LIMIT in MB; InvalidSetting when that is no number."""
    asked = os.environ.get(LIMIT_VARIABLE) or str(_LIMIT_MB)
    if not asked.isascii() or not asked.isdigit():
        raise InvalidSetting(LIMIT_VARIABLE, asked, "a number of megabytes", f"export {LIMIT_VARIABLE}={_LIMIT_MB}")
    return int(asked) * 1_000_000


@dataclass
class Unpacked:
    """The photos that were unpacked, and room for more of one table."""

    table: Path  # for errors
    folder: Path = field(default_factory=home)
    limit_bytes: int = field(default_factory=limit_from_environment)
    _n_bytes: int | None = None  # that are there, once it was counted

    _n_seen: int = 0  # bytes of the table's photos so far

    def check(self, n_bytes: int) -> None:
        """DatasetError where the table's photos are more than there is ever room for: one may stand in each row."""
        self._n_seen += n_bytes
        if self._n_seen > self.limit_bytes:
            raise self._too_much()

    def put(self, data: memoryview, name: str) -> Path:
        """The file with this content and name.

        raises   DatasetError where there is no room for it
        """
        path = self.folder / hashlib.sha256(data).hexdigest()[:_DIGITS] / name
        try:
            if not _is_used(path, data.nbytes):
                self._make_room(data.nbytes)
                _write(path, data)
        except OSError as error:
            raise DatasetError(
                f"the photos in {self.table} cannot be unpacked into {self.folder}: {reason_of(error)}",
                "PROMPTCTL_HOME moves the cache elsewhere",
            ) from error
        return path

    def _make_room(self, n_bytes: int) -> None:
        if self._n_bytes is None:
            self._n_bytes = _size_of(self.folder)
        if self._n_bytes + n_bytes > self.limit_bytes:
            self._n_bytes -= _drop_unused(self.folder, self._n_bytes + n_bytes - self.limit_bytes)
        self._n_bytes += n_bytes
        if self._n_bytes > self.limit_bytes:
            raise self._too_much()

    def _too_much(self) -> DatasetError:
        megabytes = self.limit_bytes // 1_000_000
        return DatasetError(
            f"the photos in {self.table} need more room than the {megabytes:,} MB that unpacked photos may take",
            f"export {LIMIT_VARIABLE}={2 * max(megabytes, 1)}   (or promptctl cache clear)",
        )


def apart(path: Path, number: int) -> Path:
    """The same photo as another file, for a table that has it twice; any other file is as it is."""
    if path.parent.parent != home():
        return path
    other = path.with_name(f"{path.stem} ({number}){path.suffix}")
    try:
        if not _is_used(other, path.stat().st_size):
            _write(other, memoryview(path.read_bytes()))
    except OSError:  # it is reported as the other photo is
        return path
    return other


def safe_name(said: str | None, otherwise: str, suffix: str) -> str:
    """A file's name like the one a stranger wrote, without folders and what systems do not take."""
    stem = re.split(r"[\\/]+", said or "")[-1].rpartition(".")[0]
    plain = re.sub(r"[^\w ()+-]+", "_", stem).strip(" _")[:_LONGEST_NAME]
    return (otherwise if not plain or _OF_DEVICES.fullmatch(plain) else plain) + suffix


def count(folder: Path | None = None) -> int:
    return sum(1 for _ in _files(folder or home()))


def n_bytes(folder: Path | None = None) -> int:
    return _size_of(folder or home())


def clear(folder: Path | None = None) -> None:
    """Delete them all; what cannot be deleted stays."""
    for one in _digests(folder or home()):
        shutil.rmtree(one, ignore_errors=True)


def _is_used(path: Path, n_bytes: int) -> bool:
    """Whether a file is there and whole; it is in use then."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return False
    if stat.st_size == n_bytes:
        os.utime(path, ns=(time.time_ns(), stat.st_mtime_ns))
    return stat.st_size == n_bytes


def _write(path: Path, data: memoryview) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def _drop_unused(folder: Path, n_bytes: int) -> int:
    """Delete what nobody asked for in a day, the oldest first, until so much is free, and say how much is."""
    before = time.time() - _IN_USE
    unused = sorted((stat.st_atime, path, stat.st_size) for path, stat in _files(folder) if stat.st_atime < before)
    freed = 0
    for _, path, size in unused:
        if freed >= n_bytes:
            break
        with suppress(OSError):
            path.unlink()
            freed += size
            path.parent.rmdir()
    return freed


def _size_of(folder: Path) -> int:
    return sum(stat.st_size for _, stat in _files(folder))


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for one in _digests(folder):
        yield from _inside(one)


def _digests(folder: Path) -> Iterator[Path]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _DIGEST.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)


def _inside(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                yield Path(entry.path), entry.stat(follow_symlinks=False)
