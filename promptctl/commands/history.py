"""History: what the versions of a name answer to the same images, which none of them learned from.

A batch is what one version added; where that version has gone, the next one that is there has learned it. Row i of the
matrix is the version that learned batch i, and the last row the version that is asked for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from promptctl.benchmark.forgetting import Measures, measure
from promptctl.classification import references
from promptctl.classification.blend import as_kept
from promptctl.classification.classifier import extended
from promptctl.context import diff as differences
from promptctl.context.card import Card
from promptctl.context.context import Context, ShotTable

Ids = NDArray[np.int64]
Right = NDArray[np.bool_]
Rows = NDArray[np.float32]
Parents = Mapping[str, str | None]  # sha256 → sha256 of the parent
UNKNOWN = -1
_GONE = -2


@dataclass(frozen=True, eq=False)
class Answers:
    """Scores of classes: logit_scale * F @ weight.T + bias."""

    ids: Ids  # (C,)
    weight: NDArray[np.floating]  # (C, E)
    bias: NDArray[np.floating]  # (C,)

    def best(self, features: Rows, among: Ids | None = None) -> Ids:
        """(N,) the id of the best class, of some where they are given; -1 where there is none."""
        columns = slice(None) if among is None else np.isin(self.ids, among)
        ids = self.ids[columns]
        if not len(ids):
            return np.full(len(features), UNKNOWN)
        scores = features @ self.weight[columns].T + self.bias[columns]
        return np.asarray(ids[scores.argmax(1)])


@dataclass(frozen=True, eq=False)
class Version:
    """One version as far as it takes to measure it; no feature of its shots is kept."""

    number: int
    card: Card
    tower: str  # fingerprint of what its features are of
    shots: ShotTable  # without features
    own: Answers
    zero_shot: Answers
    nearest_mean: Answers | None
    ridge: Answers | None
    without: Mapping[str, Ids] = field(default_factory=dict)  # what either says of each shot without it

    @staticmethod
    def of(number: int, context: Context, *, by_folds: bool) -> Version:
        """What is needed of a version; `by_folds` where its shots may be all there is to measure on."""
        card, shots = context.card, context.shots
        ids = np.array([entry.id for entry in card.classes], dtype=np.int64)
        head, none, scale = context.head, np.zeros(len(ids), np.float32), card.logit_scale
        weight, bias = (head.weight, head.bias) if head else (context.text_features, none)
        train = shots.held_out == 0
        x, y = as_kept(shots.features[train].astype(np.float32)), shots.class_ids[train].astype(np.int64)
        return Version(
            number=number,
            card=card,
            tower=context.encoder_fingerprint,
            shots=_bare(shots),
            own=Answers(ids, weight, bias / np.float32(scale)),
            zero_shot=Answers(ids, context.zero_shot_features, none),
            nearest_mean=_reference(references.nearest_mean, x, y),
            ridge=_reference(references.ridge, x, y),
            without=_without(x, y, shots.groups[train].astype(np.int64)) if by_folds else {},
        )

    @cached_property
    def row_of(self) -> dict[bytes, int]:
        return {sha.tobytes(): row for row, sha in enumerate(self.shots.sha256)}

    @cached_property
    def learned_from(self) -> frozenset[bytes]:
        return frozenset(sha.tobytes() for sha in self.shots.sha256[self.shots.held_out == 0])

    def today(self, exam: Exam, parent_of: Parents) -> dict[int, int]:
        """Id of each class → id of the same class in the exam, or of what most of its images are called there.

        A class that is neither is called what no class of the exam is.
        """
        same = differences.same_classes(self.card, exam.card, parent_of)
        now: dict[int, Counter[int]] = defaultdict(Counter)
        for sha, id in zip(self.shots.sha256, self.shots.class_ids, strict=True):
            if int(id) not in same and sha.tobytes() in exam.class_of:
                now[int(id)][exam.class_of[sha.tobytes()]] += 1
        found = {id: counts.most_common(1)[0][0] for id, counts in now.items()}
        return {id: same.get(id, found.get(id, _GONE - id)) for id in self.own.ids.tolist()}


def _bare(shots: ShotTable) -> ShotTable:
    """The same without features."""
    nothing = np.empty((len(shots), 0), np.float16)
    return ShotTable(**{**shots.columns(), "features": nothing, "plain": nothing})


def _reference(kind: object, x: Rows, y: Ids) -> Answers | None:
    assert callable(kind)
    if not len(x):
        return None
    ids, targets = np.unique(y, return_inverse=True)
    found = kind(x, targets)
    return Answers(ids, found.weight, found.bias)


def _without(x: Rows, y: Ids, groups: Ids) -> dict[str, Ids]:
    """(N,) id of the class that each shot is seen as by what the others make, by reference."""
    if not len(x):
        return {}
    ids, targets = np.unique(y, return_inverse=True)
    means = references.means_without(x, targets, groups)
    return {
        "nearest_mean": ids[means.argmax(1)],
        "ridge": ids[references.ridge_without(x, targets, groups).argmax(1)],
    }


@dataclass(frozen=True, eq=False)
class Exam:
    """The images that all versions are measured on, with the classes they have now."""

    version: int  # whose images they are
    card: Card
    tower: str  # fingerprint of what its features are of
    features: Rows  # (N, E) unit rows
    plain: Rows  # (N, E) the same without visual tokens
    truth: Ids  # (N,) ids
    hashes: tuple[bytes, ...]  # N
    class_of: Mapping[bytes, int]  # of every image of that version
    held_out: bool  # False: they are shots, and folds say what is seen in them

    @staticmethod
    def of(number: int, context: Context) -> Exam | None:
        """The images that a version holds out, or else its shots that folds have seen; None where there are neither."""
        shots = context.shots
        apart = shots.held_out == 1
        chosen = apart if apart.any() else (shots.predicted >= 0)
        if not chosen.any():
            return None
        some = shots.only(chosen)
        hashes = [sha.tobytes() for sha in shots.sha256]
        return Exam(
            version=number,
            card=context.card,
            tower=context.encoder_fingerprint,
            features=as_kept(some.features.astype(np.float32)),
            plain=as_kept(some.plain.astype(np.float32)),
            truth=some.class_ids.astype(np.int64),
            hashes=tuple(sha.tobytes() for sha in some.sha256),
            class_of=dict(zip(hashes, shots.class_ids.tolist(), strict=True)),
            held_out=bool(apart.any()),
        )


@dataclass(frozen=True)
class Found:
    """What one version comes to; None where there is nothing to say it of. Fractions all of them."""

    n: int = 0  # images
    acc: float | None = None  # on all of those whose class it knows
    zero_shot: float | None = None
    nearest_mean: float | None = None
    ridge: float | None = None
    before: float | None = None  # of its own batch, by the version it was learned from and the names of new classes
    batches: tuple[float | None, ...] = ()
    measures: Measures | None = None
    fwt: float | None = None


@dataclass(frozen=True)
class Line:
    """The versions of a name beside each other."""

    exam: Exam | None
    batches: tuple[tuple[int, int], ...]  # the version that learned it, and its images
    found: Mapping[int, Found]  # by the number of the version
    elsewhere: tuple[int, ...] = ()  # versions on another backbone
    seen_before: int = 0  # images of the exam that some version learned from, which it is not measured on


def line_of(versions: Sequence[Version], exam: Exam | None) -> Line:
    """Everything there is to say of versions, the oldest first."""
    if exam is None:
        return Line(None, (), {})
    alike = [version for version in versions if version.tower == exam.tower]
    parent_of = {version.card.sha256: version.card.parent for version in versions}
    matrix = _Matrix(exam, [_Seen.of(version, exam, parent_of) for version in alike])
    return Line(
        exam,
        tuple((matrix.seen[i].version.number, int(count)) for i, count in matrix.sizes.items()),
        {seen.version.number: matrix.found(i) for i, seen in enumerate(matrix.seen)},
        tuple(version.number for version in versions if version.tower != exam.tower),
        int(np.any([seen.learned for seen in matrix.seen], axis=0).sum()) if exam.held_out and alike else 0,
    )


@dataclass(frozen=True, eq=False)
class _Seen:
    """What one version answers to the exam, in ids of today."""

    version: Version
    own: Ids  # (N,)
    by: Mapping[str, Ids]  # zero_shot, nearest_mean, ridge → (N,)
    measurable: Right  # (N,) not learned from, and of a class it knows
    learned: Right  # (N,)
    holds: Right  # (N,) remembers the image
    today: Mapping[int, int]  # its ids → ids of today

    @staticmethod
    def of(version: Version, exam: Exam, parent_of: Parents) -> _Seen:
        today = version.today(exam, parent_of)
        rows = np.array([version.row_of.get(sha, -1) for sha in exam.hashes], dtype=np.int64)
        learned = np.array([sha in version.learned_from for sha in exam.hashes], dtype=bool)
        seen = _on_held_out(version, exam) if exam.held_out else _on_folds(version, exam, rows)
        seen = {name: _renamed(ids, today) for name, ids in seen.items()}
        known = np.isin(exam.truth, list(today.values()))
        measurable = known & (~learned if exam.held_out else seen["own"] != UNKNOWN)
        return _Seen(version, seen.pop("own"), seen, measurable, learned, (rows >= 0) & known, today)

    @cached_property
    def knows(self) -> frozenset[int]:
        return frozenset(self.today.values())

    def accuracy(self, truth: Ids, some: Right, answers: Ids | None = None) -> float | None:
        """Of those of some images that it can be measured on."""
        some = some & self.measurable
        answers = self.own if answers is None else answers
        return float((answers == truth)[some].mean()) if some.any() else None

    def among(self, exam: Exam, classes: frozenset[int]) -> Ids:
        """(N,) its answers among some classes of today."""
        own = [id for id, now in self.today.items() if now in classes]
        return _renamed(self.version.own.best(exam.features, np.array(own, np.int64)), self.today)


def _on_held_out(version: Version, exam: Exam) -> dict[str, Ids]:
    ways = {
        "own": version.own,
        "zero_shot": version.zero_shot,
        "nearest_mean": version.nearest_mean,
        "ridge": version.ridge,
    }
    return {name: way.best(exam.features) for name, way in ways.items() if way is not None}


def _on_folds(version: Version, exam: Exam, rows: Ids) -> dict[str, Ids]:
    """What was seen in each image without learning from it."""
    shots, there = version.shots, rows >= 0
    train = np.flatnonzero(shots.held_out == 0)
    seen = {"own": np.full(len(rows), UNKNOWN), "zero_shot": version.zero_shot.best(exam.plain)}
    seen["own"][there] = shots.predicted[rows[there]]
    for name, ids in version.without.items():
        of_all = np.full(len(shots), UNKNOWN)
        of_all[train] = ids
        seen[name] = np.where(there, of_all[rows], UNKNOWN)
    return seen


def _renamed(ids: Ids, today: Mapping[int, int]) -> Ids:
    return np.array([today.get(id, id) for id in ids.tolist()], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class _Matrix:
    """The accuracies of versions on batches."""

    exam: Exam
    seen: Sequence[_Seen]

    @cached_property
    def batch_of(self) -> Ids:
        """(N,) index of the version that each image came with: that of its number, or else the first that has it."""
        holds = np.array([seen.holds for seen in self.seen]).reshape(len(self.seen), len(self.exam.truth))
        return np.where(holds.any(0), holds.argmax(0), UNKNOWN)

    @cached_property
    def sizes(self) -> dict[int, int]:
        """Index of a version → images it brought, the oldest first."""
        return dict(sorted(Counter(i for i in self.batch_of.tolist() if i != UNKNOWN).items()))

    @cached_property
    def accuracies(self) -> dict[tuple[int, int], float | None]:
        """(version, batch) → accuracy."""
        truth = self.exam.truth
        return {
            (i, j): seen.accuracy(truth, self.batch_of == j) for i, seen in enumerate(self.seen) for j in self.sizes
        }

    @cached_property
    def among_known(self) -> dict[tuple[int, int], float | None]:
        """The same among the classes that were known when the batch was learned."""
        if not self.exam.held_out:  # what folds would have seen among fewer classes nobody knows
            same = len({seen.knows for seen in self.seen}) == 1
            return self.accuracies if same else {}
        return {key: value for j in self.sizes for key, value in self._column(j)}

    def _column(self, j: int) -> Iterator[tuple[tuple[int, int], float | None]]:
        known, some = self.seen[j].knows, self.batch_of == j
        for i, seen in enumerate(self.seen):
            answers = seen.own if seen.knows <= known else seen.among(self.exam, known)
            yield (i, j), seen.accuracy(self.exam.truth, some, answers)

    def found(self, i: int) -> Found:
        seen, every = self.seen[i], np.ones(len(self.exam.truth), bool)
        if not seen.measurable.any():
            return Found(batches=(None,) * len(self.sizes))
        batches = self._batches_of(i)
        return Found(
            n=int(seen.measurable.sum()),
            acc=seen.accuracy(self.exam.truth, every),
            **{name: seen.accuracy(self.exam.truth, every, answers) for name, answers in seen.by.items()},
            before=self._before(i)[0] if i in self.sizes else None,
            batches=tuple(self.accuracies[i, j] if j in batches else None for j in self.sizes),
            measures=self._measures(i, batches),
            fwt=self._forward(batches),
        )

    def _batches_of(self, i: int) -> list[int]:
        """The batches that a version has learned, as far as it and those that learned them can be measured on them."""
        held = {int(j) for j in self.batch_of[self.seen[i].holds] if j != UNKNOWN}
        learned = sorted(j for j in held if j <= i)
        return [j for j in learned if all(self.accuracies[k, j] is not None for k in (*learned, i) if k >= j)]

    def _measures(self, i: int, batches: Sequence[int]) -> Measures | None:
        if not batches:
            return None
        rows = [*batches[:-1], i]
        sizes = [self.sizes[j] for j in batches]
        return measure(_table(self.accuracies, rows, batches), sizes, among_known=_among(self, rows, batches))

    def _forward(self, batches: Sequence[int]) -> float | None:
        """Forward transfer: each batch but the first just before it was learned, less zero-shot."""
        pairs = [self._before(j) for j in batches[1:]]
        gains = [before - zero_shot for before, zero_shot in pairs if before is not None and zero_shot is not None]
        return float(np.mean(gains)) if gains else None

    def _before(self, j: int) -> tuple[float | None, float | None]:
        """A batch by the version before it, which knows new classes by their names alone, and by zero-shot."""
        parent = self._parent(j)
        if parent is None or not self.exam.held_out:
            return None, None
        here, some = self.seen[j], self.batch_of == j
        own, names = self.seen[parent].version.own, here.version.zero_shot
        rows = extended(own.ids, own.weight, own.bias, names.ids, names.weight)
        answers = Answers(names.ids, *rows).best(self.exam.features)
        before = _renamed(answers, here.today)
        truth = self.exam.truth
        return here.accuracy(truth, some, before), here.accuracy(truth, some, here.by["zero_shot"])

    def _parent(self, j: int) -> int | None:
        """The version that one was learned from."""
        parent = self.seen[j].version.card.parent
        return next((i for i, seen in enumerate(self.seen[:j]) if seen.version.card.sha256 == parent), None)


def _table(
    values: Mapping[tuple[int, int], float | None], rows: Sequence[int], batches: Sequence[int]
) -> list[list[float]]:
    """The lower triangle."""
    found = [[values[row, j] for j in batches[: n + 1]] for n, row in enumerate(rows)]
    return [[np.nan if value is None else value for value in row] for row in found]


def _among(matrix: _Matrix, rows: Sequence[int], batches: Sequence[int]) -> list[list[float]] | None:
    return _table(matrix.among_known, rows, batches) if matrix.among_known else None
