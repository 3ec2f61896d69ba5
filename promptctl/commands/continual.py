"""Compare --tasks: ways to keep a context learning, beside each other on one's own photos."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.clip import templates
from promptctl.commands.backbones import library_needed
from promptctl.commands.compare import feasible, labelled, numbers
from promptctl.commands.photos import check_name_tokens, labelled_as_learned, passed_over, skipped_files, to_learn_from
from promptctl.errors import DatasetError, NoImages
from promptctl.progress import OnProgress
from promptctl.report import ContinualReport, ContinualRow, ContinualRun, TaskOrder

if TYPE_CHECKING:
    from promptctl.benchmark.continual import Line
    from promptctl.benchmark.pool import Pool
    from promptctl.clip.backbone import Backbone
    from promptctl.context.card import ClassEntry
    from promptctl.data.folder import ImageFolder
    from promptctl.encoding.files import Skipped


def compare_tasks(
    photos: str | PathLike[str],
    *,
    tasks: int = 5,
    shots: int = 16,
    seeds: Sequence[int] = (1, 2, 3),
    template: str = templates.DEFAULT,
    model: str = "mini",
    device: str = "auto",
    classes: str | PathLike[str] | None = None,
    on_progress: OnProgress | None = None,
) -> ContinualReport:
    """Let the classes of one's own photos come in tasks, and see what each way to go on learning makes of them.

    Shots and test images are those of `compare`. After every task there is a version that is measured on the classes
    so far; nothing is stored.

    photos        folder of class folders, with or without train/ val/ test/; or a list of images
    tasks         from 2 to as many as there are classes
    shots         images per class, from 1
    seeds         from 0 to 2^32 - 1, each decides which images are the shots and in which order the classes come
    template      the zero-shot prompt: a sentence with {}, or a name in clip.templates
    model         backbone: mini or an open_clip name
    device        auto, cpu, cuda or mps
    classes       CSV of folder,name: what the prompt calls each folder
    on_progress   called with what is being done, how much is done, and of how much
    raises        BadSetting, DatasetError and its kind, BackboneError and its kind, LearningFailed
    """
    asked = _Asked(
        photos=checks.path("photos", photos),
        tasks=checks.whole("tasks", tasks, 2, checks.MOST, 5),
        shots=checks.whole("shots", shots, 1, checks.MOST, 16),
        seeds=numbers("seeds", seeds, 0, checks.HIGHEST_SEED),
        template=template,
    )
    model = checks.text("model", model, "mini")
    device = checks.one_of("device", device, checks.DEVICES)
    templates.check(template)
    folder, entries = labelled(asked.photos, checks.path("classes", classes) if classes is not None else None)
    if asked.tasks > len(entries):
        raise DatasetError(
            f"{asked.tasks} tasks are more than the classes: {asked.photos} has {len(entries)}",
            f"--tasks {len(entries)} or fewer",
        )
    from promptctl.clip.registry import ensure_available

    with library_needed(model):
        ensure_available(model)
        from promptctl.clip.backbone import Backbone

    pool, measured_on, skipped = _pooled(asked, folder, entries, Backbone(model, device), on_progress)
    return _compared(asked, pool, measured_on, skipped, on_progress)


@dataclass(frozen=True)
class _Asked:
    """What to compare, each value checked by itself."""

    photos: Path
    tasks: int
    shots: int  # per class
    seeds: tuple[int, ...]
    template: str


def _pooled(
    asked: _Asked,
    folder: ImageFolder,
    entries: Sequence[ClassEntry],
    backbone: Backbone,
    on_progress: OnProgress | None,
) -> tuple[Pool, str, tuple[Skipped, ...]]:
    """The photos encoded, what is measured on in words, and the files that were left out."""
    from promptctl.benchmark.pool import Reach, divide_photos, encode_pool

    check_name_tokens(entries, backbone.tower)
    folder = labelled_as_learned(folder, entries, backbone.tower)
    divided = divide_photos(folder, to_learn_from(folder), on_progress)
    name_of = {entry.label: entry.name for entry in entries}
    feasible((asked.shots,), divided.train, tuple(name_of))
    reach = Reach(asked.seeds, asked.shots)
    pool, damaged = encode_pool(divided, folder, name_of, reach, backbone, asked.template, on_progress)
    feasible((asked.shots,), pool.train, pool.labels)
    without = sorted(set(pool.labels) - {image.label for image in pool.test})
    if without:
        raise NoImages(f"{asked.photos} has no image to measure '{without[0]}' on", "add some, or leave out --tasks")
    return pool, divided.measured_on, (*divided.skipped, *damaged)


def _compared(
    asked: _Asked, pool: Pool, measured_on: str, skipped: Sequence[Skipped], on_progress: OnProgress | None
) -> ContinualReport:
    from promptctl.benchmark import continual, ways
    from promptctl.learners import coop

    runs: defaultdict[str, list[ContinualRun]] = defaultdict(list)
    orders = []
    for done, seed in enumerate(asked.seeds):
        tasks = continual.tasks_of(len(pool.labels), asked.tasks, seed)
        orders.append(TaskOrder(seed, tuple(tuple(pool.labels[c] for c in task) for task in tasks)))
        photos, seen = continual.photos_of(pool, asked.shots, seed), _share(on_progress, done, len(asked.seeds))
        for line in continual.class_incremental(photos, tasks, ways.FOR_PEOPLE, seed=seed, on_progress=seen):
            runs[line.way].append(_run(line, seed))
    return ContinualReport(
        photos=asked.photos,
        backbone=pool.backbone.name,
        template=asked.template,
        classes=len(pool.labels),
        shots=asked.shots,
        test_images=len(pool.test),
        measured_on=measured_on,
        seeds=asked.seeds,
        orders=tuple(orders),
        update_steps=coop.UPDATE_EPOCHS,
        ways=tuple(ContinualRow.of(way, of_way) for way, of_way in runs.items()),
        skipped=skipped_files(skipped),
        passed_over=passed_over(skipped),
    )


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
