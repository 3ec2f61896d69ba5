"""Parts: linear classifiers of the same shots, and how much of each of them answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from promptctl.learners.fitting import Targets, Vectors

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Linear:
    """A classifier of image features: logits F @ weight.T + bias."""

    weight: Numbers  # (C, E)
    bias: Numbers  # (C,)

    @staticmethod
    def of(weight: NDArray[np.floating]) -> Linear:
        """Without a bias."""
        return Linear(np.asarray(weight, np.float64), np.zeros(len(weight)))

    @property
    def largest(self) -> float:
        """That no logit of a unit row is beyond twice of, nor a bias once."""
        return float(max(np.linalg.norm(self.weight, axis=1).max(), np.abs(self.bias).max()))

    def times(self, factor: float) -> Linear:
        return Linear(factor * self.weight, factor * self.bias)

    def logits(self, features: Vectors) -> Numbers:
        """(N, C) of (N, E) features"""
        return np.asarray(features @ self.weight.T + self.bias)


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a part is fitted to: shots, and those classes alone that have some."""

    features: Vectors  # (N, E) unit rows
    targets: Targets  # (N,) index into zero_shot_features, every class at least once
    zero_shot_features: Vectors  # (C, E) unit rows
    classes: Targets  # (C,) which of all classes these are
    logit_scale: float
    seed: int
    is_fold: bool = False  # fitted only to be measured, so that it may take fewer steps


Part: TypeAlias = Callable[[Lesson], Linear]
Weights: TypeAlias = Mapping[str, float]
TEMPLATE = "template"  # the part that a learner adds its own to
ZERO_SHOT = "zero-shot"  # what a head is mixed with where it would be worse
MOST_MEASURED = 16  # shots per class, from which on the weights of parts stay as they are


@dataclass(frozen=True)
class Choice:
    """How much of each part answers, and what that is called."""

    name: str
    weights: Weights | Callable[[Targets], Weights]  # by the name of a part; or what makes them of (N,) targets
    beside_names: Callable[[Targets], Weights] | None = None  # where some classes have no shots, if they are others

    def of(self, targets: Targets, is_complete: bool = True) -> Weights:
        """is_complete   whether every class has shots"""
        if self.beside_names and not is_complete:
            return self.beside_names(targets)
        return self.weights(targets) if callable(self.weights) else self.weights


@dataclass(frozen=True)
class Ways:
    """What a head may be made of, and how; folds of the shots choose, and without folds it is the first choice."""

    parts: Mapping[str, Part]
    choices: tuple[Choice, ...]
    prefers: str | None = None  # which choice stays unless another is better by more than chance would have it


def template(lesson: Lesson) -> Linear:
    """Logits of the hand-written prompt."""
    return Linear.of(lesson.logit_scale * lesson.zero_shot_features.astype(np.float64))


def class_shares(targets: Targets) -> Numbers:
    """(N,) what each image weighs where every class weighs alike, together 1."""
    counts = np.bincount(targets)
    return np.asarray(1 / (np.count_nonzero(counts) * counts[targets]))


def shots_per_class(targets: Targets) -> float:
    """Their harmonic mean, as the noise of a class's mean is that of one shot over their number; at most 16.

    targets   (N,), every class at least once
    """
    return min(MOST_MEASURED, 1 / float(np.mean(1 / np.bincount(targets))))


def combined(parts: Mapping[str, Linear], weights: Weights) -> Linear:
    """The sum of parts, each times its weight."""
    (first, share), *others = weights.items()
    weight, bias = share * parts[first].weight, share * parts[first].bias
    for name, share in others:
        weight, bias = weight + share * parts[name].weight, bias + share * parts[name].bias
    return Linear(weight, bias)
