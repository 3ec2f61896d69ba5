"""Graded: by how much the right classes became less probable, and whether chance does that: exact paired tests.

A changed answer says one bit of one image in ten; its probability says something of every image. A version may be surer
of everything than the one before it, wrong answers too, which is no forgetting and no gain: each is compared at the
temperature that makes its right answers most probable (Guo et al., 2017).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.floating]  # (N, K)
Fractions = NDArray[np.float64]  # (N,)
Steps = NDArray[np.int64]  # (N,) in half points

_INVERSE_TEMPERATURES = np.geomspace(0.25, 4, 33)
_LEAST = 1e-30  # of a probability that was rounded to 0
_NOTHING = 1e-20
_STEPS = 200  # in which a probability is counted


def right_probability(probabilities: Probabilities, targets: NDArray[np.integer]) -> Fractions:
    """(N,) the probability of the right class, at the temperature at which the right classes are most probable.

    targets   (N,) index into K
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), _LEAST))
    rows = np.arange(len(targets))
    found = (_log_softmax(scale * logits)[rows, targets] for scale in _INVERSE_TEMPERATURES)
    return np.asarray(np.exp(max(found, key=np.sum)), np.float64)


def _log_softmax(logits: Fractions) -> Fractions:
    below = logits - logits.max(1, keepdims=True)
    return np.asarray(below - np.log(np.exp(below).sum(1, keepdims=True)))


def p_of_more_than(allowed: float, lost: Fractions) -> float:
    """How probable a mean loss as large is by chance, if what is lost beyond `allowed` is as often gained.

    One-sided and exact for probabilities in half points: of all 2^N ways to swap two versions image by image, the
    older one handicapped by what is allowed, the share that loses as much (Fisher, 1935).
    """
    steps = _steps(lost, allowed)
    gained = int(-steps[steps < 0].sum())
    return _probability(_swaps(np.abs(steps))[: gained + 1])


def p_of_classes_losing(allowed: float, lost: Fractions, class_ids: NDArray[np.integer]) -> float:
    """The same of the losses of the classes that lost, summed, so that what other classes gained hides nothing.

    Where a class has too few images to say anything by itself, several that lose do.
    """
    steps = _steps(lost, allowed)
    of_classes = [steps[class_ids == id] for id in np.unique(class_ids)]
    observed = sum(max(0, int(of_class.sum())) for of_class in of_classes)
    length = 1 << int(np.abs(steps).sum()).bit_length()  # more than the sum, and quick to transform
    spectrum = np.ones(length // 2 + 1, np.complex128)
    for of_class in of_classes:
        spectrum *= np.fft.rfft(_losses(np.abs(of_class)), length)
    return _probability(np.fft.irfft(spectrum, length)[observed:])


def _steps(lost: Fractions, allowed: float) -> Steps:
    return np.asarray(np.rint(lost * _STEPS).astype(np.int64) - round(allowed * _STEPS))


def _swaps(sizes: Steps) -> Fractions:
    """(S + 1,) how probable each sum of those sizes is that are chosen by coins; S is their sum.

    A sum of independent coins is a product in the Fourier domain.
    """
    total = int(sizes.sum())
    angle = np.arange((total + 1) // 2 + 1) * (2 * np.pi / (total + 1))
    spectrum = np.exp(-0.5j * total * angle)
    left = np.arange(len(angle))  # frequencies that the factors so far, each at most 1, have not made nothing
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        spectrum[left] *= np.cos(angle[left] * size / 2) ** count
        left = left[np.abs(spectrum[left]) > _NOTHING]
    return np.asarray(np.fft.irfft(spectrum, total + 1))


def _losses(sizes: Steps) -> Fractions:
    """(S + 1,) how probable each loss of a class is, by chance; all gains are a loss of 0."""
    swapped = _swaps(sizes)
    losses = np.maximum(0, len(swapped) - 1 - 2 * np.arange(len(swapped)))
    return np.asarray(np.bincount(losses, swapped, len(swapped)), np.float64)


def _probability(parts: Fractions) -> float:
    return float(min(max(parts.sum(), 0.0), 1.0))  # less the last digits of a Fourier transform
