"""Bursts: photos of one folder that were taken shortly after one another, by the time in their EXIF."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from promptctl.encoding.decode import moment_of
from promptctl.progress import OnStep
from promptctl.remote import path_of

MOST = 1000  # photos of one burst; what goes on for longer is a series, and is cut
_MOST_A_SECOND = 60  # pictures that a camera takes; more say that its clock stood still
_AT_ONCE = 512  # files

Seconds = NDArray[np.float64]


def bursts_of(photos: Sequence[str], gap: float, on_step: OnStep | None = None) -> Iterator[list[str]]:
    """All photos, those of a burst together and in the order they were taken; folder by folder.

    A burst ends where the next photo was taken more than `gap` seconds later. A photo that does not say when it was
    taken is by itself, and so is one whose camera's clock stood still. Bursts come in the order of their first photos.
    """
    folders: dict[str, list[str]] = {}
    for photo in photos:
        folders.setdefault(os.path.dirname(photo), []).append(photo)  # noqa: PTH120  a Path costs its length
    done = 0
    for of_folder in folders.values():
        taken, zoned = np.full(len(of_folder), np.nan), np.zeros(len(of_folder), bool)
        for place, moment in enumerate(_moments(of_folder)):
            taken[place], zoned[place] = moment
            done += 1
            if on_step:
                on_step(done, len(photos))
        for burst in cut(believed(taken), zoned, gap):
            yield [of_folder[place] for place in burst]


def _moments(photos: Sequence[str]) -> Iterator[tuple[float, bool]]:
    """(seconds, whether they are of UTC and not of a clock of some place) of each, the headers alone being read."""
    if len(photos) == 1:  # it has no neighbour
        yield np.nan, False
        return
    pool = ThreadPoolExecutor(max_workers=4)
    try:
        for first in range(0, len(photos), _AT_ONCE):
            for moment in pool.map(moment_of, map(path_of, photos[first : first + _AT_ONCE])):
                yield (np.nan, False) if moment is None else (moment.utc, moment.offset is not None)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def cut(taken: Seconds, zoned: NDArray[np.bool_], gap: float) -> list[list[int]]:
    """Places of (N,) photos by bursts; times of UTC and those of some place are not compared."""
    order = np.lexsort((np.arange(len(taken)), taken, zoned))
    starts = np.flatnonzero(~(np.diff(taken[order]) <= gap) | np.diff(zoned[order])) + 1
    found = (burst.tolist() for burst in np.split(order, starts))
    parts = (burst[first : first + MOST] for burst in found for first in range(0, len(burst), MOST))
    return sorted(parts, key=min)


def believed(taken: Seconds) -> Seconds:
    """(N,) the times, without those of a clock that stood still."""
    _, of_each, counts = np.unique(np.floor(taken), return_inverse=True, return_counts=True)
    return np.where(counts[of_each.reshape(-1)] > _MOST_A_SECOND, np.nan, taken)
