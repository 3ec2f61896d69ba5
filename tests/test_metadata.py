"""Whole pixels are read whatever a file says beside them."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, features

from promptctl.encoding.decode import decode, identify
from promptctl.encoding.files import UnreadableImage
from promptctl.encoding.tiff import Tiff

UPRIGHT = Image.fromarray(
    np.kron(np.random.default_rng(0).integers(0, 255, (4, 6, 3)), np.ones((8, 8, 1))).astype(np.uint8)
)
LYING = {  # how a picture is stored that each orientation turns upright
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif(*entries: tuple[int, int, int, int], order: str = "<", at: int = 8, count: int | None = None) -> bytes:
    """A TIFF block of (tag, type, count, value) entries."""
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", at)
    body = struct.pack(f"{order}H", len(entries) if count is None else count)
    for tag, kind, number, value in entries:
        inline = struct.pack(f"{order}HH", value, 0) if kind == 3 and number < 3 else struct.pack(f"{order}I", value)
        body += struct.pack(f"{order}HHI", tag, kind, number) + inline
    return start + body + bytes(4)


TURNED = (274, 3, 1, 6)
BROKEN_EXIF = {  # none of them says which way is up, so that they would be believed
    "empty": b"",
    "garbage": b"garbage! garbage! garbage!",
    "magic": b"IIxx" + exif(TURNED)[4:],
    "short": b"II*\0\x08",
    "directory beyond the end": exif(TURNED, at=4_000_000_000),
    "directory at itself": b"II*\0\0\0\0\0",
    "no entry": exif(),
    "more entries than there are": exif((271, 2, 4, 0), count=65535),
    "orientation of no number": exif((274, 3, 0, 6)),
    "orientation of two numbers": exif((274, 3, 2, 6)),
    "orientation of a billion numbers": exif((274, 3, 1_000_000_000, 6)),
    "orientation as text": exif((274, 2, 1, 6)),
    "orientation as a fraction": exif((274, 5, 1, 6)),
    **{f"orientation {value}": exif((274, 3, 1, value)) for value in (0, 9, 255, 65535)},
    "a tag beyond the end": exif((37510, 7, 4_000_000_000, 8)),
    "a sub-directory at itself": exif((34665, 4, 1, 8), (34853, 4, 1, 8)),
}


# --------------------------------------------------------------------------- JPEG


def segment(marker: int, body: bytes, *, length: int | None = None) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", (len(body) + 2) if length is None else length) + body


def jpeg_faults() -> Iterator[tuple[str, bytes]]:
    plain = encoded(UPRIGHT, "JPEG", quality=95)
    for name, block in BROKEN_EXIF.items():
        yield f"exif: {name}", plain[:2] + segment(0xE1, b"Exif\0\0" + block) + plain[2:]
    long = segment(0xE1, b"Exif\0\0" + exif((271, 2, 4, 0)) + bytes(range(200)))
    seen = {
        "two exif blocks": segment(0xE1, b"Exif\0\0garbage") + segment(0xE1, b"Exif\0\0" + exif()),
        "exif of 64 kB": segment(0xE1, b"Exif\0\0" + bytes(65000)),
        "xmp": segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation="99"\xff\xfe'),
        "colour profile": segment(0xE2, b"ICC_PROFILE\0\x09\x02" + b"x" * 40) + segment(0xE2, b"ICC_PROFILE\0"),
        "index of more pictures": segment(0xE2, b"MPF\0" + exif((45057, 4, 1, 3_000_000_000))),
        "photoshop": segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\xff\xff\xff\xff"),
        "comment": segment(0xFE, b"x" * 65000),
        "jfif that is short": segment(0xE0, b"JFIF\0\x01"),
        "adobe that is short": segment(0xEE, b"Adobe"),
        "filling": b"\xff" * 40,
        "a second header": plain[:2],
        "a segment said to be shorter": long[:2] + struct.pack(">H", 40) + long[4:],
        "a segment said to be longer": long[:2] + struct.pack(">H", 60000) + long[4:],
    }
    for name, inserted in seen.items():
        yield name, plain[:2] + inserted + plain[2:]
    for length in (0, 15, 17, 23):
        yield f"jfif of {length} bytes", plain[:4] + struct.pack(">H", length) + plain[6:]
    yield "zeros behind", plain + bytes(5000)
    yield "a second picture behind", plain + encoded(Image.new("RGB", (99, 99)), "JPEG")


@pytest.mark.parametrize(("fault", "data"), [pytest.param(*case, id=case[0]) for case in jpeg_faults()])
def test_a_jpeg_is_read_whatever_its_metadata(fault, data, recwarn):
    np.testing.assert_array_equal(np.asarray(decode(data)), np.asarray(decode(encoded(UPRIGHT, "JPEG", quality=95))))
    assert not recwarn.list


def test_a_thumbnail_is_never_taken_for_the_photo():
    small = encoded(UPRIGHT.resize((6, 4)), "JPEG")
    plain = encoded(UPRIGHT, "JPEG")
    inside = segment(0xE1, b"Exif\0\0" + exif(TURNED) + small)
    assert decode(plain[:2] + inside + plain[2:]).size == (32, 48)
    for length in (20, 60000):
        with pytest.raises(UnreadableImage, match="damaged"):
            decode(plain[:2] + inside[:2] + struct.pack(">H", length) + inside[4:] + plain[2:])


# --------------------------------------------------------------------------- PNG


def chunk(name: bytes, body: bytes, *, crc: int | None = None, length: int | None = None) -> bytes:
    checksum = zlib.crc32(name + body) if crc is None else crc
    return struct.pack(">I", len(body) if length is None else length) + name + body + struct.pack(">I", checksum)


def png_faults() -> Iterator[tuple[str, bytes]]:
    plain = encoded(UPRIGHT, "PNG")
    first, last = 33, len(plain) - 12  # behind IHDR, before IEND
    bomb = zlib.compress(bytes(20_000_000), 9)
    seen = {
        **{f"exif: {name}": chunk(b"eXIf", block) for name, block in BROKEN_EXIF.items()},
        "colour profile": chunk(b"iCCP", b"name\0\0garbage"),
        "colour profile without end": chunk(b"iCCP", b"name"),
        "large colour profile": chunk(b"iCCP", b"name\0\0" + bomb),
        "text": chunk(b"tEXt", b"no separator" * 100_000),
        "compressed text": chunk(b"zTXt", b"key\0\0garbage"),
        "compressed text that grows": chunk(b"zTXt", b"key\0\0" + bomb) * 5,
        "profile": chunk(b"zTXt", b"Raw profile type exif\0\0garbage"),
        "profile that grows": chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb),
        "profile of no digits": chunk(b"tEXt", b"Raw profile type exif\0\nexif\n4\nxyz"),
        "international text": chunk(b"iTXt", b"key\0\x01\x07\xff\xff\xff"),
        "xmp": chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0tiff:Orientation="0"'),
        "density": chunk(b"pHYs", b"\0"),
        "gamma": chunk(b"gAMA", b"\0"),
        "chromaticity": chunk(b"cHRM", b"\0"),
        "intent": chunk(b"sRGB", b""),
        "time": chunk(b"tIME", b"\xff" * 7),
        "animation": chunk(b"acTL", b"\0") + chunk(b"fcTL", b"\0"),
        "unknown": chunk(b"teSt", bytes(1000)),
        "checksum": chunk(b"tEXt", b"a\0b", crc=0) + chunk(b"eXIf", exif(), crc=1),
        "length": chunk(b"tEXt", b"a\0b" * 20, length=9),
        "length one too large": chunk(b"tEXt", b"a\0b" * 20, length=61),
        "length four too large": chunk(b"tEXt", b"a\0b" * 20, length=64),
        "length beyond the end": chunk(b"tEXt", b"a\0b" * 20, length=2_000_000_000),
    }
    for name, inserted in seen.items():
        yield name, plain[:first] + inserted + plain[first:]
        yield f"{name}, behind", plain[:last] + inserted + plain[last:]
    yield "no end", plain[:last]
    yield "more behind the end", plain + b"garbage" * 1000


@pytest.mark.parametrize(("fault", "data"), [pytest.param(*case, id=case[0]) for case in png_faults()])
def test_a_png_is_read_whatever_its_metadata(fault, data, recwarn):
    np.testing.assert_array_equal(np.asarray(decode(data)), np.asarray(UPRIGHT))
    assert not recwarn.list


# --------------------------------------------------------------------------- the others


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_faults() -> Iterator[tuple[str, bytes]]:
    plain = encoded(UPRIGHT, "WEBP", lossless=True)
    pixels = (plain[12:16], plain[20:])
    extended = (b"VP8X", bytes((0x2C, 0, 0, 0)) + struct.pack("<I", 47)[:3] + struct.pack("<I", 31)[:3])
    for name, block in BROKEN_EXIF.items():
        yield f"exif: {name}", riff(extended, pixels, (b"EXIF", block))
    yield "colour profile", riff(extended, (b"ICCP", b"garbage"), pixels)
    yield "xmp", riff(extended, pixels, (b"XMP ", b"\xff\xfe<"))
    yield "flags without chunks", riff(extended, pixels)
    yield "flags without meaning", riff((b"VP8X", b"\xed" + extended[1][1:]), pixels)
    profile = riff(extended, (b"ICCP", b"x" * 200), pixels)
    for length in (0, 1, 201, 202, 500, 0xFFFFFFFF):
        yield f"colour profile of {length} bytes", profile[:34] + struct.pack("<I", length) + profile[38:]
    yield "cut off in exif", riff(extended, pixels, (b"EXIF", bytes(1000)))[:-900]
    whole = riff(extended, pixels, (b"EXIF", bytes(10)))
    yield "length", whole[:-14] + b"\xff\xff\xff\x7f" + whole[-10:]


@pytest.mark.parametrize(("fault", "data"), [pytest.param(*case, id=case[0]) for case in webp_faults()])
def test_a_webp_is_read_whatever_its_metadata(fault, data, recwarn):
    np.testing.assert_array_equal(np.asarray(decode(data)), np.asarray(UPRIGHT))
    assert not recwarn.list


def tiff_faults() -> Iterator[tuple[str, bytes]]:
    plain = encoded(UPRIGHT, "TIFF", compression="tiff_lzw")
    directory = struct.unpack_from("<I", plain, 4)[0]
    (count,) = struct.unpack_from("<H", plain, directory)
    entries = plain[directory + 2 : directory + 2 + 12 * count]
    seen = {
        "description beyond the end": (270, 2, 4_000_000_000, 8),
        "resolution": (282, 5, 1, 4_000_000_000),
        "resolution as text": (282, 2, 4, 0),
        "colour profile": (34675, 3, 1, 7),
        "xmp": (700, 12, 1_000_000, 7),
        "exif beyond the end": (34665, 4, 1, 4_000_000_000),
        "exif at itself": (34665, 4, 1, directory),
        "sub-directories": (330, 4, 1_000_000, 7),
        "orientation of two numbers": (274, 3, 2, 6),
        "orientation 77": (274, 3, 1, 77),
        "unknown type": (65000, 99, 1, 7),
    }
    for name, (tag, kind, number, value) in seen.items():
        block = struct.pack("<H", count + 1) + entries + struct.pack("<HHII", tag, kind, number, value) + bytes(4)
        yield name, plain[:4] + struct.pack("<I", len(plain)) + plain[8:] + block
    block = struct.pack("<H", count) + entries
    yield "no next", plain[:4] + struct.pack("<I", len(plain)) + plain[8:] + block
    yield "next beyond the end", plain[:4] + struct.pack("<I", len(plain)) + plain[8:] + block + b"\xf0" * 4


@pytest.mark.parametrize(("fault", "data"), [pytest.param(*case, id=case[0]) for case in tiff_faults()])
def test_a_tiff_is_read_whatever_its_tags(fault, data, recwarn):
    np.testing.assert_array_equal(np.asarray(decode(data)), np.asarray(UPRIGHT))
    assert not recwarn.list


def test_a_gif_is_read_whatever_its_comments():
    plain = encoded(UPRIGHT.quantize(32), "GIF")
    at = 13 + 3 * 2 ** ((plain[10] & 7) + 1)
    comment = b"!\xfe" + (b"\xff" + b"x" * 255) * 300 + b"\0"
    strange = b"!\xff\x0bXMP DataXMP" + b"\x04\xff\xfe\0\0" + b"\0"
    for inserted in (comment, strange, b"!\x77\x01x\0"):
        picture = decode(plain[:at] + inserted + plain[at:])
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(decode(plain)))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_an_avif_is_read_whatever_its_exif():
    whole = exif(TURNED, (271, 2, 4, 0x41424344))
    plain = encoded(UPRIGHT, "AVIF", exif=whole, quality=90)
    assert whole[:8] in plain
    broken = plain.replace(whole[:8], b"garbage!")
    np.testing.assert_array_equal(np.asarray(decode(broken)), np.asarray(decode(encoded(UPRIGHT, "AVIF", quality=90))))


# --------------------------------------------------------------------------- orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_picture_is_turned_upright(kind, order, orientation):
    turn = LYING[orientation]
    stored = UPRIGHT if turn is None else UPRIGHT.transpose(turn)
    block = exif((271, 2, 4, 0x41424344), (274, 3, 1, orientation), order=order)
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    if kind == "TIFF":
        data = encoded(stored, kind, tiffinfo={274: orientation}, big_tiff=order == ">")
    else:
        data = encoded(stored, kind, exif=b"Exif\0\0" * (kind == "JPEG") + block, **options)
    apart = np.abs(np.asarray(decode(data), int) - np.asarray(UPRIGHT, int))
    assert apart.max() <= 6


@pytest.mark.parametrize("written", [b'tiff:Orientation="6"', b"<tiff:Orientation>6</tiff:Orientation>"])
def test_where_exif_is_silent_xmp_says_which_way_is_up(written):
    stored = UPRIGHT.transpose(LYING[6])
    png = encoded(stored, "PNG")
    data = png[:33] + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + written) + png[33:]
    np.testing.assert_array_equal(np.asarray(decode(data)), np.asarray(UPRIGHT))


@pytest.mark.parametrize("compressed", [False, True])
def test_exif_as_imagemagick_writes_it_into_a_png_counts(compressed):
    png = encoded(UPRIGHT.transpose(LYING[8]), "PNG")
    text = b"\nexif\n      40\n" + (b"Exif\0\0" + exif((274, 3, 1, 8))).hex().encode() + b"\n"
    key = b"Raw profile type exif\0"
    profile = chunk(b"zTXt", key + b"\0" + zlib.compress(text)) if compressed else chunk(b"tEXt", key + text)
    np.testing.assert_array_equal(np.asarray(decode(png[:33] + profile + png[33:])), np.asarray(UPRIGHT))


@pytest.mark.filterwarnings("ignore")  # the command line shows none
def test_no_bytes_make_anything_but_a_picture_or_a_reason():
    rng = np.random.default_rng(0)
    kinds = [("JPEG", {}), ("PNG", {}), ("WEBP", {}), ("TIFF", {"compression": "tiff_lzw"}), ("GIF", {}), ("BMP", {})]
    for kind, options in kinds:
        data = encoded(UPRIGHT, kind, **options)
        for _ in range(60):
            broken = bytearray(data)
            for place in rng.integers(len(data), size=3):
                broken[place] = rng.integers(256)
            for look in (identify, decode):
                try:
                    look(bytes(broken[: rng.integers(1, len(data))]))
                except UnreadableImage as reason:
                    assert str(reason)


# --------------------------------------------------------------------------- small files that ask for much


def grey_tiff(entries: dict[int, tuple[int, int, int]], *, behind: bytes = b"") -> bytes:
    """A TIFF of 4 x 4 grey pixels at its end; entries are tag: (type, count, value)."""
    picture = {256: (4, 1, 4), 257: (4, 1, 4), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 277: (3, 1, 1)}
    tags = picture | {273: (4, 1, 8), 278: (4, 1, 4), 279: (4, 1, 16)} | entries
    body = b"".join(struct.pack("<HHII", tag, *tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<I", 24) + bytes(16) + struct.pack("<H", len(tags)) + body + bytes(4) + behind


def progressive(scans: int) -> bytes:
    """A grey JPEG of 2000 x 2000 pixels in so many scans, each a few bytes long."""
    tables = segment(0xDB, b"\0" + b"\1" * 64) + segment(0xC2, struct.pack(">BHHB", 8, 2000, 2000, 1) + b"\1\x11\0")
    codes = segment(0xC4, b"\0\1" + bytes(16)) + segment(0xC4, b"\x10\1" + bytes(15) + b"\xe0")
    first = segment(0xDA, b"\1\1\0\0\0\0") + bytes(250 * 250 // 8 + 1)
    return b"\xff\xd8" + tables + codes + first + (segment(0xDA, b"\1\1\0\1\x3f\0") + bytes(8)) * scans + b"\xff\xd9"


def greedy_files() -> Iterator[tuple[str, bytes]]:
    jpeg, png, many = encoded(UPRIGHT, "JPEG"), encoded(UPRIGHT, "PNG"), 150_000
    yield "segments", jpeg[:2] + segment(0xC4, b"") * many + jpeg[2:]
    yield "comments", jpeg[:2] + segment(0xFE, b"") * many + jpeg[2:]
    yield "scans", progressive(600)
    yield "chunks", png[:33] + chunk(b"IDAT", b"") * many + png[33:]
    yield "small chunks", png[:33] + chunk(b"teSt", b"") * many + png[33:]
    extended = (b"VP8X", bytes((0x10, 0, 0, 0)) + struct.pack("<I", 47)[:3] + struct.pack("<I", 31)[:3])
    yield "riff chunks", riff(extended, *[(b"ALPH", b"")] * many)
    yield "strips", grey_tiff({257: (4, 1, many), 273: (4, many, 24), 278: (4, 1, 1), 279: (4, many, 24)})
    yield "tiles", grey_tiff({322: (4, 1, 16), 323: (4, 1, 16), 324: (4, many, 24), 325: (4, many, 24)})
    yield "comments among numbers", b"P2 4 4 255\n" + b"#\n" * many + b"1 " * 16


@pytest.mark.parametrize(("what", "data"), [pytest.param(*case, id=case[0]) for case in greedy_files()])
def test_a_file_of_more_parts_than_any_picture_is_refused_at_once(what, data):
    started = time.process_time()
    with pytest.raises(UnreadableImage, match=r"^damaged \(more (parts|scans|strips|comments) than any picture has\)$"):
        identify(data)
    assert time.process_time() - started < 2


def test_a_progressive_jpeg_of_many_scans_is_read():
    assert decode(progressive(20)).size == (2000, 2000)


def test_of_many_profiles_few_are_unpacked():
    plain = encoded(UPRIGHT, "PNG")
    profile = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n1\n" + b"\n" * 1_000_000, 9))
    started = time.process_time()
    decode(plain[:33] + profile * 500 + plain[33:])
    assert time.process_time() - started < 2


def test_one_directory_named_often_is_read_once():
    tags = b"".join(struct.pack("<HHII", 1000 + i, 4, 1, 0) for i in range(4000))
    child = struct.pack("<H", 4000) + tags + bytes(4)
    list_at = len(grey_tiff({330: (4, 64, 0)})) + len(child)
    data = grey_tiff({330: (4, 64, list_at)}, behind=child + struct.pack("<I", list_at - len(child)) * 64)
    tracemalloc.start()
    try:
        assert not Tiff(data).is_raw()
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [3, 4, 8, 9])
def test_a_tile_counts_whatever_type_of_number_tells_its_size(kind):
    page = Tiff(grey_tiff({259: (3, 1, 8), 322: (kind, 1, 20000), 323: (kind, 1, 20000)})).main_page()
    assert page is not None
    assert page.strip_bytes == 20000 * 20000
