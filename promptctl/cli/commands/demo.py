"""`promptctl demo`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from promptctl import signals


def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder for the pictures and the demo's own store.  [default: a new temporary folder]"),
    ] = None,
) -> None:
    """Try promptctl on pictures that it draws.

    Runs learn, evaluate, inspect and classify, in a store of its own.

    Examples:
        promptctl demo
    """
    from promptctl.cli.app import app  # which lists this command
    from promptctl.demo import run

    def command(arguments: Sequence[str]) -> None:
        signals.listen()  # what the command before has done keeps nobody from ending this one
        app(list(arguments), standalone_mode=False)

    run(folder, command)
