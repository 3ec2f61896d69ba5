"""Delimited text: CSV, TSV and lists parted by blanks, as spreadsheets and people write them."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

from promptctl.cells import unescape
from promptctl.data.readers import label_studio
from promptctl.data.readers.headings import (
    LOOKED_AT,
    USUAL,
    WANTED,
    ColumnNames,
    Columns,
    columns_of,
    is_heading,
    is_whole_heading,
)
from promptctl.data.readers.records import Listed, Record, listed
from promptctl.data.readers.text import text_of
from promptctl.data.shelf import Shelf
from promptctl.data.splits import split_of
from promptctl.encoding.formats import is_image_name
from promptctl.errors import DatasetError, NoImages, NoLabelColumn

_DELIMITERS = (",", ";", "\t", "|")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_HEAD = 1 << 16  # characters, to tell how a list is written


def read(path: Path, names: ColumnNames = USUAL) -> list[Listed]:
    """The images in a table of paths, labels and perhaps splits."""
    shelf = Shelf(path)
    rows = rows_of(path, shelf.holds, names)
    if not rows:
        raise NoImages(f"{path} is empty", "write one image per line: path,label")
    if label_studio.fits_columns(rows[0][1]) and not names:
        return label_studio.read_rows(path, rows[0][1], rows[1:])
    columns, rows = columns_of(rows, shelf.holds, names)
    if len(columns.names) < 2 and not names:
        raise DatasetError(f"{path} has one column only, '{columns.names[0]}', path and label were expected", WANTED)
    return of_rows(path, columns, rows, shelf, names)


def of_rows(
    path: Path, columns: Columns, rows: Sequence[tuple[int, list[str]]], shelf: Shelf, names: ColumnNames = USUAL
) -> list[Listed]:
    """The images in the rows of a table, each with its line."""
    called = columns.names
    line, row = next(((n, row) for n, row in rows if any(cell.strip() for cell in row[len(called) :])), (0, []))
    if columns.are_headed and row:
        raise DatasetError(
            f"{path} has {len(row)} cells in line {line} and {len(called)} columns",
            'a cell with a comma in it goes into quotation marks: 1.jpg,"red, dark"',
        )
    records = [Record(line, dict(zip(called, row, strict=False))) for line, row in rows]
    if not columns.are_headed and columns.label is None:
        raise NoLabelColumn(f"{path} has no label beside '{records[0].text(columns.file)}'", WANTED)
    return listed(path, called, records, shelf, columns, names)


def rows_of(path: Path, is_known: Callable[[str], bool], names: ColumnNames = USUAL) -> list[tuple[int, list[str]]]:
    """(line number, cells) of every filled line, whatever stands between the cells and in whatever encoding."""
    text = text_of(path)
    said = re.match(r'"?sep=(.)"?[ \t]*(?:\r\n|\r|\n)', text, re.IGNORECASE)  # Excel's own first line
    body, before = (text[said.end() :], 1) if said else (text, 0)
    delimiter = said[1] if said else _delimiter(body[:_HEAD], path.suffix.lower() == ".txt", is_known, names)
    try:
        parsed = _parsed(body, delimiter, before)
    except csv.Error as error:
        raise DatasetError(f"{path} is not a CSV: {error}", "write one image per line: path,label") from error
    return _from_heading(parsed, names) if names else _without_preface(parsed, is_known)


def _from_heading(rows: Sequence[tuple[int, list[str]]], names: ColumnNames) -> list[tuple[int, list[str]]]:
    """The lines from the one that has the columns somebody named; all of them where none of the first has."""
    bare = [(line, [cells[0].lstrip("# "), *cells[1:]]) for line, cells in rows[:LOOKED_AT]]
    start = next((i for i, (_, cells) in enumerate(bare) if names.are_in(cells)), 0)
    return [*bare[start : start + 1], *rows[start + 1 :]]


def _without_preface(
    rows: Sequence[tuple[int, list[str]]], is_known: Callable[[str], bool]
) -> list[tuple[int, list[str]]]:
    """The lines from the heading on, where there is one below comments or a title."""
    n_comments = sum(1 for _ in takewhile(lambda row: row[1][0].lstrip().startswith("#"), rows))
    if n_comments and not is_known(rows[0][1][0]):
        bare = [(line, [cells[0].lstrip("# "), *cells[1:]]) for line, cells in rows[:n_comments]]
        return [*[row for row in bare if is_heading(row[1])][:1], *rows[n_comments:]]
    title = next((i for i, (_, cells) in enumerate(rows[:5]) if is_whole_heading(cells)), 0)
    known = any(is_known(cell) for _, cells in rows[:title] for cell in cells)
    return list(rows if known else rows[title:])


def _delimiter(head: str, may_be_blank: bool, is_known: Callable[[str], bool], names: ColumnNames) -> str:
    """What stands between cells: whatever makes most sense of the first lines."""
    sense = {}
    for delimiter in (*_DELIMITERS, " ") if may_be_blank else _DELIMITERS:
        with suppress(csv.Error):
            sense[delimiter] = _sense(_parsed(head, delimiter), is_known, names)
    return max(sense, key=lambda delimiter: sense[delimiter], default=",")


def _parsed(text: str, delimiter: str, lines_before: int = 0) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=delimiter == " ")
    rows = [
        (reader.line_num + lines_before, [unescape(cell) for cell in row])
        for row in reader
        if any(cell.strip() for cell in row)
    ]
    return _rejoined(rows) if delimiter == " " else rows


def _rejoined(rows: Sequence[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Lines parted at blanks, with the path one cell, "my birds/1.jpg", and the label, if no columns follow it."""
    parted = [(line, *_path_and_rest([cell for cell in cells if cell])) for line, cells in rows]
    follows = {word for _, path, rest in parted if path for word in rest[1:]}
    are_columns = all(split_of(word) or _NUMBER.fullmatch(word) for word in follows)
    return [(line, [*path, *(rest if are_columns or not path else [" ".join(rest)])]) for line, path, rest in parted]


def _path_and_rest(words: Sequence[str]) -> tuple[list[str], list[str]]:
    ends = next((i for i in range(1, len(words)) if is_image_name(Path(words[i - 1]))), 0)
    return ([" ".join(words[:ends])] if ends else []), list(words[ends:])


def _sense(
    rows: Sequence[tuple[int, list[str]]], is_known: Callable[[str], bool], names: ColumnNames
) -> tuple[int, int, int, int]:
    """How much sense a delimiter makes: a heading, cells that are known, rows of one width, their width."""
    some = [row for _, row in rows[:LOOKED_AT]]
    width, alike = Counter(map(len, some)).most_common(1)[0] if some else (0, 0)
    heading = any(is_heading(row) and len(row) > 1 for row in some[:5]) or any(map(names.are_in, some))
    known = sum(any(map(is_known, row)) for row in some)
    return int(heading), known, alike if width > 1 else 0, width
