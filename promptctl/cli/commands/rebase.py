"""`promptctl rebase`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptctl import commands, render
from promptctl.cli.options import Device, Format, Json, Name, OnDevice, Output
from promptctl.cli.output import finish


def rebase(
    context: Name,
    photos: Annotated[Path, typer.Argument(help="Folder tree with the photos it was learned from.")],
    model: Annotated[str, typer.Option("--model", help="The other backbone: mini or any open_clip name.")],
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Leave out classes none of whose photos are found.")
    ] = False,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Learn a context again on another backbone.

    From the photos it was learned from, which are found by their content wherever they lie now. Classes, what is held
    out and what came with which version stay as they are. It is the next version, and restore goes back.
    """
    with render.progress() as progress:
        report = commands.rebase(
            context,
            photos,
            model=model,
            drop_missing=drop_missing,
            device=device.value,
            on_progress=progress,
        )
    finish(report, output, json)
