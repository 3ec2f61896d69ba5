"""`promptctl rebase`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.options import Device, Force, Format, Json, MaxForgetting, Name, OnDevice, Output
from promptctl.cli.output import finish_version
from promptctl.remote import path_of


def rebase(
    context: Name,
    photos: Annotated[Path, typer.Argument(help="Folder tree with the photos it was learned from.", parser=path_of)],
    model: Annotated[str, typer.Option("--model", help="The new backbone: mini or any open_clip model.")],
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Leave out classes none of whose photos are found.")
    ] = False,
    max_forgetting: MaxForgetting = 2.0,
    force: Force = False,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Learn a context again on another backbone.

    From the same photos, which are found by content, wherever they are now. The classes and the photos held out stay as
    they are. The result is the next version, unless it recognises fewer of the photos held out; restore goes back.

    Examples:
        # needs the network once, for the backbone
        promptctl rebase birds ./photos --model ViT-B-16/openai
    """
    command = partial(commands.rebase, context, photos, model=model, drop_missing=drop_missing)
    finish_version(command, output, json, max_forgetting=max_forgetting, force=force, device=device)
