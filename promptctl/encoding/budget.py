"""Budget: memory that threads share; whoever asks for more than there is room for now waits for its turn."""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

_MOST = 1_000_000_000  # bytes, for everything that decodes
_LEAST = 400_000_000  # below it ordinary photos could not be read
_SHARE_OF_MEMORY = 4  # one byte in so many
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


Piece = TypeVar("Piece")


class OverBudget(Exception):
    """More was asked for than there is when nobody else has any."""


def bounded(pieces: Iterable[Piece], most: int) -> Iterator[Piece]:
    """As many pieces as a picture may have; ValueError where a file has more, most of them empty."""
    for number, piece in enumerate(pieces):
        if number == most:
            raise ValueError("more parts than any picture has")
        yield piece


class Budget:
    """So many bytes, given out in the order they are asked for."""

    def __init__(self, n_bytes: int) -> None:
        self.n_bytes = n_bytes
        self._free = n_bytes
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    def check(self, n_bytes: int) -> None:
        """OverBudget if so many bytes are never free."""
        if n_bytes > self.n_bytes:
            raise OverBudget

    @contextmanager
    def reserve(self, n_bytes: int) -> Iterator[Held]:
        """Hold so many bytes, once they are free; OverBudget if they never are."""
        self.check(n_bytes)
        self._take(n_bytes)
        held = Held(self, n_bytes)
        try:
            yield held
        finally:
            held.keep(0)

    def _give_back(self, n_bytes: int) -> None:
        with self._changed:
            self._free += n_bytes
            self._changed.notify_all()

    def _take(self, n_bytes: int) -> None:
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            try:
                # first come, first served: small demands would keep a large one waiting for ever
                self._changed.wait_for(lambda: self._waiting[0] is turn and self._free >= n_bytes)
                self._free -= n_bytes
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()


class Held:
    """Bytes that somebody holds, and may need less of than was asked for."""

    def __init__(self, budget: Budget, n_bytes: int) -> None:
        self._budget = budget
        self.n_bytes = n_bytes

    def keep(self, n_bytes: int) -> None:
        """Give back all but so many."""
        self._budget._give_back(self.n_bytes - n_bytes)
        self.n_bytes = n_bytes


def bytes_for_decoding() -> int:
    """A gigabyte, or a quarter of this machine's memory where that is less, but enough for an ordinary photo."""
    return max(_LEAST, min(_MOST, _memory() // _SHARE_OF_MEMORY))


def return_free_memory() -> None:
    """Give what was freed back to the system, where the C library keeps it for itself (glibc, a heap per thread)."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _memory() -> int:
    """Bytes of memory this process may have: the machine's, or what its container was given."""
    limits = [_MOST * _SHARE_OF_MEMORY]
    with suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # no container, or "max"
            limits.append(int(path.read_text()))
    return min(limit for limit in limits if limit > 0)


_BYTES = bytes_for_decoding()
FILES = Budget(_BYTES // 4)  # what is read of files; taken before, and never while, PICTURES is held
PICTURES = Budget(_BYTES - _BYTES // 4)  # what is decoded of them
