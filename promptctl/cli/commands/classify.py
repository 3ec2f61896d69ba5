"""`promptctl classify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptctl import commands, render
from promptctl.cli.completion import known_refs
from promptctl.cli.options import Blend, Device, Format, Json, OnDevice, Output, OwnModel, parse_share
from promptctl.cli.output import finish


def classify(
    inputs: Annotated[list[Path], typer.Argument(help="Image files, and folders to search for images.")],
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", help="NAME, NAME@VERSION or a context file.", autocompletion=known_refs)
    ],
    top: Annotated[int, typer.Option("--top", "--top-k", min=1, help="Classes to show per image.")] = 3,
    blend: Blend = "1",
    model: OwnModel = None,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Classify photos, or whole folders of them."""
    with render.progress() as progress:
        report = commands.classify(
            inputs, prompt, top=top, blend=parse_share(blend), model=model, device=device.value, on_progress=progress
        )
        finish(report, output, json, progress=progress)  # photos are encoded while their rows are printed
