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
    shots: Annotated[str, typer.Option(help="Numbers of images per class.", metavar="N,N,…")] = "1,2,4,8,16",
    seeds: Annotated[str, typer.Option(help="Seeds; each samples its own shots.", metavar="N,N,…")] = "1,2,3",
    learners: Annotated[
        str,
        typer.Option(
            help=f"Any of {', '.join(variants.names())}.",
            metavar="NAME,…",
        ),
    ] = "zero-shot,linear-probe,coop,coop-csc,clap",
    base_to_new: Annotated[
        bool, typer.Option("--base-to-new", help="Also learn half of the classes, and test on both halves.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the accuracies to a .png, .svg or .pdf file.", metavar="FILE")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing figure.")] = False,
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
    """Compare learners over numbers of shots.

    The few-shot protocol of the CoOp paper on your own photos: how many photos do you need, and which learner?

    A setting applies to the learners that take it: coop and its variants take all of them, clap takes --epochs, --lr
    and --views. ensemble-7 averages CLIP's seven selected templates and, as in the paper, --template too where that is
    not the one for ImageNet; ensemble-80 averages all 80 of CLIP's. linear-probe-raw is the paper's linear probe, on
    image features that are not normalised; linear-probe uses normalised ones.

    Every result is kept until promptctl cache clear, so an interrupted comparison continues where it stopped when you
    run it again. CSV has a row per seed with its accuracy and seconds; mean and std are over all seeds.
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
