"""Ways to learn the next version of a context: what the protocols of continual learning compare, by name.

Everything works on frozen image features. CoOp's steps, CLAP and the head are the product's own; nearest mean, kernel
ridge and LDA are the closed forms that every prompt has to be shown beside (RanPAC, NeurIPS 2023; RAIL, NeurIPS 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from promptctl.classification import references
from promptctl.context.prototypes import Prototypes
from promptctl.learners import clap, coop, head
from promptctl.learners.fitting import Start
from promptctl.learners.settings import PLAIN

if TYPE_CHECKING:
    from promptctl.clip.text_tower import TextTower

Vectors = NDArray[np.float32]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]
Scores = Callable[[Vectors], Vectors]  # (N, E) unit rows → (N, C), NaN where nothing can be said of a class

_JOINT_TIMES = 5
_SEEDS = 1000  # more than there are versions
_RIDGE = {"kernel": "rbf", "gamma": 0.1, "alpha": 1e-3}  # RAIL's


@dataclass(frozen=True, eq=False)
class Photos:
    """Classes, and features of their images: those to learn from and those to measure on."""

    names: tuple[str, ...]  # C
    train: Vectors  # (N, E) unit rows
    targets: Indices  # (N,) index into names
    test: Vectors
    test_targets: Indices
    zero_shot: Vectors  # (C, E) unit rows
    tower: TextTower
    logit_scale: float

    @cached_property
    def context_tokens(self) -> int:
        """M, as many as learn takes by default for all of the classes."""
        return PLAIN.tokens(self.tower, self.names)


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a version may be learned from: every shot so far, and which of them are new."""

    photos: Photos
    number: int  # of the version, from 1
    classes: Indices  # (K,) the classes that are known now, in the order in which they came
    features: Vectors  # (N, E) unit rows
    targets: Indices  # (N,) index into the photos' names
    new: Mask  # (N,)
    seed: int

    @staticmethod
    def of(
        photos: Photos,
        number: int,
        classes: Indices,
        shown: Mask,
        new: Mask,
        seed: int,
        targets: Indices | None = None,
    ) -> Lesson:
        """Those of the shots that are shown; `shown` and `new` are of all, and so are other targets than theirs."""
        labels = photos.targets if targets is None else targets
        return Lesson(photos, number, classes, photos.train[shown], labels[shown], new[shown], seed)

    @property
    def names(self) -> list[str]:
        """K"""
        return [self.photos.names[c] for c in self.classes]

    @property
    def positions(self) -> Indices:
        """(N,) the targets as indices into the classes that are known."""
        place = np.zeros(len(self.photos.names), np.int64)
        place[self.classes] = np.arange(len(self.classes))
        return place[self.targets]

    def first_steps(self, *, class_specific: bool = False) -> int:
        """What `learn` takes for as many shots."""
        return coop.fast_epochs(len(self.features) / len(self.classes), class_specific=class_specific)

    def only_new(self) -> Lesson:
        """The same classes, and of the shots the new ones alone."""
        return self.shown(self.features[self.new], self.targets[self.new])

    def shown(self, features: Vectors, targets: Indices) -> Lesson:
        return replace(self, features=features, targets=targets, new=np.ones(len(targets), bool))


@dataclass(frozen=True, eq=False)
class Version:
    """What a way has made of its lessons so far."""

    scores: Scores
    vectors: Vectors | None = None  # (M, W), or (K, M, W) of the classes that are known
    rows: Vectors | None = None  # (C, E) unit rows
    steps: int = 0  # of CoOp, up to here


Learn = Callable[[Lesson, Version | None], Version]  # from what was before; None: from nothing


@dataclass(frozen=True)
class Way:
    """One row of the table."""

    learn: Learn
    begins_as: str | None = None  # the way whose first version is the same, and need not be learned twice
    last_only: bool = False  # too dear to be learned for every version


def among(scores: Vectors, classes: Indices) -> Indices:
    """(N,) the best of some classes; scores are (N, C)."""
    best: Indices = classes[scores[:, classes].argmax(1)]
    return best


def _zero_shot(lesson: Lesson, before: Version | None) -> Version:
    return _by_rows(lesson.photos.zero_shot, lesson)


def _replayed(lesson: Lesson, before: Version | None) -> Version:
    """One context for all classes, from the parent's vectors on, shown every shot."""
    return _shared(lesson, before)


def _naive(lesson: Lesson, before: Version | None) -> Version:
    """The same, shown the new shots alone; old names stay in the loss."""
    return _shared(lesson.only_new(), before)


def _joint(lesson: Lesson, before: Version | None, *, times: int = 1) -> Version:
    """From the beginning with every shot, and as many steps as replay has taken for all its versions."""
    return _shared(lesson, None, times * (lesson.first_steps() + (lesson.number - 1) * coop.UPDATE_EPOCHS))


def _without_features(lesson: Lesson, before: Version | None) -> Version:
    """Replay where nothing is kept of old images but each class's mean and variance, and what these share."""
    old = replace(lesson, features=lesson.features[~lesson.new], targets=lesson.targets[~lesson.new])
    made, targets = _drawn(old)
    fresh = lesson.only_new()
    shown = np.concatenate([made, fresh.features]), np.concatenate([targets, fresh.targets])
    return _shared(lesson.shown(*shown), before)


def _replayed_by_class(lesson: Lesson, before: Version | None, *, polish: bool = False) -> Version:
    """A context for each class: rows of classes with new shots are learned; to polish, then all of them a little."""
    if before is None:
        return _joint_by_class(lesson, None)
    assert before.vectors is not None and before.rows is not None
    n_new = len(lesson.classes) - len(before.vectors)
    vectors = np.concatenate([before.vectors, _fresh_rows(before.vectors, n_new)])
    frozen = ~np.isin(lesson.classes, lesson.targets[lesson.new])
    start = Start(vectors, frozen, before.rows[lesson.classes])
    found = _by_class(lesson, *coop.pace(start, polished=polish), start, before.steps)
    if not polish:
        return found
    assert found.vectors is not None
    return _by_class(lesson, coop.POLISH_EPOCHS, coop.UPDATE_LR, Start(found.vectors), found.steps)


def _joint_by_class(lesson: Lesson, before: Version | None) -> Version:
    steps = lesson.first_steps(class_specific=True) + (lesson.number - 1) * coop.ROWS_EPOCHS
    return _by_class(lesson, steps, coop.Settings.lr)


def _nearest_mean(lesson: Lesson, before: Version | None) -> Version:
    return Version(partial(_spread, lesson, references.nearest_mean(lesson.features, lesson.positions).scores))


def _kernel_ridge(lesson: Lesson, before: Version | None) -> Version:
    from sklearn.kernel_ridge import KernelRidge

    ridge = KernelRidge(**_RIDGE).fit(lesson.features, np.eye(len(lesson.classes))[lesson.positions])
    return Version(partial(_spread, lesson, ridge.predict))


def _lda(lesson: Lesson, before: Version | None) -> Version:
    """Gaussian classes of one covariance, shrunk as Ledoit and Wolf do; scikit-learn's own shrinks class by class."""
    from sklearn.covariance import ledoit_wolf

    x = lesson.features.astype(np.float64)
    means = np.stack([x[lesson.targets == c].mean(0) for c in lesson.classes])
    covariance, _ = ledoit_wolf(x - means[lesson.positions], assume_centered=True)
    weight = np.linalg.solve(covariance, means.T).T  # (K, E)
    bias = (weight * means).sum(1) / 2
    return Version(partial(_spread, lesson, lambda features: features @ weight.T - bias))


def _clap(lesson: Lesson, before: Version | None) -> Version:
    photos = lesson.photos
    found = clap.learn(
        lesson.features,
        lesson.positions,
        photos.zero_shot[lesson.classes],
        logit_scale=photos.logit_scale,
        settings=clap.Settings(seed=lesson.seed),
    )
    return _by_rows(_with_zero_shot(lesson, found.text_features), lesson)


def _head(lesson: Lesson, before: Version | None) -> Version:
    """The head that a version carries beside its context, fitted to every shot."""
    scale, zero_shot = lesson.photos.logit_scale, lesson.photos.zero_shot[lesson.classes]
    found = head.fit(lesson.features, lesson.positions, zero_shot, logit_scale=scale, seed=lesson.seed)
    return Version(partial(_spread, lesson, lambda x: scale * x @ found.weight.T + found.bias))


WAYS: Mapping[str, Way] = {
    "zero-shot": Way(_zero_shot),
    "replay": Way(_replayed),
    "replay-head": Way(_head),
    "naive": Way(_naive, begins_as="replay"),
    "joint": Way(_joint, begins_as="replay"),
    "joint-5x": Way(partial(_joint, times=_JOINT_TIMES), last_only=True),
    "no-features": Way(_without_features, begins_as="replay"),
    "replay-csc": Way(_replayed_by_class),
    "replay-csc-polish": Way(partial(_replayed_by_class, polish=True), begins_as="replay-csc"),
    "joint-csc": Way(_joint_by_class, last_only=True),
    "nearest-mean": Way(_nearest_mean),
    "kernel-ridge": Way(_kernel_ridge),
    "lda": Way(_lda),
    "clap": Way(_clap),
}
FOR_PEOPLE = tuple(name for name, way in WAYS.items() if not way.last_only)  # those that end within minutes


def _shared(lesson: Lesson, before: Version | None, steps: int | None = None) -> Version:
    """CoOp with one context, from what was before; what was not taught of it is asked of the text tower."""
    photos = lesson.photos
    start = None if before is None or before.vectors is None else Start(before.vectors)
    settings = coop.Settings(
        context_tokens=photos.context_tokens,
        epochs=steps or (lesson.first_steps() if start is None else coop.UPDATE_EPOCHS),
        lr=coop.Settings.lr if start is None else coop.UPDATE_LR,
        seed=lesson.seed,
    )
    found = _learned(lesson, settings, start)
    rows = _of_all_classes(found.vectors, photos)
    done = found.steps + (before.steps if before else 0)
    return replace(_by_rows(rows, lesson), vectors=found.vectors, steps=done)


def _by_class(lesson: Lesson, steps: int, lr: float, start: Start | None = None, done: int = 0) -> Version:
    """CoOp with a context for each class, from a start; classes without one keep the zero-shot row."""
    tokens = lesson.photos.context_tokens
    settings = coop.Settings(tokens, class_specific=True, epochs=steps, lr=lr, seed=lesson.seed)
    found = _learned(lesson, settings, start)
    version = _by_rows(_with_zero_shot(lesson, found.text_features), lesson)
    return replace(version, vectors=found.vectors, steps=done + found.steps)


def _learned(lesson: Lesson, settings: coop.Settings, start: Start | None) -> coop.Solution:
    photos = lesson.photos
    scale, shown = photos.logit_scale, (lesson.features, lesson.positions)
    return coop.learn(*shown, lesson.names, photos.tower, logit_scale=scale, settings=settings, start=start)


def _fresh_rows(vectors: Vectors, count: int) -> Vectors:
    """(count, M, W): where new classes of a class-specific context start, the mean of those that are there."""
    rows: Vectors = np.repeat(vectors.mean(0, keepdims=True), count, 0)
    return rows


def _of_all_classes(vectors: Vectors, photos: Photos) -> Vectors:
    """(C, E) unit rows: what a shared context says of every class, learned or not."""
    prompts = photos.tower.prompts(photos.names, len(vectors))
    with torch.no_grad():
        context = torch.from_numpy(vectors).to(photos.tower.token_table.device)
        rows: Vectors = normalize(photos.tower.encode(context, prompts), dim=-1).float().cpu().numpy()
    return rows


def _with_zero_shot(lesson: Lesson, learned: Vectors) -> Vectors:
    """(C, E) unit rows: what was learned of the K known classes, and zero-shot of the others."""
    rows: Vectors = lesson.photos.zero_shot.copy()
    rows[lesson.classes] = learned
    return rows


def _by_rows(rows: Vectors, lesson: Lesson) -> Version:
    """(C, E) unit rows"""
    scale = lesson.photos.logit_scale
    return Version(lambda x: scale * x @ rows.T, rows=rows)


def _spread(lesson: Lesson, of_known: Callable[[Vectors], NDArray[np.floating]], x: Vectors) -> Vectors:
    """(N, C) from scores of the K known classes."""
    scores = np.full((len(x), len(lesson.photos.names)), np.nan, np.float32)
    scores[:, lesson.classes] = of_known(x)
    return scores


def _drawn(old: Lesson) -> tuple[Vectors, Indices]:
    """Made-up images of every old class, as a context that keeps means and variances makes them; (N, E) and (N,)."""
    kept = Prototypes.of_shots(old.features, old.targets, len(old.photos.names), fewest=1)
    return kept.made_up(_SEEDS * old.seed + old.number)
