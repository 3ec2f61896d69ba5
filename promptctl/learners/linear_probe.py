"""Linear probe: the paper's baseline, logistic regression on image features, its strength searched as CLIP's was.

CoOp's own probe takes image features as they leave the tower, `compare`'s `linear-probe-raw`. `linear-probe` takes unit
rows; docs/benchmarks.md has both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

GRID = (1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6)
_COMPARISONS = 8  # the last one decides
_ITERATIONS = 1000
MOST_VALIDATION = 4  # images per class


def validation_shots(shots: int) -> int:
    """How many further images per class the search may see."""
    return min(shots, MOST_VALIDATION)


def learn(
    features: NDArray[np.float32],
    targets: NDArray[np.int64],
    validation: NDArray[np.float32],
    validation_targets: NDArray[np.int64],
) -> LogisticRegression:
    """The fitted probe: C is the best of seven powers of ten, then refined from a tenth to ten times of it.

    features, targets                  (N, E) and (N,) class indices
    validation, validation_targets     the same of other images of every class, or of none

    Each of eight comparisons keeps the better half of the range, in logarithms; of equals the weaker C, and of the
    seven powers the stronger, as in CoOp's code. Without validation images there is nothing to search on, and C is 1.
    """
    if not len(validation):
        return fit(features, targets, 1.0)
    known: dict[float, float] = {}

    def score(strength: float) -> float:
        if strength not in known:
            known[strength] = float(fit(features, targets, strength).score(validation, validation_targets))
        return known[strength]

    best = max(GRID, key=score)
    low, high = 0.1 * best, 10 * best
    for _ in range(_COMPARISONS - 1):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if score(high) > score(low) else (low, middle)
    return fit(features, targets, high if score(high) > score(low) else low)


def fit(features: NDArray[np.float32], targets: NDArray[np.int64], strength: float) -> LogisticRegression:
    """A probe of one strength C, on (N, E) features and (N,) targets."""
    return LogisticRegression(C=strength, max_iter=_ITERATIONS).fit(features, targets)
