"""Records: what a line of a list says, and which of its columns says what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptctl.data.readers.headings import LABELS, PATHS, SPLITS, WANTED, Columns, is_index, is_split_or_blank, plain
from promptctl.data.readers.labels import one_label
from promptctl.data.shelf import Shelf
from promptctl.data.splits import split_of
from promptctl.errors import DatasetError, NoLabelColumn


@dataclass(frozen=True)
class Listed:
    """One line of a list: an image file, which may not be there, its class and its split."""

    path: Path
    label: str
    split: str | None = None
    sha256: str | None = None  # of the file when it was given its class; None: not known


@dataclass(frozen=True)
class Record:
    """One line of a list with its cells by column."""

    line: int
    cells: Mapping[str, Any]

    def text(self, column: str | None) -> str:
        """What stands in a column; nothing where there is none."""
        cell = None if column is None else self.cells.get(column)
        return "" if cell is None else str(cell).strip()


def listed(
    path: Path, columns: Sequence[str], records: Sequence[Record], shelf: Shelf, told: Columns | None = None
) -> list[Listed]:
    by_name = {plain(column): column for column in reversed(columns)}
    file = (told and told.file) or _first(PATHS, by_name)
    if not records:
        return []
    if file is None:
        raise _missing_column(path, columns, "path")
    label = (told and told.label) or _first([name for name in LABELS if by_name.get(name) != file], by_name)
    if label is not None and list(columns).count(label) > 1:
        raise DatasetError(f"{path} has {list(columns).count(label)} columns called '{label}'", "leave one of them")
    if label is None and not _is_one_hot(columns, file, records):
        raise _missing_column(path, columns, "label")
    split = _split_column(by_name, records)
    _refuse_addresses(path, records[0].text(file))
    shelf.choose_folder([(record.text(file), record.text(label)) for record in records])
    found, singles = [], {record.text(label) for record in records}
    for record in records:
        if not record.text(file):
            raise DatasetError(f"{path} has no path in line {record.line}", WANTED)
        if isinstance(record.cells[file], (dict, list)):
            raise DatasetError(
                f"{path} has a path in line {record.line} that is not text: {record.text(file)[:40]}", WANTED
            )
        said = _hot(record, columns, file) if label is None else record.cells.get(label)
        name = one_label(path, record.line, said, singles)
        found.append(Listed(shelf.find(str(record.cells[file]), name), name, _split(path, record, split)))
    return found


def _first(names: Sequence[str], by_name: Mapping[str, str]) -> str | None:
    return next((by_name[name] for name in names if name in by_name), None)


def _missing_column(path: Path, columns: Sequence[str], what: str) -> DatasetError:
    shown = ", ".join(f"'{name}'" for name in columns[:8]) + (", …" if len(columns) > 8 else "") or "none"
    sentence = f"{path} has no {what} column: its columns are {shown}"
    if {plain(name) for name in columns} == {"folder", "name"}:
        return DatasetError(sentence, f"names for folders go with a folder: promptctl learn FOLDER --classes {path}")
    return NoLabelColumn(sentence, WANTED) if what == "label" else DatasetError(sentence, WANTED)


def _split_column(by_name: Mapping[str, str], records: Sequence[Record]) -> str | None:
    """The column of splits: one that is called so, or one whose every cell is one."""
    for name in SPLITS:
        column = by_name.get(name)
        if column and (name == "split" or all(is_split_or_blank(record.text(column)) for record in records)):
            return column
    return None


def _split(manifest: Path, record: Record, column: str | None) -> str | None:
    said = record.text(column)
    if not said:
        # a Hugging Face folder keeps metadata.csv inside train/, test/ …: the folder is the split then
        return split_of(manifest.parent.name) if manifest.stem == "metadata" else None
    found = split_of(said)
    if found is None:
        raise DatasetError(
            f"{manifest} has the split '{said}' in line {record.line}", "the splits are train, val and test"
        )
    return found


def _refuse_addresses(path: Path, cell: str) -> None:
    if re.match(r"(?:https?|s3|gs|ftp)://", cell, re.IGNORECASE):
        raise DatasetError(
            f"{path} lists addresses in the network such as {cell}, and photos are read from files",
            "download them, and list the files",
        )


def _is_one_hot(columns: Sequence[str], file: str, records: Sequence[Record]) -> bool:
    classes = _hot_columns(columns, file, records)
    return len(classes) > 1 and bool(records)


def _hot_columns(columns: Sequence[str], file: str, records: Sequence[Record]) -> list[str]:
    """The columns of a table that has one for each class, with 1 or 0 in it; none where another says something else."""
    others = [name for name in columns if _may_be_class(name, file)]
    flags = all(record.text(name).casefold() in _FLAGS for record in records for name in others)
    return others if flags else []


_FLAGS = {**dict.fromkeys(("0", "0.0", "", "false"), False), **dict.fromkeys(("1", "1.0", "true", "x"), True)}


def _hot(record: Record, columns: Sequence[str], file: str) -> object:
    others = [name for name in columns if _may_be_class(name, file)]
    return [name.strip() for name in others if _FLAGS.get(record.text(name).casefold())] or None


def _may_be_class(name: str, file: str) -> bool:
    return name != file and not is_index(name) and plain(name) not in (*SPLITS, *PATHS)
