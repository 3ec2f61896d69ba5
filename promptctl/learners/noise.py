"""The noise that vectors start from, again without PyTorch: that of a seed, to single precision's rounding.

`torch.randn` of 16 numbers and more takes 24 bits of a Mersenne twister for each, and makes eight pairs of them at a
time normal by Box and Muller's transform; what is left over at the end is drawn once more with the fifteen before it.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

INIT_STD = 0.02
_BLOCK = 16
_BITS = 24

Numbers = NDArray[np.float64]


def initial_noise(seed: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The numbers that `coop.initial_context` starts from, 16 of them at least.

    raises   ValueError for fewer, which PyTorch draws otherwise
    """
    count = prod(shape)
    if count < _BLOCK:
        raise ValueError(f"{count} numbers")
    twister = np.random.RandomState(seed & 0xFFFFFFFF)
    drawn, whole = _uniform(twister, count), count - count % _BLOCK
    normal = np.empty(count)
    normal[:whole] = _normal(drawn[:whole])
    if whole < count:
        normal[-_BLOCK:] = _normal(_uniform(twister, _BLOCK))
    return np.asarray(INIT_STD * normal, dtype=np.float32).reshape(shape)


def _uniform(twister: np.random.RandomState, count: int) -> Numbers:
    bits = twister.randint(0, 1 << 32, count, dtype=np.uint32) & ((1 << _BITS) - 1)
    return np.asarray(bits / float(1 << _BITS))


def _normal(uniform: Numbers) -> Numbers:
    """Of as many uniform numbers, a multiple of 16."""
    first, second = uniform.reshape(-1, 2, _BLOCK // 2).swapaxes(0, 1)
    radius, angle = np.sqrt(-2 * np.log(1 - first)), 2 * np.pi * second
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1)
