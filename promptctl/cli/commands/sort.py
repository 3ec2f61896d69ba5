"""`promptctl sort`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptctl import commands, render
from promptctl.cli.completion import known_refs
from promptctl.cli.options import (
    AcceptError,
    AnswerModel,
    Blend,
    Burst,
    DetectionsFile,
    DetectionThreshold,
    Device,
    Exclude,
    FilesFrom,
    Format,
    Json,
    MinConfidence,
    NoUnknown,
    Null,
    OnDevice,
    Output,
    Photos,
    Words,
    WordsTemplate,
    answer_model,
    parse_fraction,
    parse_seconds,
    parse_share,
    parse_unknown,
)
from promptctl.cli.output import finish


def sort(
    inputs: Photos = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", "-p", help="NAME, NAME@VERSION or a context file.", autocompletion=known_refs),
    ] = None,
    into: Annotated[
        Path | None, typer.Option(help="Folder that gets one folder per class, and unknown and doubtful.")
    ] = None,
    move: Annotated[bool, typer.Option("--move", help="Move the photos instead of copying them.")] = False,
    link: Annotated[bool, typer.Option("--link", help="Make symbolic links to the photos instead.")] = False,
    plan: Annotated[
        Path | None, typer.Option(help="Write down what goes where, for `apply`, and change nothing.", metavar="FILE")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the lines that --plan would write, and change nothing.")
    ] = False,
    results: Annotated[
        Path | None,
        typer.Option("--from", help="Sort by what classify wrote or printed as JSON lines; no photo is opened."),
    ] = None,
    xmp: Annotated[
        bool, typer.Option("--xmp", help="Write keywords into XMP sidecars beside the sorted photos.")
    ] = False,
    unknown: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Call photos unknown that are less like what was learned from, at most this share of your own.  "
            "[default: 5%, and with --from as it was found]",
        ),
    ] = None,
    no_unknown: NoUnknown = False,
    min_confidence: MinConfidence = None,
    accept_error: AcceptError = None,
    together: Annotated[
        bool,
        typer.Option("--together/--one-by-one", help="Answer all photos together: better from about 100 on."),
    ] = True,
    detections: DetectionsFile = None,
    detection_threshold: DetectionThreshold = None,
    words: Words = None,
    template: WordsTemplate = None,
    files_from: FilesFrom = None,
    null: Null = False,
    exclude: Exclude = None,
    burst: Burst = None,
    blend: Blend = "1",
    model: AnswerModel = None,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Copy, move or link photos into folders.

    Examples:
        promptctl sort ./unsorted --prompt birds --into ./sorted
        promptctl sort . -p birds --into ./sorted --dry-run
        promptctl sort --from results.jsonl --into ./sorted
    """
    if into is None:
        raise typer.BadParameter("give the folder to sort into", param_hint="--into")
    if move and link:
        raise typer.BadParameter("a photo is moved or linked, not both", param_hint="--move")
    if prompt is None and words is None and results is None:
        raise typer.BadParameter("give a context, or class names with --words", param_hint="--prompt")
    with render.progress() as progress:
        report = commands.sort(
            inputs or (),
            prompt,
            into=into,
            mode="move" if move else "link" if link else "copy",
            plan=plan,
            dry_run=dry_run,
            results=results,
            xmp=xmp,
            unknown="default" if unknown is None and not no_unknown else parse_unknown(unknown or "5%", no_unknown),
            min_confidence=parse_fraction(min_confidence, "--min-confidence") if min_confidence else None,
            accept_error=parse_fraction(accept_error, "--accept-error") if accept_error else None,
            together=together,
            on_progress=progress,
            detections=detections,
            detection_threshold=detection_threshold,
            words=words,
            template=template,
            files_from=files_from,
            null=null,
            exclude=exclude or (),
            burst=parse_seconds(burst, "--burst"),
            blend=parse_share(blend),
            model=answer_model(model, words),
            device=device.value,
        )
    finish(report, Format.jsonl if dry_run and output in (Format.table, Format.agent) else output, json)
