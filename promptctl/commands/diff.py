"""Diff: how one context differs from another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from promptctl.commands.sources import locate
from promptctl.context import diff as differences
from promptctl.report import (
    ClassDiff,
    DiffReport,
    VectorDrift,
)
from promptctl.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.context.context import Context


def diff(a: str, b: str, *, store: Store | None = None) -> DiffReport:
    """How context b differs from a: classes, settings, accuracy on the shots both carry, text features, vectors."""
    store = store or Store()
    old, new = locate(a, store), locate(b, store)
    before, after = old.load(), new.load()
    classes = differences.class_changes(before.card, after.card)
    same_model = before.card.backbone.fingerprint == after.card.backbone.fingerprint
    return DiffReport(
        before=old.name,
        after=new.name,
        added=classes.added,
        removed=classes.removed,
        renamed=classes.renamed,
        settings=differences.setting_changes(before.card, after.card),
        same_backbone=same_model,
        classes=_class_diffs(before, after) if same_model else (),
        vectors=_drift(before, after) if same_model else (),
    )


def _class_diffs(before: Context, after: Context) -> tuple[ClassDiff, ...]:
    """For every class of either: how many of its shots either gets right, and how alike its text features are."""
    import numpy as np

    x, labels = _all_shots(before, after)
    rows = []
    right = [_right(context, x, labels) for context in (before, after)]
    places = [{label: i for i, label in enumerate(context.card.labels)} for context in (before, after)]
    for label in sorted({*before.card.labels, *after.card.labels}):
        mine = np.array([found == label for found in labels], dtype=bool)
        old, new = (
            float(of[mine].mean()) if label in place and mine.any() else None
            for of, place in zip(right, places, strict=True)
        )
        alike = None
        if label in places[0] and label in places[1]:
            pair = (before.text_features[places[0][label]], after.text_features[places[1][label]])
            alike = float(pair[0] @ pair[1])
        rows.append(ClassDiff(label, int(mine.sum()), old, new, alike))
    return tuple(rows)


def _all_shots(before: Context, after: Context) -> tuple[NDArray[np.float32], list[str]]:
    """(N, E) unit rows and labels of the images either carries, each once per class."""
    import numpy as np

    seen: dict[tuple[str, bytes], NDArray[np.float32]] = {}
    for context in (before, after):
        label_of = {entry.id: entry.label for entry in context.card.classes}
        for row, id, sha in zip(context.shots.features, context.shots.class_ids, context.shots.sha256, strict=True):
            if int(id) in label_of:
                seen.setdefault((label_of[int(id)], sha.tobytes()), row.astype(np.float32))
    width = before.card.backbone.joint_width
    return np.array(list(seen.values()), np.float32).reshape(-1, width), [label for label, _ in seen]


def _right(context: Context, x: NDArray[np.float32], labels: Sequence[str]) -> NDArray[np.bool_]:
    """(N,) whether the context gives each image its label."""
    import numpy as np

    from promptctl.classification.classifier import Classifier

    place = {label: i for i, label in enumerate(context.card.labels)}
    targets = np.array([place.get(label, -1) for label in labels], dtype=np.int64)
    return Classifier.of(context).right(x, targets)


def _drift(before: Context, after: Context) -> tuple[VectorDrift, ...]:
    """How far each vector has moved, where both have the same number of them of one kind."""
    import numpy as np

    if before.vectors.ndim != after.vectors.ndim or before.vectors.shape[-2:] != after.vectors.shape[-2:]:
        return ()
    pairs: list[tuple[str | None, NDArray[np.float32], NDArray[np.float32]]]
    if before.vectors.ndim == 2:
        pairs = [(None, before.vectors, after.vectors)]
    else:
        old, new = (dict(zip(c.card.labels, c.vectors, strict=True)) for c in (before, after))
        pairs = [(label, old[label], new[label]) for label in new if label in old]
    rows = []
    for label, a, b in pairs:
        for number, (u, v) in enumerate(zip(a, b, strict=True), 1):
            lengths = float(np.linalg.norm(u) * np.linalg.norm(v))
            cosine = float(u @ v) / lengths if lengths else 0.0
            rows.append(VectorDrift(label, number, float(np.linalg.norm(u - v)), cosine))
    return tuple(rows)
