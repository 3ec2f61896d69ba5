"""AVIF: how many pixels are coded in a file, which its own boxes need not say truly.

What a decoder takes is decided by the sequence headers of the AV1 streams inside; the size in the boxes around them is
only what the picture is scaled to. Boxes: ISO/IEC 14496-12 and 23008-12; AV1: its bitstream specification, 5.3 and 5.5.
"""

from __future__ import annotations

from collections.abc import Iterator

from promptctl.encoding.budget import bounded

_SEQUENCE_HEADER = 1
_LONGEST_HEADER = 1024  # bytes; with all its options some 200
_MOST_PARTS = 1 << 16  # streams in a file, or parts of one; a picture has some dozens
_Span = tuple[int, int]  # start and stop in the file


def coded_pixels(data: bytes) -> int:
    """Pixels of all pictures, tiles and transparencies in a file together; ValueError where there are none."""
    streams = enumerate(bounded(_streams(data), _MOST_PARTS))
    parts = ((number, header) for number, stream in streams for header in _headers(stream))
    largest: dict[int, int] = {}
    for number, header in bounded(parts, _MOST_PARTS):
        largest[number] = max(largest.get(number, 0), _frame_pixels(header) if header else 0)
    if not any(largest.values()):
        raise ValueError("no AV1 picture in it")
    return sum(largest.values())


# --------------------------------------------------------------------------- boxes


def _boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, stop) of the content of every box in a part of the file."""
    while start + 8 <= stop:
        size, kind, head = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        end = stop if size == 0 else start + size
        if end > stop or end < start + head:
            return
        yield kind, start + head, end
        start = end


def _within(data: bytes, span: _Span, *kinds: bytes) -> Iterator[_Span]:
    """The boxes that are reached through boxes of these kinds."""
    kind, *deeper = kinds
    for found, start, stop in _boxes(data, *span):
        if found == kind:
            start += 4 if kind == b"meta" else 0  # its version and flags
            yield from _within(data, (start, stop), *deeper) if deeper else iter([(start, stop)])


def _streams(data: bytes) -> Iterator[memoryview]:
    """What may be AV1: the items of a picture, and where the tracks of a moving one begin."""
    whole, view = (0, len(data)), memoryview(data)
    idat = next(_within(data, whole, b"meta", b"idat"), whole)
    for start, stop in _within(data, whole, b"meta", b"iloc"):
        yield from _items(view, data[start:stop], idat)
    for table, width in ((b"stco", 4), (b"co64", 8)):
        for start, stop in _within(data, whole, b"moov", b"trak", b"mdia", b"minf", b"stbl", table):
            if start + 8 + width <= stop:
                yield view[int.from_bytes(data[start + 8 : start + 8 + width], "big") :]


def _items(data: memoryview, table: bytes, idat: _Span) -> Iterator[memoryview]:
    """The bytes of every item in a table of places (iloc); ValueError for more of them than the file has."""
    numbers = _Bytes(table)
    version = numbers.take(1)
    numbers.take(3)
    sizes, more = numbers.take(1), numbers.take(1)
    of_offset, of_length, of_base, of_index = sizes >> 4, sizes & 15, more >> 4, more & 15 if version else 0
    left = len(data)
    for _ in range(numbers.take(2 if version < 2 else 4)):
        numbers.take(2 if version < 2 else 4)
        in_idat = bool(version) and numbers.take(2) & 15 == 1
        numbers.take(2)
        base = numbers.take(of_base) + (idat[0] if in_idat else 0)
        extents = []
        for _ in range(numbers.take(2)):
            numbers.take(of_index)
            start = base + numbers.take(of_offset)
            extents.append(data[start : start + (numbers.take(of_length) or len(data))])
            left -= len(extents[-1]) or 1
            if left < 0:
                raise ValueError("its parts overlap")
        yield extents[0] if len(extents) == 1 else memoryview(b"".join(extents))


class _Bytes:
    """Numbers of some bytes each, one after the other; ValueError past the end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, n_bytes: int) -> int:
        found = self._data[self._at : self._at + n_bytes]
        if len(found) < n_bytes:
            raise ValueError("a table is cut off")
        self._at += n_bytes
        return int.from_bytes(found, "big")


# --------------------------------------------------------------------------- AV1


def _headers(stream: memoryview) -> Iterator[bytes]:
    """The sequence headers of a stream, and nothing for its other parts; what is no stream has none."""
    at = 0
    while at < len(stream):
        head = stream[at]
        at += 2 if head & 4 else 1  # an extension
        size = len(stream) - at
        if head & 2:
            size, at = _leb128(stream, at)
        if head & 0x80 or size < 0 or at + size > len(stream):
            return
        yield bytes(stream[at : at + min(size, _LONGEST_HEADER)]) if head >> 3 & 15 == _SEQUENCE_HEADER else b""
        at += size


def _leb128(stream: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = 0
    for shift in range(0, 56, 7):
        byte = stream[at] if at < len(stream) else 0
        value |= (byte & 127) << shift
        at += 1
        if not byte & 128:
            return value, at
    return len(stream), at


class _Bits:
    """Numbers of some bits each, one after the other; zeros past the end."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, n_bits: int) -> int:
        self._left -= n_bits
        shifted = self._value >> self._left if self._left >= 0 else self._value << -self._left
        return shifted & ((1 << n_bits) - 1)

    def skip_uvlc(self) -> None:
        zeros = 0
        while zeros < 32 and not self.take(1):
            zeros += 1
        self.take(zeros if zeros < 32 else 0)


def _frame_pixels(header: bytes) -> int:
    """The largest frame that may follow a sequence header."""
    bits = _Bits(header)
    bits.take(4)
    is_one_picture = bits.take(1)
    if is_one_picture:
        bits.take(5)
    else:
        _skip_timing(bits)
    of_width, of_height = bits.take(4) + 1, bits.take(4) + 1
    width, height = bits.take(of_width) + 1, bits.take(of_height) + 1
    # frames of a moving picture may say a size of their own in as many bits
    return width * height if is_one_picture else 1 << (of_width + of_height)


def _skip_timing(bits: _Bits) -> None:
    delay_bits = 0
    if bits.take(1):  # timing_info
        bits.take(64)
        if bits.take(1):
            bits.skip_uvlc()
        if bits.take(1):  # decoder_model_info
            delay_bits = bits.take(5) + 1
            bits.take(42)
    has_display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if has_display_delay and bits.take(1):
            bits.take(4)
