"""Lock: one program at a time changes a store; the system frees it when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from promptctl.errors import InTheWay, InvalidSetting, NoLocks, StoreLocked

WAIT_VARIABLE = "PROMPTCTL_LOCK_TIMEOUT"
_WAIT = "120"  # seconds; nobody holds it for longer than writing a file takes
_PATIENCE = 2.0  # seconds without a word
_POLL = 0.005
_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)  # how a system says that another has it
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
# never through a link and never waiting for a pipe: another may have put it there
_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_LONGEST_NOTE = 200  # bytes

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def only_writer(home: Path) -> Iterator[None]:
    """Hold `<home>/.lock`, or StoreLocked with who holds it when it does not come free in time.

    raises   InTheWay where something else stands for the file, NoLocks on a drive without locks, OSError
    """
    path, note = home / ".lock", home / ".lock-holder"
    with _opened(path, os.O_RDWR | os.O_CREAT) as descriptor:
        _wait(descriptor, path, note)
        try:
            with contextlib.suppress(OSError, InTheWay):  # a note only, for whoever waits too long
                _write(note, f"process {os.getpid()} ({' '.join([Path(sys.argv[0]).name, *sys.argv[1:2]])})\n")
            yield
        finally:
            _release(descriptor)


def hold(descriptor: int, path: Path) -> bool:
    """Hold an open file until it is closed, or False where another program does; NoLocks, OSError."""
    return _taken(descriptor, path)


@contextlib.contextmanager
def held_alone(path: Path) -> Iterator[bool]:
    """Hold a file that is made for this alone, or False where another program does; NoLocks, InTheWay, OSError."""
    with _opened(path, os.O_RDWR | os.O_CREAT) as descriptor:
        yield _taken(descriptor, path)


def is_held(path: Path) -> bool:
    """Whether a program holds a file this moment; False where there is no such file."""
    with contextlib.suppress(FileNotFoundError), _opened(path, os.O_RDWR) as descriptor:
        return not _taken(descriptor, path)  # closing it frees it again
    return False


def _wait(descriptor: int, path: Path, note: Path) -> None:
    started, longest, said = time.monotonic(), _patience(), False
    while not _taken(descriptor, path):
        waited = time.monotonic() - started
        if waited >= longest:
            raise StoreLocked(path, _holder(note))
        if waited >= _PATIENCE and not said:
            said = True
            _log.warning("waiting for %s, which is changing the store", _holder(note))
        time.sleep(_POLL)


def _taken(descriptor: int, path: Path) -> bool:
    try:
        _take(descriptor)
        return True
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno in _NO_LOCKS:
            raise NoLocks(error, path.parent) from error
        error.filename = str(path)
        raise


if sys.platform == "win32":
    import msvcrt

    _BYTE = 2**31 - 2  # which nobody reads: a byte that is locked cannot be read by others

    def _take(descriptor: int) -> None:
        os.lseek(descriptor, _BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _release(descriptor: int) -> None:
        os.lseek(descriptor, _BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _release(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """A descriptor of a plain file, and of nothing else that bears its name."""
    try:
        descriptor = os.open(path, flags | _SAFELY, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise InTheWay(path) from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InTheWay(path)
        yield descriptor
    finally:
        os.close(descriptor)


def _write(note: Path, text: str) -> None:
    with _opened(note, os.O_WRONLY | os.O_CREAT) as descriptor:
        if os.fstat(descriptor).st_nlink > 1:  # another's, under a second name
            return
        os.ftruncate(descriptor, 0)
        os.write(descriptor, text.encode(errors="surrogateescape")[:_LONGEST_NOTE])


def _holder(note: Path) -> str:
    with contextlib.suppress(OSError, InTheWay), _opened(note, os.O_RDONLY) as descriptor:
        said = " ".join(os.read(descriptor, _LONGEST_NOTE).decode(errors="replace").split())
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
