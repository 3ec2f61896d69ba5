"""GDA: Wang et al., "A Hard-to-Beat Baseline for Training-Free CLIP-Based Adaptation", ICLR 2024.

Gaussians of one covariance, one for each class, make a linear classifier in closed form, added to zero-shot:

    s f . z_c  +  a (f . P mu_c  -  mu_c . P mu_c / 2)      mu_c: class mean of the shots
    P = d ((n - 1) S + tr(S) I)^-1                          S: their pooled covariance around the means, n shots, d wide

P is the shrunk inverse of Kubokawa and Srivastava (2008), which exists however few shots there are. The paper searches
a on validation images, from 10^-4 to 100; here folds of the shots do. It stays 1 unless three folds or more find
another better: right more often, and its log-loss less by more than chance.

The head of every context has the same with a = tr(S) as a part (`head.py`). Near copies have next to no covariance, and
its inverse would drown the other parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from promptctl.learners.fitting import Learned, TrainingSet, by_head, refit_by_template
from promptctl.learners.parts import TEMPLATE, Choice, Lesson, Linear, Ways, template
from promptctl.progress import OnProgress

if TYPE_CHECKING:
    from promptctl.learners.settings import LearnSettings

WEIGHTS = (1.0, 0.0001, 0.001, 0.01, 0.1, 10.0, 100.0)  # a; the first is preferred
_EFFORT = 5.0


@dataclass(frozen=True)
class Settings:
    """It has none of its own."""

    seed: int = 1


def gaussians(lesson: Lesson) -> Linear:
    """The second term, for a = 1."""
    spread, found = _by_spread(lesson)
    # shots that are their own means, or copies of one another, say nothing about how far a class reaches
    return found.times(1 / (spread if spread > _NO_SPREAD else lesson.features.shape[1]))


def relative_gaussians(lesson: Lesson) -> Linear:
    """The same times tr(S), or nothing where there is no spread: of one size, however near to one another shots are."""
    spread, found = _by_spread(lesson)
    return found.times(float(spread > _NO_SPREAD))


def _by_spread(lesson: Lesson) -> tuple[float, Linear]:
    """tr(S), and the second term with a = tr(S)."""
    x, y = lesson.features.astype(np.float64), lesson.targets
    indicators = np.eye(y.max() + 1)[y]
    means = (indicators / indicators.sum(0)).T @ x  # (C, E)
    centred = x - means[y]
    n, width = x.shape
    spread = float((centred**2).sum()) / max(n - 1, 1)
    relative = centred.T @ centred / max(spread, _NO_SPREAD)  # (n - 1) S / tr(S)
    rows = width * np.linalg.solve(relative + np.eye(width), means.T).T
    return spread, Linear(rows, -0.5 * (rows * means).sum(1))


_NO_SPREAD = 1e-9
PARTS = {TEMPLATE: template, "gda": gaussians}
CHOICES = {a: Choice(f"gda({a:g})", {TEMPLATE: 1.0, "gda": a}) for a in WEIGHTS}
WAYS = Ways(PARTS, tuple(CHOICES.values()), prefers=CHOICES[1.0].name)


def fit(training_set: TrainingSet, settings: LearnSettings, on_progress: OnProgress | None = None) -> Learned:
    """What a head of these Gaussians is made of."""
    return by_head("gda", training_set, WAYS, epochs=0, lr=0.0, seed=settings.seed)


refit = refit_by_template


def effort(settings: LearnSettings, shots: int) -> float:
    return _EFFORT
