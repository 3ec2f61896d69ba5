"""`promptctl review`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from promptctl import commands, render
from promptctl.cli.completion import known_refs
from promptctl.cli.options import (
    Device,
    Exclude,
    Format,
    Json,
    NoUnknown,
    OnDevice,
    Output,
    OwnModel,
    Unknown,
    parse_unknown,
)
from promptctl.cli.output import finish
from promptctl.remote import path_of


def review(
    photos: Annotated[
        list[Path], typer.Argument(help="Image files, folders to search, and URLs of both.", parser=path_of)
    ],
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", help="NAME, NAME@VERSION or a context file.", autocompletion=known_refs)
    ],
    decisions: Annotated[
        Path,
        typer.Option("--output", metavar="FILE", help="Keep every answer in FILE, and go on with one that exists."),
    ] = Path(commands.REVIEW_OUTPUT),
    suggest: Annotated[
        int | None,
        typer.Option("--suggest", min=1, metavar="N", help="Print the N photos to ask about, without a page."),
    ] = None,
    label_studio: Annotated[
        Path | None,
        typer.Option(
            "--label-studio", metavar="FILE", help="Write the photos to FILE, a .json, for Label Studio instead."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the files of --label-studio.")] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the page on 127.0.0.1; 0 is one that is free.")
    ] = 0,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Print the address of the page, and open no browser.")
    ] = False,
    exclude: Exclude = None,
    unknown: Unknown = "5%",
    no_unknown: NoUnknown = False,
    model: OwnModel = None,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print paths only: with --suggest those of photos.")
    ] = False,
) -> None:
    """Say what the least certain photos show.

    On a page of this machine. Every answer is written to the file of --output at once, and learn takes that file.

    Examples:
        # asks about photos on a page, until Ctrl-C
        promptctl review ./unsorted --prompt birds
        # prints the twenty photos to ask about, without a page
        promptctl review ./unsorted --prompt birds --suggest 20
        # writes them for Label Studio, with answers
        promptctl review ./unsorted -p birds --suggest 100 \\
            --label-studio tasks.json
    """
    given: dict[str, Any] = {
        "prompt": prompt,
        "exclude": exclude or (),
        "unknown": parse_unknown(unknown, no_unknown),
        "model": model,
        "device": device.value,
    }
    if force and label_studio is None:
        raise typer.BadParameter("nothing here replaces a file: add --label-studio FILE", param_hint="--force")
    if label_studio is not None:
        commands.check_label_studio(label_studio, force=force)
    with render.progress() as progress:
        if suggest is None and label_studio is None:
            asked = commands.review(photos, output=decisions, on_progress=progress, **given)
        else:
            found = commands.suggest(photos, count=suggest, on_progress=progress, **given)
    if label_studio is not None:
        finish(commands.label_studio(found, label_studio, force=force), output, json, quiet=quiet)
    elif suggest is not None:
        finish(found, output, json, quiet=quiet)
    else:
        finish(asked.serve(port=port, opens=not no_open, say=render.talk), output, json, quiet=quiet)
