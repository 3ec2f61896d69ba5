"""Raw photos: DNGs of a painted picture, as small as they can be, with and without a preview in them."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping

import numpy as np
from PIL import Image

Values = tuple[int, list[int] | bytes]  # a type, and what is stored

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 10: 8}
_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED, _SIGNED = 1, 2, 3, 4, 5, 7, 10


def dng(
    picture: Image.Image, *, preview: Image.Image | None = None, orientation: int = 1, exif: bytes | None = None
) -> bytes:
    """A DNG of a sensor with a Bayer mosaic that saw a picture; its sides are even.

    preview       stored as a JPEG, before the mosaic
    orientation   that the file says, of both
    exif          an EXIF block within the preview
    """
    mosaic = _mosaic(picture)
    about: dict[int, Values] = {
        271: (_ASCII, b"Painted\0"),
        272: (_ASCII, b"Camera\0"),
        274: (_SHORT, [orientation]),
        50706: (_BYTE, bytes((1, 4, 0, 0))),
        50707: (_BYTE, bytes((1, 1, 0, 0))),
        50708: (_ASCII, b"Painted Camera\0"),
        50721: (_SIGNED, _identity()),
        50728: (_RATIONAL, [1, 1] * 3),
        50778: (_SHORT, [21]),
    }
    sensor: dict[int, Values] = {
        **_size(picture, 16, 1, 32803, 1),
        33421: (_SHORT, [2, 2]),
        33422: (_BYTE, bytes((0, 1, 1, 2))),
        50714: (_SHORT, [0]),
        50717: (_LONG, [65535]),
    }
    if preview is None:
        return _file([({**sensor, **about}, mosaic)])
    stored = io.BytesIO()
    preview.save(stored, "JPEG", quality=95, **({"exif": exif} if exif else {}))
    small = {**_size(preview, 8, 7, 6, 3), 254: (_LONG, [1]), **about}
    jpeg = stored.getvalue()
    if exif:  # it comes first, as cameras write it, without a segment of JFIF
        jpeg = jpeg[:2] + jpeg[4 + int.from_bytes(jpeg[4:6], "big") :]
    return _file([(small, jpeg), (sensor, mosaic)])


def _size(picture: Image.Image, bits: int, compression: int, photometric: int, samples: int) -> dict[int, Values]:
    width, height = picture.size
    return {
        254: (_LONG, [0]),
        256: (_LONG, [width]),
        257: (_LONG, [height]),
        258: (_SHORT, [bits] * samples),
        259: (_SHORT, [compression]),
        262: (_SHORT, [photometric]),
        277: (_SHORT, [samples]),
        278: (_LONG, [height]),
        284: (_SHORT, [1]),
    }


def _mosaic(picture: Image.Image) -> bytes:
    """What each pixel of the sensor sees through its filter, red, green, green, blue; linear."""
    linear = (np.asarray(picture.convert("RGB"), np.float64) / 255) ** 2.2
    seen = np.empty(linear.shape[:2])
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        seen[row::2, column::2] = linear[row::2, column::2, channel]
    return (seen * 65535).astype("<u2").tobytes()


def _identity() -> list[int]:
    """From XYZ to the camera's colours, which are those of sRGB."""
    matrix = [32406, -15372, -4986, -9689, 18758, 415, 557, -2040, 10570]
    return [number for value in matrix for number in (value, 10000)]


def _file(pictures: list[tuple[Mapping[int, Values], bytes]]) -> bytes:
    """A TIFF: one directory for each picture, the second below the first."""
    data = b"II*\0\0\0\0\0"
    child = 0
    for number, (tags, pixels) in reversed(list(enumerate(pictures))):
        at = len(data)
        data += pixels + b"\0" * (len(pixels) % 2)
        own = {**tags, 273: (_LONG, [at]), 279: (_LONG, [len(pixels)])}
        if number == 0 and child:
            own[330] = (_LONG, [child])
        child = len(data) + sum(-(-_n_bytes(value) // 2) * 2 for value in own.values() if _n_bytes(value) > 4)
        data += _directory(own, len(data))
    return data[:4] + struct.pack("<I", child) + data[8:]


def _n_bytes(value: Values) -> int:
    return len(_packed(value))


def _directory(tags: Mapping[int, Values], at: int) -> bytes:
    beside, entries = b"", b""
    for tag, value in sorted(tags.items()):
        packed = _packed(value)
        count = len(packed) // _SIZES[value[0]]
        if len(packed) > 4:
            entries += struct.pack("<HHII", tag, value[0], count, at + len(beside))
            beside += packed + b"\0" * (len(packed) % 2)
        else:
            entries += struct.pack("<HHI4s", tag, value[0], count, packed)
    return beside + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"


def _packed(value: Values) -> bytes:
    kind, stored = value
    if isinstance(stored, bytes):
        return stored
    code = {_SHORT: "H", _LONG: "I", _RATIONAL: "I", _SIGNED: "i"}[kind]
    return struct.pack(f"<{len(stored)}{code}", *stored)
