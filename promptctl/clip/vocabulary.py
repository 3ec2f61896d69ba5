"""Nearest vocabulary words to each learned vector, always with the context's own backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

METRICS = ("euclidean", "cosine")
_ROWS = 128  # vectors at once: a thousand classes' would take gigabytes
_TOKENS = 4096  # of the table at once, in double precision
_SHORTEST = 1e-12  # as PyTorch's normalize: what is shorter is no direction

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a text tower: their embeddings, and how a person reads them."""

    words: Sequence[str]  # (V,)
    special: tuple[int, ...]  # start- and end-of-text
    rows: Callable[[int, int], NDArray[np.float32]]  # start, stop → (stop - start, W) embeddings of tokens


@dataclass(frozen=True)
class NearWord:
    """A vocabulary token near a vector; `·` at its end marks a token that continues into the next."""

    word: str
    euclidean: float  # distance, as the paper's Table of nearest words
    cosine: float  # similarity, -1 to 1


def nearest(vectors: NDArray[np.float32], vocabulary: Vocabulary, *, k: int) -> dict[str, list[list[NearWord]]]:
    """The k nearest vocabulary tokens of every vector by each of METRICS, start- and end-of-text left out.

    vectors   (L, W)
    returns   for each metric L lists of k, nearest first
    """
    found: dict[str, list[list[NearWord]]] = {metric: [] for metric in METRICS}
    for first in range(0, len(vectors), _ROWS):
        distance, similarity = _to_all_tokens(vectors[first : first + _ROWS].astype(np.float64), vocabulary)
        for metric, order in zip(METRICS, (distance, -similarity), strict=True):
            found[metric] += [
                [NearWord(vocabulary.words[t], float(distance[row, t]), float(similarity[row, t])) for t in tokens]
                for row, tokens in enumerate(_smallest(order, k, vocabulary.special))
            ]
    return found


def _to_all_tokens(vectors: Doubles, vocabulary: Vocabulary) -> tuple[Doubles, Doubles]:
    """(L, V) distances and cosines of (L, W) vectors; in double precision the short way to a distance is exact."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    distances, cosines = [], []
    for table in _tables(vocabulary):
        # this way round, a few vectors cost half as much as the other
        products, token_lengths = (table @ vectors.T).T, np.sqrt(np.einsum("vw,vw->v", table, table))
        distances.append(np.sqrt(np.maximum(lengths**2 - 2 * products + token_lengths**2, 0)))
        cosines.append(products / np.maximum(lengths, _SHORTEST) / np.maximum(token_lengths, _SHORTEST))
    return np.concatenate(distances, 1), np.concatenate(cosines, 1)


def _tables(vocabulary: Vocabulary) -> Iterator[Doubles]:
    """The embeddings of some tokens after the other."""
    size = len(vocabulary.words)
    for first in range(0, size, _TOKENS):
        yield vocabulary.rows(first, min(first + _TOKENS, size)).astype(np.float64)


def _smallest(order: Doubles, k: int, special: tuple[int, ...]) -> NDArray[np.int64]:
    """(L, k) columns of the smallest numbers of every row, but for the special ones, smallest first."""
    order = order.copy()
    order[:, list(special)] = np.inf
    k = min(k, order.shape[1])
    some = np.sort(np.argpartition(order, k - 1, axis=1)[:, :k], axis=1)
    return np.take_along_axis(some, np.argsort(np.take_along_axis(order, some, 1), axis=1, kind="stable"), 1)
