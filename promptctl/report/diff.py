"""What `diff` found."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from promptctl.context.diff import SettingChange
from promptctl.report.base import Report, Row
from promptctl.report.phrases import listed, percent


@dataclass(frozen=True)
class ClassDiff:
    """One class of two contexts."""

    label: str
    images: int  # shots either carries
    before: float | None  # of them, the fraction recognised; None where the class is not
    after: float | None
    cosine: float | None  # of the two text features


@dataclass(frozen=True)
class VectorDrift:
    """One vector of two contexts."""

    label: str | None  # None: shared by all classes
    vector: int  # 1 is the first
    distance: float
    cosine: float


@dataclass(frozen=True)
class DiffReport(Report):
    type: ClassVar[str] = "diff"

    before: str
    after: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    renamed: tuple[tuple[str, str, str], ...]  # label, name before, name after
    settings: tuple[SettingChange, ...]
    same_backbone: bool
    classes: tuple[ClassDiff, ...]
    vectors: tuple[VectorDrift, ...]

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(row) for row in self.classes]

    def columns(self) -> list[str]:
        return [field.name for field in dataclasses.fields(ClassDiff)]

    def records(self) -> list[Row]:
        return [
            *({"type": "setting", **dataclasses.asdict(row)} for row in self.settings),
            *({"type": "class", **dataclasses.asdict(row)} for row in self.classes),
            *({"type": "vector", **dataclasses.asdict(row)} for row in self.vectors),
        ]

    def summary(self) -> list[str]:
        lines = [f"{self.before} → {self.after}"]
        if self.added:
            lines.append(f"added:    {listed(self.added)}")
        if self.removed:
            lines.append(f"removed:  {listed(self.removed)}")
        lines += [f"renamed:  {label} was '{old}', is '{new}'" for label, old, new in self.renamed]
        if not (self.added or self.removed or self.renamed):
            lines.append("the classes are the same")
        if not self.settings:
            lines.append("the settings are the same")
        return lines

    def tables(self) -> list[list[Row]]:
        settings = [{"setting": s.setting, "before": str(s.before), "after": str(s.after)} for s in self.settings]
        classes, vectors = list(map(_class_row, self.classes)), list(map(_vector_row, self.vectors))
        return [table for table in (settings, classes, vectors) if table]

    def warnings(self) -> list[str]:
        if not self.same_backbone:
            return ["they were learned on different backbones, so neither features nor vectors can be compared"]
        if not any(row.images for row in self.classes):
            return ["neither carries shots, so there is nothing to measure them on"]
        return [
            "'right before' and 'right after' are measured on the shots they carry, "
            "most of which one of them learned from"
        ]


def _class_row(found: ClassDiff) -> Row:
    return {
        "class": found.label,
        "shots": found.images,
        "right before": percent(found.before),
        "right after": percent(found.after),
        "text cosine": "–" if found.cosine is None else f"{found.cosine:.3f}",
    }


def _vector_row(found: VectorDrift) -> Row:
    return {
        **({"class": found.label} if found.label else {}),
        "vector": found.vector,
        "moved": round(found.distance, 3),
        "cosine": round(found.cosine, 3),
    }
