"""`promptctl compare`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

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
    LabelColumn,
    Model,
    NamePosition,
    OnDevice,
    Output,
    PathColumn,
    Position,
    Rate,
    SplitColumn,
    Template,
    Views,
    parse_numbers,
)
from promptctl.cli.output import finish
from promptctl.clip import templates
from promptctl.errors import option_of
from promptctl.learners.settings import PLAIN, LearnSettings

_SHOTS = "1,2,4,8,16"
_LEARNERS = "zero-shot,linear-probe,coop,coop-csc,clap"


class Protocol(str, Enum):
    classes = "classes"
    months = "months"
    labels = "labels"


def compare(
    photos: Folder,
    shots: Annotated[
        str | None,
        typer.Option(
            help=f"Numbers of images per class: {_SHOTS} if not given; with --tasks one number, 16.",
            metavar="N,N,…",
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds; each samples its own shots.", metavar="N,N,…")] = "1,2,3",
    learners: Annotated[
        str,
        typer.Option(
            help=f"Any of {', '.join(variants.names())}.",
            metavar="NAME,…",
        ),
    ] = _LEARNERS,
    base_to_new: Annotated[
        bool, typer.Option("--base-to-new", help="Also learn half of the classes, and test on both halves.")
    ] = False,
    tasks: Annotated[
        int | None,
        typer.Option(
            help="Let the classes come in so many tasks, one after another; with --protocol months, the months.",
            metavar="N",
            min=2,
        ),
    ] = None,
    protocol: Annotated[
        Protocol | None,
        typer.Option(
            help="What comes with every version: new classes, more photos or corrected labels.",
        ),
    ] = None,
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
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Compare learners over numbers of shots.

    The few-shot protocol of the CoOp paper on your own photos: how many photos do you need, and which learner?

    A setting applies to the learners that take it: coop and its variants take all of them, auto those of its context,
    prolip takes --epochs and --lr, clap --views too; gda and proker take none. coop-head is what learn answers with.
    ensemble-7 averages CLIP's seven selected templates and, as in the paper, --template too where that is not the one
    for ImageNet; ensemble-80 averages all 80 of CLIP's. linear-probe-raw is the paper's linear probe, on image features
    that are not normalised; linear-probe uses normalised ones.

    Every result is kept until promptctl cache clear, so an interrupted comparison continues where it stopped when you
    run it again. CSV has a row per seed with its accuracy and seconds; mean and std are over all seeds.

    --tasks asks what a context forgets while it goes on learning. The classes come in tasks, in an order that the seed
    decides, and after each task every version is measured on all classes so far. replay goes on from the version before
    and is shown every shot; replay-head is the head fitted to them. replay-csc has a context for each class and learns
    those of new classes, replay-csc-polish then all of them a little. naive is shown the new shots alone, no-features
    the mean and variance of the old ones, and joint starts anew with as many steps as replay took. nearest-mean,
    kernel-ridge, lda and clap are classifiers of the same image features.

    --protocol months asks the same of photos that come by the month: two of every class, and then six more of about a
    third of the classes each month. --protocol labels gives the first version a quarter of the labels of each class
    wrong and puts them right in the second, beside one that was learned from the right ones.

    Examples:
        promptctl compare ./photos --shots 1,2,4
        promptctl compare ./photos --learners coop,clap
        promptctl compare ./photos --tasks 2 --shots 4
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
    columns: dict[str, Any] = {"path_column": path_column, "label_column": label_column, "split_column": split_column}
    if tasks is not None or protocol is not None:
        option = "--tasks" if tasks is not None else f"--protocol {protocol.value}" if protocol else ""
        of_the_curve = {"learners": learners != _LEARNERS, "base_to_new": base_to_new, "plot": plot, "force": force}
        _refuse_beside([*(name for name, given in of_the_curve.items() if given), *_given(settings)], option)
        with render.progress() as progress:
            found = commands.compare_tasks(
                photos,
                protocol=(protocol or Protocol.classes).value,
                tasks=tasks,
                shots=None if shots is None else _one_number(shots, option),
                seeds=parse_numbers(seeds, "--seeds", least=0),
                template=template,
                model=model,
                device=device.value,
                classes=classes,
                **columns,
                on_progress=progress,
            )
        return finish(found, output, json)
    with render.progress() as progress:
        report = commands.compare(
            photos,
            shots=parse_numbers(_SHOTS if shots is None else shots, "--shots"),
            seeds=parse_numbers(seeds, "--seeds", least=0),
            learners=[name.strip() for name in learners.split(",") if name.strip()],
            base_to_new=base_to_new,
            settings=settings,
            template=template,
            model=model,
            device=device.value,
            classes=classes,
            **columns,
            plot=plot,
            force=force,
            on_progress=progress,
        )
    finish(report, output, json)


def _given(settings: LearnSettings) -> Iterator[str]:
    for field in dataclasses.fields(settings):
        if getattr(settings, field.name) != getattr(PLAIN, field.name):
            yield field.name


def _refuse_beside(given: list[str], option: str) -> None:
    if given:
        raise typer.BadParameter(f"it has no effect with {option}", param_hint=option_of(given[0]))


def _one_number(shots: str, option: str) -> int:
    first, *others = parse_numbers(shots, "--shots")
    if others:
        raise typer.BadParameter(f"{option} takes one number of images per class", param_hint="--shots")
    return first
