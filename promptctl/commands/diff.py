"""Diff: how one context differs from another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from promptctl.commands.sources import Source, locate
from promptctl.context import diff as differences
from promptctl.context.card import HELD_OUT, UNSEEN_SHOTS
from promptctl.report import (
    ClassDiff,
    Confusion,
    DiffReport,
    Flip,
    RelabelledShot,
    ShotOf,
    VectorDrift,
)
from promptctl.store.refs import Ref
from promptctl.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.context.context import Context

    Ids = NDArray[np.int64]


def diff(a: str, b: str, *, store: Store | None = None) -> DiffReport:
    """How context b differs from a: classes, settings, shots, answers to the same images, text features, vectors.

    a, b     NAME, NAME@VERSION, NAME@candidate or a context file
    store    where names are looked up; None: the store of PROMPTCTL_HOME
    raises   as `locate`, CorruptContext and its kind
    """
    store = store or Store()
    old, new = locate(a, store), locate(b, store)
    before, after = old.load(), new.load()
    same = differences.same_classes(before.card, after.card, _parents(old, new, store))
    pair = _Pair(before, after, same)
    classes = differences.class_changes(before.card, after.card, same)
    same_model = before.card.backbone.fingerprint == after.card.backbone.fingerprint
    added, removed, relabelled = _shot_changes(pair)
    seen = _Seen.of(pair) if before.encoder_fingerprint == after.encoder_fingerprint else None
    return DiffReport(
        before=old.name,
        after=new.name,
        added=classes.added,
        removed=classes.removed,
        renamed=classes.renamed,
        settings=differences.setting_changes(before.card, after.card),
        same_backbone=same_model,
        classes=_class_diffs(pair) if same_model else (),
        vectors=_drift(pair) if same_model else (),
        carries_shots=(bool(len(before.shots)), bool(len(after.shots))),
        shots_added=added,
        shots_removed=removed,
        relabelled=relabelled,
        compared_on=seen.on if seen else None,
        compared_images=len(seen.truth) if seen else 0,
        worse=seen.flips(worse=True) if seen else (),
        better=seen.flips(worse=False) if seen else (),
        confusions=seen.confusions() if seen else (),
    )


def _parents(old: Source, new: Source, store: Store) -> dict[str, str | None]:
    """sha256 → that of its parent, of all versions beside either."""
    from promptctl.commands.sources import is_file_reference

    names = {Ref.parse(source.name).name for source in (old, new) if not is_file_reference(source.name)}
    cards = [entry.card for name in names for entry in (*store.versions(name), store.candidate(name)) if entry]
    return {card.sha256: card.parent for card in cards if card}


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two contexts, and which of their classes are the same."""

    before: Context
    after: Context
    same: Mapping[int, int]  # class id before → after

    @cached_property
    def labels(self) -> dict[int, str]:
        """Of the ids that the classes have in this pair, as they are called now."""
        old = {self.now(entry.id): entry.label for entry in self.before.card.classes}
        return {**old, **{entry.id: entry.label for entry in self.after.card.classes}}

    def now(self, id: int) -> int:
        """The id of a class of before in this pair: that of after, or one that none of after has."""
        return self.same.get(id, -2 - id)

    def ids(self, context: Context) -> list[int]:
        """Of the classes of either context, in this pair."""
        own = [entry.id for entry in context.card.classes]
        return own if context is self.after else [self.now(id) for id in own]

    def classes_of_shots(self, context: Context) -> list[int]:
        found = context.shots.class_ids.tolist()
        return found if context is self.after else [self.now(id) for id in found]


# --------------------------------------------------------------------------- shots


def _shot_changes(pair: _Pair) -> tuple[tuple[ShotOf, ...], tuple[ShotOf, ...], tuple[RelabelledShot, ...]]:
    """Images that came, that went, and whose class is another; an image of two classes is one for each."""
    old, new = (_by_hash(pair, context) for context in (pair.before, pair.after))
    label = pair.labels
    added, removed = (
        tuple(ShotOf(sha, label[id]) for sha, ids in some.items() if sha not in others for id in sorted(ids))
        for some, others in ((new, old), (old, new))
    )
    moved = tuple(
        RelabelledShot(sha, *(", ".join(label[id] for id in sorted(of)) for of in (old[sha], ids)))
        for sha, ids in new.items()
        if sha in old and old[sha] != ids
    )
    return added, removed, moved


def _by_hash(pair: _Pair, context: Context) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for sha, id in zip(context.shots.hashes, pair.classes_of_shots(context), strict=True):
        found.setdefault(sha, set()).add(id)
    return found


# --------------------------------------------------------------------------- answers to the same images


@dataclass(frozen=True, eq=False)
class _Seen:
    """What both say of images that neither learned from, of classes that both know; ids of the pair."""

    on: str
    labels: Mapping[int, str]
    hashes: tuple[bytes, ...]  # N
    truth: Ids  # (N,) as it is now
    before: Ids  # (N,)
    after: Ids  # (N,)

    @staticmethod
    def of(pair: _Pair) -> _Seen | None:
        """On the images held out, or else on shots that folds of both have seen; None where there are neither."""
        return _on_held_out(pair) or _on_folds(pair)

    def flips(self, *, worse: bool) -> tuple[Flip, ...]:
        """Images that only the one before, or only the one after recognises."""
        right, wrong = (self.before, self.after) if worse else (self.after, self.before)
        rows = ((right == self.truth) & (wrong != self.truth)).nonzero()[0].tolist()
        of = self.labels
        return tuple(
            Flip(
                self.hashes[row].hex(),
                of[int(self.truth[row])],
                of[int(self.before[row])],
                of[int(self.after[row])],
            )
            for row in rows
        )

    def confusions(self) -> tuple[Confusion, ...]:
        """Pairs of a class and what it is taken for now, and was not before; the most frequent first."""
        old, new = (self._pairs(answers) for answers in (self.before, self.after))
        fresh = sorted(((pair, count) for pair, count in new.items() if pair not in old), key=lambda found: -found[1])
        return tuple(Confusion(self.labels[true], self.labels[seen], count) for (true, seen), count in fresh)

    def _pairs(self, answers: Ids) -> Counter[tuple[int, int]]:
        pairs = zip(self.truth.tolist(), answers.tolist(), strict=True)
        return Counter((true, seen) for true, seen in pairs if true != seen)


def _on_held_out(pair: _Pair) -> _Seen | None:
    import numpy as np

    from promptctl.classification.blend import as_kept
    from promptctl.classification.classifier import Classifier

    learned = {
        sha.tobytes()
        for context in (pair.before, pair.after)
        for sha in context.shots.sha256[context.shots.held_out == 0]
    }
    both = set(pair.ids(pair.before)) & set(pair.ids(pair.after))
    rows: dict[bytes, tuple[NDArray[np.float16], int]] = {}
    for context in (pair.after, pair.before):  # whose labels are those of now
        shots = context.shots
        for row, (sha, id) in enumerate(zip(shots.sha256, pair.classes_of_shots(context), strict=True)):
            if shots.held_out[row] and sha.tobytes() not in learned:
                rows.setdefault(sha.tobytes(), (shots.features[row], id))
    rows = {sha: found for sha, found in rows.items() if found[1] in both}
    if not rows:
        return None
    x = as_kept(np.array([row for row, _ in rows.values()]).astype(np.float32))
    answers = [
        np.array(pair.ids(context), np.int64)[Classifier.of(context).predict(x).best]
        for context in (pair.before, pair.after)
    ]
    truth = np.array([id for _, id in rows.values()], dtype=np.int64)
    return _Seen(HELD_OUT, pair.labels, tuple(rows), truth, *answers)


def _on_folds(pair: _Pair) -> _Seen | None:
    """On the shots that both have learned from, by what folds that left them out saw in them."""
    import numpy as np

    old, new = (_seen_by_folds(pair, context) for context in (pair.before, pair.after))
    both = set(pair.ids(pair.before)) & set(pair.ids(pair.after))
    hashes = [sha for sha, (id, _) in new.items() if sha in old and id in both]
    if not hashes:
        return None
    columns = ([new[sha][0] for sha in hashes], [old[sha][1] for sha in hashes], [new[sha][1] for sha in hashes])
    return _Seen(UNSEEN_SHOTS, pair.labels, tuple(hashes), *(np.array(column, np.int64) for column in columns))


def _seen_by_folds(pair: _Pair, context: Context) -> dict[bytes, tuple[int, int]]:
    """sha256 → the class of a shot, and what was seen in it."""
    shots = context.shots
    seen = shots.predicted.tolist()
    if context is pair.before:
        seen = [id if id < 0 else pair.now(id) for id in seen]
    known = {*pair.ids(context)}
    rows = zip(shots.sha256, pair.classes_of_shots(context), seen, shots.predicted, shots.held_out, strict=True)
    return {sha.tobytes(): (id, one) for sha, id, one, raw, held in rows if not held and raw >= 0 and one in known}


# --------------------------------------------------------------------------- class by class, vector by vector


def _class_diffs(pair: _Pair) -> tuple[ClassDiff, ...]:
    """For every class of either: how many of its shots either gets right, and how alike its text features are."""
    import numpy as np

    x, classes = _all_shots(pair)
    contexts = (pair.before, pair.after)
    right = [_right(pair, context, x, classes) for context in contexts]
    places = [{id: i for i, id in enumerate(pair.ids(context))} for context in contexts]
    rows = []
    for id in sorted({*places[0], *places[1]}, key=lambda id: pair.labels[id]):
        mine = np.array([found == id for found in classes], dtype=bool)
        old, new = (
            float(of[mine].mean()) if id in place and mine.any() else None
            for of, place in zip(right, places, strict=True)
        )
        alike = None
        if id in places[0] and id in places[1]:
            alike = float(pair.before.text_features[places[0][id]] @ pair.after.text_features[places[1][id]])
        rows.append(ClassDiff(pair.labels[id], int(mine.sum()), old, new, alike))
    return tuple(rows)


def _all_shots(pair: _Pair) -> tuple[NDArray[np.float32], list[int]]:
    """(N, E) unit rows and ids of the images either carries, each once per class it has now."""
    import numpy as np

    now = _by_hash(pair, pair.after)
    seen: dict[tuple[int, bytes], NDArray[np.float32]] = {}
    for context in (pair.after, pair.before):
        for row, id, sha in zip(
            context.shots.features, pair.classes_of_shots(context), context.shots.sha256, strict=True
        ):
            if context is pair.after or sha.tobytes().hex() not in now:
                seen.setdefault((id, sha.tobytes()), row.astype(np.float32))
    width = pair.before.card.backbone.joint_width
    return np.array(list(seen.values()), np.float32).reshape(-1, width), [id for id, _ in seen]


def _right(pair: _Pair, context: Context, x: NDArray[np.float32], classes: list[int]) -> NDArray[np.bool_]:
    """(N,) whether the context gives each image its class."""
    import numpy as np

    from promptctl.classification.classifier import Classifier

    place = {id: i for i, id in enumerate(pair.ids(context))}
    targets = np.array([place.get(id, -1) for id in classes], dtype=np.int64)
    return Classifier.of(context).right(x, targets)


def _drift(pair: _Pair) -> tuple[VectorDrift, ...]:
    """How far each vector has moved, where both have the same number of them of one kind."""
    import numpy as np

    before, after = pair.before, pair.after
    if before.vectors.ndim != after.vectors.ndim or before.vectors.shape[-2:] != after.vectors.shape[-2:]:
        return ()
    pairs: list[tuple[str | None, NDArray[np.float32], NDArray[np.float32]]]
    if before.vectors.ndim == 2:
        pairs = [(None, before.vectors, after.vectors)]
    else:
        old, new = (dict(zip(pair.ids(c), c.vectors, strict=True)) for c in (before, after))
        pairs = [(pair.labels[id], old[id], new[id]) for id in new if id in old]
    rows = []
    for label, a, b in pairs:
        for number, (u, v) in enumerate(zip(a, b, strict=True), 1):
            lengths = float(np.linalg.norm(u) * np.linalg.norm(v))
            cosine = float(u @ v) / lengths if lengths else 0.0
            rows.append(VectorDrift(label, number, float(np.linalg.norm(u - v)), cosine))
    return tuple(rows)
