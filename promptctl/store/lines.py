"""Lines: a file that is only ever appended to, some lines at a time, and can be gone on with after an interruption."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from promptctl import signals
from promptctl.errors import FileInUse, NoLocks
from promptctl.store import files
from promptctl.store.lock import hold

AT_ONCE = 256  # lines that are lost at most, and done again, when the program is killed
_SECONDS = 1.0  # and those of so long


@dataclass(frozen=True)
class _Waiting:
    """Lines that are not durable yet, and where they go."""

    at: int
    lines: list[bytes] = field(default_factory=list)


class Lines:
    """A file of lines, the last of which may not be durable yet."""

    def __init__(self, what: str, descriptor: int, at: int) -> None:
        """what   they are, for whoever interrupts; at   bytes that stand there already"""
        self._what, self._descriptor = what, descriptor
        self._waiting = _Waiting(at)
        self._since = time.monotonic()

    def add(self, line: bytes) -> None:
        """One line, without its end; durable with the first that comes a second later, or with the 256th."""
        self._waiting.lines.append(line + b"\n")
        if len(self._waiting.lines) >= AT_ONCE or time.monotonic() - self._since >= _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Make all lines durable; after an interruption it goes on where that came."""
        waiting = self._waiting
        data = b"".join(waiting.lines)
        files.append(self._descriptor, data[self.n_bytes - waiting.at :], durable=True)
        self._waiting = _Waiting(waiting.at + len(data))  # in one step, or an interruption would write them twice
        self._since = time.monotonic()
        signals.keep(self._what, len(waiting.lines))

    def write(self, line: bytes) -> None:
        """One line, without its end, durable when this returns; where it cannot be, nothing stays of it: OSError."""
        if self._waiting.lines:
            self.flush()
        at = self._waiting.at
        if self.n_bytes > at:  # what could not be taken away before
            self.cut_off(at)
        try:
            self._waiting.lines.append(line + b"\n")
            self.flush()
        except OSError:
            self._waiting = _Waiting(at)
            with contextlib.suppress(OSError):
                self.cut_off(at)
            raise

    @property
    def n_bytes(self) -> int:
        """How long the file is."""
        return os.fstat(self._descriptor).st_size

    def is_at(self, path: Path) -> bool:
        """Whether the file is still called so: a person may move it, and an editor puts another in its place."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), path.stat())
        except FileNotFoundError:
            return False

    def cut_off(self, n_bytes: int) -> None:
        files.cut_off(self._descriptor, n_bytes)


@contextlib.contextmanager
def new_lines(path: Path, what: str) -> Iterator[Lines]:
    """A new file, held by this program, and durable however it is left; FileExistsError."""
    with _held(files.create_to_append(path), path, what, 0) as lines:
        files.fsync_folder(path.parent)
        yield lines


@contextlib.contextmanager
def more_lines(path: Path, what: str, *, after: int, n_bytes: int) -> Iterator[Lines]:
    """A file that is there and n_bytes long, cut off after so many bytes; FileInUse where it grew meanwhile."""
    with _held(files.open_to_append(path), path, what, after) as lines:
        if lines.n_bytes != n_bytes:
            raise FileInUse(path)
        lines.cut_off(after)
        yield lines


@contextlib.contextmanager
def _held(descriptor: int, path: Path, what: str, at: int) -> Iterator[Lines]:
    try:
        with contextlib.suppress(NoLocks):  # where there are none, nobody else is likely to write the same file
            if not hold(descriptor, path):
                raise FileInUse(path)
        lines = Lines(what, descriptor, at)
        try:
            yield lines
        finally:
            lines.flush()
    finally:
        os.close(descriptor)
