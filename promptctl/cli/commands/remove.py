"""`promptctl remove`."""

from __future__ import annotations

from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.options import Format, Json, Output, StoredRef
from promptctl.cli.output import ask, finish


def remove(
    context: StoredRef,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask for confirmation; needed without a terminal.")
    ] = False,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Move a context or version to the trash.

    Examples:
        promptctl remove birds
        promptctl remove birds@2 --yes
    """
    if not yes:
        what = commands.to_remove(context)
        ask(f"Move {what} to the trash?", f"removing '{context}'", f"promptctl remove {context} --yes")
    finish(commands.remove(context), output, json)
