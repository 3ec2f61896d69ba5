"""`promptctl restore`."""

from __future__ import annotations

from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.completion import in_trash
from promptctl.cli.options import Format, Json, Output
from promptctl.cli.output import finish


def restore(
    context: Annotated[
        str, typer.Argument(help="NAME in the trash, NAME@VERSION or NAME@candidate.", autocompletion=in_trash)
    ],
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Restore a removed or an old version.

    An old version becomes the newest again.

    Examples:
        promptctl restore birds@1
        promptctl restore pets
    """
    finish(commands.restore(context), output, json)
