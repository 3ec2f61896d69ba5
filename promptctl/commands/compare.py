"""Compare: learners beside each other on one's own photos."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl.clip import templates
from promptctl.commands.common import (
    OnProgress,
    check_free,
    check_spoken,
    class_entries,
    passed_over,
    skipped_files,
    to_learn_from,
    under_taught_names,
)
from promptctl.commands.places import check_not_empty
from promptctl.context.card import ClassEntry
from promptctl.errors import DatasetError, ExportFailed, NoImages, NotDurable, TooFewShots, UnknownLearner, reason_of
from promptctl.learners import COMPARED
from promptctl.learners.settings import PLAIN, Wish, learns
from promptctl.report import BaseToNewRow, ComparedRow, CompareReport
from promptctl.store import files

if TYPE_CHECKING:
    from promptctl.benchmark.protocol import BaseToNew, Pool, Run, Task
    from promptctl.benchmark.results import Results
    from promptctl.clip.backbone import Backbone
    from promptctl.data.folder import ImageFolder
    from promptctl.data.images import Skipped


def compare(
    photos: Path,
    *,
    shots: Sequence[int] = (1, 2, 4, 8, 16),
    seeds: Sequence[int] = (1, 2, 3),
    learners: Sequence[str] = ("zero-shot", "linear-probe", "coop", "coop-csc", "clap"),
    base_to_new: bool = False,
    wish: Wish = PLAIN,
    template: str = templates.DEFAULT,
    model: str = "mini",
    device: str = "auto",
    classes: Path | None = None,
    plot: Path | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> CompareReport:
    """Run the paper's few-shot protocol on one's own photos; what was measured is kept, no context is stored.

    Shots are drawn from train/ and measured on test/ (or val/); without such parts a fifth of each class, chosen
    by content hash, is measured on and the rest drawn from.

    learners   of learners.COMPARED
    wish       how to learn, for every learner as far as it heeds it; its learner and seed count for nothing
    raises     SettingUnheeded, DatasetError and its kind, BackboneError and its kind, ExportFailed
    """
    templates.check(template)
    learners, seeds = _known_learners(learners), tuple(dict.fromkeys(seeds))
    wish.check_for(learners)
    _check_plot(plot, force)
    from promptctl.clip.registry import ensure_available
    from promptctl.data.folder import ImageFolder, check_classes

    check_not_empty(photos)
    folder = ImageFolder.scan(photos)
    labels = tuple(sorted({image.label for image in to_learn_from(folder)}))
    check_classes(labels, folder)
    entries = class_entries(labels, classes)
    ensure_available(model)
    from promptctl.benchmark.results import Results
    from promptctl.clip.backbone import Backbone

    if base_to_new and len(labels) < 4:
        raise DatasetError(f"--base-to-new halves the classes, and {photos} has {len(labels)}", "four classes or more")
    backbone = Backbone(model, device)
    _check_names([entry.name for entry in entries], learners, wish, template, backbone)
    check_spoken(entries, backbone.tower)
    folder = under_taught_names(folder, entries, backbone.tower)
    pool, measured_on, skipped = _pool(folder, entries, backbone, template, on_progress)
    if base_to_new:
        _check_halves(pool, photos)
    feasible, left_out = _feasible(shots, pool)
    tasks = _tasks(learners, feasible, seeds, wish, base_to_new)
    with Results() as results:
        runs, halves, known = _measured(tasks, pool, wish, results, on_progress)
    zero_shot_base, zero_shot_new = _zero_shot_halves(pool) if base_to_new else (None, None)
    report = CompareReport(
        photos=photos,
        backbone=pool.backbone.name,
        template=template,
        classes=len(labels),
        train_images=len(pool.train),
        test_images=len(pool.test),
        measured_on=measured_on,
        seeds=seeds,
        left_out=left_out,
        learners=_compared_rows(runs),
        base_to_new=_halved_rows(halves),
        speechless=_speechless(learners, wish) if base_to_new else (),
        plot=None,
        no_plot=None,
        skipped=skipped_files(skipped),
        passed_over=passed_over(skipped),
        zero_shot_accuracy=pool.accuracy(pool.by_hand(template)),
        zero_shot_base=zero_shot_base,
        zero_shot_new=zero_shot_new,
        ensemble_has_own=templates.is_own(template),
        known=known,
    )
    return _with_figure(report, plot, force) if plot else report


def _check_names(names: Sequence[str], learners: Sequence[str], wish: Wish, template: str, backbone: Backbone) -> None:
    """NameTooLong, ContextTooLong, TemplateTooLong and a bad --init, before anything dear."""
    tower = backbone.tower
    longest = max(names, key=lambda name: len(tower.tokens(name)))
    for own in {wish.of(name) for name in learners if learns(name)}:
        tower.prompts([longest], own.tokens(tower), position=own.position)
    templates.mean_features(tower, [longest], _sentences(learners, template))


def _sentences(learners: Sequence[str], template: str) -> tuple[str, ...]:
    """Everything that will be said of a class."""
    of_7 = templates.ensemble_of_7(template) if "ensemble-7" in learners else ()
    of_80 = templates.sentences("imagenet-80") if "ensemble-80" in learners else ()
    return (*templates.sentences(template), *of_7, *of_80)


def _tasks(
    learners: Sequence[str], shots: Sequence[int], seeds: Sequence[int], wish: Wish, base_to_new: bool
) -> list[Task]:
    from promptctl.benchmark.protocol import Task

    jobs = [(name, k, seed) for name in learners for k in shots for seed in seeds]
    silent = _speechless(learners, wish)
    halved = [Task("halves", *job) for job in jobs if base_to_new and job[0] not in silent]
    return [*(Task("run", *job) for job in jobs), *halved]


def _speechless(learners: Sequence[str], wish: Wish) -> tuple[str, ...]:
    from promptctl.benchmark.protocol import speaks_of_new_classes

    return tuple(name for name in learners if not speaks_of_new_classes(name, wish))


def _measured(
    tasks: Sequence[Task], pool: Pool, wish: Wish, results: Results, on_progress: OnProgress | None
) -> tuple[list[Run], list[BaseToNew], int]:
    """Everything measured, each result kept as soon as there is one; and how many were known from before.

    Quick learners and slow ones take turns, so that the time left is true from the beginning.
    """
    from promptctl.benchmark.order import mixed
    from promptctl.benchmark.protocol import BaseToNew, Run

    found = {task: task.recall(pool, wish, results) for task in tasks}
    todo = [task for task, known in found.items() if known is None]
    if any(task.learner == "linear-probe-raw" for task in todo):
        pool = _with_lengths(pool, results, on_progress)
    known = len(tasks) - len(todo)
    todo = mixed(todo, lambda task: task.effort(wish))
    if on_progress:
        on_progress("comparing", known, len(tasks))
    for done, task in enumerate(todo, known + 1):
        found[task] = fresh = task.measure(pool, wish, _crops_only(on_progress))
        task.keep(fresh, pool, wish, results)
        if on_progress:
            on_progress("comparing", done, len(tasks))
    both = found.values()
    return [one for one in both if isinstance(one, Run)], [one for one in both if isinstance(one, BaseToNew)], known


def _crops_only(on_progress: OnProgress | None) -> OnProgress | None:
    """Of what a learner says only what may take minutes; the rest is counted in runs."""
    if on_progress is None:
        return None
    return lambda stage, done, total: on_progress(stage, done, total) if stage == "encoding crops" else None


def _with_lengths(pool: Pool, results: Results, on_progress: OnProgress | None) -> Pool:
    from promptctl.benchmark.lengths import lengths

    measuring = partial(on_progress, "encoding raw") if on_progress else None
    return replace(pool, length_of=lengths((*pool.train, *pool.test), pool.backbone, results, measuring))


def _zero_shot_halves(pool: Pool) -> tuple[float, float]:
    from promptctl.benchmark.protocol import halves

    base, new = (pool.only(half) for half in halves(pool.labels))
    return base.accuracy(base.by_hand(pool.template)), new.accuracy(new.by_hand(pool.template))


def _with_figure(report: CompareReport, plot: Path, force: bool) -> CompareReport:
    no_plot = _drawn(plot, report, force)
    return replace(report, no_plot=no_plot) if no_plot else replace(report, plot=plot)


def _drawn(plot: Path, report: CompareReport, force: bool) -> str | None:
    """The figure written, or why not: an hour of learning is not lost over it."""
    from promptctl.benchmark.plot import curve

    rows = [replace(row, learner=report.called(row.learner)) for row in report.learners]
    try:
        files.write_atomic(plot, curve(rows, report.photos.resolve().name, plot.suffix.lower()), replace=force)
    except OSError as error:
        return str(ExportFailed(plot, reason_of(error)))
    except NotDurable as error:
        return str(error)
    return None


def _check_plot(plot: Path | None, force: bool) -> None:
    if plot is None:
        return
    from promptctl.benchmark.plot import KINDS

    if plot.suffix.lower() not in KINDS:
        example = plot.parent / f"{plot.stem or 'curve'}.png"
        raise ExportFailed(plot, f"a figure ends in {', '.join(KINDS)}", f"--plot {shlex.quote(str(example))}")
    check_free(plot, force)


def _known_learners(asked: Sequence[str]) -> tuple[str, ...]:
    """Each once; UnknownLearner for a strange one, or for none at all."""
    strange = next((name for name in asked or [""] if name not in COMPARED), None)
    if strange is not None:
        raise UnknownLearner(strange, COMPARED)
    return tuple(dict.fromkeys(asked))


def _check_halves(pool: Pool, photos: Path) -> None:
    from promptctl.benchmark.protocol import halves

    for half, labels in zip(("base", "new"), halves(pool.labels), strict=True):
        if not any(image.label in labels for image in pool.test):
            raise NoImages(
                f"{photos} has no image to measure the {half} classes on ({', '.join(labels)})",
                "leave out --base-to-new, or add such images",
            )


def _pool(
    folder: ImageFolder,
    entries: Sequence[ClassEntry],
    backbone: Backbone,
    template: str,
    on_progress: OnProgress | None,
) -> tuple[Pool, str, tuple[Skipped, ...]]:
    """Everything encoded; what the test images are, in words; and the files that were passed over."""
    from promptctl.benchmark.protocol import Pool
    from promptctl.data import images, remarks, sampling
    from promptctl.encoding.cache import FeatureCache
    from promptctl.encoding.pipeline import encode
    from promptctl.learners.shots import measurable, say_near_copies

    reading, encoding = (partial(on_progress, stage) if on_progress else None for stage in ("reading", "encoding"))
    part = folder.measured_part
    to_draw, unreadable = images.hash_images(to_learn_from(folder), reading)
    apart, unreadable_apart = images.hash_images(folder.only(part), reading) if part else ((), ())
    remarks.say(remarks.one_picture_of_two_classes((i.path, i.label, i.sha256) for i in (*to_draw, *apart)))
    with FeatureCache() as cache:
        features, damaged = encode([image.path for image in (*to_draw, *apart)], backbone.encoder, cache, encoding)
    vector_of = dict(zip(features.paths, features.vectors, strict=True))
    train, test = (tuple(image for image in some if image.path in vector_of) for some in (to_draw, apart))
    measured_on = f"images of {part}/"
    if part is None:
        divided = sampling.fifth_of_each(train)
        train, test, measured_on = divided.train, divided.held_out, "images held out, a fifth of each class"
    test, unfair = measurable(test, {entry.label for entry in entries}, train)
    if not test:
        raise NoImages(f"{folder.root} has no image left to measure on", "more images a class, or a test/ folder")
    say_near_copies(test, train, vector_of)
    skipped = (*folder.skipped, *unreadable, *unreadable_apart, *damaged, *unfair)
    name_of = {entry.label: entry.name for entry in entries}
    return Pool(name_of, train, test, vector_of, backbone, template), measured_on, skipped


def _feasible(shots: Sequence[int], pool: Pool) -> tuple[tuple[int, ...], str | None]:
    """The shots every class has images for, and a word on the others; TooFewShots when there are none."""
    most, label = pool.most_shots
    feasible = tuple(sorted({k for k in shots if k <= most}))
    if not feasible:
        raise TooFewShots(label, most, min(shots))
    beyond = [str(k) for k in shots if k > most]
    images = f"{most} image{'' if most == 1 else 's'}"
    left_out = f"left out {', '.join(beyond)} shots: class '{label}' has {images} to draw from" if beyond else None
    return feasible, left_out


def _compared_rows(runs: Sequence[Run]) -> tuple[ComparedRow, ...]:
    import numpy as np

    rows = []
    for learner, k in dict.fromkeys((run.learner, run.shots) for run in runs):
        of_row = [run for run in runs if (run.learner, run.shots) == (learner, k)]
        accuracies = tuple(run.accuracy for run in of_row)
        seconds = tuple(run.seconds for run in of_row)
        mean, mean_seconds = float(np.mean(accuracies)), float(np.mean(seconds))
        rows.append(ComparedRow(learner, k, mean, _std(accuracies), accuracies, mean_seconds, seconds))
    return tuple(rows)


def _halved_rows(halves: Sequence[BaseToNew]) -> tuple[BaseToNewRow, ...]:
    import numpy as np

    rows = []
    for learner, k in dict.fromkeys((half.learner, half.shots) for half in halves):
        of_row = [half for half in halves if (half.learner, half.shots) == (learner, k)]
        base, new, harmonic = zip(*((half.base, half.new, half.harmonic) for half in of_row), strict=True)
        rows.append(
            BaseToNewRow(
                learner,
                k,
                base=float(np.mean(base)),
                base_std=_std(base),
                new=float(np.mean(new)),
                new_std=_std(new),
                harmonic=float(np.mean(harmonic)),
                harmonic_std=_std(harmonic),
                base_runs=base,
                new_runs=new,
                harmonic_runs=harmonic,
            )
        )
    return tuple(rows)


def _std(values: Sequence[float]) -> float | None:
    """Of the population; None where there is one value, which says nothing of others."""
    import numpy as np

    return float(np.std(values)) if len(values) > 1 else None
