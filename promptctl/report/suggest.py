"""What `review --suggest` finds: the photos to ask a person about, the one that teaches most first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from promptctl.remote import path_of
from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.phrases import error_records, number_of, passed_over_lines, percent, skipped_lines


@dataclass(frozen=True)
class Candidate:
    """A photo to ask about, and what the context takes it for."""

    file: str  # absolute path
    sha256: str
    label: str  # of the most probable class
    name: str
    probability: float
    second: str | None  # label of the next one; None: there is one class
    second_name: str | None
    second_probability: float | None
    margin: float  # what the first is more probable than the second by
    likeness: float | None  # to what was learned from; None: not known
    unknown: bool  # too unlike all of that
    copies: tuple[str, ...] = ()  # absolute paths of its copies and near copies, which show what it shows

    def record(self) -> Row:
        return {**dataclasses.asdict(self), "type": "candidate"}

    def row(self) -> Row:
        return {**dataclasses.asdict(self), "copies": "\n".join(self.copies)}

    def cell_row(self) -> Row:
        """As in `classify`, with the path from the current folder, where the photo lies in it."""
        first = f"unknown ({self.name}?)" if self.unknown else self.name
        second = {"2nd": f"{self.second_name} {percent(self.second_probability or 0)}"} if self.second_name else {}
        copies = {"copies": len(self.copies)} if self.copies else {}
        return {"path": _near(self.file), "class": first, "probability": self.probability, **second, **copies}


@dataclass(frozen=True)
class SuggestReport(Report):
    """Photos in the order in which a person is asked about them."""

    type: ClassVar[str] = "review"

    context: str
    class_labels: tuple[str, ...]
    class_names: tuple[str, ...]
    images: int  # that were looked at
    learned_from: int  # of these, those that the context was learned from, which nobody is asked about
    unknown: int  # of the others, those too unlike all that it knows
    candidates: tuple[Candidate, ...]
    skipped: tuple[SkippedFile, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)  # files that were no photos, by the end of their names

    def rows(self) -> list[Row]:
        return [candidate.row() for candidate in self.candidates]

    def tables(self) -> list[list[Row]]:
        return [[candidate.cell_row() for candidate in self.candidates]]

    def spare(self) -> list[str]:
        return ["copies", "2nd"]

    def columns(self) -> list[str]:
        return [column.name for column in dataclasses.fields(Candidate)]

    def records(self) -> list[Row]:
        return [*(candidate.record() for candidate in self.candidates), *error_records(self.skipped)]

    def names(self) -> list[str]:
        return [candidate.file for candidate in self.candidates]

    def summary(self) -> list[str]:
        asked = number_of(len(self.candidates), "photo")
        return [f"{asked} of {self.images:,} to ask about, by {self.context}, the one that teaches most first"]

    def notes(self) -> list[str]:
        known = f"{number_of(self.learned_from, 'photo')} left out that {self.context} was learned from"
        return [known] * bool(self.learned_from) + passed_over_lines(self.passed_over)

    def warnings(self) -> list[str]:
        return skipped_lines(self.skipped)

    def complaint(self) -> str | None:
        return None if self.images else "none of these could be read as an image"

    @property
    def exit_code(self) -> int:
        return 0 if not self.skipped else 3 if self.images else 1


def _near(file: str) -> Path:
    path, here = path_of(file), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
