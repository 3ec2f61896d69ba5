"""Compare --tasks and --protocol: ways to keep a context learning, beside each other on one's own photos."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptctl import checks
from promptctl.clip import templates
from promptctl.commands.backbones import library_needed
from promptctl.commands.compare import feasible, labelled, numbers
from promptctl.commands.photos import (
    check_name_tokens,
    check_room,
    columns_asked,
    labelled_as_learned,
    passed_over,
    skipped_files,
    to_learn_from,
)
from promptctl.errors import DatasetError, NoImages, WrongOption
from promptctl.learners.settings import PLAIN
from promptctl.progress import OnProgress
from promptctl.report import ContinualReport, ContinualRow, ContinualRun, CourseRow, CourseRun, CoursesReport, TaskOrder

if TYPE_CHECKING:
    from promptctl.benchmark.continual import Course, Line
    from promptctl.benchmark.pool import Pool
    from promptctl.clip.backbone import Backbone
    from promptctl.context.card import ClassEntry
    from promptctl.data.folder import ImageFolder
    from promptctl.data.images import HashedImage
    from promptctl.encoding.files import Skipped


PROTOCOLS = ("classes", "months", "labels")
_TASKS = {"classes": 5, "months": 6}
_SHOTS = 16  # of each class
_FEWEST_TO_MISTAKE = 3  # shots of a class, a quarter of which is one
_CORRECTED = "corrected"
_OF_LABELS = ("wrong", _CORRECTED, "right")


def compare_tasks(
    photos: str | PathLike[str],
    *,
    protocol: str = "classes",
    tasks: int | None = None,
    shots: int | None = None,
    seeds: Sequence[int] = (1, 2, 3),
    template: str = templates.DEFAULT,
    model: str = "mini",
    device: str = "auto",
    classes: str | PathLike[str] | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    on_progress: OnProgress | None = None,
) -> ContinualReport | CoursesReport:
    """Go on learning one's own photos in every way there is, and see what each makes of them; nothing is stored.

    Shots and test images are those of `compare`. The protocol says what comes with every version:

        classes   some of the classes; every version is measured on the classes so far
        months    two photos of every class, and then six more of about a third of the classes each month
        labels    a quarter of the labels of each class is wrong in the first version, and right in the second

    photos        folder of class folders, with or without train/ val/ test/; or a list of images
    protocol      classes, months or labels
    tasks         from 2 to as many as there are classes, 5 if None; or so many months, 6 if None
    shots         images per class, 16 if None; months take what they bring
    seeds         from 0 to 2^32 - 1, each decides which images are the shots and in which order they come
    template      the zero-shot prompt: a sentence with {}, or a name in clip.templates
    model         backbone: mini or an open_clip name
    device        auto, cpu, cuda or mps
    classes       CSV of folder,name: what the prompt calls each folder
    path_column   of a list whose columns have no usual names: what the column with the paths or ids of photos is called
    label_column  the same of the column with their classes
    split_column  the same of the column with the part of the data set that each is in
    on_progress   called with what is being done, how much is done, and of how much
    raises        BadSetting, WrongOption, DatasetError and its kind, BackboneError and its kind, LearningFailed
    """
    asked = _Asked.of(
        checks.path("photos", photos),
        checks.one_of("protocol", protocol, PROTOCOLS),
        tasks,
        shots,
        seeds=numbers("seeds", seeds, 0, checks.HIGHEST_SEED),
        template=template,
    )
    model = checks.text("model", model, "mini")
    device = checks.one_of("device", device, checks.DEVICES)
    templates.check(template)
    columns = columns_asked(path_column, label_column, split_column)
    names = checks.path("classes", classes) if classes is not None else None
    folder, entries = labelled(asked.photos, names, columns)
    if asked.protocol == "classes" and asked.tasks > len(entries):
        raise DatasetError(
            f"{asked.tasks} tasks are more than the classes: {asked.photos} has {len(entries)}",
            f"--tasks {len(entries)} or fewer",
        )
    from promptctl.clip.registry import ensure_available

    with library_needed(model):
        ensure_available(model)
        from promptctl.clip.backbone import Backbone

    pool, measured_on, skipped = _pooled(asked, folder, entries, Backbone(model, device), on_progress)
    compared = _compared if asked.protocol == "classes" else _courses
    return compared(asked, pool, measured_on, skipped, on_progress)


@dataclass(frozen=True)
class _Asked:
    """What to compare, each value checked by itself."""

    photos: Path
    protocol: str
    tasks: int  # or months; 0 for labels
    shots: int  # per class; of no meaning for months
    seeds: tuple[int, ...]
    template: str

    @staticmethod
    def of(
        photos: Path, protocol: str, tasks: int | None, shots: int | None, *, seeds: tuple[int, ...], template: str
    ) -> _Asked:
        """raises   BadSetting; WrongOption for what the protocol decides itself"""
        if protocol == "labels" and tasks is not None:
            raise WrongOption("--protocol labels has two versions, so --tasks has no effect", "leave out --tasks")
        if protocol == "months" and shots is not None:
            raise WrongOption("the months say how many photos come, so --shots has no effect", "leave out --shots")
        usual = _TASKS.get(protocol, 0)
        number = usual if tasks is None else checks.whole("tasks", tasks, 2, checks.MOST, usual)
        fewest = _FEWEST_TO_MISTAKE if protocol == "labels" else 1
        some = _SHOTS if shots is None else checks.whole("shots", shots, fewest, checks.MOST, _SHOTS)
        return _Asked(photos, protocol, number, some, seeds, template)

    @property
    def option(self) -> str:
        return "--tasks" if self.protocol == "classes" else "--protocol"

    @property
    def most(self) -> int:
        """Images of a class that are learned from, at most."""
        from promptctl.benchmark.continual import most_by_month

        return most_by_month(self.tasks) if self.protocol == "months" else self.shots


def _pooled(
    asked: _Asked,
    folder: ImageFolder,
    entries: Sequence[ClassEntry],
    backbone: Backbone,
    on_progress: OnProgress | None,
) -> tuple[Pool, str, tuple[Skipped, ...]]:
    """The photos encoded, what is measured on in words, and the files that were left out."""
    from promptctl.benchmark.pool import Reach, divide_photos, encode_pool

    check_room(entries, PLAIN, backbone.tower)
    check_name_tokens(entries, backbone.tower)
    folder = labelled_as_learned(folder, entries, backbone.tower)
    divided = divide_photos(folder, to_learn_from(folder), on_progress)
    name_of = {entry.label: entry.name for entry in entries}
    _check_enough(asked, divided.train, tuple(name_of))
    reach = Reach(asked.seeds, asked.most)
    pool, damaged = encode_pool(divided, folder, name_of, reach, backbone, asked.template, on_progress)
    _check_enough(asked, pool.train, pool.labels)
    without = sorted(set(pool.labels) - {image.label for image in pool.test})
    if without:
        raise NoImages(
            f"{asked.photos} has no image to measure '{without[0]}' on", f"add some, or leave out {asked.option}"
        )
    return pool, divided.measured_on, (*divided.skipped, *damaged)


def _check_enough(asked: _Asked, train: Sequence[HashedImage], labels: Sequence[str]) -> None:
    """TooFewShots where a class has too few images; DatasetError where there are none for the last month."""
    feasible((1 if asked.protocol == "months" else asked.shots,), train, labels)
    if asked.protocol != "months":
        return
    import numpy as np

    from promptctl.benchmark.continual import months_of

    classes = np.array([labels.index(image.label) for image in train])
    last = min(int(months_of(classes, len(labels), seed, asked.tasks).max()) for seed in asked.seeds)
    if last < asked.tasks:
        found = f"{asked.photos} has photos for {last} month{'' if last == 1 else 's'}, {asked.tasks} were asked for"
        raise DatasetError(found, f"--tasks {last}, or more photos" if last > 1 else "more photos")


def _compared(
    asked: _Asked, pool: Pool, measured_on: str, skipped: Sequence[Skipped], on_progress: OnProgress | None
) -> ContinualReport:
    from promptctl.benchmark import continual, ways

    runs: defaultdict[str, list[ContinualRun]] = defaultdict(list)
    orders = []
    for done, seed in enumerate(asked.seeds):
        tasks = continual.tasks_of(len(pool.labels), asked.tasks, seed)
        orders.append(TaskOrder(seed, tuple(tuple(pool.labels[c] for c in task) for task in tasks)))
        photos, seen = continual.photos_of(pool, asked.shots, seed), _share(on_progress, done, len(asked.seeds))
        for line in continual.class_incremental(photos, tasks, ways.FOR_PEOPLE, seed=seed, on_progress=seen):
            runs[line.way].append(_run(line, seed))
    return ContinualReport(
        **_facts(asked, pool, measured_on, skipped),
        orders=tuple(orders),
        ways=tuple(ContinualRow.of(way, of_way) for way, of_way in runs.items()),
    )


def _courses(
    asked: _Asked, pool: Pool, measured_on: str, skipped: Sequence[Skipped], on_progress: OnProgress | None
) -> CoursesReport:
    from promptctl.benchmark import continual

    by_month = asked.protocol == "months"
    runs: defaultdict[str, list[CourseRun]] = defaultdict(list)
    for done, seed in enumerate(asked.seeds):
        for course in _courses_of(asked, pool, seed, _share(on_progress, done, len(asked.seeds))):
            runs[course.way].append(CourseRun(seed, course.accuracies, sum(course.seconds)))
    versions = tuple(f"month {month}" for month in range(1, asked.tasks + 1)) if by_month else _OF_LABELS
    return CoursesReport(
        **_facts(asked, pool, measured_on, skipped),
        versions=versions,
        about=_about(asked, len(pool.labels), continual.some_of(len(pool.labels))),
        final=versions.index(versions[-1] if by_month else _CORRECTED),
        ways=tuple(CourseRow.of(way, of_way, is_followed=by_month) for way, of_way in runs.items()),
    )


def _courses_of(asked: _Asked, pool: Pool, seed: int, on_progress: OnProgress | None) -> tuple[Course, ...]:
    from promptctl.benchmark import continual, ways

    if asked.protocol == "labels":
        photos = continual.photos_of(pool, asked.shots, seed)
        return continual.corrected(photos, ways.FOR_PEOPLE, seed=seed, on_progress=on_progress)
    photos = continual.photos_by_month(pool, asked.tasks, seed)
    return continual.monthly(photos, ways.FOR_PEOPLE, seed=seed, months=asked.tasks, on_progress=on_progress)


def _about(asked: _Asked, classes: int, some: int) -> str:
    from promptctl.benchmark.continual import FIRST_MONTH, LATER_MONTH

    if asked.protocol == "labels":
        return f"a quarter of the labels of {classes} classes wrong and then right, {asked.shots} shots each"
    return f"{FIRST_MONTH} photos of {classes} classes, and then {LATER_MONTH} more of {some} of them every month"


def _facts(asked: _Asked, pool: Pool, measured_on: str, skipped: Sequence[Skipped]) -> dict[str, Any]:
    """What is said of every protocol."""
    from promptctl.learners import coop

    return {
        "photos": asked.photos,
        "backbone": pool.backbone.name,
        "template": asked.template,
        "protocol": asked.protocol,
        "classes": len(pool.labels),
        "shots": asked.most,
        "test_images": len(pool.test),
        "measured_on": measured_on,
        "seeds": asked.seeds,
        "update_steps": coop.UPDATE_EPOCHS,
        "skipped": skipped_files(skipped),
        "passed_over": passed_over(skipped),
    }


def _run(line: Line, seed: int) -> ContinualRun:
    found = line.measures
    assert found is not None, "a way that people see learns every version"
    return ContinualRun(
        seed=seed,
        average=found.average,
        last=found.last,
        forgetting=found.forgetting,
        pure_forgetting=found.pure_forgetting,
        learned=found.learned,
        bwt=found.bwt,
        fwt=found.fwt,
        seen=found.seen,
        accuracies=tuple(row[: number + 1] for number, row in enumerate(line.accuracies)),
        seconds=sum(line.seconds),
    )


def _share(on_progress: OnProgress | None, done: int, seeds: int) -> OnProgress | None:
    """The progress of one seed as part of that of all."""
    if on_progress is None:
        return None
    return lambda stage, step, steps: on_progress(stage, done * steps + step, seeds * steps)
