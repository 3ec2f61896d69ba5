"""Promote: a candidate as the next version."""

from __future__ import annotations

from promptctl.errors import InvalidName
from promptctl.report import PromoteReport
from promptctl.store.refs import CANDIDATE, Ref
from promptctl.store.store import Store


def promote(ref: str, *, store: Store | None = None) -> PromoteReport:
    """Make an update that the guard refused the next version.

    ref      NAME or NAME@candidate
    store    where contexts are kept; None: the store of PROMPTCTL_HOME
    raises   InvalidName, ContextNotFound
    """
    store = store or Store()
    asked = Ref.parse(ref)
    if asked.version:
        raise InvalidName(ref, "promote takes a candidate", suggestion=f"{asked.name}@{CANDIDATE}")
    left_out = _left_out(asked.name, store)
    before = store.find(Ref(asked.name)).ref
    entry = store.promote(asked.name)
    sentence = f"{entry.ref.name}@{CANDIDATE} is now {entry.ref}: {entry.path}"
    return PromoteReport(
        str(entry.ref), entry.path, sentence, f"promptctl restore {before}   (to undo)", left_out=left_out
    )


def _left_out(name: str, store: Store) -> tuple[str, ...]:
    """The versions that came after the parent of a candidate; none where nobody knows which that was."""
    candidate = store.find(Ref(name, candidate=True)).card
    versions = store.versions(name)
    parents = [
        i for i, entry in enumerate(versions) if entry.card and candidate and entry.card.sha256 == candidate.parent
    ]
    return tuple(str(entry.ref) for entry in versions[parents[-1] + 1 :]) if parents else ()
