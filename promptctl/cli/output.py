"""What every command ends with: its report on stdout, a question, or an error in a sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from promptctl import render
from promptctl.cli.options import Device, Format
from promptctl.errors import NeedsAnswer
from promptctl.report import Report


def finish(
    report: Report,
    output: Format,
    json: bool,
    *,
    quiet: bool = False,
    null: bool = False,
    complaint: str | None = None,
    exit_code: int | None = None,
    progress: render.Progress | None = None,
) -> None:
    names = "null" if null else "names"
    render.render(report, "json" if json else names if quiet else output.value, progress)
    if complaint := complaint or report.complaint():
        render.talk(f"error: {complaint}")
    code = report.exit_code if exit_code is None else exit_code
    if code:
        raise typer.Exit(code)


def finish_version(
    command: Callable[..., Report], output: Format, json: bool, *, max_forgetting: float, force: bool, device: Device
) -> None:
    """Run a command that makes a version the guard judges, with its progress, and finish with what it found.

    command          takes the rest by keyword
    max_forgetting   points of accuracy
    """
    with render.progress() as progress:
        report = command(max_forgetting=max_forgetting / 100, force=force, device=device.value, on_progress=progress)
    finish(report, output, json)


def ask(question: str, doing: str, command: str) -> None:
    """Go on if a person says yes; NeedsAnswer where none can be asked.

    doing      what is asked about: removing 'birds'
    command    the same command with the answer in it
    """
    if not can_ask():
        raise NeedsAnswer(doing, command, is_program=render.is_program())
    typer.confirm(question, abort=True, err=True)


def can_ask() -> bool:
    """Whether somebody answers a question: a person at a terminal, and no program that drives it."""
    return render.is_person(sys.stdin)
