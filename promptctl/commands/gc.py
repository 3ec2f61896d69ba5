"""Gc: what is deleted for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from promptctl.report import (
    GoneReport,
)
from promptctl.store.store import TRASH_DAYS, Leftover, Store

if TYPE_CHECKING:
    pass


def gc(*, days: float = TRASH_DAYS, dry_run: bool = False, store: Store | None = None) -> GoneReport:
    """Take away for good what an interrupted program left behind, and what lay in the trash for some days."""
    store = store or Store()
    gone = store.leftovers(days) if dry_run else store.gc(days)
    return GoneReport(tuple((item.path, item.what, item.n_bytes) for item in gone), dry_run, store.home)


def trash_to_empty(days: float, *, store: Store | None = None) -> tuple[Leftover, ...]:
    """What `gc` would take out of the trash and nobody could bring back."""
    return tuple(item for item in (store or Store()).leftovers(days) if item.what.startswith("removed"))
