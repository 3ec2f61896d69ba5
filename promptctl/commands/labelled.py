"""Labelled photos to measure on: found, matched with the classes of a context, encoded."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl.commands.backbones import load_backbone_for, load_plain_encoder_for
from promptctl.commands.photos import without_named
from promptctl.errors import LibraryMissing, NoImages, UnknownClasses
from promptctl.progress import OnProgress
from promptctl.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.context.context import Context
    from promptctl.data.folder import ImageFolder
    from promptctl.data.images import LabelledImage
    from promptctl.data.readers.headings import ColumnNames
    from promptctl.encoding.encoder import ImageEncoder
    from promptctl.encoding.files import Skipped
    from promptctl.encoding.pipeline import Features


@dataclass(frozen=True)
class How:
    """What `evaluate` is asked for, whatever the context and the photos."""

    split: str | None = None
    columns: ColumnNames | None = None  # of lists, where somebody says what they are called
    together: bool = False
    baselines: tuple[str, ...] = ()
    classes: Path | None = None  # a list, or the word `folders`
    blend: float | None = 1.0
    model: str | None = None
    device: str = "auto"
    store: Store | None = None
    on_progress: OnProgress | None = None


@dataclass(frozen=True)
class Labelled:
    """The labelled photos of a folder or list, before any is opened."""

    root: Path
    where: str  # the folder, and which part of it
    images: tuple[LabelledImage, ...]
    skipped: tuple[Skipped, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(sorted({image.label for image in self.images}))

    def of(self, labels: Iterable[str]) -> tuple[LabelledImage, ...]:
        known = set(labels)
        return tuple(image for image in self.images if image.label in known)

    def strange(self, index: Mapping[str, int], name: str, classes: Path | None) -> list[Skipped]:
        """The photos of what is no class of a context; of classes that nobody asked for only how many they are."""
        from promptctl.data import remarks
        from promptctl.encoding.files import Skipped

        others = [image for image in self.images if image.label not in index]
        if classes is None:
            return [Skipped(image.path, f"'{image.label}' is not a class of {name}") for image in others]
        if others:
            remarks.say([f"{len(others)} images of {self.where} are of classes that {classes} does not name"])
        return []


@dataclass(frozen=True)
class Seen:
    """Labelled photos as a backbone sees them."""

    features: Features
    label_of: Mapping[Path, str]
    skipped: tuple[Skipped, ...]  # what could not be read
    seconds: float  # to read and encode them
    n_encoded: int  # the features of the others were known

    def only(self, labels: Container[str]) -> Seen:
        """Those of some labels."""
        features = self.features
        which = [i for i, path in enumerate(features.paths) if self.label_of[path] in labels]
        kept = replace(
            features,
            paths=tuple(features.paths[i] for i in which),
            sha256=tuple(features.sha256[i] for i in which),
            vectors=features.vectors[which],
        )
        return replace(self, features=kept)

    def targets(self, index: Mapping[str, int]) -> NDArray[np.int64]:
        """(N,) class indices."""
        import numpy as np

        return np.array([index[self.label_of[path]] for path in self.features.paths], dtype=np.int64)


def labelled(photos: Path, how: How) -> Labelled:
    """The photos to measure on: of a split, or of the one that is there to measure on.

    raises   NoImages, DatasetError
    """
    from promptctl.data.folder import ImageFolder
    from promptctl.data.readers.headings import USUAL

    folder = ImageFolder.scan(photos, how.columns or USUAL)
    part = how.split or folder.measured_part
    where = str(photos) if part in (None, "all") else f"{photos} ({part})"
    return Labelled(photos, where, _of_part(folder, part), folder.skipped)


def _of_part(folder: ImageFolder, part: str | None) -> tuple[LabelledImage, ...]:
    if part in (None, "all"):
        return folder.images
    images = folder.only(part)
    if not images:
        found = " and ".join(sorted(folder.splits))
        only = f", only {found}" if found else " and no parts at all"
        raise NoImages(f"{folder.root} has no images in the split '{part}'{only}", "--split all")
    return images


def class_index(labels: Sequence[str], context: Context, name: str, how: How) -> dict[str, int]:
    """Which class of a context each label means, where it means one; two names may be one to the text tower.

    raises   UnknownClasses where none means any
    """
    from promptctl.data.names import meant_by

    index = meant_by(labels, context.card.classes)
    if len(index) < len(labels):
        with suppress(LibraryMissing):
            tower = load_backbone_for(context, name, how.model, how.device).tower
            index = meant_by(labels, context.card.classes, tower)
    if not index:
        raise UnknownClasses(labels, name)
    return index


def seen_plainly(
    context: Context, shown: Features, name: str, model: str | None, device: str, on_progress: OnProgress | None
) -> Features:
    """The same photos by the plain tower, which zero-shot is asked about; as they are where a context has no other.

    raises   NoImages where a photo has changed meanwhile
    """
    if context.is_plain:
        return shown
    from promptctl.encoding.pipeline import encoded_again

    encoder = load_plain_encoder_for(context, name, model, device)
    on_stage = partial(_for_zero_shot, on_progress) if on_progress else None
    return replace(shown, vectors=encoded_again(shown, encoder, on_stage))


def _for_zero_shot(on_progress: OnProgress, stage: str, done: int, total: int) -> None:
    on_progress(f"{stage} for zero-shot", done, total)


def seen(images: Sequence[LabelledImage], encoder: ImageEncoder, photos: Path, on_progress: OnProgress | None) -> Seen:
    """Photos encoded, those in the cache from there, and how long it took.

    raises   NoImages where none of them can be read
    """
    from promptctl.encoding.cache import FeatureCache
    from promptctl.encoding.pipeline import encode_files

    paths, start = [image.path for image in images], time.perf_counter()
    with FeatureCache() as cache:
        features, skipped = encode_files(paths, encoder, cache, on_progress and partial(on_progress, "encoding"))
        n_encoded = cache.n_new
    seconds = time.perf_counter() - start
    if not len(features):
        raise NoImages(f"none of the {len(images)} images in {photos} could be read", f"ls {photos}")
    named = {image.path for image in images if image.listed}
    label_of = {image.path: image.label for image in images}
    return Seen(features, label_of, without_named(skipped, named), seconds, n_encoded)
