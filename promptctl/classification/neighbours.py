"""Neighbours: which other class and which stored photos lie nearest to each class, and which classes are too alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptctl.classification.blend import as_kept
from promptctl.classification.doubts import seen
from promptctl.context.context import Context

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]
PHOTOS = 3  # of each class, the nearest of all stored ones
_CLASSES = 1024  # at once


@dataclass(frozen=True, eq=False)
class Nearest:
    """The most alike other row of each of C rows."""

    rows: Indices  # (C,)
    cosines: Numbers  # (C,)


@dataclass(frozen=True)
class Alike:
    """Two classes that can hardly be told apart: by photos taken for the other, or by their words alone."""

    a: int  # class index
    b: int
    taken: int  # stored photos of either that the others take for the other; 0: told by the words
    of: int  # stored photos of both


@dataclass(frozen=True, eq=False)
class Neighbours:
    """What lies near each of C classes."""

    by_text: Nearest
    by_head: Nearest | None  # None: no head
    counts: Indices  # (C,) stored photos, or those that prototypes stand for
    spread: Numbers  # (C,) root mean square distance of a class's photos from their mean; nan: none known
    photos: Indices  # (C, P) rows of the shots, the nearest to each class's text feature first; P may be 0
    cosines: Numbers  # (C, P)
    alike: tuple[Alike, ...]  # the most often first

    @staticmethod
    def of(context: Context) -> Neighbours:
        counts, spread = _of_shots(context)
        photos, cosines = _nearest_photos(context)
        return Neighbours(
            by_text=nearest_rows(context.text_features),
            by_head=nearest_rows(context.head.weight) if context.head else None,
            counts=counts,
            spread=spread,
            photos=photos,
            cosines=cosines,
            alike=(*taken_for_each_other(context), *(() if context.head else said_alike(context))),
        )


def nearest_rows(rows: NDArray[np.floating]) -> Nearest:
    """The most alike other row of each, by cosine.

    rows   (C, E) of any length, C two or more
    """
    units = _units(rows)
    best, cosines = np.empty(len(units), np.int64), np.empty(len(units))
    for first in range(0, len(units), _CLASSES):
        some = np.arange(first, min(first + _CLASSES, len(units)))
        alike = units[some] @ units.T
        alike[np.arange(len(some)), some] = -np.inf
        best[some] = alike.argmax(1)
        cosines[some] = alike.max(1)
    return Nearest(best, cosines)


def taken_for_each_other(context: Context) -> list[Alike]:
    """Classes whose stored photos the other photos often take for one another, as `doctor` does."""
    shots = context.shots
    shown = np.unique(shots.class_ids[shots.held_out == 0])
    if len(shown) < 2:
        return []
    known = np.isin(shots.class_ids, shown)
    place = {int(id): i for i, id in enumerate(shown)}
    targets, predicted = (
        np.array([place.get(int(id), -1) for id in column[known]], dtype=np.int64)
        for column in (shots.class_ids, shots.predicted)
    )
    features = as_kept(shots.features[known].astype(np.float32))
    found = seen(features, targets, shots.groups[known].astype(np.int64), shots.held_out[known] == 1, predicted)
    row_of = {entry.id: row for row, entry in enumerate(context.card.classes)}
    return [
        Alike(row_of[int(shown[a])], row_of[int(shown[b])], taken, of_both) for a, b, taken, of_both in found.confused()
    ]


def said_alike(context: Context) -> list[Alike]:
    """Classes whose text features lie so near that no photo gets one e times as probable as the other.

    On a photo, a unit row, two logits differ by the scale times the distance of their text features at most.
    """
    texts = context.text_features.astype(np.float64)
    near = nearest_rows(texts).rows
    scale = context.card.logit_scale / context.card.temperature
    differ = scale * np.linalg.norm(texts - texts[near], axis=1)
    pairs = {(min(a, int(near[a])), max(a, int(near[a]))) for a in np.flatnonzero(differ < 1).tolist()}
    return [Alike(a, b, 0, 0) for a, b in sorted(pairs)]


def _of_shots(context: Context) -> tuple[Indices, Numbers]:
    """How many photos of each class are stored, and how far they lie from their mean: of unit rows √(1 - |mean|²)."""
    features, shots = as_kept(context.shots.features.astype(np.float32)).astype(np.float64), context.shots
    counts, squares = [], []
    for row, entry in enumerate(context.card.classes):
        own = features[shots.class_ids == entry.id]
        kept = context.prototypes
        n_kept = int(kept.count[row]) if kept else 0
        counts.append(len(own) + n_kept)
        total = own.sum(0) + (n_kept * kept.mean[row].astype(np.float64) if kept and n_kept else 0)
        squares.append(1 - ((total / counts[-1]) ** 2).sum() if counts[-1] else np.nan)
    return np.array(counts, np.int64), np.sqrt(np.maximum(squares, 0))


def _nearest_photos(context: Context) -> tuple[Indices, Numbers]:
    """(C, P) the stored photos nearest to each text feature, and their cosines."""
    texts, count = _units(context.text_features), min(PHOTOS, len(context.shots))
    if not count:
        return np.empty((len(texts), 0), np.int64), np.empty((len(texts), 0))
    photos = _units(context.shots.features)
    best = np.empty((len(texts), count), np.int64)
    cosines = np.empty((len(texts), count))
    for first in range(0, len(texts), _CLASSES):
        some = slice(first, first + _CLASSES)
        alike = texts[some] @ photos.T
        best[some] = np.argsort(-alike, axis=1, kind="stable")[:, :count]
        cosines[some] = np.take_along_axis(alike, best[some], 1)
    return best, cosines


def _units(rows: NDArray[np.floating]) -> Numbers:
    """As they are but of length one; a row of zeros stays."""
    rows = rows.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1))
