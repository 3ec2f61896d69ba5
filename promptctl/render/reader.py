"""Who reads: a person at a terminal, or a program, which gets no bars, no folded lines and no questions."""

from __future__ import annotations

from typing import TextIO

_program = False


def a_program_reads(yes: bool) -> None:
    """Whether a program reads, even where there is a terminal, from now on."""
    global _program
    _program = yes


def is_program() -> bool:
    return _program


def is_person(stream: TextIO) -> bool:
    """Whether a person sits at the other end of the stream."""
    return not _program and stream.isatty()
