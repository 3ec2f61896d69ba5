"""Decisions: what `review` writes down, a line for each, as a list of the photos that a person has given a class.

The last decision of a photo counts, by the sha256 of its file, and an undo takes that one back. What was shown once
with a photo, its copies, is of its class. Photos that are unknown, or were skipped, are of none.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar

from promptctl.data import remarks
from promptctl.data.names import one_form
from promptctl.data.readers.records import Listed
from promptctl.data.shelf import Shelf
from promptctl.errors import DatasetError

_FIRST = re.compile(r'\s*\{\s*"type"\s*:\s*"decision"')
ACCEPT, CHANGE, UNKNOWN, SKIP, UNDO = KINDS = ("accept", "change", "unknown", "skip", "undo")
_TAUGHT = (ACCEPT, CHANGE)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WANTED = 'a line is {"type": "decision", "file": …, "sha256": …, "decision": "accept", "label": …, …}'
_LONGEST = 1_000_000  # characters of a line that is looked at twice
_SHOWN = 5  # photos that are named


@dataclass(frozen=True)
class Decided:
    """What was decided about one photo in the end."""

    line: int
    file: str
    sha256: str
    decision: str
    label: str  # of the class it shows; empty where it is of none
    copies: tuple[str, ...]

    @property
    def is_taught(self) -> bool:
        return self.decision in _TAUGHT


def fits(text: str) -> bool:
    """Whether a file begins with a decision, its keys in whatever order a tool has put them since."""
    if _FIRST.match(text):
        return True
    line = text.lstrip().partition("\n")[0]
    if len(line) > _LONGEST:
        return False
    try:
        first = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and first.get("type") == "decision"


def read(path: Path, text: str) -> list[Listed]:
    """The photos that were given a class, and the copies of each; the others are counted in one remark."""
    every = decided(path, text)
    taught = [one for one in every if one.is_taught]
    remarks.say(_left_out(path, [one for one in every if not one.is_taught]))
    shelf = Shelf(path)
    shelf.choose_folder([(one.file, one.label) for one in taught])
    own = {one.file for one in every}
    found: dict[Path, Listed] = {}
    for one in taught:
        # a copy has no checksum of its own, so it is the file that was named or none
        copies = [Path(copy) for copy in one.copies if copy not in own]
        found |= {path.parent / copy: Listed(path.parent / copy, one.label) for copy in copies}
    own_photos = (Listed(shelf.find(one.file, one.label), one.label, sha256=one.sha256) for one in taught)
    found |= {photo.path: photo for photo in own_photos}
    return list(found.values())


def decided(path: Path, text: str) -> list[Decided]:
    """The decision in force of every photo, in their order; DatasetError for a line that is none.

    A last line without its end is what an interrupted program left, and is not looked at unless it is whole.
    """
    last = {one.sha256: one for one in in_force(_lines(path, text))}
    return sorted(last.values(), key=lambda one: one.line)


class _OfPhoto(Protocol):
    @property
    def sha256(self) -> str: ...

    @property
    def decision(self) -> str: ...


Decision = TypeVar("Decision", bound=_OfPhoto)


def in_force(decisions: Iterable[Decision]) -> list[Decision]:
    """Those that nothing took back, in their order; of one photo there may be several, and the last counts."""
    every, of_photo = list(decisions), defaultdict[str, list[int]](list)
    for place, one in enumerate(every):
        if one.decision != UNDO:
            of_photo[one.sha256].append(place)
        elif of_photo[one.sha256]:
            of_photo[one.sha256].pop()
    return [every[place] for place in sorted(chain.from_iterable(of_photo.values()))]


def _lines(path: Path, text: str) -> Iterator[Decided]:
    # not splitlines: JSON may hold U+2028 and its like as they are
    lines = re.split(r"\r\n|\r|\n", text)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _one(number, json.loads(line))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if number < len(lines):
                raise DatasetError(f"{path} has no decision in line {number}", _WANTED) from error


def _one(number: int, record: Mapping[str, Any]) -> Decided:
    """ValueError, KeyError or TypeError from what is no decision."""
    decision, sha256, said = record["decision"], record["sha256"], record["label"]
    if record["type"] != "decision" or decision not in KINDS or not _SHA256.fullmatch(sha256):
        raise ValueError(decision)
    label = one_form(said).strip() if decision in _TAUGHT else ""
    file, copies = record["file"], record.get("copies") or []
    is_text = isinstance(copies, list) and all(isinstance(one, str) and one for one in (file, *copies))
    if not is_text or (decision in _TAUGHT and not label):
        raise ValueError(file)
    return Decided(number, file, sha256, decision, label, tuple(copies))


def _left_out(path: Path, others: Sequence[Decided]) -> list[str]:
    """What is said of photos that were given no class."""
    if not others:
        return []
    count = Counter(one.decision for one in others)
    words = {UNKNOWN: "unknown", SKIP: "skipped"}
    said = " and ".join(f"{count[kind]} {word}" for kind, word in words.items() if count[kind])
    names = ", ".join(Path(one.file).name for one in others[:_SHOWN]) + (", …" if len(others) > _SHOWN else "")
    photos = "photo" if len(others) == 1 else "photos"
    return [f"{len(others):,} {photos} of {path} left out, for which no class was chosen ({said}): {names}"]
