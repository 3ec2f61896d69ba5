"""`promptctl check`."""

from __future__ import annotations

from typing import Annotated

import typer

from promptctl import commands, render
from promptctl.cli.completion import known_refs
from promptctl.cli.options import Format, Json, Output
from promptctl.cli.output import finish


def check(
    contexts: Annotated[
        list[str] | None,
        typer.Argument(help="Names (with all their versions), single versions, or files.", autocompletion=known_refs),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every version, and the trash.")] = False,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Check that context files are intact.

    Reads every bit, and tells whether the backbones are on this machine and unchanged.

    Examples:
        promptctl check birds
        promptctl check --all
    """
    with render.progress("reading contexts"):
        report = commands.check(contexts or (), everything=everything)
    finish(report, output, json)
