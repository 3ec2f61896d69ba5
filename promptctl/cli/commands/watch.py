"""`promptctl watch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptctl import commands, render
from promptctl.cli.completion import known_refs
from promptctl.cli.options import (
    AcceptError,
    Blend,
    Device,
    Exclude,
    Format,
    Json,
    MinConfidence,
    NoUnknown,
    OnDevice,
    Output,
    OwnModel,
    Unknown,
    parse_fraction,
    parse_seconds,
    parse_share,
    parse_unknown,
)
from promptctl.cli.output import finish


def watch(
    inbox: Annotated[Path, typer.Argument(help="Folder that photos arrive in, searched through.")],
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", help="NAME, NAME@VERSION or a context file.", autocompletion=known_refs)
    ],
    into: Annotated[Path, typer.Option(help="Folder that gets one folder per class, and unknown and doubtful.")],
    move: Annotated[bool, typer.Option("--move", help="Move the photos instead of copying them.")] = False,
    link: Annotated[bool, typer.Option("--link", help="Make symbolic links to the photos instead.")] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Sort what lies there now and end, for cron; needs no watchfiles.")
    ] = False,
    settle: Annotated[
        str, typer.Option(metavar="2s", help="How long a photo and its sidecars must stay as they are before.")
    ] = "2s",
    every: Annotated[
        str,
        typer.Option(
            metavar="60s", help="How often to look where the system tells of no change, as on a network drive."
        ),
    ] = "60s",
    exclude: Exclude = None,
    unknown: Unknown = "5%",
    no_unknown: NoUnknown = False,
    min_confidence: MinConfidence = None,
    accept_error: AcceptError = None,
    blend: Blend = "1",
    model: OwnModel = None,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Sort photos as they arrive in a folder.

    Examples:
        # sorts what arrives, until Ctrl-C
        promptctl watch ./inbox --prompt birds --into ./sorted
        # sorts what is there, and ends
        promptctl watch ./inbox -p birds --into ./sorted --once
    """
    if move and link:
        raise typer.BadParameter("a photo is moved or linked, not both", param_hint="--move")
    with render.progress() as progress:
        report = commands.watch(
            inbox,
            prompt,
            into=into,
            mode="move" if move else "link" if link else "copy",
            once=once,
            settle=parse_seconds(settle, "--settle") or 0.0,
            every=parse_seconds(every, "--every") or 0.0,
            exclude=exclude or (),
            unknown=parse_unknown(unknown, no_unknown),
            min_confidence=parse_fraction(min_confidence, "--min-confidence") if min_confidence else 0.0,
            accept_error=parse_fraction(accept_error, "--accept-error") if accept_error else None,
            blend=parse_share(blend),
            model=model,
            device=device.value,
            on_progress=progress,
            say=render.talk,
        )
    finish(report, output, json)
