"""`promptctl import`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.options import Device, Format, Json, OnDevice, Output, Position
from promptctl.cli.output import finish


def import_context(
    file: Annotated[
        Path, typer.Argument(help="A context file, or a checkpoint of the original CoOp code: model.pth.tar-EPOCH.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="Name of the context.  [default: the file's]")
    ] = None,
    position: Annotated[
        Position | None,
        typer.Option(help="For a checkpoint: position of the class name.  [default: end]"),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            help="For a checkpoint: class names, one per line, in the order they were learned in.  "
            "[default: those in the file]",
            metavar="TXT",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="For a checkpoint: the backbone it was learned on.  [default: PROMPTCTL_MODEL, else mini]"),
    ] = None,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Store a context from a file.

    Reads context files and checkpoints of the original CoOp code.

    Examples:
        promptctl import birds.safetensors --name birds-again
        # needs the network once, for the backbone
        promptctl import model.pth.tar-50 --name pets \\
            --model ViT-B-16/openai
    """
    report = commands.import_context(
        file,
        name,
        position=position.value if position else None,
        classes=classes,
        model=model,
        usual_model=os.environ.get("PROMPTCTL_MODEL") or "mini",
        device=device.value,
    )
    finish(report, output, json)
