"""Compare: learners beside each other on one's own photos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.benchmark import variants
from promptctl.clip import templates
from promptctl.commands.backbones import library_needed
from promptctl.commands.photos import (
    check_name_tokens,
    check_room,
    class_entries,
    columns_asked,
    labelled_as_learned,
    passed_over,
    skipped_files,
    to_learn_from,
)
from promptctl.commands.writing import checked_figure
from promptctl.errors import (
    BadSetting,
    DatasetError,
    ExportFailed,
    NoImages,
    NotDurable,
    TooFewShots,
    UnknownLearner,
    reason_of,
)
from promptctl.learners import LEARNERS
from promptctl.learners.settings import DEFAULT_TOKENS, PLAIN, LearnSettings, settings_of
from promptctl.progress import OnProgress
from promptctl.report import BaseToNewRow, ComparedRow, CompareReport
from promptctl.store import files

if TYPE_CHECKING:
    from promptctl.benchmark.pool import DividedPhotos, Pool
    from promptctl.benchmark.protocol import BaseToNew, Run, Task
    from promptctl.benchmark.results import Results
    from promptctl.clip.backbone import Backbone
    from promptctl.context.card import ClassEntry
    from promptctl.data.folder import ImageFolder
    from promptctl.data.images import HashedImage
    from promptctl.data.readers.headings import ColumnNames

    _Measured = tuple[Sequence[Run], Sequence[BaseToNew], int]  # and how many were known from before


def compare(
    photos: str | PathLike[str],
    *,
    shots: Sequence[int] = (1, 2, 4, 8, 16),
    seeds: Sequence[int] = (1, 2, 3),
    learners: Sequence[str] = ("zero-shot", "linear-probe", "coop", "coop-csc", "clap"),
    base_to_new: bool = False,
    settings: LearnSettings = PLAIN,
    template: str = templates.DEFAULT,
    model: str = "mini",
    device: str = "auto",
    classes: str | PathLike[str] | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    plot: str | PathLike[str] | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
    **changes: object,
) -> CompareReport:
    """Run the paper's few-shot protocol on one's own photos; what was measured is kept, no context is stored.

    Shots are sampled from train/ and measured on test/ (or val/); without such parts a fifth of each class, chosen
    by content hash, is measured on and the rest sampled from; copies, near copies and bursts are on one side, for which
    every photo is encoded once. Of a folder with parts nothing is decoded but what the seeds and shots reach.

    photos        folder of class folders, with or without train/ val/ test/; or a list of images
    shots         images per class, from 1; numbers that a class has too few images for are left out and named
    seeds         from 0 to 2^32 - 1, each decides which images are the shots
    learners      of benchmark.variants.names(): coop, coop-csc, clap, linear-probe, zero-shot …
    base_to_new   also learn half of the classes, and measure on them and on the others
    settings      how to learn, for every learner that takes the setting; its learner and seed are ignored
    template      the zero-shot prompt: a sentence with {}, or a name in clip.templates
    model         backbone: mini or an open_clip name
    device        auto, cpu, cuda or mps
    classes       CSV of folder,name: what the prompt calls each folder
    path_column   of a list whose columns have no usual names: what the column with the paths or ids of photos is called
    label_column  the same of the column with their classes
    split_column  the same of the column with the part of the data set that each is in
    plot          where to draw the figure: .png, .svg or .pdf
    force         replace the figure if it is there
    on_progress   called with what is being done, how much is done, and of how much
    changes       fields of LearnSettings, each instead of that of `settings`: epochs=50
    raises        BadSetting, UnknownLearner, SettingUnheeded, DatasetError and its kind, BackboneError and its kind,
                  ExportFailed, LearningFailed
    """
    asked = _Asked(
        photos=checks.path("photos", photos),
        learners=_known_learners(learners),
        shots=numbers("shots", shots, 1, checks.MOST),
        seeds=numbers("seeds", seeds, 0, checks.HIGHEST_SEED),
        settings=settings_of(settings, changes),
        template=template,
        base_to_new=base_to_new,
    )
    model = checks.text("model", model, "mini")
    device = checks.one_of("device", device, checks.DEVICES)
    templates.check(template)
    variants.check_heeded(asked.settings, asked.learners)
    figure = None if plot is None else checked_figure(plot, force)
    columns = columns_asked(path_column, label_column, split_column)
    names = checks.path("classes", classes) if classes is not None else None
    folder, entries = labelled(asked.photos, names, columns)
    if asked.base_to_new and len(entries) < 4:
        found = f"--base-to-new halves the classes, and {asked.photos} has {len(entries)}"
        raise DatasetError(found, "four classes or more")
    from promptctl.clip.registry import ensure_available

    with library_needed(model):
        ensure_available(model)
        from promptctl.clip.backbone import Backbone

    report = _compared(asked, folder, entries, Backbone(model, device), on_progress)
    return _with_figure(report, figure, force) if figure else report


@dataclass(frozen=True)
class _Asked:
    """What to compare, each value checked by itself."""

    photos: Path
    learners: tuple[str, ...]
    shots: tuple[int, ...]  # per class
    seeds: tuple[int, ...]
    settings: LearnSettings
    template: str
    base_to_new: bool


def labelled(photos: Path, names_file: Path | None, columns: ColumnNames) -> tuple[ImageFolder, tuple[ClassEntry, ...]]:
    """The photos and their classes, before there is a backbone."""
    from promptctl.data.folder import ImageFolder, check_classes

    folder = ImageFolder.scan(photos, columns)
    labels = tuple(sorted({image.label for image in to_learn_from(folder)}))
    check_classes(labels, folder)
    return folder, class_entries(labels, names_file)


def _compared(
    asked: _Asked,
    folder: ImageFolder,
    entries: Sequence[ClassEntry],
    backbone: Backbone,
    on_progress: OnProgress | None,
) -> CompareReport:
    """Everything measured; no figure yet."""
    from promptctl.benchmark.pool import Reach, divide_photos, encode_pool
    from promptctl.benchmark.results import Results

    asked = _fitted(asked, [entry.name for entry in entries], backbone)
    check_name_tokens(entries, backbone.tower)
    folder = labelled_as_learned(folder, entries, backbone.tower)
    divided = divide_photos(folder, to_learn_from(folder), on_progress)
    name_of = {entry.label: entry.name for entry in entries}
    _check_enough(asked, divided.train, divided.test, tuple(name_of))
    reach = Reach(asked.seeds, max(asked.shots) + _validation_shots(asked.learners))
    with_before = any(map(variants.learns_projection, asked.learners))
    pool, damaged = encode_pool(
        divided, folder, name_of, reach, backbone, asked.template, on_progress, with_before=with_before
    )
    enough, left_out = _check_enough(asked, pool.train, pool.test, pool.labels)
    tasks = _tasks(asked.learners, enough, asked.seeds, asked.settings, asked.base_to_new)
    with Results() as results:
        measured = _measured(tasks, pool, asked.settings, results, on_progress)
    return _report(asked, replace(divided, skipped=(*divided.skipped, *damaged)), pool, left_out, measured)


def _report(
    asked: _Asked, divided: DividedPhotos, pool: Pool, left_out: str | None, measured: _Measured
) -> CompareReport:
    runs, halves, known = measured
    zero_shot_base, zero_shot_new = _zero_shot_halves(pool) if asked.base_to_new else (None, None)
    return CompareReport(
        photos=asked.photos,
        backbone=pool.backbone.name,
        template=asked.template,
        classes=len(pool.labels),
        train_images=len(pool.train),
        test_images=len(pool.test),
        measured_on=divided.measured_on,
        seeds=asked.seeds,
        left_out=left_out,
        learners=_compared_rows(runs),
        base_to_new=_halved_rows(halves),
        without_new_classes=_without_new_classes(asked.learners, asked.settings) if asked.base_to_new else (),
        plot=None,
        plot_error=None,
        skipped=skipped_files(divided.skipped),
        passed_over=passed_over(divided.skipped),
        zero_shot_accuracy=pool.accuracy(pool.zero_shot_features(asked.template)),
        zero_shot_base=zero_shot_base,
        zero_shot_new=zero_shot_new,
        ensemble_has_own=templates.is_own(asked.template),
        known=known,
    )


def _fitted(asked: _Asked, names: Sequence[str], backbone: Backbone) -> _Asked:
    """The same with as many context vectors as fit, for any half of the classes too, where that is fewer than usual.

    raises   NameTooLong, ContextTooLong, TemplateTooLong and for a bad --init, before anything dear
    """
    tower = backbone.tower
    longest = max(names, key=lambda name: len(tower.name_tokens(name)[0]))
    found = {variants.settings_of(name, asked.settings) for name in asked.learners if variants.learner_of(name)}
    for own in found:
        tower.prompts([longest], own.tokens(tower, [longest]), position=own.position)
    templates.mean_features(tower, [longest], _sentences(asked.learners, asked.template))
    if not any(own.takes_what_fits for own in found):
        return asked
    count = check_room([longest], PLAIN, tower)
    return replace(asked, settings=replace(asked.settings, context_tokens=count)) if count < DEFAULT_TOKENS else asked


def _sentences(learners: Sequence[str], template: str) -> tuple[str, ...]:
    """Everything that will be said of a class."""
    of_7 = templates.ensemble_of_7(template) if "ensemble-7" in learners else ()
    of_80 = templates.sentences("imagenet-80") if "ensemble-80" in learners else ()
    return (*templates.sentences(template), *of_7, *of_80)


def _validation_shots(learners: Sequence[str]) -> int:
    """How many images per class are sampled beyond the shots."""
    if not set(variants.PROBES).intersection(learners):
        return 0
    from promptctl.learners.linear_probe import MOST_VALIDATION

    return MOST_VALIDATION


def _tasks(
    learners: Sequence[str], shots: Sequence[int], seeds: Sequence[int], settings: LearnSettings, base_to_new: bool
) -> list[Task]:
    from promptctl.benchmark.protocol import Task

    jobs = [(name, k, seed) for name in learners for k in shots for seed in seeds]
    without = _without_new_classes(learners, settings)
    halved = [Task("halves", *job) for job in jobs if base_to_new and job[0] not in without]
    return [*(Task("run", *job) for job in jobs), *halved]


def _without_new_classes(learners: Sequence[str], settings: LearnSettings) -> tuple[str, ...]:
    return tuple(name for name in learners if not variants.generalises_to_new_classes(name, settings))


def _measured(
    tasks: Sequence[Task], pool: Pool, settings: LearnSettings, results: Results, on_progress: OnProgress | None
) -> _Measured:
    """Everything measured, each result kept as soon as there is one; and how many were known from before.

    Quick learners and slow ones take turns, so that the time left is true from the beginning.
    """
    from promptctl.benchmark.order import mixed
    from promptctl.benchmark.protocol import BaseToNew, Run
    from promptctl.benchmark.unprojected import seen_before

    found = {task: task.recall(pool, settings, results) for task in tasks}
    todo = [task for task, known in found.items() if known is None]
    if any(task.learner == "linear-probe-raw" for task in todo):
        pool = _with_lengths(pool, results, on_progress)
    if any(variants.learns_projection(task.learner) for task in todo):
        pool = seen_before(pool, on_progress)
    known = len(tasks) - len(todo)
    todo = mixed(todo, lambda task: task.effort(settings))
    if on_progress:
        on_progress("comparing", known, len(tasks))
    for done, task in enumerate(todo, known + 1):
        found[task] = fresh = task.measure(pool, settings, _crops_only(on_progress))
        task.keep(fresh, pool, settings, results)
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
    return replace(pool, length_of=lengths(pool.encoded, pool.backbone, results, measuring))


def _zero_shot_halves(pool: Pool) -> tuple[float, float]:
    from promptctl.benchmark.pool import halves

    base, new = (pool.only(half) for half in halves(pool.labels))
    return base.accuracy(base.zero_shot_features(pool.template)), new.accuracy(new.zero_shot_features(pool.template))


def _with_figure(report: CompareReport, plot: Path, force: bool) -> CompareReport:
    error = _write_figure(plot, report, force)
    return replace(report, plot_error=error) if error else replace(report, plot=plot)


def _write_figure(plot: Path, report: CompareReport, force: bool) -> str | None:
    """None, or why there is no figure: an hour of learning is not lost over it."""
    from promptctl.benchmark.plot import curve

    rows = [replace(row, learner=report.called(row.learner)) for row in report.learners]
    try:
        files.write_atomic(plot, curve(rows, report.photos.resolve().name, plot.suffix.lower()), replace=force)
    except OSError as error:
        return str(ExportFailed(plot, reason_of(error)))
    except NotDurable as error:
        return str(error)
    return None


def _known_learners(asked: Sequence[str]) -> tuple[str, ...]:
    """Each once; UnknownLearner for an unknown one, or for none at all, TokensClash for one of visual tokens."""
    names, known = _several("learners", asked), variants.names()
    unknown = next((name for name in names or ("",) if name not in known), None)
    if str(unknown) in LEARNERS:
        raise variants.not_compared(str(unknown), f"--learner {unknown}")
    if unknown is not None:
        raise UnknownLearner(str(unknown), known)
    return tuple(dict.fromkeys(map(str, names)))


def numbers(setting: str, asked: Sequence[int], least: int, most: int) -> tuple[int, ...]:
    """Each once; BadSetting for what is no number in the range, or for none at all."""
    found = _several(setting, asked)
    if not found:
        raise BadSetting(setting, asked, "one number or more", "1,2,4")
    return tuple(dict.fromkeys(checks.whole(setting, number, least, most, "1,2,4") for number in found))


def _several(setting: str, asked: object) -> tuple[object, ...]:
    if isinstance(asked, str) or not isinstance(asked, Iterable):
        raise BadSetting(setting, asked, "a sequence")
    return tuple(asked)


def _check_enough(
    asked: _Asked, train: Sequence[HashedImage], test: Sequence[HashedImage], labels: Sequence[str]
) -> tuple[tuple[int, ...], str | None]:
    """The shots that there are images for, and a word on the others: before anything is decoded, and after it.

    raises   TooFewShots, NoImages
    """
    if asked.base_to_new:
        _check_halves(test, labels, asked.photos)
    return feasible(asked.shots, train, labels)


def _check_halves(test: Sequence[HashedImage], labels: Sequence[str], photos: Path) -> None:
    from promptctl.benchmark.pool import halves

    for half, of_half in zip(("base", "new"), halves(labels), strict=True):
        if not any(image.label in of_half for image in test):
            raise NoImages(
                f"{photos} has no image to measure the {half} classes on ({', '.join(of_half)})",
                "leave out --base-to-new, or add such images",
            )


def feasible(
    shots: Sequence[int], train: Sequence[HashedImage], labels: Sequence[str]
) -> tuple[tuple[int, ...], str | None]:
    """The shots every class has images for, and a word on the others; TooFewShots when there are none."""
    from promptctl.benchmark.pool import fewest

    most, label = fewest(train, labels)
    enough = tuple(sorted({k for k in shots if k <= most}))
    if not enough:
        raise TooFewShots(label, most, min(shots))
    beyond = [str(k) for k in shots if k > most]
    images = f"{most} image{'' if most == 1 else 's'}"
    left_out = f"left out {', '.join(beyond)} shots: class '{label}' has {images} to sample from" if beyond else None
    return enough, left_out


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
