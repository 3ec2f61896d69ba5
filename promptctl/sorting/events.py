"""Events: a folder whose changes the system tells, by watchfiles; where it tells none, time says when to look."""

from __future__ import annotations

import os
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from promptctl.errors import ExtraMissing

_STEP = 50  # milliseconds without a change after which those before are told
_LONGEST = 500  # milliseconds that changes are gathered
_TO_END = 1.0  # seconds
_AGAIN = 60.0  # seconds


def check_library() -> None:
    """ExtraMissing where watchfiles is not installed."""
    if find_spec("watchfiles") is None:
        raise ExtraMissing("watching a folder", "watchfiles", "watch")


class Events:
    """Changes below a folder, as an alarm that rings.

    A thread of its own hears them, so that whoever waits here can be interrupted. Links are not followed, and a network
    drive tells only what this machine changes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rung = threading.Event()
        self._over = threading.Event()
        self._identity: tuple[int, int] | None = None  # of the folder that is heard
        self._thread: threading.Thread | None = None
        self._again = 0.0  # when it is tried again where nothing was heard
        self.lost: str | None = None  # why nothing is heard

    def follow(self) -> None:
        """Hear the folder that is there now: it may have been made again, or come back with its disk."""
        identity = _identity(self._folder)
        if identity == self._identity and (self.hears or time.monotonic() < self._again):
            return
        self._end()
        self._again = time.monotonic() + _AGAIN
        self._identity = identity
        if identity is not None:
            self._over = threading.Event()
            self._thread = threading.Thread(target=self._hear, args=(self._over,), daemon=True)
            self._thread.start()

    @property
    def hears(self) -> bool:
        """Whether it is listened to the folder, or is about to be."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Until something changes, or for so long."""
        self._rung.wait(seconds)
        self._rung.clear()

    def _hear(self, over: threading.Event) -> None:
        try:
            from watchfiles import watch

            self.lost = None
            changes = watch(
                self._folder,
                watch_filter=None,
                debounce=_LONGEST,
                step=_STEP,
                stop_event=over,
                rust_timeout=_LONGEST,
                yield_on_timeout=True,
                ignore_permission_denied=True,
            )
            began = False
            for some in changes:
                if some or not began:  # from now on all are heard: what came before is to be looked for
                    self._rung.set()
                began = True
        except Exception as error:  # of the system's many, each by another library; the time says when to look
            if not over.is_set():
                self.lost = str(error) or type(error).__name__

    def _end(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(_TO_END)
            self._thread = None

    def __enter__(self) -> Events:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._end()


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(folder)  # noqa: PTH116
    except OSError:
        return None
    return found.st_dev, found.st_ino
