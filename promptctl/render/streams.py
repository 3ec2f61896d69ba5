"""Streams: the formats of reports whose rows come one at a time, the same text as if all had been there at once.

A head is written with the first row, so that a refusal before it leaves nothing on stdout.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

from promptctl.render.formats import agent_lines, csv_lines, dumps, joined, prose, tsv_head, tsv_row
from promptctl.render.table import StandingTable
from promptctl.render.text import columns_of, for_stream, piped
from promptctl.render.values import columns_in
from promptctl.report import Item, Row, StreamedReport


def table_stream(report: StreamedReport) -> Iterator[str]:
    if not sys.stdout.isatty():
        yield from _tsv_stream(report)
        return
    available = columns_of(sys.stdout)
    table = None
    for row in _rows(report, lambda item: item.cell_row()):
        if table is None:
            table = StandingTable(report.samples(), available, spare=report.spare())
            yield joined([*_paragraph(prose(report.summary(), available)), *table.head])
        yield joined(table.lines(row))
    if closing := prose(report.closing(), available):
        yield joined(["", *closing] if table else closing)


def _paragraph(lines: list[str]) -> list[str]:
    return [*lines, ""] if lines else []


def _tsv_stream(report: StreamedReport) -> Iterator[str]:
    keys = columns_in(report.samples())
    before = [*map(piped, report.summary()), tsv_head(keys)]
    for row in _rows(report, lambda item: item.cell_row()):
        yield joined([*before, tsv_row(row, keys)])
        before = []


def json_stream(report: StreamedReport) -> Iterator[str]:
    """The same text as `as_json`, and whole when the last piece of it has come."""
    before = dumps(report.head(), indent=2).removesuffix("\n}") + f',\n  "{report.array}": [\n'
    n_entries = 0
    for entry in _rows(report, lambda item: item.entry()):
        yield before + _indented(entry)
        before = ",\n"
        n_entries += 1
    end = "\n  ]" if n_entries else before.removesuffix("\n") + "]"
    tail = dumps(report.tail(), indent=2).removeprefix("{")
    yield f"{end},{tail}\n" if report.tail() else f"{end}\n}}\n"


def _indented(entry: Row) -> str:
    return "    " + dumps(entry, indent=2).replace("\n", "\n    ")  # no text in JSON holds a line end


def jsonl_stream(report: StreamedReport) -> Iterator[str]:
    for record in _rows(report, lambda item: item.record()):
        yield dumps(record) + "\n"


def csv_stream(report: StreamedReport) -> Iterator[str]:
    return _lines_of(report, csv_lines)


def agent_stream(report: StreamedReport) -> Iterator[str]:
    return _lines_of(report, agent_lines)


def _lines_of(report: StreamedReport, lines: Callable[[Sequence[Sequence[object]]], str]) -> Iterator[str]:
    columns = report.columns()
    before = lines([columns])
    for row in _rows(report, lambda item: item.row()):
        yield before + lines([[row.get(key) for key in columns]])
        before = ""
    if before:
        yield before


def names_stream(report: StreamedReport) -> Iterator[str]:
    for parts in _plain(report):
        yield "\t".join(for_stream(part, sys.stdout) for part in parts) + "\n"


def null_stream(report: StreamedReport) -> Iterator[str]:
    """The same with the path as it is, and a NUL after it: what no path contains."""
    for *parts, path in _plain(report):
        yield "\t".join([*(for_stream(part, sys.stdout) for part in parts), path]) + "\0"


def _plain(report: StreamedReport) -> Iterator[tuple[str, ...]]:
    return (parts for item in report.items() if (parts := item.plain()) is not None)


STREAMS: dict[str, Callable[[StreamedReport], Iterator[str]]] = {
    "table": table_stream,
    "json": json_stream,
    "jsonl": jsonl_stream,
    "csv": csv_stream,
    "agent": agent_stream,
    "names": names_stream,
    "null": null_stream,
}


def _rows(report: StreamedReport, say: Callable[[Item], Row | None]) -> Iterator[Row]:
    for item in report.items():
        if (row := say(item)) is not None:
            yield row
