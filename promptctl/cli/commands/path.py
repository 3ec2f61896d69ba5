"""`promptctl path`."""

from __future__ import annotations

from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.completion import known_refs
from promptctl.cli.options import Format, Json, Output
from promptctl.cli.output import finish


def show_path(
    context: Annotated[
        str | None, typer.Argument(help="NAME or NAME@VERSION.  [default: the store]", autocompletion=known_refs)
    ] = None,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Print the path of the store or a context.

    Examples:
        promptctl path
        promptctl path birds@1
    """
    finish(commands.path(context), output, json)
