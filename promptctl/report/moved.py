"""What `copy`, `rename`, `remove`, `restore` and `promote` did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row
from promptctl.report.phrases import listed, next_lines


@dataclass(frozen=True)
class MovedReport(Report):
    """A name that went elsewhere: to another name, to the trash, or back."""

    context: str
    path: Path
    sentence: str
    next: str

    def tables(self) -> list[list[Row]]:
        return []

    def rows(self) -> list[Row]:
        return [{"context": self.context, "path": self.path}]

    def summary(self) -> list[str]:
        return [self.sentence]

    def advice(self) -> list[str]:
        return next_lines(self.next)


class CopyReport(MovedReport):
    type: ClassVar[str] = "copy"


class RenameReport(MovedReport):
    type: ClassVar[str] = "rename"


class RemoveReport(MovedReport):
    type: ClassVar[str] = "remove"


class RestoreReport(MovedReport):
    type: ClassVar[str] = "restore"


@dataclass(frozen=True)
class PromoteReport(MovedReport):
    type: ClassVar[str] = "promote"

    left_out: tuple[str, ...]  # versions that the candidate was not learned from, the oldest first

    def warnings(self) -> list[str]:
        if not self.left_out:
            return []
        return [f"it was learned before {listed(self.left_out)}, and has nothing of what was learned there"]
