"""`promptctl relabel`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptctl import commands, render
from promptctl.cli.options import Device, Force, Format, Json, MaxForgetting, Name, OnDevice, Output
from promptctl.cli.output import finish


def relabel(
    context: Name,
    fixes: Annotated[
        Path, typer.Argument(help="CSV of hash,label or path,label: photos, and the class each is of after all.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    max_forgetting: MaxForgetting = 2.0,
    force: Force = False,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Correct the classes of photos, and learn from all stored photos again.

    A photo is named by its sha256, the first 8 digits or more of it, or its path. A line that is wrong changes nothing
    at all.
    """
    with render.progress() as progress:
        report = commands.relabel(
            context,
            fixes,
            dry_run=dry_run,
            max_forgetting=max_forgetting / 100,
            force=force,
            device=device.value,
            on_progress=progress,
        )
    finish(report, output, json)
