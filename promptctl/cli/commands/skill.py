"""`promptctl skill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptctl import __version__, commands, render
from promptctl.cli.options import Format, Json
from promptctl.cli.output import finish
from promptctl.report import SkillReport


def skill(
    command: Annotated[
        list[str] | None, typer.Argument(help="Only this command, with what its options mean.", show_default=False)
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write the page to a file, such as SKILL.md.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    json: Json = False,
) -> None:
    """Print a page for programs that drive it.

    A language model with a shell learns from it what there is to type, what comes back, and what is never done without
    being asked for. It begins as a skill does: with a name and a description.

    Examples:
        promptctl skill
        promptctl skill class merge
        promptctl skill --output SKILL.md
    """
    from promptctl.cli.manual import manual_of  # which lists this command
    from promptctl.cli.skill import page_of

    if force and file is None:
        raise typer.BadParameter("nothing here replaces a file: add --output FILE", param_hint="--force")
    facts = manual_of(command or ())
    page = page_of(facts, whole=not command)
    if file is not None:
        commands.write_page(file, page, force=force)
    elif not json:
        render.write(page)
        return
    finish(SkillReport(__version__, file, facts), Format.table, json)
