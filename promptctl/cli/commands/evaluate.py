"""`promptctl evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptctl import commands, render
from promptctl.cli.options import (
    Blend,
    ContextRef,
    Device,
    Folder,
    Format,
    Json,
    OnDevice,
    Output,
    OwnModel,
    Split,
    parse_share,
)
from promptctl.cli.output import finish
from promptctl.commands.baseline_names import BASELINES


def evaluate(
    context: ContextRef,
    photos: Folder,
    split: Annotated[
        Split | None, typer.Option(help="Part of the folder to measure on.  [default: test, else val, else all]")
    ] = None,
    unknown: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Photos that show none of the classes: how well they are told apart."),
    ] = None,
    together: Annotated[
        bool,
        typer.Option("--together/--one-by-one", help="Answer the photos together, each with the help of the others."),
    ] = False,
    baselines: Annotated[
        str,
        typer.Option(
            metavar="NAME,…",
            help=f"Also measure, on the same photos, any of {', '.join(BASELINES)} and coop:CONTEXT, another context.",
        ),
    ] = "",
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write what was said of every photo, by zero-shot too, to a .csv or .parquet file."
        ),
    ] = None,
    mistakes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the same of the mistakes, those it was most certain of first."),
    ] = None,
    confusion: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write to a .csv file how many photos of each class were given which."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    fail_under: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Exit with 4 if top-1 is below this percentage."),
    ] = None,
    blend: Blend = "1",
    model: OwnModel = None,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Measure a context on labelled photos.

    Shows its accuracy next to that of zero-shot on the same photos. The table of more than ten classes starts with the
    worst.

    Examples:
        promptctl evaluate birds ./test
        promptctl evaluate birds ./test --unknown ./others
    """
    with render.progress() as progress:
        report = commands.evaluate(
            context,
            photos,
            split=split.value if split else None,
            unknown=unknown,
            together=together,
            baselines=baselines,
            predictions=predictions,
            mistakes=mistakes,
            confusion=confusion,
            force=force,
            blend=parse_share(blend),
            model=model,
            device=device.value,
            on_progress=progress,
        )
    missed = _missed(100 * report.learned.top1, fail_under)
    finish(report, output, json, complaint=missed, exit_code=4 if missed else None)


def _missed(top1: float, fail_under: float | None) -> str | None:
    if fail_under is None or top1 >= fail_under:
        return None
    return f"top-1 is {top1:.1f} %, --fail-under asks for {fail_under:g}"
