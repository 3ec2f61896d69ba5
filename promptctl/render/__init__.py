"""Formats: each written once for all reports. stdout is data, stderr is talk."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptctl.errors import OutputFailed, ReaderLeft
from promptctl.report import Report, Row
from promptctl.report.words import percent

if TYPE_CHECKING:
    from rich.table import Table

_FRACTIONS = frozenset(
    {"accuracy", "zero_shot_accuracy", "learned", "zero_shot", "f1", "top1", "top5", "macro_f1", "ece"}
)
_HEADINGS = {"zero_shot": "zero-shot", "f1": "F1", "mtime": "changed"}

_FOLD = 40  # columns; a longer word in a table may be broken

Progress = Callable[[str, int, int], None]  # stage, done, total


def render(report: Report, output: str = "table") -> None:
    """Write a report to stdout in one of FORMATS; what it warns of and advises goes to stderr."""
    for line in report.warnings():
        talk(f"warning: {line}" if not line.startswith(" ") else line)
    for line in report.notes():
        talk(line)
    text = FORMATS[output](report)
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # no OSError from here on: Typer would end with 1 for it, without a word
        raise ReaderLeft from None
    except OSError as error:
        raise OutputFailed(error) from error
    if output == "table":
        for line in report.advice():
            talk(line)


def talk(line: str) -> None:
    """One line to the person, on stderr."""
    with suppress(BrokenPipeError):  # nobody listens
        sys.stderr.write(printable(line) + "\n")
        sys.stderr.flush()


def as_table(report: Report) -> str:
    if not sys.stdout.isatty():
        return as_tsv(report)
    from rich.console import Console

    console = Console(highlight=False)
    with console.capture() as capture:
        for line in report.summary():
            console.print(printable(line), markup=False, soft_wrap=True)
        tables = [rows for rows in report.tables() if rows]
        for i, rows in enumerate(tables):
            if i or report.summary():
                console.print()
            if _narrowest(rows) <= console.width:
                console.print(_table(rows))
            else:
                for line in _blocks(rows):
                    console.print(line, markup=False, soft_wrap=True)
    return capture.get()


def as_tsv(report: Report) -> str:
    """The same tables for a pipe: one line a row, tabs between cells, nothing cut or folded."""
    lines = [printable(line) for line in report.summary()]
    for rows in report.tables():
        if rows:
            lines.append("\t".join(_heading(key) for key in _columns(rows)))
            lines += ["\t".join(printable(_cell(key, row.get(key))) for key in _columns(rows)) for row in rows]
    return "".join(f"{line}\n" for line in lines)


def as_json(report: Report) -> str:
    return _dumps(report.record(), indent=2) + "\n"


def as_jsonl(report: Report) -> str:
    return "".join(_dumps(row) + "\n" for row in report.records())


def as_csv(report: Report) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=report.columns(), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in report.rows())
    text = out.getvalue()
    return "\n".join(map(printable, text.split("\n"))) if sys.stdout.isatty() else text


def as_names(report: Report) -> str:
    return "".join(f"{printable(name)}\n" for name in report.names())


FORMATS: dict[str, Callable[[Report], str]] = {
    "table": as_table,
    "json": as_json,
    "jsonl": as_jsonl,
    "csv": as_csv,
    "names": as_names,
}


def printable(text: str) -> str:
    """The text with control characters shown, so that no file or class name can drive the terminal."""
    return "".join(c if c.isprintable() or _is_raw_byte(c) else ascii(c)[1:-1] for c in text)


@contextmanager
def progress() -> Iterator[Progress | None]:
    """A bar on stderr with rate and time left for every stage; None where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description:<9}"), BarColumn(24), MofNCompleteColumn(), rate, TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        stages: dict[str, TaskID] = {}
        loading = bars.add_task("loading", total=None, rate="")

        def advance(stage: str, done: int, total: int) -> None:
            bars.update(loading, visible=False)
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=total, rate="")
            speed = bars.tasks[stages[stage]].speed
            rate_text = f"{speed:,.0f}/s" if speed else ""
            bars.update(stages[stage], completed=done, total=total, rate=rate_text)

        yield advance


def _table(rows: list[Row]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for key in _columns(rows):
        values = [row.get(key) for row in rows]
        table.add_column(
            Text(_heading(key), no_wrap=True),
            justify="right" if _is_numeric(values) else "left",
            overflow="fold",
            no_wrap=_widest(rows, key) == _least_width(rows, key),
        )
    for row in rows:
        table.add_row(*(_plain(_cell(key, row.get(key))) for key in _columns(rows)))
    return table


def _is_numeric(values: Sequence[object]) -> bool:
    return all(isinstance(value, (int, float)) or value is None for value in values)


def _least_width(rows: list[Row], key: str) -> int:
    """Headings and numbers stay whole, text may wrap between its words."""
    from rich.cells import cell_len

    values = [row.get(key) for row in rows]
    cells = [printable(_cell(key, value)) for value in values]
    whole = cells if _is_numeric(values) else [word for cell in cells for word in cell.split()]
    return max(cell_len(_heading(key)), min(_FOLD, max(map(cell_len, whole), default=0)))


def _widest(rows: list[Row], key: str) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, (_heading(key), *(printable(_cell(key, row.get(key))) for row in rows))))


def _narrowest(rows: list[Row]) -> int:
    columns = _columns(rows)
    return sum(_least_width(rows, key) for key in columns) + 3 * (len(columns) - 1)


def _blocks(rows: list[Row]) -> list[str]:
    """For a terminal too narrow for the table: every row as lines of `heading: value`."""
    blocks = [
        [f"{_heading(key)}: {printable(_cell(key, row.get(key)))}".strip(": ") for key in _columns(rows)]
        for row in rows
    ]
    return [line for block in blocks for line in (*block, "")][:-1]


def _plain(text: str) -> Any:
    from rich.text import Text

    return Text(printable(text))


def _columns(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _heading(key: str) -> str:
    return _HEADINGS.get(key, key.replace("_", " "))


def _cell(key: str, value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float) and (key in _FRACTIONS or key.startswith("probability")):
        return percent(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _dumps(value: object, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, default=_plain_json)


def _plain_json(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(type(value).__name__)


def _is_raw_byte(character: str) -> bool:
    return "\udc80" <= character <= "\udcff"  # a file name's byte that is not UTF-8, written back as it came
