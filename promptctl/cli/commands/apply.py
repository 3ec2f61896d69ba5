"""`promptctl apply`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptctl import commands, render
from promptctl.cli.options import Format, Json, Output
from promptctl.cli.output import finish


def apply(
    plan: Annotated[Path, typer.Argument(help="A plan that `sort --plan` wrote.")],
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Carry out a plan that sort wrote.

    Examples:
        promptctl apply plan.jsonl
    """
    with render.progress() as progress:
        report = commands.apply(plan, on_progress=progress)
    finish(report, output, json)
