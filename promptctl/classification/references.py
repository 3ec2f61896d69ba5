"""References: closed forms of the stored shots that a context is shown beside, and what they say of each unseen shot.

Nearest class mean, and ridge regression of class indicators as scikit-learn's RidgeClassifier has it (an intercept, and
1 on the diagonal). Without scikit-learn, whose import takes longer than either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]

ALPHA = 1.0  # added to the diagonal


@dataclass(frozen=True, eq=False)
class Linear:
    """Scores F @ weight.T + bias of the classes that have shots."""

    weight: Numbers  # (C, E)
    bias: Numbers  # (C,)

    def scores(self, features: NDArray[np.floating]) -> Numbers:
        """(N, C)"""
        return np.asarray(features.astype(np.float64) @ self.weight.T + self.bias)


def nearest_mean(features: NDArray[np.floating], targets: Indices) -> Linear:
    """Cosine to the mean of each class.

    features   (N, E) unit rows
    targets    (N,) class index, every class at least once
    """
    sums = _indicators(targets).T @ features.astype(np.float64)  # (C, E)
    return Linear(unit(sums), np.zeros(len(sums)))


def ridge(features: NDArray[np.floating], targets: Indices) -> Linear:
    """Ridge regression of the class indicators; arguments as in `nearest_mean`."""
    x, y = features.astype(np.float64), _indicators(targets)
    middle, share = x.mean(0), y.mean(0)
    centred = x - middle
    if len(x) < x.shape[1]:  # the same from the smaller of the two systems
        weight = (centred.T @ np.linalg.solve(centred @ centred.T + ALPHA * np.eye(len(x)), y - share)).T
    else:
        weight = np.linalg.solve(centred.T @ centred + ALPHA * np.eye(x.shape[1]), centred.T @ (y - share)).T
    return Linear(weight, share - weight @ middle)


def means_without(features: NDArray[np.floating], targets: Indices, groups: Indices) -> Numbers:
    """(N, C) cosine of each image to the class means of all images outside its own group; -1 where a class has none.

    groups   (N,) images of one number are left out together
    """
    x, y = features.astype(np.float64), _indicators(targets)
    sums = y.T @ x  # (C, E)
    scores = np.empty_like(y)
    for own in members(groups):
        others = sums - y[own].T @ x[own]
        counts = y.sum(0) - y[own].sum(0)
        scores[own] = np.where(counts > 0, x[own] @ unit(others).T, -1.0)
    return scores


def ridge_without(features: NDArray[np.floating], targets: Indices, groups: Indices) -> Numbers:
    """(N, C) what ridge regression says of each image without its group, from one fit of all of them.

    A linear smoother's prediction without the rows g is y_g - (I - H_gg)^-1 (y_g - H_g y).
    """
    x, y = features.astype(np.float64), _indicators(targets)
    hat = _hat(x)
    residuals = y - hat @ y
    scores = np.empty_like(y)
    for own in members(groups):
        without = np.eye(len(own)) - hat[np.ix_(own, own)]
        scores[own] = y[own] - np.linalg.lstsq(without, residuals[own], rcond=None)[0]
    return scores


def _hat(x: Numbers) -> Numbers:
    """(N, N) the smoother of ridge regression with an intercept."""
    centred = x - x.mean(0)
    if len(x) < x.shape[1]:
        kernel = centred @ centred.T
        inner = np.linalg.solve(kernel + ALPHA * np.eye(len(x)), kernel)
    else:
        inner = centred @ np.linalg.solve(centred.T @ centred + ALPHA * np.eye(x.shape[1]), centred.T)
    return np.asarray(inner + 1 / len(x))


def members(groups: Indices) -> list[Indices]:
    """The rows of every group."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order])) + 1
    return [part for part in np.split(order, starts) if len(part)]


def _indicators(targets: Indices) -> Numbers:
    """(N, C)"""
    return np.eye(int(targets.max(initial=-1)) + 1)[targets]


def unit(rows: Numbers) -> Numbers:
    """Rows of length 1; a row of zeros stays so."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1))
