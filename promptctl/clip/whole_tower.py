"""Text towers run whole: embedded prompts in, text features out, through the model's own modules.

For towers that `TextTower` cannot take apart: those without a causal mask, such as SigLIP's and CLIPA's; CoCa's, which
reads a class token behind the prompt; and Hugging Face's.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch

from promptctl.errors import UnsupportedBackbone

_POOLS = ("argmax", "eos", "first", "last")


class WholeTower(Protocol):
    """A frozen text tower. Letters: C classes, T tokens, W text width, E joint width."""

    table: torch.Tensor  # (V, W)
    joint_width: int
    layers: int

    @property
    def length(self) -> int | None:
        """Tokens of a prompt; None where the tokenizer decides."""

    @property
    def unread(self) -> frozenset[int]:
        """Tokens that the tower does more with than embed them: no context vector may pass for one."""

    def sees(self, padding: int) -> bool:
        """Whether its features depend on padding with that token, so that all of it has to be run."""

    def weights(self) -> int:
        """Numbers in the matrices that a token is multiplied by."""

    def features(self, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """(C, E) of embedded prompts, not normalised.

        x     (C, T, W) rows of the table and context vectors
        ids   (C, T) tokens; where a context vector stands, one that is not in `unread`
        """


def whole_tower(model: torch.nn.Module, *, name: str) -> WholeTower:
    """The text side of one of open_clip's models; UnsupportedBackbone where its embeddings cannot be reached."""
    text: Any = model.text if isinstance(getattr(model, "text", None), torch.nn.Module) else model
    if hasattr(text, "token_embedding") and hasattr(text, "positional_embedding"):
        return ClipTower(text, name=name)
    if hasattr(getattr(text, "transformer", None), "get_input_embeddings") and hasattr(text, "pooler"):
        return HuggingFaceTower(text, name=name)
    raise UnsupportedBackbone(name, "its text tower is not CLIP's own")


class ClipTower:
    """open_clip's TextTransformer, or the same parts in its CLIP."""

    def __init__(self, text: Any, *, name: str) -> None:
        self.text = text
        self.pool = getattr(text, "text_pool_type", None) or text.pool_type
        if self.pool not in _POOLS:
            raise UnsupportedBackbone(name, f"how its text tower pools is not known here ({self.pool})")
        self.end: int | None = getattr(text, "text_eos_id", getattr(text, "eos_id", None))
        self.class_token = getattr(text, "cls_emb", None)
        self.masks = self.class_token is not None or bool(getattr(text, "use_pad_mask", False))
        self.table = text.token_embedding.weight
        self.length = int(text.context_length)
        self.layers = len(text.transformer.resblocks)
        self.joint_width = _joint_width(text, self.table.shape[1])

    @property
    def unread(self) -> frozenset[int]:
        meant = (self.text.pad_id if self.masks else None, self.end if self.pool == "eos" else None)
        return frozenset(int(token) for token in meant if token is not None)

    def sees(self, padding: int) -> bool:
        return True  # class tokens and masks stand at fixed places

    def weights(self) -> int:
        return sum(p.numel() for p in self.text.transformer.resblocks.parameters() if p.ndim == 2)

    def features(self, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        from open_clip.transformer import text_global_pool

        if self.class_token is not None:
            x = torch.cat([x, self.class_token.to(x.dtype).expand(len(x), 1, -1)], 1)
        x = x + self.text.positional_embedding.to(x.dtype)
        x = self.text.transformer(x, attn_mask=self._mask(x, ids))
        pool = "last" if self.class_token is not None else self.pool
        return self.project(text_global_pool(x, ids, pool, eos_token_id=self.end))

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """(C, E) of the rows (C, W) that were pooled."""
        x = self.text.ln_final(x)
        projection = self.text.text_projection
        if projection is None:
            return x
        projected = projection(x) if isinstance(projection, torch.nn.Linear) else x @ projection
        return cast(torch.Tensor, projected)

    def _mask(self, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor | None:
        """What is added to attention: no token looks at what follows it, nor, for CoCa, at padding."""
        causal: torch.Tensor | None = self.text.attn_mask
        if not self.masks:
            return causal
        seen = ids != self.text.pad_id  # (C, T)
        if self.class_token is not None:
            always = seen.new_ones(len(seen), 1)
            # CoCa's weights were trained with the mask one place off: every token hides the one behind it
            seen = torch.cat([seen, always] if self.text.correct_cls_mask else [always, seen], 1)
        mask = torch.zeros(seen.shape, dtype=x.dtype, device=x.device).masked_fill(~seen, float("-inf"))
        mask = mask[:, None, :].expand(-1, x.shape[1], -1)
        mask = mask if causal is None else mask + causal.to(x.dtype)
        return mask.repeat_interleave(self.text.heads, 0)  # (C H, T, T)


class HuggingFaceTower:
    """open_clip's HFTextEncoder: an encoder of transformers, a pooler and a projection."""

    length = None

    def __init__(self, text: Any, *, name: str) -> None:
        self.text = text
        embedding = text.transformer.get_input_embeddings()
        self.table = embedding.weight
        self.scale = float(getattr(embedding, "embed_scale", 1.0))  # NLLB's table is a fraction of what its tower reads
        self.padding: int | None = text.config.pad_token_id
        probe = torch.arange(min(4, len(self.table)), device=self.table.device)
        if self.padding is None or not torch.equal(embedding(probe), self.table[probe] * self.scale):
            raise UnsupportedBackbone(name, "the token embeddings of its text tower cannot be reached")
        self.layers = int(text.config.num_hidden_layers)
        self.joint_width = int(text.output_dim)
        self.unread = frozenset({int(self.padding)})

    def sees(self, padding: int) -> bool:
        return padding != self.padding  # the rest is masked

    def weights(self) -> int:
        every: int = sum(p.numel() for p in self.text.transformer.parameters() if p.ndim == 2)
        return every - int(self.table.numel())

    def features(self, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        mask = torch.ne(ids, cast(int, self.padding)).long()
        out = self.text.transformer(inputs_embeds=x * self.scale, attention_mask=mask)
        return cast(torch.Tensor, self.text.proj(self.text.pooler(out, mask)))


def _joint_width(text: Any, width: int) -> int:
    projection = text.text_projection
    if projection is None:
        return width
    return int(projection.out_features if isinstance(projection, torch.nn.Linear) else projection.shape[1])
