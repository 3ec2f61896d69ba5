"""Pictures: the one decoder of image files, and the random views that training sees of a picture."""

from __future__ import annotations

import io
import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from promptctl.errors import reason_of

with suppress(ImportError):
    import pillow_heif

    pillow_heif.register_heif_opener()

DECODER = "upright-rgb-1"  # part of every cached feature's key: change it when decode() changes
VIEWS = "crop-flip-1"  # and this when view_box() changes
_AREA = (0.08, 1.0)  # of the picture, as torchvision's RandomResizedCrop and CoOp have it
_RATIO = (3 / 4, 4 / 3)  # width to height
_TRIES = 10
_LONGEST_SHAPE = 50  # long side to short


class UnreadableImage(Exception):
    """One file that is not a usable image; `str()` says why in a few words."""


class NotAnImage(UnreadableImage):
    """One file that holds something else altogether: a note, a video, a program's own data."""


def read_file(path: Path) -> bytes:
    """The bytes of a regular file, or UnreadableImage."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise UnreadableImage("not a readable folder" if stat.S_ISDIR(mode) else "not a regular file")
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableImage(reason_of(error)) from error
    if not data:
        raise UnreadableImage("empty file")
    return data


def identify(data: bytes) -> None:
    """UnreadableImage unless the file starts like an image; pixels are not decoded."""
    with _reasons(data), Image.open(io.BytesIO(data)):
        pass


def decode(data: bytes) -> Image.Image:
    """The picture in an image file: first frame, turned upright, RGB, 16 bits scaled to 8, on white if transparent."""
    with _reasons(data), Image.open(io.BytesIO(data)) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
        return _to_rgb(_within_reason(upright))


def is_image_name(path: Path) -> bool:
    """Whether a file is called like an image; nothing is opened."""
    return path.suffix.lower() in Image.registered_extensions()


def view(picture: Image.Image, sha256: str, number: int, size: int) -> Image.Image:
    """One of the random views CoOp trains on: a resized crop, mirrored half of the time.

    number   from 0; the view is decided by it and the content of the file alone, on any machine
    returns  a square picture of `size` pixels, bicubic
    """
    chance = np.random.default_rng([number, *bytes.fromhex(sha256)])
    box = view_box(*picture.size, chance)
    square = picture.crop(box).resize((size, size), Image.Resampling.BICUBIC)
    return ImageOps.mirror(square) if chance.random() < 0.5 else square


def view_box(width: int, height: int, chance: np.random.Generator) -> tuple[int, int, int, int]:
    """Left, upper, right, lower of a random crop, drawn as torchvision's RandomResizedCrop draws it."""
    for _ in range(_TRIES):
        area = width * height * chance.uniform(*_AREA)
        ratio = math.exp(chance.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, upper = int(chance.integers(width - w + 1)), int(chance.integers(height - h + 1))
            return left, upper, left + w, upper + h
    # a picture too long and thin for any of them: the largest allowed crop in its middle
    w, h = min(width, round(height * _RATIO[1])), min(height, round(width / _RATIO[0]))
    left, upper = (width - w) // 2, (height - h) // 2
    return left, upper, left + w, upper + h


def _within_reason(image: Image.Image) -> Image.Image:
    """The middle of a picture that is a line: resized by its short side, it would take gigabytes."""
    longest = _LONGEST_SHAPE * min(image.size)
    if max(image.size) <= longest:
        return image
    width, height = (min(side, longest) for side in image.size)
    left, upper = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, upper, left + width, upper + height))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # Pillow's own convert clips 16 bits to white
        return Image.fromarray(_to_eight_bits(image)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        colour = image.convert("RGBA")
        white = Image.new("RGBA", colour.size, "white")
        return Image.alpha_composite(white, colour).convert("RGB")
    return image.convert("RGB")


def _to_eight_bits(image: Image.Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    largest = values.max(initial=0.0)
    full = 255.0 if largest <= 255 else 65535.0 if largest <= 65535 else largest
    if image.mode.startswith("I;16"):
        full = 65535.0
    if image.mode == "F" and largest <= 1:
        full = 1.0
    return np.asarray(np.clip(values / full, 0, 1) * 255 + 0.5, dtype=np.uint8)


@contextmanager
def _reasons(data: bytes) -> Iterator[None]:
    """Whatever a decoder raises on bad input, as one UnreadableImage with a short reason."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise UnreadableImage("more pixels than is safe to open") from error
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except Exception as error:
        # decoders raise OSError, SyntaxError, ValueError, struct.error, IndexError … on broken files
        raise UnreadableImage(f"damaged ({_short(error)})") from error


def _unidentified(data: bytes) -> UnreadableImage:
    if data[4:8] == b"ftyp" and data[8:11] in (b"hei", b"hev", b"mif") and ".heic" not in Image.registered_extensions():
        return UnreadableImage("HEIC, which needs one more package: pip install pillow-heif")
    return NotAnImage("not an image")


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:60]
