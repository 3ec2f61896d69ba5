"""What `classify` found."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.phrases import (
    counted,
    error_records,
    ordinal,
    passed_over_lines,
    percent,
    skipped_lines,
)


@dataclass(frozen=True)
class Guess:
    """A class an image may show, with its probability."""

    label: str
    name: str
    probability: float


@dataclass(frozen=True)
class Classified:
    """One image and its most probable classes, best first."""

    path: Path
    top: tuple[Guess, ...]


@dataclass(frozen=True)
class ClassifyReport(Report):
    type: ClassVar[str] = "classify"
    line_a_row: ClassVar[bool] = True

    context: str
    blend: float
    blend_chosen: bool
    images: tuple[Classified, ...]
    skipped: tuple[SkippedFile, ...]
    passed_over: Mapping[str, int]  # files that were no photos, by the end of their names

    def rows(self) -> list[Row]:
        return [self._row(image) for image in self.images]

    def records(self) -> list[Row]:
        results = [
            {
                "type": "result",
                "path": image.path,
                "label": image.top[0].label,
                "name": image.top[0].name,
                "probability": image.top[0].probability,
                "top": [dataclasses.asdict(guess) for guess in image.top],
            }
            for image in self.images
        ]
        return results + error_records(self.skipped)

    def columns(self) -> list[str]:
        return super().columns() or ["path", "label", "name", "probability"]

    def complaint(self) -> str | None:
        return None if self.images else "none of these could be read as an image"

    def tables(self) -> list[list[Row]]:
        return [[self._human(image) for image in self.images]]

    def notes(self) -> list[str]:
        return passed_over_lines(self.passed_over)

    def spare(self) -> list[str]:
        return [ordinal(rank) for rank in range(max((len(image.top) for image in self.images), default=0), 1, -1)]

    def closing(self) -> list[str]:
        """How many photos of which class, the most frequent first."""
        found = sorted(
            Counter(image.top[0].name for image in self.images).items(), key=lambda item: (-item[1], item[0])
        )
        count = f"{len(self.images):,} photo{'' if len(self.images) == 1 else 's'}"
        return [f"{count}: {counted(found)}"] if found else []

    def warnings(self) -> list[str]:
        return skipped_lines(self.skipped)

    @property
    def exit_code(self) -> int:
        return 0 if not self.skipped else 3 if self.images else 1

    @staticmethod
    def _human(image: Classified) -> Row:
        others = {ordinal(rank): f"{g.name} {percent(g.probability)}" for rank, g in enumerate(image.top[1:], 2)}
        return {"path": image.path, "class": image.top[0].name, "probability": image.top[0].probability, **others}

    @staticmethod
    def _row(image: Classified) -> Row:
        row: Row = {"path": image.path}
        for rank, guess in enumerate(image.top, 1):
            end = "" if rank == 1 else f"_{rank}"
            row |= {f"{key}{end}": value for key, value in dataclasses.asdict(guess).items()}
        return row
