"""Restore: what was removed, or an old version as the newest."""

from __future__ import annotations

from promptctl.report import RestoreReport
from promptctl.store.refs import Ref
from promptctl.store.store import Store


def restore(ref: str, *, store: Store | None = None) -> RestoreReport:
    """Make an old version the newest again, or bring back what was removed.

    ref     NAME@VERSION of an old version; NAME or NAME@candidate in the trash
    store   where contexts are kept; None: the store of PROMPTCTL_HOME
    """
    store = store or Store()
    asked = Ref.parse(ref)
    entry = store.restore(asked)
    again = asked.version and entry.ref.version != asked.version
    sentence = f"{entry.ref} is {asked} again: {entry.path}" if again else f"{entry.ref} is back: {entry.path}"
    return RestoreReport(str(entry.ref), entry.path, sentence, f"promptctl show {entry.ref}")
