"""What `learn` found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.phrases import counted_images, listed, next_lines, passed_over_lines, percent, size, skipped_lines

_CLASSES_SHOWN = 40


@dataclass(frozen=True)
class ClassPhotos:
    """How many photos of a class there were, and what became of them."""

    label: str
    name: str
    images: int  # readable, each content once
    train: int  # learned from
    held_out: int  # measured on


@dataclass(frozen=True)
class LearnReport(Report):
    type: ClassVar[str] = "learn"

    context: str  # birds@1
    path: Path
    classes: int
    shots: int | None  # per class; None: all
    train_images: int
    measured_on: str | None  # which images the accuracy is of
    measured_images: int
    accuracy: float | None  # fraction
    zero_shot_accuracy: float | None  # fraction
    steps: int
    seconds: float
    n_bytes: int
    skipped: tuple[SkippedFile, ...]
    per_class: tuple[ClassPhotos, ...]
    passed_over: Mapping[str, int]  # files that were no photos, by the end of their names
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
        return [learned + self._score(), self._photos(), f"stored: {self.path} ({size(self.n_bytes)})"]

    def notes(self) -> list[str]:
        return passed_over_lines(self.passed_over)

    def advice(self) -> list[str]:
        return next_lines(*self.next)

    def warnings(self) -> list[str]:
        found = [*skipped_lines(self.skipped), *self._unmeasured()]
        if self.accuracy is not None and self.accuracy < (self.zero_shot_accuracy or 0):
            found.append(
                f"{self.context} is worse than zero-shot on {self.measured_on}: more shots may help, and promptctl "
                "compare shows which learner would"
            )
        return found

    def _photos(self) -> str:
        # in brackets, for a class may be called 1, or "iPhone 12"
        shown = [f"{one.name} ({one.train}+{one.held_out})" for one in self.per_class[:_CLASSES_SHOWN]]
        more = len(self.per_class) - len(shown)
        rest = f" and {more} more class{'' if more == 1 else 'es'}, all in --json" if more else ""
        return f"photos learned from + measured on: {', '.join(shown)}{rest}"

    def _unmeasured(self) -> list[str]:
        """Which classes the accuracy does not cover."""
        if self.accuracy is None:
            return []
        names = [one.name for one in self.per_class if not one.held_out]
        if not names:
            return []
        where = "was held out" if self.measured_on == "images held out" else f"is among the {self.measured_on}"
        them = "it" if len(names) == 1 else "them"
        return [f"no photo of {listed(names, _CLASSES_SHOWN)} {where}: the accuracy does not cover {them}"]

    def _score(self) -> str:
        if self.accuracy is None or self.measured_on is None:
            return "; no image was left to measure it on"
        return (
            f": {percent(self.accuracy)} right on {counted_images(self.measured_images, self.measured_on)}, "
            f"zero-shot {percent(self.zero_shot_accuracy)}"
        )
