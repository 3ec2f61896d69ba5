"""Sampling: which images are shots and which are held out, by content hash."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from promptctl.data.images import HashedImage
from promptctl.errors import TooFewShots


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


def hold_out_fifth(images: Sequence[HashedImage]) -> Sample:
    """Every image, less about a fifth of each class held out by its own hash alone; for what keeps learning.

    The side of an image depends on nothing but its content, so it never changes when others come or go; only
    a class that would be left without any training image keeps its first one.
    """
    train: list[HashedImage] = []
    held_out: list[HashedImage] = []
    for of_class in by_class(images).values():
        ordered = sorted(of_class, key=lambda image: image.sha256)
        in_fifth = [_in_held_out_fifth(image.sha256) for image in ordered]
        in_fifth[0] = in_fifth[0] and not all(in_fifth)
        train += [image for image, is_held_out in zip(ordered, in_fifth, strict=True) if not is_held_out]
        held_out += [image for image, is_held_out in zip(ordered, in_fifth, strict=True) if is_held_out]
    return Sample(tuple(train), tuple(held_out))


def fifth_of_each(images: Sequence[HashedImage]) -> Sample:
    """Every image, less a fifth of each class, to the nearest image and at least one where there are two.

    For what is measured once: however few the images, the shares are right.
    """
    train: list[HashedImage] = []
    held_out: list[HashedImage] = []
    for of_class in by_class(images).values():
        ordered = sorted(of_class, key=lambda image: image.sha256)
        n_held_out = max(round(len(ordered) / 5), min(1, len(ordered) - 1))
        train += ordered[n_held_out:]
        held_out += ordered[:n_held_out]
    return Sample(tuple(train), tuple(held_out))


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


def _in_held_out_fifth(sha256: str) -> bool:
    return int(rank_key(sha256, 0)[:8], 16) % 5 == 0
