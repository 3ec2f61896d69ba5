"""Stages: reading and decoding photos on any CPU, and encoding and answering them in an actor that has the tower."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from promptctl.data.walk import suffix_of
from promptctl.distributed.shards import Opened, Photo, cells_of, is_table, named_like
from promptctl.distributed.source import be_in, photos_in
from promptctl.distributed.work import Crop, Work, WrongWeights
from promptctl.encoding import formats
from promptctl.encoding.decode import decoded
from promptctl.encoding.files import NotAnImage, UnreadableImage, check_start, file_bytes
from promptctl.encoding.pipeline import Encoded
from promptctl.encoding.views import look_of
from promptctl.remote import path_of
from promptctl.render.formats import dumps
from promptctl.report import SkippedFile

BATCH = 32  # pictures that are decoded, and that a tower on a CPU takes at once
_THREADS = 4  # that read and decode in a task: an object store has to be waited for

OnBeside = Callable[[Counter[str]], object]  # how files end that turned out to be no photos
OnDone = Callable[[int], object]  # photos


@dataclass(frozen=True)
class _Decoded:
    """A photo on its way to the tower, or why it does not get there."""

    path: str
    sha256: str | None = None
    pixels: bytes | None = None
    reason: str | None = None


@dataclass(frozen=True)
class _Look:
    """What is looked for in a file."""

    crop: Crop
    meant: frozenset[bytes]

    def means(self, photo: Photo) -> bool:
        """Whether a file that is no photo was to be one, by its name or because somebody named it."""
        is_called_so = is_table(photo) or formats.is_image_name(named_like(photo))
        return is_called_so or os.fsencode(photo.path) in self.meant


def decode(photos: pa.Table, crop: Crop, meant: frozenset[bytes], cwd: str, on_beside: OnBeside) -> Iterator[pa.Table]:
    """Photos of a block read and decoded, so many at a time; one that cannot be is a row with the reason.

    photos    of `source.SCHEMA`
    meant     paths that somebody named: photos, whatever they are called
    cwd       that paths are relative to
    returns   path, sha256, pixels as `Crop` packs them, reason
    """
    be_in(cwd)
    found, look = photos_in(photos), _Look(crop, meant)
    with ThreadPoolExecutor(max_workers=_THREADS) as pool, Opened() as opened:
        for some in _parts(found):
            tables = [photo for photo in some if is_table(photo) and not photo.reason]
            files = [photo for photo in some if photo not in tables]
            items = [*pool.map(partial(_from_file, look=look, opened=opened), files)]
            items += pool.map(partial(_from_cell, look=look), *zip(*cells_of(tables), strict=True)) if tables else []
            beside = Counter(item for item in items if isinstance(item, str))
            if beside:
                on_beside(beside)
            yield _packed(item for item in items if isinstance(item, _Decoded))


def _parts(photos: list[Photo]) -> Iterator[list[Photo]]:
    yield from (photos[first : first + BATCH] for first in range(0, len(photos), BATCH))


def _from_file(photo: Photo, look: _Look, opened: Opened) -> _Decoded | str:
    if photo.reason:
        return _Decoded(photo.path, reason=photo.reason)
    return _decoded(photo, look, partial(_bytes, photo, opened))


def _from_cell(photo: Photo, cell: bytes | UnreadableImage, look: _Look) -> _Decoded | str:
    if isinstance(cell, UnreadableImage):
        return _Decoded(photo.path, reason=str(cell))
    return _decoded(photo, look, partial(_Held, cell))


def _bytes(photo: Photo, opened: Opened) -> AbstractContextManager[bytes]:
    return file_bytes(path_of(photo.path)) if photo.shard is None else opened.bytes_of(photo)


@dataclass(frozen=True)
class _Held:
    """Bytes that are there already."""

    data: bytes

    def __enter__(self) -> bytes:
        return self.data

    def __exit__(self, *_: object) -> None:
        pass


def _decoded(photo: Photo, look: _Look, bytes_of: Callable[[], AbstractContextManager[bytes]]) -> _Decoded | str:
    """A photo with its pixels, or the end of its name where it is none at all and nobody called it one."""
    try:
        with bytes_of() as data:
            check_start(data[: formats.HEAD], formats.of_name(named_like(photo)))
            sha256 = hashlib.sha256(data).hexdigest()
            with decoded(data, look_of(look.crop.side, views=False)) as picture:
                return _Decoded(photo.path, sha256, look.crop.of(picture).tobytes())
    except UnreadableImage as reason:
        if isinstance(reason, NotAnImage) and not look.means(photo):
            return suffix_of(photo.path)
        return _Decoded(photo.path, reason=str(reason))


_DECODED = pa.schema(
    [("path", pa.binary()), ("sha256", pa.string()), ("pixels", pa.large_binary()), ("reason", pa.string())]
)


def _packed(items: Iterable[_Decoded]) -> pa.Table:
    rows = [(os.fsencode(one.path), one.sha256, one.pixels, one.reason) for one in items]
    columns = list(zip(*rows, strict=True)) or [()] * len(_DECODED)
    return pa.table([pa.array(column, one.type) for column, one in zip(columns, _DECODED, strict=True)], _DECODED)


class Answering:
    """The actor: a tower that is loaded once, and what it sees as lines."""

    def __init__(self, work: Work, threads: int, batch: int, on_done: OnDone) -> None:
        """threads   of the tower, where it runs on a CPU
        batch     pictures that it takes at once

        raises   WrongWeights, BackboneError and its kind
        """
        self._work, self._batch, self._on_done = work, batch, on_done
        os.environ.update(work.environment)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._encoder = work.load()
        if self._encoder.fingerprint != work.fingerprint:
            raise WrongWeights("a machine of the cluster has other weights under the name of the backbone")

    def __call__(self, photos: pa.Table) -> pa.Table:
        """A line of JSON for every photo, with its path.

        photos   as `decode` gives them
        """
        pixels, paths = photos.column("pixels"), photos.column("path").to_pylist()
        seen = [row for row in range(len(photos)) if pixels[row].is_valid]
        vectors = self._vectors([pixels[row].as_buffer() for row in seen])
        hashes, reasons = photos.column("sha256").to_pylist(), photos.column("reason").to_pylist()
        lines = [self._refused(path, reason) for path, reason in zip(paths, reasons, strict=True)]
        for row, vector in zip(seen, vectors, strict=True):
            lines[row] = self._answered(Encoded(path_of(os.fsdecode(paths[row])), hashes[row], vector))
        self._on_done(len(lines))
        return pa.table({"path": pa.array(paths, pa.binary()), "line": pa.array(lines, pa.binary())})

    def _vectors(self, packed: list[Any]) -> Any:
        """(N, E) unit rows, encoded so many at a time; none of none."""
        parts = (packed[first : first + self._batch] for first in range(0, len(packed), self._batch))
        found = [self._encoder.encode(np.stack([self._work.crop.unpacked(one) for one in some])) for some in parts]
        return np.concatenate(found) if found else np.empty((0, self._encoder.width), np.float32)

    def _answered(self, image: Encoded) -> bytes:
        answers = tuple(classifier.answer(image) for classifier in self._work.classifiers)
        return dumps(self._work.describe(answers).record()).encode("ascii")

    def _refused(self, path: bytes, reason: str | None) -> bytes:
        return dumps(SkippedFile(path_of(os.fsdecode(path)), reason or "").record()).encode("ascii")
