"""What `gc` deleted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row
from promptctl.report.phrases import size


@dataclass(frozen=True)
class GcReport(Report):
    type: ClassVar[str] = "gc"

    gone: tuple[tuple[Path, str, int], ...]  # path, what it was, bytes
    dry_run: bool
    home: Path

    def rows(self) -> list[Row]:
        return [{"path": path, "what": what, "n_bytes": n_bytes} for path, what, n_bytes in self.gone]

    def columns(self) -> list[str]:
        return ["path", "what", "n_bytes"]

    def tables(self) -> list[list[Row]]:
        return [[{"path": path, "what": what, "size": size(n_bytes)} for path, what, n_bytes in self.gone]]

    def summary(self) -> list[str]:
        if not self.gone:
            return [f"nothing to clean up in {self.home}"]
        verb = "would be deleted" if self.dry_run else "deleted"
        return [f"{len(self.gone)} {verb}, {size(sum(n_bytes for _, _, n_bytes in self.gone))}"]
