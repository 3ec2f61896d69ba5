"""Images: files of photos with their labels, and what is passed over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from promptctl.data.walk import by_suffix, is_beside
from promptctl.encoding.decode import hash_image
from promptctl.encoding.files import NotAnImage, Skipped, UnreadableImage
from promptctl.encoding.formats import is_image_name
from promptctl.progress import OnStep
from promptctl.remote import AT_ONCE, RemotePath

_AT_ONCE = 512  # files


@dataclass(frozen=True)
class LabelledImage:
    """An image file, the class it shows, and the split it was put in (train, val, test or none)."""

    path: Path
    label: str  # in NFC
    split: str | None = None
    listed: bool = False  # by name in a list, so it is meant to be an image


@dataclass(frozen=True)
class HashedImage:
    """A labelled image with the sha256 of its file."""

    path: Path
    label: str
    split: str | None
    sha256: str


def photos_among(files: Iterable[Path], *, named: Iterable[Path] = ()) -> tuple[list[Path], list[Skipped]]:
    """The files that could be photos, and those whose names say that they lie beside photos.

    named   by a person, who means them to be photos whatever they are called
    """
    meant = set(named)
    photos: list[Path] = []
    passed: list[Skipped] = []
    for path in files:
        if is_beside(path) and path not in meant:
            passed.append(Skipped(path, "not a photo", foreign=True))
        else:
            photos.append(path)
    return photos, passed


def passed_over(skipped: Iterable[Skipped]) -> dict[str, int]:
    """How many files were no photos at all, by the end of their names, most first."""
    return by_suffix(item.path for item in skipped if item.foreign)


def hash_images(
    images: Sequence[LabelledImage], on_progress: OnStep | None = None
) -> tuple[tuple[HashedImage, ...], tuple[Skipped, ...]]:
    """The images whose files can be read and look like images, each content once per class, and the others."""
    hashed: list[HashedImage] = []
    skipped: list[Skipped] = []
    seen: set[tuple[str, str]] = set()
    for done, (image, outcome) in enumerate(zip(images, _outcomes(images), strict=True), 1):
        if isinstance(outcome, UnreadableImage):
            foreign = isinstance(outcome, NotAnImage) and not is_image_name(image.path) and not image.listed
            skipped.append(Skipped(image.path, str(outcome), foreign))
        elif (image.label, outcome) not in seen:
            seen.add((image.label, outcome))
            hashed.append(HashedImage(image.path, image.label, image.split, outcome))
        if on_progress:
            on_progress(done, len(images))
    return tuple(hashed), tuple(skipped)


def changed_since(sha256: Mapping[Path, str]) -> tuple[Path, ...]:
    """The files that can be read and no longer are what they were, by the sha256 that each had."""
    outcomes = _outcomes([LabelledImage(path, "") for path in sha256])
    return tuple(
        path
        for (path, before), now in zip(sha256.items(), outcomes, strict=True)
        if isinstance(now, str) and now != before
    )


def _outcomes(images: Sequence[LabelledImage]) -> Iterator[str | UnreadableImage]:
    """The sha256 of every image, or why it cannot be read, in order."""
    is_far = any(isinstance(one.path, RemotePath) for one in islice(images, 1))  # they are all of one place
    with ThreadPoolExecutor(max_workers=AT_ONCE if is_far else 4) as pool:
        # a pool takes all it is given before it gives anything back: seconds for a hundred thousand files
        for first in range(0, len(images), _AT_ONCE):
            yield from pool.map(_hash_or_reason, images[first : first + _AT_ONCE])


def _hash_or_reason(image: LabelledImage) -> str | UnreadableImage:
    try:
        return hash_image(image.path)
    except UnreadableImage as reason:
        return reason
