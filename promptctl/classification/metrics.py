"""Metrics: predictions beside the truth, equal to scikit-learn's, whose import would take longer than answering."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptctl.classification.classifier import Predictions, calibration_error

Counts = NDArray[np.int64]
Range = tuple[float, float]  # from, to
RESAMPLES, SEED = 10_000, 1
TAIL = 0.025  # of a 95 % interval, at either end


@dataclass(frozen=True)
class ClassResult:
    """One class that is present in the images."""

    index: int
    images: int
    recall: float  # fraction of its images recognised
    f1: float
    mistaken_for: int | None  # the class most of its errors went to


def scores(predictions: Predictions, targets: NDArray[np.int64]) -> dict[str, float]:
    """top1, top5, macro_f1, macro_precision and macro_recall (over the classes present), ece, aurc: all fractions."""
    among_five = (predictions.top(5) == targets[:, None]).any(1)
    matrix = confusion(predictions, targets)
    present = matrix.any(1)
    hits = np.diag(matrix)
    return {
        "top1": float((predictions.best == targets).mean()),
        "top5": float(among_five.mean()),
        "macro_f1": float(_f1(matrix)[present].mean()),
        "macro_precision": float((hits / np.maximum(matrix.sum(0), 1))[present].mean()),
        "macro_recall": float((hits / np.maximum(matrix.sum(1), 1))[present].mean()),
        "ece": calibration_error(predictions, targets),
        "aurc": area_under_risk(predictions, targets),
    }


# --------------------------------------------------------------------------- how far chance goes


def bootstrap(
    right: NDArray[np.bool_], other: NDArray[np.bool_], *, seed: int = SEED, resamples: int = RESAMPLES
) -> tuple[Range, Range]:
    """95 % intervals of an accuracy, and of what it is above another on the same images (Efron's percentiles).

    Images drawn with replacement matter only by whether one, the other, both or neither answer is right, so the counts
    of these four are drawn, which is the same and takes as long for a hundred thousand images as for ten.

    right, other   (N,) which images each is right about
    """
    n, outcomes = len(right), np.bincount(2 * right + other, minlength=4)  # neither, lost, won, both
    _, lost, won, both = np.random.default_rng(seed).multinomial(n, outcomes / n, size=resamples).T
    return _middle((won + both) / n), _middle((won - lost) / n)


def _middle(values: NDArray[np.float64]) -> Range:
    low, high = np.quantile(values, (TAIL, 1 - TAIL))
    return float(low), float(high)


# --------------------------------------------------------------------------- coverage and risk


def area_under_risk(predictions: Predictions, targets: NDArray[np.int64]) -> float:
    """AURC: the mean share of errors among the k most certain answers, over all k (Geifman et al., ICLR 2019)."""
    right = _most_certain_first(predictions, targets)
    return float((1 - np.cumsum(right) / np.arange(1, len(right) + 1)).mean())


def accuracy_among(share: float, predictions: Predictions, targets: NDArray[np.int64]) -> tuple[int, float]:
    """How many images the most certain share are, one at least, and the accuracy among them."""
    right = _most_certain_first(predictions, targets)
    count = max(1, int(np.ceil(share * len(right) - 1e-9)))
    return count, float(right[:count].mean())


def _most_certain_first(predictions: Predictions, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) how often answers are right, the most certain first; of equally certain ones each counts as their mean."""
    right = predictions.best == targets
    _, group, count = np.unique(-predictions.confidence, return_inverse=True, return_counts=True)
    return np.repeat(np.bincount(group.ravel(), weights=right) / count, count)


# --------------------------------------------------------------------------- unknown photos


def auroc(own: NDArray[np.float64], foreign: NDArray[np.float64]) -> float:
    """How often an image of one's own scores above a foreign one, (N,) and (M,) scores; of equals half count."""
    ordered = np.sort(foreign)
    below = np.searchsorted(ordered, own, "left") + np.searchsorted(ordered, own, "right")
    return float(below.mean() / (2 * len(foreign)))


def kept_at(share: float, own: NDArray[np.float64], foreign: NDArray[np.float64]) -> float:
    """The fraction of foreign images that score no lower than this share of one's own."""
    return float((foreign >= np.quantile(own, 1 - share)).mean())


# --------------------------------------------------------------------------- by class


def class_scores(predictions: Predictions, targets: NDArray[np.int64]) -> list[ClassResult]:
    """Every class present, in the context's order; targets (N,) are indices into it."""
    matrix = confusion(predictions, targets)
    f1 = _f1(matrix)
    return [
        ClassResult(int(c), int(row.sum()), float(row[c] / row.sum()), float(f1[c]), _most_mistaken(row, int(c)))
        for c, row in enumerate(matrix)
        if row.any()
    ]


def confusion(predictions: Predictions, targets: NDArray[np.int64]) -> Counts:
    """(C, C) images of each class by the class they were given."""
    classes = predictions.probabilities.shape[1]
    pairs = targets * classes + predictions.best
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def confused_pairs(matrix: Counts) -> list[tuple[int, int, int]]:
    """(class, the class it was given, how many images) of a (C, C) confusion matrix, the most images first."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    true, given = np.nonzero(wrong)
    counts = wrong[true, given]
    order = np.argsort(-counts, kind="stable")  # of equals the earlier classes
    return [(int(true[i]), int(given[i]), int(counts[i])) for i in order]


def _f1(matrix: Counts) -> NDArray[np.float64]:
    """(C,) twice the hits over images and answers together; 0 for a class that has neither."""
    hits, both = np.diag(matrix), matrix.sum(0) + matrix.sum(1)
    return np.asarray(2 * hits / np.maximum(both, 1), dtype=np.float64)


def _most_mistaken(row: Counts, own: int) -> int | None:
    errors = row.copy()
    errors[own] = 0
    return int(errors.argmax()) if errors.any() else None
