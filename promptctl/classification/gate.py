"""Gate: which answers are taken; the others are of unknown images, or doubtful."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from promptctl.classification import calibration
from promptctl.classification.calibration import Line, OwnPhotos, Promise

if TYPE_CHECKING:
    from promptctl.classification.classifier import Predictions
    from promptctl.context.context import Context

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

    known: Context | None = None  # that says what is known; None: no image is unknown
    floors: Numbers | None = None  # (C,) least likeness of an image given this class; -inf: any
    least: float = 0.0  # probability from which on an answer is taken; above 1: none is
    promise: Promise | None = None  # of the floors
    line: Line | None = None  # what is known of answers that are taken; None: nobody asked, or there is none
    judged: int = 0  # photos of its own that say how often it is right

    @staticmethod
    def of(
        context: Context, *, unknown: float | None, min_confidence: float = 0.0, accept_error: float | None = None
    ) -> Gate:
        """What a context's own photos ask for.

        unknown          share of its own photos that may be called unknown; None: no photo is
        min_confidence   probability from which on an answer is taken
        accept_error     share of wrong ones among the answers that are taken; None: any
        """
        own = OwnPhotos.of(context)
        shown = np.bincount(context.learned_from()[1], minlength=len(context.card.classes)) > 0
        found = own.threshold(shown, unknown) if unknown is not None else None
        line = _line(own, min_confidence, accept_error)
        return Gate(
            known=context if found else None,
            floors=found.floors if found else None,
            least=2.0 if line is None and accept_error is not None else line.least if line else 0.0,
            promise=found.promise if found else None,
            line=line,
            judged=own.judged,
        )

    def passed(self, features: NDArray[np.float32], found: Predictions) -> Passed:
        """What of N images is taken; (N, E) unit rows, and what they were found to show."""
        is_asked = self.known is not None and self.floors is not None
        return self.passed_of(calibration.likeness(features, self._rows) if is_asked else None, found)

    def passed_of(self, likeness: Numbers | None, found: Predictions) -> Passed:
        """The same of N images whose likeness is known; None: no image is unknown."""
        unknown = np.zeros(len(found.probabilities), bool)
        if likeness is not None and self.floors is not None:
            unknown = likeness < self.floors[found.best]
        return Passed(likeness, unknown, (found.confidence < self.least) & ~unknown)

    @property
    def parts(self) -> list[Any]:
        """All that decides what is taken."""
        known = [] if self.known is None else [self.known.shots.features, self.known.shots.class_ids]
        return [self.floors, self.least, *known]

    @cached_property
    def _rows(self) -> Numbers:
        """(R, E)"""
        assert self.known is not None
        return calibration.known_rows(self.known)


def _line(own: OwnPhotos, min_confidence: float, accept_error: float | None) -> Line | None:
    """The higher of the two; None where nobody asks, or none is high enough."""
    if accept_error is None:
        return own.line_at(min_confidence) if min_confidence else None
    found = own.line_for(accept_error)
    return found if found is None or found.least >= min_confidence else own.line_at(min_confidence)
