"""Formats: each written once for all reports. stdout is data, stderr is talk."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from promptctl.cells import escape
from promptctl.errors import OutputFailed, ReaderLeft
from promptctl.render.progress import Progress, progress
from promptctl.render.table import table_lines
from promptctl.render.text import columns_of, for_stream, piped, printable, wrapped
from promptctl.render.values import as_cell, columns_in, heading
from promptctl.report import Report

__all__ = ["FORMATS", "Progress", "progress", "render", "talk"]


def render(report: Report, output: str = "table") -> None:
    """Write a report to stdout in one of FORMATS; below it, on stderr, what it warns of and advises."""
    text = FORMATS[output](report)
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # no OSError from here on: Typer would end with 1 for it, without a word
        raise ReaderLeft from None
    except OSError as error:
        raise OutputFailed(error) from error
    for line in report.notes():
        talk(line)
    for line in report.warnings():
        talk(line if line.startswith(" ") else f"warning: {line}")
    if output == "table":
        for line in report.advice():
            talk(line)


def talk(line: str) -> None:
    """One line to the person, on stderr; on a terminal several where it is too narrow."""
    text = for_stream(line, sys.stderr)
    parts = wrapped(text, columns_of(sys.stderr)) if sys.stderr.isatty() else [text]
    with suppress(BrokenPipeError):  # nobody listens
        sys.stderr.write("".join(f"{part}\n" for part in parts))
        sys.stderr.flush()


def as_table(report: Report) -> str:
    if not sys.stdout.isatty():
        return as_tsv(report)
    room = columns_of(sys.stdout)
    tables = [
        table_lines(rows, room, spare=report.spare(), line_a_row=report.line_a_row) for rows in report.tables() if rows
    ]
    parts = [_prose(report.summary(), room), *tables, _prose(report.closing(), room)]
    return "\n".join("".join(f"{line}\n" for line in part) for part in parts if part)


def as_tsv(report: Report) -> str:
    """The same tables for a pipe: one line a row, tabs between cells, nothing cut or folded."""
    lines = [piped(line) for line in report.summary()]
    for rows in report.tables():
        if rows:
            keys = columns_in(rows)
            lines.append("\t".join(map(heading, keys)))
            lines += ["\t".join(piped(as_cell(key, row.get(key))) for key in keys) for row in rows]
    return "".join(f"{line}\n" for line in lines)


def as_json(report: Report) -> str:
    return _dumps(report.record(), indent=2) + "\n"


def as_jsonl(report: Report) -> str:
    return "".join(_dumps(row) + "\n" for row in report.records())


def as_csv(report: Report) -> str:
    """One row a line, whatever is in a cell; what a spreadsheet would compute is marked, see `promptctl.cells`."""
    columns = report.columns()
    lines = _Lines()
    writer = csv.writer(lines, lineterminator="\r\n")  # with "\n", Python before 3.13 leaves a \r unquoted
    writer.writerow(columns)
    writer.writerows([_csv_cell(row.get(key)) for key in columns] for row in report.rows())
    if sys.stdout.isatty():
        return "".join("\n".join(map(printable, line.split("\n"))) + "\n" for line in lines)
    return "".join(f"{line}\n" for line in lines)


def as_names(report: Report) -> str:
    return "".join(f"{for_stream(name, sys.stdout)}\n" for name in report.names())


FORMATS: dict[str, Callable[[Report], str]] = {
    "table": as_table,
    "json": as_json,
    "jsonl": as_jsonl,
    "csv": as_csv,
    "names": as_names,
}


def _prose(lines: Sequence[str], room: int) -> list[str]:
    return [part for line in lines for part in wrapped(printable(line), room)]


class _Lines(list[str]):
    """What a CSV writer writes to: a row an item, without its end."""

    def write(self, row: str) -> None:
        self.append(row.removesuffix("\r\n"))


def _csv_cell(value: object) -> object:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return value if isinstance(value, (bool, int, float)) else escape(str(value))


def _dumps(value: object, indent: int | None = None) -> str:
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
