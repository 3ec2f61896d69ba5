"""Images as programs have them: paths, PIL images and arrays, one or several, mixed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from promptctl.encoding.files import Skipped, UnreadableImage
from promptctl.encoding.pipeline import Encoded, stream
from promptctl.encoding.rgb import to_rgb
from promptctl.errors import WrongArgument
from promptctl.remote import path_of

if TYPE_CHECKING:
    from promptctl.encoding.cache import FeatureCache
    from promptctl.encoding.encoder import ImageEncoder

AnImage = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]  # as somebody gives it
Item = Path | Image.Image  # as it is worked with
BATCH = 32  # pictures in memory that are encoded together

_WANTED = "a path, a PIL image or an array (H, W, 3) of uint8 in RGB"


@dataclass(frozen=True, eq=False)
class Seen:
    """An image as a backbone sees it."""

    path: Path | None  # None: a picture in memory
    sha256: str | None  # of its file
    vector: NDArray[np.float32]  # (E,) of unit length


def encode_images(
    images: Iterable[Item], encoder: ImageEncoder, cache: FeatureCache, *, batch: int = BATCH
) -> Iterator[Seen | Skipped]:
    """Every image in its place, or why it was passed over: files by the pipeline, some of them ahead, the others
    `batch` at a time.
    """
    for is_file, some in groupby(images, lambda image: isinstance(image, Path)):
        if is_file:
            for item in stream(cast(Iterator[Path], some), encoder, cache):
                yield Seen(item.path, item.sha256, item.vector) if isinstance(item, Encoded) else item
        else:
            yield from _encode_pictures(cast(Iterator[Image.Image], some), encoder, batch)


def _encode_pictures(pictures: Iterator[Image.Image], encoder: ImageEncoder, batch: int) -> Iterator[Seen | Skipped]:
    while some := list(islice(pictures, batch)):
        pixels = [_pixels(picture, encoder) for picture in some]
        usable = [item for item in pixels if not isinstance(item, Skipped)]
        vectors = iter(encoder.encode(np.stack(usable)) if usable else ())
        for picture, item in zip(some, pixels, strict=True):
            yield item if isinstance(item, Skipped) else Seen(_file_of(picture), None, next(vectors))


def _pixels(picture: Image.Image, encoder: ImageEncoder) -> NDArray[np.float32] | Skipped:
    try:
        return encoder.preprocess(upright_rgb(picture))
    except UnreadableImage as reason:
        return Skipped(_file_of(picture) or Path("<image>"), str(reason))


def upright_rgb(picture: Image.Image) -> Image.Image:
    """A picture as a file of it would be decoded: upright, RGB, on white; UnreadableImage where it is damaged."""
    try:
        picture.load()
        upright = picture
        with suppress(Exception):  # broken metadata does not keep whole pixels from being read
            upright = ImageOps.exif_transpose(picture)
        return to_rgb(upright)
    except Exception as error:  # whatever its decoder raises
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UnreadableImage(f"damaged ({reason:.60})") from error


def _file_of(picture: Image.Image) -> Path | None:
    """The file a picture was opened from, as far as Pillow knows."""
    name = getattr(picture, "filename", None)
    return Path(name) if isinstance(name, (str, os.PathLike)) and name else None


# --------------------------------------------------------------------------- what somebody gives


def is_one(images: object) -> TypeGuard[AnImage]:
    """Whether it is one image and not several; what is none at all is one too, and `as_item` refuses it."""
    if _is_picture(images):
        return getattr(images, "ndim", 3) != 4  # (N, H, W, 3) are several
    # bytes and open files could be gone through, and nobody means that
    return isinstance(images, (str, bytes, os.PathLike)) or hasattr(images, "read") or not isinstance(images, Iterable)


def is_sequence(images: object) -> bool:
    """Whether several images are all there, so that there can be a list of answers."""
    return isinstance(images, (list, tuple, np.ndarray))


def as_items(images: object) -> Iterator[Item]:
    """Every one of several images; WrongArgument for what is none."""
    are_paths = isinstance(images, np.ndarray) and not _is_picture(images)
    return map(as_item, cast(Any, images).tolist() if are_paths else cast(Iterable[object], images))


def as_item(image: object) -> Item:
    """A path, or a picture of Pillow's; WrongArgument for everything else, and for a folder."""
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        if image.size:
            return Image.fromarray(np.ascontiguousarray(image))
    elif isinstance(image, (str, os.PathLike)) and isinstance(os.fspath(image), str) and os.fspath(image):
        path = path_of(image)
        if not path.is_dir():
            return path
        raise WrongArgument("an image", f"the folder {path}", _WANTED)
    raise WrongArgument("an image", _described(image), _WANTED)


def _is_picture(item: object) -> bool:
    """Whether it is a picture in memory, or meant to be one, rather than a path or an array of paths."""
    return isinstance(item, Image.Image) or (isinstance(item, np.ndarray) and item.dtype.kind not in "UO")


def _described(item: object) -> str:
    """What somebody gave, in a few words: of an array its shape and kind."""
    return f"an array {item.shape} of {item.dtype}" if isinstance(item, np.ndarray) else f"{item!r:.60}"
