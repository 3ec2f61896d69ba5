"""TIFF directories: the little of them that tells a photo from a raw file, how it is turned and when it was taken.

EXIF blocks are TIFF files too. Nothing a directory says is believed further than it can be read: what is broken is
not there.
"""

from __future__ import annotations

import math
import re
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import chain
from typing import Any

ORIENTATION = 274
_SUBFILE_TYPE, _PHOTOMETRIC, _COMPRESSION, _SUB_DIRECTORIES, _DNG_VERSION = 254, 262, 259, 330, 50706
_BITS, _SAMPLES, _ROWS, _TILE_WIDTH, _TILE_LENGTH, _WIDTH, _HEIGHT = 258, 277, 278, 322, 323, 256, 257
_STRIPS, _TILES = 273, 324  # where they are
_EXIF, _TAKEN, _TAKEN_OFFSET, _TAKEN_FRACTION = (
    34665,
    36867,
    36881,
    37521,
)  # DateTimeOriginal, its offset, its SubSecTime
_DAY = 86400  # seconds
_OFFSET = re.compile(r"([+-])(\d\d):([0-5]\d)")
_TEXT = 2  # a type
# what decoding needs: sizes, layout, compression, palette, colour model
_OF_PIXELS = frozenset(
    (
        *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 334),
        *(338, 339, 340, 341, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 50674),
    )
)
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}  # as libtiff reads them
_MOST_VALUES = 64  # that are read of one tag
_MOST_PAGES = 64  # and sub-directories
_MOST_TAGS = 4096
_REDUCED = 1  # the bit of a smaller version of another picture
_RAW_PHOTOMETRIC = (32803, 34892)  # a sensor's mosaic, linear raw
_RAW_COMPRESSIONS = (32767, 32769, 32770, 34713, 65000, 65535)  # Sony, Epson, Samsung, Nikon, Kodak, Pentax
_PLAIN = (1, 2, 3, 4, 5, 8, 32773, 32946)  # compressions that are undone within their strip


@dataclass(frozen=True)
class Directory:
    """One picture's tags: the raw entry of each, and where the next directory is (0: nowhere)."""

    tiff: Tiff
    entries: dict[int, bytes] = field(repr=False)
    next_at: int

    def values(self, tag: int) -> tuple[int, ...]:
        """The whole numbers under a tag; none where there is no such tag, or not of such numbers."""
        entry = self.entries.get(tag)
        return () if entry is None else self.tiff.values(entry)

    def value(self, tag: int, default: int) -> int:
        return next(iter(self.values(tag)), default)

    def text(self, tag: int) -> str:
        """The text under a tag up to its end; empty where there is none."""
        entry = self.entries.get(tag)
        return "" if entry is None else self.tiff.text(entry)

    @property
    def orientation(self) -> int | None:
        """1 to 8; None unless the directory says one number that is an orientation."""
        said = self.values(ORIENTATION)
        return said[0] if len(said) == 1 and 1 <= said[0] <= 8 else None

    @property
    def is_reduced(self) -> bool:
        return bool(self.value(_SUBFILE_TYPE, 0) & _REDUCED)

    @property
    def is_raw(self) -> bool:
        return self.value(_PHOTOMETRIC, 0) in _RAW_PHOTOMETRIC or self.value(_COMPRESSION, 0) in _RAW_COMPRESSIONS

    @property
    def n_strips(self) -> int:
        """How many strips or tiles it is said to have."""
        return max((self.count(tag) for tag in (_STRIPS, _TILES)), default=0)

    def count(self, tag: int) -> int:
        """How many values there are under a tag."""
        entry = self.entries.get(tag)
        return 0 if entry is None else self.tiff.count(entry)

    @property
    def strip_bytes(self) -> int:
        """Memory a decoder takes for the largest strip or tile, beside the picture."""
        width, rows = self.value(_WIDTH, 0), min(self.value(_ROWS, 1 << 32), self.value(_HEIGHT, 0))
        if _TILE_WIDTH in self.entries:
            width, rows = self.value(_TILE_WIDTH, 0), self.value(_TILE_LENGTH, 0)
        pixel_bytes = self.value(_SAMPLES, 1) * max(self.values(_BITS), default=1) / 8
        compression = self.value(_COMPRESSION, 1)
        if compression not in _PLAIN or self.value(_PHOTOMETRIC, 0) == 6:  # YCbCr
            pixel_bytes = 2 * pixel_bytes + 6  # a JPEG's coefficients, or a second copy in RGBA
        return 0 if compression == 1 else int(width * rows * pixel_bytes)


class Tiff:
    """The directories of a TIFF file or an EXIF block; ValueError if it does not begin like one."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
        version = self._unpack("H", 2) if self.order else 0
        if version not in (42, 43):
            raise ValueError("not a TIFF")
        self.big = version == 43
        self._offset, self._count, self._entry_bytes = ("Q", "Q", 20) if self.big else ("I", "H", 12)
        self.first_at = self._unpack(self._offset, 8 if self.big else 4)

    def first_page(self) -> Directory | None:
        return self._directory(self.first_at)

    def pages(self) -> list[Directory]:
        """The chain of directories, as far as it can be followed."""
        found: list[Directory] = []
        at, seen = self.first_at, set[int]()
        while at and at not in seen and len(found) < _MOST_PAGES:
            seen.add(at)
            page = self._directory(at)
            if page is None:
                break
            found.append(page)
            at = page.next_at
        return found

    def count(self, entry: bytes) -> int:
        return int(struct.unpack_from(f"{self.order}{self._offset}", entry, 4)[0])

    def values(self, entry: bytes) -> tuple[int, ...]:
        kind, count = struct.unpack_from(f"{self.order}H{self._offset}", entry, 2)
        letter = _TYPES.get(kind)
        return self._read(entry, f"{count}{letter}") if letter and 0 < count <= _MOST_VALUES else ()

    def text(self, entry: bytes) -> str:
        kind, count = struct.unpack_from(f"{self.order}H{self._offset}", entry, 2)
        found = self._read(entry, f"{count}s") if kind == _TEXT and 0 < count <= _MOST_VALUES else ()
        return b"".join(found).partition(b"\0")[0].decode("ascii", "replace").strip()

    def _read(self, entry: bytes, code: str) -> tuple[Any, ...]:
        """Values in the entry itself or where it says that they are; none where the file ends before."""
        inline, code = struct.calcsize(f"={self._offset}"), self.order + code
        if struct.calcsize(code) <= inline:
            return struct.unpack_from(code, entry, len(entry) - inline)
        (at,) = struct.unpack_from(f"{self.order}{self._offset}", entry, len(entry) - inline)
        return struct.unpack_from(code, self.data, at) if at + struct.calcsize(code) <= len(self.data) else ()

    def exif(self) -> Directory | None:
        """What an EXIF block says of how the picture was taken."""
        first = self.first_page()
        return self._directory(first.value(_EXIF, 0)) if first else None

    def is_raw(self) -> bool:
        """Whether this is a camera's raw file: what Pillow would show of it is a thumbnail."""
        pages = self.pages()
        below = tuple(dict.fromkeys(at for page in pages for at in page.values(_SUB_DIRECTORIES)))[:_MOST_PAGES]
        only_thumbnails = bool(pages) and all(page.is_reduced for page in pages) and bool(below)
        dng = any(_DNG_VERSION in page.entries for page in pages)
        # one at a time: each may be as large as the file
        return (
            dng
            or only_thumbnails
            or any(page.is_raw for page in chain(pages, filter(None, map(self._directory, below))))
        )

    def main_page(self) -> Directory | None:
        """The first picture that is not a smaller version of another, or else the first."""
        pages = self.pages()
        return next((page for page in pages if not page.is_reduced), pages[0] if pages else None)

    def with_only_pixels(self, page: Directory) -> list[bytes | memoryview]:
        """The same file, in parts, with one directory, which tells of nothing but pixels."""
        kept = [entry for tag, entry in page.entries.items() if tag in _OF_PIXELS]
        header, at = (16 if self.big else 8), len(self.data) + len(self.data) % 2
        offset = struct.pack(f"{self.order}{self._offset}", at)
        directory = struct.pack(f"{self.order}{self._count}", len(kept)) + b"".join(kept) + bytes(len(offset))
        start = self.data[: header - len(offset)] + offset
        return [start, memoryview(self.data)[header:], bytes(len(self.data) % 2) + directory]

    def _directory(self, at: int) -> Directory | None:
        try:
            count = self._unpack(self._count, at)
            first = at + struct.calcsize(f"={self._count}")
            end = first + count * self._entry_bytes
            next_at = self._unpack(self._offset, end) if end + 4 <= len(self.data) else 0
        except ValueError:
            return None
        last = min(end, first + _MOST_TAGS * self._entry_bytes, len(self.data) - self._entry_bytes + 1)
        places = range(first, last, self._entry_bytes)
        entries = [self.data[place : place + self._entry_bytes] for place in places]
        by_tag: dict[int, bytes] = {}
        for entry in entries:
            (tag,) = struct.unpack_from(f"{self.order}H", entry)
            by_tag.setdefault(tag, entry)
        return Directory(self, by_tag, next_at)

    def _unpack(self, code: str, at: int) -> int:
        if at + struct.calcsize(f"={code}") > len(self.data):
            raise ValueError("the TIFF ends before")
        return int(struct.unpack_from(self.order + code, self.data, at)[0])


def orientation_of_exif(block: bytes) -> int | None:
    """1 to 8 from an EXIF block; None from what cannot be read or believed."""
    try:
        first = Tiff(block.removeprefix(b"Exif\0\0")).first_page()
    except ValueError:
        return None
    return first.orientation if first else None


@dataclass(frozen=True)
class Moment:
    """When a picture was taken."""

    seconds: float  # on its camera's clock, since 1970
    offset: float | None = None  # seconds by which that clock is ahead of UTC; None: it does not say

    @property
    def utc(self) -> float:
        """Seconds since 1970, of a camera that says no offset on its own clock."""
        return self.seconds - (self.offset or 0.0)

    def iso(self) -> str:
        """ISO 8601 to the second, on the camera's clock, with its offset from UTC where it says one."""
        clock = datetime(1970, 1, 1) + timedelta(seconds=math.floor(self.seconds))
        known = self.offset is not None and abs(self.offset) < _DAY
        zone = timezone(timedelta(seconds=self.offset or 0)) if known else None
        return clock.replace(tzinfo=zone).isoformat()


def taken_of_exif(block: bytes) -> Moment | None:
    """When a picture was taken, from an EXIF block; None from what cannot be read."""
    with suppress(ValueError):
        if exif := Tiff(block).exif():
            since = datetime.strptime(exif.text(_TAKEN), "%Y:%m:%d %H:%M:%S") - datetime(1970, 1, 1)
            fraction = exif.text(_TAKEN_FRACTION)
            seconds = since.total_seconds() + (float(f"0.{fraction}") if fraction.isdecimal() else 0.0)
            return Moment(seconds, _offset(exif.text(_TAKEN_OFFSET)))
    return None


def _offset(said: str) -> float | None:
    found = _OFFSET.fullmatch(said)
    return float(f"{found[1]}1") * 60 * (60 * int(found[2]) + int(found[3])) if found else None
