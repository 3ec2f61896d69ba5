"""The vocabulary of a text tower in numpy: the tokens nearest to learned vectors, how far tokens lie from each other,
and the tokens of plain words. Always that of the context's own backbone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

METRICS = ("euclidean", "cosine")
GOES_ON = "·"  # at the end of a token that continues into the next, at the beginning of one that continues another
SAMPLED = 100  # tokens whose own nearest token is looked for; all of them would take a minute
_ROWS = 128  # vectors at once: a thousand classes' would take gigabytes
_TOKENS = 4096  # of the table at once, in double precision
_SHORTEST = 1e-12  # as PyTorch's normalize: what is shorter is no direction
# as CLIP parts a text, for what can be read in ASCII
_PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a text tower: their embeddings, and how a person reads them."""

    words: Sequence[str]  # (V,)
    special: tuple[int, ...]  # start- and end-of-text
    rows: Callable[[int, int], Floats]  # start, stop → (stop - start, W) embeddings of tokens
    byte_pairs: bool = True  # CLIP's own, which are of small letters

    @cached_property
    def plain(self) -> Mask:
        """(V,) all tokens but the special ones."""
        found = np.ones(len(self.words), dtype=bool)
        found[list(self.special)] = False
        return found

    @cached_property
    def whole_words(self) -> Mask:
        """(V,) tokens that are a word, made of letters; a tower that reads small letters has no others."""
        is_word = _is_small if self.byte_pairs else _is_of_letters
        return np.fromiter(map(is_word, self.words), bool, len(self.words)) & self.plain

    def tokens_of(self, text: str) -> list[int] | None:
        """The tokens of a text, as CLIP merges byte pairs; None for one that is not ASCII, or that these do not spell.

        Of two neighbours those merge first that make the token of the lowest number, which is the order of the merges.
        """
        if not text.isascii() or not self.byte_pairs:
            return None
        found = [self._merged(piece) for piece in _PIECES.findall(text.lower())]
        return None if None in found else [token for tokens in found if tokens for token in tokens]

    @cached_property
    def _number_of(self) -> dict[str, int]:
        """Word → token; of two that are read alike the first."""
        return {word: token for token, word in reversed([*enumerate(self.words)])}

    def _merged(self, piece: str) -> list[int] | None:
        number_of = self._number_of
        parts = [f"{letter}{GOES_ON}" for letter in piece[:-1]] + [piece[-1]]
        while len(parts) > 1:
            pairs = [before.removesuffix(GOES_ON) + after for before, after in pairwise(parts)]
            known = [(number_of[pair], at) for at, pair in enumerate(pairs) if pair in number_of]
            if not known:
                break
            _, at = min(known)
            parts[at : at + 2] = [pairs[at]]
        return [number_of[part] for part in parts] if all(part in number_of for part in parts) else None

    def vectors_of(self, tokens: Sequence[int]) -> Floats:
        """(T, W) embeddings of tokens."""
        return np.concatenate([self.rows(token, token + 1) for token in tokens])

    def tables(self) -> Iterator[tuple[slice, Floats]]:
        """The embeddings of some tokens after the other, and which these are."""
        for first in range(0, len(self.words), _TOKENS):
            some = slice(first, min(first + _TOKENS, len(self.words)))
            yield some, self.rows(some.start, some.stop)


def _is_small(word: str) -> bool:
    return word.isalpha() and word == word.lower()


def _is_of_letters(word: str) -> bool:
    """Letters of any script and case, with the marks that some scripts write vowels with."""
    return word.isalpha() or (word[:1].isalpha() and all(category(character)[0] in "LM" for character in word))


@dataclass(frozen=True)
class NearWord:
    """A vocabulary token near a vector; `·` marks where its word goes on."""

    word: str
    euclidean: float  # distance, as the paper's Table of nearest words
    cosine: float  # similarity, -1 to 1


@dataclass(frozen=True)
class Spacing:
    """How long tokens are, and how far from each other."""

    tokens: int  # that there are
    norm: float  # the median
    sampled: int  # tokens whose nearest was looked for
    nearest: float  # the median distance of a token to its own nearest; 0 where there is one token


def nearest(vectors: Floats, vocabulary: Vocabulary, *, k: int, among: Mask) -> dict[str, list[list[NearWord]]]:
    """The k nearest vocabulary tokens of every vector by each of METRICS.

    vectors   (L, W)
    among     (V,) the tokens that are looked at
    returns   for each metric L lists of k, or of as many as there are, nearest first
    """
    found: dict[str, list[list[NearWord]]] = {metric: [] for metric in METRICS}
    for first in range(0, len(vectors), _ROWS):
        distance, similarity = _to_all_tokens(vectors[first : first + _ROWS].astype(np.float64), vocabulary)
        for metric, order in zip(METRICS, (distance, -similarity), strict=True):
            found[metric] += [
                [NearWord(vocabulary.words[t], float(distance[row, t]), float(similarity[row, t])) for t in tokens]
                for row, tokens in enumerate(_smallest(order, k, among))
            ]
    return found


def spacing(vocabulary: Vocabulary, *, among: Mask) -> Spacing:
    """How long and how far apart some tokens are, a sample of them measured against all.

    among   (V,) the tokens that are looked at
    """
    own = np.flatnonzero(among)
    if not len(own):
        return Spacing(0, 0.0, 0, 0.0)
    sample = own[np.unique(np.linspace(0, len(own) - 1, min(SAMPLED, len(own))).round().astype(int))]
    vectors = vocabulary.vectors_of(sample.tolist())  # in single precision: a median needs no more
    squares, least = [], np.full(len(sample), np.inf, np.float32)
    for some, table in vocabulary.tables():
        here = np.flatnonzero(among[some])
        square = np.einsum("vw,vw->v", table, table)[here]
        to_each = (square[:, None] - 2 * (table @ vectors.T)[here]).T  # (S, T) distances squared, less |vector|²
        at = np.searchsorted(here, sample - some.start)
        itself = np.flatnonzero((sample >= some.start) & (sample < some.stop))
        to_each[itself, at[itself]] = np.inf
        least = np.minimum(least, to_each.min(1, initial=np.inf))
        squares.append(square)
    apart = np.sqrt(np.maximum(least + np.einsum("sw,sw->s", vectors, vectors), 0))
    norm = float(np.median(np.sqrt(np.concatenate(squares))))
    return Spacing(len(own), norm, len(sample), float(np.median(apart)) if len(own) > 1 else 0.0)


def _to_all_tokens(vectors: Doubles, vocabulary: Vocabulary) -> tuple[Doubles, Doubles]:
    """(L, V) distances and cosines of (L, W) vectors; in double precision the short way to a distance is exact."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    distances, cosines = [], []
    for _, single in vocabulary.tables():
        table = single.astype(np.float64)
        # this way round, a few vectors cost half as much as the other
        products, token_lengths = (table @ vectors.T).T, np.sqrt(np.einsum("vw,vw->v", table, table))
        distances.append(np.sqrt(np.maximum(lengths**2 - 2 * products + token_lengths**2, 0)))
        cosines.append(products / np.maximum(lengths, _SHORTEST) / np.maximum(token_lengths, _SHORTEST))
    return np.concatenate(distances, 1), np.concatenate(cosines, 1)


def _smallest(order: Doubles, k: int, among: Mask) -> NDArray[np.int64]:
    """(L, k) columns of the smallest numbers of every row, of some columns, smallest first."""
    columns = np.flatnonzero(among)
    order, k = order[:, columns], min(k, len(columns))
    if not k:
        return np.empty((len(order), 0), np.int64)
    some = np.sort(np.argpartition(order, k - 1, axis=1)[:, :k], axis=1)
    best = np.take_along_axis(some, np.argsort(np.take_along_axis(order, some, 1), axis=1, kind="stable"), 1)
    return np.asarray(columns[best])
