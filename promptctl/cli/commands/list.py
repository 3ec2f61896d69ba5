"""`promptctl list`."""

from __future__ import annotations

from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.options import Format, Json, Output, Sort
from promptctl.cli.output import finish


def list_contexts(
    prefix: Annotated[str, typer.Argument(help="Only names that start with this.")] = "",
    sort: Annotated[Sort, typer.Option(help="In which order; but for name the largest or newest first.")] = Sort.name,
    trash: Annotated[bool, typer.Option("--trash", help="What was removed and can be restored.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Names only, one a line.")] = False,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """The contexts in the store."""
    report = commands.list_trash(prefix) if trash else commands.list_contexts(prefix, sort=sort.value)
    finish(report, output, json, quiet=quiet)
