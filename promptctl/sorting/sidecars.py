"""Sidecars: the files that belong to a photo and go where it goes, under its new name."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from promptctl.encoding.formats import RAW_PHOTO
from promptctl.sorting.places import key_of, split_name

# about a photo: from cameras, phones and photo programs; and the film of a Live Photo, the voice note of a camera
_ABOUT = frozenset((".xmp", ".aae", ".json", ".thm", ".dop", ".pp3", ".cos", ".nksc", ".on1", ".pto", ".vrd"))
_BESIDE = _ABOUT | {".mov", ".mp4", ".wav"}
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
