"""CoOp split: the original's `split_zhou_*.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptctl.data.names import one_form
from promptctl.data.readers.records import Listed
from promptctl.data.shelf import Shelf
from promptctl.data.splits import split_of
from promptctl.errors import DatasetError

_WANTED = 'it reads {"train": [["dog/1.jpg", 0, "dog"], …], "val": …, "test": …}'


def fits(found: Mapping[str, Any]) -> bool:
    return any(split_of(part) for part in found)


def read(path: Path, found: Mapping[str, Any]) -> list[Listed]:
    """The images of a split file, whose rows are a path, the number of a class and its name."""
    try:
        rows = [(split_of(part) or part, *row) for part, some in found.items() if split_of(part) for row in some]
        shelf = Shelf(path)
        shelf.choose_folder([(file, str(name)) for _, file, _, name in rows])
        return [Listed(shelf.find(file, str(name)), one_form(str(name)), split) for split, file, _, name in rows]
    except (ValueError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path} is not a CoOp split file: its rows are not path, number and name", _WANTED
        ) from error
