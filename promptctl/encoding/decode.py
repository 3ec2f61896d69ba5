"""Decode: the one decoder of image files.

All decoders of the process share one budget of memory. What a picture takes is known from its header; one that does
not fit beside the others waits, and one that never fits is an UnreadableImage.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from promptctl.encoding import formats, raw
from promptctl.encoding.budget import PICTURES, OverBudget, return_free_memory
from promptctl.encoding.files import UnreadableImage, check_start, file_bytes, megabytes, read_start
from promptctl.encoding.formats import Format
from promptctl.encoding.metadata import Pixels, taken_at, without_metadata
from promptctl.encoding.rgb import shrink_factor, to_rgb
from promptctl.encoding.shrink import Look, Size, shrink
from promptctl.encoding.tiff import Moment, Tiff

DECODER = "upright-rgb-3"  # part of every cached feature's key: change it when decoded() or look_of() changes
_SMALLEST = Look(1, 1)  # no backbone needs less; which one it is, is not known yet when files are identified
_DETAIL_OF_THUMBNAIL = 8  # so that what is cut from the edges of a shrunk picture does not tell in it
_START_BYTES = 1 << 17  # a segment of a JPEG has half of it, and that of EXIF comes first
_MUCH = 200_000_000  # bytes; giving memory back takes a while
_STRIP_BYTES = 24_000_000  # memory for strips of a large picture, and for a decoder's own small tables


def hash_image(path: Path) -> str:
    """The sha256 of an image file, or UnreadableImage; pixels are not decoded."""
    with file_bytes(path) as data:
        identify(data)
        return hashlib.sha256(data).hexdigest()


def identify(data: bytes) -> None:
    """UnreadableImage unless the file starts like an image that can be read here; pixels are not decoded."""
    with _reasons():
        if is_raw(data):  # it takes LibRaw to tell more
            return
        source = _Source.of(data, _SMALLEST)
    source.check()


def is_raw(data: bytes) -> bool:
    """Whether this is a camera's raw photo; UnreadableImage for what is none that can be read here."""
    format = check_start(data[: formats.HEAD])
    if format is formats.TIFF and Tiff(data).is_raw():
        if formats.RAW_PHOTO.why_not:
            raise UnreadableImage(formats.RAW_PHOTO.why_not)
        return True
    return format is formats.RAW_PHOTO


def decoder_of(data: bytes) -> str:
    """What is part of the key of a file's features: change it when what is seen of its pixels changes."""
    with suppress(UnreadableImage, ValueError):
        return raw.DECODER if is_raw(data) else DECODER
    return DECODER


def decode(data: bytes) -> Image.Image:
    """The picture in an image file: first frame, turned upright, RGB, 16 bits scaled to 8, on white if transparent.

    Pictures of 32 megapixels and more come shrunk, to no less than 2000 pixels on the short side.
    """
    with decoded(data) as picture:
        return picture


@contextmanager
def decoded(data: bytes, look: Look | None = None) -> Iterator[Image.Image]:
    """What `decode` gives, counted in the budget for as long as it is needed.

    look   a JPEG with twice, four or eight times the pixels that it needs comes so many times smaller, and sooner
    """
    with _reasons():
        source = _raw_source(data, look) if is_raw(data) else _Source.of(data, look)
    source.check()
    with PICTURES.reserve(source.n_bytes), _returned(source.n_bytes):
        with _reasons():
            picture = source.picture()
        del source  # and with it a large picture at its full size
        yield picture
        del picture


def thumbnail(path: Path, side: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(side, side) the greys of an image file, upright and stretched to a square, or UnreadableImage."""
    return glance(path, side)[0]


def glance(path: Path, side: int) -> tuple[np.ndarray[Any, np.dtype[np.float64]], float | None]:
    """The thumbnail of an image file, and when it was taken in seconds on its camera's clock; or UnreadableImage."""
    with file_bytes(path) as data, decoded(data, Look(side, _DETAIL_OF_THUMBNAIL)) as picture:
        greys = picture.convert("L").resize((side, side), Image.Resampling.BOX)
        taken = taken_at(data)
        return np.asarray(greys, dtype=np.float64), None if taken is None else taken.seconds


def moment_of(path: Path) -> Moment | None:
    """When a picture was taken, as its file says; None where it does not, or cannot be read.

    Of a JPEG only the beginning is read, where its EXIF stands, and of other formats the file; pixels are not decoded.
    """
    try:
        start = read_start(path, _START_BYTES)
        if len(start) < _START_BYTES or check_start(start) is formats.JPEG:
            return taken_at(start)
        with file_bytes(path) as data:
            return taken_at(data)
    except UnreadableImage:
        return None


@contextmanager
def _returned(n_bytes: int) -> Iterator[None]:
    """Much memory is not only free afterwards, it is the system's again before others count on it."""
    if n_bytes > _MUCH:
        return_free_memory()  # of smaller pictures before
    try:
        yield
    finally:
        if n_bytes > _MUCH:
            return_free_memory()


@dataclass(frozen=True)
class _Source:
    """An image file of which the header was read."""

    format: Format
    pixels: Pixels
    image: ImageFile.ImageFile  # pixels are not loaded; a JPEG is set to be decoded shrunk
    size: Size  # as it is in the file
    cut: Size  # of what is decoded, from the left and the top
    file_bytes: int

    @staticmethod
    def of(data: bytes, look: Look | None = None) -> _Source:
        format = check_start(data[: formats.HEAD])
        pixels = without_metadata(data, format)
        image = _OPENERS[format](pixels)
        size = image.size
        cut = shrink(image, shrink_factor(size), look)
        return _Source(format, pixels, image, size, cut, len(data))

    @property
    def n_bytes(self) -> int:
        """Memory for the picture at its largest moment: decoding it, converting it, or looking at it in RGB."""
        n_pixels = math.prod(self.image.size)
        loaded = n_pixels * _PIXEL_BYTES.get(self.image.mode, 4)
        in_file = _COPIES_OF_FILE.get(self.format, 0) * self.file_bytes
        coded = max(n_pixels, self.pixels.coded_pixels)
        decoding = loaded + coded * _BESIDE_A_PIXEL.get(self.format, 0) + self.pixels.working_bytes + in_file
        in_rgb = 4 * n_pixels // shrink_factor(self.image.size) ** 2
        # whoever looks at it, or turns it upright, makes a copy
        return max(decoding, loaded + in_rgb, 2 * in_rgb) + _STRIP_BYTES

    def check(self) -> None:
        """UnreadableImage if there is never so much memory."""
        _check_memory(self.n_bytes, self.size, self.format)

    def picture(self) -> Image.Image:
        self.image.load()
        turn = _TURNS.get(self.pixels.orientation)
        picture = to_rgb(self.image if self.cut == self.image.size else self.image.crop((0, 0, *self.cut)))
        return picture if turn is None else picture.transpose(turn)


def _check_memory(n_bytes: int, size: Size, format: Format) -> None:
    try:
        PICTURES.check(n_bytes)
    except OverBudget as error:
        needed, most = megabytes(n_bytes), megabytes(PICTURES.n_bytes)
        raise UnreadableImage(
            f"{size[0]} x {size[1]} pixels of {format.name} take {needed} of memory to read, {most} is the most: "
            "make it smaller first"
        ) from error


def _raw_source(data: bytes, look: Look | None) -> _Source | _Mosaic:
    """The preview in a raw photo, or where there is none that is large enough the photo itself."""
    found = raw.opened(data)
    if found.jpeg is not None:
        with suppress(Exception):  # a preview that is damaged, by whatever its decoder raises
            source = _Source.of(found.jpeg, look)
            if min(source.size) >= found.least_side:
                orientation = found.orientation_of(source.size, source.pixels.orientation)
                return replace(source, pixels=replace(source.pixels, orientation=orientation))
    bitmap = found.bitmap
    if bitmap is not None and min(bitmap.size) >= found.least_side:
        turn = _TURNS.get(found.orientation_of(bitmap.size, 1))
        return _Mosaic(found, data, bitmap if turn is None else bitmap.transpose(turn))
    return _Mosaic(found, data)


@dataclass(frozen=True)
class _Mosaic:
    """A raw photo that is to be developed, or a preview of it that is there."""

    found: raw.Raw
    data: bytes
    preview: Image.Image | None = None

    @property
    def n_bytes(self) -> int:
        """Memory for developing it in another process, and for the picture that comes of it."""
        if self.preview is not None:
            return 6 * math.prod(self.preview.size) + _STRIP_BYTES
        return self.found.developing_bytes + 6 * math.prod(self.found.size) // 4 + _STRIP_BYTES

    def check(self) -> None:
        """UnreadableImage if there is never so much memory."""
        _check_memory(self.n_bytes, self.found.size, formats.RAW_PHOTO)

    def picture(self) -> Image.Image:
        return to_rgb(raw.developed(self.data) if self.preview is None else self.preview)


def _plugin(opener: Callable[[Any], ImageFile.ImageFile]) -> Callable[[Pixels], ImageFile.ImageFile]:
    # the format's own class, where Image.open would load every plugin there is and try them in turn
    return lambda pixels: opener(pixels.open())


def _open_avif(pixels: Pixels) -> ImageFile.ImageFile:
    try:
        from PIL import AvifImagePlugin
    except ImportError:
        raise UnreadableImage("AVIF, which needs a newer Pillow: pip install --upgrade pillow") from None
    return AvifImagePlugin.AvifImageFile(pixels.open())


def _open_heic(pixels: Pixels) -> ImageFile.ImageFile:
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise UnreadableImage("HEIC, which needs one more package: pip install 'promptctl[heic]'") from None
    image: ImageFile.ImageFile = HeifImageFile(pixels.open())
    return image


_OPENERS: dict[Format, Callable[[Pixels], ImageFile.ImageFile]] = {
    formats.JPEG: _plugin(JpegImagePlugin.JpegImageFile),
    formats.PNG: _plugin(PngImagePlugin.PngImageFile),
    formats.GIF: _plugin(GifImagePlugin.GifImageFile),
    formats.BMP: _plugin(BmpImagePlugin.BmpImageFile),
    formats.TIFF: _plugin(TiffImagePlugin.TiffImageFile),
    formats.WEBP: _plugin(WebPImagePlugin.WebPImageFile),
    formats.NETPBM: _plugin(PpmImagePlugin.PpmImageFile),
    formats.AVIF: _open_avif,
    formats.HEIC: _open_heic,
}
# measured on pictures of 24 megapixels, the dearest of each kind, and rounded up
_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # Pillow's other modes: 4
_BESIDE_A_PIXEL = {
    formats.GIF: 1,
    formats.BMP: 2,
    formats.NETPBM: 8,
    formats.WEBP: 14,
    formats.AVIF: 12,
    formats.HEIC: 8,
}
_COPIES_OF_FILE = {formats.TIFF: 2, formats.WEBP: 2, formats.AVIF: 2, formats.HEIC: 2}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@contextmanager
def _reasons() -> Iterator[None]:
    """Whatever a decoder raises on bad input, as one UnreadableImage with a short reason."""
    try:
        yield
    except UnreadableImage:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImage("more pixels than is safe to open") from error
    except MemoryError as error:
        raise UnreadableImage("not enough memory to read it") from error
    except Exception as error:
        # decoders raise OSError, SyntaxError, ValueError, struct.error, IndexError … on broken files
        raise UnreadableImage(f"damaged ({_short(error)})") from error


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:60]
