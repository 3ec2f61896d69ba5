"""List: the contexts in the store and in its trash, from file headers alone."""

from __future__ import annotations

from promptctl.commands.stored import stored_context
from promptctl.errors import UnknownSort
from promptctl.report import (
    ListReport,
    RemovedContext,
    TrashReport,
)
from promptctl.store.store import Store

SORTS = ("name", "changed", "accuracy", "classes", "size")


def list_contexts(prefix: str = "", *, sort: str = "name", store: Store | None = None) -> ListReport:
    """Every context in the store, from file headers alone; the newest, largest and best first where sorted so."""
    if sort not in SORTS:
        raise UnknownSort(sort, SORTS)
    entries = [e for e in (store or Store()).entries() if e.ref.name.casefold().startswith(prefix.casefold())]
    rows = [stored_context(entry) for entry in entries]
    if sort != "name":
        key = {"size": "n_bytes"}.get(sort, sort)
        rows.sort(key=lambda row: (getattr(row, key) is not None, getattr(row, key) or 0), reverse=True)
    return ListReport(tuple(rows), prefix)


def list_trash(prefix: str = "", *, store: Store | None = None) -> TrashReport:
    """What was removed and can be restored, the newest first."""
    store = store or Store()
    removed = [
        RemovedContext(r.name, r.versions, r.candidate, r.n_bytes, r.when.isoformat(timespec="seconds"), r.path)
        for r in store.trash()
        if r.refs and r.name.casefold().startswith(prefix.casefold())
    ]
    return TrashReport(tuple(removed), prefix)
