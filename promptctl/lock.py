"""Lock: one program at a time changes a store; the system frees it when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from promptctl.errors import InvalidSetting, StoreLocked

WAIT_VARIABLE = "PROMPTCTL_LOCK_TIMEOUT"
_WAIT = "30"  # seconds; nobody holds it for longer than writing a file takes
_POLL = 0.005


@contextlib.contextmanager
def only_writer(home: Path) -> Iterator[None]:
    """Hold `<home>/lock`, or StoreLocked with who holds it when it does not come free in time."""
    from filelock import FileLock, Timeout

    path = home / "lock"
    lock = FileLock(path, timeout=_patience(), poll_interval=_POLL)
    try:
        lock.acquire()
    except Timeout:
        raise StoreLocked(path, _holder(path)) from None
    try:
        with contextlib.suppress(OSError):
            path.write_text(f"process {os.getpid()} ({' '.join([Path(sys.argv[0]).name, *sys.argv[1:2]])})\n")
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError):
        said = path.read_text(errors="replace").strip()
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
