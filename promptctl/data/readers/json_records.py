"""JSON records: objects or arrays with a path and a label, alone or under the names of splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptctl.data.readers.delimited import of_rows
from promptctl.data.readers.headings import USUAL, ColumnNames, columns_of
from promptctl.data.readers.records import Listed, Record, listed
from promptctl.data.shelf import Shelf
from promptctl.data.splits import split_of


def fits(found: Mapping[str, Any]) -> bool:
    """Whether an object has records under the names of splits: {"train": [{"path": …, "label": …}, …], "test": …}."""
    some = any(split_of(part) for part in found)
    return some and all(isinstance(row, dict) for part in found.values() if isinstance(part, list) for row in part)


def read(path: Path, found: Mapping[str, Any], names: ColumnNames = USUAL) -> list[Listed]:
    """The images of all splits; numbered from 1 through all of them."""
    parts = ((part, some) for part, some in found.items() if split_of(part) and isinstance(some, list))
    rows = [{**row, "split": part} for part, some in parts for row in some]
    return of_records(path, list(enumerate(rows, 1)), names)


def of_records(path: Path, numbered: Sequence[tuple[int, object]], names: ColumnNames = USUAL) -> list[Listed]:
    """The images of records, each with its line or number."""
    shelf = Shelf(path)
    arrays = [(line, found) for line, found in numbered if isinstance(found, list) and len(found) > 1]
    if arrays and len(arrays) == len(numbered):
        rows = [(line, ["" if cell is None else str(cell) for cell in found]) for line, found in arrays]
        return of_rows(path, *columns_of(rows, shelf.holds, names), shelf, names)
    records = [Record(line, found if isinstance(found, dict) else {}) for line, found in numbered]
    columns = list(dict.fromkeys(str(key) for record in records for key in record.cells))
    return listed(path, columns, records, shelf, None, names)
