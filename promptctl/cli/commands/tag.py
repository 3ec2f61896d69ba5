"""`promptctl tag`."""

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


def tag(
    inputs: Photos = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", "-p", help="NAME, NAME@VERSION or a context file.", autocompletion=known_refs),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be written, and write nothing.")] = False,
    results: Annotated[
        Path | None,
        typer.Option("--from", help="Tag by what classify wrote or printed as JSON lines; no photo is opened."),
    ] = None,
    parent: Annotated[
        str | None,
        typer.Option(metavar="KEYWORD", help="Keyword above the others; '' for none.  [default: the context's name]"),
    ] = None,
    unknown_tag: Annotated[
        str | None, typer.Option(metavar="KEYWORD", help="Keyword of unknown photos.  [default: none]")
    ] = None,
    doubtful_tag: Annotated[
        str | None, typer.Option(metavar="KEYWORD", help="Keyword of doubtful answers.  [default: none]")
    ] = None,
    adobe: Annotated[
        bool, typer.Option("--adobe", help="Call new sidecars of raw photos IMG.xmp, as Lightroom does.")
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
    """Write keywords into sidecars of photos.

    Examples:
        promptctl tag ./unsorted --prompt birds
        promptctl tag ./unsorted -p birds --dry-run --json
        promptctl tag --from results.jsonl
    """
    if prompt is None and words is None and results is None:
        raise typer.BadParameter("give a context, or class names with --words", param_hint="--prompt")
    with render.progress() as progress:
        report = commands.tag(
            inputs or (),
            prompt,
            dry_run=dry_run,
            results=results,
            parent=parent,
            unknown_tag=unknown_tag,
            doubtful_tag=doubtful_tag,
            adobe=adobe,
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
    finish(report, output, json)
