"""What `encode` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.phrases import error_records, passed_over_lines, size, skipped_lines


@dataclass(frozen=True)
class EncodeReport(Report):
    """Image features written to a file; nothing is written where no image could be read."""

    type: ClassVar[str] = "encode"

    path: Path | None
    images: int  # N
    width: int  # E
    classes: int | None  # None: without labels
    backbone: str
    fingerprint: str
    n_bytes: int
    skipped: tuple[SkippedFile, ...]
    passed_over: Mapping[str, int]  # files that were no photos, by the end of their names

    def rows(self) -> list[Row]:
        keys = ("path", "images", "width", "classes", "backbone", "fingerprint", "n_bytes")
        return [{key: getattr(self, key) for key in keys}] if self.path else []

    def columns(self) -> list[str]:
        return super().columns() or ["path", "images", "width", "classes", "backbone", "fingerprint", "n_bytes"]

    def records(self) -> list[Row]:
        return [{"type": "result", **row} for row in self.rows()] + error_records(self.skipped)

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        if not self.path:
            return []
        images = f"{self.images:,} image{'' if self.images == 1 else 's'}"
        labelled = f" of {self.classes:,} class{'' if self.classes == 1 else 'es'}" if self.classes is not None else ""
        where = f"{self.path} ({size(self.n_bytes)})"
        return [f"the features of {images}{labelled} are in {where}: {self.width} numbers each, from {self.backbone}"]

    def notes(self) -> list[str]:
        return passed_over_lines(self.passed_over)

    def warnings(self) -> list[str]:
        return skipped_lines(self.skipped)

    def complaint(self) -> str | None:
        return None if self.images else "none of these could be read as an image"

    @property
    def exit_code(self) -> int:
        return 0 if not self.skipped else 3 if self.images else 1
