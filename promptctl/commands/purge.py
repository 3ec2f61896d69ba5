"""Purge: nothing of some photos left in any file of a name; the one operation that rewrites versions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from promptctl.commands import edited
from promptctl.commands.classes import words_of
from promptctl.context.context import Context
from promptctl.data.names import meant_by, one_form
from promptctl.errors import ClassNotFound
from promptctl.report import HeldElsewhere
from promptctl.store.refs import Ref
from promptctl.store.store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from promptctl.context.card import Card

Step = Callable[[Context], Context]


@dataclass(frozen=True)
class Purge:
    """Photos, and the classes they were of, that every file of a name is to lose."""

    name: str
    labels: tuple[str, ...]
    words: frozenset[str]  # whatever the classes were called
    images: frozenset[bytes]  # sha256
    files: tuple[Path, ...]  # that hold any of it

    def carry_out(self, store: Store) -> tuple[Path, ...]:
        """Rewrite what the name holds; interrupted, the same command finishes it.

        First goes what only the hashes tell: photos that some version has under another class, and what is noted of
        them. Then the photos of the classes, which until then say which those were, and the classes themselves last.
        """
        steps: tuple[Step, ...] = (self._elsewhere_gone, self._photos_gone, self._classes_gone)
        return tuple(dict.fromkeys(path for step in steps for path in store.rewrite(self.name, partial(_again, step))))

    def elsewhere(self, store: Store) -> tuple[HeldElsewhere, ...]:
        """Other names, in the trash too, that have some of the photos."""
        found: dict[str, tuple[int, str]] = {}
        for name, path in _files_of_others(self.name, store):
            context = Context.load(path)
            held = self._held(context)
            if held.any():
                id = int(np.bincount(context.shots.class_ids[held]).argmax())
                label = next(entry.label for entry in context.card.classes if entry.id == id)
                found[name] = max(found.get(name, (0, "")), (int(held.sum()), label))
        return tuple(HeldElsewhere(name, count, label) for name, (count, label) in sorted(found.items()))

    def _elsewhere_gone(self, context: Context) -> Context:
        change = context.card.change
        if change and any(bytes.fromhex(image.sha256) in self.images for image in change.relabelled):
            kept = tuple(i for i in change.relabelled if bytes.fromhex(i.sha256) not in self.images)
            context = replace(context, card=replace(context.card, change=replace(change, relabelled=kept)))
        return _without(context, self._held(context) & ~self._of_classes(context))

    def _photos_gone(self, context: Context) -> Context:
        return _without(context, self._held(context) | self._of_classes(context))

    def _classes_gone(self, context: Context) -> Context:
        ids = _ids_of(context.card, self.words)
        if not ids:
            return context
        if len(context.card.classes) - len(ids) < 2:
            return edited.by_name_alone(context, ids)
        return edited.without_classes(context, ids)

    def _held(self, context: Context) -> NDArray[np.bool_]:
        """(N,) which of its images are those."""
        return np.array([sha.tobytes() in self.images for sha in context.shots.sha256], dtype=bool)

    def _of_classes(self, context: Context) -> NDArray[np.bool_]:
        """(N,) which of its images are of the classes."""
        return np.isin(context.shots.class_ids, list(_ids_of(context.card, self.words)))


def purge_of(name: str, labels: Sequence[str], store: Store) -> Purge:
    """What is to go: what any version, the candidate or the trash has of the classes, unless the newest keeps it.

    raises   ClassNotFound for a class that none of them knows
    """
    contexts = {path: Context.load(path) for path in store.kept_of(name)}
    newest = store.find(Ref(name))
    cards = [context.card for context in contexts.values()]
    now = contexts[newest.path]
    meant = set(meant_by(labels, now.card.classes).values())
    kept = [entry for row, entry in enumerate(now.card.classes) if row not in meant]
    words = frozenset(word for label in labels for word in _every_word(label, cards, str(newest.ref)))
    words = words.difference(*map(words_of, kept))  # what was one class with these, and is not any more
    images: set[bytes] = set()
    for context in contexts.values():
        images |= _hashes(context, _ids_of(context.card, words))
    images -= _hashes(now, {entry.id for entry in kept})
    found = Purge(newest.ref.name, tuple(labels), words, frozenset(images), ())
    touched = (path for path, context in contexts.items() if found._held(context).any() or _ids_of(context.card, words))
    return replace(found, files=tuple(touched))


def _every_word(label: str, cards: Iterable[Card], ref: str) -> set[str]:
    """Whatever any version calls the class of this label, the latest names among them."""
    found = {one_form(label)}
    entries = [entry for card in cards for entry in card.classes]
    known = [words_of(entry) for entry in entries if found & words_of(entry)]
    if not known:
        raise ClassNotFound(label, ref)
    return found.union(*known)


def _ids_of(card: Card, words: frozenset[str]) -> set[int]:
    return {entry.id for entry in card.classes if words & words_of(entry)}


def _hashes(context: Context, ids: set[int]) -> set[bytes]:
    own = np.isin(context.shots.class_ids, list(ids))
    return {sha.tobytes() for sha in context.shots.sha256[own]}


def _without(context: Context, gone: NDArray[np.bool_]) -> Context:
    return edited.without_shots(context, gone) if gone.any() else context


def _again(step: Step, data: bytes, new_of: Mapping[str, str]) -> bytes:
    """A file after a step, with its parent's new name; the same bytes where nothing about it changes."""
    old = Context.from_bytes(data, "a version")
    new, parent = step(old), old.card.parent and new_of.get(old.card.parent, old.card.parent)
    if new is old and parent == old.card.parent:
        return data
    return replace(new, card=replace(new.card, parent=parent)).to_bytes()


def _files_of_others(name: str, store: Store) -> Iterable[tuple[str, Path]]:
    for entry in store.every():
        if entry.ref.name.casefold() != name.casefold() and entry.card:
            yield entry.ref.name, entry.path
    for removed in store.trash():
        if removed.name.casefold() != name.casefold():
            for ref in removed.refs:
                yield removed.name, removed.file(ref)
