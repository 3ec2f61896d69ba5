"""Fitting: shots and settings → what was learned, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from promptctl.context.card import ClassEntry, CurvePoint, Method
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.pipeline import Features, encode_views
from promptctl.learners import LEARNERS
from promptctl.progress import OnProgress

if TYPE_CHECKING:
    from promptctl.clip.backbone import Backbone
    from promptctl.clip.projection import Projection
    from promptctl.clip.quick import QuickBackbone
    from promptctl.clip.text_tower import TextTower
    from promptctl.learners.parts import Ways
    from promptctl.learners.settings import LearnSettings

Vectors = NDArray[np.float32]
Targets = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Start:
    """Where a run begins that goes on from another: what continual learning calls a warm start."""

    vectors: Vectors  # (M, W), or (C, M, W) class-specific
    frozen: NDArray[np.bool_] | None = None  # (C,) classes whose vectors stay as they are; None: all are learned
    text_features: Vectors | None = None  # (C, E) unit rows, of which those of the frozen classes are used


@dataclass(frozen=True, eq=False)
class Before:
    """Shots before the projection that the image tower ends in."""

    features: Vectors  # (N, D), as long as the tower gives them
    projection: Projection


@dataclass(frozen=True)
class TrainingSet:
    """The shots of some classes, as a backbone sees them."""

    names: Sequence[str | ClassEntry]  # C
    shots: Features  # N; without paths, of photos that are not at hand
    targets: Targets  # (N,) index into names
    zero_shot_features: Vectors  # (C, E) unit rows
    backbone: Backbone | QuickBackbone
    start: Start | None = None  # of a learner that can go on from what it learned before
    visual_tokens: Vectors | None = None  # (D, T, Wv) that the shots were seen with, which stay as they are
    projection: Vectors | None = None  # (D, E) that the shots were seen with, which stays as it is
    before: Before | None = None  # the shots, where a projection is to be learned
    on_line: Callable[[str], None] | None = None  # what a person is told of a long run, once it is known

    @property
    def has_photos(self) -> bool:
        """Whether crops can be taken."""
        return len(self.shots.paths) == len(self.targets)

    @property
    def shots_per_class(self) -> float:
        """In the mean."""
        return len(self.targets) / len(self.names)

    def seen(self, views: int, on_progress: OnProgress | None = None) -> Vectors:
        """Unit rows to learn from: (N, V, E) of random crops, or (N, E) of the centres where there are to be none."""
        if not views:
            return self.shots.vectors
        cropping = partial(on_progress, "encoding crops") if on_progress else None
        with FeatureCache() as cache:
            return encode_views(self.shots, views, self.backbone.encoder, cache, cropping)


@dataclass(frozen=True)
class Learned:
    """What a learner made of its shots, and how."""

    method: Method
    vectors: Vectors  # (M, W), (C, M, W), or (0, W) where there is no context
    text_features: Vectors  # (C, E) unit rows
    curve: tuple[CurvePoint, ...] = ()  # how learning went; empty where it is not told
    ways: Ways | None = None  # what the head that answers may be made of; None: the learner does not say
    visual_tokens: Vectors | None = None  # (D, T, Wv) of the image tower, which sees the shots anew with them
    projection: Vectors | None = None  # (D, E) that the image tower ends in, which sees the shots anew with it
    unfinished: Path | None = None  # what an interrupted run would go on from, of no use once this is stored


def fit(training_set: TrainingSet, settings: LearnSettings, on_progress: OnProgress | None = None) -> Learned:
    """What the learner that the settings name makes of the shots.

    raises   NameTooLong, LearningFailed, and NoImages where a photo has changed since it was read
    """
    return LEARNERS[settings.learner].code.fit(training_set, settings, on_progress)


def without_context(
    learner: str, training_set: TrainingSet, text_features: Vectors, *, steps: int = 0, views: int = 0, **facts: object
) -> Learned:
    """What a learner gives that has text features of its classes and no vectors.

    text_features   (C, E) unit rows
    facts           epochs, lr and seed
    """
    method = Method(
        learner=learner,
        context_tokens=0,
        init=None,
        class_specific=False,
        position="end",
        steps=steps,
        recipe=learner,
        views=views,
        **facts,  # type: ignore[arg-type]
    )
    return Learned(method, np.empty((0, training_set.backbone.id.text_width), np.float32), text_features)


def by_head(learner: str, training_set: TrainingSet, ways: Ways, **facts: Any) -> Learned:
    """What a learner gives whose answer is a head alone; its text features are the template's.

    facts   epochs, lr and seed
    """
    learned = without_context(learner, training_set, training_set.zero_shot_features, **facts)
    return replace(learned, ways=ways)


def refit_by_template(
    method: Method,
    features: Vectors,
    targets: Targets,
    *,
    classes: Sequence[str | ClassEntry],
    zero_shot_features: Vectors,
    tower: TextTower,
    logit_scale: float,
) -> Vectors:
    """`LearnerFile.refit` of a learner whose text features are the template's, of which photos change nothing."""
    return zero_shot_features
