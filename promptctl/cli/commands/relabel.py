"""`promptctl relabel`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from promptctl import commands
from promptctl.cli.options import (
    Device,
    Force,
    Format,
    Json,
    LabelColumn,
    MaxForgetting,
    Name,
    OnDevice,
    Output,
    PathColumn,
)
from promptctl.cli.output import finish_version


def relabel(
    context: Name,
    fixes: Annotated[
        Path, typer.Argument(help="CSV of hash,label or path,label: each photo to correct, and its class.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
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
    columns: dict[str, Any] = {"path_column": path_column, "label_column": label_column}
    command = partial(commands.relabel, context, fixes, dry_run=dry_run, **columns)
    finish_version(command, output, json, max_forgetting=max_forgetting, force=force, device=device)
