"""Sidecars: the files that belong to a photo and go where it goes, under its new name."""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from promptctl.encoding.formats import RAW_PHOTO, is_image_name
from promptctl.sorting.places import key_of, split_name
from promptctl.sorting.xmp import LARGEST, BadSidecar

# about a photo: from cameras, phones and photo programs; and the film of a Live Photo, the voice note of a camera
_ABOUT = frozenset((".xmp", ".aae", ".json", ".thm", ".dop", ".pp3", ".cos", ".nksc", ".on1", ".pto", ".vrd"))
_BESIDE = _ABOUT | {".mov", ".mp4", ".wav"}
_XMP = ".xmp"
_RAW = frozenset(RAW_PHOTO.suffixes)
_NUMBERED = re.compile(r"(.*)(\(\d+\))", re.DOTALL)
_TAKEOUT = "supplemental-metadata"  # Google's, cut wherever 51 characters are full
_TAKEOUT_CUT = 46  # characters of a photo's name that Takeout keeps before .json
_ORIGINAL = re.compile(r"(IMG_)O(\d+)", re.IGNORECASE)  # IMG_O0001.AAE: how IMG_0001 was before it was edited


@dataclass(frozen=True)
class Companion:
    """A file that goes with a photo: its name, and what its new name ends with, behind the stem of the photo's."""

    name: str
    end: str


def companions(photos: Sequence[str], names: Iterable[str]) -> dict[str, tuple[Companion, ...]]:
    """What goes with which photo of a folder, each with one at most.

    photos    names of the photos that are sorted, in their order; a raw beside its JPEG is none
    names     of all files of the folder
    """
    by_stem = _by_stem(photos)
    by_name = {photo.casefold(): photo for photo in photos}
    found: dict[str, list[Companion]] = {photo: [] for photo in photos}
    for name in sorted(set(names) - set(photos)):
        photo = _photo_of(name, by_name, by_stem)
        if photo is not None:
            end = _end(name, photo)
            ends = {key_of(one.end) for one in found[photo]} | {key_of(split_name(photo)[1])}
            if key_of(end) not in ends:  # IMG.XMP beside IMG.xmp
                found[photo].append(Companion(name, end))
    return {photo: tuple(those) for photo, those in found.items()}


def raws_of_pairs(names: Iterable[str]) -> set[str]:
    """The raw photos of a folder that lie beside the same picture in another form."""
    names = list(names)
    developed = {split_name(name)[0].casefold() for name in names if split_name(name)[1].lower() not in _RAW}
    return {name for name in names if _is_raw(name) and split_name(name)[0].casefold() in developed}


class XmpNames:
    """Which XMP sidecars belong to which photo of a folder.

    darktable, digiKam and Immich call them IMG.jpg.xmp. Adobe's programs, which read them beside raw photos alone, call
    them IMG.xmp; of two files of one stem such a one is the raw photo's. Where there are both, both are a photo's.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._by_key: defaultdict[str, list[str]] = defaultdict(list)
        self._images: defaultdict[str, list[str]] = defaultdict(list)  # key of a stem → images of that stem
        for name in sorted(self._names):
            stem, suffix = split_name(name)
            if suffix.lower() == _XMP:
                self._by_key[key_of(name)].append(name)
            elif is_image_name(Path(name)):
                self._images[key_of(stem)].append(name)

    def of(self, photo: str, *, adobe: bool = False) -> tuple[str, ...]:
        """The sidecars that a photo has, or the name of the one that it gets.

        adobe   a raw photo gets one as Adobe's programs look for it
        """
        full, short = photo + _XMP, split_name(photo)[0] + _XMP
        has_short = self._has_stem(photo)
        found = (*self._called(full, photo), *(self._called(short, photo) if has_short else ()))
        return found or ((short,) if adobe and has_short and _is_raw(photo) else (full,))

    def developed(self, photo: str) -> str | None:
        """The same picture in another form, of a raw photo that lies beside one."""
        stem = key_of(split_name(photo)[0])
        others = [name for name in self._images.get(stem, ()) if not _is_raw(name)] if _is_raw(photo) else []
        return others[0] if others else None

    def _called(self, name: str, photo: str) -> tuple[str, ...]:
        """A sidecar of a name, in whatever case it is written, unless another file is called just like it."""
        if name in self._names:
            return (name,)
        found = (one for one in self._by_key.get(key_of(name), ()) if split_name(one)[0] not in self._names - {photo})
        return tuple(islice(found, 1))

    def _has_stem(self, photo: str) -> bool:
        """Whether what is called by the stem alone is about this photo."""
        images = self._images.get(key_of(split_name(photo)[0]), [])
        raws = [name for name in images if _is_raw(name)]
        return (raws or images) == [photo]


def is_xmp(name: str) -> bool:
    return split_name(name)[1].lower() == _XMP


def read_sidecar(path: Path) -> tuple[bytes | None, int | None]:
    """What is in a sidecar, and its mtime in ns; None where there is none. BadSidecar, OSError"""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None, None
    if not stat.S_ISREG(status.st_mode):
        raise BadSidecar("a link, and only files are changed" if path.is_symlink() else "not a file")
    if status.st_size > LARGEST:
        raise BadSidecar(f"{status.st_size / 1e6:.0f} MB, which no sidecar has")
    return path.read_bytes(), status.st_mtime_ns


def regular_files(folder: Path) -> list[str]:
    """The names of the files of a folder, without links."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]


def is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _is_raw(name: str) -> bool:
    return split_name(name)[1].lower() in _RAW


def _by_stem(photos: Sequence[str]) -> dict[str, str]:
    """Which photo of a stem has what belongs to the stem: the first, in the order of their names."""
    found: dict[str, str] = {}
    for photo in sorted(photos):
        found.setdefault(split_name(photo)[0].casefold(), photo)
    return found


def _photo_of(name: str, by_name: Mapping[str, str], by_stem: Mapping[str, str]) -> str | None:
    stem, suffix = split_name(name)
    suffix = suffix.lower()
    if suffix in _ABOUT and (photo := by_name.get(stem.casefold())):  # IMG.jpg.xmp
        return photo
    if suffix in _BESIDE | _RAW and (photo := by_stem.get(stem.casefold())):  # IMG.xmp, IMG.MOV, IMG.CR2
        return photo
    if suffix in _ABOUT and _is_raw(stem) and (photo := by_stem.get(split_name(stem)[0].casefold())):  # IMG.CR2.xmp
        return photo
    if suffix == ".json":
        return _by_takeout(stem, by_name)
    if suffix == ".aae" and (original := _ORIGINAL.fullmatch(stem)):
        return by_stem.get((original[1] + original[2]).casefold())
    return None


def _by_takeout(stem: str, by_name: Mapping[str, str]) -> str | None:
    """IMG.jpg.supplemental-metadata.json and shorter, IMG.jpg(1).json of IMG(1).jpg, names cut at 46 characters."""
    stem, number = _without_number(stem)
    parts = [stem, *(stem[:at] for at in range(len(stem)) if stem[at] == "." and _is_cut(stem[at + 1 :]))]
    for name in parts:
        photo_stem, suffix = split_name(name)
        if photo := by_name.get(f"{photo_stem}{number}{suffix}".casefold()):
            return photo
    if len(stem) == _TAKEOUT_CUT:
        cut = [photo for name, photo in by_name.items() if name.startswith(stem.casefold())]
        return cut[0] if len(cut) == 1 else None
    return None


def _without_number(stem: str) -> tuple[str, str]:
    numbered = _NUMBERED.fullmatch(stem)
    return (numbered[1], numbered[2]) if numbered else (stem, "")


def _is_cut(words: str) -> bool:
    return _TAKEOUT.startswith(words.lower())


def _end(name: str, photo: str) -> str:
    """What stays of a name behind the stem of its photo."""
    stem, suffix = split_name(photo)
    for start, kept in ((photo, suffix), (stem, "")):
        if name[: len(start)].casefold() == start.casefold() and len(name) > len(start):
            return kept + name[len(start) :]
    return ("-original" if _ORIGINAL.match(name) else suffix) + split_name(name)[1]
