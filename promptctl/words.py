"""Nearest vocabulary words to each learned vector, always with the context's own backbone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from promptctl.text import TextTower

METRICS = ("euclidean", "cosine")


@dataclass(frozen=True)
class NearWord:
    """A vocabulary token near a vector; `·` at its end marks a token that continues into the next."""

    word: str
    euclidean: float  # distance, as the paper's Table of nearest words
    cosine: float  # similarity, -1 to 1


def nearest(vectors: NDArray[np.float32], tower: TextTower, *, k: int, metric: str) -> list[list[NearWord]]:
    """The k nearest vocabulary tokens of every vector, start- and end-of-text left out.

    vectors   (L, W)
    returns   L lists of k, nearest first
    """
    table = tower.token_table.detach().float().cpu()  # (V, W)
    rows = torch.from_numpy(vectors)
    distance = torch.cdist(rows, table, compute_mode="donot_use_mm_for_euclid_dist")  # (L, V)
    similarity = torch.nn.functional.normalize(rows, dim=-1) @ torch.nn.functional.normalize(table, dim=-1).T
    order = distance.clone() if metric == "euclidean" else -similarity
    order[:, list(tower.special_tokens)] = torch.inf
    best = order.topk(min(k, len(table)), largest=False).indices  # (L, k)
    return [
        [NearWord(tower.word(int(t)), float(distance[row, t]), float(similarity[row, t])) for t in tokens]
        for row, tokens in enumerate(best)
    ]
