"""CLAP: Silva-Rodriguez et al., "A Closer Look at the Few-Shot Adaptation of Large Vision-Language Models", CVPR 2024.

A linear classifier of unit weights that starts at the zero-shot text features and is held to them, each class as
strongly as zero-shot is right about it: L = CE(s f norm(w)) + mean_c a_c |w_c - z_c|^2, where a_c is the mean zero-shot
probability of the true class over the views of the images of class c. Its weights belong to their class list; there is
no context. The original starts at text features as they leave the tower, and so their length, which differs from
backbone to backbone, decides how hard z holds w. Ours are rows of length s / 20, at least 1: a step turns w by s over
the square of its length, and distances from z count by that square. So one rate and one penalty do for features far
from one another, whose logit scale s is small, and for CLIP's own, which lie close together and have s = 100
(docs/benchmarks.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from promptctl.context.card import ClassEntry, CurvePoint, Method
from promptctl.errors import LearningFailed
from promptctl.learners.fitting import Learned, Targets, TrainingSet, Vectors, without_context
from promptctl.learners.training import Batches, Curve, Sgd, Views, warm_cosine_rate
from promptctl.progress import OnProgress, OnStep

if TYPE_CHECKING:
    from promptctl.clip.text_tower import TextTower
    from promptctl.learners.settings import LearnSettings

BATCH = 256
MOMENTUM = 0.9
SCALE_OF_UNIT_ROWS = 20.0  # the logit scale up to which w starts as unit rows
_EFFORT = 10.0


@dataclass(frozen=True)
class Settings:
    """The paper's, which needs no validation set; the paper shows twenty random views of every image."""

    epochs: int = 300
    lr: float = 0.1
    seed: int = 1


@dataclass(frozen=True)
class Solution:
    """Where a run ended."""

    text_features: NDArray[np.float32]  # (C, E) unit rows, one weight per class
    steps: int
    curve: tuple[CurvePoint, ...] = ()


def fit(training_set: TrainingSet, settings: LearnSettings, on_progress: OnProgress | None = None) -> Learned:
    """Class weights from the shots.

    raises   LearningFailed, NoImages
    """
    own = Settings(
        epochs=Settings.epochs if settings.epochs is None else settings.epochs,
        lr=Settings.lr if settings.lr is None else settings.lr,
        seed=settings.seed,
    )
    views = min(settings.views or 0, own.epochs) if training_set.has_photos else 0
    found = learn(
        training_set.seen(views, on_progress),
        training_set.targets,
        training_set.zero_shot_features,
        logit_scale=training_set.backbone.logit_scale,
        settings=own,
        balanced=True,
        on_step=partial(on_progress, "learning") if on_progress else None,
    )
    facts = dataclasses.asdict(own)
    learned = without_context("clap", training_set, found.text_features, steps=found.steps, views=views, **facts)
    return dataclasses.replace(learned, curve=found.curve)


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
    """(C, E) unit rows: the class weights learned from (N, E) unit rows by a method."""
    own = Settings(method.epochs, method.lr, method.seed)
    shots = features, targets, zero_shot_features
    return learn(*shots, logit_scale=logit_scale, settings=own, balanced=True).text_features


def effort(settings: LearnSettings, shots: int) -> float:
    return _EFFORT


def learn(
    features: NDArray[np.float32],
    targets: NDArray[np.int64],
    prototypes: NDArray[np.float32],
    *,
    logit_scale: float,
    settings: Settings,
    balanced: bool = False,
    on_step: OnStep | None = None,
) -> Solution:
    """Learn class weights from arrays.

    features     (N, E) or (N, V, E) unit rows, V views of every image, one of them an epoch
    targets      (N,) index into prototypes
    prototypes   (C, E) zero-shot text features, unit rows, of which w starts at s / 20; longer ones hold harder
    balanced     weigh images by 1 / (C n_c), so that every class counts alike however many it has
    raises       LearningFailed
    """
    rng = torch.Generator().manual_seed(settings.seed)
    images = Views(features, torch.device("cpu"), rng)
    true = torch.from_numpy(targets)  # (N,)
    start = torch.from_numpy(prototypes) * max(1.0, logit_scale / SCALE_OF_UNIT_ROWS)
    penalty = constraint(images.every, true.repeat_interleave(len(images.every) // len(images)), start, logit_scale)
    share = class_weights(true, len(start)) if balanced else None
    weights = start.clone().requires_grad_()
    optimiser = Sgd(weights, momentum=MOMENTUM)
    batches = Batches(len(images), BATCH, start.device, rng)
    curve = Curve(settings.epochs)
    step = 0

    def loss_of(seen: torch.Tensor, of_batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and (B, C) logits."""
        logits = logit_scale * seen @ F.normalize(weights, dim=-1).T
        distance = (weights - start).square().sum(-1)  # (C,)
        return F.cross_entropy(logits, of_batch, share) + (penalty * distance).mean(), logits

    for epoch in range(settings.epochs):
        rate = warm_cosine_rate(epoch, settings.epochs, settings.lr)
        seen = images.of_epoch(epoch)
        for batch in batches.epoch():
            loss, logits = loss_of(seen[batch], true[batch])
            curve.add(epoch, step, loss, logits, true[batch])
            optimiser.step(rate, loss)
            step += 1
            if on_step:
                on_step(step, settings.epochs * len(batches))
    found: NDArray[np.float32] = F.normalize(weights.detach(), dim=-1).numpy()
    if not np.isfinite(found).all():
        raise LearningFailed(step, settings.lr)
    with torch.no_grad():
        if step:
            curve.end(step, *loss_of(seen, true), true)
    return Solution(found, step, curve.points())


def class_weights(targets: torch.Tensor, n_classes: int) -> torch.Tensor | None:
    """(C,) one over the number of images; None where that is the same for all, so that nothing changes, to the bit.

    targets   (N,) class index
    """
    count = torch.bincount(targets, minlength=n_classes)
    return None if bool((count == count[0]).all()) else 1 / count.clamp(min=1)


def constraint(
    images: torch.Tensor, targets: torch.Tensor, prototypes: torch.Tensor, logit_scale: float
) -> torch.Tensor:
    """(C,) mean zero-shot probability of the true class over its images; 0 for a class without any.

    images       (N, E) unit rows
    prototypes   (C, E)
    """
    probability = (logit_scale * images @ F.normalize(prototypes, dim=-1).T).softmax(-1)
    true = probability.gather(1, targets[:, None]).squeeze(1)  # (N,)
    total = true.new_zeros(len(prototypes)).index_add(0, targets, true)
    count = true.new_zeros(len(prototypes)).index_add(0, targets, torch.ones_like(true))
    return total / count.clamp(min=1)
