"""Preprocess: a picture as the weights were trained to see it, by Pillow and numpy, equal to open_clip's transform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

_MODES = ("shortest", "longest", "squash")
_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "random": Image.Resampling.BICUBIC,  # what open_clip takes for it where nothing is trained
}
_SETTINGS = {"size", "mode", "mean", "std", "interpolation", "resize_mode", "fill_color"}


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes the input of an image tower."""

    height: int
    width: int
    mean: tuple[float, ...]  # of red, green and blue, 0 to 1
    std: tuple[float, ...]
    filter: Image.Resampling
    resize_mode: str  # shortest, longest or squash
    fill: tuple[int, ...]  # of what a picture does not cover

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Preprocess | None:
        """From open_clip's `preprocess_cfg`; None for what is not known to be the same here."""
        size, fill = settings["size"], settings["fill_color"]
        height, width = (size, size) if isinstance(size, int) else size if len(size) == 2 else (0, 0)
        filter, mode = _FILTERS.get(settings["interpolation"] or "bicubic"), settings["resize_mode"] or "shortest"
        known = settings.keys() == _SETTINGS and settings["mode"] == "RGB" and mode in _MODES
        if not known or filter is None or min(height, width) < 1 or not isinstance(fill, int):
            return None
        return cls(height, width, _three(settings["mean"]), _three(settings["std"]), filter, mode, (fill,) * 3)

    def __call__(self, picture: Image.Image) -> NDArray[np.float32]:
        """(3, height, width) of an RGB picture."""
        return self.scaled(self.crop(picture))

    def crop(self, picture: Image.Image) -> NDArray[np.uint8]:
        """(height, width, 3) of an RGB picture: the part that is looked at, a quarter of the bytes it is scaled to."""
        return np.asarray(self._framed(picture).convert("RGB"))

    def scaled(self, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(3, height, width) of a crop, as the tower takes it."""
        pixels = crop.astype(np.float32)  # (height, width, 3)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        scaled = (pixels / np.float32(255) - mean) / std
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))

    def _framed(self, picture: Image.Image) -> Image.Image:
        """The picture resized, and cropped or filled up to the size."""
        if self.resize_mode == "squash":
            return picture.resize((self.width, self.height), self.filter)
        if self.resize_mode == "longest":
            return self._cropped(self._resized(picture, max, self.filter), self.fill)
        if self.height == self.width:
            return self._cropped(self._shortest_resized(picture), (0, 0, 0))
        # open_clip takes no heed of the interpolation here
        return self._cropped(self._resized(picture, min, Image.Resampling.BICUBIC), (0, 0, 0))

    def _shortest_resized(self, picture: Image.Image) -> Image.Image:
        """As torchvision does it: the longer side is rounded down."""
        short, long = sorted(picture.size)
        side = int(self.height * long / short)
        width, height = picture.size
        size = (self.width, side) if width <= height else (side, self.width)
        return picture if size == picture.size else picture.resize(size, self.filter)

    def _resized(self, picture: Image.Image, decides: Any, filter: Image.Resampling) -> Image.Image:
        """As timm does it: both sides by one ratio, rounded to the nearest."""
        width, height = picture.size
        ratio = decides(height / self.height, width / self.width)
        size = (max(1, round(width / ratio)), max(1, round(height / ratio)))  # open_clip has nothing left of a strip
        return picture if size == picture.size else picture.resize(size, filter)

    def _cropped(self, picture: Image.Image, fill: tuple[int, ...]) -> Image.Image:
        """The centre, with a border around what is smaller; odd rests as torchvision divides them."""
        across, down = max(0, self.width - picture.width), max(0, self.height - picture.height)
        if across or down:
            border = (across // 2, down // 2, (across + 1) // 2, (down + 1) // 2)
            picture = ImageOps.expand(picture, border, fill)
        top, left = round((picture.height - self.height) / 2), round((picture.width - self.width) / 2)
        return picture.crop((left, top, left + self.width, top + self.height))


def _three(values: float | Sequence[float]) -> tuple[float, ...]:
    if isinstance(values, (int, float)):
        return (float(values),) * 3
    return tuple(map(float, values))
