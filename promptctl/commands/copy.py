"""Copy: a context under a new name."""

from __future__ import annotations

from promptctl.report import CopyReport
from promptctl.store.refs import Ref
from promptctl.store.store import Store


def copy(source: str, name: str, *, store: Store | None = None) -> CopyReport:
    """A context under another name as well: all its versions, or the one that is named."""
    ref = Ref.parse(source)
    entry = (store or Store()).copy(ref, name)
    what = f"'{ref}' and all its versions are" if ref.is_whole else f"{ref} is"
    return CopyReport(
        str(entry.ref), entry.path, f"{what} now '{entry.ref.name}' as well", f"promptctl show {entry.ref.name}"
    )
