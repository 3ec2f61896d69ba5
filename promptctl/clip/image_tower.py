"""ImageTower: pictures and learned tokens to image features; the only module that knows the image attention's insides.

Learned tokens are visual prompts: VPT-shallow and VPT-deep (Jia et al., "Visual Prompt Tuning", ECCV 2022), laid out
as the image side of independent vision-language prompting has them (PromptSRC, Khattak et al., ICCV 2023): behind the
class token and the patches, before the first norm, without a place of their own.

Nothing but the class token and the patches is read after the last block: the model's own pooling never saw a learned
token, and VPT's comparison of what to read finds a mean that includes prompts far worse than one of the patches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from promptctl.errors import BadSetting, NoVisualTokens, WrongArgument

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.encoding.torch import TorchEncoder

Precision = Literal["float32", "bfloat16"]
Step = Callable[[torch.Tensor], torch.Tensor]  # one block: (N, P + T, W) → the same; the last may give (N, 1, W)

_OPEN_CLIP = "open_clip.transformer.VisionTransformer"
_OPEN_CLIP_PARTS = (
    "_embeds",
    "_pool",
    "attn_pool",
    "conv1",
    "ln_post",
    "ln_pre",
    "pool_type",
    "proj",
    "transformer.resblocks",
)
_RESIDUAL = "open_clip.transformer.ResidualAttentionBlock"
_BLOCKS = (_RESIDUAL, "open_clip.transformer.CustomResidualAttentionBlock")
_TIMM = "open_clip.timm_model.TimmModel"
_TIMM_PARTS = (
    "_pos_embed",
    "blocks",
    "embed_dim",
    "forward_head",
    "global_pool",
    "head",
    "norm",
    "norm_pre",
    "patch_embed",
)
_TRUNKS = {  # and the blocks in which every row looks at every other, whatever their order
    "timm.models.vision_transformer.VisionTransformer": tuple(
        f"timm.models.vision_transformer.{block}"
        for block in ("Block", "ResPostBlock", "ParallelScalingBlock", "ParallelThingsBlock")
    ),
    "timm.models.eva.Eva": ("timm.models.eva.EvaBlock", "timm.models.eva.EvaBlockPostNorm"),
}


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
        precision     of the blocks: bfloat16 takes half of the memory, and less time where a processor is made for it
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
    own = torch.from_numpy(tokens.astype("float32"))  # a copy: a file's may be in another order, or not writable
    return encoder.with_tokens(tower.with_tokens(own.to(encoder.device)), tokens)


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
        self._pools_one_row = visual.attn_pool is None and visual.pool_type == "tok"
        self.width = int(visual.conv1.out_channels)
        self.layers = len(visual.transformer.resblocks)
        self.joint_width = int(visual.ln_post.normalized_shape[0] if visual.proj is None else visual.proj.shape[1])

    def places(self, pixels: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self._visual._embeds(pixels.to(self._visual.conv1.weight)))

    def enter(self, tokens: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self._visual.ln_pre(tokens))

    def blocks(self, n_tokens: int) -> Sequence[Step]:
        *blocks, last = self._visual.transformer.resblocks
        rows = 1 if self._pools_one_row else None  # the class token's: nothing else is read of the last block
        return [*(_step(block) for block in blocks), _step(last, rows)]

    def read(self, x: torch.Tensor) -> torch.Tensor:
        pooled, _ = self._visual._pool(x)
        if self._visual.attn_pool is not None and pooled.ndim == 3:
            pooled = pooled.squeeze(1)  # a pooler of one query keeps its axis
        return cast(torch.Tensor, pooled if self._visual.proj is None else pooled @ self._visual.proj)


class _Timm:
    """A ViT of timm's inside open_clip's TimmModel: SigLIP, EVA, Perception Encoder, ViTamin …"""

    def __init__(self, visual: Any) -> None:
        self._visual, self._trunk = visual, visual.trunk
        self.width = int(self._trunk.embed_dim)
        self.layers = len(self._trunk.blocks)
        self.joint_width = _last_width(visual.head) or _last_width(self._trunk.head) or self.width

    def places(self, pixels: torch.Tensor) -> torch.Tensor:
        weight = next(self._trunk.parameters())
        x = self._trunk._pos_embed(self._trunk.patch_embed(pixels.to(weight)))
        return cast(torch.Tensor, self._trunk.norm_pre(x[0] if isinstance(x, tuple) else x))

    def enter(self, tokens: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self._trunk.norm_pre(tokens))

    def blocks(self, n_tokens: int) -> Sequence[Step]:
        if getattr(self._trunk, "rope", None) is None:
            return tuple(self._trunk.blocks)
        rope = _standing_still(self._trunk.rope.get_embed(shape=list(self._trunk.patch_embed.grid_size)), n_tokens)
        of_block = rope if getattr(self._trunk, "rope_mixed", False) else [rope] * self.layers
        return [partial(block, rope=own) for block, own in zip(self._trunk.blocks, of_block, strict=True)]

    def read(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self._visual.head(self._trunk.forward_head(self._trunk.norm(x))))


def _step(block: Any, rows: int | None = None) -> Step:
    """A block that gives the first rows alone, or all of them."""
    if _is_plain(block):
        return partial(_residual, block, rows=rows)
    return cast(Step, block)


def _residual(block: Any, x: torch.Tensor, rows: int | None = None) -> torch.Tensor:
    """open_clip's ResidualAttentionBlock without a copy of queries, keys and values; (N, P + T, W) or (N, rows, W)."""
    attn, normed = block.attn, block.ln_1(x)
    if rows is None:
        qkv = F.linear(normed, attn.in_proj_weight, attn.in_proj_bias)
        q, k, v = qkv.unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (N, H, P + T, d)
    else:
        width, weight, bias = x.shape[-1], attn.in_proj_weight, attn.in_proj_bias
        kv = F.linear(normed, weight[width:], bias[width:])
        k, v = kv.unflatten(-1, (2, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q = F.linear(normed[:, :rows], weight[:width], bias[:width])
        q = q.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2)  # (N, H, rows, d)
        x = x[:, :rows]
    x = x + block.ls_1(attn.out_proj(_attended(q, k, v).transpose(1, 2).flatten(2)))
    return cast(torch.Tensor, x + block.ls_2(block.mlp(block.ln_2(x))))


def _attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """(N, H, Q, d) of queries, and of keys and values (N, H, K, d)."""
    if q.requires_grad and q.dtype == torch.bfloat16 and q.device.type == "cpu":
        # PyTorch's own takes four times as long for this gradient
        weights = (q * q.shape[-1] ** -0.5 @ k.mT).softmax(-1)
        return cast(torch.Tensor, weights.to(v.dtype) @ v)
    return F.scaled_dot_product_attention(q, k, v)


def _is_plain(block: Any) -> bool:
    """Whether a block is the one that `_residual` computes."""
    if _type(block) != _RESIDUAL or hasattr(block, "ln_1_kv"):
        return False
    attn = block.attn
    packed = attn.in_proj_weight is not None and attn.in_proj_bias is not None
    return packed and attn.bias_k is None and not attn.add_zero_attn


def _standing_still(rope: torch.Tensor, n_tokens: int) -> torch.Tensor:
    """Rotary embeddings (…, P, 2 d), sines before cosines, with rows for learned tokens, which are not turned."""
    rows = rope.new_zeros(*rope.shape[:-2], n_tokens, rope.shape[-1])
    rows[..., rope.shape[-1] // 2 :] = 1
    return torch.cat([rope, rows], -2)


def _last_width(head: torch.nn.Module) -> int | None:
    """What the last linear layer of a head gives; None for a head without one."""
    widths = [module.out_features for module in head.modules() if isinstance(module, torch.nn.Linear)]
    return widths[-1] if widths else None


def _layout_of(visual: Any, name: str) -> _Layout:
    if _type(visual) == _OPEN_CLIP:
        _require(name, visual, _OPEN_CLIP_PARTS)
        _require_blocks(name, visual.transformer.resblocks, _BLOCKS)
        if _gives_a_sequence(visual):
            raise NoVisualTokens(name, "its image tower does not pool its patches")
        return _OpenClip(visual)
    trunk: Any = visual.trunk if _type(visual) == _TIMM else None
    if _type(trunk) not in _TRUNKS:
        kind = type(visual if trunk is None else trunk).__name__
        raise NoVisualTokens(name, f"its image tower is of the kind {kind}, and visual tokens need a plain ViT")
    _require(name, trunk, _TIMM_PARTS)
    _require_blocks(name, trunk.blocks, _TRUNKS[_type(trunk)])
    if not trunk.global_pool:
        raise NoVisualTokens(name, "its image tower does not pool its patches")
    return _Timm(visual)


def _gives_a_sequence(visual: Any) -> bool:
    """Whether open_clip's ViT gives a row for every patch, or query, of a picture."""
    return visual.pool_type == "none" and getattr(visual, "attn_pool_contrastive", None) is None


def _require(name: str, tower: Any, parts: Sequence[str]) -> None:
    """NoVisualTokens for a tower without the parts that are used here."""
    try:
        attrgetter(*parts)(tower)
    except AttributeError as error:
        reason = "this version of its library arranges the image tower in a way not known here"
        raise NoVisualTokens(name, reason) from error


def _require_blocks(name: str, blocks: Any, known: Sequence[str]) -> None:
    """NoVisualTokens for a tower with blocks that may do anything."""
    if unknown := [type(block).__name__ for block in blocks if _type(block) not in known]:
        raise NoVisualTokens(name, f"its image tower has blocks of the kind {unknown[0]}, which is not known here")


def _type(module: object) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
