"""What the store's verbs found or did."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.card import BackboneId, Card
from promptctl.history import SettingChange
from promptctl.report.base import Report, Row
from promptctl.report.words import card_lines, listed, local_time, next_lines, percent, size


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
class ShowReport(Report):
    type: ClassVar[str] = "context"

    context: str
    path: Path
    n_bytes: int
    versions: tuple[int, ...]
    card: Card

    def rows(self) -> list[Row]:
        return [{"id": c.id, "label": c.label, "name": c.name} for c in self.card.classes]

    def summary(self) -> list[str]:
        facts = card_lines(self.context, self.card, self.path, self.n_bytes)
        if not self.versions:  # a file of its own
            return facts
        return [*facts, f"versions:  {', '.join(f'@{number}' for number in self.versions)}"]


@dataclass(frozen=True)
class MovedReport(Report):
    """A name went to the trash, or came back."""

    type: ClassVar[str] = "moved"

    context: str
    path: Path
    sentence: str
    next: str

    def tables(self) -> list[list[Row]]:
        return []

    def rows(self) -> list[Row]:
        return [{"context": self.context, "path": self.path}]

    def summary(self) -> list[str]:
        return [self.sentence]

    def advice(self) -> list[str]:
        return next_lines(self.next)


@dataclass(frozen=True)
class RemovedContext:
    """What was removed together."""

    name: str
    versions: tuple[int, ...]
    n_bytes: int
    removed: str  # ISO 8601, UTC
    path: Path


@dataclass(frozen=True)
class TrashReport(Report):
    type: ClassVar[str] = "trash"

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
                    "versions": ", ".join(f"@{number}" for number in row.versions),
                    "size": size(row.n_bytes),
                    "removed": local_time(row.removed),
                }
                for row in self.removed
            ]
        ]

    def names(self) -> list[str]:
        return [row.name for row in self.removed]

    def advice(self) -> list[str]:
        if self.removed:
            return next_lines(f"promptctl restore {self.removed[0].name}")
        return [f"nothing in the trash starts with '{self.prefix}'" if self.prefix else "nothing is in the trash"]


@dataclass(frozen=True)
class VersionRow:
    """One version of a context."""

    version: int
    when: str  # ISO 8601, UTC
    change: str
    classes: int | None
    shots: str | None
    accuracy: float | None
    zero_shot_accuracy: float | None
    parent: str | None  # @2, or the first digits of the sha256 of a version that is not here
    n_bytes: int
    sha256: str | None
    fault: str | None


@dataclass(frozen=True)
class LogReport(Report):
    type: ClassVar[str] = "log"

    name: str
    versions: tuple[VersionRow, ...]  # the newest first

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(row) for row in self.versions]

    def spare(self) -> list[str]:
        return ["parent", "classes", "shots"]

    def tables(self) -> list[list[Row]]:
        has_parents = any(row.parent for row in self.versions)
        return [
            [
                {
                    "version": f"{self.name}@{row.version}",
                    "when": local_time(row.when),
                    "change": (row.fault and "damaged") or row.change,
                    "classes": row.classes,
                    "shots": row.shots,
                    "learned": row.accuracy,
                    "zero_shot": row.zero_shot_accuracy,
                    **({"parent": row.parent} if has_parents else {}),
                }
                for row in self.versions
            ]
        ]

    def names(self) -> list[str]:
        return [f"{self.name}@{row.version}" for row in self.versions]

    def warnings(self) -> list[str]:
        return [row.fault for row in self.versions if row.fault]


@dataclass(frozen=True)
class ClassDiff:
    """One class of two contexts."""

    label: str
    images: int  # shots either carries
    before: float | None  # of them, the fraction recognised; None where the class is not
    after: float | None
    cosine: float | None  # of the two text features


@dataclass(frozen=True)
class VectorDrift:
    """One vector of two contexts."""

    label: str | None  # None: shared by all classes
    vector: int  # 1 is the first
    distance: float
    cosine: float


@dataclass(frozen=True)
class DiffReport(Report):
    type: ClassVar[str] = "diff"

    before: str
    after: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    renamed: tuple[tuple[str, str, str], ...]  # label, name before, name after
    settings: tuple[SettingChange, ...]
    same_backbone: bool
    classes: tuple[ClassDiff, ...]
    vectors: tuple[VectorDrift, ...]

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(row) for row in self.classes]

    def columns(self) -> list[str]:
        return [field.name for field in dataclasses.fields(ClassDiff)]

    def records(self) -> list[Row]:
        return [
            *({"type": "setting", **dataclasses.asdict(row)} for row in self.settings),
            *({"type": "class", **dataclasses.asdict(row)} for row in self.classes),
            *({"type": "vector", **dataclasses.asdict(row)} for row in self.vectors),
        ]

    def summary(self) -> list[str]:
        lines = [f"{self.before} → {self.after}"]
        if self.added:
            lines.append(f"added:    {listed(self.added)}")
        if self.removed:
            lines.append(f"removed:  {listed(self.removed)}")
        lines += [f"renamed:  {label} was '{old}', is '{new}'" for label, old, new in self.renamed]
        if not (self.added or self.removed or self.renamed):
            lines.append("the classes are the same")
        if not self.settings:
            lines.append("the settings are the same")
        return lines

    def tables(self) -> list[list[Row]]:
        settings = [{"setting": s.setting, "before": str(s.before), "after": str(s.after)} for s in self.settings]
        classes = [
            {
                "class": row.label,
                "shots": row.images,
                "right before": percent(row.before),
                "right after": percent(row.after),
                "text cosine": "–" if row.cosine is None else f"{row.cosine:.3f}",
            }
            for row in self.classes
        ]
        vectors = [
            {
                **({"class": row.label} if row.label else {}),
                "vector": row.vector,
                "moved": round(row.distance, 3),
                "cosine": round(row.cosine, 3),
            }
            for row in self.vectors
        ]
        return [table for table in (settings, classes, vectors) if table]

    def warnings(self) -> list[str]:
        if not self.same_backbone:
            return ["they were learned on different backbones, so neither features nor vectors can be compared"]
        if not any(row.images for row in self.classes):
            return ["neither carries shots, so there is nothing to measure them on"]
        return ["right before and after are of the shots they carry, most of which one of them learned from"]


@dataclass(frozen=True)
class Checked:
    """One context file, read to the last bit."""

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
        return f"not sound: {listed(tuple(bad))}" if bad else None

    @property
    def exit_code(self) -> int:
        return 12 if any(not row.sound for row in self.contexts) else 0


@dataclass(frozen=True)
class GoneReport(Report):
    type: ClassVar[str] = "gone"

    gone: tuple[tuple[Path, str, int], ...]  # path, what it was, bytes
    dry_run: bool
    home: Path

    def rows(self) -> list[Row]:
        return [{"path": path, "what": what, "n_bytes": n_bytes} for path, what, n_bytes in self.gone]

    def columns(self) -> list[str]:
        return ["path", "what", "n_bytes"]

    def tables(self) -> list[list[Row]]:
        return [[{"path": path, "what": what, "size": size(n_bytes)} for path, what, n_bytes in self.gone]]

    def summary(self) -> list[str]:
        if not self.gone:
            return [f"nothing to clean up in {self.home}"]
        verb = "would go" if self.dry_run else "gone"
        return [f"{len(self.gone)} {verb}, {size(sum(n_bytes for _, _, n_bytes in self.gone))}"]


@dataclass(frozen=True)
class PathReport(Report):
    type: ClassVar[str] = "path"

    path: Path

    def rows(self) -> list[Row]:
        return [{"path": self.path}]

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        return [str(self.path)]
