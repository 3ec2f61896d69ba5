"""Likeness: pictures that a backbone sees as nearly the same, such as a second size or two of one moment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Cosine. With mini, 94 to 100 in 100 of birds, clothes and textures saved again as JPEG 75, mirrored or without 2 %
# at each side reach it; 4 in 1,000 of different photos of one kind of clothes do.
NEAR = 0.95
_ROWS = 1024
_LOOKED_AT = 200  # of a class, to know how alike its pictures are anyhow

Rows = NDArray[np.float32]
Classes = NDArray[np.int64]


def near_copies(measured: Rows, of_measured: Classes, learned: Rows, of_learned: Classes) -> list[tuple[int, int]]:
    """(row, row of the most alike in `learned`) of every picture that has a near copy there.

    Pictures of a class in which any two look that alike, such as parts on one bench, are no copies of each other.

    measured, learned          (N, E) and (M, E) unit rows
    of_measured, of_learned    (N,) and (M,) which class each shows
    """
    if not len(measured) or not len(learned):
        return []
    every, of_every = np.concatenate([measured, learned]), np.concatenate([of_measured, of_learned])
    telling = np.array([_is_telling(every[of_every == c]) for c in np.unique(of_every)])
    usable = telling[np.searchsorted(np.unique(of_every), of_measured)]
    found = []
    for first in range(0, len(measured), _ROWS):
        cosines = measured[first : first + _ROWS] @ learned.T  # (at most _ROWS, M)
        best = cosines.argmax(1)
        near = (cosines.max(1) >= NEAR) & usable[first : first + _ROWS]
        found += [(first + int(row), int(best[row])) for row in np.flatnonzero(near)]
    return found


def _is_telling(of_class: Rows) -> bool:
    """Whether looking nearly the same means anything in a class; in one of two pictures it does."""
    some = of_class[:: max(1, len(of_class) // _LOOKED_AT)]
    pairs = (some @ some.T)[~np.eye(len(some), dtype=bool)]
    return len(some) < 3 or float(np.median(pairs)) < NEAR
