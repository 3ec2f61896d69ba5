"""`promptctl evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from promptctl import commands, render
from promptctl.cli.completion import known_refs
from promptctl.cli.options import (
    Blend,
    ContextRef,
    Device,
    Format,
    Json,
    LabelColumn,
    OnDevice,
    Output,
    OwnModel,
    PathColumn,
    Split,
    SplitColumn,
    parse_share,
)
from promptctl.cli.output import finish
from promptctl.commands.baseline_names import BASELINES
from promptctl.commands.places import told_apart
from promptctl.remote import path_of
from promptctl.report import EvaluateReport, MatrixReport


def evaluate(
    context: ContextRef,
    photos: Annotated[
        list[str],
        typer.Argument(
            help="Folder with one folder per class, with or without train/ val/ test/; or a CSV. Several show how far "
            "the context falls from the first; further contexts stand before them.",
            autocompletion=known_refs,
            show_default=False,
        ),
    ],
    split: Annotated[
        Split | None, typer.Option(help="Part of the folder to measure on.  [default: test, else val, else all]")
    ] = None,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
    unknown: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Photos that show none of the classes: how well they are told apart.", parser=path_of
        ),
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
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="CSV|folders",
            help="Answer among just these classes, new ones by their names: a CSV of folder,name; or those of each "
            "folder of photos.",
        ),
    ] = None,
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
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write a page of it for people, the mistakes as pictures among it: one .html file."
        ),
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

    Several folders show how far the context falls from the first to the others, beside zero-shot. Several contexts are
    given before the folders; what exists as a folder or a list is photos, all else a context.

    Examples:
        promptctl evaluate birds ./test
        promptctl evaluate birds ./test --unknown ./others
        promptctl evaluate birds ./test --report report.html
        promptctl evaluate birds ./test --baselines ridge,clap
        promptctl evaluate birds ./test ./sketches ./night
    """
    contexts, folders = told_apart(context, photos, None)
    options: dict[str, Any] = {
        "split": split.value if split else None,
        "path_column": path_column,
        "label_column": label_column,
        "split_column": split_column,
        "unknown": unknown,
        "together": together,
        "baselines": baselines,
        "classes": classes,
        "predictions": predictions,
        "mistakes": mistakes,
        "confusion": confusion,
        "report": report,
        "force": force,
        "blend": parse_share(blend),
        "model": model,
        "device": device.value,
    }
    of: tuple[Any, Any] = (contexts, folders) if len(photos) > 1 else (contexts[0], folders[0])
    with render.progress() as progress:
        found: EvaluateReport | MatrixReport = commands.evaluate(*of, on_progress=progress, **options)
    missed = _missed(found, fail_under)
    finish(found, output, json, complaint=missed, exit_code=4 if missed else None)


def _missed(report: EvaluateReport | MatrixReport, fail_under: float | None) -> str | None:
    """What is below the bar that somebody set, a percentage, in words."""
    if fail_under is None:
        return None
    if isinstance(report, EvaluateReport):
        measured = [("top-1", report.learned.top1)]
    else:
        measured = [(f"top-1 of {row.context} on {row.folder}", row.accuracy) for row in report.own]
    what, least = min(measured, key=lambda one: one[1])
    return f"{what} is {100 * least:.1f} %, --fail-under asks for {fail_under:g}" if 100 * least < fail_under else None
