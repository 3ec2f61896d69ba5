"""Pictures: the one decoder of image files, and the random views that training sees of a picture.

All decoders of the process share one budget of memory. What a picture takes is known from its header; one that does
not fit beside the others waits, and one that never fits is an UnreadableImage.
"""

from __future__ import annotations

import hashlib
import math
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from promptctl.encoding import formats
from promptctl.encoding.budget import Budget, OverBudget, bytes_for_decoding, return_free_memory
from promptctl.encoding.formats import Format
from promptctl.encoding.metadata import Pixels, without_metadata
from promptctl.encoding.tiff import Tiff
from promptctl.errors import reason_of

DECODER = "upright-rgb-2"  # part of every cached feature's key: change it when decode() changes
VIEWS = "crop-flip-1"  # and this when view_box() changes
_AREA = (0.08, 1.0)  # of the picture, as torchvision's RandomResizedCrop and CoOp have it
_RATIO = (3 / 4, 4 / 3)  # width to height
_TRIES = 10
_LONGEST_SHAPE = 50  # long side to short
_LARGE = 32_000_000  # pixels, from which on a picture is shrunk while it is read
_SHORT_SIDE = 2000  # pixels that are left of it; backbones look at 224 to 512
_STRIP = 1 << 18  # pixels that are converted at a time
_MUCH = 200_000_000  # bytes; giving memory back takes a while
_STRIP_BYTES = 24_000_000  # memory for that, and for a decoder's own small tables

_BYTES = bytes_for_decoding()
FILES = Budget(_BYTES // 4)  # what is read of files; taken before, and never while, PICTURES is held
PICTURES = Budget(_BYTES - _BYTES // 4)  # what is decoded of them


class UnreadableImage(Exception):
    """One file that is not a usable image; `str()` says why in a few words."""


class NotAnImage(UnreadableImage):
    """One file that holds something else altogether: a note, a video, a program's own data."""


# --------------------------------------------------------------------------- files


def is_image_name(path: Path) -> bool:
    """Whether a file is called like an image, also of a kind that is not read; nothing is opened."""
    return formats.of_name(path) is not None


@contextmanager
def file_bytes(path: Path) -> Iterator[bytes]:
    """What `read_file` reads, counted in the budget for as long as it is needed."""
    with FILES.reserve(_n_bytes(path)):
        yield _read(path)


def read_file(path: Path) -> bytes:
    """The bytes of a regular file that starts like an image we read, or UnreadableImage."""
    _n_bytes(path)
    return _read(path)


def hash_image(path: Path) -> str:
    """The sha256 of an image file, or UnreadableImage; pixels are not decoded."""
    with file_bytes(path) as data:
        identify(data)
        return hashlib.sha256(data).hexdigest()


def _n_bytes(path: Path) -> int:
    """How large a file is, or UnreadableImage where its kind, its start or its size says not to read it."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for ever
            raise UnreadableImage("not a readable folder" if stat.S_ISDIR(found.st_mode) else "not a regular file")
        with path.open("rb") as file:
            head = file.read(formats.HEAD)
    except OSError as error:
        raise UnreadableImage(reason_of(error)) from error
    _check_start(head, formats.of_name(path))
    n_bytes = max(found.st_size, len(head))
    if n_bytes > FILES.n_bytes:
        raise UnreadableImage(f"a file of {_megabytes(n_bytes)}, {_megabytes(FILES.n_bytes)} is the most that is read")
    return n_bytes


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILES.n_bytes)
    except OSError as error:
        raise UnreadableImage(reason_of(error)) from error


def _check_start(head: bytes, named: Format | None = None) -> Format:
    """The format of a file that starts like this and is called like that; only what is read comes back."""
    if not head:
        raise UnreadableImage("empty file")
    found = formats.of_content(head)
    if found is None and named and named.refusal:
        raise UnreadableImage(named.refusal)
    if found is None:
        raise NotAnImage(formats.foreign(head))
    if found.refusal:
        raise UnreadableImage(found.refusal)
    if found is formats.TIFF and named is formats.RAW_PHOTO:
        raise UnreadableImage(named.refusal)
    return found


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


# --------------------------------------------------------------------------- decoding


def identify(data: bytes) -> None:
    """UnreadableImage unless the file starts like an image that can be read here; pixels are not decoded."""
    with _reasons():
        source = _Source.of(data)
    source.check()


def decode(data: bytes) -> Image.Image:
    """The picture in an image file: first frame, turned upright, RGB, 16 bits scaled to 8, on white if transparent.

    Pictures of 32 megapixels and more come shrunk, to no less than 2000 pixels on the short side.
    """
    with decoded(data) as picture:
        return picture


@contextmanager
def decoded(data: bytes) -> Iterator[Image.Image]:
    """What `decode` gives, counted in the budget for as long as it is needed."""
    with _reasons():
        source = _Source.of(data)
    source.check()
    with PICTURES.reserve(source.n_bytes), _returned(source.n_bytes):
        with _reasons():
            picture = source.picture()
        del source  # and with it a large picture at its full size
        yield picture
        del picture


def thumbnail(path: Path, side: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(side, side) the greys of an image file, upright and stretched to a square, or UnreadableImage."""
    with file_bytes(path) as data, decoded(data) as picture:
        return np.asarray(picture.convert("L").resize((side, side), Image.Resampling.BOX), dtype=np.float64)


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
    image: ImageFile.ImageFile  # pixels are not loaded; a large JPEG is set to be decoded shrunk
    size: tuple[int, int]  # as it is in the file
    file_bytes: int

    @staticmethod
    def of(data: bytes) -> _Source:
        format = _check_start(data[: formats.HEAD])
        if format is formats.TIFF and Tiff(data).is_raw():
            raise UnreadableImage(formats.RAW)
        pixels = without_metadata(data, format)
        image = _OPENERS[format](pixels)
        size = image.size
        factor = _factor(size)
        if factor > 1:
            image.draft(None, (size[0] // factor, size[1] // factor))
        return _Source(format, pixels, image, size, len(data))

    @property
    def n_bytes(self) -> int:
        """Memory for the picture at its largest moment: decoding it, converting it, or looking at it in RGB."""
        n_pixels = math.prod(self.image.size)
        loaded = n_pixels * _PIXEL_BYTES.get(self.image.mode, 4)
        in_file = _COPIES_OF_FILE.get(self.format, 0) * self.file_bytes
        coded = max(n_pixels, self.pixels.coded_pixels)
        decoding = loaded + coded * _BESIDE_A_PIXEL.get(self.format, 0) + self.pixels.working_bytes + in_file
        in_rgb = 4 * n_pixels // _factor(self.image.size) ** 2
        # whoever looks at it, or turns it upright, makes a copy
        return max(decoding, loaded + in_rgb, 2 * in_rgb) + _STRIP_BYTES

    def check(self) -> None:
        """UnreadableImage if there is never so much memory."""
        try:
            PICTURES.check(self.n_bytes)
        except OverBudget as error:
            width, height = self.size
            needed, most = _megabytes(self.n_bytes), _megabytes(PICTURES.n_bytes)
            raise UnreadableImage(
                f"{width} x {height} pixels of {self.format.name} take {needed} of memory to read, {most} is the most: "
                "make it smaller first"
            ) from error

    def picture(self) -> Image.Image:
        self.image.load()
        turn = _TURNS.get(self.pixels.orientation)
        picture = _to_rgb(self.image)
        return picture if turn is None else picture.transpose(turn)


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
        raise UnreadableImage("HEIC, which needs one more package: pip install pillow-heif") from None
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


# --------------------------------------------------------------------------- to RGB


def _to_rgb(image: Image.Image) -> Image.Image:
    """A loaded picture in RGB, shrunk if it is large, strip by strip, so that there is never a second whole one."""
    box = _middle(image.size)
    factor = _factor((box[2] - box[0], box[3] - box[1]))
    if image.mode == "RGB" and "transparency" not in image.info and factor == 1 and box == (0, 0, *image.size):
        return image
    full = _full_scale(image, box)
    picture = Image.new("RGB", (-(-(box[2] - box[0]) // factor), -(-(box[3] - box[1]) // factor)))
    for strip in _strips(box, factor):
        piece = _piece_to_rgb(image.crop(strip), full)
        picture.paste(piece.reduce(factor) if factor > 1 else piece, (0, (strip[1] - box[1]) // factor))
    return picture


def _factor(size: tuple[int, int]) -> int:
    """How many times smaller a picture is made; 1 for all ordinary ones."""
    return max(1, min(size) // _SHORT_SIDE) if math.prod(size) >= _LARGE else 1


def _middle(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box that is looked at: of a line its middle, since resizing it by its short side would take gigabytes."""
    longest = _LONGEST_SHAPE * min(size)
    width, height = (min(side, longest) for side in size)
    left, upper = (size[0] - width) // 2, (size[1] - height) // 2
    return left, upper, left + width, upper + height


def _strips(box: tuple[int, int, int, int], factor: int) -> Iterator[tuple[int, int, int, int]]:
    left, upper, right, lower = box
    rows = max(1, _STRIP // (right - left) // factor) * factor
    for top in range(upper, lower, rows):
        yield left, top, right, min(top + rows, lower)


def _piece_to_rgb(image: Image.Image, full: float) -> Image.Image:
    if _is_deep(image):
        return Image.fromarray(_to_eight_bits(image, full)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        colour = image.convert("RGBA")
        white = Image.new("RGBA", colour.size, "white")
        return Image.alpha_composite(white, colour).convert("RGB")
    return image.convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"  # Pillow's own convert clips 16 bits to white


def _full_scale(image: Image.Image, box: tuple[int, int, int, int]) -> float:
    """The value that stands for white in a picture of more than 8 bits."""
    if not _is_deep(image) or image.mode.startswith("I;16"):
        return 65535.0
    largest = max(_values(image.crop(strip)).max(initial=0.0) for strip in _strips(box, 1))
    if image.mode == "F" and largest <= 1:
        return 1.0
    return 255.0 if largest <= 255 else 65535.0 if largest <= 65535 else float(largest)


def _to_eight_bits(image: Image.Image, full: float) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(np.clip(_values(image) / full, 0, 1) * 255 + 0.5, dtype=np.uint8)


def _values(image: Image.Image) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)


# --------------------------------------------------------------------------- views


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
