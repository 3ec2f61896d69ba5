"""Asking: which photos a person is asked about, so that a few answers teach most.

One after another, the photo x of the largest

    (1 - m(x)) d(x)^(1/2) (1 - 0.8 max_a cos(x, a))        a: photos that are asked about already

where m is the margin between the two most probable classes (Scheffer et al., IDA 2001) and d how densely photos lie
around it, the mean cosine to the five most like it (Settles and Craven, EMNLP 2008). Cosines are of features less the
mean of all photos, which has what they have in common. The margin alone asks about photos that are like nothing else,
and about the same thing again and again. Of those that are too unlike all that is known, one in ten at most is asked
about: some are of new classes, but where a third of a folder is rubbish, the margin alone asks about little else.
docs/benchmarks.md has the measurements.
"""

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

POOL = 4000  # photos most in doubt, that are chosen from
MOST = 1000  # that are chosen so; the others follow by their margin
SAMPLE = 8000  # of all photos, among which neighbours are looked for
NEIGHBOURS = 5
APART = 0.8  # of a photo's doubt, that a photo just like it takes when it is asked about
UNKNOWN = 0.1  # of those asked about, that may be unknown
_LEAST = 0.01  # density, below which photos are ordered by their margin alone
_ROWS = 512


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


def asked(photos: Judged, count: int | None = None) -> Indices:
    """The photos in the order in which to ask about them, the one that teaches most first.

    The order does not depend on how many are asked about: whoever asks for twenty sees the first of a hundred.

    count     how many are wanted; None: all
    returns   (K,) places, each at most once
    """
    in_doubt = np.argsort(photos.margin, kind="stable")
    pool = in_doubt[:POOL]
    chosen = pool[_spread(_Pool.of(photos, pool), MOST if count is None else min(count, MOST))]
    later = in_doubt[~np.isin(in_doubt, chosen)]
    later = later[np.argsort(photos.unknown[later], kind="stable")]
    return np.asarray(np.concatenate([chosen, later])[:count], np.int64)


@dataclass(frozen=True, eq=False)
class _Pool:
    """The photos that are most in doubt."""

    features: Vectors  # (P, E) unit rows, without what all photos have in common
    doubt: Vectors  # (P,) (1 - margin) density^(1/2)
    unknown: Mask  # (P,)

    @staticmethod
    def of(photos: Judged, places: Indices) -> _Pool:
        every = photos.features[:: max(1, len(photos.features) // SAMPLE)].astype(np.float32)
        common = every.mean(0) if len(every) else every.sum(0)
        rows = _unit(photos.features[places].astype(np.float32) - common)
        doubt = (1 - photos.margin[places]) * np.sqrt(_density(rows, _unit(every - common)))
        return _Pool(rows, doubt.astype(np.float32), photos.unknown[places])


def _spread(pool: _Pool, count: int) -> Indices:
    """(count,) places in the pool, one after another, each least like those before it."""
    nearest = np.zeros(len(pool.doubt), np.float32)  # cosine to what is asked about already
    left, found = np.ones(len(pool.doubt), bool), np.empty(min(count, len(pool.doubt)), np.int64)
    n_unknown = 0
    for step in range(len(found)):
        may_be_unknown = n_unknown + 1 <= UNKNOWN * (step + 1)
        allowed = left & ~pool.unknown if not may_be_unknown and (left & ~pool.unknown).any() else left
        place = int(np.argmax(np.where(allowed, pool.doubt * (1 - APART * nearest), -np.inf)))
        found[step], left[place] = place, False
        n_unknown += int(pool.unknown[place])
        nearest = np.maximum(nearest, pool.features @ pool.features[place])
    return found


def _density(rows: Vectors, every: Vectors) -> Vectors:
    """(P,) mean cosine of photos to those most like them, without themselves; (P, E) and (S, E) unit rows."""
    k = min(NEIGHBOURS + 1, len(every))
    density = np.empty(len(rows), np.float32)
    for first in range(0, len(rows), _ROWS):
        cosines = rows[first : first + _ROWS] @ every.T
        best = -np.sort(-np.partition(cosines, len(every) - k, axis=1)[:, len(every) - k :], axis=1)
        is_itself = best[:, 0] > 1 - 1e-4
        others = np.where(is_itself[:, None], best, np.roll(best, 1, axis=1))[:, 1:]
        density[first : first + _ROWS] = others.mean(1) if k > 1 else 1
    return np.clip(density, _LEAST, 1)


def _unit(rows: Vectors) -> Vectors:
    lengths: Vectors = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), np.float32)
