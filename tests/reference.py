"""CoOp's text side as the paper lays it out: 77 tokens per class, one concatenation, the model's own transformer.

Slow and obviously right; `promptctl.clip.text_tower` is compared with it, value and gradient. Below it the image side
with learned tokens, with which `promptctl.clip.image_tower` is compared.
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


# The image side with learned tokens, as the papers have it: VPT (Jia et al., ECCV 2022, equations 4 to 8), with the
# tokens where PromptSRC's independent vision-language prompting puts them. Head by head, and from the weights alone.

_NAMES = {  # of norm, attention and MLP in a block
    "open_clip": ("ln_1.", "attn.in_proj_", "attn.out_proj.", "ln_2.", "mlp.c_fc.", "mlp.c_proj."),
    "timm": ("norm1.", "attn.qkv.", "attn.proj.", "norm2.", "mlp.fc1.", "mlp.fc2."),
}


def image_features(visual: Any, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """(N, E) image features, not normalised, of a tiny ViT with tokens (D, T, W)."""
    return (_image_of_timm if hasattr(visual, "trunk") else _image_of_open_clip)(visual, pixels, tokens)


def _image_of_open_clip(visual: Any, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    w = dict(visual.state_dict())
    x = _patches(pixels, w["conv1.weight"])
    x = torch.cat([w["class_embedding"].expand(len(x), 1, -1), x], 1) + w["positional_embedding"]
    n_places, heads = x.shape[1], visual.transformer.resblocks[0].attn.num_heads
    x = torch.cat([x, tokens[0].expand(len(x), -1, -1)], 1)
    if "ln_pre.weight" in w:
        x = _norm(x, w, "ln_pre.", 1e-5)
    for i in range(len(visual.transformer.resblocks)):
        x = _with(x, n_places, tokens, i)
        x = _block(x, w, f"transformer.resblocks.{i}.", "open_clip", heads, 1e-5)
    if visual.pool_type == "tok":
        return _norm(x[:, 0], w, "ln_post.", 1e-5) @ w["proj"]
    return _norm(x[:, 1:n_places], w, "ln_post.", 1e-5).mean(1) @ w["proj"]


def _image_of_timm(visual: Any, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """SigLIP's ViT, and Perception Encoder's with class token and rotary embeddings; both pool by attention."""
    trunk, w = visual.trunk, dict(visual.trunk.state_dict())
    eps, heads = trunk.norm.eps, trunk.blocks[0].attn.num_heads
    x = _patches(pixels, w["patch_embed.proj.weight"]) + w.get("patch_embed.proj.bias", 0)
    if "cls_token" in w:
        x = torch.cat([w["cls_token"].expand(len(x), -1, -1), x], 1)
    x = x + w["pos_embed"]
    n_places = x.shape[1]
    x = torch.cat([x, tokens[0].expand(len(x), -1, -1)], 1)
    if "norm_pre.weight" in w:
        x = _norm(x, w, "norm_pre.", eps)
    turns = _turns(trunk, x.shape[1], n_places)
    for i in range(len(trunk.blocks)):
        x = _with(x, n_places, tokens, i)
        x = _block(x, w, f"blocks.{i}.", "timm", heads, eps, turns)
    x = _norm(x[:, :n_places], w, "norm.", eps)
    query = _linear(w["attn_pool.latent"].expand(len(x), -1, -1), w, "attn_pool.q.")
    key, value = _linear(x, w, "attn_pool.kv.").chunk(2, -1)
    pooled = _linear(_attention(query, key, value, trunk.attn_pool.num_heads), w, "attn_pool.proj.")
    pooled = pooled + _mlp(_norm(pooled, w, "attn_pool.norm.", eps), w, "attn_pool.mlp.fc1.", "attn_pool.mlp.fc2.")
    return _linear(pooled[:, 0], w, "head.") if "head.weight" in w else pooled[:, 0]


def _with(x: torch.Tensor, n_places: int, tokens: torch.Tensor, block: int) -> torch.Tensor:
    """What enters a block: deeper tokens replace what became of those before."""
    if not 0 < block < len(tokens):
        return x
    return torch.cat([x[:, :n_places], tokens[block].expand(len(x), -1, -1)], 1)


def _patches(pixels: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """(N, G, W) of square patches, row by row."""
    side, across = kernel.shape[-1], range(0, pixels.shape[-1], kernel.shape[-1])
    cut = [pixels[:, :, i : i + side, j : j + side].flatten(1) for i in across for j in across]
    return torch.stack(cut, 1) @ kernel.flatten(1).T


def _block(
    x: torch.Tensor, w: dict[str, Any], root: str, kind: str, heads: int, eps: float, turns: torch.Tensor | None = None
) -> torch.Tensor:
    norm1, qkv, out, norm2, up, down = (root + name for name in _NAMES[kind])
    query, key, value = _linear(_norm(x, w, norm1, eps), w, qkv).chunk(3, -1)
    x = x + _linear(_attention(query, key, value, heads, turns), w, out)
    return x + _mlp(_norm(x, w, norm2, eps), w, up, down)


def _attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int, turns: torch.Tensor | None = None
) -> torch.Tensor:
    of_heads = []
    for q, k, v in zip(*(part.chunk(heads, -1) for part in (query, key, value)), strict=True):
        if turns is not None:
            q, k = _turned(q, turns), _turned(k, turns)
        weights = torch.exp(q @ k.mT / q.shape[-1] ** 0.5)
        of_heads.append(weights / weights.sum(-1, keepdim=True) @ v)
    return torch.cat(of_heads, -1)


def _turns(trunk: Any, n_rows: int, n_places: int) -> torch.Tensor | None:
    """(n_rows, d / 2) complex numbers that rows are turned by: patches alone have a place in the picture."""
    if getattr(trunk, "rope", None) is None:
        return None
    sine, cosine = trunk.rope.pos_embed[:, ::2].chunk(2, -1)  # each angle stands there twice
    turns = torch.ones(n_rows, sine.shape[-1], dtype=torch.complex128)
    turns[n_places - len(sine) : n_places] = torch.complex(cosine, sine)
    return turns


def _turned(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    pairs = torch.complex(x[..., ::2].contiguous(), x[..., 1::2].contiguous()) * turns
    return torch.stack([pairs.real, pairs.imag], -1).flatten(-2)


def _mlp(x: torch.Tensor, w: dict[str, Any], up: str, down: str) -> torch.Tensor:
    x = _linear(x, w, up)
    return _linear(x * (1 + torch.erf(x / 2**0.5)) / 2, w, down)


def _linear(x: torch.Tensor, w: dict[str, Any], name: str) -> torch.Tensor:
    return x @ w[f"{name}weight"].T + w[f"{name}bias"]


def _norm(x: torch.Tensor, w: dict[str, Any], name: str, eps: float) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * w[f"{name}weight"] + w[f"{name}bias"]
