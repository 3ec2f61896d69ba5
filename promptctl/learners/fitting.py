"""Teaching: shots and a wish how to learn → what was learned, and how."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from promptctl.context.card import Method
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.pipeline import Features, encode_views
from promptctl.learners import clap, coop

if TYPE_CHECKING:
    from promptctl.clip.backbone import Backbone
    from promptctl.learners.settings import Wish

OnProgress = Callable[[str, int, int], None]  # stage, done, total
Vectors = NDArray[np.float32]
Targets = NDArray[np.int64]


@dataclass(frozen=True)
class Taught:
    """What a learner gave, and how."""

    method: Method
    vectors: Vectors  # (M, W), (C, M, W), or (0, W) where there is no context
    text_features: Vectors  # (C, E) unit rows


def teach(
    wish: Wish,
    names: Sequence[str],
    shown: Features,
    targets: Targets,
    by_hand: Vectors,
    backbone: Backbone,
    on_progress: OnProgress | None = None,
) -> Taught:
    """What the learner makes of the shots.

    shown     the shots
    targets   (N,) index into names
    by_hand   (C, E) the zero-shot text features
    """
    learner = _clap if wish.learner == "clap" else _coop
    return learner(wish, names, shown, targets, by_hand, backbone, on_progress)


def _coop(
    wish: Wish,
    names: Sequence[str],
    shown: Features,
    targets: Targets,
    by_hand: Vectors,
    backbone: Backbone,
    on_progress: OnProgress | None,
) -> Taught:
    recipe = coop.RECIPES[wish.recipe]
    settings = coop.Settings(
        context_tokens=wish.tokens(backbone.tower),
        init=wish.init,
        class_specific=wish.class_specific,
        position=wish.position,
        recipe=wish.recipe,
        epochs=recipe.epochs(len(shown) / len(names)) if wish.epochs is None else wish.epochs,
        lr=coop.Settings.lr if wish.lr is None else wish.lr,
        anchor=wish.anchor,
        average=wish.average,
        seed=wish.seed,
    )
    views = (settings.epochs if recipe.crops else 0) if wish.views is None else min(wish.views, settings.epochs)
    learned = coop.learn(
        _seen(shown, views, backbone, on_progress),
        targets,
        names,
        backbone.tower,
        logit_scale=backbone.logit_scale,
        settings=settings,
        anchors=by_hand,
        on_step=partial(on_progress, "learning") if on_progress else None,
    )
    method = Method(learner="coop", steps=learned.steps, views=views, **dataclasses.asdict(settings))
    return Taught(method, learned.vectors, learned.text_features)


def _clap(
    wish: Wish,
    names: Sequence[str],
    shown: Features,
    targets: Targets,
    by_hand: Vectors,
    backbone: Backbone,
    on_progress: OnProgress | None,
) -> Taught:
    settings = clap.Settings(
        epochs=clap.Settings.epochs if wish.epochs is None else wish.epochs,
        lr=clap.Settings.lr if wish.lr is None else wish.lr,
        seed=wish.seed,
    )
    views = min(wish.views or 0, settings.epochs)
    learned = clap.learn(
        _seen(shown, views, backbone, on_progress),
        targets,
        by_hand,
        logit_scale=backbone.logit_scale,
        settings=settings,
        on_step=partial(on_progress, "learning") if on_progress else None,
    )
    method = Method(
        learner="clap",
        context_tokens=0,
        init=None,
        class_specific=False,
        position="end",
        steps=learned.steps,
        recipe="clap",
        views=views,
        **dataclasses.asdict(settings),
    )
    return Taught(method, np.empty((0, backbone.id.text_width), np.float32), learned.text_features)


def _seen(shown: Features, views: int, backbone: Backbone, on_progress: OnProgress | None) -> Vectors:
    """What is learned from: (N, V, E) random crops, or (N, E) centres."""
    if not views:
        return shown.vectors
    cropping = partial(on_progress, "encoding crops") if on_progress else None
    with FeatureCache() as cache:
        return encode_views(shown, views, backbone.encoder, cache, cropping)
