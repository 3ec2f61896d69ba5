"""Asking: which photos a person is asked about, so that a few answers teach most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from promptctl.classification.classifier import Classifier

Vectors = NDArray[np.float32]
Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Judged:
    """What is kept of N photos that may be asked about; all probabilities of a hundred thousand would be too many."""

    features: NDArray[np.float16]  # (N, E) unit rows, rounded
    first: Indices  # (N,) the most probable class
    second: Indices  # (N,) the next; the same where there is one class
    first_probability: Numbers  # (N,)
    second_probability: Numbers  # (N,) 0 where there is one class
    likeness: Numbers  # (N,) to what is known; NaN: not asked for
    unknown: Mask  # (N,) too unlike all of that

    @staticmethod
    def of(features: Vectors, classifier: Classifier) -> Judged:
        """Photos as a classifier with its gate has them; (N, E) unit rows."""
        found = classifier.predict(features)
        top, rows = found.top(2), np.arange(len(features))
        sure = found.probabilities[rows, top[:, 0]]
        next_best = found.probabilities[rows, top[:, 1]] if top.shape[1] > 1 else np.zeros_like(sure)
        likeness, unknown = np.full(len(features), np.nan), np.zeros(len(features), bool)
        if classifier.gate and len(features):
            passed = classifier.gate.passed(features, found)
            unknown = passed.unknown
            likeness = likeness if passed.likeness is None else passed.likeness
        return Judged(features.astype(np.float16), top[:, 0], top[:, -1], sure, next_best, likeness, unknown)

    @staticmethod
    def joined(parts: Sequence[Judged]) -> Judged:
        return Judged(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Judged)))

    @property
    def margin(self) -> Numbers:
        """(N,) what the first class is more probable than the second by."""
        return self.first_probability - self.second_probability


def asked(photos: Judged) -> Indices:
    """(N,) the photos in the order in which to ask about them, the one that teaches most first."""
    return np.asarray(np.argsort(photos.margin, kind="stable"), np.int64)
