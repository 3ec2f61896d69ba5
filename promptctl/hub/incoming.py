"""Incoming: bytes as they arrive from a stranger, no more of them than is allowed, and looked at as soon as can be."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Look = Callable[[bytes], bool]


class TooMuch(Exception):
    """More has arrived than is allowed."""


class Incoming(io.BytesIO):
    """A file in memory that takes no more than so many bytes.

    at_most   bytes; one more raises TooMuch
    look      is given what has arrived, until it is content and says so; whatever it raises ends the transfer
    """

    def __init__(self, at_most: int, look: Look | None = None) -> None:
        super().__init__()
        self._at_most = at_most
        self._look = look

    def write(self, some: ReadableBuffer, /) -> int:
        if self.tell() + memoryview(some).nbytes > self._at_most:
            raise TooMuch
        written = super().write(some)
        if self._look and self._look(self.getvalue()):
            self._look = None
        return written


def is_context(file: str, at_most: int) -> Look:
    """Looks at the beginning of a file that should be a context; CorruptContext or NewerFormat where it is none."""

    def look(arrived: bytes) -> bool:
        from promptctl.context.card import card_of, header_length

        if len(arrived) < 8:
            return False
        length = header_length(arrived[:8], at_most, file)
        if len(arrived) < 8 + length:
            return False
        card_of(arrived[8 : 8 + length], file)
        return True

    return look
