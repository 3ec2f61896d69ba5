"""JSON and JSON lines: records, or an object of one of the shapes that data sets come in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from promptctl.data.readers import coco, coop_split, decisions, json_mapping, json_records, label_studio
from promptctl.data.readers.headings import USUAL, ColumnNames, refuse_columns
from promptctl.data.readers.json_records import of_records
from promptctl.data.readers.records import Listed
from promptctl.data.readers.text import text_of
from promptctl.errors import DatasetError

_WANTED = 'it reads [{"path": "dog/1.jpg", "label": "dog"}, …], {"dog/1.jpg": "dog", …}, COCO and CoOp\'s split files'

Fits = Callable[[Mapping[str, Any]], bool]
Read = Callable[[Path, Mapping[str, Any]], list[Listed]]
SHAPES: tuple[tuple[Fits, Read], ...] = (  # of an object; the first that fits is read
    (coco.fits, coco.read),
    (json_mapping.fits, json_mapping.read),
    (json_records.fits, json_records.read),
    (coop_split.fits, coop_split.read),
)


def read(path: Path, names: ColumnNames = USUAL) -> list[Listed]:
    """CoOp's split file, COCO's annotations with one category an image, or records of path and label."""
    text = text_of(path)
    if decisions.fits(text):
        return _of_decisions(path, text, names)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        if len(text.splitlines()) > 1 and text.lstrip().startswith("{") and "Extra data" in str(error):
            return read_lines(path, names)
        raise DatasetError(f"{path} is not JSON ({error})", _WANTED) from error
    if isinstance(found, list):
        return _of_list(path, list(enumerate(found, 1)), names)
    if not isinstance(found, dict):
        raise DatasetError(f"{path} is JSON, but not a list of images: it holds {json.dumps(found)[:40]}", _WANTED)
    shape = next((read for fits, read in SHAPES if fits(found)), None)
    if shape is None:
        keys = ", ".join(f"'{key}'" for key in list(found)[:5]) + (", …" if len(found) > 5 else "") or "none"
        raise DatasetError(f"{path} is JSON, but not a list of images: its keys are {keys}", _WANTED)
    if shape is json_records.read:
        return json_records.read(path, found, names)
    refuse_columns(path, names, "a JSON object without columns")
    return shape(path, found)


def read_lines(path: Path, names: ColumnNames = USUAL) -> list[Listed]:
    """The images of a file with one record in each line."""
    text = text_of(path)
    if decisions.fits(text):
        return _of_decisions(path, text, names)
    if re.match(r"\s*\[", text) and not re.match(r"\s*\[.*\]\s*[\r\n]+\s*\[", text):  # an array, and not one per line
        return read(path, names)
    try:
        # not splitlines: JSON may hold U+2028 and its like as they are
        lines = [(n, line) for n, line in enumerate(re.split(r"\r\n|\r|\n", text), 1) if line.strip()]
        numbered = [(n, _object(line, n)) for n, line in lines]
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON lines: {error}", 'a line is {"file_name": …, "label": …}') from error
    return _of_list(path, numbered, names)


def _of_decisions(path: Path, text: str, names: ColumnNames) -> list[Listed]:
    refuse_columns(path, names, "what review wrote down")
    return decisions.read(path, text)


def _of_list(path: Path, numbered: Sequence[tuple[int, object]], names: ColumnNames) -> list[Listed]:
    found = [one for _, one in numbered]
    if label_studio.fits(found):
        refuse_columns(path, names, "an export of Label Studio")
        return label_studio.read(path, found)
    return of_records(path, numbered, names)


def _object(line: str, number: int) -> object:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} in line {number}, column {error.colno}") from error
