"""`promptctl export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.options import Blend, ContextRef, ExportAs, Format, Json, Output, OwnModel, parse_share
from promptctl.cli.output import finish


def export(
    context: ContextRef,
    out: Annotated[Path, typer.Argument(help="File to write.")],
    kind: Annotated[
        ExportAs,
        typer.Option(
            "--as",
            help="context: a context file; coop: a checkpoint of the original CoOp code; head: a plain matrix for "
            "open_clip; onnx: the image tower and the head in one graph.",
        ),
    ] = ExportAs.context,
    without_shots: Annotated[
        bool, typer.Option("--without-shots", help="Leave out the features of the images it was learned from.")
    ] = False,
    prototypes_only: Annotated[
        bool,
        typer.Option(
            "--prototypes-only",
            help="Keep a mean and a variance per class instead of them, which it can still learn more from.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    blend: Blend = "1",
    model: OwnModel = None,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Write a context to a file.

    Examples:
        promptctl export birds birds.safetensors
        promptctl export birds birds.onnx --as onnx
    """
    report = commands.export(
        context,
        out,
        kind=kind.value,
        shots=not without_shots,
        prototypes=prototypes_only,
        blend=parse_share(blend),
        force=force,
        model=model,
    )
    finish(report, output, json)
