"""Likeness: near copies of pictures, such as a second size, another compression, or two of one moment.

A backbone sees many different pictures of one kind as alike, and a smaller size of one picture as less alike than one
would think. So its features only say which pairs to look at; a glance at their pixels decides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# docs/benchmarks.md has what these find on birds, clothes and textures
ALIKE = 0.85  # cosine of features from which on two pictures are looked at
NEAR = 0.95  # and from which on they are near copies if nothing speaks against it
SAME = 0.95  # correlation of thumbnails of near copies, or
AKIN = 0.7  # of those whose features are near as well: cut at the edges, say
BY_ITSELF = 0.98  # cosine of near copies where there are no pixels to look at
SIDE = 16  # pixels of a thumbnail
MOST_LOOKED_AT = 100  # pairs, the most alike first: decoding takes a while
_ROWS = 1024
_SAMPLED = 200  # of a class, to know how alike its pictures are anyhow

Rows = NDArray[np.float32]
Classes = NDArray[np.int64]
Thumbnail = NDArray[np.float64]  # (SIDE, SIDE) grey


def alike(measured: Rows, learned: Rows, least: float) -> list[tuple[int, int, float]]:
    """(row, row of the most alike in `learned`, their cosine) where that is at least so much, the most alike first.

    measured, learned   (N, E) and (M, E) unit rows
    """
    found = []
    for first in range(0, len(measured) if len(learned) else 0, _ROWS):
        cosines = measured[first : first + _ROWS] @ learned.T  # (at most _ROWS, M)
        best = cosines.argmax(1)
        highest = cosines[np.arange(len(best)), best]
        found += [(first + int(i), int(best[i]), float(highest[i])) for i in np.flatnonzero(highest >= least)]
    return sorted(found, key=lambda pair: -pair[2])


def is_near_copy(cosine: float, one: Thumbnail, other: Thumbnail) -> bool:
    """Whether two pictures are nearly the same, the second perhaps mirrored."""
    rows = (plain_row(picture)[None] for picture in (one, other))
    return bool(near_each_other(np.array([[cosine]], np.float32), *rows))


def near_each_other(cosines: Rows, ones: Rows, others: Rows) -> NDArray[np.bool_]:
    """Which of many pictures are near copies of which.

    cosines        (A, B) of their features
    ones, others   (A, SIDE²) and (B, SIDE²) thumbnails as `plain_row` gives them
    returns        (A, B)
    """
    mirrored = others.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(len(others), -1)
    correlations = np.maximum(ones @ others.T, ones @ mirrored.T)
    found: NDArray[np.bool_] = (correlations >= SAME) | ((cosines >= NEAR) & (correlations >= AKIN))
    return found


def plain_row(thumbnail: Thumbnail) -> Rows:
    """(SIDE²,) a thumbnail less its mean, of unit length, or zeros where it is of one grey."""
    row = (thumbnail - thumbnail.mean()).reshape(-1)
    length = float(np.linalg.norm(row))
    plain: Rows = (row / length if length > 1 else np.zeros_like(row)).astype(np.float32)
    return plain


def by_features_alone(measured: Rows, of_measured: Classes, learned: Rows, of_learned: Classes) -> list[int]:
    """Which rows are near copies of something in `learned`, as far as it can be told without pixels.

    Pictures of a class in which any two look that alike, such as parts on one bench, are no copies of each other.

    measured, learned          (N, E) and (M, E) unit rows
    of_measured, of_learned    (N,) and (M,) which class each shows
    """
    every, of_every = np.concatenate([measured, learned]), np.concatenate([of_measured, of_learned])
    tells = telling(every, of_every)[: len(measured)]
    return sorted(row for row, _, _ in alike(measured, learned, BY_ITSELF) if tells[row])


def telling(rows: Rows, classes: Classes) -> NDArray[np.bool_]:
    """(N,) whether looking nearly the same means anything in the class of each of (N, E) unit rows."""
    found, of_each = np.unique(classes, return_inverse=True)
    tells = np.array([_is_telling(rows[of_each == c]) for c in range(len(found))], dtype=np.bool_)
    return tells[of_each.reshape(-1)]


def _is_telling(of_class: Rows) -> bool:
    """Whether looking nearly the same means anything in a class; in one of two pictures it does."""
    some = of_class[:: max(1, len(of_class) // _SAMPLED)]
    pairs = (some @ some.T)[~np.eye(len(some), dtype=bool)]
    return len(some) < 3 or float(np.median(pairs)) < NEAR
