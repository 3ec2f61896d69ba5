"""`promptctl inspect`."""

from __future__ import annotations

from typing import Annotated

import typer

from promptctl import commands, render
from promptctl.cli.options import ContextRef, Format, Json, Output, OwnModel
from promptctl.cli.output import finish


def inspect(
    context: ContextRef,
    top: Annotated[int, typer.Option(min=1, help="Nearest words to show per vector.")] = 5,
    model: OwnModel = None,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Show the words nearest to a context.

    Examples:
        promptctl inspect birds
        promptctl inspect birds@1 --top 3
    """
    with render.progress():
        report = commands.inspect(context, top=top, model=model, device="cpu")
    finish(report, output, json)
