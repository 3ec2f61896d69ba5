"""Features of images, computed once per content, box, backbone and preprocessing, and kept."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptctl.encoding.boxes import Box, cut, key_of, look_of_box
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.decode import decoded, decoder_of
from promptctl.encoding.files import NotAnImage, Skipped, UnreadableImage, file_bytes
from promptctl.encoding.formats import is_image_name
from promptctl.encoding.shrink import Look
from promptctl.encoding.views import VIEWS, look_of, view
from promptctl.errors import NoImages
from promptctl.progress import OnProgress, OnStep
from promptctl.remote import AT_ONCE, RemotePath

if TYPE_CHECKING:
    from promptctl.encoding.cache import Vector
    from promptctl.encoding.encoder import ImageEncoder

OnDone = Callable[[int], object]  # images so far

_BATCH = 32  # pictures the tower takes at once
_AHEAD = 2 * _BATCH  # pictures that are read and decoded before the tower asks for them
_HELD = 4 * _BATCH  # images that wait for those before them, most of them known
_RECENT = _AHEAD + _HELD + 2 * _BATCH  # pictures of which a copy may have been looked up too early
_DECODERS = min(16, max(4, os.cpu_count() or 1))
_VIEWS_A_JOB = _BATCH  # a file is read and hashed once for so many of its views


@dataclass(frozen=True)
class Encoded:
    """An image as a backbone sees it."""

    path: Path
    sha256: str  # of the file
    vector: Vector  # (E,) of unit length


@dataclass(frozen=True)
class Features:
    """Images as a backbone sees them."""

    paths: tuple[Path, ...]
    sha256: tuple[str, ...]  # of each file
    vectors: Vector  # (N, E) unit rows

    def __len__(self) -> int:
        return len(self.paths)


def stream(
    paths: Iterable[Path], encoder: ImageEncoder, cache: FeatureCache, on_done: OnDone | None = None
) -> Iterator[Encoded | Skipped]:
    """Images in the order of their paths, each as soon as it is encoded, and the files that are passed over.

    However many there are, only so many are in memory; the same files give the same features to the last bit.
    """
    return _stream(((path, (None,)) for path in paths), encoder, cache, on_done)


def stream_boxes(
    photos: Iterable[tuple[Path, Sequence[Box | None]]],
    encoder: ImageEncoder,
    cache: FeatureCache,
    on_done: OnDone | None = None,
) -> Iterator[Encoded | Skipped]:
    """The same of boxes of photos, each by itself: as many items for each photo as it has boxes; None: the whole photo.

    on_done   counts boxes
    """
    jobs = (
        (path, tuple(boxes[first : first + _VIEWS_A_JOB]))
        for path, boxes in photos
        for first in range(0, len(boxes), _VIEWS_A_JOB)
    )
    return _stream(jobs, encoder, cache, on_done)


def encode_files(
    paths: Sequence[Path], encoder: ImageEncoder, cache: FeatureCache, on_progress: OnStep | None = None
) -> tuple[Features, tuple[Skipped, ...]]:
    """Features of every readable image, in order, and the files that were passed over."""
    on_done = (lambda done: on_progress(done, len(paths))) if on_progress else None
    known, skipped = _parted(stream(paths, encoder, cache, on_done))
    vectors = _stack(known, encoder)
    return Features(tuple(item.path for item in known), tuple(item.sha256 for item in known), vectors), tuple(skipped)


def encoded_again(features: Features, encoder: ImageEncoder, on_progress: OnProgress | None = None) -> Vector:
    """(N, E) unit rows of images that were read before, by another encoder.

    raises   NoImages when a file has changed or gone meanwhile
    """
    encoding = partial(on_progress, "encoding") if on_progress else None
    with FeatureCache() as cache:
        found, skipped = encode_files(features.paths, encoder, cache, encoding)
    if skipped:
        raise NoImages(f"{skipped[0].path} was there a moment ago and is no more: {skipped[0].reason}", "learn again")
    if found.sha256 != features.sha256:
        raise NoImages("a photo has changed since a moment ago", "run the command again")
    return found.vectors


def encode_views(
    features: Features, views: int, encoder: ImageEncoder, cache: FeatureCache, on_progress: OnStep | None = None
) -> NDArray[np.float32]:
    """Features of random crops of images that were read before: `views.view` 0 to views - 1.

    returns   (N, V, E) unit rows
    raises    NoImages when a file has changed or gone meanwhile
    """
    numbers = [tuple(range(first, min(first + _VIEWS_A_JOB, views))) for first in range(0, views, _VIEWS_A_JOB)]
    jobs = ((path, some) for path in features.paths for some in numbers)
    total = views * len(features)
    on_done = (lambda done: on_progress(done, total)) if on_progress else None
    known, skipped = _parted(_stream(jobs, encoder, cache, on_done))
    if skipped:
        raise NoImages(f"{skipped[0].path} was there a moment ago and is no more: {skipped[0].reason}", "learn again")
    expected = dict(zip(features.paths, features.sha256, strict=True))
    changed = next((item.path for item in known if item.sha256 != expected[item.path]), None)
    if changed is not None:
        raise NoImages(f"{changed} has changed since a moment ago", "learn again")
    return _stack(known, encoder).reshape(len(features), views, -1)


class Looks(Protocol):
    """How a photo is looked at: an ImageEncoder, or what crops as it does."""

    @property
    def size(self) -> int:
        """S"""

    def preprocess(self, picture: Image.Image) -> NDArray[Any]:
        """What is looked at, of an RGB picture."""


def pixels_of(path: Path, sha256: str, number: int | None, looks: Looks) -> NDArray[Any]:
    """What a tower is shown of a photo that was read before, or of one of its random views.

    raises    NoImages when the file has changed or gone meanwhile
    """
    try:
        with file_bytes(path) as data:
            if hashlib.sha256(data).hexdigest() != sha256:
                raise NoImages(f"{path} has changed since a moment ago", "learn again")
            return _decoded_views(data, sha256, (number,), looks)[0]
    except UnreadableImage as reason:
        raise NoImages(f"{path} was there a moment ago and is no more: {reason}", "learn again") from reason


def _parted(items: Iterable[Encoded | Skipped]) -> tuple[list[Encoded], list[Skipped]]:
    known: list[Encoded] = []
    skipped: list[Skipped] = []
    for item in items:
        if isinstance(item, Skipped):
            skipped.append(item)
        else:
            known.append(item)
    return known, skipped


def _stack(known: Sequence[Encoded], encoder: ImageEncoder) -> NDArray[np.float32]:
    return np.array([item.vector for item in known], np.float32).reshape(-1, encoder.width)


@dataclass(frozen=True)
class _Picture:
    """A decoded image that waits for the tower."""

    path: Path
    sha256: str
    key: str
    pixels: NDArray[np.float32]  # (3, S, S)


_View = int | Box | None  # the number of a random view, a part of the picture, or the picture as it is
_Job = tuple[Path, tuple[_View, ...]]
_Item = Encoded | _Picture | Skipped


def _stream(
    jobs: Iterable[_Job], encoder: ImageEncoder, cache: FeatureCache, on_done: OnDone | None
) -> Iterator[Encoded | Skipped]:
    done = 0
    recent: dict[str, Vector] = {}
    tower = ThreadPoolExecutor(max_workers=1)  # so that whoever waits for a slow one can be interrupted
    try:
        for batch in _batches(_prepared(jobs, encoder, cache), recent):
            encoded = _encoded(batch, encoder, tower, cache, recent)
            done += len(batch)
            if on_done:
                on_done(done)
            yield from encoded
    finally:
        tower.shutdown(wait=False, cancel_futures=True)


def _prepared(jobs: Iterable[_Job], encoder: ImageEncoder, cache: FeatureCache) -> Iterator[_Item]:
    """Every file read and hashed, and decoded if a feature is not known, in order, a little ahead of the tower."""
    near, far = ThreadPoolExecutor(max_workers=_DECODERS), ThreadPoolExecutor(max_workers=AT_ONCE)
    ahead: deque[Future[list[_Item]]] = deque()
    waiting = 0  # pictures that may lie in memory
    try:
        for path, views in jobs:
            pool = far if isinstance(path, RemotePath) else near  # there most of the time is waiting for an answer
            ahead.append(pool.submit(_prepare, path, views, encoder, cache))
            waiting += len(views)
            while waiting > _AHEAD:
                items = ahead.popleft().result()
                waiting -= len(items)
                yield from items
        while ahead:
            yield from ahead.popleft().result()
    finally:
        for pool in (near, far):
            pool.shutdown(wait=False, cancel_futures=True)


def _prepare(path: Path, views: tuple[_View, ...], encoder: ImageEncoder, cache: FeatureCache) -> list[_Item]:
    try:
        with file_bytes(path) as data:
            sha256 = hashlib.sha256(data).hexdigest()
            decoder = decoder_of(data)
            keys = [_key(encoder.fingerprint, decoder, sha256, one) for one in views]
            known = [cache.get(key, encoder.width) for key in keys]
            new = [one for one, vector in zip(views, known, strict=True) if vector is None]
            pixels = iter(_decoded_views(data, sha256, new, encoder))
            return [
                _Picture(path, sha256, key, next(pixels)) if vector is None else Encoded(path, sha256, vector)
                for key, vector in zip(keys, known, strict=True)
            ]
    except UnreadableImage as reason:
        foreign = isinstance(reason, NotAnImage) and not is_image_name(path)
        return [Skipped(path, str(reason), foreign)] * len(views)


def _decoded_views(data: bytes, sha256: str, views: Sequence[_View], encoder: Looks) -> list[NDArray[np.float32]]:
    """(3, S, S) of each; a file is decoded once for all that are looked at alike."""
    looks = [_look(one, encoder.size) for one in views]
    found: dict[int, NDArray[np.float32]] = {}
    for look in dict.fromkeys(looks):
        with decoded(data, look) as picture:
            places = [place for place, one in enumerate(looks) if one == look]
            found |= {place: _pixels(picture, sha256, views[place], encoder) for place in places}
    return [found[place] for place in range(len(views))]


def _look(seen: _View, size: int) -> Look:
    return look_of_box(seen, size) if isinstance(seen, tuple) else look_of(size, views=seen is not None)


def _pixels(picture: Image.Image, sha256: str, seen: _View, encoder: Looks) -> NDArray[np.float32]:
    """(3, S, S) of a picture, of one of its views or of a box."""
    if isinstance(seen, tuple):
        return encoder.preprocess(cut(picture, seen))
    return encoder.preprocess(picture if seen is None else view(picture, sha256, seen, encoder.size))


def _batches(items: Iterable[_Item], recent: dict[str, Vector]) -> Iterator[list[_Item]]:
    """Images that are ready together: known ones at once, and pictures as many as the tower takes.

    The first batches are small, so that there is an answer soon. Where they end depends on the files and on what is
    known of them, never on the time, because rounding differs from batch to batch.
    """
    batch: list[_Item] = []
    pictures, most = 0, 1
    for item in items:
        # a copy of what was encoded a moment ago was perhaps looked up before that was known
        if isinstance(item, _Picture) and item.key in recent:
            item = Encoded(item.path, item.sha256, recent[item.key])
        batch.append(item)
        pictures += isinstance(item, _Picture)
        if pictures in (0, most) or len(batch) == _HELD:
            yield batch
            most = min(2 * most, _BATCH) if pictures else most
            batch, pictures = [], 0
    if batch:
        yield batch


def _encoded(
    batch: Sequence[_Item],
    encoder: ImageEncoder,
    tower: ThreadPoolExecutor,
    cache: FeatureCache,
    recent: dict[str, Vector],
) -> list[Encoded | Skipped]:
    """The batch with features for its pictures, which from now on are known."""
    pictures = {item.key: item.pixels for item in batch if isinstance(item, _Picture)}
    if pictures:
        of_each = tower.submit(_encoded_by, encoder, np.stack(list(pictures.values()))).result()
        vectors = dict(zip(pictures, of_each.pop(encoder.fingerprint), strict=True))
        cache.put(vectors)
        for fingerprint, rows in of_each.items():
            keys = (fingerprint + key.removeprefix(encoder.fingerprint) for key in pictures)
            cache.put(dict(zip(keys, rows, strict=True)), beside=True)
        recent.update(vectors)
        for key in list(recent)[:-_RECENT]:
            del recent[key]
    return [Encoded(item.path, item.sha256, recent[item.key]) if isinstance(item, _Picture) else item for item in batch]


def _encoded_by(encoder: ImageEncoder, pixels: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Fingerprint → unit rows of (N, 3, S, S): the encoder's own, and what else the same run of its tower gives."""
    together = getattr(encoder, "encode_with_others", None)
    return together(pixels) if together else {encoder.fingerprint: encoder.encode(pixels)}


def _key(fingerprint: str, decoder: str, sha256: str, seen: _View) -> str:
    part = "" if seen is None else f"+{key_of(seen)}" if isinstance(seen, tuple) else f"+{VIEWS}.{seen}"
    return f"{fingerprint}:{decoder}{part}:{sha256}"
