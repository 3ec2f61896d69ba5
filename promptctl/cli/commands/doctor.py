"""`promptctl doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptctl import commands, render
from promptctl.cli.options import ContextRef, Device, Format, Json, OnDevice, Output, OwnModel
from promptctl.cli.output import finish
from promptctl.remote import path_of


def doctor(
    context: ContextRef,
    photos: Annotated[
        Path | None,
        typer.Argument(help="A folder to find the files of the images in, by their content.", parser=path_of),
    ] = None,
    write_fixes: Annotated[
        Path | None,
        typer.Option(help="Write the labels that look wrong to a CSV, which relabel reads.", metavar="PATH"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing CSV.")] = False,
    model: OwnModel = None,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Look for mistakes in a context.

    Photos that look mislabelled, near-copies, classes that are taken for each other or have too few photos, and names
    that the backbone cannot read or tell apart. Each finding comes with the command that fixes it. Nothing is changed,
    and the exit code is 0.

    Examples:
        promptctl doctor birds
        promptctl doctor birds --write-fixes fixes.csv
    """
    with render.progress() as on_progress:
        report = commands.doctor(
            context,
            photos,
            write_fixes=write_fixes,
            force=force,
            model=model,
            device=device.value,
            on_progress=on_progress,
        )
    finish(report, output, json)
