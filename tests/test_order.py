"""What is worked off first tells how long all of it takes."""

from __future__ import annotations

import random

import pytest

from promptctl.benchmark.order import mixed
from promptctl.render.progress import Pace

COMPARISON = [*[0.0] * 15, *[0.6] * 15, *[4.0] * 9, *[6.0] * 3, *[12.0] * 3, *[0.2] * 15, *[20.0] * 9, *[30.0] * 3]


def seconds(effort: float) -> float:
    return effort


def test_all_are_there_once():
    assert sorted(mixed(COMPARISON, seconds)) == sorted(COMPARISON)
    assert mixed([], seconds) == []
    assert mixed(["only"], len) == ["only"]


def test_equal_ones_stay_in_their_order():
    assert mixed("abc", lambda _: 0.0) == mixed("abc", lambda _: 2.0) == ["a", "b", "c"]


@pytest.mark.parametrize("seed", range(5))
def test_the_first_are_never_quicker_than_all(seed):
    items = random.Random(seed).sample(COMPARISON, len(COMPARISON))
    order = mixed(items, seconds)
    mean = sum(order) / len(order)
    for n in range(1, len(order)):
        assert sum(order[:n]) / n >= mean - 1e-9


def test_the_time_left_is_true_from_the_beginning():
    order = mixed(COMPARISON, seconds)
    pace, now, said = Pace(0, len(order), 0.0), 0.0, []
    for done, effort in enumerate(order, 1):
        now += effort
        pace.advance(done, now)
        said.append((pace.left(now), sum(order[done:])))
    for left, true in said:
        assert true - 1 <= left <= 1.3 * true + 30  # the longest takes 30
    assert max(left for left, _ in said) <= 1.2 * sum(order)
