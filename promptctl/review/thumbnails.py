"""Thumbnails: photos made small for a page, upright, without what their files say beside the pixels.

Each is made when it is asked for, once, and kept in memory as far as there is room.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from promptctl.encoding.decode import decoded
from promptctl.encoding.files import UnreadableImage, file_bytes
from promptctl.encoding.shrink import Look

_AT_ONCE = 2  # pictures that are decoded


@dataclass(frozen=True)
class Size:
    """How large a picture is on a page."""

    side: int  # pixels of the long side, at most
    kept: int  # bytes of memory for all of them
    quality: int  # of a JPEG


SIZES = {"large": Size(1024, 96_000_000, 85), "small": Size(160, 24_000_000, 75)}


class Changed(UnreadableImage):
    """A file that is not the photo any more that the run began with."""

    def __init__(self) -> None:
        super().__init__("it has changed, or was replaced, since the review began")


@dataclass(eq=False)
class _Shelf:
    """Pictures of one size: those that were asked for last, as many as there is room for."""

    room: int  # bytes
    pictures: OrderedDict[str, bytes] = field(default_factory=OrderedDict)
    n_bytes: int = 0

    def get(self, sha256: str) -> bytes | None:
        if sha256 in self.pictures:
            self.pictures.move_to_end(sha256)
        return self.pictures.get(sha256)

    def put(self, sha256: str, picture: bytes) -> None:
        self.pictures[sha256] = picture
        self.n_bytes += len(picture)
        while self.n_bytes > self.room and len(self.pictures) > 1:
            self.n_bytes -= len(self.pictures.popitem(last=False)[1])


class Thumbnails:
    """Small pictures of files, each known by its sha256; several threads may ask."""

    def __init__(self) -> None:
        self._shelves = {name: _Shelf(size.kept) for name, size in SIZES.items()}
        self._lock = threading.Lock()  # of the shelves
        self._turns = threading.Semaphore(_AT_ONCE)
        self._making: dict[tuple[str, str], threading.Lock] = {}

    def get(self, place: Path, sha256: str, size: str) -> bytes:
        """A JPEG; UnreadableImage where the file at `place` cannot be read, Changed where it has another content."""
        if (known := self._known(sha256, size)) is not None:
            return known
        with self._lock:
            making = self._making.setdefault((sha256, size), threading.Lock())
        try:
            with making:  # whoever asks at the same time waits for one to make it
                if (known := self._known(sha256, size)) is not None:
                    return known
                with self._turns:
                    picture = made(place, sha256, SIZES[size])
                with self._lock:
                    self._shelves[size].put(sha256, picture)
                return picture
        finally:
            with self._lock:
                self._making.pop((sha256, size), None)

    def _known(self, sha256: str, size: str) -> bytes | None:
        with self._lock:
            return self._shelves[size].get(sha256)


def made(place: Path, sha256: str, size: Size) -> bytes:
    """A photo as a small JPEG, pixels and nothing else; errors as in `Thumbnails.get`."""
    if os.path.realpath(place) != os.fspath(place):  # a link was put in its place, or in a folder's
        raise Changed
    with file_bytes(place) as data:
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Changed
        with decoded(data, Look(size.side, 1)) as picture:
            shown = picture.resize(_fitting(picture.size, size.side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    shown.info.clear()  # which Pillow writes in part
    out = io.BytesIO()
    shown.save(out, "JPEG", quality=size.quality, optimize=True)
    return out.getvalue()


def _fitting(full: tuple[int, int], side: int) -> tuple[int, int]:
    """Width and height within a square, never larger than they are."""
    share = min(1.0, side / max(full))
    return max(1, round(full[0] * share)), max(1, round(full[1] * share))
