"""What `watch` sorted, a photo a row, each as soon as it is in its place."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Item, Row, SkippedFile, StreamedReport
from promptctl.report.gate import Taken
from promptctl.report.phrases import number_of

_DONE = {"copy": "copied", "move": "moved", "link": "linked"}
_A_NAME = "/IMG_20240131_120000.jpg"  # as long as most


@dataclass(frozen=True)
class Arrived:
    """A photo that came, and where it went."""

    source: Path
    target: str  # below the folder that is sorted into
    label: str
    name: str
    probability: float
    unknown: bool
    doubtful: bool
    sidecars: int
    operation: int

    def record(self) -> Row:
        return {"type": "photo", **vars(self)}

    def entry(self) -> Row:
        return dict(vars(self))

    row = entry

    def plain(self) -> tuple[str, ...]:
        return self.target.partition("/")[0], str(self.source)

    def cell_row(self) -> Row:
        return {"path": self.source, "probability": self.probability, "into": self.target, "operation": self.operation}


@dataclass(frozen=True)
class WatchReport(StreamedReport):
    type: ClassVar[str] = "watch"
    array: ClassVar[str] = "photos"
    is_endless: ClassVar[bool] = True

    context: str
    inbox: Path
    into: Path
    mode: str  # copy, move or link
    class_names: tuple[str, ...]
    found: Iterable[Arrived | SkippedFile]
    taken: Taken = field(default_factory=Taken)  # which answers are
    _tally: _Tally = field(default_factory=lambda: _Tally(), init=False, repr=False, compare=False)

    def found_items(self) -> Iterator[Item]:
        for item in self.found:
            self._tally.add(item)
            yield item

    def samples(self) -> list[Row]:
        longest = max(("unknown", "doubtful", *self.class_names), key=len)
        source = Path(f"{self.inbox.absolute()}{_A_NAME}")
        return [Arrived(source, longest + _A_NAME, "", longest, 1.0, False, False, 0, 1000).cell_row()]

    def columns(self) -> list[str]:
        return [one.name for one in dataclasses.fields(Arrived)]

    def spare(self) -> list[str]:
        return ["operation", "probability"]

    def head(self) -> Row:
        own = {"context": self.context, "inbox": self.inbox, "into": self.into, "mode": self.mode}
        return {**super().head(), **own, "taken": self.taken.record()}

    def tail(self) -> Row:
        return {"skipped": [{"path": path, "reason": reason} for path, reason in self._tally.skipped.items()]}

    def closing(self) -> list[str]:
        tally = self._tally
        if not tally.photos:
            return []
        return [
            f"{number_of(tally.photos, 'photo')} {_DONE[self.mode]} into {self.into}",
            *self.taken.closing(tally.unknown, tally.doubtful, tally.photos),
        ]

    @property
    def exit_code(self) -> int:
        return 3 if self._tally.skipped else 0


@dataclass
class _Tally:
    """What has come so far."""

    photos: int = 0
    unknown: int = 0
    doubtful: int = 0
    skipped: dict[Path, str] = field(default_factory=dict)  # what stays where it is, and why

    def add(self, item: Arrived | SkippedFile) -> None:
        if isinstance(item, SkippedFile):
            self.skipped[item.path] = item.reason
            return
        self.photos += 1
        self.unknown += item.unknown
        self.doubtful += item.doubtful
        self.skipped.pop(item.source, None)
