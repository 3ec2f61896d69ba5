"""`promptctl learn`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from promptctl import commands, render
from promptctl.cli.completion import known_names
from promptctl.cli.options import (
    Anchor,
    Average,
    ClassNames,
    ClassSpecific,
    ContextTokens,
    Device,
    Epochs,
    Folder,
    Force,
    ForceNewClass,
    Format,
    HowToLearn,
    Init,
    Json,
    LabelColumn,
    LearnerName,
    MaxForgetting,
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
    VisualDepth,
    VisualTokens,
    parse_shots,
)
from promptctl.cli.output import can_ask, finish
from promptctl.clip import templates
from promptctl.errors import Relabels
from promptctl.report import LearnPlan, LearnReport


class Conflict(str, Enum):
    relabel = "relabel"
    keep = "keep"
    error = "error"


def learn(
    context: typer.Context,
    photos: Folder,
    name: Annotated[
        str,
        typer.Option(
            "--name", "-n", help="Name of the context; an existing one learns more.", autocompletion=known_names
        ),
    ],
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
    head: Annotated[
        bool | None,
        typer.Option(
            "--head/--no-head",
            help="Fit a linear head on the photos, which then answers.  [default: head; paper: no-head]",
            show_default=False,
        ),
    ] = None,
    visual_tokens: VisualTokens = 0,
    visual_depth: VisualDepth = 1,
    template: Template = templates.DEFAULT,
    device: OnDevice = Device.auto,
    classes: ClassNames = None,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be learned, and learn nothing.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Learn the next version of an existing name from these photos alone.")
    ] = False,
    into: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Store what an existing name learns under another name.")
    ] = None,
    only_known: Annotated[
        bool, typer.Option("--only-known", help="Refuse folders that are not classes of the existing name.")
    ] = False,
    mapped: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FOLDER=CLASS", help="The class of a folder with another name; may be repeated."),
    ] = None,
    on_conflict: Annotated[
        Conflict | None,
        typer.Option(
            help="What to do with photos stored under another class.  [default: ask; in a script: error]",
            show_default=False,
        ),
    ] = None,
    force_new_class: ForceNewClass = False,
    polish: Annotated[
        bool,
        typer.Option("--polish", help="With --class-specific: also update the vectors of classes without new photos."),
    ] = False,
    max_forgetting: MaxForgetting = 2.0,
    shots_kept: Annotated[
        int | None, typer.Option(min=1, help="Keep the features of at most N photos per class, the most typical ones.")
    ] = None,
    force: Force = False,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Learn a context from labelled photos.

    A name that exists learns more: folders named like its classes add photos, other folders add classes, and photos
    that are stored already are skipped. The plan is printed first. The next version is learned from all stored photos
    and the new ones, with the settings of the version before where none are given.

    If the new version recognises fewer of the photos held out than the one before, by more than --max-forgetting and
    more than chance, it is kept as NAME@candidate instead, and the exit code is 4.

    The default learner learns a context, which can be asked about new classes by their names, and fits a head beside
    it, which answers. auto lets folds of the photos choose what answers beside it, in up to twice the time. proker, gda
    and clap take a second and learn no context. What prolip and vpt learn takes PyTorch to answer, and vpt takes hours
    without a GPU.

    Examples:
        promptctl learn ./photos --name birds
        promptctl learn ./photos --name birds-4 --shots 4
        promptctl learn ./more-photos --name birds --dry-run
    """
    given = _given(context)
    wanted: dict[str, Any] = {
        "shots": ("all" if shots.lower() == "all" else parse_shots(shots)) if "shots" in given else None,
        "template": given.get("template"),
        "model": given.get("model"),
        "default_model": model,
        "device": device.value,
        "classes": classes,
        "path_column": path_column,
        "label_column": label_column,
        "split_column": split_column,
        "fresh": fresh,
        "dry_run": dry_run,
        "into": into,
        "only_known": only_known,
        "map": _rules(mapped or ()),
        "on_conflict": on_conflict.value if on_conflict else None,
        "force_new_class": force_new_class,
        "polish": polish,
        "max_forgetting": max_forgetting / 100,
        "shots_kept": shots_kept,
        "force": force,
        **{key: value for key, value in given.items() if key in _SETTINGS},
    }
    try:
        report = _learned(photos, name, wanted)
    except Relabels as error:
        if on_conflict or not can_ask():
            raise
        render.talk(f"{error}")
        typer.confirm("Are the folders right? Relabel what is stored?", abort=True, err=True)
        report = _learned(photos, name, {**wanted, "on_conflict": Conflict.relabel.value})
    finish(report, output, json)


def _learned(photos: Path, name: str, wanted: dict[str, Any]) -> LearnReport | LearnPlan:
    with render.progress() as progress:
        return commands.learn(photos, name, on_plan=_say_plan, on_progress=progress, on_line=render.talk, **wanted)


_SETTINGS = (
    "seed", "context_tokens", "init", "class_specific", "position", "learner", "recipe", "epochs", "lr", "views",
    "anchor", "average", "head", "visual_tokens", "visual_depth",
)  # fmt: skip


def _given(context: typer.Context) -> dict[str, Any]:
    """What somebody typed, or set for the shell; the rest is the default of a new name."""
    values = {key: value.value if isinstance(value, Enum) else value for key, value in context.params.items()}
    sources = {key: context.get_parameter_source(key) for key in values}
    return {key: value for key, value in values.items() if (source := sources[key]) and source.name in _TYPED}


_TYPED = ("COMMANDLINE", "PROMPT")


def _rules(mapped: Sequence[str]) -> dict[str, str]:
    """Folder → class; a folder that is to be two classes is a mistake."""
    rules: dict[str, str] = {}
    for folder, label in map(_rule, mapped):
        if rules.setdefault(folder, label) != label:
            raise typer.BadParameter(f"'{folder}' is both '{rules[folder]}' and '{label}'", param_hint="--map")
    return rules


def _rule(text: str) -> tuple[str, str]:
    folder, equals, label = text.partition("=")
    if not equals or not folder or not label:
        raise typer.BadParameter(f"'{text}' is not FOLDER=CLASS", param_hint="--map")
    return folder, label


def _say_plan(plan: LearnPlan) -> None:
    for line in plan.lines():
        render.talk(line)
