"""Writing a file that a person names: refused early, then written whole or not at all."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from promptctl import checks, signals
from promptctl.errors import (
    ExportFailed,
    reason_of,
)
from promptctl.remote import is_remote
from promptctl.store import files
from promptctl.store.store import Store


def check_free(out: Path, force: bool) -> None:
    """ExportFailed now, rather than when there is something to write; a link stands for what it leads to."""
    if is_remote(out):
        raise ExportFailed(out, "files are written on this machine alone", "name a file here, and copy it afterwards")
    if out.is_dir():
        raise ExportFailed(out, "it is a folder", "name a file in it")
    if out.exists() and not out.is_file():  # a device, a pipe
        raise ExportFailed(out, "it exists and is not a file", "name another")
    if not out.parent.is_dir():
        raise ExportFailed(out, f"there is no folder {out.parent}", f"mkdir -p {shlex.quote(str(out.parent))}")
    if not force and (out.exists() or out.is_symlink()):
        raise ExportFailed(out, "it already exists", "--force replaces it")
    try:
        with files.finished_file(out.parent, b""):
            pass
    except OSError as error:
        raise ExportFailed(out, reason_of(error), "name another folder") from error


def checked_figure(plot: str | os.PathLike[str], force: bool) -> Path:
    """Where a figure goes; ExportFailed where it cannot."""
    from promptctl.benchmark.plot import KINDS

    plot = checks.path("plot", plot)
    if plot.suffix.lower() not in KINDS:
        example = plot.parent / f"{plot.stem or 'curve'}.png"
        raise ExportFailed(plot, f"a figure ends in {', '.join(KINDS)}", f"--plot {shlex.quote(str(example))}")
    check_free(plot, force)
    return plot


def refuse_inside_store(out: Path, store: Store, hint: str = "name a file elsewhere") -> None:
    """Versions are written once; no command replaces or invents one, or puts something else beside them."""
    inside = store.home.resolve()
    if any((inside / part) in out.resolve().parents for part in ("contexts", "trash")):
        raise ExportFailed(out, "it is inside the store", hint)


def place_file(out: Path, data: bytes, force: bool) -> None:
    """Write a file whole or not at all, where `check_free` let it be."""
    try:
        with signals.step():
            files.write_atomic(out, data, replace=force)
    except OSError as error:
        raise ExportFailed(out, reason_of(error)) from error
