"""What `compare` found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.words import passed_over_lines, skipped_lines, spread


@dataclass(frozen=True)
class ComparedRow:
    """One learner at one number of shots, over the seeds."""

    learner: str
    shots: int
    mean: float  # fraction
    std: float | None  # of the population, fraction; None over one seed
    runs: tuple[float, ...]  # accuracy of every seed, fraction
    seconds: float  # a run, without encoding


@dataclass(frozen=True)
class BaseToNewRow:
    """Taught the base classes: accuracy on them, on the new ones, and the harmonic mean, each over the seeds."""

    learner: str
    shots: int
    base: float
    base_std: float | None
    new: float
    new_std: float | None
    harmonic: float
    harmonic_std: float | None


@dataclass(frozen=True)
class CompareReport(Report):
    type: ClassVar[str] = "compared"

    photos: Path
    backbone: str
    template: str
    classes: int
    train_images: int  # shots are drawn from
    test_images: int  # everything is measured on
    measured_on: str  # which images these are
    seeds: tuple[int, ...]
    left_out: str | None  # shots there are not enough images for
    learners: tuple[ComparedRow, ...]
    base_to_new: tuple[BaseToNewRow, ...]
    speechless: tuple[str, ...]  # asked for base to new, and cannot
    plot: Path | None
    no_plot: str | None  # why there is no figure although one was asked for
    skipped: tuple[SkippedFile, ...]
    passed_over: Mapping[str, int]  # files that were no photos, by the end of their names

    def notes(self) -> list[str]:
        return passed_over_lines(self.passed_over)

    def complaint(self) -> str | None:
        return self.no_plot

    @property
    def exit_code(self) -> int:
        return 1 if self.no_plot else 0

    def rows(self) -> list[Row]:
        keys = ("learner", "shots", "mean", "std", "seconds")
        rows = [{key: getattr(row, key) for key in keys} for row in self.learners]
        if self.base_to_new:
            halves = {(row.learner, row.shots): dataclasses.asdict(row) for row in self.base_to_new}
            nothing = dict.fromkeys(field.name for field in dataclasses.fields(BaseToNewRow))
            rows = [{**nothing, **halves.get((row["learner"], row["shots"]), {}), **row} for row in rows]
        return rows

    def records(self) -> list[Row]:
        halves = [{"type": "base-to-new", **dataclasses.asdict(row)} for row in self.base_to_new]
        return [*({"type": "few-shot", **dataclasses.asdict(row)} for row in self.learners), *halves]

    def tables(self) -> list[list[Row]]:
        names = dict.fromkeys(row.learner for row in self.learners)
        curve = [
            {
                "learner": name,
                **{_shots(row.shots): spread(row.mean, row.std) for row in self.learners if row.learner == name},
            }
            for name in names
        ]
        halves = [
            {
                "base to new": row.learner,
                "shots": row.shots,
                "base": spread(row.base, row.base_std),
                "new": spread(row.new, row.new_std),
                "harmonic": spread(row.harmonic, row.harmonic_std),
            }
            for row in self.base_to_new
        ]
        return [curve, halves] if halves else [curve]

    def summary(self) -> list[str]:
        over = f"mean ± deviation over {len(self.seeds)} seeds" if len(self.seeds) > 1 else "one seed"
        lines = [
            f"top-1 in % on {self.test_images} {self.measured_on}; {self.classes} classes, {over}, on {self.backbone}"
        ]
        return lines + ([f"figure: {self.plot}"] if self.plot else [])

    def warnings(self) -> list[str]:
        found = skipped_lines(self.skipped) + ([self.left_out] if self.left_out else [])
        if self.speechless:
            found.append(f"{' and '.join(self.speechless)} cannot speak of classes not learned: not in base to new")
        return found


def _shots(count: int) -> str:
    return f"{count} shot{'' if count == 1 else 's'}"
