"""Auto: learns a context, and lets folds of the shots choose what answers beside it: a learner, or the mean of several.

The mean is that of every context's head (`head.py`), in which the context has no part: with it the mean was no better.
The candidates beside it are the context's text features, class-specific ones where there is time for them, CLAP alone,
ProLIP, GDA and ProKeR. Folds choose by the log-loss of what they leave out, after a temperature of each; the mean stays
unless another is right more often there and its log-loss is better by one and a half standard
errors. One or two shots per class have the mean: folds of so few choose by chance. Vectors are learned in folds in a
third of the steps, which at sixteen shots cost them a point of accuracy, and class-specific ones from eight shots per
class on, where ten steps of them take no longer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from promptctl.context.card import Card, ClassEntry, Method
from promptctl.learners import coop, gda, head, proker, prolip
from promptctl.learners.fitting import Learned, Targets, TrainingSet, Vectors
from promptctl.learners.parts import Choice, Lesson, Linear, Part, Ways, shots_per_class
from promptctl.progress import OnProgress, OnStep

if TYPE_CHECKING:
    from promptctl.clip.text_tower import TextTower
    from promptctl.learners.settings import LearnSettings

RECIPES = ("fast",)
_OF_ITSELF, _LAMBDAS = (0.1, 1.0), (0.5, 1.0, 2.0)  # of what GDA and ProKeR choose among, those that were ever best
_OF_TEXT, _OF_OTHERS = ("coop", "coop-csc"), ("zero-shot", "parent")
_FOLD, _LEAST_OF_FOLD = 3, 20  # times fewer steps, where vectors are learned only to be measured, but so many at least
_FEWEST_BY_CLASS = 8  # shots per class that class-specific vectors need
_LEAST_STEPS = 10  # that say anything of them
_REFIT_EFFORT = 2.2


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
    own = _settings_of(learned.method)
    if training_set.start:  # folds begin anew: its vectors have seen what they leave out
        own = replace(own, epochs=coop.fast_epochs(training_set.shots_per_class), lr=coop.Settings.lr)
    texts = _Texts(own, training_set.names, training_set.backbone.tower)
    per_class = shots_per_class(np.unique(training_set.targets, return_inverse=True)[1])
    ways = texts.ways(learned.text_features, per_class, _Steps.of_folds(on_progress, training_set.targets))
    return replace(learned, method=replace(learned.method, learner="auto"), ways=ways)


refit = coop.refit  # of the context alone


def effort(settings: LearnSettings, shots: int) -> float:
    return _REFIT_EFFORT * coop.effort(settings, shots)


def closed_forms(own: prolip.Settings | None = None) -> Ways:
    """What needs no text tower."""
    of_prolip = prolip.ways(own or prolip.Settings())
    parts: dict[str, Part] = {**head.PARTS, **gda.PARTS, **proker.PARTS, **of_prolip.parts}
    choices = (
        Choice("clap", {"clap": 1.0}),
        *(gda.CHOICES[a] for a in _OF_ITSELF),
        *(proker.CHOICES[strength] for strength in _LAMBDAS),
        *of_prolip.choices,
    )
    return Ways(parts, choices)


def as_before(card: Card, tower: Callable[[], TextTower], features: Vectors, targets: Targets) -> Ways | None:
    """What the head of a context is made of, as much of each part as it has, for some of its shots.

    What vectors say is learned from these once more, in as few steps as in folds. None where the head is zero-shot, or
    has the parts of every context's, of which so few shots may ask for another amount.

    features, targets   (N, E) unit rows, and (N,) index into the card's classes
    """
    kinds = {part.kind: part.share for part in card.head if part.kind not in _OF_OTHERS}
    learned = 1 - sum(part.share for part in card.head if part.kind in _OF_OTHERS)
    of_every = head.MEAN.of(targets, len(np.unique(targets)) == len(card.classes))
    if not kinds or learned <= 0 or kinds.keys() == of_every.keys():
        return None
    method = card.method
    of_prolip = method.learner == "prolip" and prolip.Settings(method.epochs, method.lr, method.seed)
    parts = dict(closed_forms(of_prolip or None).parts)
    for kind in kinds.keys() & set(_OF_TEXT):
        classes, y = np.unique(targets, return_inverse=True)
        own = _settings_of(method)
        if own.epochs:  # not those few that went on from a version before
            own = replace(own, epochs=max(own.epochs, coop.fast_epochs(len(y) / len(classes))))
        texts = _Texts(own, card.classes, tower())
        rows = np.zeros((len(card.classes), features.shape[1]), np.float32)
        rows[classes] = texts.briefly(kind, features, y, classes, card.logit_scale)
        parts[kind] = partial(_rows_of, rows)
    return Ways(parts, (Choice(card.method.learner, {kind: share / learned for kind, share in kinds.items()}),))


def _rows_of(texts: Vectors, lesson: Lesson) -> Linear:
    """(C, E) text features, of which those of the lesson's classes."""
    return Linear.of(lesson.logit_scale * texts[lesson.classes].astype(np.float64))


def _settings_of(method: Method) -> coop.Settings:
    return coop.Settings(
        method.context_tokens,
        method.init,
        position=method.position,
        epochs=method.epochs,
        lr=method.lr,
        seed=method.seed,
    )


@dataclass
class _Steps:
    """How many of the steps in folds are taken, for whoever waits."""

    on_progress: OnProgress | None
    folds: int
    total: int = 0
    done: int = 0

    @staticmethod
    def of_folds(on_progress: OnProgress | None, targets: Targets) -> _Steps:
        return _Steps(on_progress, min(head.FOLDS, int(np.bincount(targets).max())))

    def one(self, *_: int) -> None:
        self.done += 1
        if self.on_progress:
            self.on_progress("choosing", min(self.done, self.total), self.total)


@dataclass(frozen=True, eq=False)
class _Texts:
    """Text features of vectors, shared or of each class, as parts of a head."""

    own: coop.Settings  # of the context
    names: Sequence[str | ClassEntry]  # C
    tower: TextTower

    def ways(self, texts: Vectors, shots: float, steps: _Steps) -> Ways:
        """What a head beside a context may be made of; class-specific vectors where folds can tell how good they are.

        texts   (C, E) unit rows, what the context says
        shots   per class
        """
        others = closed_forms()
        parts: dict[str, Part] = {"coop": self._part("coop", steps, texts), **others.parts}
        choices = (head.MEAN, Choice("coop", {"coop": 1.0}), *others.choices)
        some = ["coop"]
        if shots >= _FEWEST_BY_CLASS and self._steps("coop-csc") >= _LEAST_STEPS:
            parts["coop-csc"] = self._part("coop-csc", steps, None)
            choices = (*choices, Choice("coop-csc", {"coop-csc": 1.0}))
            some.append("coop-csc")
        steps.total = steps.folds * sum(map(self._steps, some))
        return Ways(parts, choices, prefers=head.MEAN.name)

    def _part(self, kind: str, steps: _Steps, texts: Vectors | None) -> Part:
        """texts   (C, E) of all shots; None: they are learned where they are asked for"""

        def fitted(lesson: Lesson) -> Linear:
            shots = lesson.features, lesson.targets, lesson.classes, lesson.logit_scale
            if lesson.is_fold:
                rows = self.briefly(kind, *shots, steps.one)
            else:
                rows = self._learned(self._whole(kind, lesson), *shots) if texts is None else texts[lesson.classes]
            return Linear.of(lesson.logit_scale * rows.astype(np.float64))

        return fitted

    def briefly(
        self,
        kind: str,
        features: Vectors,
        targets: Targets,
        classes: Targets,
        logit_scale: float,
        on_step: OnStep | None = None,
    ) -> Vectors:
        """(C', E) unit rows, learned in few steps.

        features, targets   (N, E) unit rows, and (N,) index into classes
        classes             (C',) which of all classes these are
        """
        few = replace(self._of(kind), epochs=self._steps(kind))
        return self._learned(few, features, targets, classes, logit_scale, on_step)

    def _whole(self, kind: str, lesson: Lesson) -> coop.Settings:
        """As `learn` would learn it by itself."""
        per_class = len(lesson.targets) / len(lesson.classes)
        return replace(self._of(kind), epochs=coop.fast_epochs(per_class, class_specific=kind == "coop-csc"))

    def _of(self, kind: str) -> coop.Settings:
        return replace(self.own, class_specific=kind == "coop-csc")

    def _steps(self, kind: str) -> int:
        """In a fold; class-specific vectors may take as long as shared ones."""
        few = max(-(-self.own.epochs // _FOLD), min(self.own.epochs, _LEAST_OF_FOLD))
        if kind == "coop":
            return few
        shared, own = (
            self.tower.operations(
                self.tower.prompts(self.names, self.own.context_tokens, position=self.own.position, shared=is_shared)
            )
            for is_shared in (True, False)
        )
        return int(few * shared / own)

    def _learned(
        self,
        own: coop.Settings,
        features: Vectors,
        targets: Targets,
        classes: Targets,
        logit_scale: float,
        on_step: OnStep | None = None,
    ) -> Vectors:
        shots = features, targets, [self.names[c] for c in classes], self.tower
        return coop.learn(*shots, logit_scale=logit_scale, settings=own, on_step=on_step).text_features
