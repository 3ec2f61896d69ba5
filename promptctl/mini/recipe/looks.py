"""Words grounded in painted pictures: what the image tower sees in them gives the words their directions.

Patterns come from patterns.py. Colours are patterns painted in one hue; looks such as blurry or dark are what changes
when the same picture is blurred or darkened.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from multiprocessing import Pool

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter, zoom

from patterns import PATTERNS, SIZE, paint, picture
from sources import Projection

EACH = 50  # pictures of a word
FIRST = 1000  # number of the first; pictures with smaller numbers are for looking and measuring
Looks = dict[str, dict[str, torch.Tensor]]  # directions (512) by kind and word
COLOURS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[str, ...]]] = {
    # hue (turns), saturation, value, other words
    "red": ((-0.02, 0.02), (0.7, 1), (0.5, 1), ("crimson", "scarlet", "reddish")),
    "orange": ((0.06, 0.1), (0.75, 1), (0.8, 1), ("orangish",)),
    "yellow": ((0.14, 0.17), (0.6, 1), (0.8, 1), ("golden", "yellowish")),
    "green": ((0.28, 0.4), (0.5, 1), (0.35, 0.9), ("greenish", "emerald")),
    "blue": ((0.55, 0.67), (0.55, 1), (0.4, 1), ("azure", "bluish", "navy")),
    "purple": ((0.75, 0.82), (0.5, 1), (0.4, 0.9), ("violet", "lilac", "purplish")),
    "pink": ((0.88, 0.97), (0.25, 0.6), (0.85, 1), ("rosy", "pinkish", "magenta")),
    "brown": ((0.04, 0.09), (0.5, 0.85), (0.25, 0.55), ("tan", "brownish", "chestnut")),
    "black": ((0, 1), (0, 0.15), (0, 0.15), ("ebony", "blackish")),
    "white": ((0, 1), (0, 0.06), (0.88, 1), ("ivory", "whitish", "snowy")),
    "gray": ((0, 1), (0, 0.08), (0.35, 0.65), ("grey", "grayish", "silver")),
}
LOOKS: dict[str, tuple[str, ...]] = {
    "blurry": ("blurred", "out of focus", "unfocused"),
    "black and white": ("greyscale", "grayscale", "monochrome"),
    "dark": ("dim", "gloomy"),
    "bright": ("overexposed", "brightly lit"),
    "pixelated": ("low resolution", "blocky"),
    "noisy": ("jpeg corrupted", "corrupted"),
    "faded": ("washed out", "pale", "hazy"),
    "colorful": ("colourful", "multicolored", "vivid"),
}


def hued(colour: str, seed: int) -> np.ndarray:
    """A picture of any pattern whose colours all are this one."""
    rng = np.random.default_rng([seed, 7])
    hue, saturation, value, _ = COLOURS[colour]
    stops = [
        colorsys.hsv_to_rgb(rng.uniform(*hue) % 1, rng.uniform(*saturation), rng.uniform(*value)) for _ in range(2)
    ]
    surface = PATTERNS[rng.choice(sorted(PATTERNS))][0](rng)
    mixed = np.stack([np.interp(surface, (0, 1), [s[k] for s in stops]) for k in range(3)], -1)
    return (mixed.clip(0, 1) * 255).astype(np.uint8)


def _plain(seed: int) -> np.ndarray:
    """A coloured picture of any pattern, the ground on which looks are shown."""
    rng = np.random.default_rng([seed, 11])
    return paint(PATTERNS[rng.choice(sorted(PATTERNS))][0](rng), rng)


def look(name: str, image: np.ndarray, seed: int) -> np.ndarray:
    """The image, blurred, darkened and so on; bytes in, bytes out."""
    rng = np.random.default_rng([seed, 13])
    x = image / 255.0
    if name == "blurry":
        x = gaussian_filter(x, (rng.uniform(3, 9),) * 2 + (0,))
    elif name == "black and white":
        x = np.repeat((x @ [0.299, 0.587, 0.114])[..., None], 3, -1)
    elif name == "dark":
        x = x * rng.uniform(0.08, 0.35)
    elif name == "bright":
        x = 1 - (1 - x) * rng.uniform(0.1, 0.4)
    elif name == "pixelated":
        cell = rng.integers(7, 16)
        x = zoom(x[::cell, ::cell], (cell, cell, 1), order=0)[:SIZE, :SIZE]
    elif name == "noisy":
        x = x + rng.uniform(0.15, 0.4) * rng.standard_normal(x.shape)
    elif name == "faded":
        x = 0.5 + (x - 0.5) * rng.uniform(0.15, 0.4)
    elif name == "colorful":
        x = x.mean(-1, keepdims=True) + (x - x.mean(-1, keepdims=True)) * rng.uniform(2, 4)
    return (x.clip(0, 1) * 255).astype(np.uint8)


def _painted(job: tuple[str, str, int]) -> np.ndarray:
    kind, word, seed = job
    if kind == "pattern":
        return picture(word, seed)
    if kind == "colour":
        return hued(word, seed)
    return look(word, _plain(seed), seed) if word else _plain(seed)


def jobs(seed: int) -> Iterator[tuple[str, str, int]]:
    """Every picture to paint: its kind, its word and its number."""
    for number in range(FIRST + seed * EACH, FIRST + (seed + 1) * EACH):
        yield from (("pattern", word, number) for word in PATTERNS)
        yield from (("colour", word, number) for word in COLOURS)
        yield from (("look", word, number) for word in ("", *LOOKS))


@torch.inference_mode()
def pooled(trunk: torch.nn.Module, *, seed: int) -> tuple[list[tuple[str, str]], torch.Tensor]:
    """Kind and word of every picture, and what the image tower pools from it (N, 1280)."""
    todo = list(jobs(seed))
    rows = []
    with Pool() as painters:
        pictures = painters.imap(_painted, todo, chunksize=16)
        for start in range(0, len(todo), 64):
            batch = np.stack([next(pictures) for _ in todo[start : start + 64]])
            x = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 127.5 - 1
            rows.append(trunk(x.contiguous(memory_format=torch.channels_last)))
    return [(kind, word) for kind, word, _ in todo], torch.cat(rows)


def grounded(kinds: list[tuple[str, str]], pooled: torch.Tensor, project: Projection) -> Looks:
    """Unit rows (512) by kind and word: how pictures of a word differ from pictures of its kind, and partly what
    all pictures of the kind have in common, so that a pattern's word also tells patterns from things."""
    seen = project(pooled)
    found: Looks = {}
    for kind, common in (("pattern", 0.5), ("colour", 0.3), ("look", 0.0)):
        words = sorted({w for k, w in kinds if k == kind})
        means = torch.stack([seen[[(kind, word) == pair for pair in kinds]].mean(0) for word in words])
        middle = means[words.index("")] if "" in words else means.mean(0)
        rows = F.normalize(F.normalize(means - middle + 1e-9, dim=-1) + common * F.normalize(middle, dim=0), dim=-1)
        found[kind] = {word: row for word, row in zip(words, rows, strict=True) if word}
    return found


def synonyms() -> dict[str, tuple[str, str]]:
    """Every grounded word and its like: the kind and the word it stands for."""
    table = {w: ("pattern", pattern) for pattern, (_, ws) in PATTERNS.items() for w in (pattern, *ws)}
    table |= {w: ("colour", c) for c, (*_, ws) in COLOURS.items() for w in (c, *ws)}
    return table | {w: ("look", name) for name, ws in LOOKS.items() for w in (name, *ws)}
