"""What `check` found."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.context.card import BackboneId
from promptctl.report.base import Report, Row
from promptctl.report.phrases import listed


@dataclass(frozen=True)
class Checked:
    """One context file, every bit of it read."""

    context: str
    path: Path
    backbone: BackboneId | None
    fault: str | None
    backbone_state: str | None  # same, not here, or other weights

    def with_backbone(self, state: str) -> Checked:
        return dataclasses.replace(self, backbone_state=state)

    @property
    def sound(self) -> bool:
        return self.fault is None and not (self.backbone_state or "").startswith("other")


@dataclass(frozen=True)
class CheckReport(Report):
    type: ClassVar[str] = "check"

    contexts: tuple[Checked, ...]

    def rows(self) -> list[Row]:
        return [
            {
                "context": row.context,
                "path": row.path,
                "sound": row.sound,
                "backbone": row.backbone.name if row.backbone else None,
                "backbone_state": row.backbone_state,
                "fault": row.fault,
            }
            for row in self.contexts
        ]

    def columns(self) -> list[str]:
        return ["context", "path", "sound", "backbone", "backbone_state", "fault"]

    def tables(self) -> list[list[Row]]:
        return [
            [
                {
                    "context": row.context,
                    "file": "damaged" if row.fault else "intact",
                    "backbone": row.backbone.name if row.backbone else None,
                    "its weights": {"same": "the same", None: None}.get(row.backbone_state, row.backbone_state),
                }
                for row in self.contexts
            ]
        ]

    def summary(self) -> list[str]:
        bad = sum(not row.sound for row in self.contexts)
        return [f"{len(self.contexts)} context{'' if len(self.contexts) == 1 else 's'} checked, {bad} with a fault"]

    def warnings(self) -> list[str]:
        return [row.fault for row in self.contexts if row.fault]

    def complaint(self) -> str | None:
        bad = [row.context for row in self.contexts if not row.sound]
        return f"the check failed for {listed(tuple(bad))}" if bad else None

    @property
    def exit_code(self) -> int:
        return 12 if any(not row.sound for row in self.contexts) else 0
