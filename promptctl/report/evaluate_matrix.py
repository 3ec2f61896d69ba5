"""What `evaluate` found of several contexts or folders: how far each falls from one folder to another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.measures import Interval
from promptctl.report.phrases import (
    error_records,
    joined,
    listed,
    number_of,
    passed_over_lines,
    percent,
    skipped_lines,
)


@dataclass(frozen=True)
class MatrixRow:
    """One context, or a baseline beside it, on one folder; fractions all of them."""

    context: str
    baseline: str | None  # None: the context itself
    folder: str
    images: int
    learned_from: int  # of these images, those the context was learned from
    present: tuple[str, ...]  # labels of the classes in the folder
    classes: int  # that were answered among
    accuracy: float
    interval: Interval
    drop: float | None  # from the first folder; None: it is that
    without_head: float | None  # the accuracy of the context alone, where it has a head
    zero_shot: float
    zero_shot_drop: float | None


@dataclass(frozen=True)
class MatrixReport(Report):
    type: ClassVar[str] = "evaluate"

    contexts: tuple[str, ...]
    folders: tuple[str, ...]  # the first is the one that drops are counted from
    together: bool
    blend: tuple[float, ...]  # share of the learned text features, of each context
    matrix: tuple[MatrixRow, ...]
    skipped: tuple[SkippedFile, ...]
    passed_over: Mapping[str, int]
    ambiguous: tuple[str, ...] = ()  # arguments that are a folder and a context too

    @property
    def own(self) -> tuple[MatrixRow, ...]:
        """The rows of the contexts themselves."""
        return tuple(row for row in self.matrix if row.baseline is None)

    def rows(self) -> list[Row]:
        return [self._flat(row) for row in self.matrix]

    def _flat(self, row: MatrixRow) -> Row:
        flat = dataclasses.asdict(row)
        interval = flat.pop("interval")
        flat["present"] = len(row.present)
        return {**flat, "low": interval["low"], "high": interval["high"]}

    def records(self) -> list[Row]:
        rows = ({"type": "cell", **dataclasses.asdict(row)} for row in self.matrix)
        return [*rows, *error_records(self.skipped)]

    def tables(self) -> list[list[Row]]:
        has_head = any(row.without_head is not None for row in self.matrix)
        return [
            [
                {
                    "context": row.context if row.baseline is None else f"  {row.baseline}",
                    "photos": row.folder,
                    "images": row.images,
                    "classes": row.classes,
                    "top-1": percent(row.accuracy),
                    "95 % interval": str(row.interval),
                    "drop": _points(row.drop),
                    **({"without head": row.without_head} if has_head else {}),
                    "zero_shot": row.zero_shot if row.baseline is None else None,
                    "its drop": _points(row.zero_shot_drop) if row.baseline is None else None,
                }
                for row in self.matrix
            ]
        ]

    def spare(self) -> list[str]:
        return ["95 % interval", "without head", "classes"]

    def summary(self) -> list[str]:
        how = ", answered together" if self.together else ""
        contexts, folders = (
            number_of(len(some), kind) for some, kind in ((self.contexts, "context"), (self.folders, "folder"))
        )
        taken = f"{contexts} ({', '.join(self.contexts)}) on {folders} of photos ({', '.join(self.folders)}){how}"
        return [taken, *filter(None, map(self._worst, self.contexts))]

    def _worst(self, context: str) -> str:
        """How far a context falls at worst, and zero-shot on the same photos."""
        rows = [row for row in self.own if row.context == context and row.drop is not None]
        if not rows:
            return ""
        worst = max(rows, key=lambda row: row.drop or 0)
        first = next(row for row in self.own if row.context == context)
        if (worst.drop or 0) <= 0:
            return f"{context}: {percent(first.accuracy)} right on {first.folder}, and nowhere fewer"
        falls = f"a drop of {_points(worst.drop)} points, where zero-shot {_moves(worst.zero_shot_drop or 0)}"
        there = f"{percent(worst.accuracy)} on {worst.folder}"
        return f"{context}: {percent(first.accuracy)} right on {first.folder}, {there}, {falls}"

    def notes(self) -> list[str]:
        taken = [f"'{word}' is a context too; it was taken for the folder" for word in self.ambiguous]
        return [*passed_over_lines(self.passed_over), *taken, *self._other_classes()]

    def _other_classes(self) -> list[str]:
        """Folders that do not show what the first shows, so that a drop is not of the photos alone."""
        rows = {row.folder: row for row in reversed(self.own)}
        first = rows[self.folders[0]]
        found = []
        for folder in self.folders[1:]:
            lacking = sorted(set(first.present) - set(rows[folder].present))
            more = sorted(set(rows[folder].present) - set(first.present))
            differs = [
                f"has no {listed(lacking, 5)}" if lacking else "",
                f"has {listed(more, 5)} besides" if more else "",
            ]
            if any(differs):
                found.append(f"{folder} {joined([*filter(None, differs)])}, so its drop is of other classes too")
        return found

    def warnings(self) -> list[str]:
        seen = [
            f"{row.context} was learned from {row.learned_from} of the {row.images} images of {row.folder}, "
            "so this says little about others"
            for row in self.own
            if row.learned_from
        ]
        return [*skipped_lines(self.skipped), *seen]

    @property
    def exit_code(self) -> int:
        return 3 if self.skipped else 0


def _moves(drop: float) -> str:
    return f"{'gains' if drop < 0 else 'drops by'} {100 * abs(drop):.1f}"


def _points(drop: float | None) -> str | None:
    return None if drop is None else f"{100 * drop:.1f}"
