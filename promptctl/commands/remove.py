"""Remove: a context, or an old version, to the trash."""

from __future__ import annotations

from promptctl.report import RemoveReport
from promptctl.report.phrases import size
from promptctl.store.refs import Ref
from promptctl.store.store import Store


def remove(ref: str, *, store: Store | None = None) -> RemoveReport:
    """Move a context with all its versions to the trash, or one version of it, or its candidate."""
    asked = Ref.parse(ref)
    removed = (store or Store()).remove(asked)
    what = f"'{removed.name}' and all its versions are" if asked.is_whole else f"{removed.refs[0]} is"
    undo = f"promptctl restore {removed.name if asked.is_whole else removed.refs[0]}   (to undo)"
    return RemoveReport(removed.name, removed.path, f"{what} in the trash: {removed.path}", undo)


def to_remove(ref: str, *, store: Store | None = None) -> str:
    """What `remove` would take away, in words to ask with."""
    store = store or Store()
    asked = Ref.parse(ref)
    entry = store.find(asked)
    if not asked.is_whole:
        return f"{entry.ref} ({size(entry.n_bytes)})"
    versions = store.versions(asked.name)
    count = f"{len(versions)} version{'' if len(versions) == 1 else 's'}"
    candidate = store.candidate(asked.name)
    n_bytes = sum(entry.n_bytes for entry in (*versions, *([candidate] if candidate else [])))
    return f"'{entry.ref.name}' ({count}{' and a candidate' if candidate else ''}, {size(n_bytes)})"
