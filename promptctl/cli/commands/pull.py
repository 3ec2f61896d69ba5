"""`promptctl pull`."""

from __future__ import annotations

from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.options import Format, Json, Output
from promptctl.cli.output import finish


def pull(
    repository: Annotated[
        str, typer.Argument(metavar="OWNER/NAME[@REVISION]", help="Repository of a hub that push wrote to.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="Name of the context.  [default: the repository's]")
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Store it as the next version of its name.")] = False,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Fetch a context from the Hugging Face hub.

    One file is fetched, verified, and stored. No code is run.

    Examples:
        # needs the network
        promptctl pull you/birds-context@v3 --name birds
    """
    finish(commands.pull(repository, name, update=update), output, json)
