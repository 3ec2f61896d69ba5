"""Formats: each written once for all reports."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from promptctl.cells import escape
from promptctl.render.chart import chart_lines
from promptctl.render.table import table_lines
from promptctl.render.text import columns_of, for_stream, one_line, piped, printable, wrapped
from promptctl.render.values import as_cell, columns_in, heading
from promptctl.report import Report, Row


def as_table(report: Report) -> str:
    if not sys.stdout.isatty():
        return as_tsv(report)
    available = columns_of(sys.stdout)
    tables = [table_lines(rows, available, spare=report.spare()) for rows in report.tables() if rows]
    charts = [line for chart in report.charts() for line in chart_lines(chart, available, sys.stdout.encoding)]
    parts = [prose(report.summary(), available), *tables, charts, prose(report.closing(), available)]
    return "\n".join(joined(part) for part in parts if part)


def as_tsv(report: Report) -> str:
    """The same tables for a pipe: one line per row, tabs between cells, nothing cut or folded."""
    lines = [piped(line) for line in report.summary()]
    for rows in report.tables():
        if rows:
            keys = columns_in(rows)
            lines += [tsv_head(keys), *(tsv_row(row, keys) for row in rows)]
    return joined(lines)


def tsv_head(keys: Sequence[str]) -> str:
    return "\t".join(map(heading, keys))


def tsv_row(row: Row, keys: Sequence[str]) -> str:
    return "\t".join(piped(as_cell(key, row.get(key))) for key in keys)


def as_json(report: Report) -> str:
    return dumps(report.record(), indent=2) + "\n"


def as_jsonl(report: Report) -> str:
    return "".join(dumps(row) + "\n" for row in report.records())


def as_csv(report: Report) -> str:
    """One row per line, whatever is in a cell; what a spreadsheet would compute is marked, see `promptctl.cells`."""
    columns = report.columns()
    return csv_lines([columns, *([row.get(key) for key in columns] for row in report.rows())])


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """For stdout; of a terminal nothing takes control."""
    lines = _csv_rows(rows)
    if sys.stdout.isatty():
        return joined("\n".join(map(printable, line.split("\n"))) for line in lines)
    return joined(lines)


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """For a file, whatever stdout is."""
    return joined(_csv_rows(rows))


def _csv_rows(rows: Iterable[Sequence[object]]) -> list[str]:
    lines = _Lines()
    writer = csv.writer(lines, lineterminator="\r\n")  # with "\n", Python before 3.13 leaves a \r unquoted
    writer.writerows([_csv_cell(value) for value in row] for row in rows)
    return lines


def as_agent(report: Report) -> str:
    """The rows for a program: the columns of CSV, one line per row, tabs between cells."""
    columns = report.columns()
    return agent_lines([columns, *([row.get(key) for key in columns] for row in report.rows())]) if columns else ""


def agent_lines(rows: Iterable[Sequence[object]]) -> str:
    return joined("\t".join(map(_agent_cell, row)) for row in rows)


def _agent_cell(value: object) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    plain = dumps(value) if isinstance(value, (bool, list, tuple, dict)) else str(value)
    return one_line(for_stream(plain, sys.stdout))


def as_names(report: Report) -> str:
    return joined(for_stream(name, sys.stdout) for name in report.names())


FORMATS: dict[str, Callable[[Report], str]] = {
    "table": as_table,
    "json": as_json,
    "jsonl": as_jsonl,
    "csv": as_csv,
    "agent": as_agent,
    "names": as_names,
}


def joined(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def prose(lines: Sequence[str], available: int) -> list[str]:
    return [part for line in lines for part in wrapped(printable(line), available)]


class _Lines(list[str]):
    """What a CSV writer writes to: a row an item, without its end."""

    def write(self, row: str) -> None:
        self.append(row.removesuffix("\r\n"))


def _csv_cell(value: object) -> object:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return value if isinstance(value, (bool, int, float)) else escape(str(value))


def dumps(value: object, indent: int | None = None) -> str:
    try:
        return json.dumps(value, indent=indent, default=_plain_json, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), indent=indent, default=_plain_json, allow_nan=False)


def _finite(value: object) -> object:
    """The same with null for every number that JSON has no word for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain_json(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(type(value).__name__)
