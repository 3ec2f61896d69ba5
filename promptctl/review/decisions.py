"""Decisions: what a person said of photos, a line each, durable before the next photo comes.

The file is only appended to. The last decision of a photo counts, by the sha256 of its file; an undo takes it back.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from promptctl.data.readers.decisions import KINDS
from promptctl.errors import FileInUse, NotResults
from promptctl.store import files
from promptctl.store.lines import Lines, more_lines, new_lines

SCHEMA_VERSION = 2
_BEGINNING = b'{"type": "decision", '
_WHAT = "decision"


@dataclass(frozen=True)
class Decision:
    """What a person said of one photo."""

    context: str  # birds@3, which had guessed
    file: str  # absolute path
    sha256: str
    decision: str  # one of KINDS
    label: str | None  # of the class it shows; None: not said
    name: str | None
    answer: str  # label that was guessed
    probability: float  # of the guess
    copies: tuple[str, ...]  # absolute paths of what looks the same, and was shown once with it
    at: str  # time in UTC

    def line(self) -> bytes:
        record = {"type": "decision", "schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}
        return json.dumps(record).encode("ascii")

    @staticmethod
    def of(record: Mapping[str, Any]) -> Decision:
        """A line read again; ValueError, KeyError or TypeError from what is none."""
        if record["type"] != "decision" or record["decision"] not in KINDS:
            raise ValueError(record["decision"])
        texts = {key: str(record[key]) for key in ("context", "file", "sha256", "decision", "answer", "at")}
        said = {key: None if record[key] is None else str(record[key]) for key in ("label", "name")}
        copies = tuple(map(str, record["copies"]))
        return Decision(**texts, **said, probability=float(record["probability"]), copies=copies)  # type: ignore[arg-type]


def now() -> str:
    """The time in UTC, as a decision has it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


class DecisionLog:
    """A file of decisions that this program alone appends to."""

    def __init__(self, path: Path, known: Iterable[Decision], lines: Lines, *, unended: bool = False) -> None:
        """unended   the last line that stands there has no end yet"""
        self.path, self.known = path, tuple(known)  # what stood there before
        self._lines, self._before = lines, b"\n" * unended

    def add(self, decision: Decision) -> None:
        """Durable when this returns; OSError where it is not, and then the file is as before."""
        if not self._lines.is_at(self.path):
            raise FileNotFoundError(errno.ENOENT, "the file was moved, deleted or replaced")
        self._lines.write(self._before + decision.line())
        self._before = b""


@contextmanager
def opened(path: Path) -> Iterator[DecisionLog]:
    """A file of decisions to go on with, or a new one; gone again where nothing was decided.

    raises   NotResults for a file that is none, FileInUse where another program is at it, OSError
    """
    with ExitStack() as stack:
        if os.path.lexists(path):
            found = read(path)
            lines = stack.enter_context(more_lines(path, _WHAT, after=found.end, n_bytes=found.n_bytes))
            yield DecisionLog(path, found.decisions, lines, unended=found.unended)
            return
        try:
            lines = stack.enter_context(new_lines(path, _WHAT))
        except FileExistsError as error:
            raise FileInUse(path) from error
        try:
            yield DecisionLog(path, (), lines)
        finally:
            if not lines.n_bytes and lines.is_at(path):
                with suppress(OSError):
                    files.delete(path)


def check(path: Path) -> None:
    """Whether a file that is there can be gone on with: NotResults for one that is none, OSError."""
    read(path)
    os.close(files.open_to_append(path))


@dataclass(frozen=True)
class Read:
    """What a file holds."""

    decisions: tuple[Decision, ...] = ()
    end: int = 0  # bytes of whole lines
    n_bytes: int = 0  # and with what a crash left of one more
    unended: bool = False  # the last is whole, as an editor leaves it, but for its end


def read(path: Path) -> Read:
    """The decisions in a file; NotResults for one that holds something else, OSError."""
    if path.exists() and not path.is_file():
        raise NotResults(path, "it is not a regular file")
    decisions, end, n_bytes, unended = [], 0, 0, False
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            n_bytes += len(line)
            unended = not line.endswith(b"\n")
            if not unended or _is_whole(line):
                decisions.append(_parsed(path, number, line))
                end = n_bytes
            elif not line.startswith(_BEGINNING[: len(line)]):
                raise NotResults(path, f"line {number} is not a decision")
    return Read(tuple(decisions), end, n_bytes, unended and end == n_bytes)


def _is_whole(line: bytes) -> bool:
    """Whether a line without its end is JSON: of one that was cut off, the last brace is missing."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _parsed(path: Path, number: int, line: bytes) -> Decision:
    try:
        return Decision.of(json.loads(line))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotResults(path, f"line {number} is not a decision") from error
