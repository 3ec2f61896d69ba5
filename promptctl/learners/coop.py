"""CoOp: Zhou et al., "Learning to Prompt for Vision-Language Models", IJCV 2022, on frozen image features.

The paper's recipe: SGD, momentum 0.9, weight decay 5e-4, batches of 32 with the last partial one dropped, one
epoch at 1e-5 and then a cosine over the epochs that never quite reaches zero, plain cross-entropy over cosine
similarities times the backbone's frozen scale, the last step kept. Unlike the reference code the context is
kept in float32 throughout, and images are their centre crops without augmentation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from promptctl.errors import LearningFailed
from promptctl.text import TextTower

BATCH = 32
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
WARM_UP_LR = 1e-5
INIT_STD = 0.02
_MOST_SHOTS = 16

OnStep = Callable[[int, int], None]  # done, total


@dataclass(frozen=True)
class Settings:
    """What decides a CoOp run beside its data."""

    context_tokens: int = 16  # M
    init: str | None = None  # words to start from; None: normal, standard deviation 0.02
    class_specific: bool = False
    position: str = "end"
    epochs: int = 100
    lr: float = 0.002
    seed: int = 1


@dataclass(frozen=True)
class Learned:
    """The result of a run."""

    vectors: NDArray[np.float32]  # (M, W) or (C, M, W)
    text_features: NDArray[np.float32]  # (C, E) unit rows
    steps: int


def paper_epochs(images: int, classes: int) -> int:
    """50 epochs at 1 shot, 100 up to 4, 200 above (CoOp's scripts); beyond 16 shots as many steps as 16 take."""
    shots = images / classes
    if shots <= 1:
        return 50
    if shots <= 4:
        return 100
    return max(1, round(200 * min(1.0, _MOST_SHOTS / shots)))


def learning_rate(epoch: int, *, epochs: int, lr: float) -> float:
    """The rate of one epoch, counted from 0: 1e-5 first, then lr/2 (1 + cos(pi (epoch - 1) / epochs)) …

    … with the cosine counted from 0 again after the warm-up epoch, as Dassl's WARMUP_RECOUNT does.
    """
    return WARM_UP_LR if epoch == 0 else lr / 2 * (1 + math.cos(math.pi * (epoch - 1) / epochs))


def initial_context(tower: TextTower, n_classes: int, settings: Settings) -> torch.Tensor:
    """(M, W), or (C, M, W) when class-specific: the words of `init`, or noise from the seed."""
    classes = (n_classes,) if settings.class_specific else ()
    if settings.init is not None:
        words = tower.embed(settings.init).float()
        return words.expand(*classes, *words.shape).clone()
    generator = torch.Generator().manual_seed(settings.seed)
    noise = torch.randn(*classes, settings.context_tokens, tower.width, generator=generator)
    return (noise * INIT_STD).to(tower.token_table.device)


def learn(
    features: NDArray[np.float32],
    targets: NDArray[np.int64],
    names: Sequence[str],
    tower: TextTower,
    *,
    logit_scale: float,
    settings: Settings,
    on_step: OnStep | None = None,
) -> Learned:
    """Learn a context.

    features      (N, E) unit rows
    targets       (N,) index into names
    names         C readable class names
    logit_scale   the backbone's own, already exponentiated
    raises        NameTooLong, LearningFailed
    """
    prompts = tower.prompts(
        names, settings.context_tokens, position=settings.position, shared=not settings.class_specific
    )
    device = tower.token_table.device
    images = torch.from_numpy(features).to(device)
    wanted = torch.from_numpy(targets).to(device)
    context = initial_context(tower, len(names), settings).requires_grad_()
    optimiser = torch.optim.SGD([context], lr=settings.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    batches = _Batches(len(images), settings.seed)
    step = 0
    for epoch in range(settings.epochs):
        optimiser.param_groups[0]["lr"] = learning_rate(epoch, epochs=settings.epochs, lr=settings.lr)
        for batch in batches.epoch():
            texts = F.normalize(tower.encode(context, prompts), dim=-1)  # (C, E)
            logits = logit_scale * images[batch] @ texts.T  # (B, C)
            loss = F.cross_entropy(logits, wanted[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
            if on_step:
                on_step(step, settings.epochs * len(batches))
        if not torch.isfinite(loss):
            raise LearningFailed(step, settings.lr)
    with torch.no_grad():
        texts = F.normalize(tower.encode(context, prompts), dim=-1)
    if not torch.isfinite(texts).all():
        raise LearningFailed(step, settings.lr)
    return Learned(context.detach().cpu().numpy(), texts.cpu().numpy(), step)


class _Batches:
    """Random batches of 32, the last partial one dropped; fewer than 32 images are one batch."""

    def __init__(self, n_images: int, seed: int) -> None:
        self.n_images = n_images
        self.size = min(BATCH, n_images)
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self.n_images // self.size

    def epoch(self) -> list[torch.Tensor]:
        order = torch.randperm(self.n_images, generator=self.generator)
        return [*order[: len(self) * self.size].split(self.size)]
