"""What every command ends with: its report on stdout, a question, or an error in a sentence."""

from __future__ import annotations

import sys

import typer

from promptctl import render
from promptctl.cli.options import Format
from promptctl.errors import NeedsAnswer
from promptctl.report import Report


def finish(
    report: Report,
    output: Format,
    json: bool,
    *,
    quiet: bool = False,
    complaint: str | None = None,
    exit_code: int | None = None,
    progress: render.Progress | None = None,
) -> None:
    render.render(report, "json" if json else "names" if quiet else output.value, progress)
    if complaint := complaint or report.complaint():
        render.talk(f"error: {complaint}")
    code = report.exit_code if exit_code is None else exit_code
    if code:
        raise typer.Exit(code)


def ask(question: str, doing: str, command: str) -> None:
    if not sys.stdin.isatty():
        raise NeedsAnswer(doing, command)
    typer.confirm(question, abort=True, err=True)
