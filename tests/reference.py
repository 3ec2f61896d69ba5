"""CoOp's text side as the paper lays it out: 77 tokens per class, one concatenation, the model's own transformer.

Slow and obviously right; `promptctl.clip.text_tower` is compared with it, value and gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from open_clip.transformer import text_global_pool


def layout(name: list[int], context: torch.Tensor, position: str, table: torch.Tensor, special: Any) -> torch.Tensor:
    """(77, W) embedded prompt of one class and nothing shared with any other."""
    start, stop, end, length = special
    vectors = {
        "end": [context, table[name]],
        "middle": [context[: len(context) // 2], table[name], context[len(context) // 2 :]],
        "front": [table[name], context],
    }[position]
    prompt = torch.cat([table[[start]], *vectors, table[stop], table[[end]]])
    padding = table[torch.zeros(length - len(prompt), dtype=torch.long)]
    return torch.cat([prompt, padding])


def encode(
    model: torch.nn.Module, tokenizer: Any, context: torch.Tensor, names: Sequence[str], position: str
) -> torch.Tensor:
    """(C, E) text features, not normalised; context (M, W) or (C, M, W)."""
    text: Any = model.text if hasattr(model, "text") else model
    table = text.token_embedding.weight
    stop = tokenizer.encode(".")
    special = (tokenizer.sot_token_id, stop, tokenizer.eot_token_id, text.context_length)
    named = [tokenizer.encode(name) for name in names]
    of_class = context if context.ndim == 3 else context.expand(len(names), *context.shape)
    x = torch.stack(
        [layout(n, c, position, table, special) for n, c in zip(named, of_class, strict=True)]
    )  # (C, 77, W)
    x = text.transformer(x + text.positional_embedding, attn_mask=text.attn_mask)
    x = text.ln_final(x)
    ends = [1 + context.shape[-2] + len(n) + len(stop) for n in named]
    pool = getattr(text, "text_pool_type", None) or text.pool_type
    ids = torch.zeros(len(names), text.context_length, dtype=torch.long)
    ids[torch.arange(len(names)), ends] = tokenizer.eot_token_id
    x = text_global_pool(x, ids, pool, eos_token_id=tokenizer.eot_token_id)
    return x @ text.text_projection


def encode_in_one_piece(
    model: torch.nn.Module, tokenizer: Any, context: torch.Tensor, names: Sequence[str], position: str
) -> torch.Tensor:
    """The same as CoOp's own code has it: name and full stop are tokenised together, and cut where the name would end.

    Two buffers around the context, and the output of the place the end-of-text has among the tokens.
    """
    text: Any = model.text if hasattr(model, "text") else model
    n_context = context.shape[-2]
    prompts = torch.cat([tokenizer(f"{' '.join(['X'] * n_context)} {name}.") for name in names])  # (C, 77)
    embedded = text.token_embedding(prompts)
    prefix, suffix = embedded[:, :1], embedded[:, 1 + n_context :]
    of_class = context if context.ndim == 3 else context.expand(len(names), *context.shape)
    half = n_context // 2
    rows = []
    for c, name in enumerate(names):
        k, ctx = len(tokenizer.encode(name)), of_class[c]
        parts = {
            "end": [ctx, suffix[c]],
            "middle": [ctx[:half], suffix[c, :k], ctx[half:], suffix[c, k:]],
            "front": [suffix[c, :k], ctx, suffix[c, k:]],
        }[position]
        rows.append(torch.cat([prefix[c], *parts]))
    x = text.transformer(torch.stack(rows) + text.positional_embedding, attn_mask=text.attn_mask)
    pool = getattr(text, "text_pool_type", None) or text.pool_type
    x = text_global_pool(text.ln_final(x), prompts, pool, eos_token_id=tokenizer.eot_token_id)
    return x @ text.text_projection
