"""What `diff` found."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from promptctl.context.diff import SettingChange
from promptctl.report.base import Report, Row
from promptctl.report.phrases import counted_images, listed, number_of, percent

_SHOWN = 5
_DIGITS = 12  # of a sha256


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
class ShotOf:
    """An image, and the class it is a shot of."""

    sha256: str
    label: str


@dataclass(frozen=True)
class RelabelledShot:
    """An image whose class is another."""

    sha256: str
    before: str  # label
    after: str


@dataclass(frozen=True)
class Flip:
    """An image that one of two contexts recognises."""

    sha256: str
    label: str
    before: str  # the label it was given
    after: str


@dataclass(frozen=True)
class Confusion:
    """A class that is taken for another, which it was not before."""

    label: str
    seen_as: str
    images: int


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
    carries_shots: tuple[bool, bool]
    shots_added: tuple[ShotOf, ...]
    shots_removed: tuple[ShotOf, ...]
    relabelled: tuple[RelabelledShot, ...]
    compared_on: str | None  # which images both answered; None: there are none
    compared_images: int
    worse: tuple[Flip, ...]  # that only the one before recognises
    better: tuple[Flip, ...]
    confusions: tuple[Confusion, ...]  # that were none before

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(row) for row in self.classes]

    def columns(self) -> list[str]:
        return [field.name for field in dataclasses.fields(ClassDiff)]

    def records(self) -> list[Row]:
        kinds: dict[str, tuple[Any, ...]] = {
            "setting": self.settings,
            "class": self.classes,
            "vector": self.vectors,
            "shot_added": self.shots_added,
            "shot_removed": self.shots_removed,
            "relabelled": self.relabelled,
            "worse": self.worse,
            "better": self.better,
            "confusion": self.confusions,
        }
        return [{"type": kind, **dataclasses.asdict(row)} for kind, rows in kinds.items() for row in rows]

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
        return [*lines, *self._shot_lines(), *self._flip_lines()]

    def _shot_lines(self) -> list[str]:
        if not all(self.carries_shots):
            return []
        if not (self.shots_added or self.shots_removed or self.relabelled):
            return ["the shots are the same"]
        return [
            f"shots:    {len(self.shots_added)} added, {len(self.shots_removed)} removed, "
            f"{len(self.relabelled)} relabelled"
        ]

    def _flip_lines(self) -> list[str]:
        if not self.compared_on:
            return []
        on = counted_images(self.compared_images, self.compared_on)
        return [f"answers:  of {on}, {len(self.better)} more are right, {len(self.worse)} more are wrong"]

    def tables(self) -> list[list[Row]]:
        settings = [{"setting": s.setting, "before": str(s.before), "after": str(s.after)} for s in self.settings]
        classes, vectors = list(map(_class_row, self.classes)), list(map(_vector_row, self.vectors))
        return [table for table in (settings, self._images(), self._confused(), classes, vectors) if table]

    def _images(self) -> list[Row]:
        """The first few images of every kind."""
        rows = [
            *(_image_row("added", one.sha256, one.label) for one in self.shots_added[:_SHOWN]),
            *(_image_row("removed", one.sha256, one.label) for one in self.shots_removed[:_SHOWN]),
            *(_image_row("relabelled", one.sha256, one.after, one.before) for one in self.relabelled[:_SHOWN]),
            *(_image_row("now wrong", f.sha256, f.label, f.before, f.after) for f in self.worse[:_SHOWN]),
            *(_image_row("now right", f.sha256, f.label, f.before, f.after) for f in self.better[:_SHOWN]),
        ]
        used = [key for key in ("was", "is") if any(row[key] for row in rows)]
        return [{key: value for key, value in row.items() if key in used or key not in ("was", "is")} for row in rows]

    def _confused(self) -> list[Row]:
        return [
            {"newly confused": row.label, "taken for": row.seen_as, "images": row.images}
            for row in self.confusions[:_SHOWN]
        ]

    def closing(self) -> list[str]:
        kinds = (self.shots_added, self.shots_removed, self.relabelled, self.worse, self.better, self.confusions)
        hidden = sum(max(0, len(kind) - _SHOWN) for kind in kinds)
        return [f"{number_of(hidden, 'more line')} of images and confusions in --json"] if hidden else []

    def warnings(self) -> list[str]:
        if not self.same_backbone:
            return ["they were learned on different backbones, so neither answers nor features can be compared"]
        if not any(self.carries_shots):
            return ["neither carries shots, so there is nothing to measure them on"]
        return [*self._missing(), *self._limits()]

    def _missing(self) -> list[str]:
        bare = [name for name, has in zip((self.before, self.after), self.carries_shots, strict=True) if not has]
        return [f"{name} carries no shots, so it is not known which came and went" for name in bare]

    def _limits(self) -> list[str]:
        said = (
            "'right before' and 'right after' are measured on the shots they carry, "
            "most of which one of them learned from"
        )
        if self.compared_on:
            return [said]
        return [said, "no image is held out of both, and no folds have seen the shots of both, so flips are not known"]


def _image_row(what: str, sha256: str, label: str, was: str = "", now: str = "") -> Row:
    return {"image": sha256[:_DIGITS], "change": what, "class": label, "was": was, "is": now}


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
