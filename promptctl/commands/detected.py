"""Detected: photos with what a detector of animals found in them, and what each of its boxes shows."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl.commands.answers import Answering, answered_boxes
from promptctl.errors import NoImages, reason_of
from promptctl.progress import OnProgress
from promptctl.report import DetectorSaid, SkippedFile

if TYPE_CHECKING:
    from promptctl.classification.classifier import Answer
    from promptctl.data.readers.detections import Detection, Detections, Entry
    from promptctl.encoding.boxes import Box
    from promptctl.encoding.files import Skipped

EMPTY = "empty"  # what a photo without anything in it is labelled
PASSED = ("person", "vehicle", EMPTY)  # labels of photos that no class is asked of
_SAMPLE = 500  # entries that are looked at to tell where the files lie
_DEEPEST = 40  # folders that may be left out of their names
_LONGEST = 4096  # characters of a path, on any system


@dataclass(frozen=True)
class Photo:
    """A photo, and what the detector said of it."""

    path: str
    entry: Entry | None  # None: nothing
    boxes: tuple[int, ...] = ()  # which of its detections are looked at, each by itself
    passed: tuple[str, float] | None = None  # the label of a photo that is not looked at, and how certain that is

    @property
    def parts(self) -> tuple[Box | None, ...]:
        """What is encoded: boxes, the whole photo, or nothing."""
        if self.passed is not None:
            return ()
        return tuple(self.detections[box].box for box in self.boxes) or (None,)

    @property
    def detections(self) -> tuple[Detection, ...]:
        return self.entry.detections if self.entry else ()

    @staticmethod
    def of(path: str, entry: Entry | None, threshold: float) -> Photo:
        """Which boxes are looked at: of animals, from a confidence on. Where there are none of them, a photo is passed
        through, unless the detector could not look at it or has boxes that cannot be used.
        """
        if entry is None or entry.failure is not None:
            return Photo(path, entry)
        sure = [place for place, one in enumerate(entry.detections) if one.confidence >= threshold]
        animals = tuple(place for place in sure if entry.detections[place].category == "animal")
        if animals:
            return Photo(path, entry, animals)
        if sure:
            best = entry.detections[sure[0]]
            return Photo(path, entry, passed=(best.category, best.confidence))
        if entry.n_broken or entry.n_other:
            return Photo(path, entry)
        most = entry.detections[0].confidence if entry.detections else 0.0
        return Photo(path, entry, passed=(EMPTY, 1 - most))


@dataclass(frozen=True)
class Photos:
    """Photos in their order, each with what the detector said of it."""

    found: Sequence[Photo]
    said: DetectorSaid
    file_of: Callable[[str], str | None]  # what the detections call a photo; None: they do not

    @staticmethod
    def of(detections: Detections, photos: Sequence[str], roots: Sequence[str], threshold: float | None) -> Photos:
        """What a file of detections says of photos.

        photos      as they are called here
        roots       folders that photos were looked for in, and that the file may name them from
        threshold   confidence from which on a box is believed; None: as the file recommends
        """
        least = detections.threshold if threshold is None else threshold
        names = Names(detections, [os.fspath(detections.path.parent), *roots, ""])
        entry_of = names.matched(photos)
        found = [Photo.of(photo, entry_of.get(photo), least) for photo in photos]
        taken = {entry.file for entry in entry_of.values()}
        said = _said(detections, least, found, [one.file for one in detections.entries if one.file not in taken])
        said = replace(said, moved=names.moved(map(_whole, photos)))
        return Photos(found, said, lambda photo: entry_of[photo].file if photo in entry_of else None)


def photos_named(detections: Detections, is_photo: Callable[[str], bool]) -> list[str]:
    """The photos that a file of detections is about, where they are on this machine, or where they were expected.

    is_photo   whether something is called like a photo; nothing else is taken for one that no detector opened, and
               sorted, because a file says so
    raises     NoImages where it names none, or none that is there
    """
    names = Names(detections, [os.fspath(detections.path.parent), ""])
    found = [path for path in names.placed(detections.entries) if is_photo(path) and not _is_folder(path)]
    if not found:
        raise NoImages(f"{detections.path} names no photos", "give photos, or a file of detections that has some")
    if not any(map(os.path.exists, found)):
        raise NoImages(
            f"no photo that {detections.path} names is beside it, or below the folder you are in: {found[0]} and so on",
            "name the folder that its paths begin in, before --detections",
        )
    return found


def _said(detections: Detections, threshold: float, found: Sequence[Photo], left: Sequence[str]) -> DetectorSaid:
    """What is told of a file of detections beside the answers."""
    failed = [one.path for one in found if one.entry and one.entry.failure is not None]
    broken = [one for one in found if one.entry and one.entry.n_broken]
    return DetectorSaid(
        file=detections.path,
        detector=detections.detector,
        threshold=threshold,
        without_entry=tuple(one.path for one in found if one.entry is None),
        without_photo=tuple(left),
        failed=tuple(failed),
        broken={one.path: one.entry.broken or "" for one in broken if one.entry},
        n_broken=sum(one.entry.n_broken for one in broken if one.entry),
        doubles=detections.doubles,
        others=dict(detections.others),
    )


# --------------------------------------------------------------------------- whose file is meant


@dataclass(frozen=True, eq=False)
class Names:
    """The files that detections name, found from some folder: their own, an input or the one we are in.

    Detections are made on one machine and used on another: what all names begin with may be left out, `D:\\cams\\2024`
    as well as `photos/`.
    """

    detections: Detections
    roots: Sequence[str]  # folders; "": the one we are in

    def matched(self, photos: Sequence[str]) -> dict[str, Entry]:
        """Photo → what is said of it."""
        known: dict[str, list[str]] = {}
        for photo in photos:
            known.setdefault(_whole(photo), []).append(photo)
        places = self._places(known.__contains__)
        found: dict[str, Entry] = {}
        for entry in self.detections.entries:
            same = next((known[one] for one in map(_whole, places(entry.file)) if one in known), ())
            for photo in same:
                found.setdefault(photo, entry)
        return found

    def moved(self, photos: Iterable[str]) -> tuple[str, str] | None:
        """The folder that names begin with, and the one whose photos are taken for its, if that is called otherwise."""
        root, left, hits = self._base(set(photos).__contains__)
        here = Path(_whole(root or "."))
        is_same = left < len(self._common) or self._common[left - 1 :] == (here.name,)
        return (_joined("", self._common), os.fspath(here)) if hits and left and not is_same else None

    def placed(self, entries: Sequence[Entry]) -> list[str]:
        """Where the photos of entries are: of several places the first that has it, or else where it was expected."""
        places = self._places(_is_file)
        found: dict[str, None] = {}
        for entry in entries:
            first, *others = places(entry.file)
            found[next(filter(_is_file, (first, *others)), first)] = None
        return list(found)

    def _places(self, is_there: Callable[[str], bool]) -> Callable[[str], list[str]]:
        """Where a file may be: first as most of them are, then as it is written, from each root."""
        root, left, hits = self._base(is_there)

        def places(file: str) -> list[str]:
            parts = _parts(file)
            likely = [_joined(root, parts[left:])] if hits and len(parts) > left else []
            return [*likely, *(_joined(one, parts) for one in self.roots)]

        return places

    def _base(self, is_there: Callable[[str], bool]) -> tuple[str, int, int]:
        """The root from which most files are found, how many parts of their names are left out, how many are found."""
        entries = self.detections.entries
        some = [_parts(one.file) for one in entries[:: max(1, len(entries) // _SAMPLE)]]
        bases = [(root, left) for left in range(len(self._common) + 1) for root in self.roots]
        hits = [sum(is_there(_whole(_joined(root, parts[left:]))) for parts in some) for root, left in bases]
        best = hits.index(max(hits))
        return *bases[best], hits[best]

    @cached_property
    def _common(self) -> tuple[str, ...]:
        """The folders that all names begin with."""
        entries = iter(self.detections.entries)
        common = _parts(first.file)[:-1][:_DEEPEST] if (first := next(entries, None)) else ()
        for entry in entries:
            if not common:
                break
            parts = _parts(entry.file)[:-1]
            same = (place for place, (one, other) in enumerate(zip(common, parts, strict=False)) if one != other)
            common = common[: next(same, min(len(common), len(parts)))]
        return common


def _parts(file: str) -> tuple[str, ...]:
    """The parts of a path as any system writes it; an address is no path, nor is what no system takes for one."""
    if "://" in file or len(file) > _LONGEST:
        return (file.replace("/", "\u2044"),)  # a name that no file has: nothing is fetched because a file says so
    start = ("/",) if file.startswith("/") else ()
    return (*start, *(part for part in file.replace("\\", "/").split("/") if part not in ("", ".")))


def _is_file(path: str) -> bool:
    try:
        return os.path.isfile(path)  # noqa: PTH113  a Path costs its length
    except ValueError:  # a NUL in it, or half a character
        return False


def _is_folder(path: str) -> bool:
    """Whether somebody who names photos would have a folder gone through, all of the disk perhaps."""
    try:
        return os.path.isdir(path)  # noqa: PTH112  a Path costs its length
    except ValueError:
        return False


def _joined(root: str, parts: Sequence[str]) -> str:
    if parts[:1] == ("/",):
        return "/" + "/".join(parts[1:])
    start = "" if root in ("", ".") else root if root.endswith("/") else f"{root}/"
    return start + "/".join(parts)


def _whole(path: str) -> str:
    """A path as it is compared: absolute, whatever form of Unicode its accents have."""
    whole = path if "://" in path else os.path.abspath(path)  # noqa: PTH100  links are not followed
    return whole if whole.isascii() else unicodedata.normalize("NFC", whole)


@dataclass(frozen=True, eq=False)
class Files:
    """What photos are called in files for other tools: relative to the folder that all of them lie in."""

    inputs: Sequence[Path]
    photos: Photos | None  # whose detections may have names for them

    def file_of(self, path: Path) -> str:
        """As the detections name it, if that is not a place on some machine; with slashes on every system."""
        named = self.photos.file_of(os.fspath(path)) if self.photos else None
        if named is not None and not _is_absolute(named):
            return named
        inside = _below(os.fspath(path), self._folder)
        return inside or named or Path(path).as_posix()

    @cached_property
    def _folder(self) -> str:
        """The folder that all inputs lie in; the one of a file is where it lies."""
        folders = [os.fspath(one if one.is_dir() else one.parent) for one in self.inputs]
        try:
            return os.path.commonpath(folders)
        except ValueError:  # none, or some absolute and others not
            return ""


def _is_absolute(file: str) -> bool:
    return file.startswith(("/", "\\")) or file[1:2] == ":" or "://" in file


def _below(path: str, folder: str) -> str | None:
    """A path from a folder on; None where it lies elsewhere."""
    if folder in ("", "."):
        return None if _is_absolute(path) else Path(path).as_posix()
    start = folder if folder.endswith("/") else f"{folder}/"
    return path[len(start) :] if path.startswith(start) else None


# --------------------------------------------------------------------------- what they show


@dataclass(frozen=True)
class Shown:
    """What a photo shows: of each box, or of the whole photo, what each context says; nothing of one passed through."""

    photo: Photo
    answers: tuple[tuple[Answer, ...], ...] = ()
    best: int = 0  # whose answer is the photo's

    @staticmethod
    def of(photo: Photo, answers: Sequence[tuple[Answer, ...]]) -> Shown:
        """The answer of a photo is that of its most certain box: one that is taken rather than one that is not, and of
        these the one that is most likely an animal, and of that class.
        """

        def certain(place: int) -> tuple[bool, float]:
            answer = answers[place][0]
            sure = photo.detections[photo.boxes[place]].confidence if photo.boxes else 1.0
            return not (answer.unknown or answer.doubtful), sure * answer.probability

        return Shown(photo, tuple(answers), max(range(len(answers)), key=certain))


def shown(
    answerings: Sequence[Answering],
    photos: Sequence[Photo],
    on_progress: OnProgress | None,
    known: Container[str] = (),
) -> Iterator[Shown | SkippedFile | Skipped]:
    """What photos show, in their order; of those passed through a file that is not there is passed over.

    known   photos that need not come again, as in `answers.answered`
    """
    known = () if any(one.together for one in answerings) else known
    left = [one for one in photos if one.path not in known]
    jobs = [(one.path, one.parts) for one in left if one.passed is None]
    with closing(answered_boxes(answerings, jobs, on_progress)) as answers:
        for photo in left:
            if photo.passed is not None:
                yield _not_there(photo.path) or Shown(photo)
            else:
                yield _of_parts(photo, list(islice(answers, len(photo.parts))))


def _of_parts(photo: Photo, found: Sequence[tuple[Answer, ...] | Skipped]) -> Shown | Skipped:
    skipped = next((one for one in found if not isinstance(one, tuple)), None)
    return skipped or Shown.of(photo, [one for one in found if isinstance(one, tuple)])


def _not_there(photo: str) -> SkippedFile | None:
    if "://" in photo:  # it was listed a moment ago
        return None
    try:
        os.stat(photo)  # noqa: PTH116  a Path costs its length
    except (OSError, ValueError) as error:
        return SkippedFile(Path(photo), reason_of(error) if isinstance(error, OSError) else "no file has such a name")
    return None
