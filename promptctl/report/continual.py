"""What `compare --tasks` found."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.phrases import passed_over_lines, percent, skipped_lines, spread

_MEASURES = ("average", "last", "forgetting", "pure_forgetting", "learned", "bwt", "fwt")
_ZERO_SHOT = "zero-shot"
_ROUNDING = 1e-9
_MEANING = {
    "months": "worst step: from one month to the next, the largest fall of the mean, or its smallest gain",
    "labels": "wrong: a quarter of the labels are those of other classes; corrected: the next version, from the right "
    "ones; right: one that never saw the others",
}


@dataclass(frozen=True)
class ContinualRun:
    """One way in the order and with the shots of one seed; fractions, None where one task leaves nothing to say."""

    seed: int
    average: float  # of `seen`
    last: float  # the last of `seen`
    forgetting: float | None  # best before the last version less the last one, mean over tasks; below 0 for a gain
    pure_forgetting: float | None  # the same among the classes known when a task was learned
    learned: float  # each task just after it was learned
    bwt: float | None  # the last version less the one that had just learned the task
    fwt: float | None  # each task just before it was learned, less zero-shot
    seen: tuple[float, ...]  # accuracy after each task on the images of all tasks so far, fraction
    accuracies: tuple[tuple[float, ...], ...]  # of each version on each task up to its own
    seconds: float  # all versions together, without encoding


@dataclass(frozen=True)
class ContinualRow:
    """One way to learn task after task, over the seeds: fractions, and deviations of the population."""

    way: str
    average: float
    average_std: float | None  # None over one seed
    last: float
    last_std: float | None
    forgetting: float | None
    forgetting_std: float | None
    pure_forgetting: float | None
    pure_forgetting_std: float | None
    learned: float
    learned_std: float | None
    bwt: float | None
    bwt_std: float | None
    fwt: float | None
    fwt_std: float | None
    seconds: float
    runs: tuple[ContinualRun, ...]

    @staticmethod
    def of(way: str, runs: Sequence[ContinualRun]) -> ContinualRow:
        found: dict[str, float | None] = {}
        for measure in _MEASURES:
            found[measure], found[f"{measure}_std"] = _mean_and_spread([getattr(run, measure) for run in runs])
        seconds = _mean([run.seconds for run in runs])
        return ContinualRow(way, seconds=seconds, runs=tuple(runs), **found)  # type: ignore[arg-type]


@dataclass(frozen=True)
class TaskOrder:
    """The classes of every task as one seed orders them."""

    seed: int
    tasks: tuple[tuple[str, ...], ...]  # labels


@dataclass(frozen=True)
class ContinualReport(Report):
    type: ClassVar[str] = "compare"

    photos: Path
    backbone: str
    template: str
    protocol: str  # classes
    classes: int
    shots: int  # per class
    test_images: int
    measured_on: str  # which images these are
    seeds: tuple[int, ...]
    orders: tuple[TaskOrder, ...]
    update_steps: int  # of CoOp for every task but the first
    ways: tuple[ContinualRow, ...]
    skipped: tuple[SkippedFile, ...]
    passed_over: Mapping[str, int]  # files that were no photos, by the end of their names

    def notes(self) -> list[str]:
        return passed_over_lines(self.passed_over)

    def rows(self) -> list[Row]:
        """A row for each way and seed."""
        return [
            {
                "way": row.way,
                **{name: getattr(run, name) for name in ("seed", *_MEASURES, "seconds")},
                **{f"seen_{number}": seen for number, seen in enumerate(run.seen, 1)},
            }
            for row in self.ways
            for run in row.runs
        ]

    def records(self) -> list[Row]:
        return [{"type": "continual", **dataclasses.asdict(row)} for row in self.ways]

    def tables(self) -> list[list[Row]]:
        measures = [
            {
                "learned by": row.way,
                "average": _cell(row, "average"),
                "last": _cell(row, "last"),
                "forgetting": _cell(row, "forgetting"),
                "pure": _cell(row, "pure_forgetting"),
                "learned": _cell(row, "learned"),
                "seconds": f"{row.seconds:.1f}",
            }
            for row in self.ways
        ]
        return [measures, [self._after_each_task(row) for row in self.ways]]

    @property
    def n_tasks(self) -> int:
        return len(self.orders[0].tasks)

    def spare(self) -> list[str]:
        return ["learned", "pure"]

    def summary(self) -> list[str]:
        sizes = " or ".join(map(str, sorted({len(task) for task in self.orders[0].tasks}, reverse=True)))
        return [
            f"top-1 in % on {self.test_images} {self.measured_on}; {self.n_tasks} tasks of {sizes} classes, "
            f"{self.shots} shots each, {_over(self.seeds)}, on {self.backbone}"
        ]

    def closing(self) -> list[str]:
        return [
            "forgetting: from the best version to the last, with more classes to choose from; pure: among the classes "
            "known when each task was learned; learned: each task just after its turn"
        ]

    def warnings(self) -> list[str]:
        return skipped_lines(self.skipped) + _below_zero_shot({row.way: row.last for row in self.ways})

    def _after_each_task(self, row: ContinualRow) -> Row:
        """What a person sees of the accuracy on everything seen so far."""
        cells: Row = {"after task": row.way}
        for number in range(self.n_tasks):
            cells[str(number + 1)] = spread(*_mean_and_spread([run.seen[number] for run in row.runs]))  # type: ignore[arg-type]
        return cells


@dataclass(frozen=True)
class CourseRun:
    """One way with the photos, months or mistakes of one seed."""

    seed: int
    accuracies: tuple[float, ...]  # of each version on all test images, fraction
    seconds: float  # all versions together, without encoding


@dataclass(frozen=True)
class CourseRow:
    """One way to learn version after version of the same classes, over the seeds."""

    way: str
    accuracies: tuple[float, ...]  # of each version, fraction
    accuracies_std: tuple[float, ...] | None  # of the population; None over one seed
    worst_step: float | None  # the smallest difference of a version and the one before; None where none follows
    seconds: float
    runs: tuple[CourseRun, ...]

    @staticmethod
    def of(way: str, runs: Sequence[CourseRun], *, is_followed: bool) -> CourseRow:
        """`is_followed`: each version goes on from the one before it."""
        of_versions = list(zip(*(run.accuracies for run in runs), strict=True))
        means = tuple(map(_mean, of_versions))
        return CourseRow(
            way=way,
            accuracies=means,
            accuracies_std=tuple(map(_deviation, of_versions)) if len(runs) > 1 else None,
            worst_step=min(after - before for before, after in pairwise(means)) if is_followed else None,
            seconds=_mean([run.seconds for run in runs]),
            runs=tuple(runs),
        )


@dataclass(frozen=True)
class CoursesReport(Report):
    """Of --protocol months and labels."""

    type: ClassVar[str] = "compare"

    photos: Path
    backbone: str
    template: str
    protocol: str  # months or labels
    classes: int
    shots: int  # per class, at most
    test_images: int
    measured_on: str  # which images these are
    seeds: tuple[int, ...]
    update_steps: int  # of CoOp for every version but the first
    versions: tuple[str, ...]  # what each is called: month 1, or wrong, corrected, right
    about: str  # what comes of which classes, in words
    final: int  # the version that people end up with, from 0
    ways: tuple[CourseRow, ...]
    skipped: tuple[SkippedFile, ...]
    passed_over: Mapping[str, int]  # files that were no photos, by the end of their names

    def notes(self) -> list[str]:
        return passed_over_lines(self.passed_over)

    def rows(self) -> list[Row]:
        """A row for each way and seed."""
        keys = [version.replace(" ", "_") for version in self.versions]
        return [
            {"way": row.way, "seed": run.seed, "seconds": run.seconds, **dict(zip(keys, run.accuracies, strict=True))}
            for row in self.ways
            for run in row.runs
        ]

    def records(self) -> list[Row]:
        return [{"type": "course", **dataclasses.asdict(row)} for row in self.ways]

    def tables(self) -> list[list[Row]]:
        return [[self._line(row) for row in self.ways]]

    def spare(self) -> list[str]:
        return ["seconds"]

    def summary(self) -> list[str]:
        on = f"top-1 in % on {self.test_images} {self.measured_on}"
        return [f"{on}; {self.about}, {_over(self.seeds)}, on {self.backbone}"]

    def closing(self) -> list[str]:
        return [_MEANING[self.protocol]]

    def warnings(self) -> list[str]:
        return skipped_lines(self.skipped) + _below_zero_shot(
            {row.way: row.accuracies[self.final] for row in self.ways}
        )

    def _line(self, row: CourseRow) -> Row:
        deviations = row.accuracies_std or (None,) * len(row.accuracies)
        cells: Row = {"learned by": row.way}
        for version, mean, deviation in zip(self.versions, row.accuracies, deviations, strict=True):
            cells[version] = spread(mean, deviation)
        if row.worst_step is not None:
            cells["worst step"] = f"{100 * row.worst_step:+.1f}"
        return {**cells, "seconds": f"{row.seconds:.1f}"}


def _over(seeds: Sequence[int]) -> str:
    return f"mean ± deviation over {len(seeds)} seeds" if len(seeds) > 1 else "one seed"


def _below_zero_shot(ends: Mapping[str, float]) -> list[str]:
    """A line for every way that ends below zero-shot, fractions."""
    zero_shot = ends.get(_ZERO_SHOT, 0.0)
    worse = {way: end for way, end in ends.items() if end < zero_shot - _ROUNDING}
    return [f"{way} ends at {percent(end)}, below zero-shot ({percent(zero_shot)})" for way, end in worse.items()]


def _mean_and_spread(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """None where a seed has none, and no deviation of one."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None, None
    return _mean(known), _deviation(known) if len(known) > 1 else None


def _deviation(values: Sequence[float]) -> float:
    """Of the population."""
    mean = _mean(values)
    return math.sqrt(_mean([(value - mean) ** 2 for value in values]))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _cell(row: ContinualRow, measure: str) -> str:
    mean = getattr(row, measure)
    return "" if mean is None else spread(mean, getattr(row, f"{measure}_std"))
