"""Path: where a context or the store is."""

from __future__ import annotations

from promptctl.commands.sources import locate
from promptctl.report import PathReport
from promptctl.store.store import Store


def path(ref: str | None = None, *, store: Store | None = None) -> PathReport:
    """Where the store is, or the file of a context."""
    store = store or Store()
    return PathReport(locate(ref, store).path if ref else store.home)
