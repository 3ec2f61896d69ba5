"""Listing: what lies in a folder elsewhere, asked for once."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from promptctl.remote.reach import AT_ONCE, reached
from promptctl.remote.urls import ONE_BY_ONE, mark

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from promptctl.remote.path import RemotePath

MOST_LISTED = 1_000_000  # names that are kept of what lies in one place


@contextmanager
def look() -> Iterator[None]:
    """Within it a folder elsewhere is listed once, and what is asked of files in it is answered from the listing."""
    with LOOK.open():
        yield


def list_tree(root: RemotePath) -> None:
    """Within a look: list all that lies below a folder, a thousand files or many folders at once.

    raises   OSError, also for more than MOST_LISTED files, and NotReached
    """
    if LOOK.listing(root.marked) is None:
        LOOK.keep(_tree(root))


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
        if not self._depth or len(path.parts) < 3 or folder.parts[0] in ONE_BY_ONE:
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
            self.keep({folder.marked: sorted(bounded(folder, inside_of(folder), asked * _A_PAGE))})
        return self.listing(folder.marked) is not None

    def _kinds(self, folder: str) -> dict[str, int]:
        if folder not in self._names:
            listed = self._folders.get(folder, [])
            self._names[folder] = {name: stat.S_IFDIR if is_folder else stat.S_IFREG for name, is_folder in listed}
        return self._names[folder]


_WORTH_A_LIST = (3, 30, 300, 1000)  # questions about files of one folder, one request each
_A_PAGE = 1000  # names that come with one request
LOOK = _Look()


def inside_of(folder: RemotePath) -> Iterator[tuple[str, bool]]:
    """What lies directly in a folder, as the store tells it."""
    with reached(folder) as (files, path):
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
    for page in pages_in_s3(files, url, Delimiter="/"):
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


def pages_in_s3(files: AbstractFileSystem, url: str, **how: str) -> Iterator[dict[str, Any]]:
    """What lies below a place, as S3 answers: a thousand keys at a time."""
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
    with reached(root) as (files, _):
        if hasattr(files, "call_s3"):
            return _tree_in_s3(root, files)
    return _tree_by_folders(root)


def _tree_in_s3(root: RemotePath, files: AbstractFileSystem) -> dict[str, list[tuple[str, bool]]]:
    found: dict[str, dict[tuple[str, bool], None]] = {root.marked: {}}
    start = len(_prefix(files, str(root)))
    keys = (one["Key"][start:] for page in pages_in_s3(files, str(root)) for one in page.get("Contents") or ())
    for key in bounded(root, keys):
        *folders, name = key.split("/")
        inside = found[root.marked]
        place = root.marked
        for folder in folders:
            inside[folder, True] = None
            place = f"{place}/{mark(folder)}"
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
        return sorted(bounded(folder, inside_of(folder)))
    except OSError:
        return None


def bounded(root: RemotePath, names: Iterable[Any], most: int = MOST_LISTED) -> Iterator[Any]:
    for number, name in enumerate(names):
        if number == most:
            _refuse_more(root)
        yield name


def _refuse_more(root: RemotePath) -> NoReturn:
    raise OSError(errno.EFBIG, f"more than {MOST_LISTED:,} files are listed by classify --engine ray alone", str(root))
