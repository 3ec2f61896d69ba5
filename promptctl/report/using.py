"""What `evaluate`, `inspect` and `classify` found."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.card import Card
from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.words import (
    blended,
    card_lines,
    counted,
    error_records,
    ordinal,
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
class EvaluateReport(Report):
    type: ClassVar[str] = "evaluation"

    context: str
    blend: float  # share of the learned text features, the rest zero-shot's
    blend_chosen: bool  # by folds of the shots
    where: str  # the folder, and which part of it
    images: int
    learned_from: int  # of these images, those the context was learned from
    classes: int
    learned: Scores
    zero_shot: Scores
    zero_shot_template: str
    per_class: tuple[ClassScore, ...]
    skipped: tuple[SkippedFile, ...]
    passed_over: Mapping[str, int]  # files that were no photos, by the end of their names

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(score) for score in self.per_class]

    def records(self) -> list[Row]:
        overall = {key: value for key, value in dataclasses.asdict(self).items() if key not in ("per_class", "skipped")}
        return [
            {"type": "overall", **overall},
            *({"type": "class", **row} for row in self.rows()),
            *error_records(self.skipped),
        ]

    def tables(self) -> list[list[Row]]:
        overall = [
            {"": title, "learned": getattr(self.learned, key), "zero_shot": getattr(self.zero_shot, key)}
            for title, key in (("top-1", "top1"), ("top-5", "top5"), ("macro F1", "macro_f1"), ("ECE", "ece"))
        ]
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
        return [overall, per_class]

    def spare(self) -> list[str]:
        return ["f1"]

    def _in_order(self) -> list[ClassScore]:
        """Few classes as they are, many with the worst first, where a person looks."""
        if len(self.per_class) <= FEW_CLASSES:
            return list(self.per_class)
        return sorted(self.per_class, key=lambda score: (score.accuracy, score.name))

    def summary(self) -> list[str]:
        gain = 100 * (self.learned.top1 - self.zero_shot.top1)
        return [
            f"{self.context}{blended(self.blend, self.blend_chosen)} on {self.images} images of {self.where}: "
            f"{percent(self.learned.top1)} right, "
            f"{gain:+.1f} points against zero-shot ('{self.zero_shot_template}', {percent(self.zero_shot.top1)})"
        ]

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


@dataclass(frozen=True)
class NearWordRow:
    """A vocabulary token near a vector."""

    word: str
    euclidean: float
    cosine: float


@dataclass(frozen=True)
class VectorReport:
    """One context vector and the words near it."""

    of_class: str | None  # None: shared by all classes
    vector: int  # 1 is the first
    norm: float
    by_euclidean: tuple[NearWordRow, ...]
    by_cosine: tuple[NearWordRow, ...]


@dataclass(frozen=True)
class InspectReport(Report):
    type: ClassVar[str] = "inspection"

    context: str
    card: Card
    n_bytes: int
    path: Path
    vectors: tuple[VectorReport, ...]

    def rows(self) -> list[Row]:
        return [
            {
                "class": vector.of_class,
                "vector": vector.vector,
                "norm": vector.norm,
                "metric": metric,
                "rank": rank,
                **dataclasses.asdict(word),
            }
            for vector in self.vectors
            for metric, words in (("euclidean", vector.by_euclidean), ("cosine", vector.by_cosine))
            for rank, word in enumerate(words, 1)
        ]

    def tables(self) -> list[list[Row]]:
        return [
            [
                {
                    **({"class": vector.of_class} if vector.of_class else {}),
                    "vector": vector.vector,
                    "norm": round(vector.norm, 3),
                    "nearest (Euclidean)": "  ".join(f"{w.word} {w.euclidean:.2f}" for w in vector.by_euclidean),
                    "nearest (cosine)": "  ".join(f"{w.word} {w.cosine:.2f}" for w in vector.by_cosine),
                }
                for vector in self.vectors
            ]
        ]

    def records(self) -> list[Row]:
        return [dataclasses.asdict(vector) for vector in self.vectors]

    def summary(self) -> list[str]:
        return card_lines(self.context, self.card, self.path, self.n_bytes)


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
    type: ClassVar[str] = "classification"
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
