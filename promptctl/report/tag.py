"""What `tag` wrote into sidecars, or would."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from promptctl.report.acted import ActedReport
from promptctl.report.base import Row, SkippedFile
from promptctl.report.classify import DetectorSaid
from promptctl.report.gate import Taken
from promptctl.report.phrases import counted, next_lines, number_of

_NEW, _MERGED, _REMOVED, _SAME = "new", "merged", "removed", "same"


@dataclass(frozen=True)
class TaggedPhoto:
    """A photo and one of its sidecars."""

    path: Path
    sidecar: Path | None  # None: it has none, and gets none
    action: str  # new, merged, removed, same (as it was), none
    keyword: str | None
    label: str
    probability: float
    unknown: bool
    doubtful: bool


@dataclass(frozen=True)
class TagReport(ActedReport):
    type: ClassVar[str] = "tag"

    context: str | None
    dry_run: bool
    operation: int | None  # None: nothing was changed
    photos: tuple[TaggedPhoto, ...]
    skipped: tuple[SkippedFile, ...]
    passed_over: dict[str, int] = field(default_factory=dict)
    full: str | None = None  # why it was stopped
    together: bool = False  # each answer depends on all photos
    taken: Taken = field(default_factory=Taken)  # which answers are
    detections: DetectorSaid | None = None  # None: photos were looked at whole

    def rows(self) -> list[Row]:
        if self.dry_run:
            return [{key: getattr(one, key) for key in self.columns()} for one in self.photos]
        return [{"keyword": keyword, "photos": count} for keyword, count in self._most_first()]

    def columns(self) -> list[str]:
        return ["path", "keyword", "probability", "sidecar", "action"] if self.dry_run else ["keyword", "photos"]

    def spare(self) -> list[str]:
        return ["probability", "path"] if self.dry_run else []

    def records(self) -> list[Row]:
        return [{"type": "photo", **vars(one)} for one in self.photos] + [one.record() for one in self.skipped]

    def names(self) -> list[str]:
        return [str(one.sidecar) for one in self.photos if one.action in (_NEW, _MERGED)]

    def closing(self) -> list[str]:
        first = {one.path: one for one in reversed(self.photos)}
        if not first:
            return []
        unknown = sum(one.unknown for one in first.values())
        doubtful = sum(one.doubtful for one in first.values())
        done = f"operation {self.operation}" if self.operation else "nothing is changed"
        return [
            f"{number_of(len(first), 'photo')}: {self._said()} ({done})",
            *([counted(keywords)] if self.dry_run and (keywords := self._most_first()) else []),
            *self.taken.closing(unknown, doubtful, len(first)),
        ]

    def _most_first(self) -> list[tuple[str, int]]:
        keyword_of = {one.path: one.keyword for one in self.photos if one.keyword is not None}
        return sorted(Counter(keyword_of.values()).items(), key=lambda item: (-item[1], item[0]))

    def _said(self) -> str:
        actions = Counter(one.action for one in self.photos)
        to_be = "to be " if self.dry_run else ""
        parts = [
            (actions[_NEW], f"{to_be}written"),
            (actions[_MERGED], f"{to_be}merged"),
            (actions[_REMOVED], f"{to_be}taken away"),
            (actions[_SAME], "as they should be"),
        ]
        said = [f"{number_of(count, 'sidecar')} {what}" for count, what in parts if count]
        return ", ".join(said) or "no sidecar to write"

    def advice(self) -> list[str]:
        return next_lines("promptctl undo   (to take it back)") if self.operation else []

    def complaint(self) -> str | None:
        if self.full:
            back = ", or promptctl undo takes back what was done" if self.operation else ""  # or what was done before
            return f"stopped: {self.full}; make room, and the same command goes on{back}"
        return "not one photo could be tagged" if self.skipped and not self.photos else None

    @property
    def exit_code(self) -> int:
        if not self.skipped and not self.full:
            return 0
        return 3 if self.photos else 1
