"""Auto: learns a context, and lets folds of the shots choose what answers beside it: a learner, or the mean of several.

The mean is a sum of logits, its weights chosen on left-over training photos of three sets (docs/benchmarks.md):

    the context's own  +  CLAP's  +  g ridge's (head.py)  +  5 ProKeR's  +  (n / 16)^3 GDA's      n: shots per class

The candidates beside it are the context's text features, class-specific ones where there is time for them, CLAP alone
and with the regression, as contexts have it for their head, ProLIP, GDA and ProKeR. Folds choose by the log-loss of
what they leave out, after a temperature of each; the mean stays unless another is better by one and a half standard
errors. One or two shots per class have the mean: folds of so few choose by chance. Vectors are learned in folds with a
fifth of the steps, so that all of them together take as long as the context itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from promptctl.context.card import ClassEntry, Method
from promptctl.learners import coop, gda, head, proker, prolip
from promptctl.learners.fitting import Learned, Targets, TrainingSet, Vectors
from promptctl.learners.parts import Choice, Lesson, Linear, Part, Ways, Weights
from promptctl.progress import OnProgress

if TYPE_CHECKING:
    from promptctl.clip.text_tower import TextTower
    from promptctl.learners.settings import LearnSettings

RECIPES = ("fast",)
MEAN = "mean"
OF_PROKER = 5.0  # in the mean
_OF_ITSELF, _LAMBDAS = (0.1, 1.0), (0.5, 1.0, 2.0)  # of what GDA and ProKeR choose among, those that were ever best
_FOLD = 5  # times fewer steps and as large a rate, where vectors are learned only to be measured
_MOST_RATE = 0.01
_LEAST_STEPS = 10  # that say anything of class-specific vectors
_REFIT_EFFORT = 2.5


@dataclass(frozen=True)
class Settings:
    """Those of the context, which is CoOp's."""

    context_tokens: int = 16
    init: str | None = None
    position: str = "end"
    epochs: int = 100
    lr: float = 0.002
    seed: int = 1


def fit(training_set: TrainingSet, settings: LearnSettings, on_progress: OnProgress | None = None) -> Learned:
    """A context from the shots, and what the head beside it may be made of.

    raises   NameTooLong, LearningFailed
    """
    learned = coop.fit(training_set, replace(settings, learner="coop"), on_progress)
    texts = _Texts(training_set, learned, on_progress)
    return replace(learned, method=replace(learned.method, learner="auto"), ways=texts.ways())


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
    """As coop's, for the context alone."""
    known = {"classes": classes, "zero_shot_features": zero_shot_features, "tower": tower}
    return coop.refit(method, features, targets, logit_scale=logit_scale, **known)  # type: ignore[arg-type]


def effort(settings: LearnSettings, shots: int) -> float:
    return _REFIT_EFFORT * coop.effort(settings, shots)


def mean(targets: Targets) -> Weights:
    """How much of each part the mean has, for (N,) targets."""
    of_gda = (head.shots_per_class(targets) / head.MOST_MEASURED) ** 3
    return {"coop": 1.0, **head.CLAP_AND_RIDGE.of(targets), "proker(1)": OF_PROKER, "gda": of_gda}


def closed_forms(own: prolip.Settings | None = None) -> Ways:
    """What needs no text tower."""
    of_prolip = prolip.ways(own or prolip.Settings())
    parts: dict[str, Part] = {**head.PARTS, **gda.PARTS, **proker.PARTS, **of_prolip.parts}
    choices = (
        head.CLAP_AND_RIDGE,
        Choice("clap", {"clap": 1.0}),
        *(gda.CHOICES[a] for a in _OF_ITSELF),
        *(proker.CHOICES[ridge] for ridge in _LAMBDAS),
        *of_prolip.choices,
    )
    return Ways(parts, choices)


@dataclass(frozen=True, eq=False)
class _Texts:
    """Text features of vectors as parts of a head."""

    training_set: TrainingSet
    learned: Learned
    on_progress: OnProgress | None

    def ways(self) -> Ways:
        others = closed_forms()
        parts: dict[str, Part] = {"coop": self.shared, **others.parts}
        choices = (Choice(MEAN, mean), Choice("coop", {"coop": 1.0}), *others.choices)
        if self.steps_by_class() >= _LEAST_STEPS:
            parts["coop-csc"] = self.by_class
            choices = (*choices, Choice("coop-csc", {"coop-csc": 1.0}))
        return Ways(parts, choices, prefers=MEAN)

    def shared(self, lesson: Lesson) -> Linear:
        """The context's text features; in a fold those of one that is learned from it in fewer steps."""
        texts = self._learned(lesson, self._own(lesson)) if lesson.is_fold else self.learned.text_features
        rows = texts if lesson.is_fold else texts[lesson.classes]
        return Linear.of(lesson.logit_scale * rows.astype(np.float64))

    def by_class(self, lesson: Lesson) -> Linear:
        """The same of vectors of each class."""
        own = replace(self._own(lesson), class_specific=True)
        own = replace(own, epochs=self.steps_by_class()) if lesson.is_fold else own
        return Linear.of(lesson.logit_scale * self._learned(lesson, own).astype(np.float64))

    def steps_by_class(self) -> int:
        """So many steps of class-specific vectors cost what a fold may of shared ones."""
        method, tower, names = self.learned.method, self.training_set.backbone.tower, self.training_set.names
        shared, own = (
            tower.operations(tower.prompts(names, method.context_tokens, position=method.position, shared=is_shared))
            for is_shared in (True, False)
        )
        return int(self._own_steps() * shared / own)

    def _own_steps(self) -> int:
        return -(-self.learned.method.epochs // _FOLD)

    def _own(self, lesson: Lesson) -> coop.Settings:
        method = self.learned.method
        own = coop.Settings(method.context_tokens, method.init, False, method.position, "fast", seed=method.seed)
        if not lesson.is_fold:
            return replace(own, epochs=coop.fast_epochs(len(lesson.targets) / len(lesson.classes)), lr=method.lr)
        return replace(own, epochs=self._own_steps(), lr=min(_MOST_RATE, _FOLD * method.lr))

    def _learned(self, lesson: Lesson, own: coop.Settings) -> Vectors:
        """(C, E) unit rows."""
        names = [self.training_set.names[c] for c in lesson.classes]
        shots = lesson.features, lesson.targets, names, self.training_set.backbone.tower
        on_step = partial(self.on_progress, "choosing") if self.on_progress else None
        return coop.learn(*shots, logit_scale=lesson.logit_scale, settings=own, on_step=on_step).text_features
