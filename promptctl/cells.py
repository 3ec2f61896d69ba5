"""Cells of a CSV: text that a spreadsheet would take for a formula is marked, and read back as it was."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def escape(cell: str) -> str:
    """The cell, with an apostrophe before what a spreadsheet would compute, or what looks like such a mark."""
    return f"'{cell}" if cell.startswith(_FORMULA) or _is_marked(cell) else cell


def unescape(cell: str) -> str:
    """What `escape` was given."""
    return cell[1:] if _is_marked(cell) else cell


def _is_marked(cell: str) -> bool:
    return cell.startswith("'") and cell[1:].startswith((*_FORMULA, "'"))
