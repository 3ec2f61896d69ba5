"""Beginning: where the vectors of a context started from, again. Words, the noise of a seed, or a version before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from promptctl.context.card import Card
from promptctl.errors import BadContextFile, NotInStore
from promptctl.store.store import Entry, Store

if TYPE_CHECKING:
    from promptctl.clip.vocabulary import Vocabulary
    from promptctl.context.context import Context

Vectors = NDArray[np.float32]
_OWN_VECTORS = "class-specific vectors"  # what the guard calls the retry in which every class gets its own


@dataclass(frozen=True, eq=False)
class Beginning:
    """Where vectors started from."""

    kind: str  # words, noise, version or unknown
    words: str  # so that it ends "started from …", or says why that is not known
    vectors: Vectors | None = None  # of the shape of the context's; None: not known


def beginning_of(context: Context, vocabulary: Vocabulary, store: Store) -> Beginning:
    """Where the vectors of a context started from, as far as it can be made out."""
    card = context.card
    if not context.vectors.size:
        return Beginning("unknown", "it has no vectors")
    if card.is_imported:
        return Beginning("unknown", "it was imported, and its file does not say where its vectors started from")
    if card.parent is None or (card.change and card.change.kind == "rebase"):
        return _anew(context, vocabulary)
    parent = _stored(card.parent, store)
    if parent is None:
        return Beginning("unknown", f"the version it went on from ({card.parent[:12]}) is not in the store")
    ref, before = parent
    return _from_version(context, before, ref) if _goes_on(card, before.card) else _anew(context, vocabulary)


def _anew(context: Context, vocabulary: Vocabulary) -> Beginning:
    """From the words or the noise of its settings."""
    from promptctl.learners.noise import initial_noise

    method, shape = context.card.method, context.vectors.shape
    if method.init is None:
        if context.vectors.size < 16:
            return Beginning("unknown", "noise of so few numbers is not made again here")
        return Beginning("noise", f"the noise of seed {method.seed}", initial_noise(method.seed, shape))
    tokens = vocabulary.tokens_of(method.init)
    if tokens is None or len(tokens) != method.context_tokens:
        return Beginning("unknown", f"the tokens of '{method.init}' cannot be told here")
    vectors = np.broadcast_to(vocabulary.vectors_of(tokens), shape)
    return Beginning("words", f"the words '{method.init}'", vectors)


def _stored(sha256: str, store: Store) -> tuple[str, Context] | None:
    """The version of a checksum under any name, and what it is called; None where there is none, or it is damaged."""
    from promptctl.context.context import Context

    for entry in _of(sha256, store):
        try:
            return str(entry.ref), Context.load(entry.path)
        except (BadContextFile, NotInStore, OSError):
            continue
    return None


def _of(sha256: str, store: Store) -> Iterator[Entry]:
    return (entry for entry in store.every() if entry.card and entry.card.sha256 == sha256)


def _goes_on(card: Card, parent: Card) -> bool:
    """Whether it learned on from the vectors of the version before, rather than anew beside its shots."""
    own, old = card.method, parent.method
    alike = (own.learner, own.position, own.context_tokens) == (old.learner, old.position, old.context_tokens)
    guard = card.change.guard if card.change else None
    split = own.class_specific and guard is not None and guard.kept == _OWN_VECTORS
    same_model = card.backbone.fingerprint == parent.backbone.fingerprint
    return alike and same_model and (own.class_specific == old.class_specific or split)


def _from_version(context: Context, before: Context, ref: str) -> Beginning:
    """Class-specific ones of classes that are new started from the mean of the others."""
    old, shape = before.vectors, context.vectors.shape
    if old.shape[-2:] != shape[-2:]:  # whatever their files say
        return Beginning("unknown", f"its vectors are not of the size of those of {ref}")
    if old.ndim == 2:
        return Beginning("version", ref, np.broadcast_to(old, shape))
    row_of = {entry.id: row for row, entry in enumerate(before.card.classes)}
    rows = np.array([row_of.get(entry.id, -1) for entry in context.card.classes])
    return Beginning("version", ref, np.where((rows >= 0)[:, None, None], old[np.maximum(rows, 0)], old.mean(0)))
