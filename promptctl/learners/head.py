"""Head: a linear classifier of the stored shots, which answers for the classes that have some.

It is a sum of parts (`parts.py`), which folds of the shots choose where there is a choice. That of a context is

    s W f + b = (s norm(w) . f  +  2 P(f)  +  (n / 16)^2 G(f)) / 3

with CLAP's rows w and the logit scale s, ProKeR's regression P (`proker.py`, l = 1), GDA's Gaussians G (`gda.py`) where
their spread tr(S) counts as 1, and n shots per class, the harmonic mean, at most 16. At few shots a regression of what
text leaves unsaid is best, at sixteen a discriminant analysis, and CLAP's rows help both; Gaussians of one shot say
nothing. The weights are of one size with zero-shot's logits, so that probabilities are believable where there are too
few folds for a temperature. They were chosen on training photos that were left over (docs/benchmarks.md).
Where a class has no shots it is CLAP's rows and a ridge regression (`ridge.py`): the more certain a head is of classes
that it knows, the less it leaves to one that is known by name alone.
A context's own rows have no part in it: they add nothing to these, and so a head does not depend on the order in
which its shots came, and what folds say of it is said of all of it.
Learning raises the best score of unseen images. Classes without shots keep their zero-shot rows, and the others give up
three quarters of that rise, or a class added by name alone would hardly ever be predicted; with all of it, it would be
predicted too often. A class of fewer shots than the others, and than eight, is hardly recognised by its own two photos:
it gets three quarters of the same, as far as it has fewer.
Folds of the shots say how good the head is; where they find zero-shot better, the head is mixed with it, with the
largest share that is not below zero-shot there, at worst none. Classes of three folds or more have to say so by
themselves too: a head of half the shots of a class says too little of the head of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from promptctl.context.limits import LARGEST_HEAD
from promptctl.learners import clap, gda, proker, ridge
from promptctl.learners.fitting import Targets, Vectors
from promptctl.learners.parts import (
    MOST_MEASURED,
    Choice,
    Lesson,
    Linear,
    Numbers,
    Part,
    Ways,
    Weights,
    class_shares,
    combined,
    shots_per_class,
)

FOLDS = 5
ENOUGH = 8  # shots of a class, from which on it needs no help beside larger ones
HELP = 0.75  # of the offset, for a class of none or next to none
MOST_LOGITS = (
    LARGEST_HEAD / 4
)  # of a unit row; Gaussians of near copies know no bounds, and no answer changes with them
SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)  # of what was learned, the rest zero-shot
_FOLDS_THAT_DECIDE = 3  # heads of half the shots say too little of the head of all
_EPOCHS_OF_FOLDS = 60  # of CLAP, where it is fitted once more for every fold
_MARGIN = 1.5  # standard errors by which a choice is to be better than the one that is preferred (docs/benchmarks.md)
_TEMPERATURES = np.geomspace(0.02, 20, 61)  # that the log-loss of a choice is the least of
_NOTHING_TO_LEAVE_OUT = "no class has two shots that differ, to choose by folds"
_ALL = slice(None)

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Folds:
    """How often heads were right about shots they had not seen, and zero-shot about the same; classes count alike."""

    n_folds: int
    n_images: int  # less those always learned from: of a class that has no others, or a single group
    accuracy: float  # fraction
    zero_shot_accuracy: float  # fraction

    @property
    def is_below_zero_shot(self) -> bool:
        return self.accuracy < self.zero_shot_accuracy - 1e-9  # the same images right in another order are as good


@dataclass(frozen=True)
class FittedHead:
    """A classifier, softmax(s F W^T + b), and what is known of it."""

    weight: Vectors  # (C, E), W
    bias: Vectors  # (C,), b
    predicted: Targets  # (N,) the class that a head which had not seen the image gave it; -1 where there was none
    logits: Numbers  # (N, C) that such a head gave it; NaN where there was none
    parts: Weights  # how much of each, in logits, before the share
    offset: float  # logits that learning raised the best score by; 0 where that is of no use
    share: float  # of what was learned, the rest zero-shot
    folds: Folds | None  # None where no class has two images, or two groups of them
    choice: str = ""  # what these parts are called
    by: str = ""  # what chose them: 5 folds of 80 shots; empty where there are no folds
    why: str = ""  # why it is not what these found best, or that they found none better; empty where it is
    scores: Mapping[str, float] = field(default_factory=dict)  # accuracy of each choice by the folds; empty without any

    @property
    def tells_confidence(self) -> bool:
        """Whether its folds had nearly as much to learn from as it had; half the images make a less certain head."""
        return self.folds is not None and self.folds.n_folds >= _FOLDS_THAT_DECIDE


def fit(
    features: Vectors,
    targets: Targets,
    zero_shot_features: Vectors,
    *,
    logit_scale: float,
    groups: Targets | None = None,
    seed: int = 1,
    ways: Ways | None = None,
    known: Mask | None = None,
) -> FittedHead:
    """A head for shots; the same images, groups and seed give the same bytes, in whatever order they stand.

    features             (N, E) unit rows, N at least 1
    targets              (N,) index into zero_shot_features
    zero_shot_features   (C, E) unit rows
    groups               (N,) images of one number stay on one side of every fold; None: each its own
    ways                 what it may be made of; None: the sum above
    known                (N,) images that the features themselves were learned from, which no fold leaves out or judges
    raises               LearningFailed
    """
    order = np.array(sorted(range(len(targets)), key=lambda i: (targets[i], features[i].tobytes())), dtype=np.int64)
    shots = _Shots(features[order], targets[order], zero_shot_features, logit_scale, seed, ways or OF_CONTEXTS)
    groups = np.arange(len(order)) if groups is None else groups[order]  # of the images in this order
    fold_of = folds_of(shots.targets, groups, seed)
    if known is not None:
        fold_of[np.isin(groups, groups[known[order]])] = -1
    found = shots.fitted(fold_of)
    predicted, logits = np.empty_like(found.predicted), np.empty_like(found.logits)
    predicted[order], logits[order] = found.predicted, found.logits
    return replace(found, predicted=predicted, logits=logits)


@dataclass(frozen=True)
class _Shots:
    """What a head is fitted to; C' of the C classes have shots."""

    features: Vectors  # (N, E)
    targets: Targets  # (N,)
    zero_shot_features: Vectors  # (C, E)
    logit_scale: float
    seed: int
    ways: Ways

    @cached_property
    def shown(self) -> Targets:
        """(C',) the classes that have shots"""
        return np.unique(self.targets)

    @cached_property
    def positions(self) -> Targets:
        """(N,) index into `shown`"""
        return np.searchsorted(self.shown, self.targets)

    @cached_property
    def zero_shot(self) -> Numbers:
        """(N, C) logits"""
        return np.asarray(self.logit_scale * self.features.astype(np.float64) @ self.zero_shot_features.T)

    @cached_property
    def lacks(self) -> Numbers:
        """(C',) which share of the shots that would be enough each class lacks beside the others."""
        counts = np.bincount(self.positions)
        return np.asarray(1 - np.minimum(1, counts / min(ENOUGH, counts.max())))

    @property
    def is_complete(self) -> bool:
        return len(self.shown) == len(self.zero_shot_features)

    @property
    def raises(self) -> Numbers:
        """(C',) of the offset, what is added to the logit of each class that has shots; of the others it is 0."""
        return HELP * (self.lacks - (not self.is_complete))

    def fitted(self, fold_of: Targets) -> FittedHead:
        """The head, or zero-shot where enough (N,) folds find that better."""
        judged = fold_of >= 0
        apart = fold_of if judged.any() else self.positions % FOLDS  # by class, where none has two images
        some = self.ways.choices if judged.any() else self.ways.choices[:1]
        is_needed = judged.any() or self.raises.any()
        of_choices = self.out_of_fold(apart, some) if is_needed else [np.empty((len(apart), len(self.shown)))]
        best, by, why = self.best(some, of_choices, fold_of) if len(some) > 1 else (0, "", _NOTHING_TO_LEAVE_OUT)
        choice, unseen = some[best], of_choices[best]
        parts = choice.of(self.positions, self.is_complete)
        rows = combined(self.fit(parts), parts)
        room = min(1.0, MOST_LOGITS / max(rows.largest, 1.0))
        rows, unseen = rows.times(room), room * unseen
        offset = self.offset(unseen, apart >= 0)
        if not judged.any():
            none = np.full_like(self.zero_shot, np.nan)
            return FittedHead(*self.head(rows, offset), fold_of, none, parts, offset, 1.0, None, choice.name, by, why)
        share, logits, folds = self.share(unseen, offset, fold_of)
        weight, bias = self.head(rows, offset)
        weight = np.asarray(share * weight + (1 - share) * self.zero_shot_features, np.float32)
        predicted, logits[~judged] = np.where(judged, logits.argmax(1), -1), np.nan
        bias = np.asarray(share * bias, np.float32)
        of_all = {one.name: self.accuracy(seen, judged) for one, seen in zip(some, of_choices, strict=True)}
        return FittedHead(weight, bias, predicted, logits, parts, offset, share, folds, choice.name, by, why, of_all)

    def share(self, unseen: Numbers, offset: float, fold_of: Targets) -> tuple[float, Numbers, Folds]:
        """How much of (N, C') logits is taken, the (N, C) logits that makes, and how good they are."""
        without, judged, decides = np.asarray(self.zero_shot.argmax(1)), fold_of >= 0, self.decides(fold_of)
        for share in SHARES:
            logits = self.logits(unseen, offset, share)
            answers = np.asarray(logits.argmax(1))
            folds = self.compared(judged, fold_of, answers, without)
            if not (folds.is_below_zero_shot and decides.any()):
                break
            if not self.compared(decides, fold_of, answers, without).is_below_zero_shot:
                break
        return share, logits, folds

    def decides(self, fold_of: Targets) -> Mask:
        """(N,) the images that folds leave out of classes which they leave more than half the shots of."""
        pairs = np.unique(np.stack([self.targets, fold_of])[:, fold_of >= 0], axis=1)  # (2, P) a class and a fold of it
        n_folds = np.bincount(pairs[0], minlength=len(self.zero_shot_features))
        return (fold_of >= 0) & (n_folds[self.targets] >= _FOLDS_THAT_DECIDE)

    def fit(self, names: Iterable[str], some: Mask | slice = _ALL, *, is_fold: bool = False) -> dict[str, Linear]:
        """Parts fitted to some images, for the classes that these have."""
        classes, y = np.unique(self.targets[some], return_inverse=True)
        texts = self.zero_shot_features[classes]
        lesson = Lesson(self.features[some], y, texts, classes, self.logit_scale, self.seed, is_fold)
        return {name: self.ways.parts[name](lesson) for name in names}

    def out_of_fold(self, fold_of: Targets, choices: Sequence[Choice]) -> list[Numbers]:
        """(N, C') logits of each choice from the images outside the fold of each; -inf for classes that have none."""
        found = [np.full((len(self.targets), len(self.shown)), -np.inf) for _ in choices]
        for fold in np.unique(fold_of[fold_of >= 0]):
            inside = fold_of == fold
            outside = inside if inside.all() else ~inside  # a single class of a single image
            classes, y = np.unique(self.positions[outside], return_inverse=True)
            weights = [choice.of(y, self.is_complete) for choice in choices]
            parts = self.fit(dict.fromkeys(name for of in weights for name in of), outside, is_fold=True)
            for logits, of in zip(found, weights, strict=True):
                logits[np.ix_(inside, classes)] = combined(parts, of).logits(self.features[inside])
        return found

    def best(self, choices: Sequence[Choice], of_choices: Sequence[Numbers], fold_of: Targets) -> tuple[int, str, str]:
        """Which choice of (N, C') logits tells best what folds left out, which folds those are, and why it is another.

        The preferred one stays where folds are few, and where none is right more often with a log-loss better by more
        than chance would have it: where all is right, the least log-loss is that of luck.
        """
        names = [choice.name for choice in choices]
        usual = names.index(self.ways.prefers) if self.ways.prefers in names else None
        judged = fold_of >= 0
        n_folds = len(np.unique(fold_of[judged]))
        by = f"{n_folds} folds of {judged.sum()} shots"
        if usual is not None and n_folds < _FOLDS_THAT_DECIDE:
            return usual, by, "too few folds to choose by"
        losses = [log_losses(logits[judged], self.positions[judged]) for logits in of_choices]
        by_loss = partial(min, key=lambda i: float(losses[i].mean()))
        if usual is None:
            return by_loss(range(len(choices))), by, ""
        right = [self.accuracy(logits, judged) for logits in of_choices]
        better = [i for i, of in enumerate(right) if of > right[usual] + 1e-9]
        if not better:
            return usual, by, "none is right more often"
        best = by_loss(better)
        gain = losses[usual] - losses[best]  # (N',)
        if gain.mean() > _MARGIN * gain.std() / len(gain) ** 0.5:
            return best, by, ""
        return usual, by, "none is better by more than chance"

    def accuracy(self, unseen: Numbers, judged: Mask) -> float:
        """How much of what folds left out (N, C') logits call right."""
        return _mean_over_classes(unseen[judged].argmax(1) == self.positions[judged], self.positions[judged])

    def offset(self, unseen: Numbers, some: Mask) -> float:
        """By how much the best of the (N, C') logits that are there is above the best of zero-shot for these classes.

        Of images that were learned from it would be twice as much and more, and known classes hardly ever predicted.
        0 where all classes have shots, and as many or enough.
        """
        if not self.raises.any():
            return 0.0
        learned = unseen[some]
        zero_shot = np.where(np.isfinite(learned), self.zero_shot[np.ix_(some, self.shown)], -np.inf)
        return _mean_over_classes(learned.max(1) - zero_shot.max(1), self.targets[some])

    def logits(self, unseen: Numbers, offset: float, share: float) -> Numbers:
        """(N, C) of a share of (N, C') logits, the rest and the classes without shots zero-shot's."""
        of_all: Numbers = self.zero_shot.copy()
        if share:
            learned = unseen + offset * self.raises
            of_all[:, self.shown] = share * learned + (1 - share) * of_all[:, self.shown]
        return of_all

    def compared(self, judged: Mask, fold_of: Targets, answers: Targets, without: Targets) -> Folds:
        """How often answers to (N,) images, some of which are judged, were right, and those without learning."""
        true = self.targets
        accuracy, zero_shot = (_mean_over_classes((a == true)[judged], true[judged]) for a in (answers, without))
        return Folds(len(np.unique(fold_of[judged])), int(judged.sum()), accuracy, zero_shot)

    def head(self, rows: Linear, offset: float) -> tuple[Vectors, Vectors]:
        """(C, E) weight and (C,) bias, zero-shot's for the classes without shots."""
        weight, bias = self.zero_shot_features.copy(), np.zeros(len(self.zero_shot_features), np.float32)
        weight[self.shown], bias[self.shown] = rows.weight / self.logit_scale, rows.bias + offset * self.raises
        return weight, bias


def _claps(lesson: Lesson) -> Linear:
    settings = clap.Settings(_EPOCHS_OF_FOLDS if lesson.is_fold else clap.Settings.epochs, seed=lesson.seed)
    found = clap.learn(
        lesson.features,
        lesson.targets,
        lesson.zero_shot_features,
        logit_scale=lesson.logit_scale,
        settings=settings,
        balanced=True,
    )
    return Linear.of(lesson.logit_scale * found.text_features.astype(np.float64))


def mean(targets: Targets) -> Weights:
    """How much of each part there is, for (N,) targets."""
    of_gda = (shots_per_class(targets) / MOST_MEASURED) ** 2
    return {"clap": 1 / 3, "proker(1)": 2 / 3, "gda-relative": of_gda / 3}


def beside_names(targets: Targets) -> Weights:
    """The same where some classes have no shots."""
    return {"clap": 1.0, "ridge": ridge.gain(targets)}


MEAN = Choice("mean", mean, beside_names)
PARTS: Mapping[str, Part] = {
    "clap": _claps,
    "ridge": ridge.regression,
    "proker(1)": proker.PARTS["proker(1)"],
    "gda-relative": gda.relative_gaussians,
}
OF_CONTEXTS = Ways(PARTS, (MEAN,))


def log_losses(logits: Numbers, targets: Targets) -> Numbers:
    """(N',) log-loss of the images whose class was seen, under (N, C) logits divided by what makes it least.

    targets   (N,)
    """
    seen = np.isfinite(logits[np.arange(len(targets)), targets])
    kept, y = logits[seen] - logits[seen].max(1, keepdims=True), targets[seen]
    losses = [np.log(np.exp(kept / t).sum(1)) - kept[np.arange(len(y)), y] / t for t in _TEMPERATURES]
    return min(losses, key=lambda loss: float(loss.mean()))


def folds_of(targets: Targets, groups: Targets, seed: int) -> Targets:
    """(N,) the fold each image is in; -1 for those that every fold is learned without leaving out.

    Stratified like scikit-learn's, whose import takes longer than a head: groups of images, shuffled and then the large
    ones first, each go to the fold that has fewest of its classes. Every class keeps an image outside of every fold.

    targets, groups   (N,) class index, and any number
    """
    _, first, of_unit = np.unique(groups, return_index=True, return_inverse=True)
    of_unit = np.argsort(np.argsort(first))[of_unit]  # (N,) by where each stands, whatever it is called
    per_unit = np.zeros((of_unit.max() + 1, targets.max() + 1), np.int64)  # (U, C) images
    np.add.at(per_unit, (of_unit, targets), 1)
    in_fold = np.zeros((min(FOLDS, (per_unit > 0).sum(0).max()), per_unit.shape[1]), np.int64)  # (K, C)
    fold = np.empty(len(per_unit), np.int64)  # (U,)
    shuffled = np.random.default_rng(seed).permutation(len(per_unit))
    for unit in shuffled[np.argsort(-per_unit[shuffled].sum(1), kind="stable")]:
        fold[unit] = np.lexsort((in_fold.sum(1), in_fold @ per_unit[unit]))[0]
        in_fold[fold[unit]] += per_unit[unit]
    whole = (in_fold > 0).sum(0) == 1  # (C,) in one fold altogether
    fold[per_unit[:, whole].any(1)] = -1
    return np.asarray(fold[of_unit])


def _mean_over_classes(values: NDArray[np.float64 | np.bool_], targets: Targets) -> float:
    return float(np.average(values, weights=class_shares(targets)))
