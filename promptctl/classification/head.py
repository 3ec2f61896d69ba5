"""Head: a context's answer as a plain matrix and a bias, for open_clip or any linear layer."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from promptctl.classification.classifier import Classifier
from promptctl.context.card import BackboneId

if TYPE_CHECKING:
    from promptctl.context.context import Context

KEY = "head"
FORMAT = 2  # 1: weight alone, of unit rows


@dataclass(frozen=True)
class Head:
    """Probabilities are softmax(logit_scale * features @ weight.T + bias), features being unit rows."""

    weight: NDArray[np.float32]  # (C, E)
    bias: NDArray[np.float32]  # (C,)
    is_fitted: bool  # or of text features: unit rows and no bias
    labels: tuple[str, ...]  # folder names, in the order of the rows
    names: tuple[str, ...]  # what the prompt says
    logit_scale: float
    blend: float  # share of the learned text features, the rest is of zero-shot
    backbone: BackboneId  # whose features it fits, and no other's; visual tokens are part of its fingerprint
    context: str  # birds@3
    context_sha256: str

    @staticmethod
    def of(context: Context, name: str, *, share: float) -> Head:
        card, answer = context.card, Classifier.of(context, share=share)
        bias = np.zeros(len(card.classes), np.float32) if answer.bias is None else answer.bias / answer.temperature
        return Head(
            answer.weight,
            np.asarray(bias, np.float32),
            answer.bias is not None,
            card.labels,
            card.names,
            card.logit_scale / answer.temperature,
            share,
            dataclasses.replace(card.backbone, fingerprint=context.encoder_fingerprint),
            name,
            card.sha256,
        )

    def facts(self) -> dict[str, Any]:
        """All of it but the arrays, as plain values."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)[3:]}
        return {**fields, "backbone": dataclasses.asdict(self.backbone), "format": FORMAT}

    def to_bytes(self) -> bytes:
        """A safetensors file: the tensors `weight` and `bias`, and all else as JSON under one key of its metadata."""
        # one key only: several come out in random order, and the same head gives the same bytes
        written = json.dumps(self.facts(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        tensors = {"weight": np.ascontiguousarray(self.weight), "bias": np.ascontiguousarray(self.bias)}
        return save(tensors, metadata={KEY: written})
