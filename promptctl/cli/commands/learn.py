"""`promptctl learn`."""

from __future__ import annotations

from typing import Annotated

import typer

from promptctl import commands, render
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
    LearnerName,
    Model,
    NamePosition,
    OnDevice,
    Output,
    Position,
    Rate,
    Template,
    Views,
    parse_shots,
)
from promptctl.cli.output import finish
from promptctl.clip import templates


def learn(
    photos: Folder,
    name: Annotated[str, typer.Option("--name", "-n", help="Name of the context.")],
    shots: Annotated[str, typer.Option(help="Images per class to learn from, or all.", metavar="N|all")] = "all",
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of the sampled shots, the initial context and the batches.")
    ] = 1,
    model: Model = "mini",
    context_tokens: ContextTokens = None,
    init: Init = None,
    class_specific: ClassSpecific = False,
    position: NamePosition = Position.end,
    learner: LearnerName = "coop",
    recipe: HowToLearn = "fast",
    epochs: Epochs = None,
    lr: Rate = None,
    views: Views = None,
    anchor: Anchor = 0.0,
    average: Average = False,
    template: Template = templates.DEFAULT,
    device: OnDevice = Device.auto,
    classes: ClassNames = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Learn the next version of an existing name, from scratch.")
    ] = False,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Learn a context from labelled photos."""
    with render.progress() as progress:
        report = commands.learn(
            photos,
            name,
            shots=parse_shots(shots),
            seed=seed,
            model=model,
            context_tokens=context_tokens,
            init=init,
            class_specific=class_specific,
            position=position.value,
            learner=learner,
            recipe=recipe,
            epochs=epochs,
            lr=lr,
            views=views,
            anchor=anchor,
            average=average,
            template=template,
            device=device.value,
            classes=classes,
            fresh=fresh,
            on_progress=progress,
        )
    finish(report, output, json)
