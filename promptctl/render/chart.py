"""Charts on a terminal: a row of bars, as wide as there is room."""

from __future__ import annotations

import math
from collections.abc import Sequence

from promptctl.render.text import printable, wrapped
from promptctl.report import Chart

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = ".:-=+*#@"  # where the terminal's encoding has no blocks
_TITLE = 11  # cells, as the labels of a card


def chart_lines(chart: Chart, available: int, encoding: str) -> list[str]:
    """The bars, and what is said of them beside or below."""
    title = f"{chart.title}:".ljust(_TITLE - 1) + " "
    values = thinned(chart.values, max(1, available - _TITLE))
    line = f"{title}{bars(values, chart.highest, encoding)}  {chart.words}"
    return wrapped(printable(line), available)


def bars(values: Sequence[float], highest: float | None, encoding: str) -> str:
    """A character for each value, the higher the larger it is; what is no number is a `?`."""
    finite = [value for value in values if math.isfinite(value)]
    full = (max(finite, default=0) if highest is None else highest) or 1
    levels = _BLOCKS if _has_blocks(encoding) else _ASCII
    return "".join(_level(value / full, levels) if math.isfinite(value) else "?" for value in values)


def thinned(values: Sequence[float], most: int) -> Sequence[float]:
    """At most so many of them, evenly spread, the first and the last among them."""
    if len(values) <= most:
        return values
    if most == 1:
        return values[-1:]
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def _level(share: float, levels: str) -> str:
    return levels[min(len(levels) - 1, max(0, round(share * len(levels)) - 1))]


def _has_blocks(encoding: str) -> bool:
    try:
        return bool(_BLOCKS.encode(encoding))
    except (LookupError, UnicodeEncodeError):
        return False
