"""Shelf: the files a list names, found however the list writes their paths."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from promptctl.data import remarks
from promptctl.data.names import one_form
from promptctl.data.splits import look_of
from promptctl.data.walk import every_file, visible_folders
from promptctl.encoding.formats import RAW_PHOTO, is_image_name, of_name
from promptctl.errors import DatasetError, NoImages
from promptctl.remote import is_remote, path_of, same_system

_LOOKED_AT = 50  # lines, to tell where the files of a list lie
_MOST_PLACES = 2000  # folders, likewise
_MOST_ELSEWHERE = 50  # where each takes a few requests
_MOST_FILES = 2_000_000  # below a list that are looked at to find photos by their ids alone
_MOST_AROUND = 200_000  # likewise in the folder around it, which may be somebody's whole home
_ADDRESS = re.compile(r"(?!file:)[a-z][a-z0-9+.-]{1,9}://", re.IGNORECASE)
_ABSOLUTE = re.compile(r"[A-Za-z]:|[\\/]|~|file:")


class Shelf:
    """The files beside a list, found however the list writes their paths."""

    def __init__(self, manifest: Path) -> None:
        self._list = manifest
        self._own = self._folder = manifest.parent
        self._above = self._own.resolve().parts
        self._is_flat = True
        self._bare: frozenset[str] = frozenset()  # the cells without folders, once it is known where most files lie
        self._listings: dict[Path, tuple[dict[str, list[str]], dict[str, list[str]]]] = {}

    def choose_folder(self, lines: Sequence[tuple[str, str]]) -> None:
        """Take the paths from the folder that has most of them: the list's own, one below, or else one beside.

        CoOp's files name images relative to a folder that differs by data set (images/, jpg/, 2750/ …).

        lines   every path as it is written, and its label
        """
        self._choose(lines)
        self._bare = frozenset(_folded(cell.strip()) for cell, _ in lines if self._is_bare(cell))

    def _choose(self, lines: Sequence[tuple[str, str]]) -> None:
        some = lines[:: max(1, len(lines) // _LOOKED_AT)]  # of all parts: test/1.jpg may be there beside train/1.jpg
        self._is_flat = len({tuple(_parts(cell)[:-1]) for cell, _ in some}) == 1
        own = self._there(self._own, some)
        if 2 * len(own) > len(some):
            return
        most = _MOST_ELSEWHERE if is_remote(self._own) else _MOST_PLACES
        found = {place: self._there(place, some) for place in islice(_two_deep(self._own), most)}
        if own or any(found.values()):
            self._folder = self._best({self._own: own, **found})
            return
        found = {place: self._there(place, some) for place in islice(_beside(self._own), most)}
        self._folder = self._best({place: lines for place, lines in found.items() if len(lines) > len(some) // 2})
        if self._folder != self._own:
            remarks.say([f"the files of {self._list} are not beside it: those in {self._folder} are taken"])

    def holds(self, cell: str) -> bool:
        """Whether a cell is a file's path as it stands."""
        cell = cell.strip()
        return bool(cell) and any(_is_file(self._folder / text) for text in (cell, cell.replace("\\", "/")))

    def find(self, cell: str, label: str = "") -> Path:
        """The file a cell means, or the path where it was expected."""
        return self._found(cell, label) or self._folder / cell.strip().replace("\\", "/")

    def looked_up(self, cell: str, label: str = "") -> tuple[Path, str | None]:
        """The file a cell means; or the path where it was expected and, where several are called so, which they are."""
        found = self._found(cell, label)
        if found is not None or _ABSOLUTE.match(cell.strip()):
            return found or self.find(cell, label), None
        several = self._elsewhere(cell) if self._is_bare(cell) else self._called(_parts(cell))
        shown = " and ".join(_under(self._own, path) for path in several[:2]) + (" …" if len(several) > 2 else "")
        return self.find(cell), f"{len(several)} photos are called so: {shown}" if len(several) > 1 else None

    def _there(self, place: Path, lines: Sequence[tuple[str, str]]) -> frozenset[int]:
        """Which lines have a file in a place."""
        self._folder, before = place, self._folder
        found = frozenset(i for i, line in enumerate(lines) if self._found(*line))
        self._folder = before
        return found

    def _best(self, found: Mapping[Path, frozenset[int]]) -> Path:
        """The folder with most of the files; of several the list's own, the one called like its split, or the first."""
        most = max(map(len, found.values()), default=0)
        best = [place for place, lines in found.items() if len(lines) == most]
        if not best or best[0] == self._own:
            return self._own
        split = look_of(self._list.stem)
        alike = [place for place in best if split and (look_of(place.name) or ("",))[0] == split[0]]
        if len(alike) == 1:
            return alike[0]
        if len(best) > 1 and found[best[0]] & found[best[1]]:  # and not one part here, the other there
            remarks.say([f"the files of {self._list} are in {best[0]} and in {best[1]}: those in {best[0]} are taken"])
        return best[0]

    def _found(self, cell: str, label: str) -> Path | None:
        refuse_address(self._list, cell)
        if is_remote(cell.strip()):
            return path_of(cell.strip())
        for text in dict.fromkeys((cell, cell.strip(), _local(cell))):
            if text.strip() and _is_file(self._folder / text):
                return self._folder / text
        parts = _parts(cell)
        if not _ABSOLUTE.match(cell.strip()):
            of_label = self._below([label, *parts]) if label and len(parts) == 1 else None
            return self._below(parts) or of_label or self._from_above(parts) or self._only_one(cell)
        # of a path on another machine the longest tail; a bare name only where the list knows no folders
        tails = (self._below(parts[i:]) for i in range(len(parts) - (not self._is_flat)))
        return next((path for path in tails if path), None)

    def _is_bare(self, cell: str) -> bool:
        return len(_parts(cell)) == 1 and not _ABSOLUTE.match(cell.strip())

    def _only_one(self, cell: str) -> Path | None:
        """The one file in the whole tree that is called like a cell without folders: ids of photos in many folders.

        None where a folder has most of the files and another has some of the same names: test/1.png is not train/1.png.
        """
        if not self._bare or not self._is_bare(cell):
            return None
        found = self._elsewhere(cell)
        return found[0] if len(found) == 1 and (self._folder == self._own or not self._clashes) else None

    def _elsewhere(self, cell: str) -> list[Path]:
        return self._tree.get(_folded(cell.strip()), [])

    @cached_property
    def _tree(self) -> dict[str, list[Path]]:
        """The files below the list, or else around it, by what its cells call them."""
        is_below = self._folder.is_relative_to(self._own)
        around = self._own.resolve().parent
        return (is_below and self._indexed(self._own, _MOST_FILES)) or self._indexed(around, _MOST_AROUND)

    def _indexed(self, root: Path, most: int) -> dict[str, list[Path]]:
        """The files of a tree by their names, of images also without the ending; those alone that a cell may mean.

        most   files that are looked at; where there are more, nobody knows which names are there once, and none counts
        """
        names: dict[str, list[Path]] = {}
        stems: dict[str, list[Path]] = {}
        if not is_remote(root) and root.resolve() == Path(root.anchor):  # all of the machine
            return {}
        for count, file in enumerate(every_file([root])):
            if count == most:
                remarks.say(
                    [f"more than {most:,} files lie in {root}: photos of {self._list} are not looked for there"]
                )
                return {}
            if isinstance(file, str):
                path = path_of(file)
                if (name := _folded(path.name)) in self._bare:
                    names.setdefault(name, []).append(path)
                elif is_image_name(path) and (stem := _folded(path.stem)) in self._bare:
                    stems.setdefault(stem, []).append(path)
        return {**{stem: _one_of_pair(paths) for stem, paths in stems.items()}, **names}

    @cached_property
    def _clashes(self) -> bool:
        """Whether a file of the folder is called like one elsewhere."""
        several = (paths for paths in self._tree.values() if len(paths) > 1)
        return any(path.is_relative_to(self._folder) for paths in several for path in paths)

    def _from_above(self, parts: Sequence[str]) -> Path | None:
        """The file of a path that begins with the folders the list lies in: birds/emu/1.jpg in birds/list.csv."""
        if self._folder != self._own:
            return None
        depths = (i for i in range(1, len(parts)) if self._above[-i:] == tuple(parts[:i]))
        return next((path for i in depths if (path := self._below(parts[i:]))), None)

    def _below(self, parts: Sequence[str]) -> Path | None:
        found = self._called(parts)
        return found[0] if len(found) == 1 else None

    def _called(self, parts: Sequence[str]) -> list[Path]:
        """The files below the folder that a path may mean."""
        folder = self._folder
        for part in parts[:-1]:
            inside = self._alike(folder, part)
            if len(inside) != 1:
                return []
            (folder,) = inside
        return self._files(folder, parts[-1]) if parts else []

    def _alike(self, folder: Path, name: str) -> list[Path]:
        if name == ".." or _exists(folder / name):
            return [folder / name]
        return [folder / one for one in self._listing(folder)[0].get(_folded(name), [])]

    def _files(self, folder: Path, name: str) -> list[Path]:
        """The files in a folder that are called so, or else the images that are but for their ending."""
        if _is_file(folder / name):
            return [folder / name]
        names, stems = self._listing(folder)
        alike = [folder / one for one in names.get(_folded(name), [])]
        return [one for one in alike if _is_file(one)] or _one_of_pair(
            folder / one for one in stems.get(_folded(name), [])
        )

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


def _one_of_pair(photos: Iterable[Path]) -> list[Path]:
    """Of a raw photo and the JPEG that the camera took with it the JPEG."""
    found = list(photos)
    return [path for path in found if of_name(path) is not RAW_PHOTO] or found


def _under(folder: Path, path: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def refuse_address(manifest: Path, cell: str) -> None:
    """DatasetError for a URL, unless its list lies in the same store: no other has the network asked for anything."""
    text = cell.strip()
    if _ADDRESS.match(text) and not same_system(manifest, text):
        raise DatasetError(
            f"{manifest} lists addresses in the network such as {text}, and photos are read from files",
            "put the list beside the photos and give its address, or give the photos alone with --files-from",
        )


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
