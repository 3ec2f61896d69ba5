"""Shrink: a JPEG decoded at a half, a quarter or an eighth, where that is enough for whoever looks at it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

from PIL import ImageFile

Size = tuple[int, int]  # width, height


@dataclass(frozen=True)
class Look:
    """How a picture is looked at: its short side resized to `side` pixels, from no less than `detail` times as many."""

    side: int
    detail: float

    @property
    def least_side(self) -> int:
        """Pixels of the short side that are needed."""
        return math.ceil(self.side * self.detail)


def shrink(image: ImageFile.ImageFile, factor: int, look: Look | None) -> Size:
    """Set an image that is not loaded to be decoded smaller, by `factor` at most or as much as a look allows.

    Of all formats only JPEG can, by powers of two.

    returns   the width and height to cut the picture to when it is loaded
    """
    full = image.size
    if look:
        factor = max(factor, min(full) // look.least_side)
    drafted = image.draft(None, (full[0] // factor, full[1] // factor)) if factor > 1 else None
    return _cut(full, drafted[1][2:], look.side) if look and drafted else image.size


def _cut(full: Size, exact: tuple[float, float], side: int) -> Size:
    """The size, with or without the last column and row, whose long side rounds as that of the full picture.

    A resize to `side` truncates it; one pixel more or fewer moves all the others by half a pixel, which shows in the
    features of textures.

    exact   width and height of what is left of the full picture, which need not be whole
    """
    widths, heights = ((math.floor(length), math.ceil(length)) for length in exact)

    def strays(size: Size) -> tuple[bool, float]:
        return _long_side(size, side) != _long_side(full, side), abs(size[0] / size[1] - full[0] / full[1])

    return min(product(widths, heights), key=strays)


def _long_side(size: Size, short: int) -> int:
    return short * max(size) // min(size)
