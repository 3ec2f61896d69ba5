"""Cells of a CSV: what a spreadsheet would take for a formula is written with an apostrophe in front."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def escape(cell: str) -> str:
    """The cell as it is written, so that no spreadsheet computes it."""
    return f"'{cell}" if _is_taken(cell) else cell


def unescape(cell: str) -> str:
    """The cell as it was before it was written."""
    return cell[1:] if cell.startswith("'") and _is_taken(cell[1:]) else cell


def _is_taken(cell: str) -> bool:
    # an apostrophe in front of one of these is ours, so a cell's own gets another
    return cell.startswith(_FORMULA) or (cell.startswith("'") and cell[1:].startswith(("'", *_FORMULA)))
