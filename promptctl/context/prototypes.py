"""Prototypes: what a context may keep of its shots in place of them, a mean and a variance per class.

They are no images and no single photo's features, and a context learns on from them nearly as well: made-up images
around them are rehearsed in place of the shots (as RAPF does with whole covariances, ECCV 2024). What the classes
share, the few directions in which their images differ most, is kept once for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from promptctl.context.limits import DIRECTIONS

if TYPE_CHECKING:
    from promptctl.context.context import Context

FEWEST = 5  # shots of a class, below which a mean says too much of each
MADE = 64  # images of each class to rehearse, where every class counts alike
MOST_COUNTED = 16  # where every image counts alike, and of as many shots at most
_SHOTS_A_DIRECTION = 8  # fewer would say too much of each
_POOLED = 2.0  # images that the variance of all classes counts as beside that of one

Rows = NDArray[np.float32]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Prototypes:
    """One row per class, in the order of the card."""

    mean: Rows  # (C, E) of unit rows, so shorter than one
    variance: Rows  # (C, E)
    count: NDArray[np.int32]  # (C,) of the shots they stand for; 0: nothing is known of the class
    directions: Rows | None = None  # (8, E) orthogonal, each as long as the deviation along it within the classes

    @staticmethod
    def of(context: Context) -> Prototypes:
        """Of the shots of each class that has enough of them, those that others stand for among them."""
        return Prototypes.of_shots(*context.learned_from(), len(context.text_features), context.prototypes)

    @staticmethod
    def of_shots(
        features: Rows,
        rows: NDArray[np.int64],
        n_classes: int,
        before: Prototypes | None = None,
        *,
        fewest: int = FEWEST,
    ) -> Prototypes:
        """features   (N, E) unit rows
        rows       (N,) of their classes
        before     of other shots of the same classes
        fewest     shots of a class, below which nothing is said of it
        """
        old = before or Prototypes.of_nothing(n_classes, features.shape[1])
        groups = [features[rows == c].astype(np.float64) for c in range(n_classes)]
        counts = old.count + np.array([len(group) for group in groups], np.int32)
        known = [c for c in range(n_classes) if counts[c] >= fewest]
        moments = {c: _together(old.mean[c], old.variance[c], int(old.count[c]), groups[c]) for c in known}
        pooled = np.mean([variance for _, variance in moments.values()], 0) if known else np.zeros(features.shape[1])
        found = Prototypes.of_nothing(n_classes, features.shape[1])
        for c, (mean, variance) in moments.items():
            found.mean[c], found.count[c] = mean, counts[c]
            # one that nothing was added to has been drawn towards the others before
            found.variance[c] = shrunk(variance, int(counts[c]), pooled) if len(groups[c]) else old.variance[c]
        directions = _directions([groups[c] for c in known], old)
        return Prototypes(found.mean, found.variance, found.count, directions)

    @staticmethod
    def of_nothing(n_classes: int, width: int) -> Prototypes:
        mean, variance = np.zeros((n_classes, width), np.float32), np.zeros((n_classes, width), np.float32)
        return Prototypes(mean, variance, np.zeros(n_classes, np.int32))

    def only(self, rows: NDArray[np.int64]) -> Prototypes:
        """Those of other classes, by the row each has here; -1: nothing is known of it."""
        known = np.maximum(rows, 0)
        count = np.where(rows < 0, 0, self.count[known]).astype(np.int32)
        return Prototypes(self.mean[known], self.variance[known], count, self.directions)

    def made_up(self, seed: int, *, balanced: bool = True) -> tuple[Rows, NDArray[np.int64]]:
        """(N, E) unit rows around the means and their (N,) classes, the same for the same seed.

        balanced   for a loss in which every class counts alike, so that many of old classes take nothing from new ones
        """
        chance = np.random.default_rng(seed % (1 << 32))
        known = np.flatnonzero(self.count).tolist()
        counts = [MADE if balanced else min(MOST_COUNTED, int(self.count[c])) for c in known]
        made = [self._around(c, count, chance) for c, count in zip(known, counts, strict=True)]
        empty = np.empty((0, self.mean.shape[1]), np.float32)
        return np.concatenate([*made, empty]), np.repeat(known, counts).astype(np.int64)

    def _around(self, c: int, count: int, chance: np.random.Generator) -> Rows:
        """(count, E) unit rows around the mean of a class."""
        rest, drawn = self.variance[c].astype(np.float64), np.asarray(self.mean[c], np.float64)
        if self.directions is not None:
            shared = self.directions.astype(np.float64)
            rest = np.maximum(rest - (shared**2).sum(0), 0)
            drawn = drawn + chance.normal(size=(count, len(shared))) @ shared
        drawn = drawn + chance.normal(size=(count, len(rest))) * np.sqrt(rest)
        return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=np.float32)


def shrunk(variance: Numbers, count: int, pooled: Numbers) -> Numbers:
    """(E,) the variance of a class, drawn towards that of all classes where it has few images."""
    return np.asarray((count * variance + _POOLED * pooled) / (count + _POOLED))


def _together(mean: Rows, variance: Rows, count: int, group: Numbers) -> tuple[Numbers, Numbers]:
    """(E,) mean and (E,) variance of images of which these are known, and of (n, E) others."""
    old, total = mean.astype(np.float64), count + len(group)
    of_all = (count * old + group.sum(0)) / total
    return of_all, (count * (variance + (old - of_all) ** 2) + ((group - of_all) ** 2).sum(0)) / total


def _directions(groups: Sequence[Numbers], old: Prototypes) -> Rows | None:
    """(8, E) in which images differ most from the mean of their class; the last are 0 where there are few images."""
    apart = [group - group.mean(0) for group in groups if len(group)]
    n_old = int(old.count.sum()) if old.directions is not None else 0
    if n_old and old.directions is not None:
        apart.append(np.sqrt(n_old) * old.directions.astype(np.float64))
    total = n_old + sum(len(group) for group in groups)
    enough = min(DIRECTIONS, total // _SHOTS_A_DIRECTION)
    if not enough:
        return None
    rows = np.concatenate(apart)
    values, vectors = np.linalg.eigh(rows.T @ rows / total)
    directions = np.zeros((DIRECTIONS, rows.shape[1]), np.float32)
    largest = (vectors[:, ::-1] * np.sqrt(np.maximum(values[::-1], 0))).T[:enough]  # (enough, E)
    directions[: len(largest)] = largest
    return directions
