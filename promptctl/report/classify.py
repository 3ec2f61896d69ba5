"""What `classify` finds: an image a row, each as soon as it is known."""

from __future__ import annotations

import dataclasses
import heapq
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone, tzinfo
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, ClassVar

from promptctl.remote import path_of
from promptctl.report.base import Item, Row, SkippedFile, StreamedReport
from promptctl.report.gate import TOGETHER, Taken
from promptctl.report.phrases import counted, ordinal, passed_over_lines, percent, skipped_lines

_OF_THE_GATE = ("unknown", "doubtful", "likeness")
_OF_A_DETECTOR = ("person", "vehicle", "empty")  # labels of photos that no class is asked of
_NAMED = 5  # photos of a kind
_LONGEST_NAME = 150  # characters; who wrote it may be a stranger
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
class Detected:
    """What a detector found somewhere in an image; of an animal that it is sure of also the most probable classes."""

    category: str  # animal, person or vehicle
    confidence: float
    bbox: tuple[float, float, float, float]  # x_min, y_min, width, height as fractions of the upright picture
    top: tuple[Guess, ...] = ()  # empty: it was not looked at
    unknown: bool = False  # as in Classified
    doubtful: bool = False
    likeness: float | None = None

    @staticmethod
    def of_record(record: Mapping[str, Any]) -> Detected:
        """The same, read again."""
        x, y, width, height = record["bbox"]
        top = tuple(Guess(**guess) for guess in record["top"])
        rest = {key: record[key] for key in ("category", "confidence", *_OF_THE_GATE)}
        return Detected(bbox=(x, y, width, height), top=top, **rest)


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
    answer_of: str = "photo"  # what the answer is of: "photo", "box", or "detector", and then no class was asked of it
    detections: tuple[Detected, ...] = ()  # all that a detector found in it
    taken_at: str | None = None  # as its EXIF says, in ISO 8601; None: not known, or not asked for

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
            record.get("answer_of", "photo"),  # as files of before there were detections have it
            tuple(map(Detected.of_record, record.get("detections", ()))),
            record.get("taken_at"),
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


@dataclass(frozen=True)
class DetectorSaid:
    """A file of detections, and what it has to do with the photos."""

    file: Path
    detector: str | None  # what it is called
    threshold: float  # confidence from which on a box is believed
    without_entry: tuple[str, ...] = ()  # photos that it says nothing of
    without_photo: tuple[str, ...] = ()  # files that it names and that are none of the photos
    failed: tuple[str, ...] = ()  # photos that the detector could not look at
    broken: Mapping[str, str] = field(default_factory=dict)  # photo → what is wrong with the first of its broken boxes
    n_broken: int = 0  # boxes
    doubles: tuple[str, ...] = ()  # files that it names again
    others: Mapping[str, int] = field(default_factory=dict)  # categories that are none of ours → boxes
    moved: tuple[str, str] | None = None  # the folder that it names, and the one whose photos are taken for those

    def record(self) -> Row:
        """What it is, whatever photos there are."""
        return {"file": self.file, "detector": self.detector, "threshold": self.threshold}

    def counts(self) -> Row:
        """How many; a hundred thousand names are many."""
        counts = {key: len(getattr(self, key)) for key in ("without_entry", "without_photo", "failed", "doubles")}
        return {**counts, "broken": self.n_broken, "others": dict(self.others)}

    def warnings(self) -> list[str]:
        """What may be wrong with it."""
        broken = [f"{photo} ({why})" for photo, why in self.broken.items()]
        others = [f"{category} ({count:,})" for category, count in self.others.items()]
        named, taken = self.moved or ("", "")
        told = [
            f"{self.file} names photos in {named}: those in {taken} are taken for them" if self.moved else "",
            _some(self.without_entry, "photo", f"without an entry in {self.file}, looked at whole"),
            _some(self.failed, "photo", "that the detector could not look at, looked at whole"),
            _some(broken, "photo", f"with broken boxes in {self.file}, {self.n_broken:,} in all"),
            _some(others, "kind", f"of boxes in {self.file} that are neither animal, person nor vehicle, not used"),
        ]
        return [line for line in told if line]

    def notes(self) -> list[str]:
        told = [
            _some(self.without_photo, "entry", f"of {self.file} without a photo here"),
            _some(self.doubles, "photo", f"named twice in {self.file}, the first counts"),
        ]
        return [line for line in told if line]


@dataclass(frozen=True)
class Survey:
    """What a photo does not say of where and when it was taken, for formats that want it."""

    deployment: str | None = None  # of all photos; None: of each its folder
    zone: tzinfo | None = None  # of cameras that do not say theirs; None: UTC

    def moment(self, taken_at: str | None) -> str | None:
        """A time in ISO 8601 with its offset from UTC; None where there is none."""
        if taken_at is None:
            return None
        taken = datetime.fromisoformat(taken_at)
        zoned = taken if taken.tzinfo else taken.replace(tzinfo=self.zone or timezone.utc)
        return zoned.isoformat(timespec="seconds")


def _some(names: Collection[str], one: str, which: str) -> str:
    """`2 photos without …: a.jpg, b.jpg`; nothing for none."""
    if not names:
        return ""
    several = f"{one[:-1]}ies" if one.endswith("y") else f"{one}s"
    shown = ", ".join(name[:_LONGEST_NAME] for name in islice(names, _NAMED)) + ", …" * (len(names) > _NAMED)
    return f"{len(names):,} {one if len(names) == 1 else several} {which}: {shown}"


@dataclass
class _Tally:
    """What is known once all items have come."""

    of_class: Counter[str] = field(default_factory=Counter)  # class name → images that are taken for it
    unknown: int = 0
    doubtful: int = 0
    of_others: dict[str, Counter[str]] = field(default_factory=dict)  # by every other context, whatever is taken
    skipped: list[SkippedFile] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    timed: bool = False  # whether somebody wants to know when photos were taken
    timeless: list[str] = field(default_factory=list)  # photos that do not say
    zoneless: int = 0  # photos that say the time of some place, and not of which

    def add(self, item: Classified | SkippedFile | NotAPhoto) -> None:
        if isinstance(item, Classified):
            self.unknown += item.unknown
            self.doubtful += item.doubtful
            self.of_class.update([] if item.unknown or item.doubtful else [item.top[0].name])
            for context, told in item.others.items():
                self.of_others.setdefault(context, Counter())[told.top[0].name] += 1
            if self.timed and item.taken_at is None:
                self.timeless.append(os.fspath(item.path))
            elif item.taken_at is not None:
                self.zoneless += datetime.fromisoformat(item.taken_at).tzinfo is None
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
    detections: DetectorSaid | None = None  # None: photos are looked at whole
    survey: Survey | None = None  # None: nobody wants to know when photos were taken
    taxa: Mapping[str, str] = field(default_factory=dict)  # label → scientific name
    file_of: Callable[[Path], str] = field(default=os.fspath, repr=False, compare=False)  # photos in other tools' files
    _tally: _Tally = field(default_factory=_Tally, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._tally.passed_over.update(self.passed_over)

    def found_items(self) -> Iterator[Item]:
        self._tally.timed = self.survey is not None
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
        detections = self.detections.record() if self.detections else None
        asked = {"burst": self.burst, "together": self.together, "others": others, "detections": detections}
        return {**super().head(), **own, **asked, **self.taken.record()}

    def tail(self) -> Row:
        skipped = [dataclasses.asdict(item) for item in self._tally.skipped]
        passed_over = dict(_most_first(self._tally.passed_over))
        counts = self.detections.counts() if self.detections else None
        return {"skipped": skipped, "passed_over": passed_over, "detection_counts": counts}

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
        paths, names = longest or [""], (*self.class_names, *(_OF_A_DETECTOR if self.detections else ())) or ("",)
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
        of_detections = self.detections.notes() if self.detections else []
        return cannot + of_detections + passed_over_lines(dict(_most_first(self._tally.passed_over)))

    def advice(self) -> list[str]:
        if self.together or self.images <= _FEW:
            return []
        return [f"hint: with --together, these {self.images:,} photos help to answer one another"]

    def warnings(self) -> list[str]:
        of_detections = self.detections.warnings() if self.detections else []
        return of_detections + self._about_times() + skipped_lines(self._tally.skipped)

    def _about_times(self) -> list[str]:
        """Which photos have no row where each has a time, and which time was taken for a camera's."""
        tally = self._tally
        if self.survey is None:
            return []
        lines = [_some(tally.timeless, "photo", "without a time in the EXIF, and so without a row")]
        if tally.zoneless and self.survey.zone is None:
            lines.append(
                f"{tally.zoneless:,} of the photos say no time zone, UTC is written: --timezone +02:00 says which"
            )
        return [line for line in lines if line]

    def complaint(self) -> str | None:
        return None if self.images else "none of these could be read as an image"

    @property
    def exit_code(self) -> int:
        left_out = self._tally.skipped or (self.survey is not None and self._tally.timeless)
        return 0 if not left_out else 3 if self.images else 1


def _columns_of(rank: int, start: str = "") -> list[str]:
    end = "" if rank == 1 else f"_{rank}"
    return [f"{start}{key}{end}" for key in ("label", "name", "probability")]


def _about_as_wide(path: str) -> int:
    """The cells of a path, or more."""
    return len(path) if path.isascii() else 2 * len(path)


def _most_first(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
