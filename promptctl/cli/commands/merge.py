"""`promptctl merge`."""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.completion import known_names
from promptctl.cli.options import (
    Device,
    Force,
    ForceNewClass,
    Format,
    Json,
    MaxForgetting,
    Name,
    OnDevice,
    Output,
)
from promptctl.cli.output import finish_version


class Whose(str, Enum):
    first = "first"
    second = "second"


def merge(
    context: Name,
    second: Annotated[str, typer.Argument(help="NAME of the other context.", autocompletion=known_names)],
    name: Annotated[str, typer.Option("--name", "-n", help="Name of the merged context.")],
    on_conflict: Annotated[
        Whose | None,
        typer.Option(
            help="Which context decides about photos that both have, under different classes.  [default: refuse]",
            show_default=False,
        ),
    ] = None,
    force_new_class: ForceNewClass = False,
    max_forgetting: MaxForgetting = 2.0,
    force: Force = False,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Learn one context from the photos of two.

    Both stay as they are. Classes that have a label, an alias or a name in common are one. The backbone must be the
    same.

    Examples:
        promptctl merge birds seabirds --name all-birds
    """
    command = partial(
        commands.merge,
        context,
        second,
        name,
        on_conflict=on_conflict.value if on_conflict else None,
        force_new_class=force_new_class,
    )
    finish_version(command, output, json, max_forgetting=max_forgetting, force=force, device=device)
