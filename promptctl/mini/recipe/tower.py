"""The text tower while it is trained: many texts that begin alike are read as one beginning and many endings.

Attention is causal, so the rows of a beginning ("a photo of a", or a context of vectors) do not depend on what
follows. A group of texts shares them; everything is packed in one array of rows, so that every product is a large
one; and the last block answers only where the texts end. The values are those of open_clip's encode_text.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from open_clip.model import CLIP

START, END = 49406, 49407


@dataclass(frozen=True)
class Group:
    """Texts with one beginning.

    beginning   token ids, the first is START
    context     (M, W) vectors that stand after START, none or more
    endings     (B, S) token ids, each row ends in END and is padded with zeros after it
    lengths     (B) of the endings, END included
    """

    beginning: torch.Tensor
    context: torch.Tensor | None
    endings: torch.Tensor
    lengths: torch.Tensor

    @property
    def shared(self) -> int:
        """Rows that all texts have in common, P: the beginning and the context."""
        return len(self.beginning) + (0 if self.context is None else len(self.context))


def group(
    beginning: tuple[int, ...],
    endings: list[tuple[int, ...]],
    context: torch.Tensor | None = None,
) -> Group:
    """Token ids without START and END."""
    lengths = torch.tensor([len(e) + 1 for e in endings])
    ids = torch.zeros(len(endings), int(lengths.max()), dtype=torch.long)
    for row, ending in zip(ids, endings, strict=True):
        row[: len(ending) + 1] = torch.tensor((*ending, END))
    return Group(torch.tensor([START, *beginning]), context, ids, lengths)


def encode(model: CLIP, groups: list[Group]) -> torch.Tensor:
    """Text features (sum of B, E), unit rows, in the order of the groups."""
    x = torch.cat([rows for g in groups for rows in _embedded(model, g)])  # (N, W)
    blocks = list(model.transformer.resblocks)
    for block in blocks[:-1]:
        qkv = F.linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias)
        x = x + block.attn.out_proj(_attend(qkv, groups, block.attn.num_heads))
        x = x + block.mlp(block.ln_2(x))
    return F.normalize(model.ln_final(_last(blocks[-1], x, groups)) @ model.text_projection, dim=-1)


def _embedded(model: CLIP, g: Group) -> list[torch.Tensor]:
    places = model.positional_embedding
    first = F.embedding(g.beginning, model.token_embedding.weight, sparse=True)
    if g.context is not None:
        first = torch.cat([first[:1], g.context, first[1:]])  # (P, W)
    rest = F.embedding(g.endings, model.token_embedding.weight, sparse=True)  # (B, S, W)
    n, more = g.shared, g.endings.shape[1]
    return [first + places[:n], (rest + places[n : n + more]).flatten(0, 1)]


def _parts(x: torch.Tensor, groups: list[Group], heads: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Rows of every group by heads: its beginning (1, H, P, D) and its endings (B, H, S, D)."""
    sizes = [size for g in groups for size in (g.shared, g.endings.numel())]
    parts = x.split(sizes)
    found = []
    for k, g in enumerate(groups):
        first = parts[2 * k].view(1, g.shared, heads, -1).transpose(1, 2)
        rest = parts[2 * k + 1].view(*g.endings.shape, heads, -1).transpose(1, 2)
        found.append((first, rest))
    return found


def _attend(qkv: torch.Tensor, groups: list[Group], heads: int) -> torch.Tensor:
    rows = []
    queries, keys, values = (_parts(x, groups, heads) for x in qkv.chunk(3, -1))
    for (q0, q1), (k0, k1), (v0, v1) in zip(queries, keys, values, strict=True):
        b, h, s, d = q1.shape
        p = q0.shape[2]
        first = F.scaled_dot_product_attention(q0, k0, v0, is_causal=True)
        k, v = (torch.cat([a.expand(b, -1, -1, -1), z], 2) for a, z in ((k0, k1), (v0, v1)))
        seen = torch.ones(s, p + s, dtype=torch.bool).tril(p)
        rest = F.scaled_dot_product_attention(q1, k, v, attn_mask=seen)
        rows += [y.transpose(1, 2).reshape(-1, h * d) for y in (first, rest)]
    return torch.cat(rows)


def _last(block: torch.nn.Module, x: torch.Tensor, groups: list[Group]) -> torch.Tensor:
    """What the last block makes of the END rows (sum of B, W)."""
    width, heads = x.shape[1], block.attn.num_heads
    weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
    h = block.ln_1(x)
    ends = _ends(groups)
    queries = F.linear(h[ends], weight[:width], bias[:width]).split([len(g.lengths) for g in groups])
    keys, values = (_parts(y, groups, heads) for y in F.linear(h, weight[width:], bias[width:]).chunk(2, -1))
    rows = []
    for g, q, (k0, k1), (v0, v1) in zip(groups, queries, keys, values, strict=True):
        b, p, s = len(q), g.shared, g.endings.shape[1]
        k, v = (torch.cat([a.expand(b, -1, -1, -1), z], 2) for a, z in ((k0, k1), (v0, v1)))
        seen = torch.arange(p + s) < (p + g.lengths)[:, None]  # (B, P + S)
        y = F.scaled_dot_product_attention(q.view(b, heads, 1, -1), k, v, attn_mask=seen[:, None, None])
        rows.append(y.reshape(b, width))
    x = x[ends] + block.attn.out_proj(torch.cat(rows))
    return x + block.mlp(block.ln_2(x))


def _ends(groups: list[Group]) -> torch.Tensor:
    """Where the END rows lie among all rows."""
    ends, row = [], 0
    for g in groups:
        row += g.shared
        ends.append(row + torch.arange(len(g.endings)) * g.endings.shape[1] + g.lengths - 1)
        row += g.endings.numel()
    return torch.cat(ends)
