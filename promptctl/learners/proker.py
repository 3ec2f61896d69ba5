"""ProKeR: Bendou et al., "A Kernel Perspective on Few-Shot Adaptation of Large Vision-Language Models", CVPR 2025.

Kernel ridge regression of what zero-shot leaves unsaid about the shots, held to zero-shot by its norm:

    f . z_c  +  k(f, S) (K / l + I)^-1 (Y - S Z^T)      S: (N, E) shots, Y: (N, C) their classes as 0 and 1, K = k(S, S)

The kernel here is k(f, g) = f . g, for which the answer is linear in f. The paper's, exp(-b (1 - f . g)), was at most
as good for every b and l in the mean of three sets (docs/benchmarks.md), and its answer would have to carry the shots.
The paper searches l on validation images; here folds of the shots do, as in `gda.py`. Logits are
what it says times 20, since its ones and zeros are no logits; no answer depends on that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from promptctl.learners.fitting import Learned, TrainingSet, by_head, refit_by_template
from promptctl.learners.parts import Choice, Lesson, Linear, Ways, class_shares
from promptctl.progress import OnProgress

if TYPE_CHECKING:
    from promptctl.learners.settings import LearnSettings

LAMBDAS = (1.0, 0.3, 0.5, 2.0, 3.0)  # l; the first is preferred
LOGITS = 20.0
_EFFORT = 5.0


@dataclass(frozen=True)
class Settings:
    """It has none of its own."""

    seed: int = 1


def residual_ridge(lesson: Lesson, ridge: float = 1.0) -> Linear:
    """The equation above; every class weighs alike, however many shots it has.

    ridge   l
    """
    x, texts = lesson.features.astype(np.float64), lesson.zero_shot_features.astype(np.float64)
    residual = np.eye(len(texts))[lesson.targets] - x @ texts.T  # (N, C)
    weights = class_shares(lesson.targets) * len(x)  # (N,)
    if len(x) < x.shape[1]:
        dual = np.linalg.solve(x @ x.T / ridge + np.diag(1 / weights), residual)  # (N, C)
        rows = dual.T @ x
    else:  # the same from the smaller of the two systems
        weighted = x.T * weights  # (E, N)
        rows = np.linalg.solve(weighted @ x / ridge + np.eye(x.shape[1]), weighted @ residual).T
    return Linear.of(LOGITS * (texts + rows))


PARTS = {f"proker({ridge:g})": partial(residual_ridge, ridge=ridge) for ridge in LAMBDAS}
CHOICES = {ridge: Choice(f"proker({ridge:g})", {f"proker({ridge:g})": 1.0}) for ridge in LAMBDAS}
WAYS = Ways(PARTS, tuple(CHOICES.values()), prefers=CHOICES[1.0].name)


def fit(training_set: TrainingSet, settings: LearnSettings, on_progress: OnProgress | None = None) -> Learned:
    """What a head of this regression is made of."""
    return by_head("proker", training_set, WAYS, epochs=0, lr=0.0, seed=settings.seed)


refit = refit_by_template


def effort(settings: LearnSettings, shots: int) -> float:
    return _EFFORT
