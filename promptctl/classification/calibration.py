"""Calibration: what a context's own photos say of its answers: how alike a known photo is, how often they are right.

Likeness of a photo x, in a context of unit shots s_i with unit class means m_c, b being the mean of all m_c:

    likeness(x) = max_i  x . ( (s_i + m_c(i)) / 2 - b / 2 )

the cosine to a class (half of it to the nearest shot, half to the mean), less half of the cosine to anything at all.
Every shot is scored without its group. To reject what is below the l-th smallest of n such scores, where l is
floor(alpha (n + 1)), is to reject a share of one's own photos that is distributed as Beta(l, n + 1 - l): split
conformal prediction (Vovk, ACML 2012), as far as a shot without its group is like a new photo. Where the image tower
has learned from the shots it is not: they are more alike to each other than any new photo is to them. Those that are
held out are scored then, and no others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from promptctl.classification.references import members, unit
from promptctl.context.context import NOT_JUDGED, UNSCORED

if TYPE_CHECKING:
    from promptctl.context.context import Context, ShotTable

Rows = NDArray[np.floating]
Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]

MOST_SCORED = 4000  # shots; their share of rejected photos is known to half a point by then
TEMPERATURES = (0.1, 10.0)
FEWEST = 20  # images held out, from which on a temperature is fitted to them
_BACKGROUND = 0.5  # of the cosine to the mean of all classes, that is taken off
_HALVINGS = 60


# ---------------------------------------------------------------- of a context


@dataclass(frozen=True, eq=False)
class OwnPhotos:
    """What the photos of a context were to it while it had not learned from them."""

    targets: Indices  # (N,) class index
    answers: Indices  # (N,) index of the class they were given; -1: not known
    likeness: Numbers  # (N,) NaN: not known
    confidence: Numbers  # (N,) probability of the answer; NaN: not known

    @staticmethod
    def of(context: Context) -> OwnPhotos:
        """As they are stored; what is not, is scored now. Of near copies there is one."""
        shots = scored(context)
        if not context.is_plain:  # whatever a file says of those that its image tower has learned from
            shots = replace(shots, likeness=np.where(shots.held_out == 1, shots.likeness, np.float32(UNSCORED)))
        shots = shots.only(np.unique(shots.groups, return_index=True)[1])
        index = {entry.id: i for i, entry in enumerate(context.card.classes)}
        targets, answers = (
            np.array([index.get(int(id), -1) for id in ids], np.int64) for ids in (shots.class_ids, shots.predicted)
        )
        return OwnPhotos(
            targets,
            answers,
            np.where(shots.likeness == UNSCORED, np.nan, shots.likeness).astype(np.float64),
            np.where((shots.confidence == NOT_JUDGED) | (answers < 0), np.nan, shots.confidence).astype(np.float64),
        )

    def threshold(self, known: Mask, alpha: float) -> Threshold | None:
        """None where no photo is scored; `known` (C,) as in `threshold`."""
        some = np.isfinite(self.likeness)
        given = np.where(self.answers < 0, self.targets, self.answers)
        return threshold(self.likeness[some], given[some], known, alpha) if some.any() else None

    def line_at(self, least: float) -> Line:
        return line_at(least, *self._judged())

    def line_for(self, error: float) -> Line | None:
        return line_for(error, *self._judged())

    @property
    def judged(self) -> int:
        """How many have an answer with a probability."""
        return int(np.isfinite(self.confidence).sum())

    def _judged(self) -> tuple[Numbers, Mask]:
        some = np.isfinite(self.confidence)
        return self.confidence[some], (self.answers == self.targets)[some]


def known_rows(context: Context) -> Numbers:
    """(R, E) the `references` of what a context learned from."""
    features, targets = context.learned_from()
    return references(unit(features.astype(np.float64)), targets)


def scored(context: Context, *, again: bool = False) -> ShotTable:
    """The shots with their likeness, those that are held out to all the others; these alone where a tower has learned.

    again   also where they have one, which is of the shots there were then
    """
    shots = context.shots
    if not again and (shots.likeness != UNSCORED).any():
        return shots
    features, targets = context.learned_from()
    own, found = shots.held_out == 0, np.full(len(shots), np.nan)
    if own.any():
        x = unit(features.astype(np.float64))
        if context.is_plain:
            found[own] = likeness_without(x, targets, shots.groups[own].astype(np.int64))
        if not own.all():
            found[~own] = likeness(unit(context.held_out()[0].astype(np.float64)), references(x, targets))
    # sums come in another order on another machine, and the same photos give the same bytes
    return replace(shots, likeness=np.where(np.isfinite(found), found.round(5), UNSCORED).astype(np.float32))


# ---------------------------------------------------------------- likeness


def references(features: Rows, targets: Indices) -> Numbers:
    """(N, E) the largest product of a photo with one of these rows is its likeness.

    features   (N, E) unit rows
    targets    (N,) class index; classes may have none
    """
    x = features.astype(np.float64)
    classes, y = np.unique(targets, return_inverse=True)
    means = unit(_sums(x, y, len(classes)))
    return np.asarray((x + means[y]) / 2 - _BACKGROUND * means.mean(0))


def likeness(features: Rows, known: Numbers) -> Numbers:
    """(N,) of photos; (N, E) unit rows, and the `references` of what is known."""
    return np.asarray((features.astype(np.float64) @ known.T).max(1))


def likeness_without(features: Rows, targets: Indices, groups: Indices) -> Numbers:
    """(N,) the likeness of each shot to those outside its own group; NaN where there are none, or too many to score.

    groups   (N,) near copies have one number
    """
    x = features.astype(np.float64)
    y = np.unique(targets, return_inverse=True)[1]
    sums = _sums(x, y, int(y.max(initial=-1)) + 1)
    scores = np.full(len(x), np.nan)
    for own in _scored_groups(groups):
        others = np.ones(len(x), bool)
        others[own] = False
        if others.any():
            scores[own] = _of_left_out(x, y, sums, own, others)
    return scores


def _of_left_out(x: Numbers, y: Indices, sums: Numbers, own: Indices, others: Mask) -> Numbers:
    left = sums.copy()
    np.subtract.at(left, y[own], x[own])
    left[~np.isin(np.arange(len(sums)), y[others])] = 0  # nothing is left of the class but what rounding made
    means = unit(left)
    there = means.any(1)
    to_means = x[own] @ means.T  # (n, C)
    best = np.where(others, (x[own] @ x.T + to_means[:, y]) / 2, -np.inf).max(1)
    return np.asarray(best - _BACKGROUND * to_means[:, there].mean(1))


def _scored_groups(groups: Indices) -> list[Indices]:
    """The rows of every group, or of as many as are scored."""
    parts = members(groups)
    return parts[:: max(1, math.ceil(len(parts) / MOST_SCORED))]


def _sums(x: Numbers, y: Indices, classes: int) -> Numbers:
    """(C, E)"""
    sums = np.zeros((classes, x.shape[1]))
    np.add.at(sums, y, x)
    return sums


# ---------------------------------------------------------------- thresholds


@dataclass(frozen=True)
class Promise:
    """What is to be expected of a threshold: shares of one's own photos that it calls unknown."""

    asked: float
    photos: int  # that it is from; near copies count once
    expected: float
    low: float  # nine times in ten the share is between
    high: float

    @property
    def can_keep(self) -> bool:
        """Whether there are photos enough for what was asked."""
        return self.expected <= self.asked


@dataclass(frozen=True, eq=False)
class Threshold:
    """The least likeness of a known photo, and what may be expected of it."""

    floors: Numbers  # (C,) by the class a photo is given; -inf where nothing is known of the class
    promise: Promise


def threshold(scores: Numbers, answers: Indices, known: Mask, alpha: float) -> Threshold:
    """Of each class that has photos enough for itself, and one for all the others together.

    scores    (N,) likeness of photos that are known to be one's own, N at least 1
    answers   (N,) index of the class each is given
    known     (C,) which classes have photos
    alpha     share of one's own photos that may be called unknown
    """
    enough = rank(int((answers >= 0).sum()), alpha) and np.bincount(answers, minlength=len(known)) >= _needed(alpha)
    alone = np.flatnonzero(enough) if np.ndim(enough) else np.empty(0, np.int64)
    pooled = ~np.isin(answers, alone)
    parts = [answers == c for c in alone] + ([pooled] if pooled.any() else [])
    limits = [(max(1, rank(int(part.sum()), alpha)), int(part.sum())) for part in parts]
    values = [float(np.sort(scores[part])[place - 1]) for part, (place, _) in zip(parts, limits, strict=True)]
    # where every photo is of a class with a threshold of its own, the others ask for as little as any of these
    floors = np.full(len(known), values[-1] if pooled.any() else min(values))
    floors[alone] = values[: len(alone)]
    floors[~known] = -np.inf
    return Threshold(floors, _promise(alpha, limits))


def rank(photos: int, alpha: float) -> int:
    """Which of the smallest scores is the threshold; 0: there are too few to promise alpha."""
    return math.floor(alpha * (photos + 1) + 1e-9)


def _needed(alpha: float) -> int:
    """The fewest photos that can promise it."""
    return math.ceil(1 / alpha - 1e-9) - 1


def _promise(asked: float, limits: list[tuple[int, int]]) -> Promise:
    """Of (l, n) of every threshold; of several the Beta distribution of about the same mean and variance."""
    photos = sum(n for _, n in limits)
    mean = sum(n / photos * (place / (n + 1)) for place, n in limits)
    spread = sum((n / photos) ** 2 * place * (n + 1 - place) / ((n + 1) ** 2 * (n + 2)) for place, n in limits)
    whole = mean * (1 - mean) / spread - 1  # a + b
    place = max(1, round(mean * whole))
    n = max(place, round(whole) - 1)
    return Promise(asked, photos, mean, beta_quantile(0.05, place, n), beta_quantile(0.95, place, n))


def beta_quantile(p: float, place: int, n: int) -> float:
    """The p-quantile of Beta(l, n + 1 - l), the l-th smallest of n uniform numbers; by bisection."""
    return _where(lambda x: 1 - _fewer(place, n, x) >= p)


def _fewer(place: int, n: int, x: float) -> float:
    """P(Bin(n, x) < l)."""
    if not 0 < x < 1:
        return 1.0 if x <= 0 else 0.0
    log_x, log_rest, log_all = math.log(x), math.log1p(-x), math.lgamma(n + 1)
    return math.fsum(
        math.exp(log_all - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * log_x + (n - k) * log_rest)
        for k in range(place)
    )


def _where(is_above: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_above(middle) else (middle, high)
    return (low + high) / 2


# ---------------------------------------------------------------- probabilities


def temperature(logits: Numbers, targets: Indices) -> float:
    """What logits are divided by so that probabilities are to be believed: the least log-loss, by golden section.

    N answers that are all right do not make any certain: the mean confidence stays below (N + 1/2) / (N + 1).

    logits    (N, C) of images that were not learned from; -inf where a class was not to be had
    targets   (N,) class index
    returns   1 without any images
    """
    seen = np.isfinite(logits[np.arange(len(targets)), targets])
    if not seen.any():
        return 1.0
    kept, y = logits[seen] - logits[seen].max(1, keepdims=True), targets[seen]
    least, most = map(math.log, TEMPERATURES)

    def loss(log_temperature: float) -> float:
        scaled = kept / math.exp(log_temperature)
        return float((np.log(np.exp(scaled).sum(1)) - scaled[np.arange(len(y)), y]).mean())

    def is_humble(share: float) -> bool:
        scaled = kept / math.exp(least + share * (most - least))
        return bool((1 / np.exp(scaled).sum(1)).mean() <= (len(y) + 0.5) / (len(y) + 1))

    found = max(_golden(loss, least, most), least + _where(is_humble) * (most - least))
    return float(f"{math.exp(found):.4g}")


def _golden(loss: Callable[[float], float], low: float, high: float) -> float:
    """Where a function of one valley is least."""
    share = (math.sqrt(5) - 1) / 2
    a, b = high - share * (high - low), low + share * (high - low)
    at_a, at_b = loss(a), loss(b)
    while high - low > 1e-5:
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - share * (high - low)
            at_a = loss(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + share * (high - low)
            at_b = loss(b)
    return (low + high) / 2


@dataclass(frozen=True)
class Line:
    """A probability from which on answers are taken, and what is known of those."""

    least: float
    photos: int  # of one's own above it
    right: float | None  # fraction of these; None: there are none
    error: float | None = None  # that was asked for


def line_at(least: float, confidence: Numbers, right: Mask) -> Line:
    """What is known of answers above a probability; (N,) each of photos that were not learned from."""
    above = confidence >= least
    return Line(least, int(above.sum()), float(right[above].mean()) if above.any() else None)


def line_for(error: float, confidence: Numbers, right: Mask) -> Line | None:
    """The lowest line above which (wrong + 1) of (n + 1) are no more than this share; None: no line is known to be one.

    Conformal risk control (Angelopoulos et al., ICLR 2024) counts one more mistake than there was, too.
    """
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(~right[order])
    last = np.append(np.diff(confidence[order]) < 0, True)  # of photos of one probability all are above, or none
    good = np.flatnonzero(last & (wrong + 1 <= error * (np.arange(len(order)) + 2) + 1e-9))
    if not len(good):
        return None
    found = line_at(float(confidence[order[good[-1]]]), confidence, right)
    return Line(found.least, found.photos, found.right, error)
