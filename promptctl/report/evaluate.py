"""What `evaluate` found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.gate import Rejection
from promptctl.report.measures import (
    BaselineScore,
    ClassScore,
    ConfusedPair,
    CoverageRow,
    Interval,
    Scores,
    Speed,
    accuracy_interval,
)
from promptctl.report.phrases import (
    blended,
    error_records,
    passed_over_lines,
    percent,
    skipped_lines,
)

FEW_CLASSES = 10  # a table of no more than these is seen at a glance
FEW_PAIRS = 5
_FIGURES = (
    ("top-1", "top1"),
    ("top-5", "top5"),
    ("macro F1", "macro_f1"),
    ("macro precision", "macro_precision"),
    ("macro recall", "macro_recall"),
    ("ECE", "ece"),
    ("AURC", "aurc"),
)
_APART = ("schema_version", "type", "per_class", "coverage", "confused", "baselines", "skipped")


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
    together: str | None = None  # answered with the help of the others, where that was asked for
    together_probability: float | None = None

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
    top1_interval: Interval | None = None  # of learned.top1
    gain_interval: Interval | None = None  # of learned.top1 - zero_shot.top1, on the same images
    coverage: tuple[CoverageRow, ...] = ()
    confused: tuple[ConfusedPair, ...] = ()  # the most images first
    speed: Speed | None = None
    baselines: tuple[BaselineScore, ...] = ()
    written: Mapping[str, str] = field(default_factory=dict)  # files, by the option that asked for them
    class_names: Mapping[str, str] = field(default_factory=dict, repr=False)  # by label, in the context's order
    photos: tuple[PhotoAnswer, ...] = field(default=(), repr=False)  # too many to print

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(score) for score in self.per_class]

    def record(self) -> Row:
        found = dataclasses.replace(self, photos=(), class_names={})  # a hundred thousand are what --predictions is for
        row = super(EvaluateReport, found).record()
        return {key: value for key, value in row.items() if key not in ("photos", "class_names")}

    def records(self) -> list[Row]:
        record = self.record()
        overall = {key: value for key, value in record.items() if key not in _APART}
        folders = [dataclasses.asdict(folder) for folder in self.unknown.folders] if self.unknown else []
        if self.unknown:
            overall["unknown"] = {key: value for key, value in overall["unknown"].items() if key != "folders"}
        return [
            {"type": "overall", **overall},
            *({"type": "class", **row} for row in self.rows()),
            *({"type": "coverage", **row} for row in record["coverage"]),
            *({"type": "confused", **row} for row in record["confused"]),
            *({"type": "baseline", **row} for row in record["baselines"]),
            *({"type": "unknown", **row} for row in folders),
            *error_records(self.skipped),
        ]

    # ---------------------------------------------------------------- tables

    def tables(self) -> list[list[Row]]:
        parts = (self._overall_rows(), self._baseline_rows(), self._class_rows(), self._confused_rows())
        return [rows for rows in (*parts, self._coverage_rows(), *self._unknown_rows()) if rows]

    def _overall_rows(self) -> list[Row]:
        rows = [{"": title, **self._of_each(key)} for title, key in _FIGURES]
        if self.ece_before != (self.alone or self.learned).ece:
            rows.append({"": "ECE before calibration", "one by one" if self.alone else "learned": self.ece_before})
        if self.speed:
            seconds = self.speed.seconds_per_image
            told = "–" if seconds is None else f"{seconds:.2g}"
            rows.append({"": f"seconds per image{self._from_cache(self.speed.cached)}", "learned": told})
        return rows

    def _of_each(self, key: str) -> Row:
        """One figure of every classifier."""
        return {
            "learned": getattr(self.learned, key),
            **({"one by one": getattr(self.alone, key)} if self.alone else {}),
            **({"without head": getattr(self.without_head, key)} if self.without_head else {}),
            "zero_shot": getattr(self.zero_shot, key),
        }

    def _from_cache(self, cached: int) -> str:
        if not cached:
            return ""
        return " (all from the cache)" if cached == self.images else f" ({cached} from the cache)"

    def _baseline_rows(self) -> list[Row]:
        return [
            {
                "baseline": one.name,
                "top-1 (95 % interval)": f"{percent(one.top1)} ({str(one.interval).removesuffix(' %')})",
                "macro F1": percent(one.macro_f1),
                "ECE": percent(one.ece),
                "learned is ahead by": f"{100 * one.gain:+.1f} ({one.gain_interval.points.removesuffix(' points')})",
            }
            for one in self.baselines
        ]

    def _class_rows(self) -> list[Row]:
        return [
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

    def _confused_rows(self) -> list[Row]:
        return [
            {"images of": pair.name, "were taken for": pair.given_name, "images": pair.images}
            for pair in self.confused[:FEW_PAIRS]
        ]

    def _coverage_rows(self) -> list[Row]:
        return [
            {
                "most certain": f"{100 * row.share:g} %",
                "images": row.images,
                "learned": row.accuracy,
                "zero_shot": row.zero_shot_accuracy,
            }
            for row in self.coverage
        ]

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
                    "kept by threshold": percent(scores.kept),
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
            f"{gain:+.1f} points against zero-shot ('{self.zero_shot_template}', {percent(self.zero_shot.top1)})",
            *self._interval_line(),
        ]

    def _interval_line(self) -> list[str]:
        if self.top1_interval is None or self.gain_interval is None:
            return []
        right = accuracy_interval(self.learned.top1, self.images, self.top1_interval)
        against = f"{self.gain_interval.points} against zero-shot, {self.gain_interval.verdict}"
        return [f"with 95 % confidence {right}, and {against}"]

    def closing(self) -> list[str]:
        if self.unknown is None:
            return []
        return [self.unknown.rejection.sentence(round(self.unknown.own_rejected * self.images), self.images)]

    def notes(self) -> list[str]:
        remarks = [f"{one.name}: {one.remark}" for one in self.baselines if one.remark]
        return [
            *passed_over_lines(self.passed_over),
            *remarks,
            *(f"{kind}: {file}" for kind, file in self.written.items()),
        ]

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
