"""ImageTower: pictures and learned tokens to image features; the only module that knows the image attention's insides.

Learned tokens are visual prompts: VPT-shallow and VPT-deep (Jia et al., "Visual Prompt Tuning", ECCV 2022), laid out
as the image side of independent vision-language prompting has them (PromptSRC, Khattak et al., ICCV 2023): behind the
class token and the patches, before the first norm, without a place of their own.

Nothing but the class token and the patches is read after the last block: the model's own pooling never saw a learned
token, and VPT's comparison of what to read finds a mean that includes prompts far worse than one of the patches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import torch
from torch.utils.checkpoint import checkpoint

from promptctl.errors import BadSetting, NoVisualTokens, WrongArgument

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.encoding.torch import TorchEncoder

Precision = Literal["float32", "bfloat16"]
Step = Callable[[torch.Tensor], torch.Tensor]  # one block: (N, P + T, W) → the same; the last may give (N, 1, W)

_OPEN_CLIP = "open_clip.transformer.VisionTransformer"
_TIMM = "open_clip.timm_model.TimmModel"
_TRUNKS = ("timm.models.vision_transformer.VisionTransformer", "timm.models.eva.Eva")
_RESIDUAL = "open_clip.transformer.ResidualAttentionBlock"
_BLOCKS = (_RESIDUAL, "open_clip.transformer.CustomResidualAttentionBlock")


class ImageTower:
    """The frozen image side of a CLIP model with a ViT, which takes learned tokens.

    Letters: N pictures, S their side, P places (class token and patches), D depth, T tokens, W width, E joint width.
    """

    def __init__(self, visual: torch.nn.Module, *, name: str = "this model") -> None:
        """Freeze a model's `visual`: evaluation mode, and no gradient of its own from here on.

        raises    NoVisualTokens for a tower that is no ViT known here
        """
        self._layout = _layout_of(visual, name)
        self.visual = visual.eval().requires_grad_(False)
        self.width = self._layout.width
        self.layers = self._layout.layers
        self.joint_width = self._layout.joint_width

    def encode(
        self,
        pixels: torch.Tensor,
        tokens: torch.Tensor | None = None,
        *,
        checkpointed: bool = False,
        precision: Precision = "float32",
    ) -> torch.Tensor:
        """Features of pictures.

        pixels        (N, 3, S, S)
        tokens        (D, T, W): the first T enter with the patches, before the first norm; those of d > 0 take their
                      place before block d; None or T = 0 for the model's own features
        checkpointed  blocks are computed twice instead of kept for the gradient
        precision     of the blocks: bfloat16 takes half of the memory, and on a GPU a fraction of the time
        returns       (N, E), not normalised
        raises        WrongArgument, BadSetting for tokens of another tower
        """
        return self.features(self.places(pixels), tokens, checkpointed=checkpointed, precision=precision)

    def places(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, P, W) class token and patches as they enter the first block: what no learned token changes."""
        with torch.no_grad():
            return self._layout.places(pixels)

    def features(
        self,
        places: torch.Tensor,
        tokens: torch.Tensor | None = None,
        *,
        checkpointed: bool = False,
        precision: Precision = "float32",
    ) -> torch.Tensor:
        """(N, E) of what `places` gave; the rest is as for `encode`."""
        tokens = None if tokens is None or self._has_none(tokens) else tokens.to(places)
        with torch.autocast(places.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            x = self._through(places, tokens, checkpointed)
        return self._layout.read(x[:, : places.shape[1]].to(places.dtype))

    def with_tokens(self, tokens: torch.Tensor) -> TowerWithTokens:
        """The tower with these tokens as one module: (N, 3, S, S) → (N, E); raises as `encode`."""
        self._has_none(tokens)
        return TowerWithTokens(self, tokens)

    def _through(self, places: torch.Tensor, tokens: torch.Tensor | None, checkpointed: bool) -> torch.Tensor:
        """(N, P + T, W) after the last block, or fewer rows of which `read` needs no more."""
        x, n_places = places, places.shape[1]
        for d, block in enumerate(self._layout.blocks(0 if tokens is None else tokens.shape[1])):
            if tokens is not None and d < len(tokens):
                entering = self._layout.enter(tokens[0]) if d == 0 else tokens[d]
                x = torch.cat([x[:, :n_places], entering.expand(x.shape[0], -1, -1)], 1)  # (N, P + T, W)
            kept = not checkpointed or not x.requires_grad
            x = block(x) if kept else checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
        return x

    def _has_none(self, tokens: torch.Tensor) -> bool:
        """Whether there is no token among tokens of this tower; WrongArgument, BadSetting for those of another."""
        if tokens.ndim != 3 or tokens.shape[2] != self.width:
            shape = " x ".join(str(n) for n in tokens.shape)
            raise WrongArgument("the tensor of visual tokens", shape, f"depth x tokens x {self.width}")
        if tokens.shape[0] > self.layers:
            expected = f"at most {self.layers} (the blocks of the image tower)"
            raise BadSetting("visual_depth", tokens.shape[0], expected, self.layers)
        return tokens.numel() == 0


class TowerWithTokens(torch.nn.Module):
    """A tower with learned tokens, in the shape of a model's `visual`: what an encoder runs and OpenVINO compiles."""

    tokens: torch.Tensor  # (D, T, W)

    def __init__(self, tower: ImageTower, tokens: torch.Tensor) -> None:
        super().__init__()
        self._tower = tower
        self.visual = tower.visual  # named, so that its weights go wherever this module is sent
        self.register_buffer("tokens", tokens.detach().clone())
        self.eval()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._tower.encode(pixels, self.tokens)


def encoder_with(encoder: TorchEncoder, tokens: NDArray[np.float32], *, name: str = "this model") -> TorchEncoder:
    """A backbone's encoder with learned tokens (D, T, W) in its tower; its fingerprint is of both.

    raises    NoVisualTokens, WrongArgument, BadSetting
    """
    tower = ImageTower(encoder.visual, name=name)
    return encoder.with_tokens(tower.with_tokens(torch.from_numpy(tokens).to(encoder.device)), tokens)


class _Layout(Protocol):
    """What is different from one architecture to the next."""

    width: int
    layers: int
    joint_width: int

    def places(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, P, W) after the first norm."""

    def enter(self, tokens: torch.Tensor) -> torch.Tensor:
        """(T, W) through the first norm, as the patches."""

    def blocks(self, n_tokens: int) -> Sequence[Step]:
        """The blocks, for places with so many tokens behind them."""

    def read(self, x: torch.Tensor) -> torch.Tensor:
        """(N, E) of (N, P, W) after the last block."""


class _OpenClip:
    """open_clip's own VisionTransformer."""

    def __init__(self, visual: Any) -> None:
        self._visual = visual
        self._blocks: tuple[torch.nn.Module, ...] = tuple(visual.transformer.resblocks)
        self.width = int(visual.conv1.out_channels)
        self.layers = len(self._blocks)
        self.joint_width = int(visual.ln_post.normalized_shape[0] if visual.proj is None else visual.proj.shape[1])

    def places(self, pixels: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self._visual._embeds(pixels.to(self._visual.conv1.weight)))

    def enter(self, tokens: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self._visual.ln_pre(tokens))

    def blocks(self, n_tokens: int) -> Sequence[Step]:
        return self._blocks

    def read(self, x: torch.Tensor) -> torch.Tensor:
        pooled, _ = self._visual._pool(x)
        projected = pooled if self._visual.proj is None else pooled @ self._visual.proj
        return cast(torch.Tensor, projected)


def _layout_of(visual: Any, name: str) -> _Layout:
    if _type(visual) != _OPEN_CLIP:
        raise NoVisualTokens(name, f"its image tower is a {type(visual).__name__}, and visual tokens need a ViT")
    if not all(hasattr(visual, part) for part in ("_embeds", "_pool", "ln_pre", "proj")):
        raise NoVisualTokens(name, "this version of open_clip lays its image tower out in a way that is not known here")
    if not all(_type(block) in _BLOCKS for block in visual.transformer.resblocks):
        raise NoVisualTokens(name, "its image tower has blocks of a kind that is not known here")
    return _OpenClip(visual)


def _type(module: object) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
