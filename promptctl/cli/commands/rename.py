"""`promptctl rename`."""

from __future__ import annotations

from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.options import Format, Json, Name, Output
from promptctl.cli.output import finish


def rename(
    name: Name,
    new_name: Annotated[str, typer.Argument(help="The new name.")],
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Rename a context with all its versions.

    Examples:
        promptctl rename birds garden
    """
    finish(commands.rename(name, new_name), output, json)
