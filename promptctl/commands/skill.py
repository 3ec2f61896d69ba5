"""`skill`: what a program needs to know of the commands, written where its skills are."""

from __future__ import annotations

import os

from promptctl import checks
from promptctl.commands.writing import check_free, place_file


def write_page(out: str | os.PathLike[str], page: str, *, force: bool = False) -> None:
    """Write the page to a file; ExportFailed where one is already, unless it may be replaced."""
    path = checks.path("output", out)
    check_free(path, force)
    place_file(path, page.encode(), force)
