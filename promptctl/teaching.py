"""Teaching: a draw of shots and a learner's settings → what was learned, and how."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from promptctl.cache import FeatureCache
from promptctl.card import Method
from promptctl.features import Features, encode_views
from promptctl.learners import clap, coop

if TYPE_CHECKING:
    from promptctl.backbone import Backbone
    from promptctl.shots import Drawn

OnProgress = Callable[[str, int, int], None]  # stage, done, total
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Taught:
    """What a learner gave, and how."""

    method: Method
    vectors: Vectors  # (M, W), (C, M, W), or (0, W) where there is no context
    text_features: Vectors  # (C, E) unit rows


def teach_coop(
    settings: coop.Settings,
    names: Sequence[str],
    drawn: Drawn,
    by_hand: Vectors,
    backbone: Backbone,
    *,
    views: int | None,
    on_progress: OnProgress | None = None,
) -> Taught:
    """A context; views None are those of the recipe, by_hand (C, E) what an anchor holds to."""
    if views is None:
        views = settings.epochs if coop.RECIPES[settings.recipe].crops else 0
    learned = coop.learn(
        _seen(drawn.train, views, backbone, on_progress),
        drawn.targets(drawn.train),
        names,
        backbone.tower,
        logit_scale=backbone.logit_scale,
        settings=settings,
        anchors=by_hand,
        on_step=partial(on_progress, "learning") if on_progress else None,
    )
    method = Method(learner="coop", steps=learned.steps, views=views, **dataclasses.asdict(settings))
    return Taught(method, learned.vectors, learned.text_features)


def teach_clap(
    settings: clap.Settings,
    drawn: Drawn,
    by_hand: Vectors,
    backbone: Backbone,
    *,
    views: int | None,
    on_progress: OnProgress | None = None,
) -> Taught:
    """Class weights that start at by_hand (C, E); no context."""
    seen = _seen(drawn.train, views or 0, backbone, on_progress)
    on_step = partial(on_progress, "learning") if on_progress else None
    targets, scale = drawn.targets(drawn.train), backbone.logit_scale
    learned = clap.learn(seen, targets, by_hand, logit_scale=scale, settings=settings, on_step=on_step)
    method = Method(
        learner="clap",
        context_tokens=0,
        init=None,
        class_specific=False,
        position="end",
        epochs=settings.epochs,
        lr=settings.lr,
        seed=settings.seed,
        steps=learned.steps,
        recipe="clap",
        views=views or 0,
    )
    return Taught(method, np.empty((0, backbone.id.text_width), np.float32), learned.text_features)


def _seen(train: Features, views: int, backbone: Backbone, on_progress: OnProgress | None) -> Vectors:
    """What is learned from: (N, V, E) random crops, or (N, E) centres."""
    if not views:
        return train.vectors
    cropping = partial(on_progress, "encoding crops") if on_progress else None
    return encode_views(train, views, backbone, FeatureCache(), cropping)
