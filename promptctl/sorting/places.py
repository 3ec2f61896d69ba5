"""Places: names of folders and files that every file system takes, and that never collide."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

UNKNOWN, DOUBTFUL = "unknown", "doubtful"
_LONGEST = 255  # bytes of a name, on nearly every file system
_LONGEST_FOLDER = 200  # so that a number fits behind it
_REFUSED = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|\ud800-\udfff]')
_JOINERS = "\u200c\u200d"  # without width, and part of how some languages and emoji are written
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE)


def key_of(name: str) -> str:
    """What two names have in common that some file system takes for one: case, and the form Unicode gives them."""
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())
    return unicodedata.normalize("NFC", folded)


def folder_name(label: str) -> str:
    """The folder of a class: one visible name that leads nowhere else and that Windows takes too."""
    name = "".join(map(_harmless, unicodedata.normalize("NFC", label)))
    name = _cut(name.strip(), _LONGEST_FOLDER).rstrip(" .")
    if not name or name.startswith("."):  # hidden, or the folder above
        name = "_" + name.lstrip(".")
    return re.sub(r"(\..*)?$", r"_\1", name, count=1) if _DEVICES.fullmatch(name) else name


def folder_names(labels: Iterable[str]) -> dict[str, str]:
    """Label → its folder, each a name of its own, and none of the two that are no class."""
    taken = {key_of(UNKNOWN), key_of(DOUBTFUL)}
    found: dict[str, str] = {}
    for label in labels:
        name = folder_name(label)
        if key_of(name) in (key_of(UNKNOWN), key_of(DOUBTFUL)):
            name += " (class)"
        found[label] = _free(name, taken)
        taken.add(key_of(found[label]))
    return found


def _free(name: str, taken: Collection[str]) -> str:
    number, free = 1, name
    while key_of(free) in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _harmless(character: str) -> str:
    hidden = unicodedata.category(character) == "Cf" and character not in _JOINERS
    return "_" if hidden or _REFUSED.match(character) else character


def _cut(name: str, n_bytes: int) -> str:
    while len(os.fsencode(name)) > n_bytes:
        name = name[: -max(1, (len(os.fsencode(name)) - n_bytes) // 4)]
    return name


def split_name(name: str) -> tuple[str, str]:
    """Stem and suffix of a file name: ("IMG_0001", ".jpg")."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122  a Path costs its length
    return stem, suffix


@dataclass
class Places:
    """What is taken below the folder that is sorted into, and names that are free there."""

    into: Path
    _taken: dict[str, set[str]] = field(default_factory=dict)  # folder → keys of the names in it
    _next: dict[tuple[str, str], int] = field(default_factory=dict)  # where to go on counting

    def stem_for(self, folder: str, stem: str, ends: Sequence[str]) -> str:
        """A stem that is free in a folder with each of these ends, and that is taken from now on."""
        taken = self.taken(folder)
        number = self._next.get((folder, key_of(stem)), 1)
        while True:
            end = "" if number == 1 else f"-{number}"
            free = _cut(stem, _LONGEST - len(end) - max(len(os.fsencode(one)) for one in ends)) + end
            keys = {key_of(free + one) for one in ends}
            number += 1
            if not keys & taken:
                taken |= keys
                self._next[folder, key_of(stem)] = number
                return free

    def taken(self, folder: str) -> set[str]:
        """The keys of what lies in a folder, or is to lie there."""
        if folder not in self._taken:
            self._taken[folder] = {key_of(name) for name in _names_in(self.into / folder)}
        return self._taken[folder]


def as_spelled(into: Path, folders: dict[str, str]) -> dict[str, str]:
    """The same folders as they are written where they are there already: `Emu` for `emu`."""
    there = {key_of(name): name for name in _names_in(into) if (into / name).is_dir()}
    return {label: there.get(key_of(name), name) for label, name in folders.items()}


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  names are all that is wanted
    except (FileNotFoundError, NotADirectoryError):
        return []
