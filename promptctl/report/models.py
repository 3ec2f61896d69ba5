"""What `models` found."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row
from promptctl.report.phrases import next_lines, size


@dataclass(frozen=True)
class ModelRow:
    """A backbone, and whether it is here."""

    name: str
    here: bool
    joint_width: int | None
    parameters: int | None
    download_bytes: int | None
    good_for: str | None
    needs: str | None = None  # an extra of promptctl
    refused: str | None = None  # why it cannot be used


@dataclass(frozen=True)
class ModelsReport(Report):
    type: ClassVar[str] = "models list"

    models: tuple[ModelRow, ...]

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(model) for model in self.models]

    def names(self) -> list[str]:
        return [model.name for model in self.models]

    def tables(self) -> list[list[Row]]:
        return [
            [
                {
                    "model": model.name,
                    "here": "yes" if model.here else "",
                    "width": model.joint_width,
                    "parameters": f"{model.parameters / 1e6:.0f} M" if model.parameters else None,
                    "download": _download(model),
                    "needs": _needs(model),
                    "good for": model.good_for,
                }
                for model in self.models
            ]
        ]

    def spare(self) -> list[str]:
        return ["width", "parameters", "needs", "here"]

    def advice(self) -> list[str]:
        return [
            "any open_clip name works: promptctl models pull ViT-B-16/openai, hf-hub:org/repo, local-dir:/path, "
            "ViT-B-32:/path/weights.safetensors; all of its list: promptctl models list --all"
        ]


def _needs(model: ModelRow) -> str:
    if model.refused:
        return f"cannot be used: {model.refused}"
    return f"promptctl[{model.needs}]" if model.needs else ""


def _download(model: ModelRow) -> str | None:
    if model.download_bytes is None:
        return None
    return "included" if model.name == "mini" else f"about {size(model.download_bytes)}"


@dataclass(frozen=True)
class PulledReport(Report):
    type: ClassVar[str] = "models pull"

    model: str
    path: Path

    def tables(self) -> list[list[Row]]:
        return []

    def rows(self) -> list[Row]:
        return [{"model": self.model, "path": self.path}]

    def summary(self) -> list[str]:
        return [f"{self.model} is on this machine: {self.path}"]

    def advice(self) -> list[str]:
        return next_lines(f"promptctl learn ./photos --name NAME --model {shlex.quote(self.model)}")
