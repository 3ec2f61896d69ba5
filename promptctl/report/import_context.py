"""What `import` took in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row
from promptctl.report.phrases import listed, name_place, next_lines, retokenised_lines, size


@dataclass(frozen=True)
class CheckpointImported(Report):
    type: ClassVar[str] = "import"

    context: str  # pets@1
    path: Path
    checkpoint: Path
    classes: tuple[str, ...]  # labels
    context_tokens: int
    class_specific: bool
    position: str  # as given; the checkpoint does not say
    path_position: str | None  # the position in the name of a folder it is in
    backbone: str
    backbone_checked: bool  # against the embedded class names; otherwise by width alone
    names_listed: bool  # the names were given in a list, not read back from byte pairs
    retokenised_names: tuple[str, ...]  # names whose last byte pairs the original code merges with the full stop
    n_bytes: int
    next: tuple[str, ...]

    def rows(self) -> list[Row]:
        keys = ("context", "context_tokens", "class_specific", "position", "backbone")
        return [{"classes": len(self.classes), **{key: getattr(self, key) for key in keys}}]

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        kind = "class-specific" if self.class_specific else "shared by all classes"
        return [
            f"{self.context} holds {len(self.classes)} classes from {self.checkpoint}: {listed(self.classes)}",
            f"vectors: {self.context_tokens} on {self.backbone}, {kind}, class name {name_place(self.position)}",
            f"stored: {self.path} ({size(self.n_bytes)})",
        ]

    def warnings(self) -> list[str]:
        found = []
        if self.path_position not in (None, self.position):
            found.append(
                f"the class name was put {name_place(self.position)}, and the folder of {self.checkpoint} says "
                f"'ctp{self.path_position}': --position {self.path_position} may be right"
            )
        if not self.backbone_checked:
            found.append(
                f"{self.checkpoint} holds no embedded class names, so only its width was compared with "
                f"{self.backbone}: on another backbone of that width {self.context} is meaningless"
            )
        return found + retokenised_lines(self.retokenised_names)

    def advice(self) -> list[str]:
        spelled = "the names are spelled as their byte pairs keep them; --classes names.txt sets your own spelling"
        return [*([] if self.names_listed else [spelled]), *next_lines(*self.next)]


@dataclass(frozen=True)
class ContextImported(Report):
    """A context file that was written by a store."""

    type: ClassVar[str] = "import"

    context: str
    path: Path
    source: Path
    classes: tuple[str, ...]
    backbone: str
    shots: int
    n_bytes: int

    def rows(self) -> list[Row]:
        return [{"context": self.context, "classes": len(self.classes), "backbone": self.backbone, "shots": self.shots}]

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        return [
            f"{self.context} holds {len(self.classes)} classes from {self.source}: {listed(self.classes)}",
            f"stored: {self.path} ({size(self.n_bytes)})",
        ]

    def advice(self) -> list[str]:
        return next_lines(f"promptctl show {self.context}", f"promptctl check {self.context}")


def _as_reference(path: Path) -> str:
    """A path that is not taken for a name."""
    return str(path) if "/" in str(path) or path.suffix == ".safetensors" else f"./{path}"
