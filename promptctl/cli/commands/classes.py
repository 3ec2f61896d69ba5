"""`promptctl class`."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from promptctl import commands
from promptctl.cli.completion import known_classes
from promptctl.cli.options import (
    ContextRef,
    Device,
    Force,
    ForceNewClass,
    Format,
    Json,
    LabelColumn,
    MaxForgetting,
    Name,
    OnDevice,
    Output,
    PathColumn,
    SplitColumn,
)
from promptctl.cli.output import ask, finish, finish_version
from promptctl.remote import path_of

Label = Annotated[
    str, typer.Argument(help="A class, by its label, an alias or its name.", autocompletion=known_classes)
]
Labels = Annotated[
    list[str], typer.Argument(help="Classes, by their labels, aliases or names.", autocompletion=known_classes)
]


def class_list(
    context: ContextRef,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print labels only, one per line.")] = False,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """List the classes of a context.

    Their labels, names in the prompt, aliases and photos.

    Examples:
        promptctl class list birds
    """
    finish(commands.list_classes(context), output, json, quiet=quiet)


def class_rename(
    context: Name,
    old: Label,
    new: Annotated[str, typer.Argument(help="The new name.")],
    display_only: Annotated[
        bool, typer.Option("--display-only", help="Keep the name in the prompt, so that every answer stays as it is.")
    ] = False,
    force_new_class: ForceNewClass = False,
    max_forgetting: MaxForgetting = 2.0,
    force: Force = False,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Rename a class.

    The old label becomes an alias, so that photos in a folder of that name are still photos of this class. The prompt
    says the new name, read by the same vectors.

    Examples:
        promptctl class rename birds ibis sacred_ibis
        promptctl class rename birds ibis "Ibis" --display-only
    """
    command = partial(
        commands.rename_class, context, old, new, display_only=display_only, force_new_class=force_new_class
    )
    finish_version(command, output, json, max_forgetting=max_forgetting, force=force, device=device)


def class_add(
    context: Name,
    names: Annotated[list[str], typer.Argument(help="Names of the new classes.")],
    force_new_class: ForceNewClass = False,
    max_forgetting: MaxForgetting = 2.0,
    force: Force = False,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Add classes by name, without photos.

    Their names answer for them, as in zero-shot. The scores of the other classes are lowered by what learning raised
    them, or a class without photos would hardly ever be answered. If a name takes photos held out of the other classes,
    by more than --max-forgetting and more than chance, the new version is kept as NAME@candidate (exit 4).

    Examples:
        promptctl class add birds kiwi kakapo
    """
    command = partial(commands.add_classes, context, names, force_new_class=force_new_class)
    finish_version(command, output, json, max_forgetting=max_forgetting, force=force, device=device)


def class_drop(
    context: Name,
    labels: Labels,
    purge: Annotated[
        bool,
        typer.Option("--purge", help="Take their photos out of every version, the candidate and the trash too."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Purge without asking; needed without a terminal.")] = False,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Drop classes, with their photos.

    Answers among the other classes stay as they are. Older versions keep the class. --purge takes its photos out of
    them too, and out of the candidate and the trash: it rewrites these files, and cannot be undone.

    Examples:
        promptctl class drop birds owl
        promptctl class drop birds owl --purge --yes
    """
    if purge and not yes:
        command = f"promptctl class drop {context} {shlex.join(labels)} --purge --yes"
        ask(commands.to_purge(context, labels), "a purge", command)
    finish(commands.drop_classes(context, labels, purge=purge), output, json)


def class_merge(
    context: Name,
    labels: Labels,
    into: Annotated[
        str, typer.Option("--into", help="Name of the merged class, new or one of theirs.", metavar="CLASS")
    ],
    force_new_class: ForceNewClass = False,
    max_forgetting: MaxForgetting = 2.0,
    force: Force = False,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Merge several classes into one.

    From now on photos in folders called like any of them are photos of that class.

    Examples:
        promptctl class merge birds emu moa --into ratite
    """
    command = partial(commands.merge_classes, context, labels, into, force_new_class=force_new_class)
    finish_version(command, output, json, max_forgetting=max_forgetting, force=force, device=device)


def class_split(
    context: Name,
    label: Label,
    photos: Annotated[
        Path, typer.Option("--from", help="Folder with one folder per class.", metavar="FOLDER", parser=path_of)
    ],
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
    force_new_class: ForceNewClass = False,
    max_forgetting: MaxForgetting = 2.0,
    force: Force = False,
    device: OnDevice = Device.auto,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Split a class by the folders of its photos.

    Photos are recognised by content, whatever the files are called. Folders that are no class yet become one.

    Examples:
        promptctl class split birds owl --from ./owls-sorted
    """
    columns: dict[str, Any] = {"path_column": path_column, "label_column": label_column, "split_column": split_column}
    command = partial(commands.split_class, context, label, photos, force_new_class=force_new_class, **columns)
    finish_version(command, output, json, max_forgetting=max_forgetting, force=force, device=device)
