"""What `undo` took back."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import ClassVar

from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.phrases import next_lines, skipped_lines


@dataclass(frozen=True)
class UndoReport(Report):
    type: ClassVar[str] = "undo"

    operation: int | None  # the undo itself; None: there was nothing to take back
    of: int  # what it took back
    command: tuple[str, ...]  # as it was typed
    sentence: str
    done: int  # steps that are taken back
    skipped: tuple[SkippedFile, ...]

    def rows(self) -> list[Row]:
        return [{"operation": self.operation, "of": self.of, "done": self.done, "left": len(self.skipped)}]

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        return [f"operation {self.of} ({shlex.join(self.command)}) is taken back: {self.sentence}"]

    def warnings(self) -> list[str]:
        return skipped_lines(self.skipped)

    def advice(self) -> list[str]:
        again = [f"promptctl undo {self.of}   (to try the rest again)"] if self.skipped else []
        return next_lines(*again, f"promptctl undo {self.operation}   (to have it back)") if self.operation else []

    @property
    def exit_code(self) -> int:
        return 0 if not self.skipped else 3
