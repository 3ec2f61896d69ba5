"""Doubts: labels that the other images speak against, and classes that are taken for one another."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptctl.classification import references

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]

# docs/benchmarks.md has what these find of labels that were made wrong
PERHAPS = 0.2  # by so much ridge regression must prefer another class, of 1 between two classes told apart perfectly
PROBABLY = 0.3
CONFUSED = 0.25  # share of the images of two classes that are taken for the other
_FEWEST_CONFUSED = 3


@dataclass(frozen=True)
class Seen:
    """What the images say of each other; none is seen by a classifier that learned from it or from its group."""

    targets: Indices  # (N,) class index, as labelled
    best: Indices  # (N,) the class that ridge regression sees in each, its own aside
    margin: Numbers  # (N,) by how much that is more than its own; below 0 where it is recognised
    denied: Mask  # (N,) neither the nearest class mean nor folds of the head give it its own class

    def doubtful(self) -> list[int]:
        """Images whose label is probably or perhaps wrong, the most doubtful first."""
        rows = np.flatnonzero((self.margin >= PERHAPS) & self.denied)
        return [int(row) for row in rows[np.argsort(-self.margin[rows], kind="stable")]]

    def confused(self) -> list[tuple[int, int, int, int]]:
        """(class, class, images taken for the other, images of both), where that is often; the most often first."""
        wrong = np.flatnonzero(self.margin > 0)
        pairs = Counter(_ordered(int(self.targets[row]), int(self.best[row])) for row in wrong)
        sizes = np.bincount(self.targets, minlength=int(self.best.max(initial=0)) + 1)
        found = [(a, b, n, int(sizes[a] + sizes[b])) for (a, b), n in pairs.items()]
        often = [row for row in found if row[2] >= _FEWEST_CONFUSED and row[2] >= CONFUSED * row[3]]
        return sorted(often, key=lambda row: -row[2] / row[3])


def _ordered(a: int, b: int) -> tuple[int, int]:
    return min(a, b), max(a, b)


def seen(features: NDArray[np.floating], targets: Indices, groups: Indices, held_out: Mask, predicted: Indices) -> Seen:
    """What the images that are learned from say of each other, and of those that are held out.

    features    (N, E) unit rows
    targets     (N,) index into the classes that have images to learn from
    groups      (N,) images of one number are left out together
    predicted   (N,) the class that folds of the head, or the answer to what is held out, gave each image; -1: none
    """
    train = ~held_out
    scores, means = np.empty((len(targets), int(targets.max()) + 1)), np.empty((len(targets), int(targets.max()) + 1))
    x, y = features[train], targets[train]
    scores[train], means[train] = (
        way(x, y, groups[train]) for way in (references.ridge_without, references.means_without)
    )
    if held_out.any():
        for of_all, way in ((scores, references.ridge), (means, references.nearest_mean)):
            of_all[held_out] = way(x, y).scores(features[held_out])
    rows = np.arange(len(targets))
    own = scores[rows, targets]
    others = scores.copy()
    others[rows, targets] = -np.inf
    best = others.argmax(1)
    denied = (means.argmax(1) != targets) & (predicted != targets)
    return Seen(targets, best, others[rows, best] - own, denied)
