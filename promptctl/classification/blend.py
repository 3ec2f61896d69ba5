"""Blend: how much of what a context learned to use beside zero-shot, chosen by folds of its own shots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
Targets = NDArray[np.int64]
Mask = NDArray[np.bool_]
Fold = tuple[Mask, Mask]  # (N,) what is learned from, and what is left out
Refit = Callable[[Vectors, Targets], Vectors]  # (N, E) unit rows and (N,) targets → (C, E) unit rows
Mixture = Callable[[float], Classifier]  # of a share
_ALIKE = "no class with two shots that differ"
SHARES = tuple(i / 10 for i in range(11))
FOLDS = 5
CHOOSER = "folds-5"  # part of what a chosen share is kept under: change it when another share may come out


def share_by_folds(context: Context, name: str, tower: Callable[[], TextTower], on_fold: OnStep | None = None) -> float:
    """The best share for a context, what answers for it learned again on folds of the shots it carries.

    tower    asked for where text features answer, alone or as a part of a head; other parts are learned without it
    raises   DatasetError when a class has one shot, or all of every class belong together; with a head the latter alone
    """
    rows, y = context.learned_from()
    x = as_kept(rows)
    if not len(y):
        raise _too_few(name, "no shots", "two per class")
    if context.head:
        return _share_of_head(context, name, x, y, tower, on_fold)
    if _fewest(y, len(context.card.classes)) < 2:
        raise _too_few(name, "a class with one shot", "two per class")
    card, zero_shot = context.card, context.zero_shot_features
    refit = refit_by(card.method, card.classes, zero_shot, tower(), card.logit_scale)
    groups = _groups(context)
    if not folds_of(y, groups, card.method.seed):
        raise _too_few(name, _ALIKE, "two")
    return best_share(x, y, refit, zero_shot, card.method.seed, on_fold, groups)


def _groups(context: Context) -> Targets:
    """(N,) of the shots that it learned from: equal numbers belong together."""
    return np.asarray(context.shots.groups[context.shots.held_out == 0], np.int64)


def _too_few(name: str, has: str, takes: str) -> DatasetError:
    return DatasetError(
        f"'{name}' has {has}, and choosing a blend takes {takes}",
        "--blend 0.5, or any other share from 0 to 1",
    )


def _share_of_head(
    context: Context, name: str, x: Vectors, y: Targets, tower: Callable[[], TextTower], on_fold: OnStep | None
) -> float:
    from promptctl.learners import auto, head

    scale, zero_shot, seed = context.card.logit_scale, context.zero_shot_features, context.card.method.seed
    groups = _groups(context)
    folds = _of_groups(y, groups, seed)
    if not folds:
        raise _too_few(name, _ALIKE, "two")

    def learned(train: Mask) -> Mixture:
        ways = auto.as_before(context.card, tower, x[train], y[train])
        shots = x[train], y[train], zero_shot
        found = head.fit(*shots, logit_scale=scale, groups=groups[train], seed=seed, ways=ways)
        return lambda share: Classifier.of_head(found.weight, found.bias, zero_shot, scale, share)

    return _best(x, y, folds, learned, on_fold)


def as_kept(x: Vectors) -> Vectors:
    """(N, E) unit rows as a context remembers them, rounded to float16, and made unit again."""
    rows = x.astype(np.float16).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def best_share(
    x: Vectors,
    y: Targets,
    refit: Refit,
    zero_shot: Vectors,
    seed: int,
    on_fold: OnStep | None = None,
    groups: Targets | None = None,
) -> float:
    """The share of text features that is right most often on shots they were not learned from; of equals the largest.

    x, y        (N, E) unit rows and (N,) class indices, two or more of every class
    refit       rows and targets of all folds but one → (C, E) learned text features, unit rows
    zero_shot   (C, E) unit rows
    groups      (N,) shots of one number stay on one side of every fold; there are folds of them. None: each its own
    """
    folds = folds_of(y, groups, seed)
    assert folds

    def learned(train: Mask) -> Mixture:
        texts = refit(x[train], y[train])
        return lambda share: Classifier(mixed(texts, zero_shot, share))

    return _best(x, y, folds, learned, on_fold)


def folds_of(y: Targets, groups: Targets | None, seed: int) -> list[Fold]:
    """What is learned from and what is left out, fold by fold; none where all of every class belongs together.

    y        (N,) class indices, every class at least twice
    groups   (N,) shots of one number stay on one side; None, or all different: scikit-learn's folds
    """
    if groups is not None and len(np.unique(groups)) < len(groups):
        return _of_groups(y, groups, seed)
    return list(_stratified(y, min(FOLDS, _fewest(y, int(y.max()) + 1)), seed))


def _of_groups(y: Targets, groups: Targets, seed: int) -> list[Fold]:
    from promptctl.learners import head

    fold_of = head.folds_of(y, groups, seed)
    return [(fold_of != fold, fold_of == fold) for fold in np.unique(fold_of[fold_of >= 0])]


def _stratified(y: Targets, n_folds: int, seed: int) -> Iterator[Fold]:
    from sklearn.model_selection import StratifiedKFold

    for _, held_out in StratifiedKFold(n_folds, shuffle=True, random_state=seed % 2**32).split(y, y):
        apart = np.zeros(len(y), bool)
        apart[held_out] = True
        yield ~apart, apart


def _best(
    x: Vectors,
    y: Targets,
    folds: Sequence[Fold],
    learned: Callable[[Mask], Mixture],
    on_fold: OnStep | None,
) -> float:
    """The share whose mixtures are right most often about what a fold leaves out; of equals the largest."""
    right = np.zeros(len(SHARES))
    for done, (train, held_out) in enumerate(folds, 1):
        mixture = learned(train)
        right += [mixture(share).right(x[held_out], y[held_out]).sum() for share in SHARES]
        if on_fold:
            on_fold(done, len(folds))
    return SHARES[int(np.flatnonzero(right == right.max())[-1])]


def _fewest(y: Targets, classes: int) -> int:
    """Shots of the class that has fewest."""
    return int(np.bincount(y, minlength=classes).min())


def refit_by(
    method: Method, classes: Sequence[str | ClassEntry], zero_shot: Vectors, tower: TextTower, logit_scale: float
) -> Refit:
    """What the learner of a context makes of other shots, with its own settings, from the centres of their photos.

    zero_shot   (C, E) unit rows
    """
    learner = LEARNERS[method.learner].code

    def refit(x: Vectors, y: Targets) -> Vectors:
        return learner.refit(
            method, x, y, classes=classes, zero_shot_features=zero_shot, tower=tower, logit_scale=logit_scale
        )

    return refit
