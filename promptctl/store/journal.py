"""Journal: what was changed, written down before it is changed, so that it can be taken back.

`<data home>/journal/<number>.jsonl` is one operation: a head, steps, what became of them, an end. A file is only ever
appended to. Steps are durable before the first of them is carried out; what became of them may be missing after a
crash, and whoever goes on or takes back looks at the disk. A step is an object of JSON, which its kind understands.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from promptctl.errors import (
    JournalDamaged,
    NewerJournal,
    NoSuchOperation,
    NotDurable,
    OperationRuns,
    PromptctlError,
    StorageFailed,
)
from promptctl.paths import data_home
from promptctl.store import files
from promptctl.store.lock import hold, is_held

FORMAT = 1
UNDO = "undo"
_NAME = re.compile(r"([1-9][0-9]{0,9})\.jsonl")
_LONGEST_END = 4096  # bytes in which the last line of a file lies
_MOST_NUMBERS = 1000  # that are tried for a new operation
_TRIES, _MOMENT = 10, 0.005  # seconds: `is_running` holds a file for less

Step = Mapping[str, Any]


@dataclass(frozen=True)
class Head:
    """An operation, as far as the first and the last line of its file tell."""

    number: int
    kind: str  # the command: sort, learn, undo
    words: tuple[str, ...]  # as they were typed, without the name of the program
    when: datetime
    about: Mapping[str, Any]  # what its kind wants to know again
    done: int = 0  # steps that were carried out
    left: int = 0  # steps that were not
    ended: bool = False
    token: str = ""  # of what it leaves unfinished, 8 hexadecimal digits

    @property
    def of(self) -> int | None:
        """Of an undo: the operation that it takes back."""
        return self.about.get("of") if self.kind == UNDO else None

    @property
    def origin(self) -> str | None:
        """Of what was stored: where it came from, if it was fetched."""
        origin = self.about.get("origin")
        return origin if isinstance(origin, str) else None

    @property
    def did_nothing(self) -> bool:
        return self.ended and not self.done


@dataclass(frozen=True)
class Record:
    """An operation as a whole."""

    head: Head
    steps: Mapping[int, Step]  # by their numbers, in the order in which they were planned
    left: Mapping[int, str]  # why a step was not carried out
    done: frozenset[int]

    @property
    def open(self) -> tuple[int, ...]:
        """Steps of which nobody wrote down what became of them."""
        return tuple(number for number in self.steps if number not in self.done and number not in self.left)


class Operation:
    """An operation under way, by the one program that carries it out.

        step = {"do": "rename", "name": "birds", "target": "finches"}
        with journal.begin("rename", words, steps=[step]) as operation:
            store.rename("birds", "finches")
            operation.became(done=[0])

    Left in peace, it ends. Left by an error of promptctl's, what has not become anything is written down as left, with
    the sentence, and it ends. Left in any other way it stays open: whoever comes next looks at the disk.
    """

    def __init__(self, head: Head, path: Path, descriptor: int, next_step: int) -> None:
        self.head = head
        self._path = path
        self._descriptor = descriptor
        self._next = next_step
        self._open: dict[int, None] = {}
        self._done, self._left = head.done, head.left
        self._whole = True  # whether the last line was written to its end

    @property
    def number(self) -> int:
        return self.head.number

    def ahead(self, steps: Sequence[Step]) -> range:
        """Write steps down, durably; they may be carried out afterwards. Their numbers."""
        numbers = range(self._next, self._next + len(steps))
        self._append([{"type": "step", "n": n, **step} for n, step in zip(numbers, steps, strict=True)], durable=True)
        self._next = numbers.stop
        self._open.update(dict.fromkeys(numbers))
        return numbers

    def became(self, done: Sequence[int] = (), left: Mapping[int, str] | None = None) -> None:
        """Which steps were carried out, and which were not and why; the last word counts."""
        if not done and not left:
            return
        self._append([{"type": "became", "done": list(done), "left": list((left or {}).items())}], durable=False)
        self._done += len(done)
        self._left += len(left or {})
        for number in (*done, *(left or {})):
            self._open.pop(number, None)

    def told(self, outcomes: Mapping[int, str | None]) -> None:
        """The same of steps by their numbers: None of what was carried out, else why not."""
        done = [number for number, reason in outcomes.items() if reason is None]
        self.became(done, {number: reason for number, reason in outcomes.items() if reason is not None})

    def end(self) -> None:
        """Nothing more is done, unless it is taken up again."""
        self._append([{"type": "end", "done": self._done, "left": self._left}], durable=True)

    def __enter__(self) -> Operation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is None:
                self.end()
            elif isinstance(error, PromptctlError):
                self.give_up(error)
        finally:
            os.close(self._descriptor)

    @contextlib.contextmanager
    def carried(self) -> Iterator[Operation]:
        """The same around steps of which the disk tells whether they were made: after any error they stay open."""
        try:
            yield self
            self.end()
        finally:
            os.close(self._descriptor)

    def give_up(self, error: Exception) -> None:
        """End with an error, for which nothing that is open was done; which is told, whatever becomes of this."""
        with contextlib.suppress(StorageFailed):
            if isinstance(error, NotDurable):  # it has happened all the same
                self.became(done=tuple(self._open))
            else:
                self.became(left=dict.fromkeys(self._open, str(error)))
            self.end()

    def _append(self, lines: Sequence[Mapping[str, Any]], *, durable: bool) -> None:
        start = b"" if self._whole else b"\n"
        self._whole = False
        try:
            files.append(self._descriptor, start + _written(lines), durable=durable)
        except OSError as error:
            raise StorageFailed(error, "write the journal", self._path) from error
        self._whole = True


class Journal:
    """The operations of a data home.

    home   the folder; None: that of PROMPTCTL_HOME, else the system's for data
    """

    def __init__(self, home: str | os.PathLike[str] | None = None) -> None:
        self.folder = (data_home() if home is None else Path(home)) / "journal"

    # ---------------------------------------------------------------- writing

    def begin(
        self,
        kind: str,
        words: Sequence[str],
        *,
        about: Mapping[str, Any] | None = None,
        steps: Sequence[Step] = (),
    ) -> Operation:
        """A new operation, durable with its first steps before this returns; StorageFailed."""
        from promptctl import __version__

        now = datetime.now(timezone.utc)
        head = Head(0, kind, tuple(words), now, dict(about or {}), token=secrets.token_hex(4))
        line = {
            "type": "operation",
            "format": FORMAT,
            "kind": kind,
            "words": list(words),
            "when": now.isoformat(),
            "promptctl": __version__,
            "token": head.token,
            "about": head.about,
        }
        with self._failing("write the journal"):
            files.make_folder(self.folder)
            data = _written([line, *({"type": "step", "n": n, **step} for n, step in enumerate(steps))])
            operation = self._opened(self._claim(data), len(steps))
        operation._open.update(dict.fromkeys(range(len(steps))))
        return operation

    def resume(self, number: int) -> tuple[Operation, Record]:
        """An operation taken up again, by this program alone, and what is known of it.

        raises   NoSuchOperation, OperationRuns, NewerJournal, JournalDamaged, StorageFailed
        """
        record = self.read(number)
        with self._failing("write the journal"):
            operation = self._opened(number, 0)
        try:
            record = self.read(number)  # once more: another may have had it until now
            operation.head = record.head
            operation._next = max(record.steps, default=-1) + 1
            operation._open = dict.fromkeys(record.open)
            operation._done, operation._left = len(record.done), len(record.left)
            operation._whole = self._path(number).read_bytes().endswith(b"\n")
        except BaseException:
            os.close(operation._descriptor)
            raise
        return operation, record

    def _claim(self, data: bytes) -> int:
        """A number of its own for an operation, which exists from then on."""
        with files.finished_file(self.folder, data) as temporary:
            first = max(self._numbers(), default=0) + 1
            for number in range(first, first + _MOST_NUMBERS):
                with contextlib.suppress(FileExistsError):
                    files.name_exclusively(temporary, self._path(number))
                    break
            else:
                raise FileExistsError(f"{self._path(first)} exists")
        files.fsync_folder(self.folder)  # or nothing is changed: NotDurable would say that it is
        return number

    def _opened(self, number: int, next_step: int) -> Operation:
        descriptor = files.open_to_append(self._path(number))
        try:
            self._hold(number, descriptor)
            return Operation(self._head(number), self._path(number), descriptor, next_step)
        except BaseException:
            os.close(descriptor)
            raise

    def _hold(self, number: int, descriptor: int) -> None:
        for _ in range(_TRIES):
            if hold(descriptor, self._path(number)):
                return
            time.sleep(_MOMENT)
        raise OperationRuns(number)

    # ---------------------------------------------------------------- reading

    def heads(self) -> tuple[Head, ...]:
        """Every operation, the newest first, without its steps."""
        with self._failing("read the journal"):
            return tuple(self._head(number) for number in sorted(self._numbers(), reverse=True))

    def head(self, number: int) -> Head:
        """One operation; NoSuchOperation."""
        with self._failing("read the journal"):
            if number not in self._numbers():
                raise NoSuchOperation(number)
            return self._head(number)

    def read(self, number: int) -> Record:
        """One operation with its steps; NoSuchOperation, NewerJournal, JournalDamaged."""
        head = self.head(number)
        steps: dict[int, Step] = {}
        left: dict[int, str] = {}
        done: set[int] = set()
        for line in self._lines(number):
            try:
                if line.get("type") == "step":
                    steps[_whole(line["n"])] = {key: value for key, value in line.items() if key not in ("type", "n")}
                elif line.get("type") == "became":
                    left |= {_whole(n): str(reason) for n, reason in line["left"]}
                    done = (done | set(map(_whole, line["done"]))) - {n for n, _ in line["left"]}
                    left = {n: reason for n, reason in left.items() if n not in done}
            except (KeyError, TypeError, ValueError) as error:
                raise JournalDamaged(self._path(number), "a line says nothing that can be understood") from error
        return Record(head, steps, left, frozenset(done))

    def refuse(self, number: int) -> JournalDamaged:
        """For whoever finds a step that says nothing, whose kind it should be."""
        return JournalDamaged(self._path(number), "a step does not say what was done")

    def origins(self) -> dict[str, str]:
        """sha256 of a stored file → where it was fetched from; nothing where the journal cannot be read."""
        try:
            return {str(head.about.get("sha256")): head.origin for head in self.heads() if head.origin}
        except PromptctlError:
            return {}

    def is_running(self, number: int) -> bool:
        """Whether a program is at it this moment."""
        return is_held(self._path(number))

    def taken_back(self, heads: Sequence[Head] | None = None) -> dict[int, int]:
        """Which operations are taken back, and by which undo, unless that was taken back too."""
        found: dict[int, int] = {}
        for head in heads or self.heads():  # an undo is newer than what it takes back
            if head.of is not None and head.number not in found and not head.did_nothing:
                found.setdefault(head.of, head.number)
        return found

    def to_take_back(self) -> Head | None:
        """What a plain undo is about: an undo that was interrupted, or the newest change that is not taken back."""
        heads = self.heads()
        gone = self.taken_back(heads)
        for head in heads:
            if head.number in gone or head.did_nothing:
                continue
            if head.kind != UNDO or not head.ended:
                return head
        return None

    def _numbers(self) -> list[int]:
        with contextlib.suppress(FileNotFoundError):
            return [int(found[1]) for name in os.listdir(self.folder) if (found := _NAME.fullmatch(name))]  # noqa: PTH208
        return []

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.jsonl"

    def _head(self, number: int) -> Head:
        with self._path(number).open("rb") as file:
            line = _parsed(file.readline())
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST_END))
            end = _parsed(file.read().rstrip(b"\n").rpartition(b"\n")[2])
        if line.get("type") != "operation":
            raise JournalDamaged(self._path(number))
        if line.get("format") != FORMAT:
            raise NewerJournal(self._path(number))
        try:
            when = datetime.fromisoformat(line["when"])
            ended = end.get("type") == "end"
            return Head(
                number=number,
                kind=line["kind"],
                words=tuple(map(str, line["words"])),
                when=when,
                about=line["about"],
                done=end["done"] if ended else 0,
                left=end["left"] if ended else 0,
                ended=ended,
                token=line["token"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise JournalDamaged(self._path(number)) from error

    def _lines(self, number: int) -> Iterator[dict[str, Any]]:
        """What can be read; a line that was cut off by a crash was never acted on."""
        with self._failing("read the journal"), self._path(number).open("rb") as file:
            yield from filter(None, map(_parsed, file))

    @contextlib.contextmanager
    def _failing(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageFailed(error, doing, self.folder) from error


def _written(lines: Sequence[Mapping[str, Any]]) -> bytes:
    """JSON in ASCII, so that paths that are no UTF-8 come back as they were."""
    return b"".join(json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n" for line in lines)


def _whole(number: object) -> int:
    if not isinstance(number, int):
        raise TypeError(number)
    return number


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
