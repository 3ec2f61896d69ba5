"""`promptctl list`."""

from __future__ import annotations

from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.options import Format, Json, Output, Sort
from promptctl.cli.output import finish


def list_contexts(
    prefix: Annotated[str, typer.Argument(help="Only names that start with this.")] = "",
    sort: Annotated[Sort, typer.Option(help="Sort order; all but name put the largest or newest first.")] = Sort.name,
    trash: Annotated[bool, typer.Option("--trash", help="List what was removed and can be restored.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print names only, one per line.")] = False,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """List the contexts in the store.

    Examples:
        promptctl list
        promptctl list --sort accuracy
        promptctl list --trash
    """
    report = commands.list_trash(prefix) if trash else commands.list_contexts(prefix, sort=sort.value)
    finish(report, output, json, quiet=quiet)
