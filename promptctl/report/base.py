"""The common shape of reports: rows for tables and CSV, a record for JSON, a summary for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

Row = dict[str, Any]
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class SkippedFile:
    """A file that could not be used, and why."""

    path: Path
    reason: str

    def record(self) -> Row:
        return {"path": self.path, "reason": self.reason, "type": "error"}

    def entry(self) -> None:
        """JSON names it after the rows."""

    row = cell_row = entry  # no table has it

    def plain(self) -> None:
        """Nor does -q, which says what was found."""


class Item(Protocol):
    """One of the many things that a report finds, as each format says it; None where a format leaves it out."""

    def record(self) -> Row:
        """A line of JSON lines."""

    def entry(self) -> Row | None:
        """An element of the JSON array."""

    def row(self) -> Row | None:
        """A row of CSV."""

    def cell_row(self) -> Row | None:
        """A row of the table that a person sees."""

    def plain(self) -> tuple[str, ...] | None:
        """What -q prints of it; the last part is a path, which may be of any bytes."""


@dataclass(frozen=True)
class Chart:
    """Numbers that a terminal shows as a row of bars."""

    title: str
    values: tuple[float, ...]  # from 0
    words: str  # what stands behind them
    highest: float | None = None  # of a full bar; None: of the largest value


@dataclass(frozen=True)
class Report:
    """Common shape: `rows` for tables and CSV, `record` for JSON, `summary` for people; the rest goes to stderr."""

    type: ClassVar[str] = "report"

    def rows(self) -> list[Row]:
        return []

    def tables(self) -> list[list[Row]]:
        """What a person sees on a terminal; the rows, unless a report has more to say."""
        return [self.rows()]

    def spare(self) -> list[str]:
        """Columns that a narrow terminal leaves out, the first of them first."""
        return []

    def records(self) -> list[Row]:
        """What JSON lines hold; the rows, unless they are flattened there."""
        return self.rows()

    def summary(self) -> list[str]:
        return []

    def charts(self) -> list[Chart]:
        """What a person sees below the tables on a terminal."""
        return []

    def closing(self) -> list[str]:
        """What a person reads below the tables on a terminal."""
        return []

    def warnings(self) -> list[str]:
        return []

    def notes(self) -> list[str]:
        """What is said on stderr although nothing is wrong."""
        return []

    def advice(self) -> list[str]:
        """What to type next."""
        return []

    def names(self) -> list[str]:
        """What -q prints, one per line."""
        return []

    def columns(self) -> list[str]:
        """The columns of CSV, there even when no row is."""
        return list(dict.fromkeys(key for row in self.rows() for key in row))

    def complaint(self) -> str | None:
        """Why this is a failure although there is a result to show."""
        return None

    @property
    def exit_code(self) -> int:
        return 0

    def record(self) -> Row:
        return {"schema_version": SCHEMA_VERSION, "type": self.type, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class StreamedReport(Report):
    """A report whose rows come one at a time, each as soon as it is found: a head, the rows, and what is said last.

    `items` can be taken once. Until it has come to its end nobody knows what stands below the rows: closing, warnings,
    exit code.
    """

    array: ClassVar[str]  # the key of the items in JSON

    def items(self) -> Iterator[Item]:
        raise NotImplementedError

    def samples(self) -> Sequence[Row]:
        """Rows of the table with cells as wide as any that will come, so that its columns are known before."""
        raise NotImplementedError

    def head(self) -> Row:
        """What JSON says before the items."""
        return {"schema_version": SCHEMA_VERSION, "type": self.type}

    def tail(self) -> Row:
        """What JSON says after the items, known once they have come."""
        return {}

    def rows(self) -> list[Row]:
        return [row for item in self.items() if (row := item.row()) is not None]

    def tables(self) -> list[list[Row]]:
        return [[row for item in self.items() if (row := item.cell_row()) is not None]]

    def records(self) -> list[Row]:
        return [item.record() for item in self.items()]

    def record(self) -> Row:
        found = [entry for item in self.items() if (entry := item.entry()) is not None]
        return {**self.head(), self.array: found, **self.tail()}
