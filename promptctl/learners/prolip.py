"""ProLIP: Fahes et al., "CLIP's Visual Embedding Projector is a Few-shot Cornucopia", WACV 2026 (arXiv 2410.05270).

The projection P at the end of the image tower is learned again, held to where it was, under text features that stay:

    L = CE(s norm(f P) . z)  +  1/n^2 |P - P0|^2      n: shots per class, all shots at once, 300 steps of Adam from 1e-4

with s the logit scale, a cosine of the rate and 10^-4 as Adam's epsilon. The features f that are cached come after the
tower's own projection, so P is a square map behind them and P0 is the identity, as it is of towers that have none.
What answers is linear in f: the length of f P divides all logits of a photo alike and decides no answer, so the mean
length over the shots stands for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from promptctl.context.card import ClassEntry, Method
from promptctl.errors import LearningFailed
from promptctl.learners.fitting import Learned, Targets, TrainingSet, Vectors, by_head
from promptctl.learners.parts import Choice, Lesson, Linear, Ways, class_shares
from promptctl.learners.training import Adam, cosine_rate
from promptctl.progress import OnProgress

if TYPE_CHECKING:
    from promptctl.clip.text_tower import TextTower
    from promptctl.learners.settings import LearnSettings

EPSILON = 1e-4  # of Adam
_FOLD = 5  # times as large a rate, for as many times fewer steps, where it is learned only to be measured
_EFFORT = 60.0


@dataclass(frozen=True)
class Settings:
    """The paper's without a validation set, which shows a random view of every image per epoch; here the centre."""

    epochs: int = 300
    lr: float = 1e-4
    seed: int = 1


def map_of(lesson: Lesson, settings: Settings) -> torch.Tensor:
    """(E, E) the map P; LearningFailed where it is no number."""
    x, y = torch.from_numpy(lesson.features), torch.from_numpy(lesson.targets)
    texts = torch.from_numpy(lesson.zero_shot_features)
    weights = torch.from_numpy(class_shares(lesson.targets)).to(x.dtype)  # (N,) every class alike
    begin = torch.eye(x.shape[1], dtype=x.dtype)
    held = np.mean(1 / np.bincount(lesson.targets)) ** 2  # 1 / n^2, n the harmonic mean
    projection = begin.clone().requires_grad_()
    optimiser = Adam(projection, betas=(0.9, 0.999), epsilon=EPSILON)
    for epoch in range(settings.epochs):
        logits = lesson.logit_scale * F.normalize(x @ projection, dim=-1) @ texts.T
        loss = (weights * F.cross_entropy(logits, y, reduction="none")).sum()
        loss = loss + held * (projection - begin).square().sum()
        optimiser.step(cosine_rate(epoch, settings.epochs, settings.lr), loss)
    found = projection.detach()
    if not torch.isfinite(found).all():
        raise LearningFailed(settings.epochs, settings.lr)
    return found


def projected(lesson: Lesson, settings: Settings) -> Linear:
    """What the text features say of features behind the map."""
    if lesson.is_fold:
        settings = Settings(-(-settings.epochs // _FOLD), settings.lr * _FOLD)
    projection = map_of(lesson, settings).double().numpy()
    length = np.linalg.norm(lesson.features @ projection, axis=1).mean()
    return Linear.of(lesson.logit_scale / length * lesson.zero_shot_features @ projection.T)


def ways(settings: Settings) -> Ways:
    return Ways({"prolip": partial(projected, settings=settings)}, (Choice("prolip", {"prolip": 1.0}),))


def fit(training_set: TrainingSet, settings: LearnSettings, on_progress: OnProgress | None = None) -> Learned:
    """What a head of this projection is made of."""
    own = Settings(
        Settings.epochs if settings.epochs is None else settings.epochs,
        Settings.lr if settings.lr is None else settings.lr,
        settings.seed,
    )
    return by_head(
        "prolip", training_set, ways(own), steps=own.epochs, epochs=own.epochs, lr=own.lr, seed=settings.seed
    )


def refit(
    method: Method,
    features: Vectors,
    targets: Targets,
    *,
    classes: Sequence[str | ClassEntry],
    zero_shot_features: Vectors,
    tower: TextTower,
    logit_scale: float,
) -> Vectors:
    """The template's text features, which are all it has beside the head."""
    return zero_shot_features


def effort(settings: LearnSettings, shots: int) -> float:
    return _EFFORT
