"""Gate: which answers are taken; the others are of unknown images, or doubtful."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from promptctl.classification.classifier import Predictions

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Passed:
    """What a gate says of N images."""

    likeness: Numbers | None  # (N,) None: not asked for
    unknown: Mask  # (N,)
    doubtful: Mask  # (N,) never one that is unknown

    def of(self, i: int) -> tuple[float | None, bool, bool]:
        likeness = None if self.likeness is None else float(self.likeness[i])
        return likeness, bool(self.unknown[i]), bool(self.doubtful[i])


@dataclass(frozen=True, eq=False)
class Gate:
    """Unknown is an image less alike than its class asks for, doubtful an answer less probable than is asked for."""

    references: NDArray[np.float32] | None = None  # (R, E) unit rows: what is known; None: no image is unknown
    floors: Numbers | None = None  # (C,) least likeness of an image given this class; -inf: any
    least: float = 0.0  # probability from which on an answer is taken

    def passed(self, features: NDArray[np.float32], found: Predictions) -> Passed:
        """What of N images is taken; (N, E) unit rows, and what they were found to show."""
        likeness, unknown = None, np.zeros(len(features), bool)
        if self.references is not None and self.floors is not None:
            likeness = self.likeness(features)
            unknown = likeness < self.floors[found.best]
        return Passed(likeness, unknown, (found.confidence < self.least) & ~unknown)

    def likeness(self, features: NDArray[np.float32]) -> Numbers:
        """(N,) cosine of each image to the nearest of what is known."""
        assert self.references is not None
        return np.asarray((features.astype(np.float64) @ self.references.T.astype(np.float64)).max(1))
