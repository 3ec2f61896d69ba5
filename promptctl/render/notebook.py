"""Notebook: a report as the HTML that Jupyter shows of a value: its summary and the first rows of its tables.

Colours are those of the notebook, light or dark. There is no script in it, and all text is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from promptctl.render.text import printable
from promptctl.render.values import as_cell, columns_in, heading
from promptctl.report import Report, Row, StreamedReport

MOST_ROWS = 20  # of a table
_MOST_LINES = 5  # of what is warned of
_LONGEST = 200  # characters of a cell
_STYLE = (
    ".promptctl-report table{border-collapse:collapse;margin:.5em 0}"
    ".promptctl-report th,.promptctl-report td{padding:.2em .7em;text-align:left;color:inherit;background:none;"
    "border:0;border-bottom:1px solid rgba(128,128,128,.4)}"
    ".promptctl-report .number{text-align:right;font-variant-numeric:tabular-nums}"
    ".promptctl-report p{margin:.3em 0}.promptctl-report .less{opacity:.75}"
)


def notebook_page(report: Report) -> str:
    """The report as a piece of HTML."""
    parts = _first_rows(report) if isinstance(report, StreamedReport) else _whole(report)
    return f'<div class="promptctl-report"><style>{_STYLE}</style>{"".join(parts)}</div>'


def _whole(report: Report) -> list[str]:
    tables = [rows for rows in report.tables() if rows]
    if not tables and not report.summary() and not report.closing():
        tables = [rows] if (rows := report.rows()) else []
    return [
        *_prose(report.summary()),
        *(part for rows in tables for part in (_table(rows[:MOST_ROWS]), *_more(len(rows) - MOST_ROWS))),
        *_ending(report),
    ]


def _first_rows(report: StreamedReport) -> list[str]:
    """Of rows that come one at a time no more than are shown, and one to know whether there are others."""
    rows = report.first_rows(MOST_ROWS + 1)
    table = [_table(rows[:MOST_ROWS])] if rows else []
    if report.has_ended:
        n_rows = sum(item.cell_row() is not None for item in report.items())
        return [*_prose(report.summary()), *table, *_more(n_rows - MOST_ROWS), *_ending(report)]
    how = "more rows follow" if rows else "rows come as they are found"
    if report.were_taken:
        how = "rows were taken as they came"
    return [*_prose(report.summary()), *table, *_prose([f"{how}: .items() has them one at a time, .to_pandas() all"])]


def _ending(report: Report) -> list[str]:
    lines = report.warnings()
    more = [f"and {len(lines) - _MOST_LINES} more lines in .warnings()"] if len(lines) > _MOST_LINES else []
    return [*_prose(report.closing()), *_prose([*lines[:_MOST_LINES], *more], "less")]


def _more(count: int) -> list[str]:
    if count <= 0:
        return []
    return _prose([f"and {count:,} more row{'' if count == 1 else 's'}: .to_pandas() has all"], "less")


def _table(rows: Sequence[Row]) -> str:
    keys = columns_in(rows)
    kinds = {key: _kind(row.get(key) for row in rows) for key in keys}
    head = "".join(f"<th{kinds[key]}>{_text(heading(key))}</th>" for key in keys)
    lines = ("".join(f"<td{kinds[key]}>{_text(as_cell(key, row.get(key)))}</td>" for key in keys) for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody><tr>{'</tr><tr>'.join(lines)}</tr></tbody></table>"


def _kind(cells: Iterable[object]) -> str:
    found = {type(cell) for cell in cells if cell is not None}
    return ' class="number"' if found and found <= {int, float} else ""


def _prose(lines: Sequence[str], kind: str = "") -> list[str]:
    start = f'<p class="{kind}">' if kind else "<p>"
    return [f"{start}{_text(line)}</p>" for line in lines if line]


def _text(said: str) -> str:
    """Text that stands for itself: no markup, nothing that hides or turns what follows."""
    short = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"
    return escape(printable(short))
