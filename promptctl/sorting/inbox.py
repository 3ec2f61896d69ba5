"""Inbox: what lies in a folder that files arrive in, and which photos of it have come to rest.

What counts is how the files look each time that somebody looks, not what a system tells of changes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from promptctl.data.walk import is_beside, suffix_of
from promptctl.sorting.arrange import Identity
from promptctl.sorting.sidecars import companions, raws_of_pairs

Clock = Callable[[], float]  # seconds

# how browsers and programs that copy call a file until it is whole
_UNFINISHED = frozenset(
    (
        ".part",
        ".partial",
        ".crdownload",
        ".download",
        ".opdownload",
        ".tmp",
        ".temp",
        ".filepart",
        ".!ut",
        ".!qb",
        ".aria2",
    )
)
_MOST = 1000  # photos of a batch
_PATIENCE = 10.0  # seconds that a photo at rest waits for others that are still arriving
_LONGEST_PAUSE = 1000.0  # seconds until something that was refused is tried again


@dataclass
class _File:
    """A file, as it looked last."""

    identity: Identity
    state: tuple[int, int, int]  # what a change of it changes too: its mode or its owner
    since: float  # it has looked like this
    settled: bool = False  # nothing more is to be done with it, as long as it stays as it is
    due: float = 0.0  # when it is tried again that was refused
    pause: float = 0.0  # and how long that is

    def differs(self, other: _File) -> bool:
        if self.settled and self.identity == other.identity:  # a second name or another mode is no other photo
            return False
        return (self.identity, self.state) != (other.identity, other.state)


@dataclass(frozen=True)
class Ready:
    """The photos that can be sorted, and those that cannot yet."""

    photos: tuple[str, ...] = ()  # at rest, with what belongs to them, those that have lain longest first
    longest: float = 0.0  # seconds that the first of them has been at rest
    arriving: int = 0  # photos that are not at rest, by themselves or by what belongs to them
    next_due: float | None = None  # seconds until one that was refused is tried again

    def batch(self, *, at_once: bool = False) -> tuple[str, ...]:
        """What is sorted now: all that is at rest, when nothing more arrives or when it has waited long enough."""
        waits = self.arriving and len(self.photos) < _MOST and self.longest < _PATIENCE
        return () if waits and not at_once else self.photos[:_MOST]


@dataclass
class Inbox:
    """What is known of the files in it.

    settle     seconds for which a photo and what belongs to it have to stay as they are
    is_done    whether a file that appears is to be left alone, since it was sorted before
    """

    settle: float
    is_done: Callable[[Identity], bool]
    clock: Clock = time.monotonic
    _folders: dict[str, dict[str, _File]] = field(default_factory=dict)  # folder → name → file

    def look(self, paths: Iterable[str]) -> None:
        """Take note of how all files of the inbox look now."""
        now, real = self.clock(), _RealFolders()
        folders: dict[str, dict[str, _File]] = {}
        for path in paths:
            folder, name = os.path.split(path)
            if (file := _file_of(path, real[folder], name, now)) is not None:
                folders.setdefault(folder, {})[name] = self._known(folder, name, file)
        self._folders = folders

    def _known(self, folder: str, name: str, file: _File) -> _File:
        before = self._folders.get(folder, {}).get(name)
        if before is not None and not before.differs(file):
            return before
        file.settled = self.is_done(file.identity)
        return file

    def ready(self) -> Ready:
        """Which photos are at rest."""
        now = self.clock()
        resting: list[tuple[float, str]] = []
        arriving, dues = 0, []
        for folder, files in self._folders.items():
            for name, since in _waiting(files):
                file, path = files[name], os.path.join(folder, name)  # noqa: PTH118  a Path costs its length
                if file.due > now:
                    dues.append(file.due - now)
                elif since + self.settle > now:
                    arriving += 1
                else:
                    resting.append((max(since + self.settle, file.due), path))
        resting.sort()
        longest = now - resting[0][0] if resting else 0.0
        return Ready(tuple(path for _, path in resting), longest, arriving, min(dues, default=None))

    def settle_all(self, paths: Iterable[str]) -> None:
        """Nothing more is to be done with these, until they change."""
        for file in self._of(paths):
            file.settled = True

    def put_off(self, paths: Iterable[str], pause: float) -> None:
        """These could not be sorted: they are tried again when they change, and after a pause that grows."""
        now = self.clock()
        for file in self._of(paths):
            file.pause = min(2 * file.pause or pause, max(_LONGEST_PAUSE, pause))
            file.due = now + file.pause

    def identity(self, path: str) -> Identity | None:
        return next((file.identity for file in self._of([path])), None)

    def _of(self, paths: Iterable[str]) -> Iterator[_File]:
        for folder, name in map(os.path.split, paths):
            if (file := self._folders.get(folder, {}).get(name)) is not None:
                yield file


class _RealFolders(dict[str, str]):
    """Folder → the real one, each asked for once."""

    def __missing__(self, folder: str) -> str:
        return self.setdefault(folder, os.path.realpath(folder))


def _file_of(path: str, real_folder: str, name: str, now: float) -> _File | None:
    try:
        found = os.lstat(path)
    except OSError:  # it has gone meanwhile, or its folder has been closed
        return None
    identity = (os.path.join(real_folder, name), found.st_size, found.st_mtime_ns)  # noqa: PTH118
    return _File(identity, (found.st_ctime_ns, found.st_ino, found.st_mode), now)


def _waiting(files: Mapping[str, _File]) -> Iterator[tuple[str, float]]:
    """The photos of a folder that are to be sorted, and since when each and all that belongs to it look as they do."""
    photos = [name for name in files if not is_beside(name) and suffix_of(name) not in _UNFINISHED]
    waiting = [name for name in photos if not files[name].settled]
    if not waiting:
        return
    raws = raws_of_pairs(photos)  # each goes with the same picture as a JPEG
    beside = companions([name for name in waiting if name not in raws], _but(files, waiting, raws))
    for name, those in beside.items():
        yield name, max(files[one].since for one in (name, *(companion.name for companion in those)))


def _but(names: Iterable[str], waiting: Collection[str], raws: Collection[str]) -> list[str]:
    waiting = frozenset(waiting)
    return [name for name in names if name in raws or name not in waiting]
