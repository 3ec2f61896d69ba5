"""What `doctor` found."""

from __future__ import annotations

import dataclasses
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row
from promptctl.report.phrases import next_lines, number_of

_SHOWN = 20  # findings of a kind


@dataclass(frozen=True)
class Finding:
    """Something that looks wrong, and the command that puts it right."""

    kind: str  # label, copies, close classes, few images, no hold-out, name
    severity: str  # high, medium, low
    what: str
    command: str
    labels: tuple[str, ...] = ()  # of the classes it is about
    images: tuple[str, ...] = ()  # sha256
    paths: tuple[Path | None, ...] = ()  # of the images, where they were found
    suggested: str | None = None  # of a label that looks wrong: what the image is seen as without it
    margin: float | None = None  # by how much; 1 between two classes told apart perfectly
    text_cosine: float | None = None  # of two classes: what their names say
    image_cosine: float | None = None  # and the means of their images


@dataclass(frozen=True)
class DoctorReport(Report):
    """Findings are advice, and the exit code is 0: nobody has to follow them, and a script reads `--json`."""

    type: ClassVar[str] = "doctor"

    context: str
    classes: int
    images: int
    findings: tuple[Finding, ...]  # the gravest first
    unchecked: tuple[str, ...]  # what could not be looked at, and why
    fixes: Path | None  # the list of labels that look wrong, where it was asked for

    def rows(self) -> list[Row]:
        return [
            {
                "kind": found.kind,
                "severity": found.severity,
                "what": found.what,
                "command": found.command,
                "images": " ".join(found.images),
            }
            for found in self.findings
        ]

    def columns(self) -> list[str]:
        return ["kind", "severity", "what", "command", "images"]

    def records(self) -> list[Row]:
        return [dataclasses.asdict(found) for found in self.findings]

    def tables(self) -> list[list[Row]]:
        return [[{"severity": found.severity, "finding": found.what} for found in self._shown()]]

    def _shown(self) -> list[Finding]:
        count: Counter[str] = Counter()
        shown = []
        for found in self.findings:
            count[found.kind] += 1
            if count[found.kind] <= _SHOWN:
                shown.append(found)
        return shown

    def summary(self) -> list[str]:
        found = number_of(len(self.findings), "finding") if self.findings else "nothing looks wrong"
        return [f"{self.context}, {number_of(self.images, 'image')} of {self.classes} classes: {found}"]

    def closing(self) -> list[str]:
        hidden = len(self.findings) - len(self._shown())
        return [f"{number_of(hidden, 'more finding')} in --json"] if hidden else []

    def notes(self) -> list[str]:
        return list(self.unchecked)

    def advice(self) -> list[str]:
        """Each command once; labels are put into a list first, which a person looks through."""
        commands = list(dict.fromkeys(found.command for found in self.findings))
        first = []
        if self.fixes is None and any(found.kind == "label" for found in self.findings):
            first = [f"promptctl doctor {shlex.quote(self.context)} --write-fixes FIXES.csv"]
        more = ["(and more, in --json)"] if len(commands) > _SHOWN else []
        return next_lines(*first, *commands[:_SHOWN], *more)
