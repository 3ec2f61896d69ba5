"""`promptctl copy`."""

from __future__ import annotations

from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.options import Format, Json, Output, StoredRef
from promptctl.cli.output import finish


def copy(
    context: StoredRef,
    name: Annotated[str, typer.Argument(help="The new name.")],
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Copy a context to another name.

    With all its versions, or the one you name.

    Examples:
        promptctl copy birds garden
        promptctl copy birds@2 garden
    """
    finish(commands.copy(context, name), output, json)
