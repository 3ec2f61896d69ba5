"""Bursts: one answer for photos of one moment, which most likely show the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from promptctl.classification.classifier import Answer, Predictions
from promptctl.classification.gate import Gate

_LEAST = 1e-300  # of a probability, whose logarithm is taken


def as_one(burst: Sequence[Answer], gate: Gate | None) -> list[Answer]:
    """The answers of a burst, each with what all of them show and beside it what the photo shows by itself.

    What all show is the mean of their log-probabilities: a photo counts by how much it rules out. Whether the answer is
    taken, the gate says anew. `burst` names the first photo.
    """
    if len(burst) < 2:
        return list(burst)
    logs = np.log(np.maximum([answer.probabilities for answer in burst], _LEAST)).mean(0)  # (C,)
    weights = np.exp(logs - logs.max())
    found = weights / weights.sum()
    likeness = [answer.likeness for answer in burst]
    known = np.array(likeness, np.float64) if None not in likeness else None
    passed = gate.passed_of(known, Predictions(np.tile(found, (len(burst), 1)))) if gate else None
    return [
        replace(
            answer,
            probabilities=found,
            alone=answer.probabilities if answer.alone is None else answer.alone,
            burst=burst[0].path,
            unknown=bool(passed is not None and passed.unknown[i]),
            doubtful=bool(passed is not None and passed.doubtful[i]),
        )
        for i, answer in enumerate(burst)
    ]
