"""Views: the random crops of a picture that training sees."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageOps

from promptctl.encoding.shrink import Look

VIEWS = "crop-flip-1"  # part of every cached feature's key: change it when view_box() changes
_AREA = (0.08, 1.0)  # of the picture, as torchvision's RandomResizedCrop and CoOp have it
_RATIO = (3 / 4, 4 / 3)  # width to height
_TRIES = 10
_DETAIL = 2  # docs/benchmarks.md has what features lose by less
_DETAIL_OF_VIEWS = 4.1  # of the smallest crop, sqrt(0.08 * 3 / 4) of the short side, one is left


def look_of(size: int, *, views: bool) -> Look:
    """How a backbone looks at `size` by `size` pixels of a picture, or of its random views."""
    return Look(size, _DETAIL_OF_VIEWS if views else _DETAIL)


def view(picture: Image.Image, sha256: str, number: int, size: int) -> Image.Image:
    """One of the random views CoOp trains on: a resized crop, mirrored half of the time.

    number   from 0; the view is decided by it and the content of the file alone, on any machine
    returns  a square picture of `size` pixels, bicubic
    """
    rng = np.random.default_rng([number, *bytes.fromhex(sha256)])
    box = view_box(*picture.size, rng)
    square = picture.crop(box).resize((size, size), Image.Resampling.BICUBIC)
    return ImageOps.mirror(square) if rng.random() < 0.5 else square


def view_box(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Left, upper, right, lower of a random crop, drawn as torchvision's RandomResizedCrop draws it."""
    for _ in range(_TRIES):
        area = width * height * rng.uniform(*_AREA)
        ratio = math.exp(rng.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, upper = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, upper, left + w, upper + h
    # a picture too long and thin for any of them: the largest allowed crop in its middle
    w, h = min(width, round(height * _RATIO[1])), min(height, round(width / _RATIO[0]))
    left, upper = (width - w) // 2, (height - h) // 2
    return left, upper, left + w, upper + h
