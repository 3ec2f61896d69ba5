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
        typer.Argument(help="Where to put the pictures and the demo's own store.  [default: a new temporary folder]"),
    ] = None,
) -> None:
    """Draw a small picture set and run the four verbs on it."""
    from promptctl.cli.app import app  # which lists this command
    from promptctl.demo import run

    def command(arguments: Sequence[str]) -> None:
        signals.listen()  # what the command before has done keeps nobody from ending this one
        app(list(arguments), standalone_mode=False)

    run(folder, command)
