"""Boxes: the animals in a photo, each cut out as a square and seen at as much detail as a whole photo."""

from __future__ import annotations

import math

from PIL import Image

from promptctl.encoding.shrink import Look

Box = tuple[float, float, float, float]  # x_min, y_min, width, height as fractions of the upright picture

BOXES = "square-1"  # part of every cached feature's key: change it when square_of() or look_of_box() changes
_MARGIN = 0.25  # that the side of a square is longer than the box; docs/benchmarks.md compares
_DETAIL = 2  # as of a whole photo, see views.py
_SMALLEST = 2.0**-10  # of a side; below it no camera has more pixels to give


def cut(picture: Image.Image, box: Box) -> Image.Image:
    """A box with its surroundings, square, see `square_of`."""
    return picture.crop(square_of(box, *picture.size))


def square_of(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, upper, right, lower of the square around a box, in pixels of a picture, and at least one of them.

    A backbone looks at the middle square of what it is given, which of a long box would not hold the whole animal; and
    boxes are never exact, so there is a margin. Where the picture ends, the square is moved into it, and it is never
    longer than a side of the picture.
    """
    x, y, w, h = box
    side = (1 + _MARGIN) * max(w * width, h * height)
    left, right = _span(x + w / 2, side, width)
    upper, lower = _span(y + h / 2, side, height)
    return left, upper, right, lower


def _span(middle: float, side: float, length: int) -> tuple[int, int]:
    """From where to where a side goes of which the middle is known as a fraction, inside of 0 to `length`."""
    size = min(max(1, round(side)), length)
    start = min(max(0, round(middle * length - side / 2)), length - size)
    return start, start + size


def look_of_box(box: Box, size: int) -> Look:
    """How a backbone looks at `size` by `size` pixels of a box.

    It depends on the box alone and in steps of two, so that boxes of one picture are mostly decoded together, and what
    is decoded for one does not depend on the others.
    """
    _, _, w, h = box
    share = 2.0 ** math.floor(math.log2(max(w, h, _SMALLEST)))  # of the short side of the picture, or less
    return Look(size, _DETAIL / min(share, 1.0))


def key_of(box: Box) -> str:
    """A box as part of a key: the same for the same numbers, however a file writes them."""
    return f"{BOXES}.{','.join(f'{float(number)!r}' for number in box)}"
