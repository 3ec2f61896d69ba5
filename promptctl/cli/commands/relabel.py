"""`promptctl relabel`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.options import Device, Force, Format, Json, MaxForgetting, Name, OnDevice, Output
from promptctl.cli.output import finish_version


def relabel(
    context: Name,
    fixes: Annotated[
        Path, typer.Argument(help="CSV of hash,label or path,label: each photo to correct, and its class.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    max_forgetting: MaxForgetting = 2.0,
    force: Force = False,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Correct labels of photos and learn again.

    From all stored photos. A photo is named by its sha256, by the first 8 digits of it or more, or by its path. If one
    line is wrong, nothing is changed.

    Examples:
        promptctl relabel birds fixes.csv --dry-run
        promptctl relabel birds fixes.csv
    """
    command = partial(commands.relabel, context, fixes, dry_run=dry_run)
    finish_version(command, output, json, max_forgetting=max_forgetting, force=force, device=device)
