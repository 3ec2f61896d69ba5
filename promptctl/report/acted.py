"""Acted: what the reports of commands that act on answers have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.classify import DetectorSaid
from promptctl.report.gate import TOGETHER, Taken
from promptctl.report.phrases import passed_over_lines, skipped_lines


class ActedReport(Report):
    """Of photos that were answered first; a dataclass that has these as fields."""

    if TYPE_CHECKING:

        @property
        def context(self) -> str | None: ...

        @property
        def skipped(self) -> tuple[SkippedFile, ...]: ...

        @property
        def passed_over(self) -> dict[str, int]: ...

        @property
        def together(self) -> bool: ...

        @property
        def taken(self) -> Taken: ...

        @property
        def detections(self) -> DetectorSaid | None: ...

    def summary(self) -> list[str]:
        return [TOGETHER] if self.together else []

    def notes(self) -> list[str]:
        cannot = [f"{self.context} cannot tell unknown photos: {self.taken.cannot}"] if self.taken.cannot else []
        of_detections = self.detections.notes() if self.detections else []
        return [*cannot, *of_detections, *passed_over_lines(self.passed_over)]

    def warnings(self) -> list[str]:
        of_detections = self.detections.warnings() if self.detections else []
        return of_detections + skipped_lines(self.skipped)

    def record(self) -> Row:
        detections = {**self.detections.record(), **self.detections.counts()} if self.detections else None
        return {**super().record(), "detections": detections}
