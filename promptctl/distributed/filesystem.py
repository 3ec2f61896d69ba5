"""File systems as Ray writes to them: fsspec's, asked anew each time and not from a listing that is kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptctl.remote import filesystem, is_remote

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


def unlisted(path: Path) -> tuple[AbstractFileSystem, str]:
    """The file system of a path, which keeps no listings, and what the path is called there; ExtraMissing."""
    if not is_remote(path):
        from fsspec.implementations.local import LocalFileSystem

        return LocalFileSystem(), os.path.abspath(path)  # noqa: PTH100
    found, place = filesystem(path)
    fresh = type(found)(**{**found.storage_options, "use_listings_cache": False, "skip_instance_cache": True})
    return fresh, place.rstrip("/")


def for_arrow(files: AbstractFileSystem, *, is_local: bool) -> Any:
    """The same as pyarrow has it; its own for this machine, whose rename is one step."""
    from pyarrow import fs

    return fs.LocalFileSystem() if is_local else fs.PyFileSystem(fs.FSSpecHandler(files))
