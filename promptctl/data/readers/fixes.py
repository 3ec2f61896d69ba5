"""Fixes: a list of photos, by checksum or path, and the classes they are of after all.

Decisions of `review` and exports of Label Studio are such lists too; they say more than what is to be corrected, so a
photo that is not stored is no mistake in them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from promptctl.data.names import one_form
from promptctl.data.readers import decisions, label_studio
from promptctl.data.readers.containers import refuse_containers
from promptctl.data.readers.delimited import rows_of
from promptctl.data.readers.headings import (
    LABELS,
    PATHS,
    USUAL,
    ColumnNames,
    Columns,
    columns_of,
    plain,
    refuse_columns,
)
from promptctl.data.readers.labels import one_label
from promptctl.data.readers.records import asked_column
from promptctl.data.readers.text import file_bytes, text_of
from promptctl.data.shelf import Shelf
from promptctl.errors import DatasetError

READ = (".csv", ".tsv", ".txt")
ANSWERS = (".json", ".jsonl", ".ndjson")
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
    may_be_new: bool = False  # a photo that is not stored is passed over


def read_fixes(path: Path, names: ColumnNames = USUAL) -> list[Fix]:
    """The lines of a list; DatasetError for one that cannot be understood, with its line.

    names   what somebody says that its columns are called
    """
    refuse_containers(path, dict.fromkeys((*READ, *ANSWERS)))
    if path.suffix.lower() not in (*READ, *ANSWERS):
        raise DatasetError(f"{path} is not a list that can be read", f"write a .csv: {WANTED}")
    if not file_bytes(path).strip():
        raise DatasetError(f"{path} is empty", f"write one photo per line: {WANTED}")
    if path.suffix.lower() in ANSWERS:
        refuse_columns(path, names, "what people said of photos")
        return _of_answers(path)
    shelf = Shelf(path)
    lines = rows_of(path, lambda cell: _is_photo(cell, shelf), names)
    if lines and label_studio.fits_columns(lines[0][1]) and not names:
        return _of_annotations(path, label_studio.annotations_in_rows(path, lines[0][1], lines[1:]))
    columns, rows = columns_of(lines, lambda cell: _is_photo(cell, shelf), names)
    asked = {what: _place_of(path, columns, what, name) for what, name in names.asked.items()}
    photo = asked.get("path", _photo_column(columns))
    label = asked["label"] if "label" in asked else _label_column(path, columns, photo)
    if files := [(_cell(row, photo), _cell(row, label)) for _, row in rows if not is_hash(_cell(row, photo))]:
        shelf.choose_folder(files)
    return [_fix(path, line, _cell(row, photo), _cell(row, label), shelf) for line, row in rows]


def _of_answers(path: Path) -> list[Fix]:
    """Of what people said of photos that they were shown."""
    text = text_of(path)
    if decisions.fits(text):
        every = decisions.decided(path, text)
        taught, files = [one for one in every if one.is_taught], {one.file for one in every}
        own = [Fix(one.line, one.file, one.sha256, None, one.label, True) for one in taught]
        copies = [(one, path.parent / copy) for one in taught for copy in one.copies if copy not in files]
        return own + [Fix(one.line, copy.name, None, copy, one.label, True) for one, copy in copies]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON ({error})", f"write a .csv: {WANTED}") from error
    if not isinstance(found, list) or not label_studio.fits(found):
        raise DatasetError(f"{path} is neither from review nor from Label Studio", f"write a .csv: {WANTED}")
    return _of_annotations(path, label_studio.annotations_of(path, found))


def _of_annotations(path: Path, annotations: Sequence[label_studio.Annotation]) -> list[Fix]:
    finder = label_studio.Finder(path, annotations)
    photos = [(one, one.file, one.sha256, None if one.sha256 else finder.find(one)) for one in annotations]
    files = {Path(one.file) for one in annotations}
    copies = [(one, copy.name, None, copy) for one in annotations for copy in one.copies if copy not in files]
    return [
        Fix(one.number, said, sha256, file, one_form(one.choices[0]).strip(), True)
        for one, said, sha256, file in (*photos, *copies)
    ]


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


def _place_of(path: Path, columns: Columns, what: str, name: str) -> int:
    return list(columns.names).index(asked_column(path, columns.names, what, name))


def _label_column(path: Path, columns: Columns, photo: int) -> int:
    names = [plain(name) for name in columns.names]
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
