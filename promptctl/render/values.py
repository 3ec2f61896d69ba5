"""Values as the cells of a table."""

from __future__ import annotations

from collections.abc import Sequence

from promptctl.report import Row
from promptctl.report.phrases import percent

_FRACTIONS = frozenset(
    {
        "accuracy",
        "zero_shot_accuracy",
        "learned",
        "zero_shot",
        "f1",
        "top1",
        "top5",
        "macro_f1",
        "ece",
        "without head",
        "one by one",
        "before",
        "after",
    }
)
_HEADINGS = {"zero_shot": "zero-shot", "f1": "F1", "mtime": "changed"}


def columns_in(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def heading(key: str) -> str:
    # what a context is called, birds@3 or a path, is no identifier and stays as it is
    return _HEADINGS.get(key, key.replace("_", " ") if key.isidentifier() else key)


def as_cell(key: str, value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float) and (key in _FRACTIONS or key.startswith("probability")):
        return percent(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
