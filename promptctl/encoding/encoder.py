"""ImageEncoder: what turns decoded pictures into features, whichever library runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image


class ImageEncoder(Protocol):
    """The image tower of a backbone with its preprocessing: pictures in, unit features out, numpy on both sides."""

    @property
    def fingerprint(self) -> str:
        """Of the backbone: its weights and its preprocessing."""

    @property
    def width(self) -> int:
        """E, the length of a feature."""

    @property
    def size(self) -> int:
        """S: `preprocess` gives S by S pixels."""

    def preprocess(self, picture: Image.Image) -> NDArray[np.float32]:
        """(3, S, S) of an RGB picture, as the weights were trained; several threads may call it."""

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features of pictures.

        pixels    (N, 3, S, S) from `preprocess`
        returns   (N, E) unit rows
        """
