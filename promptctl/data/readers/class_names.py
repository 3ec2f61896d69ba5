"""Class names: a list of what the folders of a data set are called in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from promptctl.data.names import one_form, prompt_form
from promptctl.data.readers import READERS
from promptctl.data.readers.containers import refuse_containers
from promptctl.data.readers.delimited import rows_of
from promptctl.data.readers.headings import plain
from promptctl.data.readers.text import text_of
from promptctl.errors import DatasetError


def read_names(path: Path, labels: Sequence[str]) -> dict[str, str]:
    """Readable class names from a CSV of `folder,name`, with or without that header line, or a JSON object."""
    names: dict[str, str] = {}
    label_of = {prompt_form(label): label for label in labels} | {one_form(label): label for label in labels}
    for folder, name in _pairs(path, lambda cell: cell in label_of or prompt_form(cell) in label_of):
        label = label_of.get(one_form(folder)) or label_of.get(prompt_form(folder))
        if label is None:
            raise DatasetError(
                f"{path} names a folder that is not there: '{folder}'", f"the folders are {', '.join(labels)}"
            )
        if label in names:
            raise DatasetError(f"{path} names the folder '{folder}' twice", "leave one of the lines out")
        names[label] = one_form(name)
    return names


def _pairs(path: Path, is_known: Callable[[str], bool]) -> list[tuple[str, str]]:
    """The lines of a CSV of `folder,name`, or what a JSON object says; a heading that is no folder is no line."""
    refuse_containers(path, READERS)
    if path.suffix.lower() == ".json":
        return _pairs_of_json(path)
    rows = [row for _, row in rows_of(path, is_known)]
    rows = [[cell.strip() for cell in row] for row in rows]
    if rows and plain(rows[0][0]) in ("folder", "label", "class") and not is_known(rows[0][0]):
        rows = rows[1:]
    if path.suffix.lower() == ".txt":  # "n01491361 tiger shark"
        rows = [[row[0], " ".join(row[1:])] if len(row) > 2 and is_known(row[0]) else row for row in rows]
    broken = next((row for row in rows if len(row) != 2 or not all(row)), None)
    if broken is not None:
        raise DatasetError(f"{path} has the line {','.join(broken)!r}, folder,name was expected")
    return [(folder, name) for folder, name in rows]


def _pairs_of_json(path: Path) -> list[tuple[str, str]]:
    try:
        found = json.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON ({error})", 'it reads {"folder": "name", …}') from error
    if not isinstance(found, dict) or not all(isinstance(name, str) and name.strip() for name in found.values()):
        raise DatasetError(f"{path} is not a list of names", 'it reads {"folder": "name", …}')
    return [(folder, name.strip()) for folder, name in found.items()]
