"""Order: quick and slow work mixed, so that how long the first of it takes tells of the rest."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
_ROUNDING = 1e-9


def mixed(items: Iterable[Item], effort: Callable[[Item], float]) -> list[Item]:
    """All of them, whose first ones, however many, take about the mean of all and not less.

    Each next one is the least that keeps it so; quick ones first would promise too early an end.
    """
    left = sorted(items, key=effort)
    efforts = [effort(item) for item in left]
    mean = sum(efforts) / max(len(left), 1)
    order: list[Item] = []
    done = 0.0
    while left:
        due = mean * (len(order) + 1) - done
        next_one = min(bisect_left(efforts, due - _ROUNDING * mean), len(left) - 1)
        done += efforts.pop(next_one)
        order.append(left.pop(next_one))
    return order
