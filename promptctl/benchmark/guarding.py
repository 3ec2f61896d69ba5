"""Guarding: what the guard makes of updates that are known to be honest or bad."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from promptctl.benchmark.continual import some_of
from promptctl.benchmark.ways import WAYS, Indices, Lesson, Mask, Photos, Vectors
from promptctl.context.graded import right_probability
from promptctl.context.guard import MAX_FORGETTING, Paired, judge

GUARDED = ("replay", "replay-csc", "replay-head")
IMAGES = (300, 100, 40)  # that the guard sees


@dataclass(frozen=True)
class Guarded:
    """What the guard makes of one update."""

    update: str
    way: str
    images: int  # that it saw
    drop: float  # on all test images, fraction; below 0 for a gain
    refused: bool
    beyond: bool  # on the images that it saw the drop was larger than the guard allows, chance or not

    @property
    def honest(self) -> bool:
        """By how it was made."""
        return self.update.startswith("honest")

    @property
    def harmful(self) -> bool:
        """By what it does on all test images, however it was made."""
        return self.drop > MAX_FORGETTING


def guarded(photos: Photos, *, seed: int) -> tuple[Guarded, ...]:
    """Updates of a version that has half of the shots, honest ones and bad ones, as the guard judges them.

    Honest: the other shots of every class, or of some. Bad: those of some classes without the old ones, or of every
    class with their labels shuffled.
    """
    chance, everything = np.random.default_rng(seed), np.arange(len(photos.names))
    second = _second_half(photos.targets, len(photos.names), chance)
    some = second & np.isin(photos.targets, chance.choice(len(photos.names), some_of(len(photos.names)), replace=False))
    shuffled = photos.targets.copy()
    shuffled[second] = chance.permutation(shuffled[second])
    updates = {
        "honest, every class": Lesson.of(photos, 2, everything, ~second | second, second, seed),
        "honest, some classes": Lesson.of(photos, 2, everything, ~second | some, some, seed),
        "naive, some classes": Lesson.of(photos, 2, everything, some, some, seed),
        "shuffled labels": Lesson.of(photos, 2, everything, ~second | second, second, seed, targets=shuffled),
    }
    first, found = Lesson.of(photos, 1, everything, ~second, ~second, seed), []
    for way in GUARDED:
        parent = WAYS[way].learn(first, None)
        before = parent.scores(photos.test)
        for name, lesson in updates.items():
            after = WAYS[way].learn(lesson, parent).scores(photos.test)
            found += [_judged(photos, name, way, before, after, n, chance) for n in IMAGES]
    return tuple(found)


def _judged(
    photos: Photos, update: str, way: str, before: Vectors, after: Vectors, images: int, chance: np.random.Generator
) -> Guarded:
    """The verdict on so many of the test images; (N, C) logits."""
    targets, labels = photos.test_targets, dict(enumerate(photos.names))
    drawn = chance.permutation(len(targets))[:images]
    verdict = judge(_compared(before[drawn], after[drawn], targets[drawn]), targets[drawn], labels)
    drop = _compared(before, after, targets).drop
    return Guarded(update, way, len(drawn), drop, verdict.refused, verdict.drop > verdict.max_forgetting)


def _compared(before: Vectors, after: Vectors, targets: Indices) -> Paired:
    """What two versions answer; (N, C) logits."""
    was, becomes = (right_probability(_softmax(scores), targets) for scores in (before, after))
    return Paired(before.argmax(1) == targets, after.argmax(1) == targets, was - becomes)


def _softmax(logits: Vectors) -> Vectors:
    weights: Vectors = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(weights / weights.sum(1, keepdims=True))


def _second_half(targets: Indices, n_classes: int, chance: np.random.Generator) -> Mask:
    """(N,) half of the shots of every class."""
    second = np.zeros(len(targets), bool)
    for c in range(n_classes):
        of_class = chance.permutation(np.flatnonzero(targets == c))
        second[of_class[len(of_class) // 2 :]] = True
    return second
