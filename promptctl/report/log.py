"""What `log` found."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from promptctl.report.base import Report, Row
from promptctl.report.phrases import local_time, next_lines


@dataclass(frozen=True)
class VersionRow:
    """One version of a context."""

    version: int
    when: str  # ISO 8601, UTC
    change: str
    classes: int | None
    shots: str | None
    accuracy: float | None
    zero_shot_accuracy: float | None
    parent: str | None  # @2, or the first digits of the sha256 of a version that is not here
    n_bytes: int
    sha256: str | None
    fault: str | None


@dataclass(frozen=True)
class LogReport(Report):
    type: ClassVar[str] = "log"

    name: str
    versions: tuple[VersionRow, ...]  # the newest first
    candidate: bool  # whether there is one beside them

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(row) for row in self.versions]

    def spare(self) -> list[str]:
        return ["parent", "classes", "shots"]

    def tables(self) -> list[list[Row]]:
        has_parents = any(row.parent for row in self.versions)
        return [
            [
                {
                    "version": f"{self.name}@{row.version}",
                    "when": local_time(row.when),
                    "change": (row.fault and "damaged") or row.change,
                    "classes": row.classes,
                    "shots": row.shots,
                    "learned": row.accuracy,
                    "zero_shot": row.zero_shot_accuracy,
                    **({"parent": row.parent} if has_parents else {}),
                }
                for row in self.versions
            ]
        ]

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
