"""`promptctl models`."""

from __future__ import annotations

from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.options import Format, Json, Output
from promptctl.cli.output import finish


def models_list(
    everything: Annotated[bool, typer.Option("--all", help="All pairs of open_clip's list as well.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print names only, one per line.")] = False,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """List mini, downloaded and recommended backbones.

    Examples:
        promptctl models list
        promptctl models list --all --quiet
    """
    finish(commands.list_models(everything=everything), output, json, quiet=quiet)


def models_pull(
    model: Annotated[str, typer.Argument(help="A name of open_clip, such as ViT-B-16/openai.")],
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Download a backbone.

    Examples:
        # needs the network
        promptctl models pull ViT-B-16/openai
    """
    finish(commands.pull_model(model), output, json)
