"""What visual tokens learn: python visual.py [--steps 1500] [--seeds 1,2,3] [--shots 4,16] [--model FOLDER] [--shape]

Draws pictures of shapes in colours and textures with captions, trains a small CLIP with a ViT on them from scratch
(kept in --model, and not trained again where that is there), and then has it tell the shapes and textures apart where
they are drawn in another way: as outlines of light grey on grainy paper. `promptctl learn` learns a context, visual
tokens in one block or in all, or both, each on the same shots; `evaluate` measures it beside zero-shot on 480 others.

--shape times a step at ViT-B/16's shape instead, with random weights, beside the tower's own forward pass.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFilter

SIDE = 32
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "arrow")
TEXTURES = ("plain", "striped", "dotted")
COLOURS = {
    "red": (215, 40, 40), "green": (40, 165, 60), "blue": (45, 80, 215), "yellow": (235, 205, 50),
    "orange": (240, 135, 30), "purple": (140, 60, 180), "white": (240, 240, 240), "black": (25, 25, 25),
}  # fmt: skip
CLASSES = [f"{texture} {shape}" for texture in ("striped", "dotted") for shape in SHAPES[:6]]
CAPTIONS = ("a photo of a {}.", "{}.")
CONFIG = {
    "embed_dim": 96,
    "vision_cfg": {"image_size": SIDE, "layers": 4, "width": 96, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 96, "heads": 3, "layers": 2},
}
PREPROCESS = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
BATCH = 64
DRAWN = 8_192  # pictures that it is trained on, over and over
WAYS = {
    "CoOp": {},
    "VPT, first block": {"learner": "vpt"},
    "VPT, all 4 blocks": {"learner": "vpt", "visual_depth": 4},
    "CoOp + VPT, first block": {"visual_tokens": 4},
    "CoOp + VPT, all 4 blocks": {"visual_tokens": 4, "visual_depth": 4},
}


# --------------------------------------------------------------------------- pictures


def outline(shape: str, radius: float) -> list[tuple[float, float]]:
    """Corners of a shape around the origin."""

    def around(n: int, *radii: float, turn: float = 0.0) -> list[tuple[float, float]]:
        angles = (2 * math.pi * i / n + turn for i in range(n))
        return [
            (math.sin(a) * radii[i % len(radii)], -math.cos(a) * radii[i % len(radii)]) for i, a in enumerate(angles)
        ]

    r, t = radius, radius / 3
    cross = [(-t, -r), (t, -r), (t, -t), (r, -t), (r, t), (t, t), (t, r), (-t, r), (-t, t), (-r, t), (-r, -t), (-t, -t)]
    heart = [
        (r * math.sin(a) ** 3, -r * (13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a)) / 16)
        for a in (2 * math.pi * i / 40 for i in range(40))
    ]
    return {
        "circle": around(40, r),
        "square": around(4, 1.2 * r, turn=math.pi / 4),
        "triangle": around(3, 1.2 * r),
        "star": around(10, 1.15 * r, 0.48 * r),
        "cross": cross,
        "ring": around(40, r),
        "heart": heart,
        "arrow": [(0, -r), (r, 0), (t, 0), (t, r), (-t, r), (-t, 0), (-r, 0)],
    }[shape]


def mask_of(shape: str, size: int, chance: random.Random) -> Image.Image:
    """Where a shape is, of any size, place and tilt."""
    radius, turn = size * chance.uniform(0.32, 0.4), chance.uniform(-0.25, 0.25)
    x, y = (size / 2 + size * chance.uniform(-0.09, 0.09) for _ in range(2))
    cos, sin = math.cos(turn), math.sin(turn)

    def placed(scale: float) -> list[tuple[float, float]]:
        return [(x + cos * a - sin * b, y + sin * a + cos * b) for a, b in outline(shape, scale * radius)]

    mask = Image.new("L", (size, size))
    draw = ImageDraw.Draw(mask)
    draw.polygon(placed(1.0), fill=255)
    if shape == "ring":
        draw.polygon(placed(0.55), fill=0)
    return mask


def texture_of(
    texture: str, size: int, ink: tuple[int, ...], other: tuple[int, ...], chance: random.Random
) -> Image.Image:
    cloth = Image.new("RGB", (2 * size, 2 * size), ink)
    draw, step = ImageDraw.Draw(cloth), size * chance.uniform(0.13, 0.18)
    if texture == "striped":
        for i in range(int(2 * size / step) + 1):
            draw.rectangle((0, i * step, 2 * size, i * step + step / 2), fill=other)
    if texture == "dotted":
        for i in range(int(2 * size / step) + 1):
            for j in range(int(2 * size / step) + 1):
                at = (i * step, j * step)
                draw.ellipse((*at, at[0] + 0.55 * step, at[1] + 0.55 * step), fill=other)
    left = size // 2
    turned = cloth.rotate(chance.choice((0, 45, 90, 135)) + chance.uniform(-10, 10), Image.Resampling.BILINEAR)
    return turned.crop((left, left, left + size, left + size))


def picture(shape: str, texture: str, colour: str, chance: random.Random) -> Image.Image:
    """A coloured, textured shape on a ground of another colour."""
    size = 2 * SIDE
    ink, other, ground = COLOURS[colour], *(COLOURS[c] for c in chance.sample([c for c in COLOURS if c != colour], 2))
    image = Image.new("RGB", (size, size), ground)
    image.paste(texture_of(texture, size, ink, other, chance), (0, 0), mask_of(shape, size, chance))
    return image.resize((SIDE, SIDE), Image.Resampling.BOX)


def sketch(shape: str, texture: str, chance: random.Random) -> Image.Image:
    """The same as it was never seen: light grey pencil on grainy paper."""
    size = 2 * SIDE
    paper, lead = chance.randint(185, 225), chance.randint(60, 110)
    mask = mask_of(shape, size, chance)
    edge = mask.filter(ImageFilter.MaxFilter(5)).point(lambda v: 255 * (v > 128))
    inner = mask.filter(ImageFilter.MinFilter(3))
    ring = np.clip(np.asarray(edge, float) - np.asarray(inner, float), 0, 255) / 255
    cloth = texture_of(texture, size, (0,) * 3, (255,) * 3, chance).convert("L")
    filled = np.asarray(cloth, float) / 255 * np.asarray(inner, float) / 255
    grain = np.random.default_rng(chance.getrandbits(32)).normal(0, 14, (size, size))
    grey = paper - (paper - lead) * np.maximum(ring, 0.6 * filled) + grain
    shade = np.linspace(-25, 25, size)[:, None] * chance.choice((-1, 1))
    pixels = np.clip(grey + shade, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)


def captioned(n: int, chance: random.Random) -> Iterator[tuple[Image.Image, str]]:
    for _ in range(n):
        shape, texture, colour = chance.choice(SHAPES), chance.choice(TEXTURES), chance.choice(list(COLOURS))
        # nobody says the colour, which is the easiest to see and would be learned first
        yield picture(shape, texture, colour, chance), chance.choice(CAPTIONS).format(f"{texture} {shape}")


def write_sketches(folder: Path, each: int, seed: int) -> None:
    chance = random.Random(seed)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        texture, shape = name.split()
        for i in range(each):
            sketch(shape, texture, chance).save(folder / name / f"{i}.png")


# --------------------------------------------------------------------------- the small CLIP


def train(folder: Path, steps: int) -> None:
    """From scratch by CLIP's own loss: AdamW, a warm-up and a cosine; the words' vectors stay as they are drawn."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": PREPROCESS}))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False).train()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    drawn, captions = zip(*captioned(DRAWN, random.Random(0)), strict=True)
    pictures, texts = torch.from_numpy(np.stack([np.asarray(one) for one in drawn])), tokenizer(list(captions))
    model.token_embedding.weight.requires_grad_(False).mul_(
        10
    )  # most of the numbers there are, hardly any of them used
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.1)
    started, generator = time.monotonic(), torch.Generator().manual_seed(0)
    for step in range(steps):
        rate = min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * rate
        rows = torch.randint(DRAWN, (BATCH,), generator=generator)
        pixels = pictures[rows].permute(0, 3, 1, 2).float() / 127.5 - 1
        logits = (
            model.logit_scale.exp()
            * model.encode_image(pixels, normalize=True)
            @ model.encode_text(texts[rows], normalize=True).T
        )
        same = (texts[rows][:, None] == texts[rows][None]).all(-1).float()  # of equal captions each is right
        target = same / same.sum(1, keepdim=True)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        if step % 50 == 49:
            print(f"step {step + 1}: loss {loss.item():.3f}, {time.monotonic() - started:.0f} s", flush=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")


# --------------------------------------------------------------------------- what is learned with it


def measure(model: str, shots: list[int], seeds: list[int]) -> None:
    import promptctl

    with tempfile.TemporaryDirectory() as home:
        os.environ["PROMPTCTL_HOME"] = home
        train_on, test_on = Path(home, "sketches", "train"), Path(home, "sketches", "test")
        write_sketches(train_on, 40, seed=1)
        write_sketches(test_on, 40, seed=2)
        write_seen(Path(home, "seen"))
        promptctl.learn(train_on, "words", shots=1, epochs=0, init="a photo of a", head=False, model=model)
        seen = promptctl.evaluate("words", Path(home, "seen")).zero_shot.top1
        drawn = promptctl.evaluate("words", test_on).zero_shot.top1
        print(f"\nzero-shot: {100 * seen:.1f} % of pictures as it was trained on, {100 * drawn:.1f} % of sketches\n")
        print(f"| {len(CLASSES)} classes | " + " | ".join(f"{n} shots | seconds" for n in shots) + " |")
        print("|---|" + "---|" * 2 * len(shots))
        print("| zero-shot | " + " | ".join(f"{100 * drawn:.1f} | 0" for _ in shots) + " |")
        for name, settings in WAYS.items():
            cells = [_cell(promptctl, train_on, test_on, model, n, seeds, settings) for n in shots]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def write_seen(folder: Path) -> None:
    chance = random.Random(3)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        texture, shape = name.split()
        for i in range(20):
            picture(shape, texture, chance.choice(list(COLOURS)), chance).save(folder / name / f"{i}.png")


def _cell(
    promptctl: object,
    train_on: Path,
    test_on: Path,
    model: str,
    shots: int,
    seeds: list[int],
    settings: dict[str, object],
) -> str:
    learn: Callable[..., object] = promptctl.learn  # type: ignore[attr-defined]
    evaluate: Callable[..., object] = promptctl.evaluate  # type: ignore[attr-defined]
    right, seconds = [], []
    for seed in seeds:
        started = time.monotonic()
        how = {"head": False} | settings if settings.get("learner") != "vpt" else settings
        learn(train_on, "c", fresh=True, shots=shots, seed=seed, model=model, **how)
        seconds.append(time.monotonic() - started)
        right.append(100 * evaluate("c", test_on).learned.top1)  # type: ignore[attr-defined]
    return f"{statistics.mean(right):.1f} ± {statistics.pstdev(right):.1f} | {statistics.mean(seconds):.0f}"


# --------------------------------------------------------------------------- at ViT-B/16's shape


def time_a_step(batch: int = 8, runs: int = 3) -> None:
    """Seconds of a step on this machine, with random weights; that they are no good changes nothing about the time."""
    import open_clip

    from promptctl.clip.image_tower import ImageTower

    visual = open_clip.create_model("ViT-B-16", pretrained=None).eval().visual
    tower, pixels = ImageTower(visual, name="ViT-B-16"), torch.randn(batch, 3, 224, 224)

    def fastest(step: Callable[[], object]) -> float:
        def seconds() -> float:
            started = time.monotonic()
            step()
            return time.monotonic() - started

        return min(seconds() for _ in range(runs))

    def learned(depth: int, checkpointed: bool) -> Callable[[], object]:
        tokens = torch.randn(depth, 4, tower.width).mul_(0.02).requires_grad_()
        return lambda: torch.autograd.grad(
            tower.encode(pixels, tokens, checkpointed=checkpointed).square().sum(), tokens
        )

    with torch.no_grad():
        plain = fastest(lambda: visual(pixels))
    print(f"ViT-B/16's shape, {batch} photos, {torch.get_num_threads()} threads, float32: forward alone {plain:.2f} s")
    for depth, checkpointed in ((1, False), (9, False), (9, True)):
        taken = fastest(learned(depth, checkpointed))
        how = ", blocks computed twice" if checkpointed else ""
        times = f"{taken:.2f} s, {taken / plain:.1f} times forward, {batch / taken:.2f} photos/s"
        print(f"a step with 4 tokens in {depth} blocks{how}: {times}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--shots", default="4,16")
    parser.add_argument("--model", type=Path, default=Path("small-clip"))
    parser.add_argument("--shape", action="store_true")
    options = parser.parse_args()
    if options.shape:
        time_a_step()
        return
    if not (options.model / "open_clip_model.safetensors").exists():
        train(options.model, options.steps)
    shots, seeds = ([int(n) for n in text.split(",")] for text in (options.shots, options.seeds))
    measure(f"local-dir:{options.model.resolve()}", shots, seeds)


if __name__ == "__main__":
    main()
