"""TextTower: context and class names to text features; the only module that knows attention's insides.

CLIP's own tower runs once for what prompts share; `whole_tower` has the towers that can only be run whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from promptctl.clip.packing import (
    _BUCKET_IN_ROWS,
    _BUCKET_IN_ROWS_ON_GPU,
    PART_ROWS,
    PART_ROWS_ELSEWHERE,
    LengthBucket,
    Part,
    Prompts,
    buckets_for,
    parts_of,
    pieces_of,
)
from promptctl.clip.tokenizers import tokenizer_of
from promptctl.clip.vocabulary import Vocabulary
from promptctl.clip.whole_tower import ClipTower, whole_tower
from promptctl.context.card import ClassEntry
from promptctl.errors import ContextTooLong, CorruptTokens, NameTooLong, TemplateTooLong

_KEPT_BYTES = {"cpu": 1 << 30, "mps": 1 << 30}  # of activations kept for the gradient; the rest is computed twice

_KEPT_BYTES_ON_GPU = 4 << 30

_RESIDUAL = ("open_clip.transformer.ResidualAttentionBlock", "promptctl.clip.text_model.Block")
_FLOATS_A_ROW = 16  # kept by one block, in units of the width


class TextTower:
    """The frozen text side of a CLIP model.

    Letters: C classes, M context vectors, T suffix tokens, W text width, E joint width.
    """

    def __init__(self, model: torch.nn.Module, tokenizer: Any, *, name: str = "this model") -> None:
        self._whole = whole_tower(model, name=name)
        self.token_table = self._whole.table  # (V, W) the embedding of every vocabulary token
        self._tokenizer = tokenizer_of(tokenizer, len(self.token_table), name=name)
        self._text = self._whole.text if isinstance(self._whole, ClipTower) else None
        self._shares = self._is_causal()
        self.length = int(self._whole.length or tokenizer.context_length)
        self.width = int(self.token_table.shape[1])
        self.joint_width = self._whole.joint_width
        self._free = self.length - len(self._around)  # tokens of a prompt that may be context, name or full stop

    @property
    def reads_byte_pairs(self) -> bool:
        """Whether its tokens are CLIP's own."""
        return self._tokenizer.is_clips

    @property
    def tokenizer_digest(self) -> str | None:
        """What tells its tokenizer from others; None for CLIP's own, of which there is one."""
        return self._tokenizer.digest

    @property
    def is_clips(self) -> bool:
        """Whether the original CoOp, which knows CLIP's tower and tokens alone, could read its prompts."""
        return self.reads_byte_pairs and isinstance(self._whole, ClipTower) and not self._whole.masks

    @property
    def vocabulary(self) -> Vocabulary:
        """Its tokens and their embeddings, in numpy."""
        table = self.token_table.detach().float().cpu().numpy()
        words = [self.word(token) for token in range(len(table))]
        return Vocabulary(words, self.special_tokens, lambda start, stop: table[start:stop], self.reads_byte_pairs)

    def tokens(self, words: str) -> list[int]:
        return self._tokenizer.tokens(words)

    def word(self, token: int) -> str:
        """The vocabulary entry of a token as a person reads it; `·` marks where its word goes on.

        CLIP marks a token that continues into the next, most other vocabularies one that continues the one before.
        """
        return self._tokenizer.word(token)

    def is_loose(self, token: int) -> bool:
        """Whether a token is less than a part of a word: a byte, a letter that was broken off, or nothing known."""
        return self._tokenizer.is_loose(token)

    def read(self, tokens: Sequence[int]) -> str:
        """The words of tokens, with CLIP lower-case and with a space between any two, as byte pairs keep them."""
        return self._tokenizer.read(tokens)

    def sentence(self, words: str) -> list[int]:
        """Words as the model itself reads them: start-of-text, their tokens, end-of-text, padding to the full length.

        raises NameTooLong
        """
        own, tokens = self._tokenizer, self._fitting(words)
        return [*own.start, *tokens, *own.end, *[own.padding] * (self._free - len(tokens)), *own.last]

    @property
    def start_of_text(self) -> int:
        """The token in front of every text; -1 where there is none, as with SigLIP."""
        return next(iter(self._tokenizer.start), -1)

    @property
    def end_of_text(self) -> int:
        return next(iter(self._tokenizer.end), -1)

    @property
    def special_tokens(self) -> tuple[int, ...]:
        return self._tokenizer.special

    def embed(self, words: str) -> torch.Tensor:
        """(M, W) token embeddings of words, a context to start from."""
        return self._rows(self.tokens(words))

    def embedded(self, tokens: Sequence[int] | torch.Tensor) -> torch.Tensor:
        """(…, W) token embeddings in float32, on the CPU."""
        return self._rows(tokens).float().cpu()

    def name_tokens(self, name: str | ClassEntry) -> tuple[list[int], int]:
        """Tokens of a class name with its full stop, and how many of them stand where the name stands.

        A class of a stored context may have tokens of its own; otherwise the name and the full stop are tokenised
        apart, so that no byte-pair merge joins them. A name has the tokens of words that follow others.
        """
        called, tokens = (name, ()) if isinstance(name, str) else (name.name, name.tokens)
        of_name = self._tokenizer.following(called)
        if not tokens:
            return of_name + self._tokenizer.stop, len(of_name)
        if not all(0 <= token < len(self.token_table) and token not in self._tokenizer.end for token in tokens):
            raise CorruptTokens(called, len(self.token_table))
        return list(tokens), len(of_name)

    def room_beside(self, names: Sequence[str | ClassEntry]) -> int:
        """How many context vectors fit beside the longest of some names; below 1 where none does."""
        return self._free - max(len(self.name_tokens(name)[0]) for name in names)

    def prompts(
        self, names: Sequence[str | ClassEntry], n_context: int, *, position: str = "end", shared: bool = True
    ) -> Prompts:
        """Lay class names out around a context, which stands behind the start-of-text where there is one.

        names     C readable class names, or the classes of a stored context: `card.classes`
        shared    False for a class-specific context
        raises    NameTooLong, ContextTooLong, CorruptTokens
        """
        in_front = {"end": n_context, "middle": n_context // 2, "front": 0}[position]
        tokenised = [self.name_tokens(name) for name in names]
        stop = len(self._tokenizer.stop)
        available = self._free - n_context - stop
        if available < 1:
            raise ContextTooLong(n_context, n_context + available - 1)
        for name, (tokens, _) in zip(names, tokenised, strict=True):
            if len(tokens) - stop > available:
                raise NameTooLong(name if isinstance(name, str) else name.name, len(tokens) - stop, available)
        n_shared = in_front if shared and self._shares else 0
        before, after = range(n_shared, in_front), range(in_front, n_context)
        rows = [self._suffix(before, tokens, of_name, after) for tokens, of_name in tokenised]
        return self._packed(rows, n_context, n_shared)

    def operations(self, prompts: Prompts) -> float:
        """Floating-point operations of one forward and the gradient of the context, about."""
        return 4.0 * prompts.rows * self._whole.weights()  # a product and a sum for each, forward and for the gradient

    def encode_sentences(self, sentences: Sequence[str]) -> torch.Tensor:
        """(N, E) text features of whole sentences, not normalised; TemplateTooLong for one that does not fit."""
        rows: list[list[tuple[int, int | None]]] = [
            [(token, None) for token in (*self._fitting(sentence, TemplateTooLong), *self._tokenizer.end)]
            for sentence in sentences
        ]
        return self.encode(self.token_table.new_zeros(0, self.width), self._packed(rows, 0, 0))

    def encode(self, context: torch.Tensor, prompts: Prompts) -> torch.Tensor:
        """Text features of every class.

        context   (M, W) shared, or (C, M, W) class-specific
        returns   (C, E), not normalised
        """
        run = self._run_shared if self._shares else self._run_whole
        context = context.to(self.token_table.dtype)
        kept = 0
        outputs = []
        for part in prompts.parts:
            kept += self._bytes(part)
            if kept > self._most_kept and torch.is_grad_enabled():
                outputs.append(checkpoint(run, context, part, prompts, use_reentrant=False, preserve_rng_state=False))
            else:
                outputs.append(run(context, part, prompts))
        x = torch.cat(outputs) if len(outputs) > 1 else outputs[0]
        x = x.index_select(0, prompts.order)
        return self._whole.project(x) if self._shares and isinstance(self._whole, ClipTower) else x

    @property
    def _around(self) -> tuple[int, ...]:
        """Tokens that every prompt has, but for its padding."""
        own = self._tokenizer
        return (*own.start, *own.end, *own.last)

    def _is_causal(self) -> bool:
        """Whether all that a prompt's features depend on ends with its end-of-text, in blocks that are known here."""
        tower, own = self._whole, self._tokenizer
        if not isinstance(tower, ClipTower) or tower.masks or tower.text.attn_mask is None or len(own.end) != 1:
            return False
        at_end = own.ends_highest if tower.pool == "argmax" else tower.pool == "eos" and own.end == (tower.end,)
        return at_end and not own.last and all(_is_residual(block) for block in tower.text.transformer.resblocks)

    @cached_property
    def _blank(self) -> int:
        """The token that stands for a context vector where only numbers of tokens are asked for."""
        taken = {*self._whole.unread, *self._around}
        return next(token for token in range(len(self.token_table)) if token not in taken)

    def _fitting(self, sentence: str, too_long: type[NameTooLong] | type[TemplateTooLong] = NameTooLong) -> list[int]:
        tokens, available = self.tokens(sentence), self._free
        if len(tokens) > available:
            raise too_long(sentence, len(tokens), available)
        return tokens

    def _suffix(self, before: range, tokens: list[int], of_name: int, after: range) -> list[tuple[int, int | None]]:
        """(token id, context row) of every suffix position of one class.

        Like the original, it divides the tokens where the name alone would end: a full stop that merged with the
        name goes with it, and so does the end-of-text where a merge took one token more.
        """
        ended = [*tokens, *self._tokenizer.end]
        return [
            *((self._blank, row) for row in before),
            *((token, None) for token in ended[:of_name]),
            *((self._blank, row) for row in after),
            *((token, None) for token in ended[of_name:]),
        ]

    def _packed(self, rows: list[list[tuple[int, int | None]]], n_context: int, n_shared: int) -> Prompts:
        device = self.token_table.device
        by_length = sorted(range(len(rows)), key=lambda c: len(rows[c]))
        own = self._tokenizer
        if not self._shares and (own.last or self._whole.sees(own.padding)):
            sizes = [(len(rows), self.length - len(own.start))]  # towers that see the padding run all of it
        else:
            sizes = buckets_for(
                [len(row) for row in rows], extra=_BUCKET_IN_ROWS.get(device.type, _BUCKET_IN_ROWS_ON_GPU)
            )
        most = PART_ROWS.get(device.type, PART_ROWS_ELSEWHERE)
        sizes = [piece for size in sizes for piece in pieces_of(*size, rows=most)]
        parts, done = [], 0
        for group in parts_of(sizes, rows=most):
            chosen = by_length[done : done + sum(classes for classes, _ in group)]
            parts.append(self._part(chosen, [rows[c] for c in chosen], group, n_context, n_shared))
            done += len(chosen)
        order = torch.tensor(by_length, device=device).argsort()
        return Prompts(n_context, n_shared, tuple(parts), order)

    def _part(
        self,
        chosen: list[int],
        rows: list[list[tuple[int, int | None]]],
        sizes: list[tuple[int, int]],
        n_context: int,
        n_shared: int,
    ) -> Part:
        def tensor(values: Sequence[int]) -> torch.Tensor:
            return torch.tensor(values, device=self.token_table.device)

        lengths = [tokens for classes, tokens in sizes for _ in range(classes)]
        padded = [self._padded(row, length) for row, length in zip(rows, lengths, strict=True)]
        first = len(self._tokenizer.start) + n_shared
        flat = [item for row in padded for item in row]
        ids = tensor([token for token, _ in flat])
        slot = tensor([n_context if row is None else row for _, row in flat])
        starts = tensor([0, *lengths[:-1]]).cumsum(0)
        ends = tensor([len(row) - 1 for row in rows])
        buckets, done = [], 0
        for classes, tokens in sizes:
            at = torch.arange(tokens, device=ids.device)
            after_end = at > ends[done : done + classes, None, None]
            buckets.append(LengthBucket(classes, tokens, at > at[:, None], after_end))
            done += classes
        return Part(
            classes=tensor(chosen),
            frozen=self._rows(ids) * (slot == n_context).unsqueeze(-1),
            slot=slot,
            owner=tensor([c for c, length in enumerate(lengths) for _ in range(length)]),
            place=tensor([first + i for length in lengths for i in range(length)]),
            ids=ids,
            end=starts + ends,
            buckets=tuple(buckets),
        )

    def _padded(self, row: list[tuple[int, int | None]], length: int) -> list[tuple[int, int | None]]:
        own = self._tokenizer
        padding = [own.padding] * (length - len(row) - len(own.last))
        return row + [(token, None) for token in (*padding, *own.last)]

    def _rows(self, tokens: Sequence[int] | torch.Tensor) -> torch.Tensor:
        index = torch.as_tensor(tokens, dtype=torch.long, device=self.token_table.device)
        return F.embedding(index, self.token_table.detach())

    def _run_shared(self, context: torch.Tensor, part: Part, prompts: Prompts) -> torch.Tensor:
        """(C', W) end-of-text rows after the last block."""
        assert self._text is not None
        places = self._text.positional_embedding.to(context.dtype)
        prefix = self._prefix(context, prompts.n_shared)
        prefix = prefix + places[: len(prefix)]
        suffix = part.frozen + _context_rows(context, part, prompts) + places[part.place]
        x = torch.cat([prefix, suffix])  # (P + R, W)
        *blocks, last = self._text.transformer.resblocks
        for block in blocks:
            x = _block(block, x, len(prefix), part.buckets)
        return _last_block(last, x, len(prefix), part)

    def _run_whole(self, context: torch.Tensor, part: Part, prompts: Prompts) -> torch.Tensor:
        """(C', E) by the model's own transformer over every token: towers without a causal mask see the padding too."""
        sizes = [bucket.classes * bucket.tokens for bucket in part.buckets]
        suffixes = (part.frozen + _context_rows(context, part, prompts)).split(sizes)
        start = part.ids.new_tensor(self._tokenizer.start)  # (S,)
        features = []
        for bucket, suffix, ids in zip(part.buckets, suffixes, part.ids.split(sizes), strict=True):
            shape = (bucket.classes, bucket.tokens)
            own = torch.cat([start.expand(bucket.classes, -1), ids.unflatten(0, shape)], 1)  # (C', T)
            x = torch.cat([self._rows(start).expand(bucket.classes, -1, -1), suffix.unflatten(0, shape)], 1)
            features.append(self._whole.features(x, own))
        return torch.cat(features)

    def _prefix(self, context: torch.Tensor, n_shared: int) -> torch.Tensor:
        start = self._rows(self._tokenizer.start)  # (S, W)
        return torch.cat([start, context[:n_shared]]) if n_shared else start

    def _bytes(self, part: Part) -> int:
        """About what running a part keeps for the gradient."""
        return len(part.slot) * self.width * self.token_table.element_size() * _FLOATS_A_ROW * self._whole.layers

    @property
    def _most_kept(self) -> int:
        return _KEPT_BYTES.get(self.token_table.device.type, _KEPT_BYTES_ON_GPU)


def _context_rows(context: torch.Tensor, part: Part, prompts: Prompts) -> torch.Tensor:
    """(R, W) context vectors where the suffixes have room for them, zero elsewhere; 0 if they have none."""
    if prompts.n_shared == prompts.n_context:
        return context.new_zeros(())
    own = context if context.ndim == 2 else context.index_select(0, part.classes)  # (C', M, W)
    bank = torch.cat([own, own.new_zeros(*own.shape[:-2], 1, own.shape[-1])], -2)  # (…, M + 1, W)
    row = part.slot if context.ndim == 2 else part.owner * (prompts.n_context + 1) + part.slot
    return F.embedding(row, bank.flatten(0, -2))  # index_select adds up its gradient in any order on a GPU


def _block(block: Any, x: torch.Tensor, n_prefix: int, buckets: Sequence[LengthBucket]) -> torch.Tensor:
    """One residual attention block over the shared prefix and every class's suffix, (P + R, W)."""
    attn = block.attn
    qkv = F.linear(block.ln_1(x), attn.in_proj_weight, attn.in_proj_bias)  # (P + R, 3 W)
    first, *others = qkv.split([n_prefix, *(r.classes * r.tokens for r in buckets)])
    q, k, v = first.unflatten(-1, (3, attn.num_heads, -1)).permute(1, 2, 0, 3)  # (H, P, d)
    prefix = F.scaled_dot_product_attention(q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), is_causal=True)
    attended = [prefix.squeeze(0).transpose(0, 1).flatten(-2)]  # (P, W)
    for bucket, rows in zip(buckets, others, strict=True):
        shape = (bucket.classes, bucket.tokens, 3, attn.num_heads, -1)
        own_q, own_k, own_v = rows.view(shape).permute(2, 3, 0, 1, 4)  # (H, C', T, d)
        attended.append(_attend(own_q, own_k, own_v, k, v, bucket.unseen))
    return _rest_of_block(block, x, torch.cat(attended))


def _last_block(block: Any, x: torch.Tensor, n_prefix: int, part: Part) -> torch.Tensor:
    """The end-of-text rows (C', W) of the last block: nothing else is read."""
    attn = block.attn
    width = x.shape[-1]
    x_end = x.index_select(0, part.end + n_prefix)
    in_weight, in_bias = attn.in_proj_weight, attn.in_proj_bias
    kv = F.linear(block.ln_1(x), in_weight[width:], in_bias[width:])  # (P + R, 2 W)
    q = F.linear(block.ln_1(x_end), in_weight[:width], in_bias[:width])  # (C', W)
    first, *others = kv.split([n_prefix, *(r.classes * r.tokens for r in part.buckets)])
    k, v = first.unflatten(-1, (2, attn.num_heads, -1)).permute(1, 2, 0, 3)  # (H, P, d)
    attended = []
    queries = q.split([r.classes for r in part.buckets])
    for bucket, rows, query in zip(part.buckets, others, queries, strict=True):
        own_k, own_v = rows.view(bucket.classes, bucket.tokens, 2, attn.num_heads, -1).permute(2, 3, 0, 1, 4)
        own_q = query.view(bucket.classes, 1, attn.num_heads, -1).permute(2, 0, 1, 3)  # (H, C', 1, d)
        attended.append(_attend(own_q, own_k, own_v, k, v, bucket.after_end))
    return _rest_of_block(block, x_end, torch.cat(attended))


def _attend(
    q: torch.Tensor,
    own_k: torch.Tensor,
    own_v: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    unseen: torch.Tensor,
) -> torch.Tensor:
    """Attention of suffix tokens to all of the shared prefix and to the suffix of their own class.

    q               (H, C, Q, d)
    own_k, own_v    (H, C, T, d)
    k, v            (H, P, d), never copied for a class
    unseen          (Q, T) or (C, Q, T), True where a token must not look
    returns         (C Q, W)
    """
    heads, classes, n_queries, head_width = q.shape
    to_prefix = (q.flatten(1, 2) @ k.transpose(1, 2)).unflatten(1, (classes, n_queries))  # (H, C, Q, P)
    to_own = (q @ own_k.transpose(-1, -2)).masked_fill(unseen, float("-inf"))  # (H, C, Q, T)
    weights = (torch.cat([to_prefix, to_own], -1) * head_width**-0.5).softmax(-1)
    on_prefix, on_own = weights.split([k.shape[1], own_k.shape[2]], -1)
    joined = (on_prefix.flatten(1, 2) @ v).unflatten(1, (classes, n_queries)) + on_own @ own_v  # (H, C, Q, d)
    rows = joined.permute(1, 2, 0, 3).reshape(classes * n_queries, heads * head_width)
    return cast(torch.Tensor, rows)


def _rest_of_block(block: Any, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    x = x + block.ls_1(block.attn.out_proj(attended))
    return cast(torch.Tensor, x + block.ls_2(block.mlp(block.ln_2(x))))


def _is_residual(block: torch.nn.Module) -> bool:
    """Whether a block is open_clip's plain one, or ours with the same parts; told by name, to import neither."""
    return f"{type(block).__module__}.{type(block).__qualname__}" in _RESIDUAL
