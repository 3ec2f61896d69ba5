"""What `evaluate` found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.gate import Rejection
from promptctl.report.phrases import (
    blended,
    error_records,
    passed_over_lines,
    percent,
    skipped_lines,
)

FEW_CLASSES = 10  # a table of no more than these is seen at a glance


@dataclass(frozen=True)
class Scores:
    """How good one classifier is on one set of images; all fractions."""

    top1: float
    top5: float  # the true class among the five most probable
    macro_f1: float  # mean over the classes present
    ece: float  # expected calibration error, 15 bins


@dataclass(frozen=True)
class ClassScore:
    """One class: the learned context beside zero-shot."""

    label: str
    name: str
    images: int
    accuracy: float  # of its images, the fraction recognised (recall)
    zero_shot_accuracy: float
    f1: float
    mistaken_for: str | None  # the class most of its errors went to


@dataclass(frozen=True)
class PhotoAnswer:
    """One labelled photo, and what was said of it."""

    file: str
    sha256: str
    label: str  # what it shows
    answer: str  # label of the class it was given
    probability: float  # of that class
    truth_probability: float  # of its own
    zero_shot: str
    zero_shot_probability: float
    alone: str | None  # where the photos were answered together: what it was given one by one
    alone_probability: float | None
    nearest_shot: str | None  # label of the stored shot that is most like it; None: the context has none
    nearest_shot_sha256: str | None
    nearest_shot_cosine: float | None

    @property
    def is_right(self) -> bool:
        return self.answer == self.label


@dataclass(frozen=True)
class UnknownScores:
    """How well photos of nothing that the context knows are told from the labelled ones; all fractions."""

    folder: str
    images: int
    auroc: float  # how often a labelled photo is more alike than an unknown one
    kept_at_95: float  # of the unknown photos, where 95 % of the labelled ones are kept
    kept: float  # of the unknown photos, at the threshold that classify would use


@dataclass(frozen=True)
class UnknownFigures:
    """What `--unknown DIR` finds."""

    own_rejected: float  # of the labelled photos, at that threshold; a fraction
    rejection: Rejection  # what was to be expected of it
    whole: UnknownScores
    folders: tuple[UnknownScores, ...]  # of each folder of it, where there are several


@dataclass(frozen=True)
class EvaluateReport(Report):
    type: ClassVar[str] = "evaluate"

    context: str
    blend: float  # share of the learned text features, the rest zero-shot's
    blend_chosen: bool  # by folds of the shots
    where: str  # the folder, and which part of it
    images: int
    learned_from: int  # of these images, those the context was learned from
    classes: int
    learned: Scores
    without_head: Scores | None  # the context alone, where it has a head; then `learned` is the head's
    zero_shot: Scores
    zero_shot_template: str
    ece_before: float  # of the learned answers one by one, before their temperature
    unknown: UnknownFigures | None  # None: nobody asked
    per_class: tuple[ClassScore, ...]
    skipped: tuple[SkippedFile, ...]
    passed_over: Mapping[str, int]  # files that were no photos, by the end of their names
    together: bool = False  # `learned` is how good the images are answered together
    alone: Scores | None = None  # and this, where it is, how good one by one
    photos: tuple[PhotoAnswer, ...] = field(default=(), repr=False)  # too many to print

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(score) for score in self.per_class]

    def record(self) -> Row:
        found = dataclasses.replace(self, photos=())  # a hundred thousand of them are what --predictions is for
        return {key: value for key, value in super(EvaluateReport, found).record().items() if key != "photos"}

    def records(self) -> list[Row]:
        apart = ("schema_version", "type", "per_class", "skipped")
        overall = {key: value for key, value in self.record().items() if key not in apart}
        folders = [dataclasses.asdict(folder) for folder in self.unknown.folders] if self.unknown else []
        if self.unknown:
            overall["unknown"] = {key: value for key, value in overall["unknown"].items() if key != "folders"}
        return [
            {"type": "overall", **overall},
            *({"type": "class", **row} for row in self.rows()),
            *({"type": "unknown", **row} for row in folders),
            *error_records(self.skipped),
        ]

    def tables(self) -> list[list[Row]]:
        overall = [
            {
                "": title,
                "learned": getattr(self.learned, key),
                **({"one by one": getattr(self.alone, key)} if self.alone else {}),
                **({"without head": getattr(self.without_head, key)} if self.without_head else {}),
                "zero_shot": getattr(self.zero_shot, key),
            }
            for title, key in (("top-1", "top1"), ("top-5", "top5"), ("macro F1", "macro_f1"), ("ECE", "ece"))
        ]
        if self.ece_before != (self.alone or self.learned).ece:
            overall.append({"": "ECE before calibration", "one by one" if self.alone else "learned": self.ece_before})
        per_class = [
            {
                "class": score.name,
                "images": score.images,
                "learned": score.accuracy,
                "zero_shot": score.zero_shot_accuracy,
                "f1": score.f1,
                "mistaken for": score.mistaken_for or "",
            }
            for score in self._in_order()
        ]
        return [overall, per_class, *self._unknown_rows()]

    def _unknown_rows(self) -> list[list[Row]]:
        if self.unknown is None:
            return []
        every = (*self.unknown.folders, self.unknown.whole)
        return [
            [
                {
                    "unknown photos of": scores.folder,
                    "images": scores.images,
                    "AUROC": f"{scores.auroc:.3f}",
                    "kept at 95 % of yours": percent(scores.kept_at_95),
                    "kept": percent(scores.kept),
                }
                for scores in every
            ]
        ]

    def spare(self) -> list[str]:
        return ["f1"]

    def _in_order(self) -> list[ClassScore]:
        """Few classes as they are, many with the worst first, where a person looks."""
        if len(self.per_class) <= FEW_CLASSES:
            return list(self.per_class)
        return sorted(self.per_class, key=lambda score: (score.accuracy, score.name))

    def summary(self) -> list[str]:
        gain = 100 * (self.learned.top1 - self.zero_shot.top1)
        where = f"{self.where}, answered together" if self.together else self.where
        return [
            f"{self.context}{blended(self.blend, self.blend_chosen)} on {self.images} images of {where}: "
            f"{percent(self.learned.top1)} right, "
            f"{gain:+.1f} points against zero-shot ('{self.zero_shot_template}', {percent(self.zero_shot.top1)})"
        ]

    def closing(self) -> list[str]:
        if self.unknown is None:
            return []
        return [self.unknown.rejection.sentence(round(self.unknown.own_rejected * self.images), self.images)]

    def notes(self) -> list[str]:
        return passed_over_lines(self.passed_over)

    def warnings(self) -> list[str]:
        found = skipped_lines(self.skipped)
        if self.learned_from:
            found.append(
                f"{self.context} was learned from {self.learned_from} of these {self.images} images, "
                "so this says little about others"
            )
        if self.learned.top1 < self.zero_shot.top1:
            found.append(f"{self.context} is worse than zero-shot on these images")
        return found

    @property
    def exit_code(self) -> int:
        return 3 if self.skipped else 0
