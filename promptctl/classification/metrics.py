"""Evaluation: predictions beside the truth, in scikit-learn's metrics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from promptctl.classification.classifier import Predictions, calibration_error


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
    present = np.unique(targets)
    among_five = (predictions.top(5) == targets[:, None]).any(1)
    return {
        "top1": float(accuracy_score(targets, predictions.best)),
        "top5": float(among_five.mean()),
        "macro_f1": float(f1_score(targets, predictions.best, labels=present, average="macro", zero_division=0)),
        "ece": calibration_error(predictions, targets),
    }


def class_scores(predictions: Predictions, targets: NDArray[np.int64]) -> list[ClassResult]:
    """Every class present, in the context's order."""
    classes = np.arange(predictions.probabilities.shape[1])
    matrix = confusion_matrix(targets, predictions.best, labels=classes)  # (C, C) truth by prediction
    f1 = f1_score(targets, predictions.best, labels=classes, average=None, zero_division=0)
    return [
        ClassResult(int(c), int(row.sum()), float(row[c] / row.sum()), float(f1[c]), _most_mistaken(row, int(c)))
        for c, row in enumerate(matrix)
        if row.sum()
    ]


def _most_mistaken(row: NDArray[np.int64], own: int) -> int | None:
    errors = row.copy()
    errors[own] = 0
    return int(errors.argmax()) if errors.any() else None
