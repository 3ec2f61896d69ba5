"""Guarding: a new version beside its parent on images that neither learned from, and what is tried before a refusal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from promptctl.classification import classifier
from promptctl.classification.blend import as_kept
from promptctl.classification.classifier import Classifier, Predictions
from promptctl.commands.revise import Revision, revised
from promptctl.commands.versions import answering
from promptctl.context.card import HELD_OUT, GuardRecord, HeadPart
from promptctl.context.context import Context, LinearHead
from promptctl.context.graded import right_probability
from promptctl.context.guard import FEWEST_IMAGES, Paired, Taken, Verdict, judge
from promptctl.progress import OnProgress
from promptctl.report import ClassMoved, GuardFacts

if TYPE_CHECKING:
    from promptctl.commands.revise import AnyBackbone

FOLDS = "shots, in folds"
_MORE_STEPS = 3
_OF_PARENT = (0.25, 0.5, 0.75)  # WiSE-FT's shares of the older weights


@dataclass(frozen=True, eq=False)
class Judged:
    """A version and what the guard says of it."""

    context: Context
    verdict: Verdict
    on: str  # which images they were compared on
    kept: str = ""  # which of the retries this is; empty: the first try
    by_name: tuple[str, ...] = ()  # labels of new classes without an image, among which it answered too

    def recorded(self, *, forced: bool) -> Context:
        """The version with the verdict in its card."""
        found, change = self.verdict, self.context.card.change
        assert change is not None
        record = GuardRecord(found.images, found.worse, found.better, found.p, found.refused, self.on, self.kept)
        told = replace(change, guard=record, forced=forced and found.refused)
        return replace(self.context, card=replace(self.context.card, change=told))


def facts_of(parent: str, judged: Judged) -> GuardFacts:
    """What a report says of it."""
    found = judged.verdict
    return GuardFacts(
        parent=parent,
        compared_on=judged.on,
        compared_images=found.images,
        worse=found.worse,
        better=found.better,
        p=found.p,
        refused=found.refused,
        advisory=found.advisory,
        by_name=judged.by_name,
        kept=judged.kept,
        reasons=found.reasons,
        guard_warnings=found.warnings,
        per_class=tuple(
            ClassMoved(row.label, row.images, row.before / row.images, row.after / row.images) for row in found.classes
        ),
    )


def guarded(
    revision: Revision, backbone: AnyBackbone, max_forgetting: float, on_progress: OnProgress | None = None
) -> Judged:
    """The version that a revision makes; if refused, the first retry that is not, or itself."""
    first = judged(revision.parent, revised(revision, backbone, on_progress), max_forgetting)
    if not first.verdict.refused or not revision.trains:
        return first
    for kept, another in _retries(revision, first.context, backbone, on_progress):
        found = judged(revision.parent, another, max_forgetting)
        if not found.verdict.refused:
            return replace(found, kept=kept)
    return first


def _retries(
    revision: Revision, refused: Context, backbone: AnyBackbone, on_progress: OnProgress | None
) -> Iterator[tuple[str, Context]]:
    """Other versions of the same photos, each made when it is asked for; where a head answers, of the head alone."""
    if refused.head is not None:
        # a share of what was said of other features would say nothing
        for share in _OF_PARENT if _is_of_one_backbone(revision.parent, refused) else ():
            yield f"{share:g} of the parent's head", _with_head_of(revision, refused, share)
        return
    for kept, another in _with_other_vectors(revision, refused):
        yield kept, revised(another, backbone, on_progress)


def _with_head_of(revision: Revision, candidate: Context, share: float) -> Context:
    """The candidate with a share of what its parent answers, for the classes that both have."""
    assert candidate.head is not None
    before = extended(revision.parent, candidate)
    both = np.isin([entry.id for entry in candidate.card.classes], list(_ids(revision.parent)))
    of_parent = np.where(both, share, 0.0).astype(np.float32)
    bias = np.zeros(len(both), np.float32) if before.bias is None else before.bias
    head = LinearHead(
        of_parent[:, None] * before.weight + (1 - of_parent)[:, None] * candidate.head.weight,
        of_parent * bias + (1 - of_parent) * candidate.head.bias,
    )
    parts = (*(HeadPart(p.kind, (1 - share) * p.share) for p in candidate.card.head), HeadPart("parent", share))
    card = replace(candidate.card, head=parts)
    return answering(replace(candidate, card=card, head=head), revision.measured)


def _is_of_one_backbone(parent: Context, candidate: Context) -> bool:
    return parent.encoder_fingerprint == candidate.encoder_fingerprint


def _with_other_vectors(revision: Revision, refused: Context) -> Iterator[tuple[str, Revision]]:
    if not (revision.goes_on() or (revision.from_scratch and refused.card.method.context_tokens)):
        return
    settings, parent = revision.settings, revision.parent
    more = (settings.epochs or refused.card.method.epochs) * _MORE_STEPS
    yield f"{_MORE_STEPS} times the steps", replace(revision, settings=replace(settings, epochs=more))
    if revision.goes_on() and refused.vectors.shape == parent.vectors.shape:
        for share in _OF_PARENT:
            between = share * parent.vectors + (1 - share) * refused.vectors
            yield (
                f"{share:g} of the parent's vectors",
                replace(revision, begin=between.astype(np.float32), trains=False),
            )
    if not settings.class_specific:
        yield "class-specific vectors", revision.class_by_class()


def judged(parent: Context, candidate: Context, max_forgetting: float) -> Judged:
    """The candidate beside its parent; on folds of the shots where hardly any image is held out.

    Each answers by the features that it stores, so the two may be of different backbones.
    """
    labels = {entry.id: entry.label for entry in candidate.card.classes}
    by_name = tuple(labels[id] for id in labels if id in _by_name(parent, candidate))
    seen, on = _on_held_out(parent, candidate), HELD_OUT
    if len(seen.ids) < FEWEST_IMAGES:
        by_folds = _on_folds(parent, candidate)
        seen, on = (by_folds, FOLDS) if len(by_folds.ids) > len(seen.ids) else (seen, on)
    found = judge(
        seen.same,
        seen.ids,
        labels,
        full=seen.full,
        zero_shot=seen.zero_shot,
        taken=seen.taken(labels),
        max_forgetting=max_forgetting,
    )
    return Judged(candidate, found, on, by_name=by_name)


Right = NDArray[np.bool_]
Rows = NDArray[np.float32]
Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Seen:
    """What two versions answer to the same N images."""

    same: Paired
    ids: Ids  # (N,) of the classes that they show
    by_name: Ids  # (N,) the new class without an image that the candidate answers; -1: another
    full: Paired | None = None
    zero_shot: Right | None = None

    def taken(self, labels: Mapping[int, str]) -> list[Taken]:
        lost = np.flatnonzero(self.same.parent & (self.by_name >= 0))
        counts = Counter((int(self.by_name[i]), int(self.ids[i])) for i in lost)
        return [Taken(labels[by], labels[of], images) for (by, of), images in sorted(counts.items())]


def _on_held_out(parent: Context, candidate: Context) -> _Seen:
    """On the images that the parent holds out, with the labels they have now, of classes that both have."""
    both, by_name = _ids(parent) & _ids(candidate), _by_name(parent, candidate)
    before, after, plain, ids = _held_out_by_both(parent, candidate, both)
    old, new = (Classifier.of(parent), before), (Classifier.of(candidate), after)
    answered = _answers(*new, both | by_name)
    same = Paired(_answers(*old, both) == ids, answered == ids) if by_name else _compared(old, new, ids, both)
    full = None
    if _ids(candidate) - _ids(parent) - by_name:
        full = Paired(_answers(extended(parent, candidate), before) == ids, _answers(*new) == ids)
    zero_shot = _answers(Classifier.zero_shot(candidate), plain) == ids
    return _Seen(same, ids, _only(answered, by_name), full, zero_shot)


def _by_name(parent: Context, candidate: Context) -> set[int]:
    """Ids of the classes that are new and brought no image: whatever they take of the others, they take wrongly."""
    new, means = _ids(candidate) - _ids(parent), candidate.prototypes
    rows = range(len(candidate.card.classes)) if means is None else np.flatnonzero(means.count == 0)
    without = {candidate.card.classes[row].id for row in rows} - set(candidate.shots.class_ids.tolist())
    return new & without


def _only(ids: Ids, some: set[int]) -> Ids:
    """The ids, -1 in place of all but some."""
    return np.where(np.isin(ids, list(some)), ids, -1)


def _held_out_by_both(parent: Context, candidate: Context, classes: set[int]) -> tuple[Rows, Rows, Rows, Ids]:
    """(N, E) unit rows of the images as the parent stores them, as the candidate does, also without visual tokens, and
    (N,) their ids.
    """
    row_of = {sha.tobytes(): row for row, sha in enumerate(parent.shots.sha256) if parent.shots.held_out[row]}
    shots = candidate.shots
    rows = [
        row
        for row, (sha, id, held) in enumerate(zip(shots.sha256, shots.class_ids, shots.held_out, strict=True))
        if held and sha.tobytes() in row_of and int(id) in classes
    ]
    of_parent = [row_of[shots.sha256[row].tobytes()] for row in rows]
    after = np.array(rows, np.int64)
    return (
        _unit_rows(parent.shots.features, np.array(of_parent, np.int64)),
        _unit_rows(shots.features, after),
        _unit_rows(shots.plain, after),
        shots.class_ids[after].astype(np.int64),
    )


def _unit_rows(features: NDArray[np.float16], rows: Ids) -> Rows:
    """(N, E)"""
    return as_kept(features[rows].astype(np.float32))


_Answering = tuple[Classifier, Rows]  # a version, and (N, E) unit rows of the images as its backbone sees them


def _compared(before: _Answering, after: _Answering, ids: Ids, both: set[int]) -> Paired:
    """What two versions answer to the same images of some ids, among the classes that both have."""
    old_right, new_right = (_answers(one, x, both) == ids for one, x in (before, after))
    if not len(ids):
        return Paired(old_right, new_right)
    was, becomes = (right_probability(*_among(one, x, ids, both)) for one, x in (before, after))
    return Paired(old_right, new_right, was - becomes)


def _among(answering: Classifier, x: Rows, ids: Ids, both: set[int]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(N, K) probabilities of some classes, and (N,) the column of each image's own."""
    known = np.array([entry.id for entry in answering.classes], dtype=np.int64)
    columns = np.flatnonzero(np.isin(known, list(both)))
    targets = (ids[:, None] == known[columns]).argmax(1)
    # before the temperature that a card has: both are given the one that suits them on these images
    return Predictions.of(answering.logits(x)[:, columns]).probabilities, targets


def extended(parent: Context, candidate: Context) -> Classifier:
    """The parent with zero-shot rows for the classes that only the candidate has, in the candidate's order."""
    answer, own, classes = Classifier.of(parent), _in_order(parent), candidate.card.classes
    names = candidate.zero_shot_features
    weight, bias = classifier.extended(own, answer.weight, answer.bias, _in_order(candidate), names)
    return Classifier(weight, answer.logit_scale, classes, bias=bias)


def _in_order(context: Context) -> Ids:
    """(C,) the ids of the classes"""
    return np.array([entry.id for entry in context.card.classes], np.int64)


def _answers(answering: Classifier, x: Rows, among: set[int] | None = None) -> Ids:
    """(N,) the id of the most probable class, of some where they are given; -1 where there is none."""
    ids = np.array([entry.id for entry in answering.classes], dtype=np.int64)
    columns = np.flatnonzero(np.isin(ids, list(among))) if among is not None else np.arange(len(ids))
    if not len(x) or not len(columns):
        return np.full(len(x), -1)
    probabilities = answering.predict(x).probabilities[:, columns]
    return np.asarray(ids[columns][probabilities.argmax(1)], dtype=np.int64)


def _on_folds(parent: Context, candidate: Context) -> _Seen:
    """On the parent's shots, each as folds saw it: what a head learned from the others said of it."""
    before = {
        sha.tobytes(): int(seen)
        for sha, seen, held in zip(parent.shots.sha256, parent.shots.predicted, parent.shots.held_out, strict=True)
        if not held and seen >= 0
    }
    known, by_name, rows = _ids(parent), _by_name(parent, candidate), []
    shots = candidate.shots
    for sha, id, seen, held in zip(shots.sha256, shots.class_ids, shots.predicted, shots.held_out, strict=True):
        if held or seen < 0 or int(id) not in known or sha.tobytes() not in before:
            continue
        old = before[sha.tobytes()] == int(id)
        # seen as a class that the parent has not: whether it would have been seen as another old one nobody knows
        new = old if int(seen) not in known | by_name else int(seen) == int(id)
        rows.append((int(id), old, new, int(seen)))
    ids, old_right, new_right, answered = (np.array([row[i] for row in rows], np.int64) for i in range(4))
    return _Seen(Paired(old_right.astype(bool), new_right.astype(bool)), ids, _only(answered, by_name))


def _ids(context: Context) -> set[int]:
    return {entry.id for entry in context.card.classes}
