"""Projected: what a projection asks of `learn`: photos seen before it, and what becomes of them behind another."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from promptctl.clip.backbone import Backbone
from promptctl.clip.projection import Projection, before_of, encoder_before, projection_of
from promptctl.context.context import ShotTable
from promptctl.encoding.pipeline import encoded_again
from promptctl.learners.fitting import Before, Learned
from promptctl.learners.shots import FewShotSplit
from promptctl.progress import OnProgress

Rows = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SplitBefore:
    """Shots and photos held out, before the projection that the image tower ends in."""

    split: FewShotSplit
    projection: Projection
    train: Rows  # (N, D + 1) as clip.projection has them
    held_out: Rows

    @property
    def shots(self) -> Before:
        """What is learned from."""
        return Before(before_of(self.train), self.projection)

    def projected(self, learned: Learned) -> tuple[ShotTable, Rows]:
        """The shots behind the projection that was learned, and (N, E) of those held out."""
        assert learned.projection is not None
        other = replace(self.projection, weight=learned.projection)
        train, held_out = other.of(self.train), other.of(self.held_out)
        plain = self.split.table()
        features = np.concatenate([train, held_out])[: len(plain)].astype(np.float16)
        return replace(plain, features=features), held_out


def seen_before(split: FewShotSplit, backbone: Backbone, on_progress: OnProgress | None) -> SplitBefore | None:
    """The photos of a split before the projection; None for a tower that ends in no linear layer.

    raises   NoImages when a photo has changed or gone meanwhile
    """
    projection = projection_of(backbone.visual)
    if projection is None:
        return None
    encoder = encoder_before(backbone.encoder)
    train, held_out = (encoded_again(part, encoder, on_progress) for part in (split.train, split.held_out))
    return SplitBefore(split, projection, train, held_out)
