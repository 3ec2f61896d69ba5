"""Which image towers are plain ViTs, told from a model's configuration before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promptctl.errors import NoVisualTokens

_VITS_OF_TIMM = ("vit_", "eva_", "eva02_", "vitamin_")
_OTHERS_OF_TIMM = ("vit_relpos_", "vit_srelpos_")  # attention that knows how many patches there are


def has_image_tokens(config: Mapping[str, Any]) -> bool:
    """Whether learned tokens can stand among the patches of a model, by open_clip's configuration of it."""
    vision = _vision(config)
    if name := str(vision.get("timm_model_name") or ""):
        return name.startswith(_VITS_OF_TIMM) and not name.startswith(_OTHERS_OF_TIMM)
    return isinstance(vision.get("layers", 12), int)  # a ResNet has a list of them


def require_image_tokens(name: str, config: Mapping[str, Any]) -> None:
    """NoVisualTokens for a backbone whose configuration says that its image tower is no plain ViT."""
    if not has_image_tokens(config):
        kind = _vision(config).get("timm_model_name") or "ModifiedResNet"
        raise NoVisualTokens(name, f"its image tower is of the kind {kind}, and visual tokens need a plain ViT")


def _vision(config: Mapping[str, Any]) -> Mapping[str, Any]:
    model = config.get("model_cfg", config)  # as a file beside the weights has it
    vision = model.get("vision_cfg", {}) if isinstance(model, Mapping) else {}
    return vision if isinstance(vision, Mapping) else {}
