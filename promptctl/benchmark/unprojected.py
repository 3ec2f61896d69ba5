"""Unprojected: a pool's photos before the projection that the image tower ends in, for a learner of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from promptctl.clip.projection import Rows, before_of, encoder_before, projection_of
from promptctl.encoding.pipeline import encoded_again
from promptctl.learners.fitting import Before
from promptctl.progress import OnProgress

if TYPE_CHECKING:
    from promptctl.benchmark.pool import Pool
    from promptctl.data.images import HashedImage


def seen_before(pool: Pool, on_progress: OnProgress | None = None) -> Pool:
    """The pool with what comes before the projection; as it is where the tower ends in no linear layer.

    raises   NoImages when a file has changed or gone meanwhile
    """
    if projection_of(pool.backbone.visual) is None:
        return pool
    known = pool.features(pool.encoded)
    rows = encoded_again(known, encoder_before(pool.backbone.encoder), on_progress)
    return replace(pool, before_of=dict(zip(known.paths, rows, strict=True)))


def before(pool: Pool, some: Sequence[HashedImage]) -> Before | None:
    """What a learner sees of some photos; None where there is nothing of that kind."""
    own = projection_of(pool.backbone.visual) if pool.before_of else None
    return None if own is None else Before(before_of(_rows(pool, some)), own)


def accuracy_behind(pool: Pool, weight: Rows) -> float:
    """Fraction of the test images that the template's text features give their class behind another projection."""
    own = projection_of(pool.backbone.visual)
    assert own is not None
    features = replace(own, weight=weight).of(_rows(pool, pool.test))
    _, targets = pool.arrays(pool.test)
    return float(((features @ pool.zero_shot_features(pool.template).T).argmax(1) == targets).mean())


def _rows(pool: Pool, some: Sequence[HashedImage]) -> Rows:
    """(N, D + 1)"""
    return np.stack([pool.before_of[image.path] for image in some])
