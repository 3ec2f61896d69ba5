"""Remote: files in object stores and on other machines, as paths that fsspec reads.

`path_of` gives a path of any kind: those of this machine stay the plain paths that they are and cost nothing. fsspec is
imported only where somebody names a URL. What a URL names is only ever read.
"""

from __future__ import annotations

import errno
import fnmatch
import io
import os
import re
import shlex
import stat
import sys
import threading
import zlib
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import reduce
from pathlib import Path, PosixPath, PurePath
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

from promptctl.errors import ExtraMissing, NotReached

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "http", "https", "hf", "memory", "sftp", "hdfs")
AT_ONCE = 32  # requests in flight: an answer takes tens of milliseconds, and nearly all of it is waiting
_ONE_BY_ONE = ("http:", "https:")  # servers that list nothing
MOST_LISTED = 1_000_000  # names that are kept of what lies in one place

_URL = re.compile(rf"({'|'.join(SCHEMES)}|file)://+(?=.)", re.DOTALL)
_PATH = re.compile(rf"({'|'.join(SCHEMES)}|file):/+(?=.)", re.DOTALL)  # a path takes a slash away
_FILE = re.compile(r"file:/+(?:localhost/)?")
_BLOCK = 1 << 20  # bytes that are asked for at a time of a file that is not read whole
# A path leaves out empty names and dots, which are names to an object store: a//b, a/./b. Inside a path they carry a
# mark that no name has, and `str()` takes it away again.
_MARK = "\0"
_MARKED = re.compile(r"(?<=/)\0(?=\.?(?:/|\Z))")


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path lies on another machine."""
    if isinstance(path, RemotePath):
        return True
    found = (_PATH if isinstance(path, PurePath) else _URL).match(os.fspath(path))
    return found is not None and found[1] != "file"


def path_of(path: str | os.PathLike[str]) -> Path:
    """A path of this machine, also one that is written as file:///…, or a RemotePath."""
    if isinstance(path, RemotePath):
        return path
    text = os.fspath(path)
    found = (_PATH if isinstance(path, PurePath) else _URL).match(text)
    if not found:
        return Path(path)
    return Path("/" + unquote(_FILE.sub("", text, count=1))) if found[1] == "file" else RemotePath(text)


class RemotePath(PosixPath):
    """The URL of a file or folder: joined and taken apart like any path, and read through fsspec.

    What is joined to it stays below its bucket or host: neither `/x` nor `../x` nor another URL leads out.

    raises   OSError where one file or folder cannot be read, NotReached where none can, and ExtraMissing where the
             library for its kind is not installed
    """

    def __new__(cls, *args: str | os.PathLike[str]) -> RemotePath:
        return super().__new__(cls, *map(_marked, args))

    def __init__(self, *args: str | os.PathLike[str]) -> None:
        if sys.version_info >= (3, 12):  # before, paths are made by __new__ alone
            super().__init__(*map(_marked, args))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self),)

    def __str__(self) -> str:
        text = _MARKED.sub("", re.sub(_PATH, lambda found: f"{found[1]}://", self.marked, count=1))
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
        return super().name.removeprefix(_MARK)

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
        with _reached(self) as (files, path):
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
        found = _LOOK.kind(self)
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
        return RemotePath(self, _mark(name))

    def addresses(self, names: Iterable[str]) -> list[str]:
        """`str(child(name))` of each, because a million paths take a minute to make."""
        start = str(self) if str(self).endswith("/") else f"{self}/"
        return [start + (name or "/") for name in names]

    def listed(self) -> list[tuple[str, bool]]:
        """(name, whether it is a folder) of all that lies directly inside, sorted.

        raises   OSError for more than MOST_LISTED
        """
        known = _LOOK.listing(self.marked)
        around = _LOOK.listing(self.parent.marked)
        if known is None and around is not None and (self.name, True) not in around:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        if known is None:
            known = sorted(_bounded(self, _inside(self)))
            _LOOK.keep({self.marked: known})
        return known

    # ----------------------------------------------------------------------- what it holds

    def read(self, start: int, n_bytes: int) -> bytes:
        """So many bytes of a file, or as many as there are, in one request where the store can do that."""
        with _reached(self) as (files, path):
            if self.parts[0] in _ONE_BY_ONE:  # a server may send more than it was asked for
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
        with _reached(self) as (files, path):
            found = files.open(path, "rb", block_size=_BLOCK)
        return _Opened(found, self) if "b" in mode else io.TextIOWrapper(_Opened(found, self), *args[1:], **more)

    def _only_read(self, *_: Any, **__: Any) -> NoReturn:
        raise OSError(errno.EROFS, "files elsewhere are only read", str(self))

    mkdir = rmdir = touch = unlink = rename = replace = chmod = lchmod = symlink_to = hardlink_to = _only_read  # type: ignore[assignment]


def _marked(part: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Text with its empty names and dots marked, so that a path keeps them; a path has that behind it."""
    if isinstance(part, PurePath) or not isinstance(part, str):
        return part
    found = _PATH.match(part)
    if not found:
        return part
    names = part[found.end() :].removesuffix("/").split("/")
    return found[1] + ":/" + "/".join(map(_mark, names))


def _mark(name: str) -> str:
    return _MARK + name if name in ("", ".") else name


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
        with _told(self._url):
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


# --------------------------------------------------------------------------- what lies in a folder


@contextmanager
def look() -> Iterator[None]:
    """Within it a folder elsewhere is listed once, and what is asked of files in it is answered from the listing."""
    with _LOOK.open():
        yield


def list_whole(root: Path) -> None:
    """Within a look: list all that lies below a folder elsewhere, a thousand files or many folders at once.

    raises   OSError, also for more than MOST_LISTED files, and NotReached
    """
    if isinstance(root, RemotePath) and _LOOK.listing(root.marked) is None:
        _LOOK.keep(_tree(root))


class _Look:
    """The folders that were listed since somebody began to look, and what lies in them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._folders: dict[str, list[tuple[str, bool]]] = {}
        self._names: dict[str, dict[str, int]] = {}
        self._asked: dict[str, int] = {}

    @contextmanager
    def open(self) -> Iterator[None]:
        with self._lock:
            self._depth += 1
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if not self._depth:
                    self._folders, self._names, self._asked = {}, {}, {}

    def keep(self, folders: dict[str, list[tuple[str, bool]]]) -> None:
        with self._lock:
            if self._depth:
                self._folders.update(folders)

    def listing(self, folder: str) -> list[tuple[str, bool]] | None:
        return self._folders.get(folder)

    def kind(self, path: RemotePath) -> int | None:
        """The kind of a file whose folder is listed, or worth it by now; None: not known, 0: nothing is there."""
        folder = path.parent
        if not self._depth or len(path.parts) < 3 or folder.parts[0] in _ONE_BY_ONE:
            return None
        if self.listing(path.marked) is not None:
            return stat.S_IFDIR
        if self.listing(folder.marked) is None and not self._list(folder):
            return None
        return self._kinds(folder.marked).get(path.name, 0)

    def _list(self, folder: RemotePath) -> bool:
        """Whether a folder is listed from now on: tried again and again, for no more than was asked of its files."""
        asked = self._asked[folder.marked] = self._asked.get(folder.marked, 0) + 1
        if asked not in _WORTH_A_LIST:
            return False
        with suppress(OSError):
            self.keep({folder.marked: sorted(_bounded(folder, _inside(folder), asked * _A_PAGE))})
        return self.listing(folder.marked) is not None

    def _kinds(self, folder: str) -> dict[str, int]:
        if folder not in self._names:
            listed = self._folders.get(folder, [])
            self._names[folder] = {name: stat.S_IFDIR if is_folder else stat.S_IFREG for name, is_folder in listed}
        return self._names[folder]


_WORTH_A_LIST = (3, 30, 300, 1000)  # questions about files of one folder, one request each
_A_PAGE = 1000  # names that come with one request
_LOOK = _Look()


def _inside(folder: RemotePath) -> Iterator[tuple[str, bool]]:
    """What lies directly in a folder, as the store tells it."""
    with _reached(folder) as (files, path):
        if hasattr(files, "call_s3"):
            yield from _names_in_s3(files, str(folder))
            return
        files.invalidate_cache()
        found = files.ls(path, detail=True)
        own = path.rstrip("/")
        for one in found:
            name = one["name"].rstrip("/")
            if name != own:
                yield name.rpartition("/")[2], one["type"] == "directory"


def _names_in_s3(files: AbstractFileSystem, url: str) -> Iterator[tuple[str, bool]]:
    """By the keys themselves: what fsspec makes of them has no empty names, and all pages in memory."""
    start, there = len(_prefix(files, url)), False
    for page in _pages(files, url, Delimiter="/"):
        folders = [(one["Prefix"][start:-1], True) for one in page.get("CommonPrefixes") or ()]
        inside = [(one["Key"][start:], False) for one in page.get("Contents") or ()]
        there = there or bool(folders or inside)
        yield from folders
        yield from (one for one in inside if one[0])  # an empty object stands in the place of a folder
    if not there and start:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url)


def _prefix(files: AbstractFileSystem, url: str) -> str:
    key = str(files.split_path(url)[1])
    return key + "/" if key and not key.endswith("/") else key


def _pages(files: AbstractFileSystem, url: str, **how: str) -> Iterator[dict[str, Any]]:
    token: dict[str, str] = {}
    while True:
        page = files.call_s3(
            "list_objects_v2", Bucket=files.split_path(url)[0], Prefix=_prefix(files, url), **how, **token
        )
        yield page
        if not page.get("IsTruncated"):
            return
        token = {"ContinuationToken": page["NextContinuationToken"]}


def _tree(root: RemotePath) -> dict[str, list[tuple[str, bool]]]:
    """Every folder below a root, as it is kept, and what lies directly in it, sorted."""
    with _reached(root) as (files, _):
        if hasattr(files, "call_s3"):
            return _tree_in_s3(root, files)
    return _tree_by_folders(root)


def _tree_in_s3(root: RemotePath, files: AbstractFileSystem) -> dict[str, list[tuple[str, bool]]]:
    found: dict[str, dict[tuple[str, bool], None]] = {root.marked: {}}
    start = len(_prefix(files, str(root)))
    keys = (one["Key"][start:] for page in _pages(files, str(root)) for one in page.get("Contents") or ())
    for key in _bounded(root, keys):
        *folders, name = key.split("/")
        inside = found[root.marked]
        place = root.marked
        for folder in folders:
            inside[folder, True] = None
            place = f"{place}/{_mark(folder)}"
            inside = found.setdefault(place, {})
        if name:  # else an empty object in the place of a folder
            inside[name, False] = None
    return {folder: sorted(inside) for folder, inside in found.items()}


def _tree_by_folders(root: RemotePath) -> dict[str, list[tuple[str, bool]]]:
    """Level by level, many folders at a time; one that cannot be listed is left for whoever enters it."""
    found: dict[str, list[tuple[str, bool]]] = {}
    level, left = [root], MOST_LISTED
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while level:
            below = []
            for folder, inside in zip(level, pool.map(_listed_or_none, level), strict=True):
                if inside is not None:
                    found[folder.marked] = inside
                    below += [folder.child(name) for name, is_folder in inside if is_folder]
                    left -= len(inside)
            if left < 0:
                _refuse_more(root)
            level = below
    return found


def _listed_or_none(folder: RemotePath) -> list[tuple[str, bool]] | None:
    try:
        return sorted(_bounded(folder, _inside(folder)))
    except OSError:
        return None


def _bounded(root: RemotePath, names: Iterable[Any], most: int = MOST_LISTED) -> Iterator[Any]:
    for number, name in enumerate(names):
        if number == most:
            _refuse_more(root)
        yield name


def _refuse_more(root: RemotePath) -> NoReturn:
    raise OSError(errno.EFBIG, f"more than {MOST_LISTED:,} files are listed by classify --engine ray alone", str(root))


# --------------------------------------------------------------------------- how it is reached


def filesystem(url: str | os.PathLike[str]) -> tuple[AbstractFileSystem, str]:
    """The file system that a URL lies on, and what it is called there.

    raises   ExtraMissing
    """
    text = str(path_of(url))
    scheme = text.partition("://")[0]
    try:
        from fsspec import get_filesystem_class

        kind = get_filesystem_class(scheme)  # not `url_to_fs`, to which a name with :: in it is several
        settings = kind._get_kwargs_from_urls(text)
        if scheme == "s3":
            settings |= {"config_kwargs": {"max_pool_connections": AT_ONCE}, "use_listings_cache": False}
        return kind(**settings), str(kind._strip_protocol(text))
    except ImportError as error:
        library = _library(error, scheme)
        missing = ExtraMissing(f"reading {scheme}://", library, "remote")
        if library not in _IN_THE_EXTRA:
            missing.hint = f"pip install {library}"
        raise missing from error


_IN_THE_EXTRA = ("fsspec", "s3fs", "gcsfs", "aiohttp", "requests", "botocore", "aiobotocore")


def _library(error: ImportError, scheme: str) -> str:
    names = (getattr(one, "name", None) for one in _causes(error))  # fsspec's own sentence names none
    return next((str(name).partition(".")[0] for name in names if name), scheme)


def same_system(one: Path, other: str) -> bool:
    """Whether a URL lies where a path does: in a store of the same kind, or on the same host."""
    if not isinstance(one, RemotePath) or not is_remote(other):
        return False
    here, there = one.parts, RemotePath(other).parts
    return here[0] == there[0] and (here[0] in _STORES or here[:2] == there[:2])


_STORES = ("s3:", "gs:", "gcs:", "memory:")  # one service whatever the bucket is


def how_to_look(place: Path) -> str:
    """A command that shows what lies in a place."""
    if not isinstance(place, RemotePath):
        return f"ls {shlex.quote(str(place))}"
    kind = place.parts[0]
    if kind in _ONE_BY_ONE:
        return f"curl -I {shlex.quote(str(place))}"
    command = {"s3:": "aws s3 ls", "gs:": "gcloud storage ls", "gcs:": "gcloud storage ls"}.get(kind)
    return f"{command} {shlex.quote(f'{place}/')}" if command else f"see what there is in {place}"


def how_to_copy(place: Path) -> str:
    """A command that copies what lies elsewhere to this machine."""
    kind = str(place).partition("://")[0]
    command = {"s3": "aws s3 cp --recursive", "gs": "gcloud storage cp -r", "gcs": "gcloud storage cp -r"}.get(kind)
    copy = f"{command} {shlex.quote(str(place))} photos" if command else "copy it to a folder here"
    return f"{copy}   (and name that folder)"


@contextmanager
def _reached(url: RemotePath) -> Iterator[tuple[AbstractFileSystem, str]]:
    """What is said of a URL that cannot be reached is an OSError, whichever library found out, or NotReached."""
    with _told(url):
        yield filesystem(url)


@contextmanager
def _told(url: RemotePath) -> Iterator[None]:
    try:
        yield
    except (ExtraMissing, NotReached):
        raise
    except Exception as error:  # each library has errors of its own
        chain = list(_causes(error))
        if any(_is_about_credentials(one) for one in chain):
            raise NotReached(str(url), _sentence(error), _how_to_log_in(url)) from error
        if lost := next((one for one in chain if type(one).__name__ in _NO_CONNECTION), None):
            raise NotReached(str(url), _sentence(lost), how_to_look(url.parent)) from error
        if isinstance(error, OSError):
            raise type(error)(error.errno or _NUMBERS.get(type(error), errno.EIO), _reason(error), str(url)) from error
        raise OSError(errno.EIO, _sentence(error), str(url)) from error


_NO_CONNECTION = {
    "EndpointConnectionError", "ConnectTimeoutError", "ConnectionClosedError", "ProxyConnectionError", "SSLError",
    "ClientConnectorError", "ClientConnectorDNSError", "ConnectionRefusedError", "gaierror",
}  # fmt: skip
_NO_CREDENTIALS = {
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError",
    "SSOTokenLoadError", "UnauthorizedSSOTokenError", "ProfileNotFound", "DefaultCredentialsError", "RefreshError",
}  # fmt: skip
_REFUSED_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed"}
_NUMBERS: dict[type, int] = {FileNotFoundError: errno.ENOENT, PermissionError: errno.EACCES}


def _is_about_credentials(error: BaseException) -> bool:
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return type(error).__name__ in _NO_CREDENTIALS or code in _REFUSED_KEYS or getattr(error, "code", None) == 401


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _how_to_log_in(url: RemotePath) -> str | None:
    return {
        "s3:": "aws configure   (for a public bucket: export FSSPEC_S3_ANON=true)",
        "gs:": "gcloud auth application-default login   (for a public bucket: export FSSPEC_GS_TOKEN=anon)",
        "hf:": "hf auth login",
    }.get(url.parts[0])


def _reason(error: OSError) -> str:
    """What a library says of one file; of one that is not there it says the path, which is said anyway."""
    if isinstance(error, FileNotFoundError) and not error.strerror:
        return os.strerror(errno.ENOENT)
    return error.strerror or _sentence(error)


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _status(info: dict[str, Any]) -> os.stat_result:
    """As if it lay here: what kind, how large, and a number that tells it from others."""
    kind = stat.S_IFDIR if info["type"] == "directory" else stat.S_IFREG
    number = zlib.crc32(str(info["name"]).rstrip("/").encode("utf-8", "surrogatepass"))
    return os.stat_result((kind | 0o444, number, 0, 1, 0, 0, int(info.get("size") or 0), 0, 0, 0))
