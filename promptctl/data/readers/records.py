"""Records: what a line of a list says, and which of its columns says what."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from promptctl.data.readers.headings import (
    LABELS,
    PATHS,
    SPLITS,
    USUAL,
    WANTED,
    ColumnNames,
    Columns,
    column_called,
    is_index,
    is_split_or_blank,
    plain,
)
from promptctl.data.readers.labels import one_label
from promptctl.data.shelf import Shelf, refuse_address
from promptctl.data.splits import split_of
from promptctl.errors import DatasetError, NoLabelColumn


@dataclass(frozen=True)
class Listed:
    """One line of a list: an image file, which may not be there, its class and its split."""

    path: Path
    label: str
    split: str | None = None
    sha256: str | None = None  # of the file when it was given its class; None: not known
    left_out: str | None = None  # why it cannot be used, where the list itself tells


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
    path: Path,
    columns: Sequence[str],
    records: Sequence[Record],
    shelf: Shelf,
    told: Columns | None = None,
    names: ColumnNames = USUAL,
) -> list[Listed]:
    """The images of records.

    told    columns that were told by what is in them
    names   columns that somebody named
    """
    if not records:
        return []
    file, label, split = _used(path, columns, records, told, names)
    for record in records:
        refuse_address(path, record.text(file))
    shelf.choose_folder([(record.text(file), record.text(label)) for record in records])
    found, singles = [], {record.text(label) for record in records}
    for record in records:
        cell = _file_cell(path, record, file)
        said = _hot(record, columns, file) if label is None else record.cells.get(label)
        name = one_label(path, record.line, said, singles)
        image, doubt = shelf.looked_up(cell, name)
        found.append(Listed(image, name, split_in(path, record, split), left_out=doubt))
    return found


def _used(
    path: Path, columns: Sequence[str], records: Sequence[Record], told: Columns | None, names: ColumnNames
) -> tuple[str, str | None, str | None]:
    """The columns of files, labels and splits; no label where there is a column for each class.

    raises   DatasetError
    """
    asked = {what: asked_column(path, columns, what, name) for what, name in names.asked.items()}
    by_name = {plain(column): column for column in reversed(columns)}
    file = asked.get("path") or (told and told.file) or _first(PATHS, by_name)
    if file is None:
        raise missing_column(path, columns, "path")
    label = asked.get("label") or _label_beside(file, by_name, told)
    if label is not None and list(columns).count(label) > 1:
        raise DatasetError(f"{path} has {list(columns).count(label)} columns called '{label}'", "leave one of them")
    if label is None and not _is_one_hot(columns, file, records):
        raise missing_column(path, columns, "label")
    return file, label, asked.get("split") or _split_column(by_name, records)


def _file_cell(path: Path, record: Record, file: str) -> str:
    if not record.text(file):
        raise DatasetError(f"{path} has no path in line {record.line}", WANTED)
    if isinstance(record.cells[file], (dict, list)):
        raise DatasetError(
            f"{path} has a path in line {record.line} that is not text: {record.text(file)[:40]}", WANTED
        )
    return str(record.cells[file])


def _label_beside(file: str, by_name: Mapping[str, str], told: Columns | None) -> str | None:
    own = told.label if told and told.label != file else None
    return own or _first([name for name in LABELS if by_name.get(name) != file], by_name)


def _first(names: Sequence[str], by_name: Mapping[str, str]) -> str | None:
    return next((by_name[name] for name in names if name in by_name), None)


def asked_column(path: Path, columns: Sequence[str], what: str, name: str) -> str:
    """The column that somebody named; DatasetError where there is none."""
    found = column_called(name, columns)
    if found is None:
        near = get_close_matches(name, columns, 1) or [column for column in columns[:1] if column.strip()]
        hint = f"--{what}-column {shlex.quote(near[0])}" if near else WANTED
        raise DatasetError(f"{path} has no column '{name}': its columns are {shown(columns)}", hint)
    return found


def shown(columns: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in columns[:8]) + (", …" if len(columns) > 8 else "") or "none"


def missing_column(path: Path, columns: Sequence[str], what: str) -> DatasetError:
    sentence = f"{path} has no {what} column: its columns are {shown(columns)}"
    if {plain(name) for name in columns} == {"folder", "name"}:
        return DatasetError(sentence, f"names for folders go with a folder: promptctl learn FOLDER --classes {path}")
    hint = f"{WANTED}; or say which it is: --{what}-column NAME"
    return NoLabelColumn(sentence, hint) if what == "label" else DatasetError(sentence, hint)


def _split_column(by_name: Mapping[str, str], records: Sequence[Record]) -> str | None:
    """The column of splits: one that is called so, or one whose every cell is one."""
    for name in SPLITS:
        column = by_name.get(name)
        if column and (name == "split" or all(is_split_or_blank(record.text(column)) for record in records)):
            return column
    return None


def split_in(manifest: Path, record: Record, column: str | None) -> str | None:
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
