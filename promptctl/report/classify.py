"""What `classify` finds: an image a row, each as soon as it is known."""

from __future__ import annotations

import dataclasses
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

from promptctl.remote import path_of
from promptctl.report.base import Item, Row, SkippedFile, StreamedReport
from promptctl.report.gate import TOGETHER, Taken
from promptctl.report.phrases import counted, ordinal, passed_over_lines, percent, skipped_lines

_OF_THE_GATE = ("unknown", "doubtful", "likeness")
_FEW = 100  # photos, which have little to say of one another
_LONGEST_PATHS = 50  # that are looked at to tell how wide a column of paths is


@dataclass(frozen=True)
class Guess:
    """A class an image may show, with its probability."""

    label: str
    name: str
    probability: float


@dataclass(frozen=True)
class Told:
    """What one of several contexts says of an image: the most probable classes, best first, and the rest of it."""

    top: tuple[Guess, ...]
    unknown: bool = False  # as in Classified
    doubtful: bool = False
    likeness: float | None = None
    alone: Guess | None = None

    def record(self) -> Row:
        return {**dataclasses.asdict(self.top[0]), **dataclasses.asdict(self)}

    @staticmethod
    def of_record(record: Mapping[str, Any]) -> Told:
        """The same, read again."""
        alone = record["alone"]
        return Told(
            tuple(Guess(**guess) for guess in record["top"]),
            record["unknown"],
            record["doubtful"],
            record["likeness"],
            None if alone is None else Guess(**alone),
        )


@dataclass(frozen=True)
class Classified:
    """One image and its most probable classes, best first."""

    path: Path
    top: tuple[Guess, ...]
    unknown: bool = False  # too unlike all that the context knows
    doubtful: bool = False  # not unknown, but too likely wrong
    likeness: float | None = None  # cosine to what the context knows; None: not asked for
    alone: Guess | None = None  # what it shows by itself, where others had a part in the answer
    sha256: str | None = None  # of the file
    others: Mapping[str, Told] = field(default_factory=dict)  # what other contexts say, by what they are called
    burst: Path | None = None  # the first photo of a burst that is answered as one

    def record(self) -> Row:
        # the path and the answer come first, for whoever reads only these
        first, rest = dataclasses.asdict(self.top[0]), self.entry()
        rest["others"] = {context: told.record() for context, told in self.others.items()}
        return {"path": self.path, **first, **{key: rest[key] for key in rest if key != "path"}, "type": "result"}

    @staticmethod
    def of_record(record: Mapping[str, Any]) -> Classified:
        """The same, read again; KeyError or TypeError from what is none."""
        told, burst = Told.of_record(record), record["burst"]
        return Classified(
            path_of(record["path"]),
            told.top,
            told.unknown,
            told.doubtful,
            told.likeness,
            told.alone,
            record["sha256"],
            {context: Told.of_record(other) for context, other in record["others"].items()},
            None if burst is None else path_of(burst),
        )

    def entry(self) -> Row:
        return dataclasses.asdict(self)

    def row(self) -> Row:
        row: Row = {"path": self.path}
        for rank, guess in enumerate(self.top, 1):
            row |= dict(zip(_columns_of(rank), dataclasses.astuple(guess), strict=True))
        row |= {key: getattr(self, key) for key in _OF_THE_GATE}
        row |= dict(zip(_columns_of(1, "alone_"), dataclasses.astuple(self.alone), strict=True)) if self.alone else {}
        for context, told in self.others.items():
            row |= dict(zip(_columns_of(1, f"{context} "), dataclasses.astuple(told.top[0]), strict=True))
        return row

    def plain(self) -> tuple[str, ...]:
        label = "unknown" if self.unknown else "doubtful" if self.doubtful else self.top[0].label
        return label, str(self.path)

    def cell_row(self) -> Row:
        others = {context: _said(told.top[0]) for context, told in self.others.items()}
        alone = {"alone": _said(self.alone)} if self.alone else {}
        ranks = {ordinal(rank): _said(guess) for rank, guess in enumerate(self.top[1:], 2)}
        first = {"class": self._taken_for, "probability": self.top[0].probability}
        return {"path": self.path, **first, **alone, **others, **ranks}

    @property
    def _taken_for(self) -> str:
        name = self.top[0].name
        return f"unknown ({name}?)" if self.unknown else f"doubtful ({name}?)" if self.doubtful else name


def _said(guess: Guess) -> str:
    return f"{guess.name} {percent(guess.probability)}"


@dataclass(frozen=True)
class NotAPhoto:
    """A file that turned out to be something else altogether: it is counted and not named."""

    suffix: str  # the end of its name


@dataclass
class _Tally:
    """What is known once all items have come."""

    of_class: Counter[str] = field(default_factory=Counter)  # class name → images that are taken for it
    unknown: int = 0
    doubtful: int = 0
    of_others: dict[str, Counter[str]] = field(default_factory=dict)  # by every other context, whatever is taken
    skipped: list[SkippedFile] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)

    def add(self, item: Classified | SkippedFile | NotAPhoto) -> None:
        if isinstance(item, Classified):
            self.unknown += item.unknown
            self.doubtful += item.doubtful
            self.of_class.update([] if item.unknown or item.doubtful else [item.top[0].name])
            for context, told in item.others.items():
                self.of_others.setdefault(context, Counter())[told.top[0].name] += 1
        elif isinstance(item, SkippedFile):
            self.skipped.append(item)
        else:
            self.passed_over[item.suffix] += 1


@dataclass(frozen=True)
class ClassifyReport(StreamedReport):
    type: ClassVar[str] = "classify"
    array: ClassVar[str] = "images"

    context: str | None  # None: words that were typed
    blend: float
    blend_chosen: bool
    class_names: tuple[str, ...]
    top: int  # classes that are told of an image
    files: Sequence[str]  # that are looked at
    found: Iterable[Classified | SkippedFile | NotAPhoto]
    taken: Taken = field(default_factory=Taken)  # which answers are
    passed_over: Mapping[str, int] = field(default_factory=dict)  # by their names alone: the end of a name → files
    burst: float | None = None  # seconds between photos that are answered as one; None: each by itself
    together: bool = False  # each answer depends on all photos
    others: Mapping[str, float] = field(default_factory=dict)  # what other contexts are called → blend
    names_of_others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # what they are called → class names
    labels: tuple[str, ...] = ()  # of the classes, for whoever sorts by them
    settings: Mapping[str, object] = field(default_factory=dict)  # what else decides what is found
    _tally: _Tally = field(default_factory=_Tally, init=False, repr=False, compare=False)

    def found_items(self) -> Iterator[Item]:
        self._tally.passed_over.update(self.passed_over)
        for item in self.found:
            self._tally.add(item)
            if not isinstance(item, NotAPhoto):
                yield item

    def count(self, item: Classified | SkippedFile) -> None:
        """Something that was found before, and does not come again."""
        self._tally.add(item)

    def by_class(self) -> dict[str, int]:
        """How many photos of which class there are so far, the most frequent first."""
        return dict(_most_first(self._tally.of_class))

    def totals(self) -> Row:
        """How many of what has been found so far."""
        tally = self._tally
        apart = {"unknown": tally.unknown, "doubtful": tally.doubtful}
        passed_over = dict(_most_first(tally.passed_over))
        return {"images": self.images, **apart, "skipped": len(tally.skipped), "passed_over": passed_over}

    @property
    def images(self) -> int:
        """How many have been classified so far."""
        tally = self._tally
        return tally.of_class.total() + tally.unknown + tally.doubtful

    def head(self) -> Row:
        others = {context: {"blend": blend} for context, blend in self.others.items()}
        own = {"context": self.context, "blend": self.blend, "blend_chosen": self.blend_chosen}
        asked = {"burst": self.burst, "together": self.together, "others": others}
        return {**super().head(), **own, **asked, **self.taken.record()}

    def tail(self) -> Row:
        skipped = [dataclasses.asdict(item) for item in self._tally.skipped]
        return {"skipped": skipped, "passed_over": dict(_most_first(self._tally.passed_over))}

    @property
    def tells_alone(self) -> bool:
        """Whether there is more to an answer than the photo, so that what it shows by itself stands beside it."""
        return self.together or self.burst is not None

    def columns(self) -> list[str]:
        ranks = (column for rank in range(1, self.top + 1) for column in _columns_of(rank))
        alone = _columns_of(1, "alone_") if self.tells_alone else []
        others = (column for context in self.others for column in _columns_of(1, f"{context} "))
        return ["path", *ranks, *_OF_THE_GATE, *alone, *others]

    def summary(self) -> list[str]:
        return [TOGETHER] if self.together else []

    def samples(self) -> list[Row]:
        longest = heapq.nlargest(_LONGEST_PATHS, self.files, key=_about_as_wide)
        paths, names = longest or [""], self.class_names or ("",)
        rows = zip_longest(paths, names, *self.names_of_others.values())
        return [
            self._sample(path_of(path or paths[0]), name or names[0], others).cell_row() for path, name, *others in rows
        ]

    def _sample(self, path: Path, name: str, names_of_others: Sequence[str | None]) -> Classified:
        others = zip(self.names_of_others.items(), names_of_others, strict=True)
        told = {context: Told((Guess("", one or names[0], 1.0),)) for (context, names), one in others}
        top = tuple(Guess("", name, 1 / rank) for rank in range(1, self.top + 1))
        line, rejection = self.taken.line is not None, self.taken.rejection is not None
        alone = top[0] if self.tells_alone else None
        return Classified(path, top, doubtful=line, unknown=rejection and not line, alone=alone, others=told)

    def spare(self) -> list[str]:
        return [ordinal(rank) for rank in range(self.top, 1, -1)]

    def closing(self) -> list[str]:
        """How many photos of which class, the most frequent first, and what is known of those that are of none."""
        if not self.images:
            return []
        tally = self._tally
        apart = [f"{count:,} {what}" for what in ("doubtful", "unknown") if (count := getattr(tally, what))]
        of_class = [counted(_most_first(tally.of_class))] if tally.of_class else []
        said = f"{self.images:,} photo{'' if self.images == 1 else 's'}: {', '.join(of_class + apart)}"
        of_others = [f"{context}: {counted(_most_first(n))}" for context, n in tally.of_others.items()]
        return [said, *of_others, *self.taken.closing(tally.unknown, tally.doubtful, self.images)]

    def notes(self) -> list[str]:
        cannot = [f"{self.context} cannot tell unknown photos: {self.taken.cannot}"] if self.taken.cannot else []
        return cannot + passed_over_lines(dict(_most_first(self._tally.passed_over)))

    def advice(self) -> list[str]:
        if self.together or self.images <= _FEW:
            return []
        return [f"hint: with --together, these {self.images:,} photos help to answer one another"]

    def warnings(self) -> list[str]:
        return skipped_lines(self._tally.skipped)

    def complaint(self) -> str | None:
        return None if self.images else "none of these could be read as an image"

    @property
    def exit_code(self) -> int:
        return 0 if not self._tally.skipped else 3 if self.images else 1


def _columns_of(rank: int, start: str = "") -> list[str]:
    end = "" if rank == 1 else f"_{rank}"
    return [f"{start}{key}{end}" for key in ("label", "name", "probability")]


def _about_as_wide(path: str) -> int:
    """The cells of a path, or more."""
    return len(path) if path.isascii() else 2 * len(path)


def _most_first(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
