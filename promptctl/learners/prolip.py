"""ProLIP: Fahes et al., "CLIP's Visual Embedding Projector is a Few-shot Cornucopia", WACV 2026 (arXiv 2410.05270).

The projection P at the end of the image tower is learned again, held to where it was, under text features that stay:

    L = CE(s norm(f P) . z)  +  1/n^2 |P - P0|^2      n: shots per class, all shots at once, 300 steps of Adam from 1e-4

with s the logit scale, a cosine of the rate and 10^-4 as Adam's epsilon. Where photos are at hand and the tower ends in
a linear layer, f is what comes before it, as long as the tower gives it, a bias of the layer stays, and P is what the
tower of the context ends in. Where there are features alone, or a tower ends in no such layer (SigLIP), P is a square
map behind the features and P0 is the identity: a head, which answers without PyTorch, and which `--learner auto` has
too. That answer is linear in f: the length of f P divides all logits of a photo alike and decides none of them, so the
mean length over the shots stands for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from promptctl.errors import LearningFailed
from promptctl.learners.fitting import (
    Learned,
    Targets,
    TrainingSet,
    Vectors,
    by_head,
    refit_by_template,
    without_context,
)
from promptctl.learners.parts import Choice, Lesson, Linear, Ways, class_shares
from promptctl.learners.training import Adam, cosine_rate, threads_for
from promptctl.progress import OnProgress

if TYPE_CHECKING:
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
    x, texts = torch.from_numpy(lesson.features), torch.from_numpy(lesson.zero_shot_features)
    begin = torch.eye(x.shape[1], dtype=x.dtype)
    return learned_from(x, lesson.targets, texts, begin, torch.zeros_like(begin[0]), lesson.logit_scale, settings)


def learned_from(
    x: torch.Tensor,
    targets: Targets,
    texts: torch.Tensor,
    begin: torch.Tensor,
    bias: torch.Tensor,
    logit_scale: float,
    settings: Settings,
    on_progress: OnProgress | None = None,
) -> torch.Tensor:
    """The projection P, (D, E).

    x         (N, D) features
    targets   (N,) class indices; a class may have none
    texts     (C, E) unit rows
    begin     (D, E) P0
    bias      (E,), which stays
    raises    LearningFailed where P is no number
    """
    y, weights = (torch.from_numpy(some).to(x.device) for some in (targets, class_shares(targets)))
    counts = np.bincount(targets)
    held = np.mean(1 / counts[counts > 0]) ** 2  # 1 / n^2, n the harmonic mean
    projection = begin.clone().requires_grad_()
    optimiser = Adam(projection, betas=(0.9, 0.999), epsilon=EPSILON)
    for epoch in range(settings.epochs):
        logits = logit_scale * F.normalize(x @ projection + bias, dim=-1) @ texts.T
        loss = (weights.to(x.dtype) * F.cross_entropy(logits, y, reduction="none")).sum()  # every class alike
        loss = loss + held * (projection - begin).square().sum()
        optimiser.step(cosine_rate(epoch, settings.epochs, settings.lr), loss)
        if on_progress:
            on_progress("learning", epoch + 1, settings.epochs)
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
    """The projection that the image tower ends in, or what a head of a square map is made of.

    raises   LearningFailed
    """
    own = Settings(
        Settings.epochs if settings.epochs is None else settings.epochs,
        Settings.lr if settings.lr is None else settings.lr,
        settings.seed,
    )
    if training_set.before is not None or training_set.projection is not None:
        return _of_tower(training_set, own, on_progress)
    return by_head(
        "prolip", training_set, ways(own), steps=own.epochs, epochs=own.epochs, lr=own.lr, seed=settings.seed
    )


def _of_tower(training_set: TrainingSet, own: Settings, on_progress: OnProgress | None) -> Learned:
    """A projection of the tower; one that the shots were seen with stays."""
    found, steps = training_set.projection, 0
    if training_set.before is not None:
        found, steps = _projection(training_set, own, on_progress), own.epochs
    learned = without_context(
        "prolip",
        training_set,
        training_set.zero_shot_features,
        steps=steps,
        epochs=steps,
        lr=own.lr,
        seed=own.seed,
    )
    return replace(learned, method=replace(learned.method, projection=True), projection=found)


def _projection(training_set: TrainingSet, own: Settings, on_progress: OnProgress | None) -> Vectors:
    """(D, E)"""
    before, backbone = training_set.before, training_set.backbone
    assert before is not None
    x, begin, bias, texts = (
        torch.from_numpy(some).to(backbone.device)
        for some in (before.features, before.projection.weight, before.projection.bias, training_set.zero_shot_features)
    )
    with threads_for(6.0 * x.shape[0] * begin.numel()):
        found = learned_from(x, training_set.targets, texts, begin, bias, backbone.logit_scale, own, on_progress)
    return np.asarray(found.cpu().numpy(), np.float32)


refit = refit_by_template


def effort(settings: LearnSettings, shots: int) -> float:
    return _EFFORT
