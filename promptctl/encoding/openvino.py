"""Engine: an image tower compiled for this CPU, faster than PyTorch runs it, and the same to rounding.

OpenVINO was the fastest of what could be measured (docs/benchmarks.md). The tower is translated in memory from
PyTorch's own trace: no file, and not by OpenVINO's converter, which reports over the network that it was imported.
Where any of it is missing or disagrees with PyTorch, there is no engine, and PyTorch goes on.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import torch
import torch.nn.functional as F

Tower = Callable[[torch.Tensor], torch.Tensor]  # (N, 3, S, S) → (N, E), not normalised

_FARTHEST = 1e-5  # one minus the cosine of a feature from PyTorch's; rounding is a hundred times smaller
_CONVERTER = "openvino.tools.ovc"
_LOG = logging.getLogger(__name__)


def compiled(visual: torch.nn.Module, pictures: torch.Tensor) -> Tower | None:
    """The tower as this CPU runs it best; None where it cannot be compiled or is not the same tower.

    pictures  (N, 3, S, S) to trace it with and to compare it on
    """
    try:
        tower = _translated(visual, pictures[:2])
        apart = 1 - F.cosine_similarity(tower(pictures), visual(pictures), dim=-1).min().item()
    except Exception as error:
        # OpenVINO not installed, an operation it does not know, a tower that cannot be traced …
        _LOG.info("no engine: %s", error)
        return None
    if not apart <= _FARTHEST:
        _LOG.info("no engine: its features differ by %g", apart)
        return None
    return tower


def _openvino() -> ModuleType:
    """OpenVINO without its converter: importing that sends Intel a message, and leaves a folder in the home."""
    if "openvino" in sys.modules:
        return import_module("openvino")
    sys.modules[_CONVERTER] = None  # type: ignore[assignment]  # makes its import fail, which OpenVINO allows for
    try:
        return import_module("openvino")
    finally:
        del sys.modules[_CONVERTER]


def _translated(visual: torch.nn.Module, pictures: torch.Tensor) -> Tower:
    openvino = _openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is to be replaced in PyTorch some day; it falls back to eager then
        traced = torch.jit.trace(visual, pictures, check_trace=False)
        decoder = TorchScriptPythonDecoder(traced, example_input=pictures)  # read from until it is converted
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    model.reshape([-1, *pictures.shape[1:]])
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # or it takes bfloat16 where the CPU has it
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    program = openvino.Core().compile_model(model, "CPU", settings)
    return lambda batch: torch.from_numpy(program(batch.contiguous().numpy())[0].copy())
