"""Work: what travels to the machines that answer, beside the photos."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from promptctl.encoding.preprocess import Preprocess
from promptctl.errors import PromptctlError

if TYPE_CHECKING:
    from PIL import Image

    from promptctl.classification.classifier import Answer, Classifier
    from promptctl.encoding.encoder import ImageEncoder
    from promptctl.report import Classified

_PASSED_ON = ("PROMPTCTL_", "HF_")  # how variables begin that say where weights are


@dataclass(frozen=True)
class Crop:
    """How a picture travels from the CPU that decodes it to what encodes it: the same numbers as `preprocess` gives."""

    side: int  # S, that decoding is shrunk for
    shape: tuple[int, ...]
    dtype: str
    of: Callable[[Image.Image], NDArray[Any]]  # RGB picture → shape
    scaled: Callable[[NDArray[Any]], NDArray[np.float32]]  # → (3, S, S)

    @staticmethod
    def by(encoder: ImageEncoder) -> Crop:
        """As bytes where the preprocessing is known here, else as the floats it gives."""
        transform, side = getattr(encoder, "transform", encoder.preprocess), encoder.size
        if isinstance(transform, Preprocess):
            return Crop(side, (transform.height, transform.width, 3), "uint8", transform.crop, transform.scaled)
        return Crop(side, (3, side, side), "float32", transform, _as_it_is)

    def unpacked(self, data: memoryview | bytes) -> NDArray[np.float32]:
        """(3, S, S) from the bytes that travelled."""
        return self.scaled(np.frombuffer(data, self.dtype).reshape(self.shape))


def _as_it_is(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return pixels


@dataclass(frozen=True)
class Work:
    """What every photo goes through, whole: nothing of it is looked up where it arrives, but for the weights."""

    crop: Crop
    load: Callable[[], ImageEncoder]  # the image tower, on the machine that calls it
    fingerprint: str  # of the backbone that it has to be
    classifiers: tuple[Classifier, ...]
    describe: Callable[[tuple[Answer, ...]], Classified]  # the answers of all classifiers as a row has them
    is_small: bool = False  # of so small a tower the CPU has answered before a GPU is ready
    meant: frozenset[bytes] = frozenset()  # paths that somebody named
    environment: Mapping[str, str] = field(default_factory=lambda: passed_on())


def passed_on() -> dict[str, str]:
    """What this machine's environment says of where weights are."""
    return {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}


class WrongWeights(PromptctlError):
    """A machine has another backbone under the name."""
