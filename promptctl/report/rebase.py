"""What `rebase` made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row
from promptctl.report.guard import GuardFacts, not_the_next
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

    context: str  # birds@4; birds@candidate where it is refused
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
    held_out_missing: int  # photos that the version before holds out, and on which the two cannot be compared
    guard: GuardFacts
    refused: bool  # it lies beside the versions, for a person to decide
    forced: bool  # stored although the guard refused it

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(photo) for photo in self.missing]

    def columns(self) -> list[str]:
        return [field.name for field in dataclasses.fields(MissingPhoto)]

    def tables(self) -> list[list[Row]]:
        missing: list[Row] = [
            {"missing": photo.sha256[:12], "class": photo.label, "reason": photo.reason}
            for photo in self.missing[:_SHOWN]
        ]
        return [missing, self.guard.moved()]

    def summary(self) -> list[str]:
        lines = [
            f"{self.context} is {self.parent} learned again on {self.after}, from {number_of(self.found, 'photo')} of "
            f"{self.classes} classes ({self.seconds:.1f} s, {size(self.n_bytes)})"
        ]
        if self.measured_on:
            on = counted_images(self.measured_images, self.measured_on)
            lines.append(f"{percent(self.accuracy)} on {on}, zero-shot {percent(self.zero_shot_accuracy)}")
        return [*lines, *self.guard.lines()]

    def closing(self) -> list[str]:
        hidden = len(self.missing) - _SHOWN
        return [f"{number_of(hidden, 'more missing photo')} in --json"] if hidden > 0 else []

    def names(self) -> list[str]:
        return [self.context]

    def notes(self) -> list[str]:
        return [
            f"log and diff compare no accuracies on {self.before} with those on {self.after}: "
            "promptctl evaluate measures either on the same photos"
        ]

    def warnings(self) -> list[str]:
        found = []
        if self.dropped:
            these = joined([f"'{label}'" for label in self.dropped])
            found.append(f"{these} {'is' if len(self.dropped) == 1 else 'are'} left out: no photo was found")
        if self.missing:
            found.append(f"{number_of(len(self.missing), 'photo')} of {self.parent} missing, learned without")
        return [*found, *self._compared_on_fewer(), *self.guard.guard_warnings]

    def _compared_on_fewer(self) -> list[str]:
        """That photos which were held out are missing from the comparison."""
        if not self.held_out_missing:
            return []
        photos = number_of(self.held_out_missing, "photo")
        return [f"{photos} held out in {self.parent} missing or of a class left out: the two are compared without"]

    def complaint(self) -> str | None:
        return not_the_next(self.context, self.guard.reasons) if self.refused else None

    @property
    def exit_code(self) -> int:
        return 4 if self.refused else 0

    def advice(self) -> list[str]:
        name = self.context.partition("@")[0]
        if self.refused:
            return next_lines(f"promptctl diff {self.parent} {self.context}", f"promptctl promote {self.context}")
        return next_lines(
            f"promptctl evaluate {name} TEST-FOLDER", f"promptctl restore {self.parent}   (to go back to {self.before})"
        )
