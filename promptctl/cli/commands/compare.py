"""`promptctl compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptctl import commands, render
from promptctl.benchmark import variants
from promptctl.cli.options import (
    Anchor,
    Average,
    ClassNames,
    ClassSpecific,
    ContextTokens,
    Device,
    Epochs,
    Folder,
    Format,
    HowToLearn,
    Init,
    Json,
    Model,
    NamePosition,
    OnDevice,
    Output,
    Position,
    Rate,
    Template,
    Views,
    parse_numbers,
)
from promptctl.cli.output import finish
from promptctl.clip import templates
from promptctl.learners.settings import LearnSettings


def compare(
    photos: Folder,
    shots: Annotated[str, typer.Option(help="Images per class, several numbers.", metavar="N,N,…")] = "1,2,4,8,16",
    seeds: Annotated[str, typer.Option(help="One draw of shots each.", metavar="N,N,…")] = "1,2,3",
    learners: Annotated[
        str,
        typer.Option(
            help=f"Of {', '.join(variants.names())}.",
            metavar="NAME,…",
        ),
    ] = "zero-shot,linear-probe,coop,coop-csc,clap",
    base_to_new: Annotated[
        bool, typer.Option("--base-to-new", help="Also: learn half of the classes, test on them and on the others.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the figure: .png, .svg or .pdf.", metavar="FILE")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the figure if it is there.")] = False,
    context_tokens: ContextTokens = None,
    init: Init = None,
    class_specific: ClassSpecific = False,
    position: NamePosition = Position.end,
    recipe: HowToLearn = "fast",
    epochs: Epochs = None,
    lr: Rate = None,
    views: Views = None,
    anchor: Anchor = 0.0,
    average: Average = False,
    template: Template = templates.DEFAULT,
    model: Model = "mini",
    device: OnDevice = Device.auto,
    classes: ClassNames = None,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """How many photos do I need, and which learner?

    The paper's few-shot protocol on your own photos.

    The settings of learn hold for every learner here that heeds them: coop and its kin heed all, clap --epochs, --lr
    and --views. ensemble-7 is the mean of CLIP's seven sentences and, as in the paper, of the one of --template too
    where that is another than ImageNet's; ensemble-80 is the mean of all of CLIP's. linear-probe-raw is the paper's
    probe, on image features as they leave the tower; linear-probe sees them at unit length.

    Every run is kept until promptctl cache clear: an interrupted comparison, typed again, goes on where it was. CSV has
    a row for every seed, with its accuracy and seconds; mean and std are over all seeds.
    """
    settings = LearnSettings(
        context_tokens=context_tokens,
        init=init,
        class_specific=class_specific,
        position=position.value,
        recipe=recipe,
        epochs=epochs,
        lr=lr,
        views=views,
        anchor=anchor,
        average=average,
    )
    with render.progress() as progress:
        report = commands.compare(
            photos,
            shots=parse_numbers(shots, "--shots"),
            seeds=parse_numbers(seeds, "--seeds", least=0),
            learners=[name.strip() for name in learners.split(",") if name.strip()],
            base_to_new=base_to_new,
            settings=settings,
            template=template,
            model=model,
            device=device.value,
            classes=classes,
            plot=plot,
            force=force,
            on_progress=progress,
        )
    finish(report, output, json)
