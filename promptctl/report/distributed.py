"""What `classify --engine ray` has written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.classify import Classified
from promptctl.report.gate import Taken
from promptctl.report.phrases import counted, passed_over_lines, skipped_lines

_NAMED = 20  # files that could not be read, of all that are counted


@dataclass
class Tally:
    """How many of what some rows say."""

    of_class: Counter[str] = field(default_factory=Counter)  # class name → photos that are taken for it
    unknown: int = 0
    doubtful: int = 0
    skipped: int = 0
    of_others: dict[str, Counter[str]] = field(default_factory=dict)  # by every other context, whatever is taken
    named: list[SkippedFile] = field(default_factory=list)  # the first of those that were skipped

    def add(self, row: Mapping[str, Any]) -> None:
        """A line of JSON lines, read again."""
        if row["type"] == "error":
            self.skipped += 1
            self.named = [*self.named, SkippedFile(row["path"], row["reason"])][:_NAMED]
            return
        item = Classified.of_record(row)
        self.unknown += item.unknown
        self.doubtful += item.doubtful
        self.of_class.update([] if item.unknown or item.doubtful else [item.top[0].name])
        for context, told in item.others.items():
            self.of_others.setdefault(context, Counter())[told.top[0].name] += 1

    def add_all(self, other: Tally) -> None:
        self.of_class.update(other.of_class)
        self.unknown, self.doubtful = self.unknown + other.unknown, self.doubtful + other.doubtful
        self.skipped += other.skipped
        self.named = [*self.named, *other.named][:_NAMED]
        for context, counts in other.of_others.items():
            self.of_others.setdefault(context, Counter()).update(counts)

    @property
    def images(self) -> int:
        return self.of_class.total() + self.unknown + self.doubtful


@dataclass(frozen=True)
class DistributedReport(Report):
    """What this run has answered, and how much was answered before it."""

    type: ClassVar[str] = "classify"

    about: Row  # the head of `classify`
    output: str
    known: int  # rows that were there before
    tally: Tally
    passed_over: Mapping[str, int]
    taken: Taken = field(default_factory=Taken)

    def rows(self) -> list[Row]:
        return [{"class": name, "images": count} for name, count in _most_first(self.tally.of_class)]

    def columns(self) -> list[str]:
        return ["class", "images"]

    def record(self) -> Row:
        tally = self.tally
        counts = {"images": tally.images, "unknown": tally.unknown, "doubtful": tally.doubtful}
        own = {"output": self.output, "known": self.known, "by_class": dict(_most_first(tally.of_class))}
        # as `--output` without an engine has it, but that not all of many are named
        named = {"skipped": [asdict(item) for item in tally.named], "n_skipped": tally.skipped}
        return {**self.about, **own, **counts, **named, "passed_over": dict(self.passed_over)}

    def tables(self) -> list[list[Row]]:
        return []

    def closing(self) -> list[str]:
        tally = self.tally
        apart = [f"{count:,} {what}" for what in ("doubtful", "unknown") if (count := getattr(tally, what))]
        of_class = [counted(_most_first(tally.of_class))] if tally.of_class else []
        said = f"{tally.images:,} photo{'' if tally.images == 1 else 's'}: {', '.join(of_class + apart)}"
        of_others = [f"{context}: {counted(_most_first(counts))}" for context, counts in tally.of_others.items()]
        told = [said, *of_others, *self.taken.closing(tally.unknown, tally.doubtful, tally.images)]
        before = f", {self.known:,} of its rows were there before" if self.known else ""
        return [*(told if tally.images else []), f"{self.output} has a row for each{before}"]

    def notes(self) -> list[str]:
        cannot = [f"{self.about['context']} cannot tell unknown photos: {self.taken.cannot}"]
        return (cannot if self.taken.cannot else []) + passed_over_lines(self.passed_over)

    def warnings(self) -> list[str]:
        more = self.tally.skipped - len(self.tally.named)
        return skipped_lines(self.tally.named) + ([f"and {more:,} more, each in a row of its own"] if more else [])

    def complaint(self) -> str | None:
        found = self.tally.images or self.known
        return None if found else "none of these could be read as an image"

    @property
    def exit_code(self) -> int:
        if not self.tally.skipped:
            return 0
        return 3 if self.tally.images or self.known else 1


def _most_first(counts: Counter[str]) -> Sequence[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
