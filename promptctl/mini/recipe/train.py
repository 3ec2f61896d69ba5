"""Training the text tower: by steps, from a seed."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP

from sources import CLASS_NAMES, TRUNK, encode
from texts import PARTS, USUAL, Reading, Steering
from tower import encode as read
from tower import group

WIDTH, LAYERS, HEADS, MLP = 512, 3, PARTS, 1.0
CONFIG = {
    "embed_dim": 512,
    "vision_cfg": {
        "timm_model_name": TRUNK,
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "timm_proj_bias": True,
        "image_size": 224,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": WIDTH,
        "heads": HEADS,
        "layers": LAYERS,
        "mlp_ratio": MLP,
    },
}
RATE, TABLE_RATE = 1.5e-3, 1e-4
MEAN_WEIGHT = 264.0  # half of (a scale of 25 x the mean picture's length of 0.92) squared: as pictures weigh it
WARM = 100  # steps


def new_model(table: torch.Tensor, steering: Steering, *, seed: int) -> CLIP:
    """A tower that begins as a bag of words: attention hands on what tokens point to, the projection says it.

    Every head hands on one part of the joint space, the parts in which a name chooses what to heed of a context.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CLIP(**CONFIG)
    with torch.no_grad():
        model.token_embedding.weight.copy_(table)
        model.text_projection.copy_(steering.turn @ steering.back)
        for block in model.transformer.resblocks:
            block.attn.in_proj_weight[2 * WIDTH :] = steering.turn.T
            block.attn.out_proj.weight.copy_(steering.turn * (2 * LAYERS) ** -0.5)
    return model


def train(
    model: CLIP,
    reading: Reading,
    directions: torch.Tensor,
    mean: torch.Tensor,
    *,
    scale: float,
    steps: int,
    seed: int,
) -> None:
    """Train in place.

    directions   (C, 512), of the classes the tower may know: what a text says of them must be what its target says
    mean         (512), the mean picture: how much of it a text has must be how much its target has
    """
    rng = np.random.default_rng(seed)
    own = [p for n, p in model.named_parameters() if n.startswith(("transformer", "ln_final", "text_projection"))]
    dense = torch.optim.AdamW(
        [
            {"params": [p for p in own if p.ndim > 1], "weight_decay": 0.05},
            {"params": [p for p in own if p.ndim < 2], "weight_decay": 0.0},
            {"params": [model.positional_embedding], "lr": RATE * 0.2, "weight_decay": 0.0},
        ],
        lr=RATE,
        betas=(0.9, 0.98),
    )
    sparse = torch.optim.SparseAdam([model.token_embedding.weight], lr=TABLE_RATE, betas=(0.9, 0.98))
    falling = [torch.optim.lr_scheduler.LambdaLR(adam, lambda step: _rate(step, steps)) for adam in (dense, sparse)]
    began = time.perf_counter()
    for step in range(steps):
        groups, targets = reading.step(rng)
        rows = read(model, groups)
        loss = _loss(rows, targets, directions, scale) + MEAN_WEIGHT * ((rows - targets) @ mean).square().mean()
        dense.zero_grad()
        sparse.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(own, 1.0)
        for adam, slower in zip((dense, sparse), falling, strict=True):
            adam.step()
            slower.step()
        if (step + 1) % 250 == 0:
            left = (time.perf_counter() - began) / (step + 1) * (steps - step - 1) / 60
            cosine = (rows * targets).sum(1).mean().item()
            print(f"step {step + 1} of {steps}: cosine {cosine:.3f}, {left:.0f} min left", flush=True)


def _rate(step: int, steps: int) -> float:
    """Of the full rate: a short rise, then half a cosine down."""
    return min(1, (step + 1) / WARM) * (0.5 + 0.5 * math.cos(math.pi * step / steps)) + 1e-3


def _loss(rows: torch.Tensor, targets: torch.Tensor, directions: torch.Tensor, scale: float) -> torch.Tensor:
    """Near the target, and as near to every class and to every other target as the target is."""
    near = (1 - (rows * targets).sum(1)).mean()
    return 3 * near + 0.5 * _differs(rows, targets, directions, scale) + 0.5 * _differs(rows, targets, targets, scale)


def _differs(rows: torch.Tensor, targets: torch.Tensor, among: torch.Tensor, scale: float) -> torch.Tensor:
    said = F.log_softmax(scale * rows @ among.T, 1)
    wanted = F.log_softmax(scale * targets @ among.T, 1)
    return F.kl_div(said, wanted, log_target=True, reduction="batchmean")


@torch.no_grad()
def class_texts(model: CLIP) -> torch.Tensor:
    """ "a photo of a {}." of the 1000 classes, unit rows (1000, 512)."""
    first, last = (encode(part) for part in USUAL)
    rows = [
        read(model, [group(first, [encode(n) + last for n in CLASS_NAMES[k : k + 50]])]) for k in range(0, 1000, 50)
    ]
    return torch.cat(rows)
