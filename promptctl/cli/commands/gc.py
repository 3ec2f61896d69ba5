"""`promptctl gc`."""

from __future__ import annotations

from typing import Annotated

import typer

from promptctl import commands
from promptctl.cli.options import Format, Json, Output
from promptctl.cli.output import ask, finish
from promptctl.store.store import TRASH_DAYS


def gc(
    days: Annotated[
        float, typer.Option(min=0, max=36500, help="Delete items that have been in the trash for this many days.")
    ] = TRASH_DAYS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask for confirmation; needed without a terminal.")
    ] = False,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Delete leftovers of crashes and old trash.

    Examples:
        promptctl gc --dry-run
        promptctl gc --yes
    """
    if not (dry_run or yes) and (going := commands.trash_to_empty(days)):
        count = f"{len(going)} removed context{'' if len(going) == 1 else 's'}"
        ask(f"Delete {count} for good?", "emptying the trash", f"promptctl gc --days {days:g} --yes")
    finish(commands.gc(days=days, dry_run=dry_run), output, json)
