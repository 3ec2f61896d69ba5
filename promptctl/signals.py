"""Signals: Ctrl-C ends a command at once, unless its change has just been made; then it says so.

A change of the store is made by one call: a link, a rename. After Ctrl-C before that call the command says that nothing
happened, after it that the change is made; for that call, and for the rest of the command after it, the first
signal is only remembered. A second one always ends the program, as it would any other.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import FrameType

from promptctl.errors import Interrupted

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_AGAIN_SECONDS = 0.01


@dataclass
class _Command:
    """The command that runs: one at a time, in the main thread."""

    stepping: bool = False  # the one call is being made
    done: bool = False
    pending: int | None = None  # a signal that came meanwhile
    kept: Counter[str] = field(default_factory=Counter)  # what stays, however it ends
    sentence: str | None = None  # what is said of it instead, where counts are not enough


_command = _Command()


def listen() -> None:
    """From here on a signal raises Interrupted, once; for the main thread, at the start of a command."""
    _command.stepping = _command.done = False
    _command.pending = None
    _command.kept = Counter()
    _command.sentence = None
    for number in _NUMBERS:
        signal.signal(number, _heard)
    sys.unraisablehook = _deliver_again


def finish() -> None:
    """All is said, and nothing is left to interrupt: the interpreter, which takes its time to end, hears no more."""
    _command.done = True
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)


def leave(exit_code: int) -> None:
    """End at once after an interruption, if a thread is still at work, which the interpreter would wait for."""
    others = set(threading.enumerate()) - {threading.main_thread()}
    if any(not thread.daemon for thread in others):  # a decoder, say, or a tower
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(exit_code)


def keep(what: str, count: int) -> None:
    """So many results lie on disk from here on; whoever interrupts the command is told of them."""
    _command.kept[what] += count


def say(sentence: str) -> None:
    """What whoever interrupts the command from here on is told."""
    _command.sentence = sentence


def said() -> str | None:
    return _command.sentence


def kept() -> Mapping[str, int]:
    """What the command has left on disk so far, and how many of each."""
    return {what: count for what, count in _command.kept.items() if count}


@contextlib.contextmanager
def step() -> Iterator[None]:
    """Around the one call by which a change comes to pass; Interrupted where a signal came and the call failed."""
    if threading.current_thread() is not threading.main_thread():  # no signal is heard there
        yield
        return
    within, _command.stepping = _command.stepping, True
    try:
        yield
        _command.done = True
    finally:
        _command.stepping = within
        if _command.pending and not (within or _command.done):
            raise Interrupted(_code(_command.pending))


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Around a few quick calls that belong together: a signal is heard at their end, and they are not the last word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    within, _command.stepping = _command.stepping, True
    try:
        yield
    finally:
        _command.stepping = within
        if _command.pending and not (within or _command.done):
            raise Interrupted(_code(_command.pending))


def _heard(number: int, _: FrameType | None) -> None:
    for either in _NUMBERS:
        signal.signal(either, signal.SIG_DFL)  # a second one ends us at once
    _command.pending = number
    if not _command.stepping and not _command.done:
        raise Interrupted(_code(number))


def _code(number: int) -> int:
    return 128 + number


def _deliver_again(lost: sys.UnraisableHookArgs) -> None:
    """What was raised inside `__del__` or a callback goes nowhere; an interruption comes again, a moment later."""
    if not issubclass(lost.exc_type, Interrupted) or _command.pending is None:
        sys.__unraisablehook__(lost)
        return
    number, listening = _command.pending, threading.Event()
    # on a busy machine its start alone may take longer than the moment, and what is raised in here is lost for good
    threading.Thread(target=_send, args=(number, listening), daemon=True).start()
    for either in _NUMBERS:
        signal.signal(either, _heard)
    listening.set()


def _send(number: int, listening: threading.Event) -> None:
    """To the main thread, so that it stops waiting for whatever it waits for."""
    listening.wait()
    time.sleep(_AGAIN_SECONDS)
    main = threading.main_thread().ident
    if main is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, number)
    else:
        signal.raise_signal(number)
