"""Guard: whether a new version answers worse than the one before it, by exact paired tests.

Two versions answer the same images, so only the images that they answer differently say anything (McNemar, 1947): of
b that got worse and c that got better, b is Binomial(b + c, 1/2) if neither version is better. A bare threshold would
refuse honest updates wherever one photo is more than it: on 40 images one photo is 2.5 points.
Where probabilities are known too, all images say something: whether the right classes lost more than may be forgotten
(`graded.py`). Either test is enough, if the answers fell as far: probabilities alone refuse nothing, and answers that
changed by a hair are answers that changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Right = NDArray[np.bool_]  # (N,) whether each image is recognised
    Fractions = NDArray[np.float64]  # (N,)

MAX_FORGETTING = 0.02  # fraction of the images
ALPHA = 0.05  # where only answers are known
ALPHA_WITH_PROBABILITIES = 0.01  # of either test: there is evidence to spare, and 0.05 refused honest updates
ALPHA_OF_CLASSES = 0.05  # of all of them together
ALPHA_OF_NAMES = 0.1  # that a name takes no more than may be forgotten (docs/benchmarks.md)
FEWEST_IMAGES = 40  # below which no version is refused
FEWEST_OF_A_CLASS = 8
LARGEST_DROP_OF_A_CLASS = 0.25  # fraction of its images
LARGEST_DROP_OF_CLASSES = 0.05  # of those that lose, where together they do by more than chance
REFERENCE_AHEAD = 0.03  # fraction of the images
_SHOWN = 5


@dataclass(frozen=True)
class ClassChange:
    """One class of the parent: how many of its images either version recognises among the classes of the parent."""

    id: int
    label: str
    images: int
    before: int
    after: int
    p: float  # of a drop as large by chance; 1 where there is none
    dropped: bool  # too far to be chance, with as many classes as there are


@dataclass(frozen=True)
class Taken:
    """Images of one class that the parent recognises and that are answered by the name of a new one now."""

    by: str  # label
    of: str  # label
    images: int


@dataclass(frozen=True)
class Verdict:
    """What the guard found.

    drop         fraction of the images, below 0 for a gain
    p            of a drop as large by chance, by the answers that changed
    p_graded     of right classes as much less probable than may be forgotten; None where only answers are known
    detectable   the smallest drop that would have been significant with as many changed answers; None where none is
    """

    refused: bool
    advisory: bool  # too few images to refuse anything
    images: int
    worse: int
    better: int
    drop: float
    p: float
    p_graded: float | None
    max_forgetting: float  # fraction
    detectable: float | None
    classes: tuple[ClassChange, ...]
    reasons: tuple[str, ...]  # why it is refused, or would be with more images
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Paired:
    """Which of the same N images the parent and the candidate recognise."""

    parent: Right
    candidate: Right
    lost: Fractions | None = None  # by how much the right class became less probable; None: not known

    def __post_init__(self) -> None:
        assert self.parent.shape == self.candidate.shape
        assert self.lost is None or self.lost.shape == self.parent.shape
        assert self.parent.dtype == self.candidate.dtype == bool

    def __len__(self) -> int:
        return len(self.parent)

    @property
    def worse(self) -> int:
        return int((self.parent & ~self.candidate).sum())

    @property
    def better(self) -> int:
        return int((self.candidate & ~self.parent).sum())

    @property
    def drop(self) -> float:
        return (self.worse - self.better) / len(self) if len(self) else 0.0

    @property
    def p(self) -> float:
        return mcnemar(self.worse, self.better)

    @property
    def alpha(self) -> float:
        return ALPHA if self.lost is None else ALPHA_WITH_PROBABILITIES

    def p_graded(self, allowed: float) -> float | None:
        """Of losing as much more than a fraction by chance; None where only answers are known."""
        if self.lost is None:
            return None
        from promptctl.context.graded import p_of_more_than

        return p_of_more_than(allowed, self.lost)

    def of(self, chosen: Right) -> Paired:
        """The images that are chosen."""
        return Paired(self.parent[chosen], self.candidate[chosen], None if self.lost is None else self.lost[chosen])


def judge(
    same: Paired,
    class_ids: NDArray[np.integer[Any]],
    labels: Mapping[int, str],
    *,
    full: Paired | None = None,
    zero_shot: Right | None = None,
    references: Mapping[str, float] | None = None,
    taken: Sequence[Taken] = (),
    max_forgetting: float = MAX_FORGETTING,
) -> Verdict:
    """Whether a candidate may become the next version.

    The images are N of the parent's classes that neither version learned from, with the labels they have *now*: a label
    that was corrected is not forgotten.

    same         both answer among the parent's classes, the candidate also among new ones that brought no image
    class_ids    (N,) of the images
    labels       of every such id
    full         both answer among the candidate's classes, the parent with zero-shot rows for those it has not
    zero_shot    (N,) the same of zero-shot, among the candidate's classes
    references   accuracy on the same images, among the candidate's classes: {"ridge": 0.93}
    taken        what new classes that brought no image took
    """
    assert len(same) == len(class_ids)
    classes = _classes(same, class_ids, labels)
    p_graded = same.p_graded(max_forgetting)
    falls = same.drop > max_forgetting
    n_taken = sum(one.images for one in taken)
    certain = mcnemar(same.worse - n_taken, same.better) < same.alpha or (
        p_graded is not None and p_graded < same.alpha
    )
    # a name never gives anything back, so that any five images would be more than chance to McNemar's test
    p_taken = at_least(n_taken, len(same), max_forgetting) if n_taken else 1.0
    beyond = falls and (certain or p_taken < ALPHA_OF_NAMES)
    reasons = (
        *(_less_than_allowed(same, p_graded, max_forgetting, p_taken) if beyond else ()),
        *_fallen(classes),
        *_falling(same, class_ids, classes, max(max_forgetting, LARGEST_DROP_OF_CLASSES)),
    )
    reasons = (*reasons, *(_takes(taken) if reasons else ()))
    advisory = len(same) < FEWEST_IMAGES
    answers = full or same  # as the candidate would answer
    warnings = (
        *(_advice(same) if advisory else ()),
        *(reasons if advisory else ()),
        *(_perhaps_chance(same) if falls and not beyond else ()),
        *_drawn_away(full, max_forgetting),
        *(_behind_zero_shot(answers.candidate, zero_shot, class_ids, labels) if zero_shot is not None else ()),
        *_behind(answers.candidate, references or {}),
    )
    return Verdict(
        refused=bool(reasons) and not advisory,
        advisory=advisory,
        images=len(same),
        worse=same.worse,
        better=same.better,
        drop=same.drop,
        p=same.p,
        p_graded=p_graded,
        max_forgetting=max_forgetting,
        detectable=detectable_drop(same.worse + same.better, len(same), same.alpha),
        classes=classes,
        reasons=reasons,
        warnings=warnings,
    )


def mcnemar(worse: int, better: int) -> float:
    """One-sided and exact: P[Binomial(worse + better, 1/2) >= worse]."""
    changed = worse + better
    term, total = 1, 0  # C(changed, k) from k = changed down
    for k in range(changed, worse - 1, -1):
        total += term
        term = term * k // (changed - k + 1)
    return total / (1 << changed)


def at_least(count: int, images: int, fraction: float) -> float:
    """P[Binomial(images, fraction) >= count]"""
    if not 0 < fraction < 1:
        return float(count <= (images if fraction >= 1 else 0))
    each = (
        math.lgamma(images + 1)
        - math.lgamma(k + 1)
        - math.lgamma(images - k + 1)
        + k * math.log(fraction)
        + (images - k) * math.log1p(-fraction)
        for k in range(count, images + 1)
    )
    return min(1.0, math.fsum(map(math.exp, each)))


def detectable_drop(changed: int, images: int, alpha: float = ALPHA) -> float | None:
    """The smallest drop (fraction) that is significant if `changed` answers differ; None where there is none."""
    worst = next((worse for worse in range(changed // 2, changed + 1) if mcnemar(worse, changed - worse) < alpha), None)
    return None if worst is None else (2 * worst - changed) / images


def _classes(same: Paired, class_ids: NDArray[np.integer[Any]], labels: Mapping[int, str]) -> tuple[ClassChange, ...]:
    """A row per class that has images, by id."""
    of_class = {id: same.of(class_ids == id) for id in sorted({int(id) for id in class_ids})}
    tested = sum(len(pairs) >= FEWEST_OF_A_CLASS for pairs in of_class.values())
    return tuple(_class_change(id, labels[id], pairs, tested) for id, pairs in of_class.items())


def _class_change(id: int, label: str, pairs: Paired, tested: int) -> ClassChange:
    # with many classes one of them falls far by chance (Bonferroni)
    far = len(pairs) >= FEWEST_OF_A_CLASS and pairs.drop > LARGEST_DROP_OF_A_CLASS
    dropped = far and pairs.p < ALPHA_OF_CLASSES / tested
    return ClassChange(id, label, len(pairs), int(pairs.parent.sum()), int(pairs.candidate.sum()), pairs.p, dropped)


def _less_than_allowed(same: Paired, p_graded: float | None, max_forgetting: float, p_taken: float) -> tuple[str]:
    allowed = _points(max_forgetting)
    if p_taken < ALPHA_OF_NAMES:
        return (f"it recognises {_less(same)}, more than {allowed} and more than chance (p {_chance(p_taken)})",)
    if same.p < same.alpha or p_graded is None or same.lost is None:
        return (f"it recognises {_less(same)}, more than {allowed} and more than chance",)
    lost = f"the right class is {_points(float(same.lost.mean()))} less probable in the mean"
    return (
        f"it recognises {_less(same)}, and {lost}, more than {allowed} and more than chance (p {_chance(p_graded)})",
    )


def _fallen(classes: tuple[ClassChange, ...]) -> list[str]:
    return [
        f"it recognises {row.after} of {row.images} images of '{row.label}', {row.before} before (p {_chance(row.p)})"
        for row in classes
        if row.dropped
    ]


def _falling(
    same: Paired, class_ids: NDArray[np.integer[Any]], classes: tuple[ClassChange, ...], allowed: float
) -> tuple[str, ...]:
    """Classes that lose together, each of too few images to be sure of, and whatever the others gain."""
    if same.lost is None or not len(same):
        return ()
    from promptctl.context.graded import p_of_classes_losing

    losing = [row for row in classes if same.lost[class_ids == row.id].mean() > allowed]
    images, before, after = (sum(getattr(row, of) for row in losing) for of in ("images", "before", "after"))
    if before - after <= allowed * images:
        return ()
    p = p_of_classes_losing(allowed, same.lost, class_ids)
    if p >= ALPHA_OF_CLASSES:
        return ()
    furthest = sorted(losing, key=lambda row: (row.after - row.before) / row.images)
    named = [f"'{row.label}' ({row.after} of {row.images}, {row.before} before)" for row in furthest]
    return (
        f"it recognises {after} of {images} images of classes that fell, {before} before, more than {_points(allowed)}"
        f" and more than chance (p {_chance(p)}): {', '.join(_first(named))}",
    )


def _takes(taken: Sequence[Taken]) -> list[str]:
    """What each name takes: it brought no image, so that all it takes is wrong."""
    most_first = sorted(taken, key=lambda one: -one.images)
    of_name: dict[str, list[str]] = {}
    for one in most_first:
        of_name.setdefault(one.by, []).append(f"{one.images} of '{one.of}'")
    return [f"'{name}' takes {', '.join(_first(some))}" for name, some in [*of_name.items()][:_SHOWN]]


def _first(named: list[str]) -> list[str]:
    return [*named[:_SHOWN], *([f"{len(named) - _SHOWN} more"] if len(named) > _SHOWN else [])]


def _advice(same: Paired) -> tuple[str]:
    images = f"{len(same)} image{'' if len(same) == 1 else 's'}"
    if not len(same):
        return ("no held-out image of the known classes can be compared, so nobody knows what was forgotten",)
    smallest = detectable_drop(same.worse + same.better, len(same), same.alpha)
    if smallest is None:
        changed = same.worse + same.better
        return (f"cannot detect any drop with {images}, {changed} of which changed: too few to refuse a version",)
    return (f"cannot detect drops below {_points(smallest)} with {images}: too few to refuse a version",)


def _perhaps_chance(same: Paired) -> tuple[str]:
    return (f"it recognises {_less(same)}, which may be chance",)


def _drawn_away(full: Paired | None, max_forgetting: float) -> list[str]:
    """What new classes take from the old ones, for which nothing is refused."""
    if full is None or full.drop <= max_forgetting:
        return []
    return [f"with the new classes to choose from, it recognises {_less(full)}"]


def _behind_zero_shot(
    candidate: Right, zero_shot: Right, class_ids: NDArray[np.integer[Any]], labels: Mapping[int, str]
) -> list[str]:
    behind = []
    for id in sorted({int(id) for id in class_ids}):
        own = class_ids == id
        ours, theirs = int(candidate[own].sum()), int(zero_shot[own].sum())
        if theirs > ours:
            behind.append(f"'{labels[id]}' ({theirs} of {int(own.sum())} images, this version {ours})")
    return [f"zero-shot is better on {', '.join(_first(behind))}"] if behind else []


def _behind(candidate: Right, references: Mapping[str, float]) -> list[str]:
    accuracy = float(candidate.mean()) if len(candidate) else 0.0
    return [
        f"{name} recognises {100 * other:.1f} % of the known classes' images, this version {100 * accuracy:.1f} %"
        for name, other in references.items()
        if len(candidate) and round(other - accuracy, 9) > REFERENCE_AHEAD  # 0.93 - 0.9 is more than 0.03
    ]


def _less(pairs: Paired) -> str:
    return (
        f"{_points(pairs.drop)} fewer of {len(pairs)} images of the known classes"
        f" ({pairs.worse} worse, {pairs.better} better, p {_chance(pairs.p)})"
    )


def _points(fraction: float) -> str:
    return f"{100 * fraction:.1f} points"


def _chance(p: float) -> str:
    return "below 0.0001" if p < 0.0001 else f"{p:.2g}"
