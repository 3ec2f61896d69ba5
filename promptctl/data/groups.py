"""Groups: images that belong together, as copies, near copies and bursts do, so that no split takes them apart."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence


def joined(n: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """(n,) for each of n things the first that it hangs together with, by pairs of those that do."""
    first = list(range(n))

    def first_of(i: int) -> int:
        while first[i] != i:
            first[i] = i = first[first[i]]
        return i

    for one, other in pairs:
        low, high = sorted((first_of(one), first_of(other)))
        first[high] = low
    return [first_of(i) for i in range(n)]


def equal_pairs(keys: Sequence[Hashable]) -> Iterable[tuple[int, int]]:
    """Places of equal keys, each but the first beside the first."""
    first: dict[Hashable, int] = {}
    return ((at, i) for i, key in enumerate(keys) if (at := first.setdefault(key, i)) != i)
