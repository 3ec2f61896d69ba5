"""Metadata, taken away before anything is decoded: what is wrong in it can then do no harm to whole pixels.

Of all that a file says beside its pixels only which way up the picture is meant to be is read, and only where it can
be believed.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import IO, cast

from promptctl import formats
from promptctl.formats import Format
from promptctl.tiff import Tiff, orientation_of_exif

Part = bytes | memoryview

_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])\b')
_LONGEST_PROFILE = 1_000_000  # bytes


@dataclass(frozen=True)
class Pixels:
    """An image file without what it says beside its pixels."""

    parts: Sequence[Part]  # of the file, in order; nothing is copied
    orientation: int = 1  # 1 to 8, as EXIF counts them; 1 is upright
    working_bytes: int = 0  # memory that decoding takes beside the picture, as far as the file tells

    def open(self) -> IO[bytes]:
        if len(self.parts) == 1:
            return io.BytesIO(self.parts[0])
        return cast(IO[bytes], _Spliced(self.parts))


def without_metadata(data: bytes, format: Format) -> Pixels:
    """The pixels of an image file; a file that cannot be followed is given as it is, for the decoder to refuse."""
    return _READERS.get(format, _as_it_is)(data)


def _as_it_is(data: bytes) -> Pixels:
    return Pixels([data])


class _Spliced:
    """Parts of bytes, read as one file without being copied into one."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = [memoryview(part) for part in parts if len(part)]
        self._ends = list(accumulate(len(part) for part in self._parts))
        self._at = 0

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ends[-1] if self._ends else 0}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, n_bytes: int = -1) -> bytes:
        last = self._ends[-1] if self._ends else 0
        stop = last if n_bytes < 0 else min(self._at + n_bytes, last)
        pieces = []
        for number in range(bisect_right(self._ends, self._at), len(self._parts)):
            start = self._ends[number] - len(self._parts[number])
            if start >= stop:
                break
            pieces.append(self._parts[number][max(self._at - start, 0) : stop - start])
        self._at = max(self._at, stop)
        return b"".join(pieces)


def _spans(data: bytes, kept: Iterable[tuple[int, int]]) -> list[Part]:
    """The kept (start, stop) of a file, neighbours as one."""
    joined: list[tuple[int, int]] = []
    for start, stop in kept:
        if joined and joined[-1][1] == start:
            start = joined.pop()[0]
        joined.append((start, stop))
    return [memoryview(data)[start:stop] for start, stop in joined]


def _orientation(exif: Iterable[bytes], xmp: Iterable[bytes]) -> int:
    found = [orientation_of_exif(block) for block in exif]
    found += [int(said[1]) for block in xmp if (said := _XMP_ORIENTATION.search(block))]
    return next((orientation for orientation in found if orientation is not None), 1)


# --------------------------------------------------------------------------- JPEG

_APP0, _APP1, _APP14, _COMMENT, _SCAN, _START, _END = 0xE0, 0xE1, 0xEE, 0xFE, 0xDA, 0xD8, 0xD9
_WITHOUT_LENGTH = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = (0xC0, 0xC1)
_NEXT_MARKER = re.compile(rb"\xff[\xc0-\xc4\xd8\xda\xdb\xdd]")
_XMP_JPEG = b"http://ns.adobe.com/xap/1.0/\0"


@dataclass(frozen=True)
class _Segment:
    marker: int
    start: int
    stop: int
    body: bytes

    @property
    def is_metadata(self) -> bool:
        if self.marker == _APP0:  # tells the colour model
            return not (self.body.startswith(b"JFIF\0") and len(self.body) >= 14)
        if self.marker == _APP14:
            return not (self.body.startswith(b"Adobe") and len(self.body) >= 12)
        return _APP0 < self.marker <= 0xEF or self.marker == _COMMENT


def _jpeg(data: bytes) -> Pixels:
    segments = list(_segments(data))
    bodies = [segment.body for segment in segments if segment.marker == _APP1]
    kept = [(segment.start, segment.stop) for segment in segments if not segment.is_metadata]
    exif = [body for body in bodies if body.startswith(b"Exif\0")]
    xmp = [body for body in bodies if body.startswith(_XMP_JPEG)]
    return Pixels(_spans(data, [(0, 2), *kept]), _orientation(exif, xmp), _coefficient_bytes(segments))


def _segments(data: bytes) -> Iterator[_Segment]:
    """What stands before the pixels; the last one, from the first scan on, reaches to the end of the file."""
    at = 2
    while at + 4 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF or marker == _END:
            break
        if marker == 0xFF or marker in _WITHOUT_LENGTH:  # filling, or a second header
            at += 1 if marker == 0xFF else 2
            continue
        stop = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        segment = _Segment(marker, at, stop, data[at + 4 : stop])
        if marker == _SCAN:
            break
        if segment.is_metadata and data[stop : stop + 1] != b"\xff":  # its length is wrong
            stop = _next_marker(data, at + 4)
        else:
            yield segment
        at = stop
    yield _Segment(_SCAN, at, len(data), data[at + 4 : at + 5])


def _next_marker(data: bytes, start: int) -> int:
    found = _NEXT_MARKER.search(data, start)
    # a picture that starts within metadata is its thumbnail
    return found.start() if found and data[found.start() + 1] != _START else len(data)


def _coefficient_bytes(segments: Sequence[_Segment]) -> int:
    """What is held of a picture that comes in several scans: every coefficient, however small it is decoded."""
    frame = next((segment for segment in segments if segment.marker in _FRAMES), None)
    scanned = segments[-1].body
    if frame is None or len(frame.body) < 6 or not scanned:
        return 0
    height, width, components = struct.unpack_from(">xHHB", frame.body)
    if frame.marker in _SEQUENTIAL and scanned[0] >= components:
        return 0
    factors = [(both >> 4 or 1, both & 15 or 1) for both in frame.body[7 : 6 + 3 * components : 3]]
    across, down = (8 * max((pair[i] for pair in factors), default=1) for i in (0, 1))
    blocks = -(-width // across) * -(-height // down) * sum(h * v for h, v in factors)
    return int(blocks) * 128


# --------------------------------------------------------------------------- PNG

_OF_PNG_PIXELS = frozenset((b"tRNS",))  # beside the critical chunks, which begin with a capital
_CHUNK_NAME = re.compile(rb"[A-Za-z]{4}")
_NEXT_CHUNK = re.compile(rb"PLTE|tRNS|IDAT|IEND")
_PROFILE = b"Raw profile type exif\0"
_XMP_PNG = b"XML:com.adobe.xmp\0"


def _png(data: bytes) -> Pixels:
    kept, exif, xmp = [(0, 8)], [], []
    for name, start, stop in _chunks(data):
        body = data[start + 8 : stop - 4] if name in (b"eXIf", b"tEXt", b"zTXt", b"iTXt") else b""
        if name[:1].isupper() or name in _OF_PNG_PIXELS:
            kept.append((start, stop))
        elif name == b"eXIf":
            exif.append(body)
        elif body.startswith(_PROFILE):
            exif.append(_profile(name, body[len(_PROFILE) :]))
        elif body.startswith(_XMP_PNG):
            xmp.append(body)
    return Pixels(_spans(data, kept), _orientation(exif, xmp))


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, stop) of every chunk; where the length of one is wrong, on from the next that can be told."""
    at = 8
    while at + 12 <= len(data):
        name = data[at + 4 : at + 8]
        stop = at + 12 + int.from_bytes(data[at : at + 4], "big")
        critical = name[:1].isupper() or name in _OF_PNG_PIXELS
        if not critical and stop != len(data) and not _CHUNK_NAME.fullmatch(data, stop + 4, stop + 8):
            found = _NEXT_CHUNK.search(data, at + 8)
            at = found.start() - 4 if found else len(data)
            continue
        yield name, at, min(stop, len(data))
        at = len(data) if name == b"IEND" else stop


def _profile(name: bytes, body: bytes) -> bytes:
    """The EXIF block as ImageMagick writes it into a PNG: a few lines, then hexadecimal digits."""
    with suppress(zlib.error, ValueError):
        text = zlib.decompressobj().decompress(body[1:], _LONGEST_PROFILE) if name == b"zTXt" else body
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    return b""


# --------------------------------------------------------------------------- WebP

_OF_WEBP_PIXELS = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
_WEBP_METADATA = 0x20 | 0x08 | 0x04  # flags: a colour profile, EXIF, XMP


def _webp(data: bytes) -> Pixels:
    if data[12:16] != b"VP8X" or len(data) < 30:
        return _as_it_is(data)
    chunks = list(_riff_chunks(data))
    exif, xmp = (
        [data[start + 8 : stop] for name, start, stop in chunks if name == kind] for kind in (b"EXIF", b"XMP ")
    )
    parts = _spans(data, [(start, stop) for name, start, stop in chunks if name in _OF_WEBP_PIXELS])
    inside = b"".join([b"WEBPVP8X", data[16:20], bytes([data[20] & ~_WEBP_METADATA])])
    rest = [memoryview(parts[0])[9:], *parts[1:]]
    n_bytes = len(inside) + sum(len(part) for part in rest)
    return Pixels([b"RIFF" + struct.pack("<I", n_bytes) + inside, *rest], _orientation(exif, xmp))


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    at = 12
    while at + 8 <= len(data):
        n_bytes = int.from_bytes(data[at + 4 : at + 8], "little")
        stop = min(at + 8 + n_bytes + n_bytes % 2, len(data))
        yield data[at : at + 4], at, stop
        at = stop


# --------------------------------------------------------------------------- TIFF, AVIF, HEIC

_EXIF_ITEM = re.compile(rb"infe(?:\x02.{7}|\x03.{9})(Exif)", re.DOTALL)
_META = 1 << 16  # bytes, in which the list of items stands


def _tiff(data: bytes) -> Pixels:
    try:
        tiff = Tiff(data)
    except ValueError:
        return _as_it_is(data)
    page = tiff.main_page()
    if page is None:
        return _as_it_is(data)
    return Pixels(tiff.with_only_pixels(page), page.orientation or 1, page.strip_bytes)


def _heif(data: bytes) -> Pixels:
    """AVIF and HEIC turn their pictures themselves; what EXIF says of it does not count."""
    item = _EXIF_ITEM.search(data, 0, _META)
    if item is None:
        return _as_it_is(data)
    return Pixels([memoryview(data)[: item.start(1)], b"none", memoryview(data)[item.end(1) :]])


_READERS: dict[Format, Callable[[bytes], Pixels]] = {
    formats.JPEG: _jpeg,
    formats.PNG: _png,
    formats.WEBP: _webp,
    formats.TIFF: _tiff,
    formats.AVIF: _heif,
    formats.HEIC: _heif,
}
