"""Results of `classify`, read again: what photos show, without opening one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from promptctl.errors import BadResults, reason_of
from promptctl.sorting.plan import Refused, Shown


def read_results(path: Path) -> tuple[list[tuple[Path, Shown]], list[Refused]]:
    """Photos with what they show, and files that were passed over with why, by whole paths; BadResults."""
    found, refused = [], []
    for number, row in _rows(path):
        try:
            if row["type"] == "result":
                found.append((_whole(row["path"]), _shown(row)))
            elif row["type"] == "error":
                refused.append(Refused(Path(row["path"]), str(row["reason"])))
        except (KeyError, TypeError, ValueError) as error:
            raise BadResults(path, f"line {number} is none of classify's") from error
    if not found and not refused:
        raise BadResults(path, "it has no result")
    return found, refused


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, _row(path, number, line)
    except OSError as error:
        raise BadResults(path, reason_of(error)) from error


def _row(path: Path, number: int, line: bytes) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise BadResults(path, f"line {number} is no object of JSON")
    return row


def _whole(path: object) -> Path:
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError("no path")
    return Path(os.path.join(os.getcwd(), path))  # noqa: PTH109, PTH118  where it lies now, links not followed


def _shown(row: Mapping[str, Any]) -> Shown:
    likeness = row.get("likeness")
    return Shown(
        str(row["label"]),
        str(row["name"]),
        float(row["probability"]),
        bool(row.get("unknown", False)),
        bool(row.get("doubtful", False)),
        None if likeness is None else float(likeness),
        row.get("sha256"),
    )
