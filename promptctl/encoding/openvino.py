"""OpenVinoEncoder: an image tower run by OpenVINO, without PyTorch.

OpenVINO was the fastest of what could be measured on a CPU (docs/benchmarks.md).
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptctl.encoding.encoder import ImageEncoder
from promptctl.encoding.preprocess import Preprocess

Program = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # (N, 3, S, S) → (N, E), not normalised

_CONVERTER = "openvino.tools.ovc"
_SHORTEST = 1e-12  # as PyTorch's normalize: what is shorter is no direction
_LOG = logging.getLogger(__name__)


@dataclass
class OpenVinoEncoder:
    """An image tower with its preprocessing, compiled when the first picture has to be encoded."""

    fingerprint: str
    width: int  # E
    size: int  # S
    transform: Preprocess
    build: Callable[[], Program]
    otherwise: Callable[[], ImageEncoder]  # where it cannot be built after all
    _program: Program | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def preprocess(self, picture: Image.Image) -> NDArray[np.float32]:
        """(3, S, S) of an RGB picture, as the weights were trained."""
        return self.transform(picture)

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features of pictures.

        pixels    (N, 3, S, S) from `preprocess`
        returns   (N, E) unit rows
        """
        with self._lock:
            vectors = self._program(pixels) if self._program else self._first(pixels)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(lengths, _SHORTEST), dtype=np.float32)

    def _first(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, E) of the first pictures, by which it is known whether the tower runs at all."""
        try:
            program = self.build()
            vectors = program(pixels)
            if vectors.shape != (len(pixels), self.width):
                raise ValueError(f"features of shape {vectors.shape}")
        except Exception as error:  # whatever another OpenVINO, or another CPU, makes of it
            _LOG.info("PyTorch instead of OpenVINO: %s", error)
            program = self.otherwise().encode
            vectors = program(pixels)
        self._program = program
        return vectors


def without_converter() -> ModuleType:
    """OpenVINO without its converter: importing that sends Intel a message, and leaves a folder in the home."""
    if "openvino" in sys.modules:
        return import_module("openvino")
    sys.modules[_CONVERTER] = None  # type: ignore[assignment]  # makes its import fail, which OpenVINO allows for
    try:
        return import_module("openvino")
    finally:
        del sys.modules[_CONVERTER]


def program_of(topology: bytes, constants: NDArray[np.uint8]) -> Program:
    """A tower from what OpenVINO writes of it: its .xml, and the bytes of its .bin."""
    return compiled(_core().read_model(topology, without_converter().Tensor(constants)))


def compiled(model: Any) -> Program:
    """A model of OpenVINO's, compiled for this CPU."""
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # or it takes bfloat16 where the CPU has it
        **_threads(),
    }
    program = _core().compile_model(model, "CPU", settings)
    return lambda pixels: program(np.ascontiguousarray(pixels))[0].copy()


@cache
def _core() -> Any:
    return without_converter().Core()


def _threads() -> dict[str, int]:
    """As many as there are cores, which OpenVINO counts itself, unless the environment limits them."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return {"INFERENCE_NUM_THREADS": int(limit)} if limit.isdigit() and int(limit) else {}
