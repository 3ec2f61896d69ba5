"""Measured: what a context and zero-shot say of labelled photos, and how good that is."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from promptctl.classification.classifier import Classifier, Predictions, calibration_error
from promptctl.classification.metrics import (
    accuracy_among,
    bootstrap,
    class_scores,
    confused_pairs,
    confusion,
    scores,
)
from promptctl.classification.together import shots_behind
from promptctl.classification.together import together as answered_together
from promptctl.report import ClassScore, ConfusedPair, CoverageRow, Interval, PhotoAnswer, Scores, Speed

if TYPE_CHECKING:
    from promptctl.commands.labelled import Seen
    from promptctl.context.context import Context
    from promptctl.encoding.pipeline import Features

_ROWS = 4096  # photos beside all shots at a time
SHARES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)  # of the images, the most certain
MOST_PAIRS = 20

Targets = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Answers:
    """What is said of N photos."""

    learned: Predictions  # what counts
    one_by_one: Predictions
    together: Predictions | None  # None: nobody asked
    without_head: Predictions | None  # None: there is no head, or zero-shot alone beside it
    zero_shot: Predictions
    seconds: float  # that `learned` took


def answers(
    context: Context,
    share: float,
    features: Features,
    *,
    together: bool,
    also_together: bool,
    plain: Features | None = None,
) -> Answers:
    """What a context says of photos, so much of it as the share says.

    plain           the photos without the context's visual tokens, where it has any, for zero-shot
    together        what counts is what they are answered together
    also_together   that is to be known, whatever counts
    """
    vectors, classifier = features.vectors, Classifier.of(context, share=share)
    start = time.perf_counter()
    one_by_one = classifier.predict(vectors)
    middle = time.perf_counter()
    as_one = None
    if together or also_together:
        as_one = answered_together(vectors, classifier, shots_behind(context, share))
    seconds = time.perf_counter() - middle if together else middle - start
    return Answers(
        learned=as_one if together and as_one else one_by_one,
        one_by_one=one_by_one,
        together=as_one,
        without_head=_without_head(context, share, vectors),
        zero_shot=Classifier.zero_shot(context).predict((plain or features).vectors),
        seconds=seconds,
    )


def _without_head(context: Context, share: float, vectors: NDArray[np.float32]) -> Predictions | None:
    from promptctl.learners import LEARNERS

    if context.head is None or not LEARNERS[context.card.method.learner].has_own_text:
        return None
    return Classifier.of(context, share=share, head=False).predict(vectors)


def figures(
    context: Context, share: float, seen: Seen, targets: Targets, said: Answers, together: bool
) -> dict[str, Any]:
    """What an EvaluateReport has of the answers, by its fields."""
    learned, zero_shot = said.learned, said.zero_shot
    plain = Classifier.of(context, share=share).logits(seen.features.vectors)
    accuracy, gain = bootstrap(learned.best == targets, zero_shot.best == targets)
    return {
        "learned": Scores(**scores(learned, targets)),
        "alone": Scores(**scores(said.one_by_one, targets)) if together else None,
        "without_head": said.without_head and Scores(**scores(said.without_head, targets)),
        "zero_shot": Scores(**scores(zero_shot, targets)),
        "ece_before": calibration_error(Predictions.of(plain), targets),
        "per_class": _per_class(context, learned, zero_shot, targets),
        "top1_interval": Interval(*accuracy),
        "gain_interval": Interval(*gain),
        "coverage": _coverage(learned, zero_shot, targets),
        "confused": _confused(context, learned, targets),
        "speed": _speed(seen, said),
        "class_names": {entry.label: entry.name for entry in context.card.classes},
        "photos": _photos(context, seen.features, targets, said, together),
    }


def _per_class(
    context: Context, learned: Predictions, zero_shot: Predictions, targets: Targets
) -> tuple[ClassScore, ...]:
    card = context.card
    return tuple(
        ClassScore(
            label=card.labels[c.index],
            name=card.names[c.index],
            images=c.images,
            accuracy=c.recall,
            zero_shot_accuracy=z.recall,
            f1=c.f1,
            mistaken_for=None if c.mistaken_for is None else card.names[c.mistaken_for],
        )
        for c, z in zip(class_scores(learned, targets), class_scores(zero_shot, targets), strict=True)
    )


def _coverage(learned: Predictions, zero_shot: Predictions, targets: Targets) -> tuple[CoverageRow, ...]:
    rows = []
    for share in SHARES:
        images, accuracy = accuracy_among(share, learned, targets)
        rows.append(CoverageRow(share, images, accuracy, accuracy_among(share, zero_shot, targets)[1]))
    return tuple(rows)


def _confused(context: Context, learned: Predictions, targets: Targets) -> tuple[ConfusedPair, ...]:
    labels, names = context.card.labels, context.card.names
    pairs = confused_pairs(confusion(learned, targets))[:MOST_PAIRS]
    return tuple(ConfusedPair(labels[c], names[c], labels[g], names[g], count) for c, g, count in pairs)


def _speed(seen: Seen, said: Answers) -> Speed:
    n = len(seen.features)
    if not seen.n_encoded:
        return Speed(None, n)
    return Speed(seen.seconds / seen.n_encoded + said.seconds / n, n - seen.n_encoded)


# --------------------------------------------------------------------------- photo by photo


def _photos(
    context: Context, features: Features, targets: Targets, said: Answers, together: bool
) -> tuple[PhotoAnswer, ...]:
    labels, learned, zero_shot = context.card.labels, said.learned, said.zero_shot
    nearest = _nearest_shots(context, features.vectors)
    alone = _answered(labels, said.one_by_one if together else None, len(targets))
    as_one = _answered(labels, said.together, len(targets))
    best, given, by_hand, sure = learned.best, learned.confidence, zero_shot.best, zero_shot.confidence
    return tuple(
        PhotoAnswer(
            file=str(path),
            sha256=features.sha256[i],
            label=labels[targets[i]],
            answer=labels[best[i]],
            probability=float(given[i]),
            truth_probability=float(learned.probabilities[i, targets[i]]),
            zero_shot=labels[by_hand[i]],
            zero_shot_probability=float(sure[i]),
            alone=alone[i][0],
            alone_probability=alone[i][1],
            nearest_shot=shot and shot[0],
            nearest_shot_sha256=shot and shot[1],
            nearest_shot_cosine=shot and shot[2],
            together=as_one[i][0],
            together_probability=as_one[i][1],
        )
        for i, (path, shot) in enumerate(zip(features.paths, nearest, strict=True))
    )


def _answered(
    labels: Sequence[str], predictions: Predictions | None, n: int
) -> list[tuple[str, float] | tuple[None, None]]:
    """The label each of n photos was given, and its probability."""
    if predictions is None:
        return [(None, None)] * n
    return [(labels[c], p) for c, p in zip(predictions.best, predictions.confidence.tolist(), strict=True)]


def _nearest_shots(context: Context, vectors: NDArray[np.float32]) -> Sequence[tuple[str, str, float] | None]:
    """Label, sha256 and cosine of the learned shot most like each of (N, E) unit rows; None: there are none."""
    rows, targets = context.learned_from()
    if not len(rows):
        return [None] * len(vectors)
    hashes = context.shots.sha256[context.shots.held_out == 0]
    found: list[tuple[str, str, float] | None] = []
    for first in range(0, len(vectors), _ROWS):
        cosines = vectors[first : first + _ROWS] @ rows.T
        nearest = cosines.argmax(1)
        for image, shot in enumerate(nearest.tolist()):
            sha256 = hashes[shot].tobytes().hex()
            found.append((context.card.labels[targets[shot]], sha256, float(cosines[image, shot])))
    return found


# --------------------------------------------------------------------------- what is odd about them


def learned_from(context: Context, features: Features) -> int:
    """How many of the images the context was learned from."""
    known = own_images(context)
    return sum(sha256 in known for sha256 in features.sha256)


def own_images(context: Context) -> set[str]:
    """sha256 of the images the context was learned from."""
    return {row.tobytes().hex() for row in context.shots.sha256[context.shots.held_out == 0]}


def say_what_is_odd(
    features: Features, label_of: Mapping[Path, str], targets: Targets, context: Context, name: str
) -> None:
    """Pictures in two classes, and pictures that look nearly the same as those the context learned from."""
    from promptctl.data import remarks
    from promptctl.data.near_copies import by_features_alone

    named = [(path, label_of[path], sha256) for path, sha256 in zip(features.paths, features.sha256, strict=True)]
    remarks.say(remarks.one_picture_of_two_classes(named))
    rows, of_rows = context.learned_from()
    known = own_images(context)
    alike = by_features_alone(features.vectors, targets, rows, of_rows)
    near = [i for i in alike if features.sha256[i] not in known]
    remarks.say(remarks.near_copies((features.paths[i], f"a photo {name} was learned from") for i in near))
