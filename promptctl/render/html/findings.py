"""Findings: what the page says of an evaluation, counted from what was answered of each photo."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptctl.classification.metrics import bootstrap
from promptctl.report import ClassScore, EvaluateReport, PhotoAnswer

BINS = 15  # as many as the calibration error has
_DECILES = tuple(share / 10 for share in range(10, 0, -1))
_Z = 1.96


@dataclass(frozen=True)
class Interval:
    """A figure and where 95 % of its like would lie; fractions."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Pair:
    """Photos of one class that were taken for one other."""

    truth: str  # names
    answer: str
    photos: int
    share: float  # of the photos of the class
    back: int  # photos of the other that were taken for this one


@dataclass(frozen=True)
class Matrix:
    """What photos show, by row, and what was answered, by column."""

    rows: tuple[str, ...]  # names of the classes that have photos
    columns: tuple[str, ...]  # the same and, behind them, whatever else was answered
    counts: NDArray[np.int64]  # (rows, columns)

    @property
    def shares(self) -> NDArray[np.float64]:
        """The fractions of each row."""
        return np.asarray(self.counts / np.maximum(self.counts.sum(1, keepdims=True), 1), dtype=np.float64)


@dataclass(frozen=True)
class Bin:
    """Answers of about one probability."""

    low: float
    high: float
    photos: int
    stated: float  # their mean probability
    right: Interval


@dataclass(frozen=True)
class Cover:
    """The surest answers alone."""

    coverage: float  # fraction of the photos that are answered
    risk: float  # of these answers, the fraction that is wrong
    least: float  # probability of the least sure among them


def names_of(report: EvaluateReport) -> dict[str, str]:
    """Class names by label, those of the context in its order, and any label that it has no name for."""
    shots = (photo.nearest_shot for photo in report.photos if photo.nearest_shot is not None)
    said = {label for photo in report.photos for label in (photo.label, photo.answer, photo.zero_shot)}
    return {**{label: label for label in sorted(said.union(shots))}, **report.class_names}


def right(photos: Sequence[PhotoAnswer]) -> NDArray[np.bool_]:
    """(N,) which answers are right."""
    return np.array([photo.is_right for photo in photos], bool)


def zero_shot_right(photos: Sequence[PhotoAnswer]) -> NDArray[np.bool_]:
    """(N,) which of zero-shot's are."""
    return np.array([photo.zero_shot == photo.label for photo in photos], bool)


def alone_right(photos: Sequence[PhotoAnswer]) -> NDArray[np.bool_]:
    """(N,) which are where each photo is answered by itself."""
    return np.array([photo.alone == photo.label for photo in photos], bool)


def accuracy(hits: NDArray[np.bool_]) -> Interval:
    """The fraction of (N,) right answers, with a percentile bootstrap over the photos.

    Where not one is wrong, or none is right, photos drawn again say nothing, and the exact binomial bound does.
    """
    images, share = len(hits), float(hits.mean())
    bound = 0.025 ** (1 / images)
    if share in (0, 1):
        return Interval(share, bound, 1.0) if share else Interval(share, 0.0, 1 - bound)
    return Interval(share, *bootstrap(hits, hits)[0])


def gain(hits: NDArray[np.bool_], others: NDArray[np.bool_]) -> Interval:
    """How many more of the same photos are right than of others (N,), with a paired bootstrap over the photos."""
    return Interval(float(hits.mean() - others.mean()), *bootstrap(hits, others)[1])


def worst_first(report: EvaluateReport) -> list[ClassScore]:
    return sorted(report.per_class, key=lambda score: (score.accuracy, score.name))


def recognised(report: EvaluateReport) -> dict[str, Interval]:
    """Of the photos of each class, by its label, the fraction recognised."""
    return {one.label: _wilson(round(one.accuracy * one.images), one.images) for one in report.per_class if one.images}


def precision(report: EvaluateReport) -> dict[str, float | None]:
    """By label, how many of the photos that were given a class show it; None: no photo was."""
    given = Counter(photo.answer for photo in report.photos)
    hits = Counter(photo.answer for photo in report.photos if photo.is_right)
    return {score.label: hits[score.label] / n if (n := given[score.label]) else None for score in report.per_class}


def matrix(report: EvaluateReport) -> Matrix:
    names = names_of(report)
    counts = Counter((photo.label, photo.answer) for photo in report.photos)
    rows = [score.label for score in report.per_class]
    answered = {answer for _, answer in counts}
    columns = rows + [label for label in names if label in answered.difference(rows)]
    filled = np.zeros((len(rows), len(columns)), np.int64)
    row_of, column_of = ({label: i for i, label in enumerate(some)} for some in (rows, columns))
    for (truth, answer), count in counts.items():
        filled[row_of[truth], column_of[answer]] = count
    return Matrix(tuple(names[label] for label in rows), tuple(names[label] for label in columns), filled)


def confused(report: EvaluateReport) -> list[Pair]:
    """Which classes were taken for which, the most photos first."""
    names, images = names_of(report), {score.label: score.images for score in report.per_class}
    counts = Counter((photo.label, photo.answer) for photo in report.photos if not photo.is_right)
    pairs = [
        Pair(names[truth], names[answer], count, count / images[truth], counts[answer, truth])
        for (truth, answer), count in list(counts.items())
    ]
    return sorted(pairs, key=lambda pair: (-pair.photos, -pair.share, pair.truth, pair.answer))


def reliability(photos: Sequence[PhotoAnswer]) -> list[Bin]:
    """Answers by their probability in BINS bins of one width; empty ones are left out."""
    stated, hits = np.array([photo.probability for photo in photos]), right(photos)
    bin_of = np.minimum((stated * BINS).astype(int), BINS - 1)
    return [
        Bin(b / BINS, (b + 1) / BINS, int(of.sum()), float(stated[of].mean()), _wilson(int(hits[of].sum()), of.sum()))
        for b in range(BINS)
        if (of := bin_of == b).any()
    ]


def covered(stated: Sequence[float], hits: NDArray[np.bool_]) -> list[Cover]:
    """What remains wrong if only the surest answers are taken, for every least probability.

    stated   (N,) the probabilities of the answers; equal ones are taken together
    hits     (N,) which of them are right
    """
    order = np.argsort(-np.asarray(stated), kind="stable")
    sorted_stated, wrong = np.asarray(stated)[order], np.cumsum(~hits[order])
    ends = [i for i in range(len(order)) if i == len(order) - 1 or sorted_stated[i + 1] < sorted_stated[i]]
    return [Cover((i + 1) / len(order), float(wrong[i] / (i + 1)), float(sorted_stated[i])) for i in ends]


def at_deciles(curve: Sequence[Cover]) -> list[Cover]:
    """The curve where no less than the whole, nine tenths … of the photos are answered."""
    found = [next(point for point in curve if point.coverage >= share - 1e-12) for share in _DECILES]
    return list(dict.fromkeys(found))


def worst_mistakes(photos: Sequence[PhotoAnswer]) -> list[PhotoAnswer]:
    """Wrong answers, those first that were given as the surest."""
    wrong = (photo for photo in photos if not photo.is_right)
    return sorted(wrong, key=lambda photo: (-photo.probability, photo.truth_probability, photo.file))


def _wilson(hits: int, photos: int) -> Interval:
    """The fraction of hits with Wilson's interval, which holds for few photos too (JASA 1927)."""
    share, spread = hits / photos, _Z**2 / photos
    middle = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(share * (1 - share) / photos + spread / (4 * photos))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))
