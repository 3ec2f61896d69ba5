"""Lock: one program at a time changes a store; the system frees it when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from promptctl.errors import InvalidSetting, StoreLocked

WAIT_VARIABLE = "PROMPTCTL_LOCK_TIMEOUT"
_WAIT = "120"  # seconds; nobody holds it for longer than writing a file takes
_POLL = 0.005


@contextlib.contextmanager
def only_writer(home: Path) -> Iterator[None]:
    """Hold `<home>/.lock`, or StoreLocked with who holds it when it does not come free in time."""
    from filelock import FileLock, Timeout

    path, note = home / ".lock", home / ".lock-holder"
    lock = FileLock(path, timeout=_patience(), poll_interval=_POLL)
    try:
        with warnings.catch_warnings():  # of file systems without locks, where a file stands for one
            warnings.simplefilter("ignore")
            lock.acquire()
    except Timeout:
        raise StoreLocked(path, _holder(note)) from None
    try:
        with contextlib.suppress(OSError):
            note.write_text(f"process {os.getpid()} ({' '.join([Path(sys.argv[0]).name, *sys.argv[1:2]])})\n")
        yield
    finally:
        lock.release()


def _holder(note: Path) -> str:
    with contextlib.suppress(OSError):
        said = note.read_text(errors="replace").strip()
        if said:
            return said
    return "another program"


def _patience() -> float:
    asked = os.environ.get(WAIT_VARIABLE) or _WAIT
    try:
        seconds = float(asked)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86400:
        raise InvalidSetting(WAIT_VARIABLE, asked, "a number of seconds", f"export {WAIT_VARIABLE}={_WAIT}")
    return seconds
