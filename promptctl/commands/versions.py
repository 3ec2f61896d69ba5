"""Versions: what was learned, a head beside it, and how good both are → a context, not stored yet."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from promptctl.classification import calibration
from promptctl.classification.blend import as_kept
from promptctl.classification.classifier import Classifier, Predictions
from promptctl.commands import edited
from promptctl.context.card import HELD_OUT, Card, ChoiceScore, Chosen, HeadPart, Score
from promptctl.context.context import NOT_JUDGED, Context, LinearHead, ShotTable
from promptctl.context.limits import LARGEST_VALUE
from promptctl.context.prototypes import Prototypes
from promptctl.errors import LearningFailed
from promptctl.learners import LEARNERS, head
from promptctl.learners.fitting import Learned
from promptctl.learners.head import FittedHead, Folds
from promptctl.learners.parts import TEMPLATE, ZERO_SHOT, Ways
from promptctl.learners.settings import LearnSettings

Rows = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Measured:
    """Images that nothing was learned from."""

    features: Rows  # (N, E) unit rows
    rows: NDArray[np.int64]  # (N,) of the classes
    on: str  # which images these are
    plain: Rows | None = None  # (N, E) the same by the plain tower; None: they are of it

    def __len__(self) -> int:
        return len(self.rows)


def version(
    card: Card,
    learned: Learned,
    zero_shot: Rows,
    shots: ShotTable,
    settings: LearnSettings,
    measured: Measured | None = None,
    prototypes: Prototypes | None = None,
) -> Context:
    """A context with its head, and what it is known to be worth.

    card        without head, folds and score
    zero_shot   (C, E) unit rows
    measured    what the score is of; None: those of the shots that are held out
    raises      LearningFailed for what no file takes
    """
    _check_learned(learned, shots)
    unjudged = replace(shots, confidence=np.full(len(shots), NOT_JUDGED, np.float32))
    context = Context(
        card,
        learned.vectors,
        learned.text_features,
        zero_shot,
        unjudged,
        prototypes=prototypes,
        visual_tokens=learned.visual_tokens,
        projection=learned.projection,
    )
    if _has_head(settings, context) or (learned.ways and len(context.rehearsed()[1])):
        context = _with_head(context, settings.seed, learned.ways)
    else:
        context = _with_temperature_of_held_out(context)
    return answering(context, measured)


def _check_learned(learned: Learned, shots: ShotTable) -> None:
    """LearningFailed where the last steps have left the numbers that there are, which no loss has told."""
    some = (learned.vectors, learned.text_features, learned.visual_tokens, learned.projection, shots.features)
    for tensor in some:
        if tensor is not None and tensor.size and not float(np.abs(tensor).max()) <= LARGEST_VALUE:
            raise LearningFailed(learned.method.steps, learned.method.lr)


def answering(context: Context, measured: Measured | None = None) -> Context:
    """The context with what it answers to the images it holds out, how alike all its images are, and its score.

    measured   as in `version`
    """
    measured = measured if measured is not None and len(measured) else held_out(context)
    context = replace(context, shots=_with_answers(context))
    context = replace(context, shots=calibration.scored(context, again=True))
    return replace(context, card=replace(context.card, score=_score(context, measured)))


def held_out(context: Context) -> Measured:
    """The images that the context itself keeps apart."""
    features, rows = context.held_out()
    plain = None if context.is_plain else as_kept(context.plain_held_out())
    return Measured(as_kept(features), rows, HELD_OUT, plain)


def _has_head(settings: LearnSettings, context: Context) -> bool:
    if not context.is_plain:
        return False  # folds of features that have seen every shot would flatter it
    _, rows = context.rehearsed()
    if settings.head is not None or not len(rows):
        return bool(settings.head and len(rows))
    every = len(np.unique(rows)) == len(context.card.classes)
    # a class without photos is never predicted beside those that have some, unless they make way for it
    return (LEARNERS[settings.learner].has_context and settings.recipe != "paper") or not every


def _with_head(context: Context, seed: int, ways: Ways | None) -> Context:
    features, rows = context.rehearsed()
    own = context.shots.held_out == 0
    n_own = int(own.sum())
    found = head.fit(
        as_kept(features),
        rows,
        context.zero_shot_features,
        logit_scale=context.card.logit_scale,
        groups=_groups(context.shots.groups[own], len(rows)),
        seed=seed,
        ways=ways,
        known=None if context.is_plain else _seen_by_tower(context, len(rows)),
    )
    temperature = calibration.temperature(found.logits[:n_own], rows[:n_own]) if found.tells_confidence else 1.0
    ids = np.array([entry.id for entry in context.card.classes], np.int32)
    predicted, confidence = context.shots.predicted.copy(), context.shots.confidence.copy()
    seen = found.predicted[:n_own]
    predicted[own] = np.where(seen < 0, -1, ids[seen])
    confidence[own] = np.where(seen < 0, NOT_JUDGED, Predictions.of(found.logits[:n_own] / temperature).confidence)
    card = replace(
        context.card,
        head=_parts(found, ZERO_SHOT if context.is_plain else TEMPLATE),
        folds=_score_of(found.folds),
        temperature=temperature,
        chosen=_chosen(found, n_own) if ways and len(ways.choices) > 1 else None,
    )
    context = replace(
        context,
        card=card,
        head=LinearHead(found.weight, found.bias),
        shots=replace(context.shots, predicted=predicted, confidence=confidence),
    )
    # others compare with the template behind what a tower learned, which is no zero-shot, or judged made-up images too
    if context.is_plain and n_own == len(rows):
        return context
    return replace(context, card=replace(card, folds=edited.folds(context)))


def _seen_by_tower(context: Context, n: int) -> NDArray[np.bool_]:
    """(n,) which of the images to learn from the image tower has learned from, as far as that is known.

    Those of the version that it learned in, and what is made up in place of images.
    """
    since = context.shots.since[context.shots.held_out == 0]
    return np.concatenate([since == 1, np.ones(n - len(since), bool)])


def _with_temperature_of_held_out(context: Context) -> Context:
    """The same, its probabilities fitted to images it does not learn from, where there are enough of them."""
    features, rows = context.held_out()
    enough = len(rows) >= calibration.FEWEST
    temperature = calibration.temperature(Classifier.of(context).logits(as_kept(features)), rows) if enough else 1.0
    return replace(context, card=replace(context.card, temperature=temperature))


def _groups(groups: NDArray[np.int32], n: int) -> NDArray[np.int64]:
    """(n,) the groups of the shots, and one for each image that was made up beside them."""
    first = 1 + int(groups.max(initial=-1))
    return np.concatenate([groups.astype(np.int64), first + np.arange(n - len(groups))])


def _score_of(folds: Folds | None) -> Score | None:
    if folds is None:
        return None
    on = f"shots, in {folds.n_folds} folds"
    return Score(on, folds.n_images, folds.accuracy, folds.zero_shot_accuracy)


def _chosen(found: FittedHead, n_own: int) -> Chosen:
    """n_own   how many images are shots; the others were made up around means of shots that were left out"""
    scores = tuple(ChoiceScore(name, accuracy) for name, accuracy in found.scores.items())
    made_up = int((found.predicted[n_own:] >= 0).sum())
    by = f"{found.by.removesuffix('shots')}images, {made_up} of them made up around means," if made_up else found.by
    return Chosen(found.choice, by, found.why, scores)


def _parts(found: FittedHead, rest: str) -> tuple[HeadPart, ...]:
    """What a head is mixed of; `rest`: what zero-shot is called among them."""
    share = found.share
    learned = [(kind, share * weight) for kind, weight in found.parts.items() if share]
    both = (*learned, *([(rest, 1 - share)] if share < 1 else []))
    return tuple(HeadPart(kind, weight) for kind, weight in both)


def _with_answers(context: Context) -> ShotTable:
    """The shots with what the context answers to those it holds out."""
    shots, apart = context.shots, context.shots.held_out == 1
    if not apart.any():
        return shots
    found = Classifier.of(context).predict(as_kept(shots.features[apart].astype(np.float32)))
    predicted, confidence = shots.predicted.copy(), shots.confidence.copy()
    predicted[apart] = np.array([entry.id for entry in context.card.classes], np.int32)[found.best]
    confidence[apart] = found.confidence
    return replace(shots, predicted=predicted, confidence=confidence)


def _score(context: Context, measured: Measured) -> Score | None:
    """On images it never learned from; where there are none, on the folds of its shots."""
    if not len(measured):
        return context.card.folds
    plain = measured.features if measured.plain is None else measured.plain
    right = Classifier.of(context).accuracy(measured.features, measured.rows)
    by_hand = Classifier.zero_shot(context).accuracy(plain, measured.rows)
    return Score(measured.on, len(measured), right, by_hand)
