"""Blend: how much of what a context learned to use beside zero-shot, chosen by folds of its own shots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from promptctl.classification.classifier import Classifier, mixed
from promptctl.errors import DatasetError
from promptctl.learners import LEARNERS
from promptctl.progress import OnStep

if TYPE_CHECKING:
    from promptctl.clip.text_tower import TextTower
    from promptctl.context.card import ClassEntry, Method
    from promptctl.context.context import Context

Vectors = NDArray[np.float32]
Refit = Callable[[Vectors, NDArray[np.int64]], Vectors]  # (N, E) unit rows and (N,) targets → (C, E) unit rows
SHARES = tuple(i / 10 for i in range(11))
FOLDS = 5
CHOOSER = "folds-1"  # part of what a chosen share is kept under: change it when another share may come out


def share_by_folds(context: Context, name: str, tower: TextTower, on_fold: OnStep | None = None) -> float:
    """The best share for a context, learned again on folds of the shots it carries, which are centre crops.

    raises   DatasetError when a class has fewer than two of them
    """
    rows, y = context.learned_from()
    x = as_kept(rows)
    if _fewest(y, len(context.card.classes)) < 2:
        has = "a class with one shot" if len(y) else "no shots"
        raise DatasetError(
            f"'{name}' has {has}, and choosing a blend takes two per class",
            "--blend 0.5, or any other share from 0 to 1",
        )
    card, zero_shot = context.card, context.zero_shot_features
    refit = refit_by(card.method, card.classes, zero_shot, tower, card.logit_scale)
    return best_share(x, y, refit, zero_shot, card.method.seed, on_fold)


def as_kept(x: Vectors) -> Vectors:
    """(N, E) unit rows as a context remembers them, rounded to float16, and made unit again."""
    rows = x.astype(np.float16).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def best_share(
    x: Vectors,
    y: NDArray[np.int64],
    refit: Refit,
    zero_shot: Vectors,
    seed: int,
    on_fold: OnStep | None = None,
) -> float:
    """The share that is right most often on shots it was not learned from; of equals the largest.

    x, y        (N, E) unit rows and (N,) class indices, two or more of every class
    refit       rows and targets of all folds but one → (C, E) learned text features, unit rows
    zero_shot   (C, E) unit rows
    """
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(min(FOLDS, _fewest(y, len(zero_shot))), shuffle=True, random_state=seed % 2**32)
    right = np.zeros(len(SHARES))
    for done, (train, held_out) in enumerate(folds.split(x, y), 1):
        learned = refit(x[train], y[train])
        for i, share in enumerate(SHARES):
            classifier = Classifier(mixed(learned, zero_shot, share))
            right[i] += classifier.right(x[held_out], y[held_out]).sum()
        if on_fold:
            on_fold(done, folds.get_n_splits())
    return SHARES[int(np.flatnonzero(right == right.max())[-1])]


def _fewest(y: NDArray[np.int64], classes: int) -> int:
    """Shots of the class that has fewest."""
    return int(np.bincount(y, minlength=classes).min())


def refit_by(
    method: Method, classes: Sequence[str | ClassEntry], zero_shot: Vectors, tower: TextTower, logit_scale: float
) -> Refit:
    """What the learner of a context makes of other shots, with its own settings, from the centres of their photos.

    zero_shot   (C, E) unit rows
    """
    learner = LEARNERS[method.learner].code

    def refit(x: Vectors, y: NDArray[np.int64]) -> Vectors:
        return learner.refit(
            method, x, y, classes=classes, zero_shot_features=zero_shot, tower=tower, logit_scale=logit_scale
        )

    return refit
