"""CLAP: Silva-Rodriguez et al., "A Closer Look at the Few-Shot Adaptation of Large Vision-Language Models", CVPR 2024.

A linear classifier of unit weights that starts at the zero-shot text features and is held to them, each class as
strongly as zero-shot is right about it: L = CE(s f norm(w)) + mean_c a_c |w_c - z_c|^2, where a_c is the mean zero-shot
probability of the true class over the views of the images of class c. Its weights belong to their class list; there is
no context. The original starts at text features as they leave the tower, and so their length, which differs from
backbone to backbone, decides how hard z holds w; ours are unit rows (docs/benchmarks.md shows both).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from promptctl.errors import LearningFailed
from promptctl.learners.training import Batches, OnStep, Views, warm_cosine_rate

BATCH = 256
MOMENTUM = 0.9


@dataclass(frozen=True)
class Settings:
    """The paper's, which needs no validation set; the paper shows twenty random views of every image."""

    epochs: int = 300
    lr: float = 0.1
    seed: int = 1


@dataclass(frozen=True)
class Learned:
    """The result of a run."""

    text_features: NDArray[np.float32]  # (C, E) unit rows, one weight a class
    steps: int


def learn(
    features: NDArray[np.float32],
    targets: NDArray[np.int64],
    prototypes: NDArray[np.float32],
    *,
    logit_scale: float,
    settings: Settings,
    on_step: OnStep | None = None,
) -> Learned:
    """Learn class weights.

    features     (N, E) or (N, V, E) unit rows, V views of every image, one of them an epoch
    targets      (N,) index into prototypes
    prototypes   (C, E) zero-shot text features, unit rows; longer ones hold harder
    raises       LearningFailed
    """
    chance = torch.Generator().manual_seed(settings.seed)
    images = Views(features, torch.device("cpu"), chance)
    wanted = torch.from_numpy(targets)
    start = torch.from_numpy(prototypes)
    held = constraint(images.every, wanted.repeat_interleave(len(images.every) // len(images)), start, logit_scale)
    weights = start.clone().requires_grad_()
    optimiser = torch.optim.SGD([weights], momentum=MOMENTUM)
    batches = Batches(len(images), BATCH, start.device, chance)
    step = 0
    for epoch in range(settings.epochs):
        optimiser.param_groups[0]["lr"] = warm_cosine_rate(epoch, settings.epochs, settings.lr)
        seen = images.of_epoch(epoch)
        for batch in batches.epoch():
            logits = logit_scale * seen[batch] @ F.normalize(weights, dim=-1).T  # (B, C)
            apart = (weights - start).square().sum(-1)  # (C,)
            loss = F.cross_entropy(logits, wanted[batch]) + (held * apart).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
            if on_step:
                on_step(step, settings.epochs * len(batches))
    found: NDArray[np.float32] = F.normalize(weights.detach(), dim=-1).numpy()
    if not np.isfinite(found).all():
        raise LearningFailed(step, settings.lr)
    return Learned(found, step)


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
