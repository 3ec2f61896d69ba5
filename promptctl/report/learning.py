"""What `learn` found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.words import next_lines, percent, size, skipped_lines


@dataclass(frozen=True)
class LearnReport(Report):
    type: ClassVar[str] = "learned"

    context: str  # birds@1
    path: Path
    classes: int
    shots: int | None  # a class; None: all
    train_images: int
    measured_on: str | None  # which images the accuracy is of
    measured_images: int
    accuracy: float | None  # fraction
    zero_shot_accuracy: float | None  # fraction
    steps: int
    seconds: float
    n_bytes: int
    skipped: tuple[SkippedFile, ...]
    next: tuple[str, ...]

    def rows(self) -> list[Row]:
        keys = ("context", "classes", "train_images", "measured_images", "accuracy", "zero_shot_accuracy", "seconds")
        return [{key: getattr(self, key) for key in keys}]

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        learned = (
            f"{self.context} learned {self.classes} classes from {self.train_images} images in {self.seconds:.1f} s"
        )
        return [learned + self._score(), f"stored: {self.path} ({size(self.n_bytes)})"]

    def advice(self) -> list[str]:
        return next_lines(*self.next)

    def warnings(self) -> list[str]:
        found = skipped_lines(self.skipped)
        if self.accuracy is not None and self.accuracy < (self.zero_shot_accuracy or 0):
            found.append(
                f"{self.context} is worse than zero-shot on {self.measured_on}: more shots may help, and promptctl "
                "compare tells which learner would"
            )
        return found

    def _score(self) -> str:
        if self.accuracy is None:
            return "; no image was left to measure it on"
        return (
            f": {percent(self.accuracy)} right on the {self.measured_images} {self.measured_on}, "
            f"zero-shot {percent(self.zero_shot_accuracy)}"
        )
