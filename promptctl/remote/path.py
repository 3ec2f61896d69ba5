"""RemotePath: a URL as a path, joined and taken apart like any, and read through fsspec."""

from __future__ import annotations

import errno
import fnmatch
import io
import os
import re
import stat
import sys
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from functools import reduce
from pathlib import Path, PosixPath
from typing import Any, NoReturn
from urllib.parse import unquote

from promptctl.remote.listing import LOOK, bounded, inside_of, list_tree
from promptctl.remote.reach import reached, told
from promptctl.remote.urls import FILE, MARK, MARKED, ONE_BY_ONE, PATH, STORES, is_remote, mark, marked, matched

_BLOCK = 1 << 20  # bytes that are asked for at a time of a file that is not read whole


def path_of(path: str | os.PathLike[str]) -> Path:
    """A path of this machine, also one that is written as file:///…, or a RemotePath."""
    if isinstance(path, RemotePath):
        return path
    text = os.fspath(path)
    found = matched(path)
    if not found:
        return Path(path)
    return Path("/" + unquote(FILE.sub("", text, count=1))) if found[1] == "file" else RemotePath(text)


def same_system(one: Path, other: str) -> bool:
    """Whether a URL lies where a path does: in a store of the same kind, or on the same host."""
    if not isinstance(one, RemotePath) or not is_remote(other):
        return False
    here, there = one.parts, RemotePath(other).parts
    return here[0] == there[0] and (here[0] in STORES or here[:2] == there[:2])


def list_whole(root: Path) -> None:
    """Of a folder elsewhere, what `listing.list_tree` does."""
    if isinstance(root, RemotePath):
        list_tree(root)


class RemotePath(PosixPath):
    """The URL of a file or folder: joined and taken apart like any path, and read through fsspec.

    What is joined to it stays below its bucket or host: neither `/x` nor `../x` nor another URL leads out.

    raises   OSError where one file or folder cannot be read, NotReached where none can, and ExtraMissing where the
             library for its kind is not installed
    """

    def __new__(cls, *args: str | os.PathLike[str]) -> RemotePath:
        return super().__new__(cls, *map(marked, args))

    def __init__(self, *args: str | os.PathLike[str]) -> None:
        if sys.version_info >= (3, 12):  # before, paths are made by __new__ alone
            super().__init__(*map(marked, args))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self),)

    def __str__(self) -> str:
        text = MARKED.sub("", re.sub(PATH, lambda found: f"{found[1]}://", self.marked, count=1))
        return text + "/" if text.endswith("/") else text  # a last slash is no name, the one before it ends one

    @property
    def marked(self) -> str:
        """The path as it is kept, to which a name can be added."""
        return super().__str__()

    def __fspath__(self) -> str:
        return str(self)

    def __truediv__(self, key: str | os.PathLike[str]) -> RemotePath:
        return reduce(_below, os.fspath(key).split("/"), self) if os.fspath(key) else self

    def __rtruediv__(self, key: str | os.PathLike[str]) -> RemotePath:
        return self  # as of every path that is whole by itself

    def joinpath(self, *keys: str | os.PathLike[str]) -> RemotePath:
        return reduce(RemotePath.__truediv__, keys, self)

    @property
    def name(self) -> str:
        return super().name.removeprefix(MARK)

    @property
    def parent(self) -> RemotePath:
        return self if len(self.parts) <= 2 else super().parent  # a bucket or host has nothing around it

    def relative_to(self, *other: Any, **how: Any) -> Any:
        return Path(str(super().relative_to(*other, **how)))

    def is_absolute(self) -> bool:
        return True

    def absolute(self) -> RemotePath:
        return self

    def expanduser(self) -> RemotePath:
        return self

    def resolve(self, strict: bool = False) -> RemotePath:
        return self

    def readlink(self) -> NoReturn:
        raise OSError(errno.EINVAL, "no link", str(self))

    # ----------------------------------------------------------------------- what is there

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        with reached(self) as (files, path):
            return _status(files.info(path))

    def lstat(self) -> os.stat_result:
        return self.stat()

    @property
    def info(self) -> RemotePath:
        return self

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        return self._kind() != 0

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return stat.S_ISREG(self._kind())

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return stat.S_ISDIR(self._kind())

    def is_symlink(self) -> bool:
        return False

    def _kind(self) -> int:
        """What kind of thing lies there, by the mode of its status; 0: nothing."""
        found = LOOK.kind(self)
        if found is not None:
            return found
        try:
            return self.stat().st_mode
        except FileNotFoundError:
            return 0

    def iterdir(self) -> Generator[RemotePath, None, None]:
        return (self.child(name) for name, _ in self.listed())

    def glob(self, pattern: str, **how: Any) -> Iterator[RemotePath]:  # type: ignore[override]
        """The files and folders directly inside whose names fit; none where there is no folder, as on a disk."""
        with suppress(FileNotFoundError, PermissionError):
            return (self.child(name) for name, _ in self.listed() if fnmatch.fnmatchcase(name, pattern))
        return iter(())

    def rglob(self, pattern: str, **how: Any) -> NoReturn:  # type: ignore[override]
        raise OSError(errno.ENOTSUP, "folders elsewhere are searched by data/walk.py", str(self))

    walk = rglob

    def child(self, name: str) -> RemotePath:
        """What is called so directly inside, whatever the name is."""
        return RemotePath(self, mark(name))

    def addresses(self, names: Iterable[str]) -> list[str]:
        """`str(child(name))` of each, because a million paths take a minute to make."""
        start = str(self) if str(self).endswith("/") else f"{self}/"
        return [start + (name or "/") for name in names]

    def listed(self) -> list[tuple[str, bool]]:
        """(name, whether it is a folder) of all that lies directly inside, sorted.

        raises   OSError for more than MOST_LISTED
        """
        known = LOOK.listing(self.marked)
        around = LOOK.listing(self.parent.marked)
        if known is None and around is not None and (self.name, True) not in around:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        if known is None:
            known = sorted(bounded(self, inside_of(self)))
            LOOK.keep({self.marked: known})
        return known

    # ----------------------------------------------------------------------- what it holds

    def read(self, start: int, n_bytes: int) -> bytes:
        """So many bytes of a file, or as many as there are, in one request where the store can do that."""
        with reached(self) as (files, path):
            if self.parts[0] in ONE_BY_ONE:  # a server may send more than it was asked for
                with files.open(path, "rb", block_size=_BLOCK) as file:
                    return _read_on(file, start, n_bytes)
            try:
                return bytes(files.cat_file(path, start=start, end=start + n_bytes))
            except Exception:
                if start < int(files.info(path).get("size") or 0):  # nothing can be asked for after the end
                    raise
                return b""

    def read_bytes(self) -> bytes:
        with self.open("rb") as file:
            return bytes(file.read())

    def open(self, mode: str = "r", *args: Any, **more: Any) -> Any:
        """The file, whose bytes come as they are asked for."""
        if set(mode) - set("rbt"):
            self._only_read()
        with reached(self) as (files, path):
            found = files.open(path, "rb", block_size=_BLOCK)
        return _Opened(found, self) if "b" in mode else io.TextIOWrapper(_Opened(found, self), *args[1:], **more)

    def _only_read(self, *_: Any, **__: Any) -> NoReturn:
        raise OSError(errno.EROFS, "files elsewhere are only read", str(self))

    mkdir = rmdir = touch = unlink = rename = replace = chmod = lchmod = symlink_to = hardlink_to = _only_read  # type: ignore[assignment]


def _below(folder: RemotePath, name: str) -> RemotePath:
    """A name in a folder, as a path means it: a dot is the folder itself, two are the one around, in the same place."""
    if name == ".":
        return folder
    if name == "..":
        return folder.parent
    return folder.child(name)


class _Opened(io.RawIOBase):
    """A file of fsspec's whose failures are told like those of any file."""

    def __init__(self, file: Any, url: RemotePath) -> None:
        self._file, self._url = file, url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def read(self, size: int | None = -1) -> bytes:
        with told(self._url):
            return bytes(self._file.read(-1 if size is None else size))

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _read_on(file: Any, start: int, n_bytes: int) -> bytes:
    """So many bytes of an open file, from a server that perhaps does not say how many there are."""
    data = bytearray()
    if start:
        file.seek(start)
    while len(data) < n_bytes and (more := file.read(n_bytes - len(data))):
        data += more
    return bytes(data)


def _status(info: dict[str, Any]) -> os.stat_result:
    """As if it lay here: what kind, how large, and a number that tells it from others."""
    kind = stat.S_IFDIR if info["type"] == "directory" else stat.S_IFREG
    number = zlib.crc32(str(info["name"]).rstrip("/").encode("utf-8", "surrogatepass"))
    return os.stat_result((kind | 0o444, number, 0, 1, 0, 0, int(info.get("size") or 0), 0, 0, 0))
