"""Plan: which photo goes where, as JSON lines that a person can read, change and apply later.

A plan is a file like any other: a stranger may have written it. Nothing in it leads out of the folder that is sorted
into, and nothing is touched but the sources that it names, as they were when it was made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptctl.errors import BadPlan, reason_of
from promptctl.sorting.xmp import Tag

FORMAT = 1
COPY, MOVE, LINK = "copy", "move", "link"
MODES = (COPY, MOVE, LINK)
_LONGEST_LINE = 1 << 20  # characters

Row = dict[str, Any]


@dataclass(frozen=True)
class Moved:
    """A file that goes somewhere, and how it was when that was planned."""

    source: Path  # absolute
    target: str  # below the folder that is sorted into, with "/" between
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Shown:
    """What a photo was found to show."""

    label: str
    name: str
    probability: float
    unknown: bool = False
    doubtful: bool = False
    likeness: float | None = None
    sha256: str | None = None
    passed: bool = False  # by a detector, and no class was asked of it


@dataclass(frozen=True)
class Keywords:
    """Which keywords the answers of a context become."""

    context: str = ""  # its name, under which a sidecar says what was written; "": words
    version: int | None = None
    parents: tuple[str, ...] = ()  # above each keyword
    unknown: str | None = None  # of photos of none of the classes; None: no keyword
    doubtful: str | None = None

    def tag(self, shown: Shown) -> Tag:
        keyword = self.unknown if shown.unknown else self.doubtful if shown.doubtful else shown.name or shown.label
        return Tag(self.context, keyword, self.parents, shown.label, shown.probability, self.version)


@dataclass(frozen=True)
class Photo:
    """A photo, what it shows, and where it goes with what belongs to it."""

    file: Moved
    shown: Shown
    sidecars: tuple[Moved, ...] = ()

    @property
    def files(self) -> tuple[Moved, ...]:
        return (self.file, *self.sidecars)

    @property
    def folder(self) -> str:
        """Where it goes, below the folder that is sorted into."""
        return self.file.target.rpartition("/")[0]

    def record(self) -> Row:
        return {
            "type": "photo",
            "source": os.fspath(self.file.source),
            "target": self.file.target,
            **{key: value for key, value in vars(self.shown).items() if key != "passed"},
            "size": self.file.size,
            "mtime_ns": self.file.mtime_ns,
            "sidecars": [[os.fspath(m.source), m.target, m.size, m.mtime_ns] for m in self.sidecars],
        }


@dataclass(frozen=True)
class Refused:
    """A file that stays where it is, and why."""

    path: Path
    reason: str

    def record(self) -> Row:
        return {"type": "error", "path": os.fspath(self.path), "reason": self.reason}


@dataclass(frozen=True)
class Plan:
    """What goes where."""

    into: Path  # absolute
    mode: str
    context: str | None
    photos: tuple[Photo, ...]
    refused: tuple[Refused, ...] = ()
    there: int = 0  # photos that lie where they belong
    together: bool = False  # each answer depends on all photos
    is_whole: bool = True  # False: the file it was read from has lost its end
    keywords: Keywords | None = None  # that sidecars in their new places get; None: they stay as they are

    def lines(self) -> Iterator[Row]:
        yield {
            "type": "plan",
            "schema_version": FORMAT,
            "context": self.context,
            "into": os.fspath(self.into),
            "mode": self.mode,
            "together": self.together,
            **({} if self.keywords is None else {"keywords": dataclasses.asdict(self.keywords)}),
        }
        yield from (photo.record() for photo in self.photos)
        yield from (one.record() for one in self.refused)
        yield {"type": "summary", "photos": len(self.photos), "errors": len(self.refused), "there": self.there}

    def to_bytes(self) -> bytes:
        return b"".join(json.dumps(line).encode("ascii") + b"\n" for line in self.lines())

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()


def read_plan(path: Path) -> tuple[Plan, str]:
    """A plan and the sha256 of its file; BadPlan for what is none or leads elsewhere."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadPlan(path, reason_of(error)) from error
    rows = [_row(path, number, line) for number, line in enumerate(data.splitlines(), 1) if line.strip()]
    if not rows or rows[0].get("type") != "plan":
        raise BadPlan(path, "it does not begin as a plan does")
    return _plan(path, rows), hashlib.sha256(data).hexdigest()


def _row(path: Path, number: int, line: bytes) -> Row:
    try:
        found = json.loads(line) if len(line) <= _LONGEST_LINE else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadPlan(path, f"line {number} is no object of JSON")
    return found


def _plan(path: Path, rows: Sequence[Row]) -> Plan:
    head = rows[0]
    if head.get("schema_version") != FORMAT:
        raise BadPlan(path, "it was written by another version of promptctl")
    try:
        mode, into = head["mode"], _absolute(head["into"])
        if mode not in MODES:
            raise ValueError(f"the mode is {mode!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise BadPlan(path, f"line 1: {_sentence(error)}") from error
    photos = [_photo(path, n, row) for n, row in enumerate(rows, 1) if row.get("type") == "photo"]
    context = head.get("context")
    context = context if isinstance(context, str) else None
    is_whole = rows[-1].get("type") == "summary"
    return Plan(into, mode, context, tuple(photos), is_whole=is_whole, keywords=_keywords(path, head.get("keywords")))


def _keywords(path: Path, told: object) -> Keywords | None:
    if told is None:
        return None
    if isinstance(told, dict) and set(told) == {field.name for field in dataclasses.fields(Keywords)}:
        texts = (told["context"], told["unknown"] or "", told["doubtful"] or "")
        parents, version = told["parents"], told["version"]
        are_texts = isinstance(parents, list) and all(isinstance(one, str) for one in (*texts, *parents))
        if are_texts and (version is None or isinstance(version, int)):
            return Keywords(**{**told, "parents": tuple(parents)})
    raise BadPlan(path, "line 1: its keywords are none")


def _photo(path: Path, number: int, row: Mapping[str, Any]) -> Photo:
    try:
        file = _moved(row["source"], row["target"], row["size"], row["mtime_ns"])
        return Photo(file, _shown(row), tuple(_sidecar(file, one) for one in row.get("sidecars") or ()))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadPlan(path, f"line {number}: {_sentence(error)}") from error


def _shown(row: Mapping[str, Any]) -> Shown:
    likeness, sha256 = row.get("likeness"), row.get("sha256")
    return Shown(
        str(row.get("label", "")),
        str(row.get("name", "")),
        float(row.get("probability") or 0.0),
        bool(row.get("unknown")),
        bool(row.get("doubtful")),
        None if likeness is None else float(likeness),
        sha256 if isinstance(sha256, str) else None,
    )


def _sidecar(photo: Moved, told: object) -> Moved:
    """What goes with a photo comes out of the same folder, and goes into the same."""
    if not isinstance(told, list) or len(told) != len(dataclasses.fields(Moved)):
        raise ValueError("a sidecar is a source, a target, a size and an mtime_ns")
    found = _moved(*told)
    if found.source.parent != photo.source.parent:
        raise ValueError(f"{found.source} does not lie beside its photo")
    if found.target.rpartition("/")[0] != photo.target.rpartition("/")[0]:
        raise ValueError(f"{found.target!r} is in another folder than its photo")
    return found


def _moved(source: object, target: object, size: object, mtime_ns: object) -> Moved:
    if not isinstance(size, int) or not isinstance(mtime_ns, int):
        raise TypeError("size and mtime_ns are whole numbers")
    return Moved(_absolute(source), _inside(target), size, mtime_ns)


def _absolute(found: object) -> Path:
    if not isinstance(found, str) or not _is_path(found) or not Path(found).is_absolute():
        raise ValueError(f"{found!r:.80} is no whole path")
    if ".." in Path(found).parts:
        raise ValueError(f"{found!r:.80} leads through '..'")
    return Path(found)


def _is_path(found: str) -> bool:
    """Whether a file can be called so at all; a journal that had another could not be taken back."""
    try:
        return b"\0" not in os.fsencode(found)
    except UnicodeEncodeError:
        return False


def _inside(target: object) -> str:
    """A path below the folder that is sorted into: a folder or several, and a name."""
    if not isinstance(target, str) or not target or not _is_path(target):
        raise ValueError(f"{target!r:.80} is no path")
    parts = target.split("/")
    foreign = os.name == "nt" and any(set('\\:*?"<>|') & set(part) for part in parts)
    if any(part in ("", ".", "..") for part in parts) or foreign or len(parts) < 2:
        raise ValueError(f"{target!r:.80} leads out of the folder that is sorted into")
    return target


def _sentence(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)
