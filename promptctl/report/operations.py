"""What the journal has."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from typing import ClassVar

from promptctl.report.base import Report, Row
from promptctl.report.phrases import local_time, next_lines, short_origin


@dataclass(frozen=True)
class ListedOperation:
    """One line of `operations`."""

    number: int
    when: str  # ISO 8601, UTC
    kind: str
    words: tuple[str, ...]  # as they were typed
    done: int | None  # steps; None: it did not come to its end
    left: int | None
    of: int | None  # of an undo: what it took back
    taken_back_by: int | None
    running: bool
    interrupted: bool  # or still running
    origin: str | None  # of what was stored: where it was fetched from, with the commit

    @property
    def state(self) -> str:
        if self.taken_back_by is not None:
            return f"taken back by {self.taken_back_by}"
        return "running" if self.running else "interrupted" if self.interrupted else ""


@dataclass(frozen=True)
class OperationsReport(Report):
    type: ClassVar[str] = "operations"

    operations: tuple[ListedOperation, ...]
    total: int

    def columns(self) -> list[str]:
        return [field.name for field in dataclasses.fields(ListedOperation)]

    def rows(self) -> list[Row]:
        return [{**dataclasses.asdict(one), "words": shlex.join(one.words)} for one in self.operations]

    def tables(self) -> list[list[Row]]:
        return [
            [
                {
                    "operation": one.number,
                    "when": local_time(one.when),
                    "command": (shlex.join(one.words) or one.kind)
                    + (f"  ({short_origin(one.origin)})" if one.origin else ""),
                    "state": one.state,
                }
                for one in self.operations
            ]
        ]

    def names(self) -> list[str]:
        return [str(one.number) for one in self.operations]

    def notes(self) -> list[str]:
        more = self.total - len(self.operations)
        return [f"{more} older: --last {self.total}"] if more else []

    def advice(self) -> list[str]:
        if not self.operations:
            return ["nothing is recorded yet"]
        return next_lines("promptctl undo   (the newest)", "promptctl undo OPERATION")
