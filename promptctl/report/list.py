"""What is in the store, and in its trash."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row
from promptctl.report.phrases import local_time, next_lines, size


@dataclass(frozen=True)
class StoredContext:
    """One line of `list`."""

    name: str
    version: int
    classes: int | None
    shots: str | None
    backbone: str | None
    accuracy: float | None
    zero_shot_accuracy: float | None
    n_bytes: int
    changed: str  # ISO 8601, UTC
    fault: str | None


@dataclass(frozen=True)
class ListReport(Report):
    type: ClassVar[str] = "list"

    contexts: tuple[StoredContext, ...]
    prefix: str = ""

    def columns(self) -> list[str]:
        return [field.name for field in dataclasses.fields(StoredContext)]

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(context) for context in self.contexts]

    def tables(self) -> list[list[Row]]:
        return [[self._human(context) for context in self.contexts]]

    def spare(self) -> list[str]:
        return ["size", "backbone", "shots", "changed"]

    def names(self) -> list[str]:
        return [context.name for context in self.contexts]

    def advice(self) -> list[str]:
        if self.contexts:
            return []
        if self.prefix:
            return [f"no context's name starts with '{self.prefix}'"]
        return ["no contexts yet", *next_lines("promptctl learn ./photos --name birds", "promptctl demo")]

    def warnings(self) -> list[str]:
        return [context.fault for context in self.contexts if context.fault]

    @staticmethod
    def _human(context: StoredContext) -> Row:
        return {
            "name": f"{context.name}@{context.version}" if context.version else context.name,
            "classes": context.classes,
            "shots": context.shots,
            "learned": context.accuracy,
            "zero_shot": context.zero_shot_accuracy,
            "backbone": context.backbone,
            "size": size(context.n_bytes),
            "changed": local_time(context.changed),
        }


@dataclass(frozen=True)
class RemovedContext:
    """What was removed together."""

    name: str
    versions: tuple[int, ...]
    candidate: bool
    n_bytes: int
    removed: str  # ISO 8601, UTC
    path: Path

    @property
    def ref(self) -> str:
        """What brings it back."""
        return self.name if self.versions else f"{self.name}@candidate"

    def contents(self) -> str:
        return ", ".join([*(f"@{number}" for number in self.versions), *(["@candidate"] if self.candidate else [])])


@dataclass(frozen=True)
class TrashReport(Report):
    type: ClassVar[str] = "list"

    removed: tuple[RemovedContext, ...]
    prefix: str = ""

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(row) for row in self.removed]

    def columns(self) -> list[str]:
        return [field.name for field in dataclasses.fields(RemovedContext)]

    def tables(self) -> list[list[Row]]:
        return [
            [
                {
                    "name": row.name,
                    "versions": row.contents(),
                    "size": size(row.n_bytes),
                    "removed": local_time(row.removed),
                }
                for row in self.removed
            ]
        ]

    def names(self) -> list[str]:
        return [row.ref for row in self.removed]

    def advice(self) -> list[str]:
        if self.removed:
            return next_lines(f"promptctl restore {self.removed[0].ref}")
        return [f"nothing in the trash starts with '{self.prefix}'" if self.prefix else "nothing is in the trash"]
