"""Shelf: the files a list names, found however the list writes their paths."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from promptctl.data import remarks
from promptctl.data.names import one_form
from promptctl.data.splits import look_of
from promptctl.data.walk import visible_folders
from promptctl.encoding.formats import is_image_name
from promptctl.errors import NoImages

_LOOKED_AT = 50  # lines, to tell where the files of a list lie
_MOST_PLACES = 2000  # folders, likewise
_ABSOLUTE = re.compile(r"[A-Za-z]:|[\\/]|~|file:")


class Shelf:
    """The files beside a list, found however the list writes their paths."""

    def __init__(self, manifest: Path) -> None:
        self._list = manifest
        self._own = self._folder = manifest.parent
        self._above = self._own.resolve().parts
        self._is_flat = True
        self._listings: dict[Path, tuple[dict[str, list[str]], dict[str, list[str]]]] = {}

    def choose_folder(self, lines: Sequence[tuple[str, str]]) -> None:
        """Take the paths from the folder that has most of them: the list's own, one below, or else one beside.

        CoOp's files name images relative to a folder that differs by data set (images/, jpg/, 2750/ …).

        lines   every path as it is written, and its label
        """
        some = lines[:: max(1, len(lines) // _LOOKED_AT)]  # of all parts: test/1.jpg may be there beside train/1.jpg
        self._is_flat = len({tuple(_parts(cell)[:-1]) for cell, _ in some}) == 1
        own = self._count(self._own, some)
        if 2 * own > len(some):
            return
        counts = {place: self._count(place, some) for place in islice(_two_deep(self._own), _MOST_PLACES)}
        if own or any(counts.values()):
            self._folder = self._best({self._own: own, **counts})
            return
        counts = {place: self._count(place, some) for place in islice(_beside(self._own), _MOST_PLACES)}
        self._folder = self._best({self._own: len(some) // 2, **counts})
        if self._folder != self._own:
            remarks.say([f"the files of {self._list} are not beside it: those in {self._folder} are taken"])

    def holds(self, cell: str) -> bool:
        """Whether a cell is a file's path as it stands."""
        cell = cell.strip()
        return bool(cell) and any(_is_file(self._folder / text) for text in (cell, cell.replace("\\", "/")))

    def find(self, cell: str, label: str = "") -> Path:
        """The file a cell means, or the path where it was expected."""
        return self._found(cell, label) or self._folder / cell.strip().replace("\\", "/")

    def _count(self, place: Path, lines: Sequence[tuple[str, str]]) -> int:
        self._folder, before = place, self._folder
        count = sum(self._found(*line) is not None for line in lines)
        self._folder = before
        return count

    def _best(self, counts: Mapping[Path, int]) -> Path:
        """The folder with most of the files; of several the list's own, the one called like its split, or the first."""
        most = max(counts.values())
        best = [place for place, count in counts.items() if count == most]
        if best[0] == self._own:
            return self._own
        split = look_of(self._list.stem)
        alike = [place for place in best if split and (look_of(place.name) or ("",))[0] == split[0]]
        if len(alike) == 1:
            return alike[0]
        if len(best) > 1:
            remarks.say([f"the files of {self._list} are in {best[0]} and in {best[1]}: those in {best[0]} are taken"])
        return best[0]

    def _found(self, cell: str, label: str) -> Path | None:
        for text in dict.fromkeys((cell, cell.strip(), _local(cell))):
            if text.strip() and _is_file(self._folder / text):
                return self._folder / text
        parts = _parts(cell)
        if not _ABSOLUTE.match(cell.strip()):
            of_label = self._below([label, *parts]) if label and len(parts) == 1 else None
            return self._below(parts) or of_label or self._from_above(parts)
        # of a path on another machine the longest tail; a bare name only where the list knows no folders
        tails = (self._below(parts[i:]) for i in range(len(parts) - (not self._is_flat)))
        return next((path for path in tails if path), None)

    def _from_above(self, parts: Sequence[str]) -> Path | None:
        """The file of a path that begins with the folders the list lies in: birds/emu/1.jpg in birds/list.csv."""
        if self._folder != self._own:
            return None
        depths = (i for i in range(1, len(parts)) if self._above[-i:] == tuple(parts[:i]))
        return next((path for i in depths if (path := self._below(parts[i:]))), None)

    def _below(self, parts: Sequence[str]) -> Path | None:
        path = self._folder
        for i, part in enumerate(parts):
            deeper = path / part
            if part != ".." and not _exists(deeper):
                names, stems = self._listing(path)
                alike = names.get(_folded(part), [])
                if i == len(parts) - 1:
                    alike = alike or stems.get(_folded(part), [])
                if len(alike) != 1:
                    return None
                deeper = path / alike[0]
            path = deeper
        return path if parts and _is_file(path) else None

    def _listing(self, folder: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Names in a folder, as one writes them on other systems, and images by their name without its ending."""
        if folder not in self._listings:
            names: dict[str, list[str]] = {}
            stems: dict[str, list[str]] = {}
            for name in _names_in(folder):
                names.setdefault(_folded(name), []).append(name)
                if is_image_name(Path(name)):
                    stems.setdefault(_folded(Path(name).stem), []).append(name)
            self._listings[folder] = names, stems
        return self._listings[folder]


def _local(cell: str) -> str:
    """A path as this machine writes it: file:///data/my%20birds/1.jpg, ~/birds/1.jpg."""
    text = cell.strip()
    if text.lower().startswith("file:"):
        text = unquote(re.sub(r"^file:(?://[^/]*)?", "", text, flags=re.IGNORECASE))
    return os.path.expanduser(text)  # noqa: PTH111  which lets be what it cannot expand


def _parts(cell: str) -> list[str]:
    """The names in a path, however it is written."""
    text = unquote(cell.strip()) if cell.strip().lower().startswith("file:") else cell.strip()
    return [part for part in re.split(r"[\\/]+", text) if part and part != "."]


def _two_deep(folder: Path) -> Iterator[Path]:
    """The folders in a folder, then those in them."""
    try:
        inside = visible_folders(folder)
    except NoImages:  # a folder that cannot be read has nothing for us
        return
    yield from inside
    for one in inside:
        try:
            yield from visible_folders(one)
        except NoImages:
            continue


def _beside(folder: Path) -> Iterator[Path]:
    """The folder around, for annotations/list.json beside images/, and those in it."""
    around = folder.resolve().parent
    yield around
    yield from _two_deep(around)


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _folded(name: str) -> str:
    return one_form(name).casefold()
