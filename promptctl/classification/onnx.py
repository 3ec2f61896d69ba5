"""ONNX: the image tower of a backbone, its normalisation and a head in one graph. Pixels in, probabilities out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import onnx
import torch
from onnx import ModelProto
from torch.nn.functional import normalize

from promptctl.classification.head import Head

LARGEST = 2**31 - 2**24  # bytes of weights that fit into one file, a protocol buffer, beside the graph
_SAMPLE = 2  # pictures to trace with; a batch of one would be taken for a constant


def n_bytes(visual: torch.nn.Module) -> int:
    """Of the weights of an image tower, as the file holds them."""
    return sum(4 * tensor.numel() for tensor in visual.state_dict().values())


def to_bytes(visual: torch.nn.Module, head: Head, size: int) -> bytes:
    """An ONNX file: `pixels`, (N, 3, S, S) float32 RGB from 0 to 1, to `probabilities`, (N, C) float32.

    visual   an image tower of open_clip's, in float32 on the CPU; its mean and std go into the graph, and how to
             resize a picture to `size` into the metadata
    """
    preprocess = cast(Mapping[str, Any], visual.preprocess_cfg)
    graph = _Graph(visual, preprocess["mean"], preprocess["std"], head).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own, about its future
        program = torch.onnx.export(
            graph,
            (torch.zeros(_SAMPLE, 3, size, size),),
            input_names=["pixels"],
            output_names=["probabilities"],
            dynamic_shapes={"pixels": {0: torch.export.Dim("N")}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = _without_traces(program.model_proto)
    resizing = {key: preprocess[key] for key in ("interpolation", "resize_mode") if key in preprocess}
    facts = {**head.facts(), "size": size, **resizing}
    onnx.helper.set_model_props(model, {key: _as_text(value) for key, value in sorted(facts.items())})
    return bytes(model.SerializeToString(deterministic=True))


class _Graph(torch.nn.Module):
    mean: torch.Tensor
    std: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, visual: torch.nn.Module, mean: Sequence[float], std: Sequence[float], head: Head) -> None:
        super().__init__()
        self.visual = visual
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self.register_buffer("weight", torch.from_numpy(head.weight * head.logit_scale).float())  # (C, E)
        self.register_buffer("bias", torch.from_numpy(head.bias))  # (C,)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features = normalize(self.visual((pixels - self.mean) / self.std), dim=-1)  # (N, E)
        return (features @ self.weight.T + self.bias).softmax(-1)  # (N, C)


def _without_traces(model: ModelProto) -> ModelProto:
    """The model without what the exporter notes of this machine: the paths and lines of the code it came from."""
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph, model):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
