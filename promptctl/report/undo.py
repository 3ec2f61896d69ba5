"""What `undo` took back."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import ClassVar

from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.phrases import next_lines, number_of, skipped_lines


@dataclass(frozen=True)
class UndoReport(Report):
    type: ClassVar[str] = "undo"

    operation: int | None  # the undo itself; None: nothing was taken back
    of: int  # what it took back
    command: tuple[str, ...]  # as it was typed
    sentence: str
    done: int  # steps that are taken back
    skipped: tuple[SkippedFile, ...]
    before: int | None = None  # the change before it, where none was named

    def rows(self) -> list[Row]:
        return [{"operation": self.operation, "of": self.of, "done": self.done, "left": len(self.skipped)}]

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        subject = f"operation {self.of} ({shlex.join(self.command)})"
        if not self.skipped:
            return [f"{subject} is taken back: {self.sentence}"]
        left = f"but for {number_of(len(self.skipped), 'file')}"
        return [f"{subject} is taken back {left}: {self.sentence}" if self.done else f"{subject} is not taken back"]

    def warnings(self) -> list[str]:
        return skipped_lines(self.skipped)

    def advice(self) -> list[str]:
        again = [f"promptctl undo {self.of}   (to try the rest again)"] if self.skipped else []
        back = [f"promptctl undo {self.operation}   (to have it back)"] if self.operation else []
        onward = [f"promptctl undo {self.before}   (the one before it)"] if again and not back and self.before else []
        return next_lines(*again, *back, *onward) if again or back else []

    @property
    def exit_code(self) -> int:
        return 0 if not self.skipped else 3
