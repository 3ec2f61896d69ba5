"""Log: the versions of a context, newest first, and what changed between them."""

from __future__ import annotations

from promptctl.commands.sources import whole_name
from promptctl.commands.stored import changed_at, stored_facts
from promptctl.context import diff as differences
from promptctl.context.card import Card
from promptctl.report import (
    LogReport,
    VersionRow,
)
from promptctl.store.store import Entry, Store


def log(name: str, *, store: Store | None = None) -> LogReport:
    """The versions of a context, the newest first: when, what changed, how good."""
    store = store or Store()
    entries = store.versions(whole_name(name, "log"))
    number_of: dict[str, int] = {}
    rows: list[VersionRow] = []
    before: Card | None = None
    for entry in entries:
        rows.append(_version(entry, before, number_of))
        if entry.card:
            number_of.setdefault(entry.card.sha256, entry.ref.version or 0)
            before = entry.card
    return LogReport(entries[0].ref.name, tuple(reversed(rows)), store.candidate(name) is not None)


def _version(entry: Entry, before: Card | None, number_of: dict[str, int]) -> VersionRow:
    card = entry.card
    parent = card.parent if card else None
    return VersionRow(
        when=changed_at(entry),
        change=differences.change(before, card, number_of) if card else "",
        parent=None if parent is None else f"@{number_of[parent]}" if parent in number_of else parent[:12],
        sha256=card.sha256 if card else None,
        **stored_facts(entry),
    )
