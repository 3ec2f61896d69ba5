"""`promptctl undo`."""

from __future__ import annotations

from typing import Annotated

import typer

from promptctl import commands, render
from promptctl.cli.options import Format, Json, Output
from promptctl.cli.output import finish


def undo(
    operation: Annotated[
        int | None,
        typer.Argument(
            min=1,
            help="Number of an operation, as `operations` lists them, an undo too.  [default: the newest that is not "
            "taken back]",
            show_default=False,
        ),
    ] = None,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Take back the last sort or store change.

    Examples:
        promptctl undo
        promptctl undo 12
    """
    with render.progress() as progress:
        report = commands.undo(operation, on_progress=progress)
    finish(report, output, json)
