"""Visual: what visual tokens ask of `learn`: a tower that can have them, and photos seen once more with them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from promptctl.clip.backbone import Backbone
from promptctl.clip.image_tower import ImageTower, encoder_with
from promptctl.context.context import ShotTable
from promptctl.encoding.pipeline import encoded_again
from promptctl.learners.fitting import Learned
from promptctl.learners.visual import check_depth, ended
from promptctl.progress import OnProgress

if TYPE_CHECKING:
    from promptctl.commands.revise import AnyBackbone
    from promptctl.learners.settings import LearnSettings
    from promptctl.learners.shots import FewShotSplit


def check_tower(backbone: AnyBackbone, settings: LearnSettings) -> None:
    """Before a photo is read: NoVisualTokens for a tower that takes none, BadSetting for one with fewer blocks."""
    assert isinstance(backbone, Backbone)
    check_depth(ImageTower(backbone.visual, name=backbone.name), settings.visual_depth)


def seen_with_tokens(
    learned: Learned, split: FewShotSplit, backbone: AnyBackbone, on_progress: OnProgress | None
) -> tuple[Learned, ShotTable, NDArray[np.float32]]:
    """What was learned with the end of its curve, the shots as the tower sees them with tokens, and (N, E) held out.

    raises   NoImages when a photo has changed or gone meanwhile
    """
    assert isinstance(backbone, Backbone) and learned.visual_tokens is not None
    encoder = encoder_with(backbone.encoder, learned.visual_tokens, name=backbone.name)
    train, held_out = (encoded_again(part, encoder, on_progress) for part in (split.train, split.held_out))
    learned = ended(learned, train, split.targets(split.train), backbone.logit_scale)
    plain = split.table()
    features = np.concatenate([train, held_out])[: len(plain)].astype(np.float16)
    return learned, replace(plain, features=features), held_out
