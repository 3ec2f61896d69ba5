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

from promptctl.context.card import HELD_OUT
from promptctl.context.context import ShotTable
from promptctl.data import images, near_copies, remarks, sampling
from promptctl.data.folder import ImageFolder
from promptctl.data.groups import first_places, groups_of
from promptctl.data.images import HashedImage, LabelledImage
from promptctl.data.sampling import Sample
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.decode import thumbnail
from promptctl.encoding.files import Skipped, UnreadableImage
from promptctl.encoding.pipeline import Features, encode_files
from promptctl.errors import TooFewShots
from promptctl.progress import OnProgress, OnStep

if TYPE_CHECKING:
    from promptctl.encoding.cache import Vector
    from promptctl.encoding.encoder import ImageEncoder

MOST_MEASURED = 1000  # learn measures itself on no more images than this; evaluate on any number


@dataclass(frozen=True)
class FewShotSplit:
    """The shots, and what is measured on."""

    train: Features
    held_out: Features
    measured_on: str  # what the held-out images are, in words
    skipped: tuple[Skipped, ...]
    remembers_held_out: bool  # held out of what was there to learn from, so the context keeps them apart for good
    class_of: Mapping[Path, int]  # index into the sorted labels
    found: Mapping[str, int]  # readable photos of every label, each content once
    groups: Mapping[Path, int]  # of the images that the context remembers: copies, near copies, bursts

    def targets(self, features: Features) -> NDArray[np.int64]:
        """(N,) class index of every image."""
        return np.array([self.class_of[path] for path in features.paths], dtype=np.int64)

    def group_of(self, features: Features) -> NDArray[np.int64]:
        """(N,) which images the context remembers belong together: equal numbers stay on one side of every split."""
        return np.array([self.groups[path] for path in features.paths], dtype=np.int64)

    def table(self) -> ShotTable:
        """What the context remembers of its images; class ids are the class indices of a new context."""
        parts = (self.train, self.held_out) if self.remembers_held_out else (self.train,)
        sha256 = [bytes.fromhex(sha) for part in parts for sha in part.sha256]
        return ShotTable(
            features=np.concatenate([part.vectors for part in parts]).astype(np.float16),
            class_ids=np.concatenate([self.targets(part) for part in parts]).astype(np.int32),
            sha256=np.frombuffer(b"".join(sha256), np.uint8).reshape(-1, 32),
            held_out=np.concatenate([np.full(len(part), side, np.uint8) for side, part in enumerate(parts)]),
            groups=first_places(np.concatenate([self.group_of(part) for part in parts])).astype(np.int32),
        )


@dataclass(frozen=True)
class HashedPhotos:
    """The photos of a folder by content, before any is decoded."""

    to_learn_from: tuple[HashedImage, ...]
    to_measure_on: tuple[HashedImage, ...]  # of the part there is for that
    part: str | None  # test or val, where the folder has one
    skipped: tuple[Skipped, ...]


def hash_photos(
    folder: ImageFolder, candidates: Sequence[LabelledImage], on_progress: OnProgress | None = None
) -> HashedPhotos:
    """The photos to learn from and to measure on; one in several classes is warned of."""
    reading = partial(on_progress, "reading") if on_progress else None
    part = folder.measured_part
    usable, unreadable = images.hash_images(candidates, reading)
    measured, unreadable_of_part = images.hash_images(folder.only(part), reading) if part else ((), ())
    remarks.say(remarks.one_picture_of_two_classes((i.path, i.label, i.sha256) for i in (*usable, *measured)))
    return HashedPhotos(usable, measured, part, (*folder.skipped, *unreadable, *unreadable_of_part))


def encode_chosen(
    usable: Sequence[HashedImage],
    choose: Callable[[Sequence[HashedImage], Sequence[Skipped]], Sequence[HashedImage]],
    encoder: ImageEncoder,
    cache: FeatureCache,
    on_progress: OnStep | None = None,
) -> tuple[tuple[HashedImage, ...], Features, tuple[Skipped, ...]]:
    """What is chosen of the usable images, encoded; nothing but that is decoded.

    A file that turns out to be damaged is left out and the choice made again, so what is chosen is always whole.

    choose    the usable images and what was found damaged → those that are needed
    returns   the usable images that are left, the features of the chosen, and the damaged
    """
    damaged: list[Skipped] = []
    while True:
        features, lost = encode_files([image.path for image in choose(usable, damaged)], encoder, cache, on_progress)
        if not lost:
            return tuple(usable), features, tuple(damaged)
        damaged += lost
        bad = {item.path for item in lost}
        usable = [image for image in usable if image.path not in bad]


def sample_shots(
    folder: ImageFolder,
    candidates: Sequence[LabelledImage],
    *,
    shots: int | None,
    seed: int,
    encoder: ImageEncoder,
    on_progress: OnProgress | None = None,
) -> FewShotSplit:
    """Sample by content hash and seed, and encode what was sampled and what it is measured on.

    shots    images per class; None: all, less a fifth of each class held out where the folder has no test or val part
    raises   TooFewShots
    """
    encoding = partial(on_progress, "encoding") if on_progress else None
    photos = hash_photos(folder, candidates, on_progress)
    remembers = shots is None and photos.part is None

    def shots_among(usable: Sequence[HashedImage], damaged: Sequence[Skipped]) -> Sequence[HashedImage]:
        _check_enough(candidates, usable, [*photos.skipped, *damaged], shots)
        return sampling.sample(usable, shots, seed=seed).train if shots else usable

    with FeatureCache() as cache:
        usable, chosen, damaged = encode_chosen(photos.to_learn_from, shots_among, encoder, cache, encoding)
        skipped = [*photos.skipped, *damaged]
        groups = _groups(usable, chosen)
        sample = _divide(usable, photos, shots, seed, groups)
        unseen, leaked = measurable(sample.held_out, {image.label for image in candidates}, sample.train)
        if remembers:
            train, held_out, damaged = _part(chosen, sample.train), _part(chosen, unseen), ()
        else:
            some = sampling.at_most(unseen, MOST_MEASURED)
            train, (held_out, damaged) = chosen, encode_files([i.path for i in some], encoder, cache, encoding)
            say_near_copies(some, sample.train, vectors_of(train, held_out))
    skipped += (*leaked, *damaged)
    index = {label: i for i, label in enumerate(sorted({image.label for image in candidates}))}
    class_of = {image.path: index[image.label] for image in (*sample.train, *unseen)}
    lost = {item.path for item in skipped}
    found = Counter(i.label for i in (*usable, *photos.to_measure_on) if i.label in index and i.path not in lost)
    measured_on = _measured_on(photos, shots)
    return FewShotSplit(train, held_out, measured_on, tuple(skipped), remembers, class_of, found, groups)


def _groups(usable: Sequence[HashedImage], features: Features) -> dict[Path, int]:
    """Which of the encoded images belong together."""
    label_of = {image.path: image.label for image in usable}
    labels = [label_of[path] for path in features.paths]
    numbers = groups_of(features.vectors, labels, features.sha256, features.paths)
    return dict(zip(features.paths, numbers.tolist(), strict=True))


def _part(features: Features, some: Sequence[HashedImage]) -> Features:
    place = {path: i for i, path in enumerate(features.paths)}
    at = [place[image.path] for image in some]
    return Features(tuple(features.paths[i] for i in at), tuple(features.sha256[i] for i in at), features.vectors[at])


def vectors_of(*parts: Features) -> dict[Path, Vector]:
    """The (E,) unit row of every image."""
    return {path: row for part in parts for path, row in zip(part.paths, part.vectors, strict=True)}


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
    usable: Sequence[HashedImage], photos: HashedPhotos, shots: int | None, seed: int, groups: Mapping[Path, int]
) -> Sample:
    """Which images to learn from, and which to measure on."""
    if photos.part is None and shots is None:
        return sampling.hold_out(usable, groups=[groups[image.path] for image in usable])
    sample = sampling.sample(usable, shots, seed=seed) if shots else Sample(tuple(usable), ())
    return sample if photos.part is None else Sample(sample.train, photos.to_measure_on)


def _measured_on(photos: HashedPhotos, shots: int | None) -> str:
    if photos.part:
        return f"images of {photos.part}/"
    return HELD_OUT if shots is None else "images not sampled"


def measurable(
    candidates: Sequence[HashedImage], labels: Collection[str], learned: Sequence[HashedImage]
) -> tuple[tuple[HashedImage, ...], tuple[Skipped, ...]]:
    """The images a learner has not seen, and the others: of classes it does not learn, or leaked from its shots."""
    seen = {image.sha256 for image in learned}
    unseen, leaked = [], []
    for image in candidates:
        if image.label not in labels:
            leaked.append(Skipped(image.path, f"'{image.label}' is not a class of the photos to learn from"))
        elif image.sha256 in seen:
            leaked.append(Skipped(image.path, "a copy of a photo to learn from, so it is not measured on"))
        else:
            unseen.append(image)
    return tuple(unseen), tuple(leaked)
