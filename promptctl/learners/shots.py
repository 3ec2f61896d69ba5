"""Shots: which images a context learns from and which it is measured on, as features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from promptctl.context.context import ShotTable
from promptctl.data import images, near_copies, remarks, sampling
from promptctl.data.folder import ImageFolder
from promptctl.data.images import HashedImage, LabelledImage, Skipped
from promptctl.data.sampling import Sample
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.decode import thumbnail
from promptctl.encoding.files import UnreadableImage
from promptctl.encoding.pipeline import Features, encode
from promptctl.errors import TooFewShots

if TYPE_CHECKING:
    from promptctl.clip.backbone import Backbone
    from promptctl.encoding.cache import Vector

MOST_MEASURED = 1000  # learn measures itself on no more images than this; evaluate on any number


@dataclass(frozen=True)
class FewShotSplit:
    """The outcome of a draw."""

    train: Features
    held_out: Features
    measured_on: str  # what the held-out images are, in words
    skipped: tuple[Skipped, ...]
    remembers_held_out: bool  # held out of what was there to learn from, so the context keeps them apart for good
    class_of: Mapping[Path, int]  # index into the sorted labels
    found: Mapping[str, int]  # readable photos of every label, each content once

    def targets(self, features: Features) -> NDArray[np.int64]:
        """(N,) class index of every image."""
        return np.array([self.class_of[path] for path in features.paths], dtype=np.int64)

    def table(self) -> ShotTable:
        """What the context remembers of its images; class ids are the class indices of a new context."""
        parts = (self.train, self.held_out) if self.remembers_held_out else (self.train,)
        sha256 = [bytes.fromhex(sha) for part in parts for sha in part.sha256]
        return ShotTable(
            features=np.concatenate([part.vectors for part in parts]).astype(np.float16),
            class_ids=np.concatenate([self.targets(part) for part in parts]).astype(np.int32),
            sha256=np.frombuffer(b"".join(sha256), np.uint8).reshape(-1, 32),
            held_out=np.concatenate([np.full(len(part), side, np.uint8) for side, part in enumerate(parts)]),
        )


def draw(
    folder: ImageFolder,
    candidates: Sequence[LabelledImage],
    *,
    shots: int | None,
    seed: int,
    backbone: Backbone,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> FewShotSplit:
    """Sample by content hash and seed, and encode.

    shots   images a class; None: all, less a fifth held out where the folder has no test or val part of its own
    A file that turns out to be damaged is left out and the draw repeated, so the shots are always whole.
    """
    reading, encoding = (partial(on_progress, stage) if on_progress else None for stage in ("reading", "encoding"))
    split = folder.measured_part
    remembers = shots is None and split is None
    cache = FeatureCache()
    apart = folder.only(split) if split else ()
    usable, unreadable = images.hash_images(candidates, reading)
    measured, unreadable_apart = images.hash_images(apart, reading) if apart else ((), ())
    skipped = [*folder.skipped, *unreadable, *unreadable_apart]
    remarks.say(remarks.one_picture_of_two_classes((i.path, i.label, i.sha256) for i in (*usable, *measured)))
    with cache:
        while True:
            _check_enough(candidates, usable, skipped, shots)
            sample, measured_on = _divide(usable, measured, split, shots, seed)
            train, damaged = encode([image.path for image in sample.train], backbone.encoder, cache, encoding)
            if not damaged:
                break
            skipped += damaged
            bad = {item.path for item in damaged}
            usable = tuple(image for image in usable if image.path not in bad)
        fair, unfair = measurable(sample.held_out, {image.label for image in candidates}, sample.train)
        some = fair if remembers else sampling.at_most(fair, MOST_MEASURED)
        held_out, damaged = encode([image.path for image in some], backbone.encoder, cache, encoding)
    vector_of = {path: row for part in (train, held_out) for path, row in zip(part.paths, part.vectors, strict=True)}
    say_near_copies(some, sample.train, vector_of)
    skipped += unfair
    place = {label: i for i, label in enumerate(sorted({image.label for image in candidates}))}
    class_of = {image.path: place[image.label] for image in (*sample.train, *fair)}
    lost = {item.path for item in (*skipped, *damaged)}
    found = Counter(image.label for image in (*usable, *measured) if image.label in place and image.path not in lost)
    return FewShotSplit(train, held_out, measured_on, (*skipped, *damaged), remembers, class_of, found)


def say_near_copies(
    measured: Sequence[HashedImage], learned: Sequence[HashedImage], vector_of: Mapping[Path, Vector]
) -> None:
    """Name what is measured on and looks nearly the same as what is learned from; it is measured on all the same."""
    measured, learned = ([image for image in some if image.path in vector_of] for some in (measured, learned))
    if not measured or not learned:
        return
    of_measured, of_learned = (np.stack([vector_of[image.path] for image in some]) for some in (measured, learned))
    look_alike = near_copies.alike(of_measured, of_learned, near_copies.ALIKE)[: near_copies.MOST_LOOKED_AT]
    pairs = [(measured[i].path, learned[j].path, cosine) for i, j, cosine in look_alike]
    remarks.say(remarks.near_copies((one, other) for one, other, cosine in pairs if _are_near(one, other, cosine)))


def _are_near(one: Path, other: Path, cosine: float) -> bool:
    try:
        return near_copies.is_near_copy(cosine, *(thumbnail(path, near_copies.SIDE) for path in (one, other)))
    except UnreadableImage:  # gone meanwhile
        return False


def _check_enough(
    candidates: Sequence[LabelledImage], usable: Sequence[HashedImage], skipped: Sequence[Skipped], shots: int | None
) -> None:
    """TooFewShots, with what became of its files, for the class with the fewest usable images."""
    found = Counter(image.label for image in usable)
    files = Counter(image.label for image in candidates)
    label = min(sorted(files), key=lambda label: found[label])
    if found[label] >= (shots or 1):
        return
    paths = {image.path for image in candidates if image.label == label}
    lost = [item for item in skipped if item.path in paths]
    copies = files[label] - len(lost) - found[label]
    reasons = [f"{item.path.name}: {item.reason}" for item in lost[:3]]
    if len(lost) > 3:
        reasons.append(f"{len(lost) - 3} more skipped")
    if copies:
        reasons.append(f"{copies} {'is a copy' if copies == 1 else 'are copies'} of another")
    raise TooFewShots(label, found[label], shots, because="; ".join(reasons))


def _divide(
    usable: Sequence[HashedImage],
    measured: Sequence[HashedImage],
    split: str | None,
    shots: int | None,
    seed: int,
) -> tuple[Sample, str]:
    """Which images to learn from, which to measure on, and what to call the latter."""
    if split is None and shots is None:
        return sampling.hold_out_fifth(usable), "images held out"
    sample = sampling.sample(usable, shots, seed=seed) if shots else Sample(tuple(usable), ())
    if split is None:
        return sample, "images not sampled"
    return Sample(sample.train, tuple(measured)), f"images of {split}/"


def measurable(
    candidates: Sequence[HashedImage], labels: Collection[str], learned: Sequence[HashedImage]
) -> tuple[tuple[HashedImage, ...], tuple[Skipped, ...]]:
    """The images that say how good a learner is, and the others: of classes it was not taught, or that it has seen."""
    seen = {image.sha256 for image in learned}
    fair, unfair = [], []
    for image in candidates:
        if image.label not in labels:
            unfair.append(Skipped(image.path, f"'{image.label}' is not a class of the photos to learn from"))
        elif image.sha256 in seen:
            unfair.append(Skipped(image.path, "a copy of a photo to learn from, so it is not measured on"))
        else:
            fair.append(image)
    return tuple(fair), tuple(unfair)
