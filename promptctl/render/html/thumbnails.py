"""Thumbnails: photos made small enough to travel inside a page, through the one safe decoder."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass

from PIL import Image

from promptctl.encoding.decode import decoded
from promptctl.encoding.files import UnreadableImage, file_bytes
from promptctl.encoding.shrink import Look
from promptctl.remote import path_of
from promptctl.report import PhotoAnswer

SIDE = 192  # pixels of the long side
_QUALITY = 72
_DETAIL = 2.0  # a JPEG is decoded at no less than so many times the pixels that are shown


@dataclass(frozen=True)
class Thumbnail:
    """A small JPEG, or why there is none."""

    uri: str = ""
    width: int = 0
    height: int = 0
    missing: str = ""


def thumbnail(photo: PhotoAnswer) -> Thumbnail:
    """The photo as it was answered: upright, without what its file says besides."""
    path = path_of(photo.file)
    try:
        with file_bytes(path) as data:
            if hashlib.sha256(data).hexdigest() != photo.sha256:
                return Thumbnail(missing="The file has changed since.")
            with decoded(data, Look(SIDE, _DETAIL)) as picture:
                return _small(picture)
    except UnreadableImage as error:
        gone = not path.exists()
        return Thumbnail(missing="The photo is no longer there." if gone else f"The photo cannot be read: {error}")


def _small(picture: Image.Image) -> Thumbnail:
    factor = SIDE / max(picture.size)
    width, height = (max(1, round(side * min(1.0, factor))) for side in picture.size)
    small = picture.resize((width, height), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return Thumbnail("data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode(), width, height)
