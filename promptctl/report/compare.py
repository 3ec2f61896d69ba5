"""What `compare` found."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.phrases import joined, passed_over_lines, percent, skipped_lines, spread

_BY_HAND = ("zero-shot", "ensemble-7", "ensemble-80")
_ROUNDING = 1e-9  # a mean of equal values may differ from them by so much
_PROBES = (
    "linear-probe uses normalised image features; linear-probe-raw, the paper's probe, uses them as they leave "
    "the tower"
)


@dataclass(frozen=True)
class ComparedRow:
    """One learner at one number of shots, over the seeds."""

    learner: str
    shots: int
    mean: float  # fraction
    std: float | None  # of the population, fraction; None over one seed
    runs: tuple[float, ...]  # accuracy of every seed, fraction
    seconds: float  # a run, without encoding
    run_seconds: tuple[float, ...] = ()  # of every seed, when it was measured


@dataclass(frozen=True)
class BaseToNewRow:
    """Learned from the base classes: accuracy on them, on the new ones, and the harmonic mean, each over the seeds."""

    learner: str
    shots: int
    base: float
    base_std: float | None
    new: float
    new_std: float | None
    harmonic: float
    harmonic_std: float | None
    base_runs: tuple[float, ...] = ()  # of every seed, fraction
    new_runs: tuple[float, ...] = ()
    harmonic_runs: tuple[float, ...] = ()


@dataclass(frozen=True)
class CompareReport(Report):
    type: ClassVar[str] = "compare"

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
    without_new_classes: tuple[str, ...]  # asked for base to new, and cannot
    plot: Path | None
    plot_error: str | None  # why there is no figure although one was asked for
    skipped: tuple[SkippedFile, ...]
    passed_over: Mapping[str, int]  # files that were no photos, by the end of their names
    zero_shot_accuracy: float  # fraction, on the test images, whoever was asked for
    zero_shot_base: float | None  # and of each half among itself; None where no halves were asked for
    zero_shot_new: float | None
    ensemble_has_own: bool  # ensemble-7 is CLIP's seven and the sentence of the template
    known: int  # of the runs, how many were measured before and kept

    def notes(self) -> list[str]:
        return passed_over_lines(self.passed_over)

    def complaint(self) -> str | None:
        return self.plot_error

    @property
    def exit_code(self) -> int:
        return 1 if self.plot_error else 0

    def rows(self) -> list[Row]:
        """A row for each learner, number of shots and seed."""
        halves = {(row.learner, row.shots): row for row in self.base_to_new}
        return [
            {**_of_seed(row, i, seed), **(_halves_of_seed(halves.get((row.learner, row.shots)), i) if halves else {})}
            for row in self.learners
            for i, seed in enumerate(self.seeds)
        ]

    def records(self) -> list[Row]:
        halves = [{"type": "base-to-new", **dataclasses.asdict(row)} for row in self.base_to_new]
        return [*({"type": "few-shot", **dataclasses.asdict(row)} for row in self.learners), *halves]

    def tables(self) -> list[list[Row]]:
        names = dict.fromkeys(row.learner for row in self.learners)
        curve = [
            {
                "learner": self.called(name),
                **{_shots(row.shots): spread(row.mean, row.std) for row in self.learners if row.learner == name},
            }
            for name in names
        ]
        halves = [
            {
                "base to new": self.called(row.learner),
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
        probes = [_PROBES] if any(row.learner.startswith("linear-probe") for row in self.learners) else []
        return lines + probes + ([f"figure: {self.plot}"] if self.plot else [])

    def called(self, learner: str) -> str:
        """A learner as people shall read it."""
        return f"{learner} + template" if learner == "ensemble-7" and self.ensemble_has_own else learner

    def advice(self) -> list[str]:
        if not self.known:
            return []
        runs = len(self.seeds) * (len(self.learners) + len(self.base_to_new))
        return [f"{self.known} of {runs} results were known from before; promptctl cache clear deletes them"]

    def warnings(self) -> list[str]:
        found = skipped_lines(self.skipped) + ([self.left_out] if self.left_out else [])
        if self.without_new_classes:
            found.append(f"{joined(self.without_new_classes)} cannot classify new classes: not in base to new")
        return found + self._below_zero_shot()

    def _below_zero_shot(self) -> list[str]:
        """Every learner that is worse than what needs no photo, a line for each kind of image."""
        whole = [(row.learner, row.shots, row.mean) for row in self.learners]
        base = [(row.learner, row.shots, row.base) for row in self.base_to_new]
        new = [(row.learner, row.shots, row.new) for row in self.base_to_new]
        return [
            *_below(whole, self.zero_shot_accuracy, self.measured_on),
            *_below(base, self.zero_shot_base, "the base classes"),
            *_below(new, self.zero_shot_new, "the new classes"),
        ]


def _of_seed(row: ComparedRow, i: int, seed: int) -> Row:
    cell = {key: getattr(row, key) for key in ("learner", "shots", "mean", "std")}
    return {**cell, "seconds": row.run_seconds[i], "seed": seed, "accuracy": row.runs[i]}


def _halves_of_seed(row: BaseToNewRow | None, i: int) -> Row:
    means = ("base", "base_std", "new", "new_std", "harmonic", "harmonic_std")
    singles = {"seed_base": "base_runs", "seed_new": "new_runs", "seed_harmonic": "harmonic_runs"}
    if row is None:
        return dict.fromkeys((*means, *singles))
    return {**{key: getattr(row, key) for key in means}, **{key: getattr(row, of)[i] for key, of in singles.items()}}


def _below(cells: Iterable[tuple[str, int, float]], zero_shot: float | None, images: str) -> list[str]:
    worse: dict[str, list[int]] = {}
    for learner, shots, accuracy in cells:
        if learner not in _BY_HAND and zero_shot is not None and accuracy < zero_shot - _ROUNDING:
            worse.setdefault(learner, []).append(shots)
    return [
        f"{learner} at {_all_shots(shots)} is worse than zero-shot ({percent(zero_shot)}) on {images}"
        for learner, shots in worse.items()
    ]


def _all_shots(counts: Sequence[int]) -> str:
    *first, last = counts
    return joined([*map(str, first), _shots(last)])


def _shots(count: int) -> str:
    return f"{count} shot{'' if count == 1 else 's'}"
