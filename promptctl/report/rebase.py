"""What `rebase` made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row
from promptctl.report.phrases import counted_images, joined, next_lines, number_of, percent, size

_SHOWN = 10


@dataclass(frozen=True)
class MissingPhoto:
    """A photo of the version before that has no features on the new backbone."""

    sha256: str
    label: str
    reason: str


@dataclass(frozen=True)
class RebaseReport(Report):
    type: ClassVar[str] = "rebase"

    context: str  # birds@4
    path: Path
    parent: str  # birds@3
    before: str  # backbones
    after: str
    classes: int
    found: int  # photos
    missing: tuple[MissingPhoto, ...]  # of the classes that stayed
    dropped: tuple[str, ...]  # labels
    measured_on: str | None
    measured_images: int
    accuracy: float | None  # fraction
    zero_shot_accuracy: float | None
    seconds: float
    n_bytes: int

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(photo) for photo in self.missing]

    def columns(self) -> list[str]:
        return [field.name for field in dataclasses.fields(MissingPhoto)]

    def tables(self) -> list[list[Row]]:
        return [
            [
                {"missing": photo.sha256[:12], "class": photo.label, "reason": photo.reason}
                for photo in self.missing[:_SHOWN]
            ]
        ]

    def summary(self) -> list[str]:
        lines = [
            f"{self.context} is {self.parent} learned again on {self.after}, from {number_of(self.found, 'photo')} of "
            f"{self.classes} classes ({self.seconds:.1f} s, {size(self.n_bytes)})"
        ]
        if self.measured_on:
            on = counted_images(self.measured_images, self.measured_on)
            lines.append(f"{percent(self.accuracy)} on {on}, zero-shot {percent(self.zero_shot_accuracy)}")
        return lines

    def closing(self) -> list[str]:
        hidden = len(self.missing) - _SHOWN
        return [f"{number_of(hidden, 'more missing photo')} in --json"] if hidden > 0 else []

    def names(self) -> list[str]:
        return [self.context]

    def notes(self) -> list[str]:
        return [
            f"accuracies on {self.before} and {self.after} are not compared: "
            "promptctl evaluate measures either on the same photos"
        ]

    def warnings(self) -> list[str]:
        found = []
        if self.dropped:
            these = joined([f"'{label}'" for label in self.dropped])
            found.append(f"{these} {'is' if len(self.dropped) == 1 else 'are'} left out: no photo was found")
        if self.missing:
            found.append(f"{number_of(len(self.missing), 'photo')} of {self.parent} missing, learned without")
        return found

    def advice(self) -> list[str]:
        name = self.context.partition("@")[0]
        return next_lines(
            f"promptctl evaluate {name} TEST-FOLDER", f"promptctl restore {self.parent}   (to go back to {self.before})"
        )
