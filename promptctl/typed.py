"""Typed: the command as a person typed it, which the journal keeps; nothing where Python calls."""

from __future__ import annotations

from collections.abc import Sequence

_words: tuple[str, ...] = ()


def remember(words: Sequence[str]) -> None:
    """At the start of the command line, without the name of the program."""
    global _words
    _words = tuple(words)


def words() -> tuple[str, ...]:
    return _words
