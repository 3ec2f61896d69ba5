"""Features of images, computed once per content, backbone and preprocessing, and kept."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptctl.data.images import OnProgress, Skipped
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.decode import (
    DECODER,
    VIEWS,
    NotAnImage,
    UnreadableImage,
    decoded,
    file_bytes,
    is_image_name,
    view,
)
from promptctl.errors import NoImages

if TYPE_CHECKING:
    from promptctl.encoding.cache import Vector
    from promptctl.encoding.encoder import ImageEncoder

_BATCH = 32
_DECODERS = 4
_VIEWS_A_JOB = _BATCH  # a file is read and hashed once for so many of its views


@dataclass(frozen=True)
class Features:
    """Images as a backbone sees them."""

    paths: tuple[Path, ...]
    sha256: tuple[str, ...]  # of each file
    vectors: Vector  # (N, E) unit rows

    def __len__(self) -> int:
        return len(self.paths)


def encode(
    paths: Sequence[Path], encoder: ImageEncoder, cache: FeatureCache, on_progress: OnProgress | None = None
) -> tuple[Features, tuple[Skipped, ...]]:
    """Features of every readable image, in order, and the files that were passed over."""
    known, skipped = _encode([(path, (None,)) for path in paths], encoder, cache, on_progress)
    vectors = _stack(known, encoder)
    return Features(tuple(item.path for item in known), tuple(item.sha256 for item in known), vectors), tuple(skipped)


def encode_views(
    features: Features, views: int, encoder: ImageEncoder, cache: FeatureCache, on_progress: OnProgress | None = None
) -> NDArray[np.float32]:
    """Features of random crops of images that were read before: `pictures.view` 0 to views - 1.

    returns   (N, V, E) unit rows
    raises    NoImages when a file has changed or gone meanwhile
    """
    numbers = [tuple(range(first, min(first + _VIEWS_A_JOB, views))) for first in range(0, views, _VIEWS_A_JOB)]
    jobs = [(path, some) for path in features.paths for some in numbers]
    known, skipped = _encode(jobs, encoder, cache, on_progress)
    if skipped:
        raise NoImages(f"{skipped[0].path} was there a moment ago and is no more: {skipped[0].reason}", "learn again")
    expected = dict(zip(features.paths, features.sha256, strict=True))
    changed = next((item.path for item in known if item.sha256 != expected[item.path]), None)
    if changed is not None:
        raise NoImages(f"{changed} has changed since a moment ago", "learn again")
    return _stack(known, encoder).reshape(len(features), views, -1)


def _stack(known: Sequence[_Known], encoder: ImageEncoder) -> NDArray[np.float32]:
    return np.array([item.vector for item in known], np.float32).reshape(-1, encoder.width)


def _encode(
    jobs: Sequence[_Job], encoder: ImageEncoder, cache: FeatureCache, on_progress: OnProgress | None
) -> tuple[list[_Known], list[Skipped]]:
    known: list[_Known] = []
    skipped: list[Skipped] = []
    total = sum(len(views) for _, views in jobs)
    for batch in _batches(_prepared(jobs, encoder, cache)):
        known += _encoded([item for item in batch if not isinstance(item, Skipped)], encoder, cache)
        skipped += [item for item in batch if isinstance(item, Skipped)]
        if on_progress:
            on_progress(len(known) + len(skipped), total)
    return known, skipped


@dataclass(frozen=True)
class _Known:
    path: Path
    sha256: str
    vector: Vector


@dataclass(frozen=True)
class _Picture:
    path: Path
    sha256: str
    key: str
    pixels: NDArray[np.float32]  # (3, S, S)


_Job = tuple[Path, tuple[int | None, ...]]  # a file, and which views of it; None: the picture as it is
_Item = _Known | _Picture | Skipped


def _prepared(jobs: Sequence[_Job], encoder: ImageEncoder, cache: FeatureCache) -> Iterator[_Item]:
    """Every file read and hashed, and decoded if a feature is not known, in order, a little ahead of the tower."""
    pool = ThreadPoolExecutor(max_workers=_DECODERS)
    ahead: deque[Future[list[_Item]]] = deque()
    waiting = 0  # pictures that may lie in memory
    todo = deque(jobs)
    try:
        while todo or ahead:
            while todo and waiting <= 2 * _BATCH:
                ahead.append(pool.submit(_prepare, *todo[0], encoder, cache))
                waiting += len(todo.popleft()[1])
            items = ahead.popleft().result()
            waiting -= len(items)
            yield from items
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _prepare(path: Path, views: tuple[int | None, ...], encoder: ImageEncoder, cache: FeatureCache) -> list[_Item]:
    try:
        with file_bytes(path) as data:
            sha256 = hashlib.sha256(data).hexdigest()
            keys = [_key(encoder.fingerprint, sha256, number) for number in views]
            known = [cache.get(key, encoder.width) for key in keys]
            items: list[_Item] = [_Known(path, sha256, vector) for vector in known if vector is not None]
            if len(items) == len(views):
                return items
            with decoded(data) as picture:
                return [
                    _Picture(path, sha256, key, _pixels(picture, sha256, number, encoder))
                    if vector is None
                    else _Known(path, sha256, vector)
                    for number, key, vector in zip(views, keys, known, strict=True)
                ]
    except UnreadableImage as reason:
        foreign = isinstance(reason, NotAnImage) and not is_image_name(path)
        return [Skipped(path, str(reason), foreign)] * len(views)


def _pixels(picture: Image.Image, sha256: str, number: int | None, encoder: ImageEncoder) -> NDArray[np.float32]:
    """(3, S, S) of a picture, or of one of its views."""
    return encoder.preprocess(picture if number is None else view(picture, sha256, number, encoder.size))


def _batches(items: Iterator[_Item]) -> Iterator[list[_Item]]:
    while batch := list(islice(items, _BATCH)):
        yield batch


def _encoded(batch: Sequence[_Known | _Picture], encoder: ImageEncoder, cache: FeatureCache) -> list[_Known]:
    pictures = [item for item in batch if isinstance(item, _Picture)]
    if not pictures:
        return [item for item in batch if isinstance(item, _Known)]
    vectors = encoder.encode(np.stack([picture.pixels for picture in pictures]))
    cache.put({picture.key: vector for picture, vector in zip(pictures, vectors, strict=True)})
    fresh = iter(vectors)
    return [_Known(i.path, i.sha256, next(fresh)) if isinstance(i, _Picture) else i for i in batch]


def _key(fingerprint: str, sha256: str, number: int | None) -> str:
    seen = DECODER if number is None else f"{DECODER}+{VIEWS}.{number}"
    return f"{fingerprint}:{seen}:{sha256}"
