"""Stderr: one line to the person who waits, as far as it can be written at all."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

from promptctl.render.reader import is_person
from promptctl.render.text import columns_of, for_stream, wrapped


def talk(line: str) -> None:
    """One line to the person, on stderr; on a terminal several where it is too narrow."""
    text = for_stream(line, sys.stderr)
    parts = wrapped(text, columns_of(sys.stderr)) if is_person(sys.stderr) else [text]
    try:
        sys.stderr.write("".join(f"{part}\n" for part in parts))
        sys.stderr.flush()
    except (OSError, ValueError):  # nobody listens, or the disk of a log is full; the result is another matter
        give_up(sys.stderr)


def give_up(stream: TextIO) -> None:
    """Keep Python from complaining at exit about what could not be written to a stream."""
    with suppress(OSError, ValueError):  # no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
