"""`promptctl encode`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptctl import commands, render
from promptctl.cli.options import Device, Format, Json, Model, OnDevice, Output
from promptctl.cli.output import finish


def encode(
    photos: Annotated[list[Path], typer.Argument(help="Image files and folders, searched through.")],
    out: Annotated[Path, typer.Argument(help="The file to write: .npz or .parquet.")],
    labels: Annotated[
        bool,
        typer.Option(
            "--labels", help="Also the class and split of every photo of a folder or list, as learn reads them."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    model: Model = "mini",
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Write the features of photos to a file, for other programs.

    Vectors of unit length, with the path and the sha256 of every photo and the name of the backbone.
    """
    with render.progress() as progress:
        report = commands.encode(
            photos, out, labels=labels, model=model, device=device.value, force=force, on_progress=progress
        )
    finish(report, output, json)
