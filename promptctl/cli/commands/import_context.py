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
        Path, typer.Argument(help="A context file; or what the original CoOp code saved: model.pth.tar-EPOCH.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="What to call the context.  [default: as the file]")
    ] = None,
    position: Annotated[
        Position | None,
        typer.Option(help="Of the original code's: where the class name stood.  [default: end]"),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            help="Of the original code's: class names one a line, in the order they were learned in.  "
            "[default: read back from the file]",
            metavar="TXT",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Of the original code's: the backbone it was learned on.  [default: PROMPTCTL_MODEL, else mini]"
        ),
    ] = None,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Store a context from a file, also of the original CoOp code."""
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
