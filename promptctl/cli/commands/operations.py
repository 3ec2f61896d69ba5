"""`promptctl operations`."""

from __future__ import annotations

from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.options import Format, Json, Output
from promptctl.cli.output import finish


def operations(
    last: Annotated[int, typer.Option("--last", min=1, help="How many, the newest first.")] = 20,
    output: Output = Format.table,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print numbers only.")] = False,
) -> None:
    """List what was sorted and changed.

    Examples:
        promptctl operations
    """
    finish(commands.operations(last), output, json, quiet=quiet)
