"""Remote: files in object stores and on other machines, as paths that fsspec reads.

`path_of` gives a path of any kind: those of this machine stay the plain paths that they are and cost nothing. fsspec is
imported only where somebody names a URL.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from promptctl.errors import ExtraMissing

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "http", "https", "hf", "memory", "sftp", "hdfs")
# a URL that went through a path has lost one of its slashes
_URL = re.compile(rf"({'|'.join(SCHEMES)}|file):/+(?=.)")
_BLOCK = 1 << 20  # bytes that are asked for at a time of a file that is not read whole


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path lies on another machine."""
    found = _URL.match(os.fspath(path))
    return found is not None and found[1] != "file"


def path_of(path: str | os.PathLike[str]) -> Path:
    """A path of this machine, also one that is written as file:///…, or a RemotePath."""
    text = os.fspath(path)
    found = _URL.match(text)
    if not found:
        return Path(path)
    if found[1] == "file":
        return Path(unquote(urlsplit("file:///" + text[found.end() :]).path))
    return RemotePath(text)


class RemotePath(PosixPath):
    """The URL of a file or folder: joined and taken apart like any path, and read through fsspec.

    raises   OSError where it cannot be reached, and ExtraMissing where the library for its kind is not installed
    """

    def __str__(self) -> str:
        return re.sub(_URL, lambda found: f"{found[1]}://", super().__str__(), count=1)

    def __fspath__(self) -> str:
        return str(self)

    def is_absolute(self) -> bool:
        return True

    def absolute(self) -> RemotePath:
        return self

    def expanduser(self) -> RemotePath:
        return self

    def resolve(self, strict: bool = False) -> RemotePath:
        return self

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        with _reached(self) as (files, path):
            return _status(files.info(path))

    def lstat(self) -> os.stat_result:
        return self.stat()

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        return _mode(self) != 0

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return stat.S_ISREG(_mode(self))

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return stat.S_ISDIR(_mode(self))

    def is_symlink(self) -> bool:
        return False

    def open(self, mode: str = "r", *args: Any, **more: Any) -> Any:
        """The file, whose bytes come as they are asked for."""
        with _reached(self) as (files, path):
            if "r" not in mode:
                raise OSError(errno.EROFS, "files elsewhere are only read", str(self))
            found = files.open(path, "rb", block_size=_BLOCK)
        return found if "b" in mode else io.TextIOWrapper(found, *args[1:], **more)

    def read_bytes(self) -> bytes:
        with _reached(self) as (files, path):
            return bytes(files.cat_file(path))

    def iterdir(self) -> Generator[RemotePath, None, None]:
        return (self / name for name, _ in self.listed())

    def listed(self) -> list[tuple[str, bool]]:
        """(name, whether it is a folder) of all that lies directly inside."""
        with _reached(self) as (files, path):
            inside = files.ls(path, detail=True)
        own = path.rstrip("/")
        named = ((one["name"].rstrip("/"), one["type"] == "directory") for one in inside)
        return [(name.rpartition("/")[2], is_folder) for name, is_folder in named if name != own]


def filesystem(url: str | os.PathLike[str]) -> tuple[AbstractFileSystem, str]:
    """The file system that a URL lies on, and what it is called there.

    raises   ExtraMissing
    """
    scheme = str(urlsplit(os.fspath(url)).scheme)
    try:
        from fsspec.core import url_to_fs

        files, path = url_to_fs(os.fspath(url))
    except ImportError as error:
        raise ExtraMissing(f"reading {scheme}://", (error.name or scheme).partition(".")[0], "remote") from error
    return files, str(path)


@contextmanager
def _reached(url: RemotePath) -> Iterator[tuple[AbstractFileSystem, str]]:
    """What is said of a URL that cannot be reached is an OSError, whichever library found out."""
    try:
        yield filesystem(url)
    except ExtraMissing:
        raise
    except OSError as error:
        raise type(error)(error.errno or errno.EIO, error.strerror or _first_line(error), str(url)) from error
    except Exception as error:  # each library has errors of its own
        raise OSError(errno.EIO, _first_line(error), str(url)) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _mode(url: RemotePath) -> int:
    try:
        return url.stat().st_mode
    except FileNotFoundError:
        return 0


def _status(info: dict[str, Any]) -> os.stat_result:
    """As if it lay here: what kind, how large, and a number that tells it from others."""
    kind = stat.S_IFDIR if info["type"] == "directory" else stat.S_IFREG
    number = zlib.crc32(str(info["name"]).rstrip("/").encode("utf-8", "surrogatepass"))
    return os.stat_result((kind | 0o444, number, 0, 1, 0, 0, int(info.get("size") or 0), 0, 0, 0))
