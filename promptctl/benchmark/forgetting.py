"""Forgetting: what a line of versions learned, kept and lost, from the accuracies of each on every task.

A task is what was learned at once, classes or photos; version i is what was there after it. Accuracies are fractions
or percent, and every measure is of the same unit. Names and signs are those of Chaudhry et al., ECCV 2018 (forgetting),
Lopez-Paz and Ranzato, NIPS 2017 (backward and forward transfer), ZSCL, ICCV 2023 (transfer), and CLEAR, NeurIPS 2021.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Measures:
    """What a line of versions comes to; None where there is too little to say it of: one task, or no upper triangle."""

    seen: tuple[float, ...]  # of each version on all images of the tasks so far, one accuracy over all of them
    seen_tasks: tuple[float, ...]  # the mean of those tasks' accuracies, which differs where they differ in size
    average: float  # incremental accuracy: the mean of `seen`
    last: float  # the last of `seen`
    learned: float  # of each task just after it was learned (plasticity; CLEAR's in-domain): the mean
    forgetting: float | None  # from the best version before the last one to the last; negative where tasks gained
    pure_forgetting: float | None  # the same among the classes that were known when each task was learned
    bwt: float | None  # backward transfer: from just after each task was learned to the last version
    fwt: float | None  # forward transfer: each task just before it was learned, less zero-shot
    transfer: float | None  # over the tasks, the mean of the versions before each
    next_domain: float | None  # CLEAR: each version on the task after it
    backward: float | None  # CLEAR: the mean below the diagonal
    forward: float | None  # CLEAR: the mean above it


def measure(
    accuracies: Sequence[Sequence[float]],
    sizes: Sequence[int],
    *,
    among_known: Sequence[Sequence[float]] | None = None,
    zero_shot: Sequence[float] | None = None,
) -> Measures:
    """Everything that the accuracies say.

    accuracies    row i: of version i on each task, as far as the row goes, at least to task i; NaN where not measured
    sizes         images of each task
    among_known   the same where task j is scored among the classes that were known when it was learned
    zero_shot     of each task, in the label space in which the version before it was scored on it
    """
    matrix = square(accuracies)
    known = None if among_known is None else square(among_known)
    assert len(sizes) == len(matrix)
    seen = pooled(matrix, sizes)
    return Measures(
        seen=seen,
        seen_tasks=tuple(float(matrix[i, : i + 1].mean()) for i in range(len(matrix))),
        average=float(np.mean(seen)),
        last=seen[-1],
        learned=float(matrix.diagonal().mean()),
        forgetting=forgetting(matrix),
        pure_forgetting=None if known is None else forgetting(known),
        bwt=backward_transfer(matrix),
        fwt=None if zero_shot is None else _mean(matrix.diagonal(1) - np.asarray(zero_shot, np.float64)[1:]),
        transfer=_mean(np.array([matrix[:j, j].mean() for j in range(1, len(matrix))])),
        next_domain=_mean(matrix.diagonal(1)),
        backward=_mean(matrix[np.tril_indices_from(matrix, -1)]),
        forward=_mean(matrix[np.triu_indices_from(matrix, 1)]),
    )


def square(accuracies: Sequence[Sequence[float]]) -> Matrix:
    """(T, T) from T rows, NaN above the diagonal where a row ends before it."""
    matrix = np.full((len(accuracies),) * 2, np.nan)
    for i, row in enumerate(accuracies):
        matrix[i, : len(row)] = row
    assert not np.isnan(matrix[np.tril_indices_from(matrix)]).any(), "a version was not measured on what it has learned"
    return matrix


def pooled(matrix: Matrix, sizes: Sequence[int]) -> tuple[float, ...]:
    """Of each version the accuracy on all images of the tasks so far, large tasks counting for more."""
    return tuple(float(np.average(matrix[i, : i + 1], weights=sizes[: i + 1])) for i in range(len(matrix)))


def forgetting(matrix: Matrix) -> float | None:
    """Mean over the tasks but the last: best version from its own to the one before the last, less the last.

    Signed: the last version is not among those it is compared with, so a task that gained takes from the mean.
    """
    lost = [matrix[j:-1, j].max() - matrix[-1, j] for j in range(len(matrix) - 1)]
    return _mean(np.array(lost))


def backward_transfer(matrix: Matrix) -> float | None:
    """Mean over the tasks but the last: the last version, less the one that had just learned the task."""
    return _mean(matrix[-1, :-1] - matrix.diagonal()[:-1])


def _mean(values: Matrix) -> float | None:
    """None where there is no value, or one of them was not measured."""
    mean = float(values.mean()) if len(values) else math.nan
    return None if math.isnan(mean) else mean
