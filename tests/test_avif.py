"""AVIF: how many pixels are decoded, whatever the boxes around them say."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image, features

from promptctl.encoding import decode
from promptctl.encoding.avif import coded_pixels
from promptctl.encoding.budget import Budget
from promptctl.encoding.files import UnreadableImage

pytestmark = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")


def avif(size: tuple[int, int], mode: str = "RGB", frames: int = 1) -> bytes:
    file = io.BytesIO()
    pages = [Image.new(mode, size, (9 * number + 5,) * len(mode)) for number in range(frames)]
    pages[0].save(file, "AVIF", save_all=frames > 1, append_images=pages[1:], speed=10)
    return file.getvalue()


def said_to_be(data: bytes, width: int, height: int) -> bytes:
    """The same file with another size in its boxes."""
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


@pytest.mark.parametrize("size", [(1, 1), (33, 17), (640, 480), (3000, 2000)])
def test_a_picture_has_the_pixels_it_says(size):
    assert coded_pixels(avif(size)) == size[0] * size[1]


def test_transparency_is_decoded_as_well():
    assert coded_pixels(avif((300, 200), "RGBA")) == 2 * 300 * 200


def test_a_moving_picture_has_no_fewer_than_it_says():
    assert 320 * 200 <= coded_pixels(avif((320, 200), frames=3)) <= 2 * 512 * 256


def test_a_size_that_is_a_lie_is_seen_through_and_counted(monkeypatch):
    liar = said_to_be(avif((3000, 2000)), 64, 64)
    assert coded_pixels(liar) == 3000 * 2000
    honest = decode.decode(avif((64, 64)))
    assert honest.size == (64, 64)
    monkeypatch.setattr(decode, "PICTURES", Budget(60_000_000))
    with pytest.raises(UnreadableImage, match=r"of AVIF take .* of memory to read"):
        decode.decode(liar)


def test_a_file_without_a_stream_is_no_picture():
    data = avif((64, 64))
    with pytest.raises(ValueError, match="no AV1 picture"):
        coded_pixels(data.replace(b"iloc", b"free"))
    with pytest.raises(UnreadableImage, match="damaged"):
        decode.decode(data.replace(b"iloc", b"free"))


@pytest.mark.parametrize(
    "table",
    [
        b"\0\0\0\0\0\0" + struct.pack(">H", 65535) + struct.pack(">HHH", 1, 0, 65535) * 65535,
        b"\1\0\0\0\0\0" + struct.pack(">H", 65535) + struct.pack(">HHHH", 1, 0, 0, 65535) * 65535,
        b"\0\0\0\0\x44\x40" + struct.pack(">H", 9) + struct.pack(">HHIHII", 1, 0, 1 << 31, 2, 0, 0) * 9,
        b"\0\0\0\0\x44",
        b"",
    ],
)
def test_a_table_that_asks_for_much_work_or_is_cut_off_is_refused_soon(table):
    start = box(b"ftyp", b"avif\0\0\0\0avif")
    with pytest.raises(ValueError):
        coded_pixels(start + box(b"meta", b"\0\0\0\0" + box(b"iloc", table)))


def test_a_stream_of_nothing_but_small_parts_is_refused():
    stream = b"\x7a\0" * 100_000  # padding
    place = struct.pack(">HHHII", 1, 0, 1, 8, len(stream))
    table = box(b"meta", b"\0\0\0\0" + box(b"iloc", b"\0\0\0\0\x44\0\0\1" + place))
    with pytest.raises(ValueError, match="more parts"):
        coded_pixels(box(b"mdat", stream) + table)
