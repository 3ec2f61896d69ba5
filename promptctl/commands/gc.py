"""Gc: what is deleted for good."""

from __future__ import annotations

from promptctl.report import GcReport
from promptctl.store.store import TRASH_DAYS, Leftover, Store


def gc(*, days: float = TRASH_DAYS, dry_run: bool = False, store: Store | None = None) -> GcReport:
    """Delete what an interrupted program left behind, and items that have been in the trash for some days."""
    store = store or Store()
    gone = store.leftovers(days) if dry_run else store.gc(days)
    return GcReport(tuple((item.path, item.what, item.n_bytes) for item in gone), dry_run, store.home)


def trash_to_empty(days: float, *, store: Store | None = None) -> tuple[Leftover, ...]:
    """What `gc` would delete from the trash for good."""
    return tuple(item for item in (store or Store()).leftovers(days) if item.what.startswith("removed"))
