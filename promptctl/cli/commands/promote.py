"""`promptctl promote`."""

from __future__ import annotations

from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.completion import candidates
from promptctl.cli.options import Format, Json, Output
from promptctl.cli.output import finish


def promote(
    context: Annotated[str, typer.Argument(help="NAME@candidate.", autocompletion=candidates)],
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Make a refused update the next version.

    The versions before it stay.

    Examples:
        promptctl promote birds@candidate
    """
    finish(commands.promote(context), output, json)
