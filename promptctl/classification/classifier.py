"""Classifier: a context and image features → what each image shows. One matrix product, no text tower."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Predictions:
    """A probability of every class for every image."""

    probabilities: NDArray[np.float64]  # (N, C) rows sum to 1

    @property
    def best(self) -> NDArray[np.int64]:
        """(N,) the most probable class of each image."""
        return np.asarray(self.probabilities.argmax(1), dtype=np.int64)

    def top(self, k: int) -> NDArray[np.int64]:
        """(N, k) the k most probable classes, best first; ties go to the earlier class."""
        return np.asarray(np.argsort(-self.probabilities, axis=1, kind="stable")[:, :k], dtype=np.int64)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """(N,) the probability of the best class."""
        return np.asarray(self.probabilities.max(1))


def predict(features: NDArray[np.float32], text_features: NDArray[np.float32], *, logit_scale: float) -> Predictions:
    """Softmax over scaled cosine similarities, as CLIP does.

    features, text_features   (N, E) and (C, E), unit rows
    """
    logits = logit_scale * features.astype(np.float64) @ text_features.astype(np.float64).T  # (N, C)
    logits -= logits.max(1, keepdims=True, initial=-np.inf)
    weights = np.exp(logits)
    return Predictions(weights / weights.sum(1, keepdims=True))


def calibration_error(predictions: Predictions, targets: NDArray[np.int64], *, bins: int = 15) -> float:
    """Expected calibration error (Guo et al., ICML 2017): |accuracy - confidence| over equal-width bins, weighted."""
    confidence = predictions.confidence
    correct = predictions.best == targets
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(correct[bin_of == b].mean() - confidence[bin_of == b].mean()) * (bin_of == b).mean() for b in set(bin_of)
    ]
    return float(sum(gaps))
