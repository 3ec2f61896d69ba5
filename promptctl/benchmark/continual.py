"""Continual: versions one after another, as classes come in tasks, photos by the month and corrections late.

What people do with a context over months, in minutes and on frozen features: each version is learned in every way that
is compared, and measured on images that none of them sees.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from promptctl.benchmark.forgetting import Measures, measure
from promptctl.benchmark.pool import Reach
from promptctl.benchmark.ways import WAYS, Indices, Lesson, Photos, Vectors, Version, among
from promptctl.data import sampling
from promptctl.progress import OnProgress

if TYPE_CHECKING:
    from promptctl.benchmark.pool import Pool

MONTHS = 6
FIRST_MONTH = 2  # shots of every class
LATER_MONTH = 6  # shots of some classes
SOME = 0.35  # of the classes
WRONG = 0.25  # of the labels


@dataclass(frozen=True)
class Line:
    """The versions that one way learned, measured on every task; the last one alone where the others are too dear."""

    way: str
    accuracies: tuple[tuple[float, ...], ...]  # of each version on each task, fraction; NaN where it says nothing
    among_known: tuple[tuple[float, ...], ...]  # the same among the classes known when the task was learned
    zero_shot: tuple[float, ...]  # of each task among the classes up to it, fraction
    sizes: tuple[int, ...]  # test images of each task
    seconds: tuple[float, ...]  # of each version

    @cached_property
    def measures(self) -> Measures | None:
        """None where the last version alone was learned."""
        if len(self.accuracies) < len(self.sizes):
            return None
        return measure(self.accuracies, self.sizes, among_known=self.among_known, zero_shot=self.zero_shot)

    @property
    def last(self) -> float:
        """Of the last version on all test images, fraction."""
        return float(np.average(self.accuracies[-1], weights=self.sizes))


@dataclass(frozen=True)
class Course:
    """The versions that one way learned, all measured on the same images."""

    way: str
    accuracies: tuple[float, ...]  # fraction
    seconds: tuple[float, ...]


def photos_of(pool: Pool, shots: int | None, seed: int) -> Photos:
    """The shots of a seed, or all there is to learn from; and all test images."""
    shown = pool.train if shots is None else sampling.sample(pool.train, shots, seed=seed).train
    train, test = pool.arrays(shown), pool.arrays(pool.test)
    zero_shot, backbone = pool.zero_shot_features(pool.template), pool.backbone
    return Photos(pool.names, *train, *test, zero_shot, backbone.tower, backbone.logit_scale)


def photos_by_month(pool: Pool, months: int, seed: int) -> Photos:
    """Of every class as many images as so many months could bring, chosen by content and seed; and all test images."""
    return photos_of(replace(pool, train=Reach((seed,), most_by_month(months)).of(pool.train)), None, seed)


def most_by_month(months: int) -> int:
    """Images of a class that has some every month."""
    return FIRST_MONTH + (months - 1) * LATER_MONTH


def tasks_of(n_classes: int, n_tasks: int, seed: int) -> tuple[Indices, ...]:
    """The classes of every task, as many in each as can be, in an order that the seed decides."""
    order: Indices = np.random.default_rng(seed).permutation(n_classes)
    return tuple(np.array_split(order, n_tasks))


def class_incremental(
    photos: Photos, tasks: Sequence[Indices], ways: Sequence[str], *, seed: int, on_progress: OnProgress | None = None
) -> tuple[Line, ...]:
    """Classes come in tasks; at the test nobody says which task an image is of."""
    versions = taken([_of_task(photos, tasks, number, seed) for number in range(1, len(tasks) + 1)], ways, on_progress)
    sizes = tuple(int(np.isin(photos.test_targets, task).sum()) for task in tasks)
    untaught = photos.logit_scale * photos.test @ photos.zero_shot.T
    zero_shot = _on_tasks(photos, tasks, untaught, known=1)
    return tuple(
        Line(
            way,
            tuple(_on_tasks(photos, tasks, scores, known=number) for number, scores in of_way),
            tuple(_on_tasks(photos, tasks, scores, known=1) for _, scores in of_way),
            zero_shot,
            sizes,
            seconds,
        )
        for way, of_way, seconds in _scored(versions, photos.test, len(tasks))
    )


def monthly(
    photos: Photos, ways: Sequence[str], *, seed: int, months: int = MONTHS, on_progress: OnProgress | None = None
) -> tuple[Course, ...]:
    """The same classes and more photos of some of them every month, as long as there are any."""
    month_of = months_of(photos.targets, len(photos.names), seed, months)
    everything = np.arange(len(photos.names))
    lessons = [
        Lesson.of(photos, month, everything, (month_of > 0) & (month_of <= month), month_of == month, seed)
        for month in range(1, month_of.max() + 1)
    ]
    return _courses(photos, lessons, ways, on_progress)


def corrected(
    photos: Photos, ways: Sequence[str], *, seed: int, on_progress: OnProgress | None = None
) -> tuple[Course, ...]:
    """A quarter of the labels is wrong in the first version and right in the second; the third knows nothing else.

    The third is learned from the right labels from the beginning: what the second ought to come to.
    """
    everything, right = np.arange(len(photos.names)), photos.targets
    wrong = _mislabelled(right, len(photos.names), seed)
    noisy = Lesson.of(photos, 1, everything, right >= 0, right >= 0, seed, targets=wrong)
    mended = replace(noisy, number=2, targets=right, new=wrong != right)
    courses = _courses(photos, [noisy, mended], ways, _part(on_progress, 0, 2))
    clean = _courses(photos, [replace(noisy, targets=right)], ways, _part(on_progress, 2, 1))
    return tuple(
        Course(one.way, one.accuracies + ideal.accuracies, one.seconds + ideal.seconds)
        for one, ideal in zip(courses, clean, strict=True)
    )


def _part(on_progress: OnProgress | None, first: int, versions: int) -> OnProgress | None:
    """The progress of some of the three versions, from `first` on, as part of that of all."""
    if on_progress is None:
        return None
    return lambda stage, step, steps: on_progress(stage, first * steps // versions + step, 3 * steps // versions)


def some_of(n_classes: int) -> int:
    """How many classes get more photos."""
    return max(1, round(SOME * n_classes))


def months_of(targets: Indices, n_classes: int, seed: int, months: int = MONTHS) -> Indices:
    """(N,) in which month each photo comes, from 1; 0 for those that never do.

    The last month is an earlier one than asked where no class has photos left for another.
    """
    chance = np.random.default_rng(seed)
    waiting = [list(chance.permutation(np.flatnonzero(targets == c))) for c in range(n_classes)]
    month_of = np.zeros(len(targets), np.int64)
    for month in range(1, months + 1):
        left = np.array([c for c in range(n_classes) if waiting[c]], np.int64)
        some = chance.choice(left, min(some_of(n_classes), len(left)), replace=False)
        classes, shots = (range(n_classes), FIRST_MONTH) if month == 1 else (some, LATER_MONTH)
        for c in classes:
            month_of[[waiting[c].pop() for _ in range(min(shots, len(waiting[c])))]] = month
    return month_of


Taken = Mapping[str, Sequence[tuple[Version, float]]]  # by way, its versions and the seconds that each took


def taken(lessons: Sequence[Lesson], ways: Sequence[str], on_progress: OnProgress | None = None) -> Taken:
    """The versions that each way makes of the lessons, one after another."""
    ordered = [name for name in WAYS if name in ways]
    versions: dict[str, list[tuple[Version, float]]] = {name: [] for name in ordered}
    for number, lesson in enumerate(lessons, 1):
        for done, name in enumerate(ordered):
            way, so_far = WAYS[name], versions[name]
            if number == 1 and way.begins_as in versions:
                so_far.append(versions[way.begins_as][0])
            elif number == len(lessons) or not way.last_only:
                started = time.monotonic()
                version = way.learn(lesson, so_far[-1][0] if so_far else None)
                so_far.append((version, time.monotonic() - started))
            if on_progress:
                on_progress("comparing", (number - 1) * len(ordered) + done + 1, len(lessons) * len(ordered))
    return {name: versions[name] for name in ways}


def _of_task(photos: Photos, tasks: Sequence[Indices], number: int, seed: int) -> Lesson:
    """The lesson of a task, from 1: its shots are new, those of earlier tasks are there again."""
    classes = np.concatenate(tasks[:number])
    shown, new = np.isin(photos.targets, classes), np.isin(photos.targets, tasks[number - 1])
    return Lesson.of(photos, number, classes, shown, new, seed)


def _scored(
    versions: Taken, images: Vectors, last: int
) -> Iterator[tuple[str, list[tuple[int, Vectors]], tuple[float, ...]]]:
    """By way the number of every version, what it says of the images, (N, C), and the seconds it took."""
    for way, of_way in versions.items():
        first = last - len(of_way) + 1
        scores = [(number, version.scores(images)) for number, (version, _) in enumerate(of_way, first)]
        yield way, scores, tuple(seconds for _, seconds in of_way)


def _on_tasks(photos: Photos, tasks: Sequence[Indices], scores: Vectors, *, known: int) -> tuple[float, ...]:
    """On each task, among the classes of the first `known` tasks and of any between them and the task's own.

    scores   (N, C) of the test images; the accuracy is NaN where one of those classes has none
    """
    return tuple(
        _accuracy(scores, photos.test_targets, np.concatenate(tasks[: max(known, number)]), task)
        for number, task in enumerate(tasks, 1)
    )


def _accuracy(scores: Vectors, targets: Indices, classes: Indices, of: Indices) -> float:
    """Fraction of the images of some classes that are found right among `classes`."""
    chosen = np.isin(targets, of)
    said = scores[chosen]
    if np.isnan(said[:, classes]).any():
        return float("nan")
    return float((among(said, classes) == targets[chosen]).mean())


def _courses(
    photos: Photos, lessons: Sequence[Lesson], ways: Sequence[str], on_progress: OnProgress | None
) -> tuple[Course, ...]:
    everything = np.arange(len(photos.names))
    found = _scored(taken(lessons, ways, on_progress), photos.test, len(lessons))
    return tuple(
        Course(way, tuple(_accuracy(one, photos.test_targets, everything, everything) for _, one in of_way), seconds)
        for way, of_way, seconds in found
    )


def _mislabelled(targets: Indices, n_classes: int, seed: int) -> Indices:
    """(N,) the same with a share of every class taken for another."""
    chance = np.random.default_rng(seed)
    wrong: Indices = targets.copy()
    for c in range(n_classes):
        of_class = np.flatnonzero(targets == c)
        taken_wrong = chance.choice(of_class, round(WRONG * len(of_class)), replace=False)
        wrong[taken_wrong] = (c + chance.integers(1, n_classes, len(taken_wrong))) % n_classes
    return wrong
