"""Edited: a context with classes renamed or gone. Rows stay or go, so it takes no text tower and no PyTorch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from promptctl import __version__
from promptctl.context.card import HELD_OUT, Change, ClassEntry, Score, Shots, next_id_after

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.context.context import Context
    from promptctl.context.prototypes import Prototypes

    Mask = NDArray[np.bool_]
    Rows = NDArray[np.int64]


def next_version(context: Context, parent: Context, change: Change) -> Context:
    """A context that came of another without learning, as the next version of that."""
    card = replace(context.card, parent=parent.card.sha256, change=change, written_by=f"promptctl {__version__}")
    return replace(context, card=card)


def with_entry(context: Context, entry: ClassEntry) -> Context:
    """The same with other words for one class; no answer changes."""
    classes = tuple(entry if one.id == entry.id else one for one in context.card.classes)
    return replace(context, card=replace(context.card, classes=classes))


def without_classes(context: Context, ids: Collection[int]) -> Context:
    """The same without some classes and their shots; the rows of the others stay to the bit, no id is used again."""
    import numpy as np

    rows = [row for row, entry in enumerate(context.card.classes) if entry.id not in ids]
    sliced = _of_rows(context, rows)
    card = replace(sliced.card, next_id=next_id_after(context.card, sliced.card.classes))
    gone = np.isin(context.shots.class_ids, list(ids))
    predicted = np.where(np.isin(context.shots.predicted, list(ids)), -1, context.shots.predicted).astype(np.int32)
    shots = replace(context.shots, predicted=predicted)
    return scored(_with_shots(replace(sliced, card=card, shots=shots), ~gone))


def only(context: Context, rows: Sequence[int]) -> Context:
    """The same with the classes of some rows alone, to answer among them; nothing is learned or scored again."""
    import numpy as np

    sliced = replace(_of_rows(context, rows), prototypes=None)
    return _with_shots(sliced, np.isin(context.shots.class_ids, [entry.id for entry in sliced.card.classes]))


def _of_rows(context: Context, rows: Sequence[int]) -> Context:
    """The classes of some rows, with what answers for each to the bit, and still the shots of all."""
    import numpy as np

    head, which = context.head, np.array(rows, dtype=np.int64)
    return replace(
        context,
        card=replace(context.card, classes=tuple(context.card.classes[row] for row in rows)),
        vectors=context.vectors[which] if context.vectors.ndim == 3 else context.vectors,
        text_features=context.text_features[which],
        zero_shot_features=context.zero_shot_features[which],
        head=head and replace(head, weight=head.weight[which], bias=head.bias[which]),
        prototypes=_without_classes(context.prototypes, which),
    )


def without_shots(context: Context, gone: Mask) -> Context:
    """The same without the features of some images (N,), and what is known of it by the others."""
    return scored(_with_shots(context, ~gone))


def by_name_alone(context: Context, ids: Collection[int]) -> Context:
    """The same with classes that answer by their name alone, as if no image of them had ever been seen."""
    import numpy as np

    own = np.array([entry.id in ids for entry in context.card.classes], dtype=bool)
    text, vectors, head = context.text_features.copy(), context.vectors, context.head
    text[own] = context.zero_shot_features[own]
    if vectors.ndim == 3 and not own.all():
        vectors = vectors.copy()
        vectors[own] = vectors[~own].mean(0)
    if head:
        weight, bias = head.weight.copy(), head.bias.copy()
        weight[own], bias[own] = context.zero_shot_features[own], 0.0
        head = replace(head, weight=weight, bias=bias)
    prototypes = _without_classes(context.prototypes, np.where(own, -1, np.arange(len(own))))
    return scored(replace(context, text_features=text, vectors=vectors, head=head, prototypes=prototypes))


def _without_classes(kept: Prototypes | None, rows: Rows) -> Prototypes | None:
    """Of other classes, without the directions, which are of the photos of those that are gone too."""
    return kept and replace(kept.only(rows), directions=None)


def scored(context: Context) -> Context:
    """With folds, score and likeness recomputed from the shots that are stored."""
    from promptctl.classification import calibration

    by_folds = folds(context)
    context = replace(context, shots=calibration.scored(context, again=True))
    score = _on_held_out(context) or by_folds
    return replace(context, card=replace(context.card, folds=by_folds, score=score))


def _with_shots(context: Context, stays: Mask) -> Context:
    if not len(context.shots):
        return context  # left out of the file; what the card counts is what was learned from
    shots = context.shots.only(stays)
    held_out = int(shots.held_out.sum())
    counted = Shots(context.card.shots.asked, len(shots) - held_out, held_out)
    return replace(context, card=replace(context.card, shots=counted), shots=shots)


def _on_held_out(context: Context) -> Score | None:
    from promptctl.classification.blend import as_kept
    from promptctl.classification.classifier import Classifier

    features, rows = context.held_out()
    if not len(rows):
        return None
    right = Classifier.of(context).accuracy(as_kept(features), rows)
    by_hand = Classifier.zero_shot(context).accuracy(as_kept(context.plain_held_out()), rows)
    return Score(HELD_OUT, len(rows), right, by_hand)


def folds(context: Context) -> Score | None:
    """What the folds said of the images that are left; classes count alike."""
    import numpy as np

    from promptctl.classification.blend import as_kept
    from promptctl.classification.classifier import Classifier

    before, shots = context.card.folds, context.shots
    seen = (shots.held_out == 0) & (shots.predicted >= 0)
    if before is None or not seen.any():
        return None
    ids = np.array([entry.id for entry in context.card.classes], np.int32)
    true = shots.class_ids[seen]
    x = as_kept(shots.plain[seen].astype(np.float32))
    by_hand = ids[Classifier.zero_shot(context).predict(x).best]
    accuracy, zero_shot = (_mean_over_classes(answers == true, true) for answers in (shots.predicted[seen], by_hand))
    return Score(before.on, int(seen.sum()), accuracy, zero_shot)


def _mean_over_classes(right: Mask, ids: NDArray[np.int32]) -> float:
    import numpy as np

    return float(np.mean([right[ids == id].mean() for id in np.unique(ids)]))
