"""Metadata, taken away before anything is decoded: what is wrong in it can then do no harm to whole pixels.

Of all that a file says beside its pixels only which way up the picture is meant to be and when it was taken is read,
and only where it can be believed.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate, chain, islice, takewhile
from typing import IO, cast

from promptctl.encoding import avif, formats
from promptctl.encoding.budget import bounded
from promptctl.encoding.formats import Format
from promptctl.encoding.tiff import Moment, Tiff, orientation_of_exif, taken_of_exif

Part = bytes | memoryview

_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])\b')
_LONGEST_BLOCK = 1_000_000  # bytes of metadata that are looked at
_MOST_BLOCKS = 8  # so many times at most
_MOST_COMMENTS = 1 << 14  # in a picture written as text
_MOST_PIECES = 1 << 17  # segments or chunks of a file, strips of a picture; each takes memory to remember


@dataclass(frozen=True)
class Pixels:
    """An image file without what it says beside its pixels."""

    parts: Sequence[Part]  # of the file, in order; nothing is copied
    orientation: int = 1  # 1 to 8, as EXIF counts them; 1 is upright
    working_bytes: int = 0  # memory that decoding takes beside the picture, as far as the file tells
    coded_pixels: int = 0  # that are decoded, where they may be more than the picture is said to have

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
    """The first that can be believed, of EXIF before XMP; blocks are made as they are asked for."""
    of_exif = (orientation_of_exif(block) for block in islice(exif, _MOST_BLOCKS))
    said = (_XMP_ORIENTATION.search(block) for block in islice(xmp, _MOST_BLOCKS))
    found = (*of_exif, *(int(match[1]) for match in said if match))
    return next((orientation for orientation in found if orientation is not None), 1)


_EXIF_STARTS = (b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08")  # in every format; where it stands in a file is not asked


def taken_at(data: bytes) -> Moment | None:
    """When a picture was taken, as the EXIF in its file says; None where it does not."""
    if (taken := taken_of_exif(data)) is not None:  # a TIFF, which says so anywhere
        return taken
    for start in _EXIF_STARTS:
        at = data.find(start)
        for _ in range(_MOST_BLOCKS):
            if at < 0:
                break
            if (taken := taken_of_exif(data[at : at + _LONGEST_BLOCK])) is not None:
                return taken
            at = data.find(start, at + 1)
    return None


# --------------------------------------------------------------------------- JPEG

_APP0, _APP1, _APP14, _COMMENT, _SCAN, _START, _END = 0xE0, 0xE1, 0xEE, 0xFE, 0xDA, 0xD8, 0xD9
_WITHOUT_LENGTH = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = (0xC0, 0xC1)
_NEXT_MARKER = re.compile(rb"\xff[\xc0-\xc4\xd8\xda\xdb\xdd]")
_XMP_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
_SCAN_OR_END = re.compile(rb"\xff[\xd9\xda]")  # no other bytes of a scan look like that
_MOST_SCANS = 500  # a progressive JPEG has about ten
_HEAD = 64  # bytes of a segment that tell what it is


@dataclass(frozen=True, slots=True)
class _Segment:
    marker: int
    start: int
    stop: int
    head: bytes  # of what is in it

    @property
    def is_metadata(self) -> bool:
        if self.marker == _APP0:  # tells the colour model
            return not (self.head.startswith(b"JFIF\0") and len(self.head) >= 14)
        if self.marker == _APP14:
            return not (self.head.startswith(b"Adobe") and len(self.head) >= 12)
        return self.is_applications

    @property
    def is_applications(self) -> bool:
        return _APP0 <= self.marker <= 0xEF or self.marker == _COMMENT


def _jpeg(data: bytes) -> Pixels:
    segments = list(bounded(_segments(data), _MOST_PIECES))
    kept = [(segment.start, segment.stop) for segment in segments if not segment.is_metadata]
    exif, xmp = (_bodies(data, segments, start) for start in (b"Exif\0", _XMP_JPEG))
    coefficients = _coefficient_bytes(segments)
    if coefficients and _has_many_scans(data, segments[-1].start):
        raise ValueError("more scans than any picture has")
    return Pixels(_spans(data, [(0, 2), *kept]), _orientation(exif, xmp), coefficients)


def _bodies(data: bytes, segments: Iterable[_Segment], start: bytes) -> Iterator[bytes]:
    """What is in the segments of one application."""
    return (data[s.start + 4 : s.stop] for s in segments if s.marker == _APP1 and s.head.startswith(start))


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
        segment = _Segment(marker, at, stop, data[at + 4 : min(stop, at + 4 + _HEAD)])
        if marker == _SCAN:
            break
        if segment.is_applications and data[stop : stop + 1] != b"\xff":  # its length is wrong
            stop = _next_marker(data, at + 4)
        else:
            yield segment
        at = stop
    yield _Segment(_SCAN, at, len(data), data[at + 4 : at + 5])


def _next_marker(data: bytes, start: int) -> int:
    found = _NEXT_MARKER.search(data, start)
    # a picture that starts within metadata is its thumbnail
    return found.start() if found and data[found.start() + 1] != _START else len(data)


def _has_many_scans(data: bytes, first: int) -> bool:
    """Whether the picture is gone through more often than any coding of it needs: each time costs, however short."""
    markers = islice(_SCAN_OR_END.finditer(data, first), _MOST_SCANS + 1)
    return sum(1 for _ in takewhile(lambda found: found[0][1] == _SCAN, markers)) > _MOST_SCANS


def _coefficient_bytes(segments: Sequence[_Segment]) -> int:
    """What is held of a picture that comes in several scans: every coefficient, however small it is decoded."""
    frame = next((segment for segment in segments if segment.marker in _FRAMES), None)
    scanned = segments[-1].head
    if frame is None or len(frame.head) < 6 or not scanned:
        return 0
    height, width, components = struct.unpack_from(">xHHB", frame.head)
    if frame.marker in _SEQUENTIAL and scanned[0] >= components:
        return 0
    factors = [(both >> 4 or 1, both & 15 or 1) for both in frame.head[7 : 6 + 3 * components : 3]]
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
    chunks = list(bounded(_chunks(data), _MOST_PIECES))
    kept = [(start, stop) for name, start, stop in chunks if name[:1].isupper() or name in _OF_PNG_PIXELS]
    texts = [chunk for chunk in chunks if chunk[0] in (b"tEXt", b"zTXt", b"iTXt")]
    exif = chain(
        (body for _, body in _bodies_of_chunks(data, (chunk for chunk in chunks if chunk[0] == b"eXIf"), b"")),
        (_profile(name, body) for name, body in _bodies_of_chunks(data, texts, _PROFILE)),
    )
    xmp = (body for _, body in _bodies_of_chunks(data, texts, _XMP_PNG))
    return Pixels(_spans(data, [(0, 8), *kept]), _orientation(exif, xmp))


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, stop) of every chunk; where the length of one is wrong, on from the next that can be told."""
    at = 8
    while at + 12 <= len(data):
        name = data[at + 4 : at + 8]
        stop = at + 12 + int.from_bytes(data[at : at + 4], "big")
        critical = name[:1].isupper() or name in _OF_PNG_PIXELS
        if not (critical or stop == len(data) or _is_whole(data, at) or _is_whole(data, stop)):
            found = _NEXT_CHUNK.search(data, at + 8)
            at = found.start() - 4 if found else len(data)
            continue
        yield name, at, min(stop, len(data))
        at = len(data) if name == b"IEND" else stop


def _is_whole(data: bytes, at: int) -> bool:
    """Whether a chunk begins there, by its name and its checksum."""
    stop = at + 12 + int.from_bytes(data[at : at + 4], "big")
    if stop > len(data) or not _CHUNK_NAME.fullmatch(data, at + 4, at + 8):
        return False
    return zlib.crc32(memoryview(data)[at + 4 : stop - 4]) == int.from_bytes(data[stop - 4 : stop], "big")


def _bodies_of_chunks(
    data: bytes, chunks: Iterable[tuple[bytes, int, int]], start: bytes
) -> Iterator[tuple[bytes, bytes]]:
    """(name, body) of the chunks that start so; the body without its start, and no longer than is looked at."""
    for name, at, stop in chunks:
        if data.startswith(start, at + 8):
            first = at + 8 + len(start)
            yield name, data[first : min(stop - 4, first + _LONGEST_BLOCK)]


def _profile(name: bytes, body: bytes) -> bytes:
    """The EXIF block as ImageMagick writes it into a PNG: a few lines, then hexadecimal digits."""
    with suppress(zlib.error, ValueError):
        text = zlib.decompressobj().decompress(body[1:], _LONGEST_BLOCK) if name == b"zTXt" else body
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    return b""


# --------------------------------------------------------------------------- WebP

_OF_WEBP_PIXELS = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
_WEBP_FLAGS = 0x10 | 0x02  # transparent, several frames; all others speak of metadata or of nothing
_RIFF_NAME = re.compile(rb"[A-Z0-9]{3}[A-Z0-9 ]")
_NEXT_FRAME = re.compile(rb"VP8[ L]|ALPH|ANIM|ANMF")


def _webp(data: bytes) -> Pixels:
    if data[12:16] != b"VP8X" or len(data) < 30:
        return _as_it_is(data)
    chunks = list(bounded(_riff_chunks(data), _MOST_PIECES))
    exif, xmp = (_blocks(data, chunks, kind) for kind in (b"EXIF", b"XMP "))
    parts = _spans(data, [(start, stop) for name, start, stop in chunks if name in _OF_WEBP_PIXELS])
    inside = b"".join([b"WEBPVP8X", data[16:20], bytes([data[20] & _WEBP_FLAGS])])
    rest = [memoryview(parts[0])[9:], *parts[1:]]
    n_bytes = len(inside) + sum(len(part) for part in rest)
    return Pixels([b"RIFF" + struct.pack("<I", n_bytes) + inside, *rest], _orientation(exif, xmp))


def _blocks(data: bytes, chunks: Iterable[tuple[bytes, int, int]], kind: bytes) -> Iterator[bytes]:
    """The beginnings of the chunks of one kind."""
    return (data[start + 8 : min(stop, start + 8 + _LONGEST_BLOCK)] for name, start, stop in chunks if name == kind)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, stop) of every chunk; where the length of one is wrong, on from the next with pixels."""
    at = 12
    while at + 8 <= len(data):
        n_bytes = int.from_bytes(data[at + 4 : at + 8], "little")
        stop = min(at + 8 + n_bytes + n_bytes % 2, len(data))
        is_followed = stop == len(data) or _RIFF_NAME.match(data, stop)
        if data[at : at + 4] not in _OF_WEBP_PIXELS and not (is_followed and at + 8 + n_bytes <= len(data)):
            found = _NEXT_FRAME.search(data, at + 8)
            at = found.start() if found else len(data)
            continue
        yield data[at : at + 4], at, stop
        at = stop


# --------------------------------------------------------------------------- TIFF, AVIF, HEIC

_EXIF_ITEM = re.compile(rb"infe(?:\x02.{7}|\x03.{9})(Exif)", re.DOTALL)
_META = 1 << 16  # bytes, in which the list of items stands
_BYTES_A_STRIP = 400  # that Pillow takes to remember where one is


def _tiff(data: bytes) -> Pixels:
    try:
        tiff = Tiff(data)
    except ValueError:
        return _as_it_is(data)
    page = tiff.main_page()
    if page is None:
        return _as_it_is(data)
    if page.n_strips > _MOST_PIECES:
        raise ValueError("more strips than any picture has")
    return Pixels(tiff.with_only_pixels(page), page.orientation or 1, page.strip_bytes + page.n_strips * _BYTES_A_STRIP)


def _avif(data: bytes) -> Pixels:
    return replace(_heif(data), coded_pixels=avif.coded_pixels(data))


def _heif(data: bytes) -> Pixels:
    """AVIF and HEIC turn their pictures themselves; what EXIF says of it does not count."""
    item = _EXIF_ITEM.search(data, 0, _META)
    if item is None:
        return _as_it_is(data)
    return Pixels([memoryview(data)[: item.start(1)], b"none", memoryview(data)[item.end(1) :]])


def _netpbm(data: bytes) -> Pixels:
    """Comments among the numbers of a picture written as text are taken out one by one, with all that follows moved."""
    if data[1:2] in b"123" and data.count(b"#") > _MOST_COMMENTS:
        raise ValueError("more comments than any picture has")
    return _as_it_is(data)


_READERS: dict[Format, Callable[[bytes], Pixels]] = {
    formats.JPEG: _jpeg,
    formats.PNG: _png,
    formats.WEBP: _webp,
    formats.TIFF: _tiff,
    formats.AVIF: _avif,
    formats.HEIC: _heif,
    formats.NETPBM: _netpbm,
}
