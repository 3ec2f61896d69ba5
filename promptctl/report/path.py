"""The path of the store or of a context."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row


@dataclass(frozen=True)
class PathReport(Report):
    type: ClassVar[str] = "path"

    path: Path

    def rows(self) -> list[Row]:
        return [{"path": self.path}]

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        return [str(self.path)]
