"""One step of learning visual tokens, and photos encoded with them: python image_tower.py [THREADS]

ViT-B/32's shape with random weights, eight pictures, 4 tokens before each of 9 blocks; CPU-seconds, the least of four.

as a program would    the blocks called one after another, every weight with its gradient: the baseline
weights frozen        the same with gradients of the tokens alone
promptctl             ImageTower; then with blocks computed twice, and in bfloat16
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping

import torch
from open_clip.transformer import VisionTransformer

from promptctl.clip.image_tower import ImageTower
from promptctl.encoding.translate import engine

PICTURES, DEPTH, TOKENS, WIDTH = 8, 9, 4, 768
RUNS = 4

Way = Callable[[torch.Tensor], torch.Tensor]  # (D, T, W) → (N, E)


def vit() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(224, 32, WIDTH, 12, 12, 4.0, output_dim=512).eval()


def as_a_program_would(visual: VisionTransformer, pixels: torch.Tensor) -> Way:
    def features(tokens: torch.Tensor) -> torch.Tensor:
        x = visual.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], 1) + visual.positional_embedding
        places = x.shape[1]
        x = visual.ln_pre(torch.cat([x, tokens[0].expand(len(x), -1, -1)], 1))
        for d, block in enumerate(visual.transformer.resblocks):
            if 0 < d < len(tokens):
                x = torch.cat([x[:, :places], tokens[d].expand(len(x), -1, -1)], 1)
            x = block(x)
        return visual.ln_post(x[:, 0]) @ visual.proj

    return features


def steps(pixels: torch.Tensor) -> None:
    whole, frozen, tower = vit(), vit().requires_grad_(False), ImageTower(vit())
    ways: dict[str, Way] = {
        "as a program would": as_a_program_would(whole, pixels),
        "weights frozen": as_a_program_would(frozen, pixels),
        "promptctl": lambda tokens: tower.encode(pixels, tokens),
        "promptctl, blocks computed twice": lambda tokens: tower.encode(pixels, tokens, checkpointed=True),
        "promptctl, bfloat16": lambda tokens: tower.encode(pixels, tokens, precision="bfloat16"),
    }
    drawn = torch.randn(DEPTH, TOKENS, WIDTH, generator=torch.Generator().manual_seed(1)) / 50
    gradients: dict[str, torch.Tensor] = {}
    first = next(iter(ways))

    def step(name: str) -> None:
        tokens = drawn.clone().requires_grad_()
        with_gradient = [tokens, *(whole.parameters() if name == first else ())]
        loss = ways[name](tokens).square().sum()
        gradients[name] = torch.autograd.grad(loss, with_gradient)[0].flatten()

    seconds = least({name: lambda name=name: step(name) for name in ways})
    print(f"{'a step':34} CPU-s  of the baseline  cosine of the gradient to its")
    for name, taken in seconds.items():
        cosine = float(torch.cosine_similarity(gradients[name], gradients[first], dim=0))
        print(f"{name:34} {taken:5.2f}  {seconds[first] / taken:13.2f}x  {cosine:.7f}")


def encoding(pixels: torch.Tensor) -> None:
    tower = ImageTower(vit())
    towers: dict[str, torch.nn.Module] = {
        "no tokens": tower.visual,
        f"{TOKENS} tokens": tower.with_tokens(torch.randn(1, TOKENS, WIDTH) / 50),
        f"{TOKENS} tokens before {DEPTH} blocks": tower.with_tokens(torch.randn(DEPTH, TOKENS, WIDTH) / 50),
    }
    with torch.inference_mode():
        compiled = {name: engine(one, pixels) for name, one in towers.items()}
        own = least({name: lambda one=one: one(pixels) for name, one in towers.items()})
        run = least({name: lambda one=one: one(pixels) for name, one in compiled.items() if one})
    print(f"\n{'photos a CPU-second':34} PyTorch  OpenVINO")
    for name in towers:
        print(f"{name:34} {len(pixels) / own[name]:7.1f}  {len(pixels) / run[name] if name in run else 0:8.1f}")


def least(runs: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """CPU-seconds of each, in turns, after one that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(1 + RUNS):
        for name, run in runs.items():
            start = time.process_time()
            run()
            taken[name].append(time.process_time() - start)
    return {name: min(some[1:]) for name, some in taken.items()}


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    seen = torch.randn(PICTURES, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    steps(seen)
    encoding(seen)
