"""Class list: the classes of a context, what each was learned from, and since when it has it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from promptctl.commands.sources import is_file_reference, locate
from promptctl.report import ClassListReport, ListedClass
from promptctl.store.refs import Ref
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.context.card import Card


def list_classes(ref: str, *, store: Store | None = None) -> ClassListReport:
    """The classes of a context: ids, labels, names in the prompt, aliases, shots.

    ref     NAME, NAME@VERSION, NAME@candidate or a context file
    store   where names are looked up; None: the store of PROMPTCTL_HOME
    """
    store = store or Store()
    source = locate(ref, store)
    context = source.load()
    sides = Counter(zip(context.shots.class_ids.tolist(), context.shots.held_out.tolist(), strict=True))
    past = [] if is_file_reference(ref) else _past(context.card, store, Ref.parse(ref).name)
    rows = tuple(
        ListedClass(
            entry.id, entry.label, entry.name, entry.aliases, sides[entry.id, 0], sides[entry.id, 1],
            _since(entry.id, past),
        )
        for entry in context.card.classes
    )  # fmt: skip
    return ClassListReport(source.name, rows)


def _past(card: Card, store: Store, name: str) -> list[tuple[int, Card]]:
    """The stored versions that a version goes back to, itself first, as far as they are known: (number, card)."""
    first: dict[str, tuple[int, Card]] = {}
    for entry in store.versions(name):
        if entry.card and entry.ref.version:  # of a version that was restored the number it had first
            first.setdefault(entry.card.sha256, (entry.ref.version, entry.card))
    past: list[tuple[int, Card]] = []
    sha256: str | None = card.sha256
    while sha256 in first:
        past.append(first.pop(sha256))
        sha256 = past[-1][1].parent
    return past


def _since(id: int, past: list[tuple[int, Card]]) -> int | None:
    """The version that added a class; None where what came before is not known."""
    for (number, _), (_, before) in pairwise(past):
        if all(entry.id != id for entry in before.classes):
            return number
    return past[-1][0] if past and past[-1][1].parent is None else None
