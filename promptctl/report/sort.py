"""What `sort` and `apply` carried where, and what a plan says."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from promptctl.report.acted import ActedReport
from promptctl.report.base import SCHEMA_VERSION, Report, Row, SkippedFile
from promptctl.report.classify import DetectorSaid
from promptctl.report.gate import Taken
from promptctl.report.phrases import counted, next_lines, number_of, skipped_lines

_DONE = {"copy": "copied", "move": "moved", "link": "linked"}


@dataclass(frozen=True)
class Carried:
    """A photo that went somewhere, or that would."""

    source: Path
    target: str  # below the folder that is sorted into
    label: str
    probability: float
    unknown: bool
    doubtful: bool
    sidecars: int


@dataclass(frozen=True)
class SortReport(ActedReport):
    type: ClassVar[str] = "sort"

    context: str | None
    into: Path
    mode: str  # copy, move or link
    operation: int | None  # None: nothing was changed
    plan: Path | None  # where it was written or read
    photos: tuple[Carried, ...]
    sidecars: int  # files that went with them
    before: int  # photos that an earlier run of the same plan had carried
    there: int  # photos that lay where they belong, or whose copies do
    skipped: tuple[SkippedFile, ...]
    passed_over: dict[str, int] = field(default_factory=dict)
    full: str | None = None  # why it was stopped
    apart: tuple[Path, ...] = ()  # folders of photos that are sorted already
    planned: bool = False  # nothing was to be changed
    together: bool = False  # each answer depends on all photos
    taken: Taken = field(default_factory=Taken)  # which answers are
    tagged: int = 0  # sidecars that got keywords
    xmp: bool = False  # whether sidecars were to get some
    detections: DetectorSaid | None = None  # None: photos were looked at whole

    def folders(self) -> Counter[str]:
        return Counter(photo.target.rpartition("/")[0] for photo in self.photos)

    def rows(self) -> list[Row]:
        return [{"folder": folder, "photos": count} for folder, count in _most_first(self.folders())]

    def columns(self) -> list[str]:
        return ["folder", "photos"]

    def records(self) -> list[Row]:
        return [{"type": "photo", **vars(photo)} for photo in self.photos] + [one.record() for one in self.skipped]

    def names(self) -> list[str]:
        return [str(self.into / photo.target) for photo in self.photos]

    def closing(self) -> list[str]:
        if not self.photos and not self.before:
            return []
        unknown = sum(photo.unknown for photo in self.photos)
        doubtful = sum(photo.doubtful for photo in self.photos)
        verb = f"to be {_DONE[self.mode]}" if self.planned else _DONE[self.mode]
        more = f" with {number_of(self.sidecars, 'sidecar')}" if self.sidecars else ""
        more += f" and keywords in {number_of(self.tagged, 'sidecar')}" if self.tagged else ""
        again = f", after {number_of(self.before, 'photo')} before" if self.before else ""
        done = f"operation {self.operation}" if self.operation else "nothing is changed yet"
        return [
            f"{number_of(len(self.photos), 'photo')}{more} {verb} into {self.into}{again} ({done})",
            *([counted(_most_first(self.folders()))] if self.photos else []),
            *self.taken.closing(unknown, doubtful, len(self.photos)),
        ]

    def notes(self) -> list[str]:
        there = [f"{number_of(self.there, 'photo')} sorted before, which stay as they are"] if self.there else []
        whole = [folder for folder in self.apart if not set(folder.parents) & set(self.apart)]
        apart = [f"{folder} is in there too: what it holds is sorted already and stays" for folder in whole]
        return [*super().notes(), *there, *apart]

    def advice(self) -> list[str]:
        if self.planned:
            return next_lines(f"promptctl apply {shlex.quote(str(self.plan))}")
        return [*self._about_keywords(), *self._about_undo()]

    def _about_keywords(self) -> list[str]:
        """Photos that lay there before get none, those of a run that was stopped before it had written them neither."""
        if not (self.xmp and (self.there or self.full)):
            return []
        again = f"promptctl tag {shlex.quote(str(self.into))} --prompt {shlex.quote(self.context or 'NAME')}"
        return [f"hint: {again} writes keywords beside what was sorted before"]

    def _about_undo(self) -> list[str]:
        if self.photos or self.before:  # else undo would take back what came before this
            return next_lines("promptctl undo   (to take it back)") if self.operation else []
        return ["hint: --into another folder sorts them anew, by what the context knows now"] if self.there else []

    def complaint(self) -> str | None:
        if self.full:
            again = (
                f"promptctl apply {shlex.quote(str(self.plan))} goes on" if self.plan else "the same command goes on"
            )
            done = self.photos or self.before or self.sidecars or self.tagged  # else undo takes back what came before
            back = ", or promptctl undo takes back what was done" if done else ""
            return f"stopped: {self.full}; make room, and {again}{back}"
        nothing = not (self.photos or self.before or self.there)
        return "not one photo could be sorted" if nothing and self.skipped else None

    @property
    def exit_code(self) -> int:
        if not self.skipped and not self.full:
            return 0
        return 3 if self.photos or self.before or self.there else 1


@dataclass(frozen=True)
class ApplyReport(SortReport):
    type: ClassVar[str] = "apply"

    is_whole: bool = True  # False: the plan had lost its end

    def warnings(self) -> list[str]:
        lost = f"{self.plan} does not end as a plan does: it may have been cut off, and tell less than it did"
        return [*super().warnings(), *([] if self.is_whole else [lost])]


@dataclass(frozen=True)
class PlanReport(Report):
    """What a sort would do, line by line as a plan has it."""

    type: ClassVar[str] = "sort"

    lines: tuple[Row, ...]
    skipped: tuple[SkippedFile, ...]

    def rows(self) -> list[Row]:
        return [{key: line[key] for key in self.columns()} for line in self.lines if line["type"] == "photo"]

    def columns(self) -> list[str]:
        return ["source", "target", "label", "name", "probability", "unknown", "doubtful"]

    def records(self) -> list[Row]:
        return list(self.lines)

    def record(self) -> Row:
        return {"schema_version": SCHEMA_VERSION, "type": self.type, "dry_run": True, "lines": list(self.lines)}

    def warnings(self) -> list[str]:
        return skipped_lines(self.skipped)

    @property
    def exit_code(self) -> int:
        photos = any(line["type"] == "photo" for line in self.lines)
        return 0 if not self.skipped else 3 if photos else 1


def _most_first(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
