"""Pool: the photos of a comparison, encoded as far as its shots and seeds reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from promptctl.benchmark import results
from promptctl.clip import templates
from promptctl.clip.projection import encoder_with_before
from promptctl.data import remarks, sampling
from promptctl.data.groups import groups_of
from promptctl.data.images import HashedImage, LabelledImage
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.files import Skipped
from promptctl.encoding.pipeline import Features, encode_files
from promptctl.errors import NoImages
from promptctl.learners.shots import encode_chosen, hash_photos, measurable, say_near_copies, vectors_of
from promptctl.progress import OnProgress, OnStep

if TYPE_CHECKING:
    from promptctl.clip.backbone import Backbone
    from promptctl.data.folder import ImageFolder
    from promptctl.encoding.encoder import ImageEncoder

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class DividedPhotos:
    """Photos to sample from and photos to measure on, before any is decoded."""

    train: tuple[HashedImage, ...]
    test: tuple[HashedImage, ...]  # none that a learner may have seen
    measured_on: str  # what the latter are, in words
    skipped: tuple[Skipped, ...]
    part: str | None = None  # of the folder that the latter are; None: they are held out of what there is


@dataclass(frozen=True)
class Reach:
    """How far into the photos of a class a comparison samples."""

    seeds: tuple[int, ...]
    depth: int  # images per class and seed

    def of(self, images: Sequence[HashedImage]) -> tuple[HashedImage, ...]:
        """The images it will sample, whatever the seed."""
        sampled = {
            image.path
            for of_class in sampling.by_class(images).values()
            for seed in self.seeds
            for image in sampling.sample(of_class, min(self.depth, len(of_class)), seed=seed).train
        }
        return tuple(image for image in images if image.path in sampled)


@dataclass(frozen=True)
class Pool:
    """Photos of a class list: those shots are sampled from, and those everything is measured on."""

    name_of: Mapping[str, str]  # label → class name, labels in sorted order
    train: tuple[HashedImage, ...]
    test: tuple[HashedImage, ...]
    vector_of: Mapping[Path, Vectors]  # (E,) unit rows, of the test images and of what will be sampled
    backbone: Backbone
    template: str
    length_of: Mapping[Path, float] = field(default_factory=dict)  # of a feature as it left the tower, where asked for
    before_of: Mapping[Path, Vectors] = field(default_factory=dict)  # (D + 1,), see clip.projection, where asked for

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.name_of)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.name_of.values())

    @cached_property
    def digest(self) -> str:
        """What is sampled from, what is measured on, and what the classes are called."""
        parts = [[side, i.label, i.sha256] for side, part in (("train", self.train), ("test", self.test)) for i in part]
        return results.digest([*parts, *self.name_of.items()])

    @property
    def most_shots(self) -> tuple[int, str]:
        """How many shots every class has, and the class that has no more."""
        return fewest(self.train, self.labels)

    @property
    def encoded(self) -> tuple[HashedImage, ...]:
        """The images whose features are here."""
        return tuple(image for image in (*self.train, *self.test) if image.path in self.vector_of)

    @cached_property
    def _written(self) -> dict[tuple[str, ...], Vectors]:
        return {}

    def zero_shot_features(self, template: str) -> Vectors:
        """(C, E) unit rows of a template, computed once."""
        return self.by_sentences(templates.sentences(template))

    def by_sentences(self, written: tuple[str, ...]) -> Vectors:
        """(C, E) unit rows, the mean of sentences with {}, computed once."""
        if written not in self._written:
            self._written[written] = templates.mean_features(self.backbone.tower, self.names, written)
        return self._written[written]

    def arrays(self, some: Sequence[HashedImage]) -> tuple[Vectors, NDArray[np.int64]]:
        """(N, E) unit rows and (N,) class indices."""
        index = {label: i for i, label in enumerate(self.labels)}
        width = self.backbone.id.joint_width
        vectors = np.array([self.vector_of[image.path] for image in some], np.float32).reshape(-1, width)
        return vectors, np.array([index[image.label] for image in some], dtype=np.int64)

    def raw_arrays(self, some: Sequence[HashedImage]) -> tuple[Vectors, NDArray[np.int64]]:
        """(N, E) rows as they leave the tower and (N,) class indices."""
        unit, targets = self.arrays(some)
        lengths = np.array([self.length_of[image.path] for image in some], np.float32)
        return unit * lengths[:, None], targets

    def features(self, some: Sequence[HashedImage]) -> Features:
        paths, sha256 = tuple(image.path for image in some), tuple(image.sha256 for image in some)
        return Features(paths, sha256, self.arrays(some)[0])

    def groups(self, some: Sequence[HashedImage]) -> NDArray[np.int64]:
        """(N,) which of some images belong together: copies, near copies and bursts have equal numbers."""
        return groups_of(self.arrays(some)[0], *zip(*((i.label, i.sha256, i.path) for i in some), strict=True))

    def only(self, labels: Sequence[str]) -> Pool:
        """The same photos of some classes."""
        keep = {label: self.name_of[label] for label in labels}
        train, test = (tuple(i for i in part if i.label in keep) for part in (self.train, self.test))
        return replace(self, name_of=keep, train=train, test=test)

    def accuracy(self, texts: Vectors) -> float:
        """Fraction of the test images nearest to their own class, (C, E) unit rows."""
        x, y = self.arrays(self.test)
        return float(((x @ texts.T).argmax(1) == y).mean())


def fewest(images: Sequence[HashedImage], labels: Sequence[str]) -> tuple[int, str]:
    """How many images the class with the fewest has, and which class that is."""
    found = Counter(image.label for image in images)
    return min((found[label], label) for label in labels)


def halves(labels: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Base and new classes: the first half of the sorted labels, the larger one, and the rest."""
    ordered = sorted(labels)
    middle = (len(ordered) + 1) // 2
    return tuple(ordered[:middle]), tuple(ordered[middle:])


def divide_photos(
    folder: ImageFolder, candidates: Sequence[LabelledImage], on_progress: OnProgress | None = None
) -> DividedPhotos:
    """The photos of a folder by content: its own parts, or a fifth of each class to measure on.

    Copies are on one side; what else belongs together is known when the photos are encoded.

    raises   NoImages when none is left to measure on
    """
    photos = hash_photos(folder, candidates, on_progress)
    train, test, measured_on = photos.to_learn_from, photos.to_measure_on, f"images of {photos.part}/"
    if photos.part is None:
        divided = sampling.fifth_of_each(train)
        train, test, measured_on = divided.train, divided.held_out, "images held out, a fifth of each class"
    test, leaked = measurable(test, {image.label for image in candidates}, train)
    if not test:
        raise _nothing_to_measure_on(folder)
    return DividedPhotos(train, test, measured_on, (*photos.skipped, *leaked), photos.part)


def encode_pool(
    photos: DividedPhotos,
    folder: ImageFolder,
    name_of: Mapping[str, str],
    reach: Reach,
    backbone: Backbone,
    template: str,
    on_progress: OnProgress | None = None,
    *,
    with_before: bool = False,
) -> tuple[Pool, tuple[Skipped, ...]]:
    """What a comparison needs of the photos, encoded, and the files that turned out to be damaged.

    Of a folder with parts of its own that is what is sampled and what is measured on. Otherwise all photos are encoded,
    and divided again so that copies, near copies and bursts are on one side: where there are none, as before.

    with_before   keep what comes before the projection of the image tower too
    raises        NoImages when none is left to measure on
    """
    encoder = encoder_with_before(backbone.encoder) if with_before else backbone.encoder
    encoding = partial(on_progress, "encoding") if on_progress else None
    encode = _encoded_as_divided if photos.part else _divided_by_groups
    with FeatureCache() as cache:
        photos, vector_of, damaged = encode(photos, reach, encoder, cache, encoding)
    test = tuple(image for image in photos.test if image.path in vector_of)
    if not test:
        raise _nothing_to_measure_on(folder)
    say_near_copies(test, photos.train, vector_of)
    return Pool(name_of, photos.train, test, vector_of, backbone, template), damaged


_Encoded = tuple[DividedPhotos, dict[Path, Vectors], tuple[Skipped, ...]]  # and the files that were damaged


def _encoded_as_divided(
    photos: DividedPhotos, reach: Reach, encoder: ImageEncoder, cache: FeatureCache, encoding: OnStep | None
) -> _Encoded:
    """What will be sampled, and what is measured on."""
    train, sampled, damaged = encode_chosen(photos.train, lambda some, _: reach.of(some), encoder, cache, encoding)
    measured, lost = encode_files([image.path for image in photos.test], encoder, cache, encoding)
    return replace(photos, train=train), vectors_of(sampled, measured), (*damaged, *lost)


def _divided_by_groups(
    photos: DividedPhotos, reach: Reach, encoder: ImageEncoder, cache: FeatureCache, encoding: OnStep | None
) -> _Encoded:
    """The photos divided once more with what belongs together on one side; as before where nothing does."""
    every = (*photos.train, *photos.test)
    features, damaged = encode_files([image.path for image in every], encoder, cache, encoding)
    vector_of, group_of = vectors_of(features), _groups(every, features)
    divided = sampling.fifth_of_each(every, groups=[group_of[image.path] for image in every])
    train, test = (tuple(i for i in side if i.path in vector_of) for side in (divided.train, divided.held_out))
    unmeasured = {image.label for image in photos.test} - {image.label for image in test}
    remarks.say([f"no photo of '{label}' is measured on: its photos belong together" for label in sorted(unmeasured)])
    needed = {image.path for image in (*reach.of(train), *test)}
    vector_of = {path: row for path, row in vector_of.items() if path in needed}
    return replace(photos, train=train, test=test), vector_of, damaged


def _groups(images: Sequence[HashedImage], features: Features) -> dict[Path, int]:
    """Which images belong together; those that could not be read are alone."""
    label_of = {image.path: image.label for image in images}
    labels = [label_of[path] for path in features.paths]
    numbers = groups_of(features.vectors, labels, features.sha256, features.paths)
    alone = {image.path: len(features) + i for i, image in enumerate(images)}
    return {**alone, **dict(zip(features.paths, numbers.tolist(), strict=True))}


def _nothing_to_measure_on(folder: ImageFolder) -> NoImages:
    return NoImages(f"{folder.root} has no image left to measure on", "more images per class, or a test/ folder")
