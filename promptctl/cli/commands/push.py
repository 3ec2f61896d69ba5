"""`promptctl push`."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from promptctl import commands, typed
from promptctl.cli.options import ContextRef, Format, Json, Output
from promptctl.cli.output import ask, finish
from promptctl.render import talk

Repository = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository of a hub; made where there is none.")]


def push(
    context: ContextRef,
    repository: Repository,
    with_shots: Annotated[
        bool, typer.Option("--with-shots", help="With features and checksums of the photos.")
    ] = False,
    private: Annotated[
        bool | None,
        typer.Option("--private/--public", help="Who sees a new repository.  [default: private]", show_default=False),
    ] = None,
    license: Annotated[
        str | None, typer.Option(metavar="ID", help="License for the model card: cc-by-4.0, mit")
    ] = None,
    revision: Annotated[str | None, typer.Option(metavar="BRANCH", help="Branch to write to.  [default: main]")] = None,
    tag: Annotated[str | None, typer.Option(metavar="NAME", help="Tag the commit, such as v3.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be uploaded, and the card.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed without a terminal.")] = False,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Upload a context to the Hugging Face hub.

    Writes the context, without its shots, and a model card made
    from it. HF_ENDPOINT names another hub, HF_TOKEN the token.

    Examples:
        # asks over the network, and writes nothing
        promptctl push birds you/birds-context --dry-run
        # needs the network and a token
        promptctl push birds@3 you/birds-context --tag v3
    """

    def confirm(what: str) -> None:
        if yes:
            talk(f"uploading {what}")
        else:
            again = shlex.join(["promptctl", *typed.words(), "--yes"])
            ask(f"Upload {what}?", f"uploading '{context}'", again)

    report = commands.push(
        context,
        repository,
        shots=with_shots,
        private=private,
        license=license,
        revision=revision,
        tag=tag,
        dry_run=dry_run,
        confirm=confirm,
    )
    finish(report, output, json)
