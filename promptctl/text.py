"""TextTower: a context and class names → text features; the only file that knows attention's insides.

With a causal mask, start-of-text and the shared context see no class name, so all classes share their keys
and values: the prefix runs once, every class runs only its own suffix, and both stop at the longest
end-of-text. Values and gradients equal the 77-token forward to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock, text_global_pool

from promptctl.errors import ContextTooLong, NameTooLong, UnsupportedBackbone

Position = Literal["end", "middle", "front"]
POSITIONS: tuple[str, ...] = get_args(Position)


@dataclass(frozen=True)
class Prompts:
    """Class names laid out around a context of M vectors that is not known yet.

    The prompt of class c is `start, context[:n_shared], suffix of c`. A suffix position holds either a
    frozen token (its embedding is in `frozen`) or a context vector (its row is in `slot`).
    """

    n_context: int  # M
    n_shared: int  # context vectors in front of every class name, so the same for all classes
    frozen: torch.Tensor  # (C, T, W) token embeddings, zero where a context vector goes
    slot: torch.Tensor  # (C, T) context row, M where a token stands
    ids: torch.Tensor  # (C, T) token ids, 0 where a context vector goes
    end: torch.Tensor  # (C,) index of end-of-text in the suffix


class TextTower:
    """The frozen text side of a CLIP model.

    Letters: C classes, M context vectors, T suffix tokens, W text width, E joint width.
    """

    def __init__(self, model: torch.nn.Module, tokenizer: Any, *, name: str = "this model") -> None:
        text: Any = model.text if isinstance(getattr(model, "text", None), torch.nn.Module) else model
        _refuse_unsupported(name, model, text, tokenizer)
        self._text = text
        self._tokenizer = tokenizer
        self._pool = getattr(text, "text_pool_type", None) or text.pool_type
        blocks = text.transformer.resblocks
        self._shares = text.attn_mask is not None and all(type(b) is ResidualAttentionBlock for b in blocks)
        self.length = int(text.context_length)
        self.width = int(text.token_embedding.weight.shape[1])
        self.joint_width = _joint_width(text, self.width)

    @property
    def token_table(self) -> torch.Tensor:
        """(V, W) the embedding of every vocabulary token."""
        return cast(torch.Tensor, self._text.token_embedding.weight)

    def tokens(self, words: str) -> list[int]:
        return [int(token) for token in self._tokenizer.encode(words)]

    def word(self, token: int) -> str:
        """The vocabulary entry of a token as a person reads it; `·` marks one that continues into the next."""
        text = bytearray(self._tokenizer.byte_decoder[c] for c in self._tokenizer.decoder[token].removesuffix("</w>"))
        piece = text.decode("utf-8", errors="replace")
        return piece if self._tokenizer.decoder[token].endswith("</w>") else f"{piece}·"

    def read(self, tokens: Sequence[int]) -> str:
        """The words of tokens, lower-case and with a space between any two, as byte pairs keep them."""
        return str(self._tokenizer.decode(tokens)).strip()

    def sentence(self, words: str) -> list[int]:
        """Words as CLIP itself reads them: start-of-text, their tokens, end-of-text, padding to the full length.

        raises NameTooLong
        """
        tokens, room = self.tokens(words), self.length - 2
        if len(tokens) > room:
            raise NameTooLong(words, len(tokens), room)
        return [self._tokenizer.sot_token_id, *tokens, self.end_of_text, *[0] * (room - len(tokens))]

    @property
    def end_of_text(self) -> int:
        return int(self._tokenizer.eot_token_id)

    @property
    def special_tokens(self) -> tuple[int, ...]:
        return tuple(int(token) for token in self._tokenizer.all_special_ids)

    def embed(self, words: str) -> torch.Tensor:
        """(M, W) token embeddings of words, a context to start from."""
        return self._rows(self.tokens(words))

    def prompts(self, names: Sequence[str], n_context: int, *, position: str = "end", shared: bool = True) -> Prompts:
        """Lay class names out around a context.

        names     C readable class names
        shared    False for a class-specific context
        raises    NameTooLong, ContextTooLong
        """
        in_front = {"end": n_context, "middle": n_context // 2, "front": 0}[position]
        # the name and the full stop are tokenised apart, so that no byte-pair merge joins them
        named = [self.tokens(name) for name in names]
        room = self.length - 2 - n_context - len(self.tokens("."))
        if room < 1:
            raise ContextTooLong(n_context, n_context + room - 1)
        for name, tokens in zip(names, named, strict=True):
            if len(tokens) > room:
                raise NameTooLong(name, len(tokens), room)
        n_shared = in_front if shared and self._shares else 0
        before, after = range(n_shared, in_front), range(in_front, n_context)
        rows = [self._suffix(before, tokens, after) for tokens in named]
        return self._padded(rows, n_context, n_shared)

    def encode(self, context: torch.Tensor, prompts: Prompts) -> torch.Tensor:
        """Text features of every class.

        context   (M, W) shared, or (C, M, W) class-specific
        returns   (C, E), not normalised
        """
        dtype = self.token_table.dtype
        start = self._rows([self._tokenizer.sot_token_id])  # (1, W)
        shared = context[: prompts.n_shared] if prompts.n_shared else context.new_zeros(0, self.width)
        prefix = torch.cat([start, shared.to(dtype)])  # (P, W)
        suffix = prompts.frozen + _context_rows(context.to(dtype), prompts)  # (C, T, W)
        if self._shares:
            return self._project(self._run_shared(prefix, suffix, prompts.end))
        return self._run_whole(prefix, suffix, prompts)

    def _suffix(self, before: range, name: list[int], after: range) -> list[tuple[int, int | None]]:
        """(token id, context row) of every suffix position of one class; a context row has id 0."""
        stop = self.tokens(".")
        return [
            *((0, row) for row in before),
            *((token, None) for token in name),
            *((0, row) for row in after),
            *((token, None) for token in stop),
            (self.end_of_text, None),
        ]

    def _padded(self, rows: list[list[tuple[int, int | None]]], n_context: int, n_shared: int) -> Prompts:
        device = self.token_table.device
        longest = max(len(row) for row in rows) if self._shares else self.length - 1 - n_shared
        padded = [row + [(0, None)] * (longest - len(row)) for row in rows]
        ids = torch.tensor([[token for token, _ in row] for row in padded], device=device)  # (C, T)
        slot = torch.tensor([[n_context if s is None else s for _, s in row] for row in padded], device=device)
        frozen = self._rows(ids) * (slot == n_context).unsqueeze(-1)  # (C, T, W)
        end = torch.tensor([len(row) - 1 for row in rows], device=device)
        return Prompts(n_context, n_shared, frozen, slot, ids, end)

    def _rows(self, tokens: Sequence[int] | torch.Tensor) -> torch.Tensor:
        index = torch.as_tensor(tokens, dtype=torch.long, device=self.token_table.device)
        return F.embedding(index, self.token_table.detach())

    def _run_shared(self, prefix: torch.Tensor, suffix: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        n_prefix, n_suffix = len(prefix), suffix.shape[1]
        places = self._text.positional_embedding.to(prefix.dtype)
        prefix = prefix + places[:n_prefix]
        suffix = suffix + places[n_prefix : n_prefix + n_suffix]
        sees = torch.ones(n_suffix, n_prefix + n_suffix, dtype=torch.bool, device=suffix.device).tril(n_prefix)
        for block in self._text.transformer.resblocks:
            prefix, suffix = _block(block, prefix, suffix, sees)
        return suffix[torch.arange(len(end), device=end.device), end]  # (C, W)

    def _run_whole(self, prefix: torch.Tensor, suffix: torch.Tensor, prompts: Prompts) -> torch.Tensor:
        """The model's own transformer over every token: towers without a causal mask see the padding too."""
        x = torch.cat([prefix.expand(len(suffix), -1, -1), suffix], 1)  # (C, 77, W)
        x = x + self._text.positional_embedding.to(x.dtype)
        x = self._text.transformer(x, attn_mask=self._text.attn_mask)
        x = self._text.ln_final(x)
        start = prompts.ids.new_full((len(suffix), prefix.shape[0]), self._tokenizer.sot_token_id)
        ids = torch.cat([start, prompts.ids], 1)
        pooled = text_global_pool(x, ids, self._pool, eos_token_id=self.end_of_text)
        return self._project(pooled, normed=True)

    def _project(self, x: torch.Tensor, *, normed: bool = False) -> torch.Tensor:
        x = x if normed else self._text.ln_final(x)
        projection = self._text.text_projection
        if projection is None:
            return x
        projected = projection(x) if isinstance(projection, torch.nn.Linear) else x @ projection
        return cast(torch.Tensor, projected)


def _context_rows(context: torch.Tensor, prompts: Prompts) -> torch.Tensor:
    """(C, T, W) context vectors where the suffixes have room for them, zero elsewhere; 0 if they have none."""
    if prompts.n_shared == prompts.n_context:
        return context.new_zeros(())
    classes, length = prompts.slot.shape
    width = context.shape[-1]
    nothing = context.new_zeros(*context.shape[:-2], 1, width)
    bank = torch.cat([context, nothing], -2)  # (M + 1, W) or (C, M + 1, W)
    if context.ndim == 2:
        return bank[prompts.slot]
    return torch.take_along_dim(bank, prompts.slot.unsqueeze(-1).expand(classes, length, width), 1)


def _block(
    block: Any, prefix: torch.Tensor, suffix: torch.Tensor, sees: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One residual attention block over the shared prefix (P, W) and every class's suffix (C, T, W)."""
    q, k, v = _heads(block, prefix.unsqueeze(0))  # (1, H, P, d)
    attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    new_prefix = _rest_of_block(block, prefix.unsqueeze(0), attended).squeeze(0)
    q, own_k, own_v = _heads(block, suffix)  # (C, H, T, d)
    classes = len(suffix)
    k = torch.cat([k.expand(classes, -1, -1, -1), own_k], 2)  # (C, H, P + T, d)
    v = torch.cat([v.expand(classes, -1, -1, -1), own_v], 2)
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=sees)
    return new_prefix, _rest_of_block(block, suffix, attended)


def _heads(block: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    attn = block.attn
    qkv = F.linear(block.ln_1(x), attn.in_proj_weight, attn.in_proj_bias)  # (B, L, 3 W)
    q, k, v = (part.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for part in qkv.chunk(3, -1))
    return q, k, v


def _rest_of_block(block: Any, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    joined = attended.transpose(1, 2).flatten(-2)  # (B, L, W)
    x = x + block.ls_1(block.attn.out_proj(joined))
    return cast(torch.Tensor, x + block.ls_2(block.mlp(block.ln_2(x))))


def _joint_width(text: Any, width: int) -> int:
    projection = text.text_projection
    if projection is None:
        return width
    return int(projection.out_features if isinstance(projection, torch.nn.Linear) else projection.shape[1])


def _refuse_unsupported(name: str, model: torch.nn.Module, text: Any, tokenizer: Any) -> None:
    if not hasattr(text, "token_embedding") or not hasattr(text, "positional_embedding"):
        raise UnsupportedBackbone(name, "its text tower is not CLIP's own")
    if getattr(text, "cls_emb", None) is not None or hasattr(model, "text_decoder"):
        raise UnsupportedBackbone(name, "its text tower reads a class token after the prompt (CoCa)")
    if getattr(text, "use_pad_mask", False):
        raise UnsupportedBackbone(name, "its text tower masks padding")
    if not hasattr(tokenizer, "byte_decoder"):
        raise UnsupportedBackbone(name, "it does not read CLIP's byte-pair tokens")
