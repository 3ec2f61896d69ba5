"""`promptctl export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.options import ContextRef, ExportAs, Format, Json, Output, OwnModel
from promptctl.cli.output import finish
from promptctl.errors import WrongOption


def export_context(
    context: ContextRef,
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    kind: Annotated[
        ExportAs,
        typer.Option("--as", help="What to write: a context file, or coop, a checkpoint of the original CoOp code."),
    ] = ExportAs.context,
    without_shots: Annotated[
        bool, typer.Option("--without-shots", help="Leave out the features of the images it was learned from.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    model: OwnModel = None,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Write a context to a file of its own."""
    if kind is ExportAs.context and model:
        raise WrongOption("a context file is written without its backbone", "leave out --model")
    if kind is ExportAs.coop:
        finish(commands.export_checkpoint(context, out, force=force, model=model), output, json)
    else:
        finish(commands.export_context(context, out, shots=not without_shots, force=force), output, json)
