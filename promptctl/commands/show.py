"""Show: the metadata of a context file."""

from __future__ import annotations

from promptctl.commands.sources import is_file_reference, locate
from promptctl.report import ShowReport
from promptctl.store.refs import Ref
from promptctl.store.store import Store


def show(ref: str, *, store: Store | None = None) -> ShowReport:
    """What one context is, from its header alone."""
    from promptctl.context.card import read_card

    store = store or Store()
    source = locate(ref, store)
    versions: tuple[int, ...] = ()
    candidate = False
    if not is_file_reference(ref):
        name = Ref.parse(ref).name
        versions, candidate = store.numbers(name), store.candidate(name) is not None
    n_bytes = source.path.stat().st_size
    return ShowReport(source.name, source.path, n_bytes, versions, candidate, read_card(source.path))
