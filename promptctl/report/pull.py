"""What `pull` fetched."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row
from promptctl.report.phrases import listed, next_lines, number_of, size


@dataclass(frozen=True)
class PullReport(Report):
    type: ClassVar[str] = "pull"

    context: str  # birds@1
    path: Path
    repository: str
    revision: str | None  # as it was asked
    commit: str
    stored: bool  # False: it was here already
    classes: tuple[str, ...]
    backbone: str
    backbone_here: bool
    shots: int  # photos whose features it brought
    n_bytes: int
    sha256: str  # of its seal

    def rows(self) -> list[Row]:
        return [
            {
                "context": self.context,
                "repository": self.repository,
                "commit": self.commit,
                "classes": len(self.classes),
                "backbone": self.backbone,
                "shots": self.shots,
            }
        ]

    def tables(self) -> list[list[Row]]:
        return []

    def names(self) -> list[str]:
        return [self.context]

    def summary(self) -> list[str]:
        source = f"{self.repository} at {self.commit[:12]}"
        shots = f"with the features of {number_of(self.shots, 'photo')}" if self.shots else "without shots"
        if not self.stored:
            return [f"{self.context} is {source} already: nothing was stored"]
        return [
            f"{self.context} holds {len(self.classes)} classes from {source}: {listed(self.classes)}",
            f"backbone: {self.backbone}{'' if self.backbone_here else ', which is not on this machine'}",
            f"stored: {self.path} ({size(self.n_bytes)}, {shots})",
        ]

    def advice(self) -> list[str]:
        classify = f"promptctl classify PHOTOS --prompt {self.context.partition('@')[0]}"
        if self.backbone_here:
            return next_lines(classify, f"promptctl show {self.context}")
        kind, _, place = self.backbone.partition(":")
        if place and kind != "hf-hub":  # a folder, or a file of weights, of another machine
            there = "FOLDER" if kind == "local-dir" else "FILE"
            return next_lines(f"{classify} --model {kind}:{there}   (where its backbone is here)")
        return next_lines(f"promptctl models pull {shlex.quote(self.backbone)}", classify)
