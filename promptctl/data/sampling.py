"""Sampling: which images are shots and which are held out, by content hash."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from promptctl.data.groups import equal_pairs, joined
from promptctl.data.images import HashedImage
from promptctl.errors import TooFewShots

HELD_OUT_OF = 5  # images of a class, one


@dataclass(frozen=True)
class Sample:
    """Images divided into those to learn from and those held out."""

    train: tuple[HashedImage, ...]
    held_out: tuple[HashedImage, ...]


def sample(images: Sequence[HashedImage], shots: int, *, seed: int) -> Sample:
    """`shots` images of every class by content hash and seed, the same on every machine; the rest held out.

    Raises TooFewShots naming the first class that has fewer.
    """
    train: list[HashedImage] = []
    held_out: list[HashedImage] = []
    for label, of_class in by_class(images).items():
        if len(of_class) < shots:
            raise TooFewShots(label, len(of_class), shots)
        ranked = sorted(of_class, key=lambda image: rank_key(image.sha256, seed))
        train += ranked[:shots]
        held_out += ranked[shots:]
    return Sample(tuple(train), tuple(held_out))


def hold_out(
    images: Sequence[HashedImage], *, groups: Sequence[int] | None = None, known: Mapping[str, bool] | None = None
) -> Sample:
    """Every image, less a fifth of each class as `held_out` chooses it; classes sorted, their images in rank."""
    labels, sha256 = [image.label for image in images], [image.sha256 for image in images]
    ranked = _ranked(sha256)
    sides = _sides(ranked, labels, sha256, groups, known)
    parts = (by_class([images[i] for i in ranked if sides[i] is side]) for side in (False, True))
    return Sample(*(tuple(chain.from_iterable(part.values())) for part in parts))


def held_out(
    labels: Sequence[str],
    sha256: Sequence[str],
    *,
    groups: Sequence[int] | None = None,
    known: Mapping[str, bool] | None = None,
) -> list[bool]:
    """Which images are held out: n // 5 of a class of n, those whose hashes rank first.

    So none of a class under five, and never all of one. Copies and groups are on one side as a whole; where their sizes
    do not add up to n // 5, as many are held out as they allow. Nothing that is known ever changes its side: a new
    image of a group goes where the group is, and to be learned from where it is on both sides already.

    groups   (N,) images of one number belong together, across classes too; None: only copies do
    known    by sha256, whether an image was held out before
    """
    return _sides(_ranked(sha256), labels, sha256, groups, known)


def fifth_of_each(images: Sequence[HashedImage], *, groups: Sequence[int] | None = None) -> Sample:
    """Every image, less a fifth of each class, to the nearest image and at least one where there are two.

    For what is measured once: however few the images, the shares are right, as far as copies and groups allow, which
    are on one side as a whole. Those whose hashes come first are held out.

    groups   (N,) images of one number belong together, across classes too; None: only copies do
    """
    labels, sha256 = [image.label for image in images], [image.sha256 for image in images]
    ranked = sorted(range(len(images)), key=sha256.__getitem__)
    room = {label: max(round(n / 5), min(1, n - 1)) for label, n in Counter(labels).items()}
    apart = {i for unit in _fill(_units(ranked, sha256, groups), labels, room) for i in unit}
    parts = (by_class([images[i] for i in ranked if (i in apart) is side]) for side in (False, True))
    return Sample(*(tuple(chain.from_iterable(part.values())) for part in parts))


def at_most(images: Sequence[HashedImage], limit: int) -> tuple[HashedImage, ...]:
    """The images, or `limit` of them spread evenly over the classes, chosen by content hash."""
    if len(images) <= limit:
        return tuple(images)
    queues = [sorted(c, key=lambda image: rank_key(image.sha256, 0)) for c in by_class(images).values()]
    in_turn = [image for turn in zip_longest(*queues) for image in turn if image is not None]
    return tuple(in_turn[:limit])


def by_class(images: Iterable[HashedImage]) -> dict[str, list[HashedImage]]:
    """The images of every class, classes in sorted order."""
    groups: defaultdict[str, list[HashedImage]] = defaultdict(list)
    for image in images:
        groups[image.label].append(image)
    return dict(sorted(groups.items()))


def rank_key(sha256: str, seed: int) -> str:
    """What images are sorted by where some are taken: the same on every machine, whatever the files are called."""
    return hashlib.sha256(f"{seed}:{sha256}".encode()).hexdigest()


# --------------------------------------------------------------------------- what is held out

Unit = Sequence[int]  # indices of images that stay together


def _ranked(sha256: Sequence[str]) -> list[int]:
    """Indices by `rank_key`; there are many, so its digests, which sort alike."""
    digests = [hashlib.sha256(b"0:" + sha.encode()).digest() for sha in sha256]
    return sorted(range(len(digests)), key=digests.__getitem__)


def _sides(
    ranked: Sequence[int],
    labels: Sequence[str],
    sha256: Sequence[str],
    groups: Sequence[int] | None,
    known: Mapping[str, bool] | None,
) -> list[bool]:
    """(N,) whether each image is held out."""
    units = _units(ranked, sha256, groups)
    room = {label: n // HELD_OUT_OF for label, n in Counter(labels).items()}
    sides: list[bool | None] = [None] * len(labels)
    if known:
        sides = [known.get(sha) for sha in sha256]
        _follow(units, sides)
        room = _less(room, [labels[i] for i, side in enumerate(sides) if side])
        units = [unit for unit in units if sides[unit[0]] is None]
    for unit in _fill(units, labels, room):
        for i in unit:
            sides[i] = True
    return [bool(side) for side in sides]


def _units(ranked: Sequence[int], sha256: Sequence[str], groups: Sequence[int] | None) -> list[Unit]:
    """What stays together, ranked by one image of each: by the first in rank of all, the large would come first."""
    if groups is None and len(set(sha256)) == len(sha256):
        return [(i,) for i in ranked]
    together = joined(len(sha256), [equal_pairs(sha256), equal_pairs(() if groups is None else groups)]).tolist()
    units: dict[int, list[int]] = {}
    for i in ranked:
        units.setdefault(together[i], []).append(i)
    place = {i: place for place, i in enumerate(ranked)}
    return sorted(units.values(), key=lambda unit: place[min(unit, key=sha256.__getitem__)])


def _follow(units: Iterable[Unit], sides: list[bool | None]) -> None:
    """Give what is new in a unit the side that the rest of it has."""
    for unit in units:
        before = {sides[i] for i in unit} - {None}
        for i in unit if before else ():
            if sides[i] is None:
                sides[i] = before == {True}


def _less(room: Mapping[str, int], taken: Iterable[str]) -> dict[str, int]:
    counts = Counter(taken)
    return {label: max(0, n - counts[label]) for label, n in room.items()}


def _fill(units: Sequence[Unit], labels: Sequence[str], room: Mapping[str, int]) -> list[Unit]:
    """The units to hold out: the first ones that fit; where they leave room, others that fill more of it.

    Of those across classes a fifth comes first: once their classes are full of others, none would fit.
    """
    across = [unit for unit in units if len(unit) > 1 and len({labels[i] for i in unit}) > 1]
    fifth = {label: n // HELD_OUT_OF for label, n in Counter(labels[i] for unit in across for i in unit).items()}
    chosen = _first(across, labels, {label: min(n, room[label]) for label, n in fifth.items()})
    taken = {unit[0] for unit in chosen}
    left = _less(room, [labels[i] for unit in chosen for i in unit])
    chosen += _first([unit for unit in units if unit[0] not in taken] if taken else units, labels, left)
    for label in (label for label, n in left.items() if n):
        chosen = _refill(label, chosen, units, labels, left[label])
    return chosen


def _first(units: Iterable[Unit], labels: Sequence[str], room: dict[str, int]) -> list[Unit]:
    """The first units that fit, taken out of the room that every class has."""
    chosen: list[Unit] = []
    n_left = sum(room.values())
    for unit in units:
        if not n_left:
            break
        if _fits(unit, labels, room):
            chosen.append(unit)
            n_left -= len(unit)
            for i in unit:
                room[labels[i]] -= 1
    return chosen


def _fits(unit: Unit, labels: Sequence[str], room: Mapping[str, int]) -> bool:
    if len(unit) == 1:
        return room[labels[unit[0]]] > 0
    return all(room[label] >= n for label, n in Counter(labels[i] for i in unit).items())


def _refill(label: str, chosen: list[Unit], units: Sequence[Unit], labels: Sequence[str], left: int) -> list[Unit]:
    """The chosen, with those that are of this class alone chosen again so that they leave the least room."""
    own = [unit for unit in units if all(labels[i] == label for i in unit)]
    of_own = {unit[0] for unit in own}
    others, before = [u for u in chosen if u[0] not in of_own], [u for u in chosen if u[0] in of_own]
    n_before = sum(map(len, before))
    again = _fullest(own, n_before + left)
    return [*others, *again] if sum(map(len, again)) > n_before else chosen


def _fullest(units: Sequence[Unit], room: int) -> list[Unit]:
    """Units that fill the most of a room, of each size the first ones.

    Bit k of a whole number says whether k images can be had of the sizes so far, so a shift adds one more of a size.
    """
    of_size: dict[int, list[Unit]] = {}
    for unit in units:
        of_size.setdefault(len(unit), []).append(unit)
    counts = {size: min(len(some), room // size) for size, some in sorted(of_size.items())}
    steps = [(size, count) for size, n in counts.items() for count in _doublings(n)]
    reached = [1]
    for size, count in steps:
        reached.append((reached[-1] | reached[-1] << size * count) & ((2 << room) - 1))
    most = reached[-1].bit_length() - 1
    chosen = dict.fromkeys(of_size, 0)
    for (size, count), before in zip(reversed(steps), reversed(reached[:-1]), strict=True):
        if not before >> most & 1:
            most -= size * count
            chosen[size] += count
    return [unit for size, some in of_size.items() for unit in some[: chosen[size]]]


def _doublings(n: int) -> list[int]:
    """1, 2, 4 … and a rest, so that every number up to n is a sum of some."""
    powers = [1 << k for k in range((n + 1).bit_length() - 1)]
    return [*powers, rest] if (rest := n - sum(powers)) else powers
