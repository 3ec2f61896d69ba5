"""What `log` found."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from promptctl.report.base import Report, Row
from promptctl.report.phrases import counted_images, joined, local_time, next_lines, number_of, short_origin

_BATCHES_SHOWN = 5


@dataclass(frozen=True)
class Batch:
    """What one version added, as far as it is measured on."""

    version: int
    images: int


@dataclass(frozen=True)
class VersionRow:
    """One version of a context. Accuracies are fractions, None where there is nothing to say them of."""

    version: int
    when: str  # ISO 8601, UTC
    change: str
    classes: int | None
    shots: str | None
    accuracy: float | None  # as its card has it, on images of its own
    zero_shot_accuracy: float | None
    parent: str | None  # @2, or the first digits of the sha256 of a version that is not here
    n_bytes: int
    sha256: str | None
    fault: str | None
    n: int  # images that all are measured on, of classes that this version knows
    acc: float | None  # on these
    zero_shot: float | None
    nearest_mean: float | None
    ridge: float | None
    before: float | None  # its batch by the version it was learned from and the names of new classes
    acc_per_batch: tuple[float | None, ...]
    avg: float | None  # average incremental accuracy
    last: float | None  # on all batches so far
    forgetting: float | None
    pure_forgetting: float | None  # among the classes known when each batch was learned
    bwt: float | None
    fwt: float | None
    origin: str | None  # where it was fetched from, with the commit

    @property
    def told(self) -> str:
        """What it changed, for a table."""
        of = f" (from {short_origin(self.origin)})" if self.origin else ""
        return (self.fault and "damaged") or f"{self.change}{of}"


@dataclass(frozen=True)
class LogReport(Report):
    type: ClassVar[str] = "log"

    name: str
    versions: tuple[VersionRow, ...]  # the newest first
    candidate: bool  # whether there is one beside them
    measured_on: str | None  # which images all are measured on; None: there are none
    measured_of: int | None  # the version whose images these are
    images: int
    batches: tuple[Batch, ...]
    elsewhere: tuple[int, ...]  # versions on another backbone
    learned_from: int  # images that a version has learned from, which it is not measured on

    def rows(self) -> list[Row]:
        return [{k: v for k, v in row.items() if k != "acc_per_batch"} for row in self.records()]

    def records(self) -> list[Row]:
        return [dataclasses.asdict(row) for row in self.versions]

    def spare(self) -> list[str]:
        return ["parent", "classes", "shots", "nearest mean", "n"]

    def tables(self) -> list[list[Row]]:
        return [self._versions(), self._accuracies() if self.measured_on else []]

    def _versions(self) -> list[Row]:
        has_parents = any(row.parent for row in self.versions)
        return [
            {
                "version": f"{self.name}@{row.version}",
                "when": local_time(row.when),
                "change": row.told,
                "classes": row.classes,
                "shots": row.shots,
                "learned": row.accuracy,
                "zero_shot": row.zero_shot_accuracy,
                **({"parent": row.parent} if has_parents else {}),
            }
            for row in self.versions
        ]

    def _accuracies(self) -> list[Row]:
        shown = self._shown()
        return [
            {
                "version": f"@{row.version}",
                "all": _points(row.acc),
                **({f"b{self.batches[i].version}": _points(row.acc_per_batch[i]) for i in shown}),
                **({"before": _points(row.before)} if len(self.batches) > 1 else {}),
                "zero-shot": _points(row.zero_shot),
                "nearest mean": _points(row.nearest_mean),
                "ridge": _points(row.ridge),
                "n": row.n or None,
            }
            for row in self.versions
        ]

    def _shown(self) -> list[int]:
        """Which batches a person sees: the first and the last ones."""
        every = list(range(len(self.batches)))
        if len(every) == 1:
            return []
        return every if len(every) <= _BATCHES_SHOWN else [0, *every[1 - _BATCHES_SHOWN :]]

    def closing(self) -> list[str]:
        if not self.measured_on:
            return []
        newest = self.versions[0]
        lines = [
            f"% of {counted_images(self.images, self.measured_on)} of {self.name}@{self.measured_of}, of the classes "
            "each version knows" + ("; bN: those that @N added" if len(self.batches) > 1 else "")
        ]
        if newest.avg is not None and len(self.batches) > 1:
            lines.append(_measures(newest))
        if newest.before is not None or any(row.before is not None for row in self.versions):
            lines.append("before: its own images, before it learned them, by its parent and the names of new classes")
        hidden = [f"b{b.version}" for i, b in enumerate(self.batches) if i not in self._shown()]
        return lines + ([f"{joined(hidden)} are in --json"] if hidden and len(self.batches) > 1 else [])

    def notes(self) -> list[str]:
        if not self.measured_on:
            return [
                "accuracies cannot be compared over versions: none of them holds images out or carries shots that "
                "folds have seen; --json has those of their cards"
            ]
        notes = []
        if self.elsewhere:
            which = joined([f"@{number}" for number in self.elsewhere])
            notes.append(f"{which}: learned on another backbone, so not measured on the images of @{self.measured_of}")
        if self.learned_from:
            notes.append(
                f"{number_of(self.learned_from, 'image')} held out now: some versions learned from them, and are not "
                "measured on those"
            )
        return notes

    def names(self) -> list[str]:
        return [f"{self.name}@{row.version}" for row in self.versions]

    def advice(self) -> list[str]:
        if not self.candidate:
            return []
        candidate = f"{self.name}@candidate"
        return [
            f"{candidate} is an update that was not taken",
            *next_lines(f"promptctl diff {self.name} {candidate}", f"promptctl promote {candidate}"),
        ]

    def warnings(self) -> list[str]:
        return [row.fault for row in self.versions if row.fault]


def _points(fraction: float | None) -> str:
    """Percent without the sign, which the line below the table says."""
    return "–" if fraction is None else f"{100 * fraction:.1f}"


def _measures(row: VersionRow) -> str:
    """`@5: average 93.1, last 88.5, forgetting 3.3 (pure 0.0), backward -3.3, forward 2.0`"""
    parts = [f"average {_points(row.avg)}", f"last {_points(row.last)}"]
    if row.forgetting is not None:
        pure = "" if row.pure_forgetting is None else f" (pure {_points(row.pure_forgetting)})"
        parts.append(f"forgetting {_points(row.forgetting)}{pure}")
    parts += [
        f"{name} {_points(value)}" for name, value in (("backward", row.bwt), ("forward", row.fwt)) if value is not None
    ]
    return f"@{row.version}: {', '.join(parts)}"
