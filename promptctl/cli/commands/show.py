"""`promptctl show`."""

from __future__ import annotations

from promptctl import commands
from promptctl.cli.options import ContextRef, Format, Json, Output
from promptctl.cli.output import finish


def show(context: ContextRef, output: Output = Format.table, json: Json = False) -> None:
    """Show classes and settings of a context.

    Examples:
        promptctl show birds
    """
    finish(commands.show(context), output, json)
