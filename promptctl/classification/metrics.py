"""Metrics: predictions beside the truth, equal to scikit-learn's, whose import would take longer than answering."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptctl.classification.classifier import Predictions, calibration_error

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class ClassResult:
    """One class that is present in the images."""

    index: int
    images: int
    recall: float  # fraction of its images recognised
    f1: float
    mistaken_for: int | None  # the class most of its errors went to


def scores(predictions: Predictions, targets: NDArray[np.int64]) -> dict[str, float]:
    """top1, top5, macro_f1 (over the classes present) and ece, all fractions."""
    among_five = (predictions.top(5) == targets[:, None]).any(1)
    matrix = confusion(predictions, targets)
    return {
        "top1": float((predictions.best == targets).mean()),
        "top5": float(among_five.mean()),
        "macro_f1": float(_f1(matrix)[matrix.any(1)].mean()),
        "ece": calibration_error(predictions, targets),
    }


def auroc(own: NDArray[np.float64], foreign: NDArray[np.float64]) -> float:
    """How often an image of one's own scores above a foreign one, (N,) and (M,) scores; of equals half count."""
    ordered = np.sort(foreign)
    below = np.searchsorted(ordered, own, "left") + np.searchsorted(ordered, own, "right")
    return float(below.mean() / (2 * len(foreign)))


def kept_at(share: float, own: NDArray[np.float64], foreign: NDArray[np.float64]) -> float:
    """The fraction of foreign images that score no lower than this share of one's own."""
    return float((foreign >= np.quantile(own, 1 - share)).mean())


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


def _f1(matrix: Counts) -> NDArray[np.float64]:
    """(C,) twice the hits over images and answers together; 0 for a class that has neither."""
    hits, both = np.diag(matrix), matrix.sum(0) + matrix.sum(1)
    return np.asarray(2 * hits / np.maximum(both, 1), dtype=np.float64)


def _most_mistaken(row: Counts, own: int) -> int | None:
    errors = row.copy()
    errors[own] = 0
    return int(errors.argmax()) if errors.any() else None
