"""What `classify --output` has written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row
from promptctl.report.classify import ClassifyReport


@dataclass(frozen=True)
class SavedReport(Report):
    """The head and the end of a report whose items lie in a file."""

    type: ClassVar[str] = "classify"

    output: Path
    known: int  # lines that were there before
    found: ClassifyReport

    def rows(self) -> list[Row]:
        return [{"class": name, "images": images} for name, images in self.found.by_class().items()]

    def columns(self) -> list[str]:
        return ["class", "images"]

    def record(self) -> Row:
        own = {"output": self.output, "known": self.known, "by_class": self.found.by_class()}
        return {**self.found.head(), **own, **self.found.totals(), **self.found.tail()}

    def tables(self) -> list[list[Row]]:
        return []

    def closing(self) -> list[str]:
        before = f", {self.known:,} of its lines were there before" if self.known else ""
        return [*self.found.closing(), f"{self.output} has a line for each{before}"]

    def notes(self) -> list[str]:
        return self.found.notes()

    def warnings(self) -> list[str]:
        return self.found.warnings()

    def complaint(self) -> str | None:
        return self.found.complaint()

    @property
    def exit_code(self) -> int:
        return self.found.exit_code
