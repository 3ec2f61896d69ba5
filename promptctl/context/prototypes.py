"""Prototypes: what a context may keep of its shots in place of them, a mean and a variance per class.

They are no images and no single photo's features, and a context learns on from them nearly as well: made-up images
around them are rehearsed in place of the shots (as RAPF does with whole covariances, ECCV 2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from promptctl.context.context import Context

FEWEST = 5  # shots of a class, below which a mean says too much of each
MOST_MADE = 16  # images of each class to rehearse
_POOLED = 2.0  # images that the variance of all classes counts as beside that of one

Rows = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Prototypes:
    """One row per class, in the order of the card."""

    mean: Rows  # (C, E) of unit rows, so shorter than one
    variance: Rows  # (C, E)
    count: NDArray[np.int32]  # (C,) of the shots they stand for; 0: nothing is known of the class

    @staticmethod
    def of(context: Context) -> Prototypes:
        """Of the shots of each class that has enough of them, those that others stand for among them."""
        features, rows = context.rehearsed()
        n, width = context.text_features.shape
        counts = np.bincount(rows, minlength=n)
        groups = [features[rows == c].astype(np.float64) for c in range(n)]
        known = [c for c in range(n) if counts[c] >= FEWEST]
        pooled = np.mean([groups[c].var(0) for c in known], 0) if known else np.zeros(width)
        mean, variance = np.zeros((n, width), np.float32), np.zeros((n, width), np.float32)
        count = np.zeros(n, np.int32)
        for c in known:
            mean[c], variance[c], count[c] = groups[c].mean(0), shrunk(groups[c], pooled), counts[c]
        return Prototypes(mean, variance, count)

    def only(self, rows: NDArray[np.int64]) -> Prototypes:
        """Those of other classes, by the row each has here; -1: nothing is known of it."""
        known = np.maximum(rows, 0)
        count = np.where(rows < 0, 0, self.count[known]).astype(np.int32)
        return Prototypes(self.mean[known], self.variance[known], count)

    def made_up(self, seed: int) -> tuple[Rows, NDArray[np.int64]]:
        """(N, E) unit rows around the means and their (N,) classes, the same for the same seed."""
        chance = np.random.default_rng(seed % (1 << 32))
        known = np.flatnonzero(self.count)
        made = [around(self.mean[c], self.variance[c], min(MOST_MADE, int(self.count[c])), chance) for c in known]
        rows = np.repeat(known, [len(one) for one in made])
        return np.concatenate([*made, np.empty((0, self.mean.shape[1]), np.float32)]), rows.astype(np.int64)


def shrunk(group: NDArray[np.float64], pooled: NDArray[np.float64]) -> NDArray[np.float64]:
    """(E,) the variance of (n, E) rows, drawn towards that of all classes where they are few."""
    return np.asarray((len(group) * group.var(0) + _POOLED * pooled) / (len(group) + _POOLED))


def around(mean: NDArray[np.floating], variance: NDArray[np.floating], count: int, chance: np.random.Generator) -> Rows:
    """(count, E) unit rows around a mean (E,)."""
    drawn = mean + chance.normal(size=(count, len(mean))) * np.sqrt(variance)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=np.float32)
