"""`promptctl restore`."""

from __future__ import annotations

from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.completion import in_trash
from promptctl.cli.options import Format, Json, Output
from promptctl.cli.output import finish


def restore(
    context: Annotated[str, typer.Argument(help="NAME, out of the trash; or NAME@VERSION.", autocompletion=in_trash)],
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Bring a removed context back, or make an old version the newest."""
    finish(commands.restore(context), output, json)
