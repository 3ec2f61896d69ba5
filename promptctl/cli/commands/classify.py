"""`promptctl classify`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, cast

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
    Photos,
    Unknown,
    Words,
    WordsTemplate,
    answer_model,
    parse_fraction,
    parse_seconds,
    parse_share,
    parse_unknown,
)
from promptctl.cli.output import finish


class ClassifyFormat(str, Enum):
    """Those of every command, and those for photos alone."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    agent = "agent"
    megadetector = "megadetector"
    camtrap_dp = "camtrap-dp"


_FORMATS = f"{', '.join(one.value for one in ClassifyFormat)}."


class Engine(str, Enum):
    local = "local"
    ray = "ray"


def classify(
    inputs: Photos = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt",
            "-p",
            help="NAME, NAME@VERSION or a context file; given several times, each says what it finds.",
            autocompletion=known_refs,
        ),
    ] = None,
    words: Words = None,
    template: WordsTemplate = None,
    top: Annotated[int, typer.Option("--top", "--top-k", min=1, help="Classes to show per image.")] = 3,
    files_from: FilesFrom = None,
    null: Null = False,
    exclude: Exclude = None,
    burst: Burst = None,
    unknown: Unknown = "5%",
    no_unknown: NoUnknown = False,
    min_confidence: MinConfidence = None,
    accept_error: AcceptError = None,
    together: Annotated[
        bool,
        typer.Option(
            "--together", help="Answer all photos together: better from about 100 on; nothing is printed before."
        ),
    ] = False,
    detections: DetectionsFile = None,
    detection_threshold: DetectionThreshold = None,
    deployment: Annotated[
        str | None, typer.Option("--deployment", help="deploymentID of Camtrap DP; else the folder.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option("--timezone", help="Of cameras: +02:00 or Europe/Brussels; else UTC.")
    ] = None,
    taxa: Annotated[
        Path | None, typer.Option("--taxa", metavar="FILE", help="Scientific names, class,name a line.")
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", help="Write JSON lines to FILE, as photos are done, and no rows here."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the FILE of --output where an interrupted run stopped.")
    ] = False,
    engine: Annotated[
        Engine, typer.Option(help="ray: on many machines; --output is a folder, s3:// too.")
    ] = Engine.local,
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster, or auto.  [default: one is started here]")
    ] = None,
    blend: Blend = "1",
    model: AnswerModel = None,
    device: OnDevice = Device.auto,
    output: Annotated[ClassifyFormat, typer.Option("--format", metavar="FORMAT", help=_FORMATS)] = ClassifyFormat.table,
    json: Json = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print class and path only, a tab between them, one photo a line.")
    ] = False,
) -> None:
    """Classify photos, or whole folders of them.

    Examples:
        promptctl classify ./unsorted --prompt birds
        promptctl classify . -p birds --output results.jsonl
        promptctl classify IMG_0159.jpg --words "emu, ibis"
    """
    if null and not quiet and files_from is None:
        raise typer.BadParameter("nothing here ends in a NUL: add --files-from FILE or --quiet", param_hint="--null")
    if not prompt and words is None:
        raise typer.BadParameter("give a context, or class names with --words", param_hint="--prompt")
    if resume and results is None:
        raise typer.BadParameter("there is no file to go on with: add --output FILE", param_hint="--resume")
    of_photos = output.value in render.OF_PHOTOS
    if of_photos and (results is not None or json or quiet):
        raise typer.BadParameter(
            "it goes to stdout alone: > FILE, without --output, --json, --quiet", param_hint="--format"
        )
    if (deployment or zone) and output is not ClassifyFormat.camtrap_dp:
        raise typer.BadParameter("only Camtrap DP has such a thing: add --format camtrap-dp", param_hint="--deployment")
    how: dict[str, Any] = {
        "words": words,
        "template": template,
        "files_from": files_from,
        "null": null,
        "exclude": exclude or (),
        "top": top,
        "burst": parse_seconds(burst, "--burst"),
        "unknown": parse_unknown(unknown, no_unknown),
        "min_confidence": parse_fraction(min_confidence, "--min-confidence") if min_confidence else 0.0,
        "accept_error": parse_fraction(accept_error, "--accept-error") if accept_error else None,
        "together": together,
        "blend": parse_share(blend),
        "model": answer_model(model, words),
        "device": device.value,
    }
    if address is not None and engine is not Engine.ray:
        raise typer.BadParameter("no cluster is asked here: add --engine ray", param_hint="--address")
    if engine is Engine.ray:
        if detections is not None or of_photos:
            raise typer.BadParameter("boxes are looked into on one machine alone", param_hint="--engine")
        with render.progress("starting Ray") as progress:
            found = commands.classify_distributed(
                inputs or (), prompt or None, output=results, address=address, on_progress=progress, **how
            )
        finish(found, cast(Format, output), json, quiet=quiet)
        return
    file = commands.Results(results, resume=resume) if results is not None else None
    with render.progress() as progress:
        report = commands.classify(
            inputs or (),
            prompt or None,
            results=file,
            detections=detections,
            detection_threshold=detection_threshold,
            survey=commands.survey(deployment, zone) if output is ClassifyFormat.camtrap_dp else None,
            taxa=taxa,
            on_progress=progress,
            **how,
        )
        # photos are encoded while their rows are printed, or written
        finish(
            file.save(report) if file else report, cast(Format, output), json, quiet=quiet, null=null, progress=progress
        )
