"""What `compare --tasks` found."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.phrases import passed_over_lines, percent, skipped_lines, spread

_MEASURES = ("average", "last", "forgetting", "pure_forgetting", "learned", "bwt", "fwt")
_ZERO_SHOT = "zero-shot"
_ROUNDING = 1e-9


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
        over = f"mean ± deviation over {len(self.seeds)} seeds" if len(self.seeds) > 1 else "one seed"
        sizes = " or ".join(map(str, sorted({len(task) for task in self.orders[0].tasks}, reverse=True)))
        return [
            f"top-1 in % on {self.test_images} {self.measured_on}; {self.n_tasks} tasks of {sizes} classes, "
            f"{self.shots} shots each, {over}, on {self.backbone}"
        ]

    def closing(self) -> list[str]:
        return [
            "forgetting: from the best version to the last, with more classes to choose from; pure: among the classes "
            "known when each task was learned; learned: each task just after its turn"
        ]

    def warnings(self) -> list[str]:
        zero_shot = next((row.last for row in self.ways if row.way == _ZERO_SHOT), None)
        worse = [row for row in self.ways if zero_shot is not None and row.last < zero_shot - _ROUNDING]
        below = [f"{row.way} ends at {percent(row.last)}, below zero-shot ({percent(zero_shot)})" for row in worse]
        return skipped_lines(self.skipped) + below

    def _after_each_task(self, row: ContinualRow) -> Row:
        """What a person sees of the accuracy on everything seen so far."""
        cells: Row = {"after task": row.way}
        for number in range(self.n_tasks):
            cells[str(number + 1)] = spread(*_mean_and_spread([run.seen[number] for run in row.runs]))  # type: ignore[arg-type]
        return cells


def _mean_and_spread(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """None where a seed has none, and no deviation of one."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None, None
    mean = _mean(known)
    return mean, math.sqrt(_mean([(value - mean) ** 2 for value in known])) if len(known) > 1 else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _cell(row: ContinualRow, measure: str) -> str:
    mean = getattr(row, measure)
    return "" if mean is None else spread(mean, getattr(row, f"{measure}_std"))
