"""The common shape of reports: rows for tables and CSV, a record for JSON, a summary for people."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

Row = dict[str, Any]
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class SkippedFile:
    """A file that could not be used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Report:
    """Common shape: `rows` for tables and CSV, `record` for JSON, `summary` for people; the rest is talk on stderr."""

    type: ClassVar[str] = "report"
    line_a_row: ClassVar[bool] = False  # on a terminal a row is one line, whatever must be cut for it

    def rows(self) -> list[Row]:
        return []

    def tables(self) -> list[list[Row]]:
        """What a person sees on a terminal; the rows, unless a report has more to say."""
        return [self.rows()]

    def spare(self) -> list[str]:
        """Columns of the tables that a narrow terminal goes without, the first of them first."""
        return []

    def records(self) -> list[Row]:
        """What JSON lines hold; the rows, unless they are flattened there."""
        return self.rows()

    def summary(self) -> list[str]:
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
        """What -q prints, one a line."""
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
