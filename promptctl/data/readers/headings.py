"""Headings: what tools and people call the columns of a list."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from promptctl.data.splits import split_of
from promptctl.encoding.formats import is_image_name
from promptctl.errors import DatasetError

# columns as tools call them, those that say most first; compared without case, blanks and underscores
PATHS = (
    "path", "filepath", "imagepath", "imgpath", "filename", "imagefilename", "imagefile", "imagename", "imgname",
    "file", "image", "img", "photo", "picture", "imageid", "imgid", "photoid", "fileid", "uri", "id",
)  # fmt: skip

LABELS = (
    "labelname", "classname", "categoryname", "label", "class", "category", "species", "target", "groundtruth",
    "breed", "tag", "choice", "labelid", "classid", "categoryid", "labelidx", "classidx", "name",
)  # fmt: skip

SPLITS = ("split", "dataset", "subset", "set", "partition", "usage", "phase")
LOOKED_AT = 50  # rows, to tell how a list is written
WANTED = "the columns are path,label or file_name,label"


@dataclass(frozen=True)
class ColumnNames:
    """What somebody says that the columns of a list are called; None: they are told by their usual names."""

    path: str | None = None
    label: str | None = None
    split: str | None = None

    def __bool__(self) -> bool:
        return bool(self.asked)

    @property
    def asked(self) -> dict[str, str]:
        """What is in a column → what it is called."""
        said = {"path": self.path, "label": self.label, "split": self.split}
        return {what: name for what, name in said.items() if name is not None}

    def are_in(self, cells: Sequence[str]) -> bool:
        """Whether a line is the heading with all of them."""
        return bool(self) and all(column_called(name, cells) is not None for name in self.asked.values())


USUAL = ColumnNames()


def column_called(name: str, columns: Sequence[str]) -> str | None:
    """The column that is called so, to the letter or else but for case, blanks and plurals; None where none is."""
    exact = [column for column in columns if column.strip() == name.strip()]
    alike = [column for column in columns if plain(column) == plain(name)]
    return next(iter(exact or alike), None)


def refuse_columns(path: Path, names: ColumnNames, what: str) -> None:
    """DatasetError where columns are named of what has none."""
    if names:
        option = next(iter(names.asked))
        raise DatasetError(
            f"{path} is {what}, so it has no column '{names.asked[option]}'", f"leave out --{option}-column"
        )


@dataclass(frozen=True)
class Columns:
    """What the columns of a list are called, and those that were told by what is in them."""

    names: Sequence[str]
    file: str | None = None
    label: str | None = None
    are_headed: bool = True


def columns_of(
    rows: list[tuple[int, list[str]]], is_known: Callable[[str], bool], names: ColumnNames = USUAL
) -> tuple[Columns, list[tuple[int, list[str]]]]:
    """What the columns are called, and the rows without their heading."""
    first, some = [cell.strip() for cell in rows[0][1]], [row for _, row in rows[1 : 1 + LOOKED_AT]]
    file = _file_column([first, *some], is_known)
    if names:  # whoever names a column says that there is a heading
        return _headed(first, file), rows[1:]
    is_data = any(is_known(cell) or is_image_name(Path(cell)) for cell in first)
    if not is_data and (is_heading(first) or file is not None):
        return _headed(first, file), rows[1:]
    return _unheaded([first, *some], file or 0), rows


def _file_column(rows: Sequence[Sequence[str]], is_known: Callable[[str], bool]) -> int | None:
    """The column whose cells are files, or at least called like images."""
    for is_file in (is_known, lambda cell: is_image_name(Path(cell.strip()))):
        found = Counter(i for row in rows for i, cell in enumerate(row) if is_file(cell))
        if found:
            return found.most_common(1)[0][0]
    return None


def _headed(names: list[str], file: int | None) -> Columns:
    """Columns under a heading; in another language the files tell which is which, if there are two."""
    if file is None or any(plain(name) in PATHS for name in names):
        return Columns(names)
    names = [name or (f"column {i + 1}" if i == file else "") for i, name in enumerate(names)]
    others = [name for i, name in enumerate(names) if i != file and not is_index(name)]
    known = any(plain(name) in LABELS for name in others)
    return Columns(names, names[file], others[0] if len(others) == 1 and not known else None)


def _unheaded(rows: Sequence[Sequence[str]], file: int) -> Columns:
    """Columns without a heading: beside the files a count, the label, perhaps the split; others have no name."""
    cells = [[row[i].strip() for row in rows if i < len(row)] for i in range(len(rows[0]))]
    if len(cells) < 2:
        return Columns(rows[0], are_headed=False)
    others = [i for i, column in enumerate(cells) if i != file and any(column) and not (i < file and _is_count(column))]
    split = next((i for i in others if len(others) > 1 and all(map(is_split_or_blank, cells[i]))), None)
    named = [i for i in others if i != split]
    label = next((i for i in named if not all(map(str.isdigit, cells[i]))), named[0] if named else None)
    names = {file: "path", label: "label", split: "split"}
    return Columns([names.get(i, "") for i in range(len(cells))], "path", None if label is None else "label", False)


def _is_count(column: Sequence[str]) -> bool:
    """Whether cells count the lines; of two lines 0 and 1 may as well be classes."""
    return all(map(str.isdigit, column)) and len(set(column)) == len(column) > 2


def is_heading(cells: Sequence[str]) -> bool:
    return any(plain(cell) in (*PATHS, *LABELS) for cell in cells)


def is_whole_heading(cells: Sequence[str]) -> bool:
    words = {plain(cell) for cell in cells}
    return not words.isdisjoint(PATHS) and not words.isdisjoint(LABELS)


def is_split_or_blank(text: str) -> bool:
    return not text or split_of(text) is not None


def plain(heading: str) -> str:
    """A heading without case, blanks and underscores, in the singular: "File Paths" is "filepath"."""
    bare = re.sub(r"[\W_]+", "", heading.casefold())
    plural = {"classes": "class", "categories": "category", "species": "species"}
    return plural.get(bare) or (bare[:-1] if bare.endswith("s") and not bare.endswith("ss") else bare)


def is_index(heading: str) -> bool:
    return not heading.strip() or heading.casefold().startswith("unnamed")
