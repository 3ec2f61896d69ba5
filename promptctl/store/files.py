"""Files: written whole beside their place, made durable, then put there.

Everything of value that promptctl changes on a disk it changes by the few `os` calls in this file: open, write, fsync,
link, symlink, rename, unlink, mkdir, rmdir. The tests stop the program at each of them, and make each of them fail.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from promptctl import signals
from promptctl.errors import NotDurable

_PART = re.compile(r"\.[0-9a-f]{16}\.part")  # what is not finished
_NOT_FOLLOWED = {"follow_symlinks": False} if os.link in os.supports_follow_symlinks else {}  # Windows has no choice
_CHUNK = 1 << 20  # bytes that are copied at a time
_NOT_FOR_FOLDERS = (errno.EINVAL, errno.ENOTSUP)  # how a file system says that it has no fsync for them


def write_atomic(path: Path, data: bytes, *, replace: bool) -> None:
    """Write a file whole or not at all, where a link leads if it may replace one; FileExistsError if it may not."""
    if replace:
        path = Path(os.path.realpath(path))
    with finished_file(path.parent, data) as temporary:
        if replace:
            if path.exists():
                os.chmod(temporary, path.stat().st_mode & 0o7777)
            os.replace(temporary, path)
        else:
            link_exclusive(temporary, path)
    fsync_folders(path.parent)


@contextlib.contextmanager
def finished_file(folder: Path, data: bytes) -> Iterator[Path]:
    """A durable temporary file beside its final name, gone again afterwards."""
    temporary = part_of(folder)
    try:
        write(temporary, data)
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def part_of(folder: Path) -> Path:
    """A name for something unfinished in a folder."""
    return folder / f".{secrets.token_hex(8)}.part"


def is_part(path: Path) -> bool:
    return bool(_PART.fullmatch(path.name))


def write(path: Path, data: bytes, mtime_ns: int | None = None) -> None:
    """A new file, durable but for its name; FileExistsError when it is there."""
    with _open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)) as descriptor:
        _write_all(descriptor, data)
        if mtime_ns is not None:
            os.utime(path, ns=(mtime_ns, mtime_ns))
        os.fsync(descriptor)


def link_exclusive(finished: Path, target: Path) -> None:
    """Give a finished file its name in the same folder, or FileExistsError; the name it had may stay."""
    with signals.step():
        name_exclusively(finished, target)


def name_exclusively(finished: Path, target: Path) -> None:
    """The same where it is not what a command is about, so that Ctrl-C is heard before and after."""
    try:
        os.link(finished, target)
    except FileExistsError:
        raise
    except OSError:
        # no hard links here (some network and memory-card file systems), and renaming replaces without a word
        if target.exists():
            raise FileExistsError(f"{target} exists") from None
        os.rename(finished, target)


def hard_link(source: Path, target: Path) -> None:
    """A second name for a file; FileExistsError, and OSError where there are no such names."""
    os.link(source, target, **_NOT_FOLLOWED)


def symbolic_link(source: Path, target: Path) -> None:
    """A link that leads to a file; FileExistsError."""
    os.symlink(source, target)


def take_name(source: Path, target: Path) -> None:
    """Another name for a file, where there are no hard links; FileExistsError. For a moment it stands empty."""
    with _open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL):
        pass
    try:
        os.replace(source, target)
    except OSError:
        os.unlink(target)
        raise


def take_over(source: Path, empty: Path) -> None:
    """The same where the empty file stands already."""
    os.replace(source, empty)


def copy_file(source: Path, part: Path) -> str:
    """A new file, durable but for its name, with the bytes, times and mode of another; the sha256 of its bytes."""
    digest = hashlib.sha256()
    with (
        _open(source, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)) as reading,
        _open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)) as writing,
    ):
        status = os.fstat(reading)
        while data := os.read(reading, _CHUNK):
            digest.update(data)
            _write_all(writing, data)
        with contextlib.suppress(OSError):  # a memory card has no modes
            os.chmod(part, status.st_mode & 0o7777)
        os.utime(part, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(writing)
    return digest.hexdigest()


def open_to_append(path: Path) -> int:
    """A descriptor of a file that is there, which the caller closes."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0), 0o666)


def create_to_append(path: Path) -> int:
    """A descriptor of a new file, whose name is not durable yet and which the caller closes; FileExistsError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
    return os.open(path, flags | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0), 0o666)


def cut_off(descriptor: int, n_bytes: int) -> None:
    """An open file without what stands after so many bytes."""
    os.ftruncate(descriptor, n_bytes)


def append(descriptor: int, data: bytes, *, durable: bool) -> None:
    """More at the end of an open file."""
    _write_all(descriptor, data)
    if durable:
        os.fsync(descriptor)


def move(source: Path, target: Path) -> None:
    """Rename, durably; what moves appears whole in its new place."""
    with signals.step():
        os.rename(source, target)
    fsync_folders(target.parent, *([source.parent] if source.parent != target.parent else []))


def replace(finished: Path, target: Path) -> None:
    """Put a finished file beside another in its place, durably, with its mode; nothing is left of the other."""
    with signals.step():
        put_over(finished, target)
    fsync_folders(target.parent)


def put_over(finished: Path, target: Path) -> None:
    """The same, where the folder is made durable later."""
    os.chmod(finished, target.stat().st_mode & 0o7777)
    os.replace(finished, target)


def make_folder(folder: Path) -> None:
    """A folder and those above it, each durable before anything lies in it."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder)
    fsync_folder(folder.parent)


def delete(path: Path) -> None:
    """A file, or a folder with everything in it."""
    if path.is_symlink() or not path.is_dir():
        os.unlink(path)
        return
    for inside in sorted(path.iterdir()):
        delete(inside)
    os.rmdir(path)


def delete_empty(folder: Path) -> None:
    """A folder with nothing in it, or OSError."""
    os.rmdir(folder)


def fsync_folders(*folders: Path) -> None:
    """Make what has just happened in folders outlast a power cut, or NotDurable: it has happened all the same."""
    for folder in folders:
        try:
            fsync_folder(folder)
        except OSError as error:
            raise NotDurable(error, folder) from error


def size_of(path: Path) -> int:
    """Bytes of a file, or of everything in a folder."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(size_of(inside) for inside in path.iterdir())


def fsync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder to sync it
        return
    with _open(folder, os.O_RDONLY) as descriptor:
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NOT_FOR_FOLDERS:
                raise


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


@contextlib.contextmanager
def _open(path: Path, flags: int) -> Iterator[int]:
    """A descriptor; every OSError says which path it is about."""
    try:
        descriptor = os.open(path, flags, 0o666)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        error.filename = str(path.parent if is_part(path) else path)
        raise
