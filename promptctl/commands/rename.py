"""Rename: a context under another name."""

from __future__ import annotations

from promptctl.commands.sources import whole_name
from promptctl.report import RenameReport
from promptctl.store.refs import Ref
from promptctl.store.store import Store


def rename(name: str, target: str, *, store: Store | None = None) -> RenameReport:
    """Call a context with all its versions something else."""
    store = store or Store()
    before = store.find(Ref(whole_name(name, "rename"))).ref.name
    entry = store.rename(before, target)
    undo = f"promptctl rename {target} {before}   (to undo)"
    return RenameReport(str(entry.ref), entry.path, f"'{before}' is now '{entry.ref.name}'", undo)
