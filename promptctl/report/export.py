"""What `export` wrote."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row
from promptctl.report.import_context import _as_reference
from promptctl.report.phrases import blended, listed, next_lines, retokenised_lines, size


@dataclass(frozen=True)
class CheckpointExported(Report):
    type: ClassVar[str] = "export"

    context: str
    path: Path
    classes: tuple[str, ...]  # names, in the order of the checkpoint
    context_tokens: int
    class_specific: bool
    position: str
    backbone: str
    epochs: int
    retokenised_names: tuple[str, ...]
    n_bytes: int

    def rows(self) -> list[Row]:
        keys = ("context", "path", "context_tokens", "class_specific", "position", "backbone", "epochs")
        return [{key: getattr(self, key) for key in keys}]

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        return [f"{self.context} is in {self.path} ({size(self.n_bytes)}) as the original code reads it"]

    def warnings(self) -> list[str]:
        return retokenised_lines(self.retokenised_names)

    def advice(self) -> list[str]:
        settings = {
            "N_CTX": self.context_tokens,
            "CSC": self.class_specific,
            "CLASS_TOKEN_POSITION": self.position,
            "PREC": "fp32",
        }
        foreign = "" if self.backbone.endswith("/openai") else " (which it does not come with)"
        return [
            f"the original code expects it at MODEL_DIR/prompt_learner/model.pth.tar-{self.epochs}, and",
            f"  --model-dir MODEL_DIR --load-epoch {self.epochs} --eval-only",
            "  " + " ".join(f"TRAINER.COOP.{key} {value}" for key, value in settings.items()),
            f"  the weights of {self.backbone}{foreign}, and the classes in this order: {listed(self.classes)}",
        ]


@dataclass(frozen=True)
class ContextExported(Report):
    """A context written to a file of its own."""

    type: ClassVar[str] = "export"

    context: str
    path: Path
    shots: int  # images whose features are in it
    prototypes: int  # classes whose mean and variance are
    n_bytes: int

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(self)]

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        carries = f"with the features of {self.shots} images" if self.shots else "without the features of any image"
        if self.prototypes:
            carries += f", with mean and variance of {self.prototypes} class{'' if self.prototypes == 1 else 'es'}"
        return [f"{self.context} is in {self.path} ({size(self.n_bytes)}), {carries}"]

    def advice(self) -> list[str]:
        return next_lines(
            f"promptctl classify ./photos --prompt {shlex.quote(_as_reference(self.path))}",
            f"promptctl import {shlex.quote(str(self.path))} --name ANOTHER-NAME",
        )


class _AnswerExported(Report):
    """What both ways to take a context's answer elsewhere have in common."""

    type: ClassVar[str] = "export"

    def rows(self) -> list[Row]:
        record = dataclasses.asdict(self)
        return [{**record, "classes": len(record["classes"])}]

    def tables(self) -> list[list[Row]]:
        return []


@dataclass(frozen=True)
class HeadExported(_AnswerExported):
    """A context's answer written as a matrix and a bias."""

    context: str
    path: Path
    classes: tuple[str, ...]  # names, in the order of its rows
    rows_of: str  # head, or text features, which are unit rows and have no bias
    width: int  # E
    blend: float
    backbone: str
    n_bytes: int

    def summary(self) -> list[str]:
        shape = f"{len(self.classes)} classes by {self.width}"
        named = f"{self.context}{_of_blend(self.blend)}"
        return [f"{named} is in {self.path} ({size(self.n_bytes)}) as a head, {shape}, rows of its {self.rows_of}"]

    def advice(self) -> list[str]:
        return [
            f"the tensors are weight and bias; they fit image features of {self.backbone}, normalised:",
            "  logits = logit_scale * features @ weight.T + bias",
        ]


@dataclass(frozen=True)
class OnnxExported(_AnswerExported):
    """A context and its image tower written as an ONNX model."""

    context: str
    path: Path
    classes: tuple[str, ...]  # names, in the order of the probabilities
    size: int  # S
    blend: float
    backbone: str
    n_bytes: int

    def summary(self) -> list[str]:
        named = f"{self.context}{_of_blend(self.blend)}"
        return [f"{named} and the image tower of {self.backbone} are in {self.path} ({size(self.n_bytes)})"]

    def advice(self) -> list[str]:
        return [
            f"in:  pixels, float32 (N, 3, {self.size}, {self.size}), RGB from 0 to 1, resized and cropped",
            f"out: probabilities, float32 (N, {len(self.classes)}), of {listed(self.classes)}",
        ]


def _of_blend(share: float) -> str:
    return "" if share == 1 else blended(share, False)
