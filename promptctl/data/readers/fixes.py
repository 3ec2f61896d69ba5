"""Fixes: a list of photos, by checksum or path, and the classes they are of after all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from promptctl.data.readers.containers import refuse_containers
from promptctl.data.readers.delimited import rows_of
from promptctl.data.readers.headings import LABELS, PATHS, Columns, columns_of, plain
from promptctl.data.readers.labels import one_label
from promptctl.data.readers.text import file_bytes
from promptctl.data.shelf import Shelf
from promptctl.errors import DatasetError

READ = (".csv", ".tsv", ".txt")
HASHES = ("sha256", "hash", "sha", "checksum", "digest")
NEW_LABELS = ("newlabel", "newclass", "correctlabel", "correct", "right", "fixed", "fix", "becomes", "to")
SHORTEST = 8  # digits of a checksum
WANTED = "the columns are hash,label or path,label"
_HASH = re.compile(rf"[0-9a-fA-F]{{{SHORTEST},64}}")


@dataclass(frozen=True)
class Fix:
    """One line: a photo, by the start of its checksum or as a file, and the class it is of."""

    line: int
    said: str  # as it stands there
    sha256: str | None  # its first digits, in small letters; None: a file is meant
    path: Path | None
    label: str


def read_fixes(path: Path) -> list[Fix]:
    """The lines of a list; DatasetError for one that cannot be understood, with its line."""
    refuse_containers(path, dict.fromkeys(READ))
    if path.suffix.lower() not in READ:
        raise DatasetError(f"{path} is not a list that can be read", f"write a .csv: {WANTED}")
    if not file_bytes(path).strip():
        raise DatasetError(f"{path} is empty", f"write one photo per line: {WANTED}")
    shelf = Shelf(path)
    columns, rows = columns_of(rows_of(path, lambda cell: _is_photo(cell, shelf)), lambda cell: _is_photo(cell, shelf))
    photo, label = _photo_column(columns), _label_column(path, columns)
    if files := [(_cell(row, photo), _cell(row, label)) for _, row in rows if not is_hash(_cell(row, photo))]:
        shelf.choose_folder(files)
    return [_fix(path, line, _cell(row, photo), _cell(row, label), shelf) for line, row in rows]


def is_hash(text: str) -> bool:
    """Whether it may be the start of a checksum: 8 to 64 hexadecimal digits."""
    return _HASH.fullmatch(text.strip()) is not None


def _is_photo(cell: str, shelf: Shelf) -> bool:
    return is_hash(cell) or shelf.holds(cell)


def _cell(row: Sequence[str], column: int) -> str:
    return row[column].strip() if column < len(row) else ""


def _photo_column(columns: Columns) -> int:
    names = [plain(name) for name in columns.names]
    known = next((names.index(name) for name in (*HASHES, *PATHS) if name in names), None)
    if known is not None:
        return known
    return list(columns.names).index(columns.file) if columns.file else 0


def _label_column(path: Path, columns: Columns) -> int:
    names, photo = [plain(name) for name in columns.names], _photo_column(columns)
    told = list(columns.names).index(columns.label) if columns.label else None
    known = (names.index(name) for name in (*NEW_LABELS, *LABELS) if name in names and names.index(name) != photo)
    found = next(known, told)
    if found is None:
        shown = ", ".join(f"'{name}'" for name in columns.names)
        raise DatasetError(f"{path} has no label column: its columns are {shown}", WANTED)
    return found


def _fix(manifest: Path, line: int, photo: str, said: str, shelf: Shelf) -> Fix:
    if not photo:
        raise DatasetError(f"{manifest} names no photo in line {line}", WANTED)
    label = one_label(manifest, line, said)
    if is_hash(photo) and not shelf.holds(photo):
        return Fix(line, photo, photo.lower(), None, label)
    return Fix(line, photo, None, shelf.find(photo, label), label)
