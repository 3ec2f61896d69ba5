"""`promptctl log`."""

from __future__ import annotations

from promptctl import commands
from promptctl.cli.options import Format, Json, Name, Output
from promptctl.cli.output import finish


def log(name: Name, output: Output = Format.table, json: Json = False) -> None:
    """List the versions of a context.

    When each was made, what changed, and how accurate each is on the same held-out photos. --json has the measures of
    continual learning too: average and last accuracy, forgetting, backward and forward transfer.

    Examples:
        promptctl log birds
    """
    finish(commands.log(name), output, json)
