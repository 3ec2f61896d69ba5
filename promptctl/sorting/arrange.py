"""Arrange: answers → a plan. Every photo a place of its own, with what belongs to it; nothing is changed."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from promptctl.encoding.formats import is_image_name
from promptctl.errors import reason_of
from promptctl.sorting.places import DOUBTFUL, UNKNOWN, Places, as_spelled, folder_names, split_name
from promptctl.sorting.plan import MOVE, Keywords, Moved, Photo, Plan, Refused, Shown
from promptctl.sorting.sidecars import Companion, companions, raws_of_pairs, regular_files

Identity = tuple[str, int, int]  # where a file lies, its size, its mtime in ns
Answered = tuple[Path, Shown]


def arrange(
    found: Sequence[Answered],
    refused: Sequence[Refused],
    *,
    into: Path,
    mode: str,
    context: str | None,
    labels: Iterable[str],
    there: Mapping[Identity, Path] | None = None,
    together: bool = False,
    keywords: Keywords | None = None,
) -> Plan:
    """What goes where.

    found     photos and what they show, in the order in which they get their places
    refused   photos that could not be read
    into      absolute, links resolved
    labels    of all classes, so that a folder does not depend on which photos there are
    there     what lies in `into` already as a copy or a link of a file, by that file
    together  whether each answer depends on all photos
    keywords  that sidecars in their new places get; None: they stay as they are
    """
    folders = as_spelled(into, folder_names(labels))
    desk = _Desk(mode, Places(into), there or {}, keywords is not None)
    desk.look_beside([path for path, _ in found])
    planned = [desk.place(path, shown, _folder(shown, folders)) for path, shown in found if path not in desk.pairs]
    photos = tuple(one for one in planned if isinstance(one, Photo))
    goes = {moved.source for photo in photos for moved in photo.sidecars}
    stays = [one for one in planned if isinstance(one, Refused)]
    stays += [one for one in refused if desk.real(one.path) not in goes]
    return Plan(into, mode, context, photos, tuple(stays), planned.count(None), together, keywords=keywords)


def _folder(shown: Shown, folders: Mapping[str, str]) -> str:
    return UNKNOWN if shown.unknown else DOUBTFUL if shown.doubtful else folders[shown.label]


@dataclass
class _Desk:
    """What is known while photos get their places."""

    mode: str
    places: Places
    there: Mapping[Identity, Path]
    tags: bool  # each photo gets a sidecar in its new place
    pairs: set[Path] = field(default_factory=set)  # raw photos that go with the same picture as a JPEG
    _beside: dict[Path, tuple[Companion, ...]] = field(default_factory=dict)
    _real: dict[Path, Path] = field(default_factory=dict)  # folder → the real one

    def look_beside(self, paths: Sequence[Path]) -> None:
        """Find what belongs to each photo, folder by folder."""
        by_folder: defaultdict[Path, list[str]] = defaultdict(list)
        for path in paths:
            by_folder[path.parent].append(path.name)
        for parent, names in by_folder.items():
            try:
                files = regular_files(parent)
            except OSError:  # it can be entered, not listed
                files = []
            raws = raws_of_pairs(names)
            self.pairs |= {parent / name for name in raws}
            alone = [name for name in names if name not in raws]
            self._beside |= {parent / name: those for name, those in companions(alone, files).items()}

    def place(self, path: Path, shown: Shown, folder: str) -> Photo | Refused | None:
        """A photo with its place; why it stays; or None where it is there already."""
        source = self.real(path)
        try:
            status = source.lstat()
            if reason := why_not(source, status, self.mode):
                return Refused(path, reason)
            if source.parent == self.places.into / folder or self._lies_there(source, status):
                return None
            beside = [(one, (source.parent / one.name).lstat()) for one in self._beside[path]]
        except OSError as error:
            return Refused(path, reason_of(error))
        stem, suffix = split_name(source.name)
        ends = [suffix, *(one.end for one, _ in beside)]
        new = [f"{end}.xmp" for end in ends if self.tags and is_image_name(Path(stem + end))]
        free = self.places.stem_for(folder, stem, [*ends, *new])
        sidecars = tuple(_moved(source.with_name(one.name), f"{folder}/{free}{one.end}", st) for one, st in beside)
        return Photo(_moved(source, f"{folder}/{free}{suffix}", status), shown, sidecars)

    def real(self, path: Path) -> Path:
        """A file by the real folder that it lies in, itself not followed."""
        parent = path.parent
        if parent not in self._real:
            self._real[parent] = Path(os.path.realpath(parent))
        return self._real[parent] / path.name

    def _lies_there(self, source: Path, status: os.stat_result) -> bool:
        return (os.fspath(source), status.st_size, status.st_mtime_ns) in self.there


def _moved(source: Path, target: str, status: os.stat_result) -> Moved:
    return Moved(source, target, status.st_size, status.st_mtime_ns)


def why_not(source: Path, status: os.stat_result, mode: str) -> str | None:
    """Why a file is not carried elsewhere; None: it is."""
    if stat.S_ISLNK(status.st_mode):
        return "a link, and only files are sorted"
    if not stat.S_ISREG(status.st_mode):
        return "not a file"
    if mode != MOVE:
        return None
    if not status.st_mode & 0o222 or not os.access(source, os.W_OK):
        return "read-only, so it is not moved"
    if not os.access(source.parent, os.W_OK | os.X_OK):
        return f"nothing can be moved out of {source.parent}, which is read-only"
    return None
