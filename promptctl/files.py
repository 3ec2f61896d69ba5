"""Files: written whole beside their place, made durable, then put there."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


def place(path: Path, data: bytes, *, replace: bool) -> None:
    """Write a file whole or not at all, where a link leads if it may replace one; FileExistsError if it may not."""
    if replace:
        path = Path(os.path.realpath(path))
    with finished_file(path.parent, data) as temporary:
        if replace:
            temporary.replace(path)
        else:
            link_or_copy(temporary, path)
    fsync_folder(path.parent)


@contextlib.contextmanager
def finished_file(folder: Path, data: bytes) -> Iterator[Path]:
    """A durable temporary file beside its final name, gone again afterwards."""
    temporary = folder / f".{secrets.token_hex(8)}.part"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def link_or_copy(finished: Path, target: Path) -> None:
    """Give a finished file its name, or FileExistsError."""
    try:
        os.link(finished, target)
    except FileExistsError:
        raise
    except OSError:
        # no hard links here (some network and memory-card file systems): claim the name, then fill it
        with target.open("xb") as file:
            file.write(finished.read_bytes())
            file.flush()
            os.fsync(file.fileno())


def fsync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder to sync it
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
