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
    model: Annotated[str, typer.Option("--model", help="The new backbone: mini or any open_clip model.")],
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Leave out classes none of whose photos are found.")
    ] = False,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Learn a context again on another backbone.

    From the same photos, which are found by content, wherever they are now. The classes and the photos held out stay as
    they are. The result is the next version; restore goes back.

    Examples:
        # needs the network once, for the backbone
        promptctl rebase birds ./photos --model ViT-B-16/openai
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
