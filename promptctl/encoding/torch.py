"""TorchEncoder: an image tower run by PyTorch, and after enough pictures by OpenVINO."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from promptctl.context.card import fingerprint_with
from promptctl.encoding.translate import Tower, engine

_WORTH_COMPILING = 96  # pictures, on two cores


@dataclass
class TorchEncoder:
    """An image tower with its preprocessing, loaded in PyTorch."""

    fingerprint: str
    width: int  # E
    size: int  # S
    visual: torch.nn.Module
    transform: Callable[[Image.Image], NDArray[np.float32]]  # RGB picture → (3, S, S)
    device: torch.device
    unit: bool = True  # or features stay as long as they come out of the tower
    _engine: Tower | None = field(default=None, init=False)
    _encoded: int = field(default=0, init=False)  # pictures so far

    def preprocess(self, picture: Image.Image) -> NDArray[np.float32]:
        """(3, S, S) of an RGB picture, as the weights were trained."""
        return self.transform(picture)

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features of pictures.

        pixels    (N, 3, S, S) from `preprocess`
        returns   (N, E) rows, of unit length unless `unit` is off
        """
        with torch.inference_mode(), _in_full_precision(self.device):
            pictures = torch.from_numpy(pixels)
            vectors = self._image_tower(pictures)(pictures).float()
            if self.unit:
                vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return np.asarray(vectors.cpu().numpy(), dtype=np.float32)

    def unscaled(self) -> TorchEncoder:
        """The same tower, but features stay as long as they come out of it."""
        return dataclasses.replace(self, unit=False)

    def with_tokens(self, visual: torch.nn.Module, tokens: NDArray[np.float32]) -> TorchEncoder:
        """The same preprocessing before the tower with learned tokens, under a fingerprint of both."""
        return dataclasses.replace(self, visual=visual, fingerprint=fingerprint_with(self.fingerprint, tokens))

    def _image_tower(self, pictures: torch.Tensor) -> Tower:
        """PyTorch's own at first; after enough pictures to repay a second of compiling, the engine's."""
        self._encoded += len(pictures)
        if self._engine is None and self._encoded > _WORTH_COMPILING and self.device.type == "cpu":
            self._engine = engine(self.visual, pictures[:8]) or self._eagerly
        return self._engine or self._eagerly

    def _eagerly(self, pictures: torch.Tensor) -> torch.Tensor:
        pictures = pictures.to(self.device).contiguous(memory_format=torch.channels_last)
        vectors: torch.Tensor = self.visual(pictures)
        return vectors


def _in_full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Convolutions in float32 on a GPU too, which would take ten bits of a number.

    The features of all devices lie in one cache.
    """
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
