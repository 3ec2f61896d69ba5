"""Groups: images that belong together, as copies, near copies and bursts do, so that no split takes them apart."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptctl.data.bursts import believed
from promptctl.data.near_copies import ALIKE, BY_ITSELF, SIDE, Rows, near_each_other, plain_row, telling
from promptctl.encoding.decode import glance
from promptctl.encoding.files import UnreadableImage, n_bytes_of

LOOKED_AT = 0.7  # cosine of features from which on; small sizes of a picture may have no more, and thumbnails decide
BURST = 3.0  # seconds between pictures of one moment
MOST_FILES = 4000  # that are looked at, those that are most like another first
MOST_BYTES = 1_000_000_000  # and of no more bytes together: decoding takes a while
_TILE = 1024  # rows that are compared with as many at once

Pairs = NDArray[np.int64]  # (P, 2) places of images


def groups_of(
    features: Rows,
    labels: Sequence[str],
    sha256: Sequence[str],
    paths: Sequence[Path | None],
    *,
    before: Sequence[int] | None = None,
) -> NDArray[np.int64]:
    """Which images belong together: copies, near copies, and pictures of one moment that look alike.

    Features say which files to look at, thumbnails and the time in EXIF decide. What is known by its features alone
    belongs to what they find nearly the same, unless all of a class looks so. In whatever order the images come, they
    form the same groups.

    features   (N, E) unit rows
    paths      (N,) of the files; None: there is none any more
    before     (N,) groups that are known, which stay together; below zero: none
    returns    (N,) for each image the place of the first of its group: its own, if it is alone
    """
    order = sorted(range(len(sha256)), key=lambda i: (sha256[i], labels[i]))
    images = _Images(
        np.asarray(features, np.float32)[order],
        np.unique([labels[i] for i in order], return_inverse=True)[1].reshape(-1),
        {place: path for place, i in enumerate(order) if (path := paths[i]) is not None},
    )
    same = equal_pairs([sha256[i] for i in order])
    known = equal_pairs([before[i] if before[i] >= 0 else (i,) for i in order]) if before is not None else same[:0]
    numbers = np.empty(len(order), np.int64)
    numbers[order] = joined(len(order), [same, known, *images.near_by_pixels(), *images.near_by_features()])
    return first_places(numbers)


def copies_of(features: Rows, paths: Sequence[Path]) -> NDArray[np.int64]:
    """Which files are copies or near copies of an earlier one: of those most alike by their features, pixels decide.

    features   (N, E) unit rows
    returns    (N,) for each the place of the first that looks the same: its own, if it is the first
    """
    images = _Images(np.asarray(features, np.float32), np.zeros(len(paths), np.int64), dict(enumerate(paths)))
    return first_places(joined(len(paths), [*images.near_by_pixels(ALIKE, burst=0)]))


def first_places(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) where each number stands first."""
    _, first, of_each = np.unique(numbers, return_index=True, return_inverse=True)
    places: NDArray[np.int64] = first[of_each.reshape(-1)]
    return places


@dataclass(frozen=True)
class _Images:
    """Images in an order of their own, by content."""

    rows: Rows  # (N, E) unit rows
    classes: NDArray[np.int64]  # (N,)
    files: Mapping[int, Path]  # of those that have one

    def near_by_pixels(self, least: float = LOOKED_AT, *, burst: float = BURST) -> Iterator[Pairs]:
        """Files that are near copies, or of one burst.

        least   cosine of features from which on two are looked at
        burst   seconds between pictures of one moment; 0: none belong together for their time
        """
        seen = _glances({i: self.files[i] for i in self._worth_a_look(least)})
        index = np.array(list(seen), np.int64)
        thumbnails = np.array([row for row, _ in seen.values()], np.float32).reshape(-1, SIDE * SIDE)
        taken = believed(np.array([taken for _, taken in seen.values()], np.float64))
        for a, b, cosines in _tiles(self.rows[index]):
            near = near_each_other(cosines, thumbnails[a], thumbnails[b])
            near |= (np.abs(taken[a, None] - taken[None, b]) <= burst) & (burst > 0)
            yield _pairs(near & (cosines >= least), index[a], index[b])

    def near_by_features(self) -> Iterator[Pairs]:
        """Those nearly the same by their features, where one or both have no file and such likeness tells something."""
        if len(self.files) == len(self.rows):
            return
        has_file = np.isin(np.arange(len(self.rows)), list(self.files))
        index = np.flatnonzero(telling(self.rows, self.classes))
        for a, b, cosines in _tiles(self.rows[index]):
            seen = has_file[index[a], None] & has_file[None, index[b]]
            yield _pairs((cosines >= BY_ITSELF) & ~seen, index[a], index[b])

    def _worth_a_look(self, least: float) -> list[int]:
        """The files that are like another, where there are too many those that are most so, in order."""
        index = np.array(list(self.files), np.int64)
        best = np.full(len(index), -1.0, np.float32)
        for a, b, cosines in _tiles(self.rows[index]):
            if a == b:
                np.fill_diagonal(cosines, -1)
            best[a] = np.maximum(best[a], cosines.max(1))
            best[b] = np.maximum(best[b], cosines.max(0))
        ranked = index[np.argsort(-best, kind="stable")[: np.count_nonzero(best >= least)]][:MOST_FILES]
        n_bytes = np.cumsum([_size(self.files[int(i)]) for i in ranked])
        return sorted(ranked[n_bytes <= MOST_BYTES].tolist())


def _glances(files: Mapping[int, Path]) -> dict[int, tuple[Rows, float]]:
    """The thumbnail of each that can be read, and when it was taken."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        seen = pool.map(_glance, files.values())
        return {i: glance for i, glance in zip(files, seen, strict=True) if glance is not None}


def _glance(path: Path) -> tuple[Rows, float] | None:
    try:
        thumbnail, taken = glance(path, SIDE)
    except UnreadableImage:  # gone meanwhile
        return None
    return plain_row(thumbnail), float("nan") if taken is None else taken


def _size(path: Path) -> int:
    try:
        return n_bytes_of(path)
    except OSError:
        return 0


def _tiles(rows: Rows) -> Iterator[tuple[slice, slice, Rows]]:
    """(rows, rows, their cosines) for every two, some at a time; of two places only one with the other."""
    starts = range(0, len(rows), _TILE)
    for first in starts:
        for second in starts[first // _TILE :]:
            a, b = slice(first, min(first + _TILE, len(rows))), slice(second, min(second + _TILE, len(rows)))
            yield a, b, rows[a] @ rows[b].T


def _pairs(found: NDArray[np.bool_], of_rows: NDArray[np.int64], of_columns: NDArray[np.int64]) -> Pairs:
    rows, columns = np.nonzero(found)
    return np.stack([of_rows[rows], of_columns[columns]], 1)


def joined(n: int, pairs: Sequence[Pairs]) -> NDArray[np.int64]:
    """(n,) for each of n things a number, from 0, of all that it hangs together with by pairs of those that do."""
    ones, others = np.concatenate([*pairs, np.empty((0, 2), np.int64)]).T
    first = np.arange(n)  # of those it is known to hang together with
    while (first[ones] != first[others]).any():
        np.minimum.at(first, first[ones], first[others])
        np.minimum.at(first, first[others], first[ones])
        while (first != first[first]).any():
            first = first[first]
    return np.unique(first, return_inverse=True)[1].reshape(-1)


def equal_pairs(keys: Sequence[Hashable]) -> Pairs:
    """Places of equal keys, each but the first beside the first."""
    first: dict[Hashable, int] = {}
    found = [(at, i) for i, key in enumerate(keys) if (at := first.setdefault(key, i)) != i]
    return np.array(found, np.int64).reshape(-1, 2)
