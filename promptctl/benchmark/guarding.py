"""Guarding: what the guard makes of updates that are known to be honest or bad."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from promptctl.benchmark.continual import some_of
from promptctl.benchmark.ways import WAYS, Indices, Lesson, Mask, Photos, Version, among
from promptctl.context.guard import Paired, judge

GUARDED = ("replay", "replay-csc")
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
        before = _right(photos, parent)
        for name, lesson in updates.items():
            after = _right(photos, WAYS[way].learn(lesson, parent))
            found += [_judged(photos, name, way, Paired(before, after), n, chance) for n in IMAGES]
    return tuple(found)


def _right(photos: Photos, version: Version) -> Mask:
    """(N,) whether each test image is found right."""
    found: Mask = among(version.scores(photos.test), np.arange(len(photos.names))) == photos.test_targets
    return found


def _judged(photos: Photos, update: str, way: str, pairs: Paired, images: int, chance: np.random.Generator) -> Guarded:
    """The verdict on so many of the test images."""
    drawn = chance.permutation(len(pairs))[:images]
    labels = dict(enumerate(photos.names))
    verdict = judge(Paired(pairs.parent[drawn], pairs.candidate[drawn]), photos.test_targets[drawn], labels)
    return Guarded(update, way, len(drawn), pairs.drop, verdict.refused, verdict.drop > verdict.max_forgetting)


def _second_half(targets: Indices, n_classes: int, chance: np.random.Generator) -> Mask:
    """(N,) half of the shots of every class."""
    second = np.zeros(len(targets), bool)
    for c in range(n_classes):
        of_class = chance.permutation(np.flatnonzero(targets == c))
        second[of_class[len(of_class) // 2 :]] = True
    return second
