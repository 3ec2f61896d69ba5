"""`promptctl cache`."""

from __future__ import annotations

from promptctl import commands
from promptctl.cli.options import Format, Json, Output
from promptctl.cli.output import finish


def cache_info(output: Output = Format.table, json: Json = False) -> None:
    """How much is kept, and of which backbones.

    PROMPTCTL_CACHE_LIMIT, in MB, bounds it.
    """
    finish(commands.cache_info(), output, json)


def cache_clear(output: Output = Format.table, json: Json = False) -> None:
    """Forget all image features and what compare has measured.

    Both are computed again when they are needed.
    """
    finish(commands.clear_cache(), output, json)
