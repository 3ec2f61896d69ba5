"""Translate: an image tower of PyTorch's as a model of OpenVINO's, the same to rounding, or not at all.

The tower is translated in memory from PyTorch's own trace: no file, and not by OpenVINO's converter, which reports over
the network that it was imported.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from promptctl.encoding.openvino import Program, compiled, without_converter

Tower = Callable[[torch.Tensor], torch.Tensor]  # (N, 3, S, S) → (N, E), not normalised

_FARTHEST = 1e-5  # one minus the cosine of a feature from PyTorch's; rounding is a hundred times smaller
_LOG = logging.getLogger(__name__)


def engine(visual: torch.nn.Module, pictures: torch.Tensor) -> Tower | None:
    """The tower as this CPU runs it best; None where it cannot be translated or is not the same tower.

    pictures  (N, 3, S, S) to trace it with and to compare it on
    """
    try:
        program = compiled(translated(visual, pictures[:2]))
        return _as_tower(program) if is_same(program, visual, pictures) else None
    except Exception as error:
        # OpenVINO not installed, an operation it does not know, a tower that cannot be traced …
        _LOG.info("no engine: %s", error)
        return None


def _as_tower(program: Program) -> Tower:
    return lambda batch: torch.from_numpy(program(batch.numpy()))


def is_same(program: Program, visual: torch.nn.Module, pictures: torch.Tensor) -> bool:
    """Whether a program gives the tower's features of some pictures, to rounding."""
    found = torch.from_numpy(program(pictures.numpy()))
    with torch.inference_mode():
        distance = 1 - F.cosine_similarity(found, visual(pictures).float(), dim=-1).min().item()
    if not distance <= _FARTHEST:
        _LOG.info("no engine: its features differ by %g", distance)
    return distance <= _FARTHEST


def translated(visual: torch.nn.Module, pictures: torch.Tensor) -> Any:
    """A model of OpenVINO's for any number of pictures of this size; everything that depends on the size is computed.

    pictures  (N, 3, S, S) to trace the tower with
    """
    without_converter()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    from openvino.passes import ConstantFolding, Manager

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracing is to be replaced in PyTorch some day; it falls back to eager then
        traced = torch.jit.trace(visual, pictures, check_trace=False)
        decoder = TorchScriptPythonDecoder(traced, example_input=pictures)  # read from until it is converted
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    model.reshape([-1, *pictures.shape[1:]])
    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(model)
    return model


def written(model: Any) -> tuple[bytes, NDArray[np.uint8]]:
    """What OpenVINO writes of a model: the bytes of its .xml and its .bin; OSError where there is no room."""
    openvino = without_converter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tower.xml")
        try:
            openvino.save_model(model, path, compress_to_fp16=False)
        except RuntimeError as error:
            raise OSError(str(error)) from error
        return path.read_bytes(), np.fromfile(path.with_suffix(".bin"), np.uint8)
