"""Nearest vocabulary words to each learned vector, always with the context's own backbone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from promptctl.clip.text_tower import TextTower

METRICS = ("euclidean", "cosine")
_ROWS = 256


@dataclass(frozen=True)
class NearWord:
    """A vocabulary token near a vector; `·` at its end marks a token that continues into the next."""

    word: str
    euclidean: float  # distance, as the paper's Table of nearest words
    cosine: float  # similarity, -1 to 1


def nearest(vectors: NDArray[np.float32], tower: TextTower, *, k: int) -> dict[str, list[list[NearWord]]]:
    """The k nearest vocabulary tokens of every vector by each of METRICS, start- and end-of-text left out.

    vectors   (L, W)
    returns   for each metric L lists of k, nearest first
    """
    table = tower.token_table.detach().float().cpu()  # (V, W)
    directions = F.normalize(table, dim=-1)
    special = list(tower.special_tokens)
    found: dict[str, list[list[NearWord]]] = {metric: [] for metric in METRICS}
    for rows in torch.from_numpy(vectors).split(_ROWS):  # a thousand classes' vectors at once would take gigabytes
        distance = torch.cdist(rows, table, compute_mode="donot_use_mm_for_euclid_dist")  # (L, V)
        similarity = F.normalize(rows, dim=-1) @ directions.T
        for metric, order in zip(METRICS, (distance.clone(), -similarity), strict=True):
            order[:, special] = torch.inf
            best = order.topk(min(k, len(table)), largest=False).indices  # (L, k)
            found[metric] += [
                [NearWord(tower.word(int(t)), float(distance[row, t]), float(similarity[row, t])) for t in tokens]
                for row, tokens in enumerate(best)
            ]
    return found
