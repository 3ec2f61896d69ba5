"""`promptctl cache`."""

from __future__ import annotations

from promptctl import commands
from promptctl.cli.options import Format, Json, Output
from promptctl.cli.output import finish


def cache_info(output: Output = Format.table, json: Json = False) -> None:
    """Show how much is cached, and by which backbone.

    PROMPTCTL_CACHE_LIMIT, in MB, limits its size, and PROMPTCTL_UNPACKED_LIMIT that of the photos unpacked from tables.

    Examples:
        promptctl cache info
    """
    finish(commands.cache_info(), output, json)


def cache_clear(output: Output = Format.table, json: Json = False) -> None:
    """Delete all cached features and results.

    They are computed again when needed, and photos unpacked from Parquet and Arrow files unpacked again.

    Examples:
        promptctl cache clear
    """
    finish(commands.clear_cache(), output, json)
