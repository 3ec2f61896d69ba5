"""Packing: prompts of many lengths laid out in one array of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

Position = Literal["end", "middle", "front"]

POSITIONS: tuple[str, ...] = get_args(Position)

# one more bucket costs about as much as this many more rows: measured on two cores; a GPU, where starting
# a kernel costs more than its work, rather pads (of 16, 100, 500 and 2000 measured on an H100, docs/benchmarks.md)
_BUCKET_IN_ROWS = {"cpu": 16}

_BUCKET_IN_ROWS_ON_GPU = 500

PART_ROWS = {"cuda": 4096}  # of a part at most: fewer run three times as slowly on an H100

PART_ROWS_ELSEWHERE = 1024


@dataclass(frozen=True)
class LengthBucket:
    """Classes whose suffixes have, or are padded to, one length T."""

    classes: int
    tokens: int  # T
    unseen: torch.Tensor  # (T, T) True where a token must not look: what follows it
    after_end: torch.Tensor  # (classes, 1, T) True after the end-of-text


@dataclass(frozen=True)
class Part:
    """Some classes' suffixes, packed: R rows, bucket after bucket, class after class.

    A row holds either a frozen token (its embedding is in `frozen`) or a context vector (its row is in `slot`).
    """

    classes: torch.Tensor  # (C',) which classes, in the order of their rows
    frozen: torch.Tensor  # (R, W) token embeddings, zero where a context vector goes
    slot: torch.Tensor  # (R,) context row, M where a token stands
    owner: torch.Tensor  # (R,) index into classes
    place: torch.Tensor  # (R,) position in the prompt
    ids: torch.Tensor  # (R,) token ids; where a context vector goes, one that means nothing to the tower
    end: torch.Tensor  # (C',) row of the end-of-text
    buckets: tuple[LengthBucket, ...]


@dataclass(frozen=True)
class Prompts:
    """Class names laid out around a context of M vectors that is not known yet.

    The prompt of class c is `start, context[:n_shared], suffix of c`.
    """

    n_context: int  # M
    n_shared: int  # context vectors in front of every class name, so the same for all classes
    parts: tuple[Part, ...]
    order: torch.Tensor  # (C,) where class c is among the classes of all parts

    @property
    def rows(self) -> int:
        """Suffix rows of all classes together, padding included."""
        return sum(len(part.slot) for part in self.parts)


def buckets_for(lengths: Sequence[int], *, extra: int) -> list[tuple[int, int]]:
    """(classes, length) of the buckets that cost least: their rows, and `extra` rows for each bucket."""
    counts = sorted(Counter(lengths).items())
    best: list[tuple[int, list[tuple[int, int]]]] = [(0, [])]
    for last, (longest, _) in enumerate(counts):
        options, classes = [], 0
        for first in range(last, -1, -1):
            classes += counts[first][1]
            cost, before = best[first]
            options.append((cost + classes * longest + extra, [*before, (classes, longest)]))
        best.append(min(options, key=lambda option: option[0]))
    return best[-1][1]


def pieces_of(classes: int, tokens: int, *, rows: int) -> list[tuple[int, int]]:
    """A bucket in pieces of at most so many rows."""
    most = max(1, rows // tokens)
    return [(min(most, classes - done), tokens) for done in range(0, classes, most)]


def parts_of(sizes: list[tuple[int, int]], *, rows: int) -> list[list[tuple[int, int]]]:
    """Neighbouring buckets together, as long as they have at most so many rows."""
    parts: list[list[tuple[int, int]]] = [[]]
    held = 0
    for classes, tokens in sizes:
        if parts[-1] and held + classes * tokens > rows:
            parts.append([])
            held = 0
        parts[-1].append((classes, tokens))
        held += classes * tokens
    return parts
