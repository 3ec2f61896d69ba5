"""What was said of photos on the page of `review`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.phrases import next_lines, number_of, skipped_lines

_WORDS = {"accept": "accepted", "change": "changed", "unknown": "unknown", "skip": "skipped"}


@dataclass(frozen=True)
class ReviewReport(Report):
    """How far a person is with the photos of a review, in this run and those before."""

    type: ClassVar[str] = "review"

    context: str
    output: Path  # where every decision is
    photos: int  # to be asked about, each with its copies once
    decided: int
    decisions: Mapping[str, int]  # by kind
    next: tuple[str, ...]  # commands
    skipped: tuple[SkippedFile, ...] = ()

    @property
    def sentence(self) -> str:
        if not self.photos:
            return f"there is nothing to ask about: {self.context} knows these photos"
        changed = f", {self.decisions['change']:,} changed" if self.decisions["change"] else ""
        return f"{self.decided:,} of {number_of(self.photos, 'photo')} decided{changed}"

    def rows(self) -> list[Row]:
        return [{"decision": kind, "photos": count} for kind, count in self.decisions.items()]

    def tables(self) -> list[list[Row]]:
        return [[{"decision": _WORDS[kind], "photos": count} for kind, count in self.decisions.items() if count]]

    def record(self) -> Row:
        return {**super().record(), "sentence": self.sentence}

    def summary(self) -> list[str]:
        return [self.sentence]

    def closing(self) -> list[str]:
        return [f"{self.output} has a line for each"] if self.decided else []

    def warnings(self) -> list[str]:
        return skipped_lines(self.skipped)

    def advice(self) -> list[str]:
        return next_lines(*self.next)

    def names(self) -> list[str]:
        return [str(self.output)]

    @property
    def exit_code(self) -> int:
        return 3 if self.skipped else 0
