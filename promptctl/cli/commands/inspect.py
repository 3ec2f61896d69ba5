"""`promptctl inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptctl import commands, render
from promptctl.cli.completion import known_refs
from promptctl.cli.options import ContextRef, Format, Json, Output, OwnModel
from promptctl.cli.output import finish


def inspect(
    context: ContextRef,
    top: Annotated[int, typer.Option(min=1, help="Nearest words to show per vector.")] = 5,
    all_tokens: Annotated[
        bool, typer.Option("--all-tokens", help="Show pieces of words, punctuation and numbers too.")
    ] = False,
    of_class: Annotated[
        list[str] | None,
        typer.Option("--class", help="Only this class, of a class-specific context; may be given again."),
    ] = None,
    classes: Annotated[
        bool, typer.Option("--classes", help="Only what is near each class, not the words near the vectors.")
    ] = False,
    compare: Annotated[
        str | None,
        typer.Option(
            help="Another context or version, to compare its vectors with these.",
            metavar="CONTEXT",
            autocompletion=known_refs,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw the learning curve and the accuracy by version as .png, .svg or .pdf.", metavar="FILE"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the figure if it is there.")] = False,
    model: OwnModel = None,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Show what a context is made of.

    The words nearest to its vectors, and whether they are near enough to mean anything; how far each vector has gone
    from where it started; the classes and stored photos nearest to each class; how it learned.

    Examples:
        promptctl inspect birds
        promptctl inspect birds@2 --compare birds@1
        promptctl inspect birds --plot learning.png
    """
    with render.progress():
        report = commands.inspect(
            context,
            top=top,
            all_tokens=all_tokens,
            only=of_class or (),
            vectors=not classes,
            compare=compare,
            plot=plot,
            force=force,
            model=model,
            device="cpu",
        )
    finish(report, output, json)
