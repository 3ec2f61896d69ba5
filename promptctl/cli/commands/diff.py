"""`promptctl diff`."""

from __future__ import annotations

from promptctl import commands
from promptctl.cli.options import ContextRef, Format, Json, Output
from promptctl.cli.output import finish


def diff(
    before: ContextRef,
    after: ContextRef,
    output: Output = Format.table,
    json: Json = False,
) -> None:
    """Show how two contexts differ.

    In classes, settings, stored photos, answers to the same photos, text features and vectors.

    Examples:
        promptctl diff birds@1 birds
    """
    finish(commands.diff(before, after), output, json)
