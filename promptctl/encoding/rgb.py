"""RGB: a loaded picture of any mode in three times eight bits, a large one shrunk on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

_LONGEST_SHAPE = 50  # long side to short
_LARGE = 32_000_000  # pixels, from which on a picture is shrunk while it is read
_SHORT_SIDE = 2000  # pixels that are left of it; backbones look at 224 to 512
_STRIP = 1 << 18  # pixels that are converted at a time


def to_rgb(image: Image.Image) -> Image.Image:
    """A loaded picture in RGB, shrunk if it is large, strip by strip, so that there is never a second whole one."""
    box = _middle(image.size)
    factor = shrink_factor((box[2] - box[0], box[3] - box[1]))
    if image.mode == "RGB" and "transparency" not in image.info and factor == 1 and box == (0, 0, *image.size):
        return image
    full = _full_scale(image, box)
    picture = Image.new("RGB", (-(-(box[2] - box[0]) // factor), -(-(box[3] - box[1]) // factor)))
    for strip in _strips(box, factor):
        piece = _piece_to_rgb(image.crop(strip), full)
        picture.paste(piece.reduce(factor) if factor > 1 else piece, (0, (strip[1] - box[1]) // factor))
    return picture


def shrink_factor(size: tuple[int, int]) -> int:
    """How many times smaller a picture is made; 1 for all ordinary ones."""
    return max(1, min(size) // _SHORT_SIDE) if math.prod(size) >= _LARGE else 1


def _middle(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box that is looked at: of a line its middle, since resizing it by its short side would take gigabytes."""
    longest = _LONGEST_SHAPE * min(size)
    width, height = (min(side, longest) for side in size)
    left, upper = (size[0] - width) // 2, (size[1] - height) // 2
    return left, upper, left + width, upper + height


def _strips(box: tuple[int, int, int, int], factor: int) -> Iterator[tuple[int, int, int, int]]:
    left, upper, right, lower = box
    rows = max(1, _STRIP // (right - left) // factor) * factor
    for top in range(upper, lower, rows):
        yield left, top, right, min(top + rows, lower)


def _piece_to_rgb(image: Image.Image, full: float) -> Image.Image:
    if _is_deep(image):
        return Image.fromarray(_to_eight_bits(image, full)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        colour = image.convert("RGBA")
        white = Image.new("RGBA", colour.size, "white")
        return Image.alpha_composite(white, colour).convert("RGB")
    return image.convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"  # Pillow's own convert clips 16 bits to white


def _full_scale(image: Image.Image, box: tuple[int, int, int, int]) -> float:
    """The value that stands for white in a picture of more than 8 bits."""
    if not _is_deep(image) or image.mode.startswith("I;16"):
        return 65535.0
    largest = max(_values(image.crop(strip)).max(initial=0.0) for strip in _strips(box, 1))
    if image.mode == "F" and largest <= 1:
        return 1.0
    return 255.0 if largest <= 255 else 65535.0 if largest <= 65535 else float(largest)


def _to_eight_bits(image: Image.Image, full: float) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(np.clip(_values(image) / full, 0, 1) * 255 + 0.5, dtype=np.uint8)


def _values(image: Image.Image) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
