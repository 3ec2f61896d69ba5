"""Shelf: the files a list names, found however the list writes their paths."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from promptctl.errors import NoImages
from promptctl.names import one_form
from promptctl.pictures import is_image_name
from promptctl.walk import visible_folders


class Shelf:
    """The files beside a list, found however the list writes their paths."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listings: dict[Path, tuple[dict[str, list[str]], dict[str, list[str]]]] = {}

    def settle(self, cells: Sequence[str]) -> None:
        """Take the paths from the folder that has them: the list's own, or one below, as data sets do.

        CoOp's files name images relative to a folder that differs by data set (images/, jpg/, 2750/ …).
        """
        own = self._folder
        for base in _around(own):
            self._folder = base
            if any(self._found(cell) for cell in cells):
                return
        self._folder = own

    def holds(self, cell: str) -> bool:
        """Whether a cell is a file's path as it stands."""
        cell = cell.strip()
        return bool(cell) and any(_is_file(self._folder / text) for text in (cell, cell.replace("\\", "/")))

    def find(self, cell: str) -> Path:
        """The file a cell means, or the path where it was expected."""
        return self._found(cell) or self._folder / cell.strip().replace("\\", "/")

    def _found(self, cell: str) -> Path | None:
        for text in (cell, cell.strip()):
            if text.strip() and _is_file(self._folder / text):
                return self._folder / text
        parts = [part for part in re.split(r"[\\/]+", cell.strip()) if part and part != "."]
        if not re.match(r"[A-Za-z]:|[\\/]|file:", cell.strip()):
            return self._below(parts)
        tails = (self._below(parts[i:]) for i in range(len(parts)))  # of a path on another machine, the longest
        return next((path for path in tails if path), None)

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


def _around(folder: Path) -> Iterator[Path]:
    yield folder
    try:
        below = visible_folders(folder)
        yield from below
        for one in below:
            yield from visible_folders(one)
    except NoImages:  # a folder that cannot be read has nothing for us
        return


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
