"""Compare: learners beside each other on one's own photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import zero_shot
from promptctl.api.common import OnProgress, check_free, class_entries, skipped_files, to_learn_from
from promptctl.card import ClassEntry
from promptctl.errors import DatasetError, ExportFailed, NoImages, TooFewShots, UnknownLearner
from promptctl.report import BaseToNewRow, ComparedRow, CompareReport, SkippedFile

if TYPE_CHECKING:
    from promptctl.backbone import Backbone
    from promptctl.images import ImageFolder
    from promptctl.protocol import BaseToNew, Pool, Run


def compare(
    photos: Path,
    *,
    shots: Sequence[int] = (1, 2, 4, 8, 16),
    seeds: Sequence[int] = (1, 2, 3),
    learners: Sequence[str] = ("zero-shot", "linear-probe", "coop", "coop-csc", "clap"),
    base_to_new: bool = False,
    template: str = zero_shot.DEFAULT,
    model: str = "mini",
    device: str = "auto",
    classes: Path | None = None,
    plot: Path | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> CompareReport:
    """Run the paper's few-shot protocol on one's own photos; nothing is stored.

    Shots are drawn from train/ and measured on test/ (or val/); without such parts a fifth of each class, chosen
    by content hash, is measured on and the rest drawn from.

    learners   of protocol.COMPARED
    raises     DatasetError and its kind, BackboneError and its kind, ExportFailed
    """
    zero_shot.check(template)
    _check_plot(plot, force)
    from promptctl.images import ImageFolder, check_classes
    from promptctl.models import refuse_if_hopeless

    folder = ImageFolder.scan(photos)
    labels = tuple(sorted({image.label for image in to_learn_from(folder)}))
    check_classes(labels, photos)
    entries = class_entries(labels, classes)
    refuse_if_hopeless(model)
    from promptctl import protocol
    from promptctl.backbone import Backbone

    _check_learners(learners, protocol.COMPARED)
    if base_to_new and len(labels) < 4:
        raise DatasetError(f"--base-to-new halves the classes, and {photos} has {len(labels)}", "four classes or more")
    pool, measured_on, skipped = _pool(folder, entries, Backbone(model, device), template, on_progress)
    feasible, left_out = _feasible(shots, pool)
    jobs = [(name, k, seed) for name in learners for k in feasible for seed in seeds]
    halved = [job for job in jobs if base_to_new and protocol.speaks_of_new_classes(job[0])]
    runs, halves = [], []
    for done, job in enumerate(jobs, 1):
        runs.append(protocol.run(pool, *job))
        if on_progress:
            on_progress("comparing", done, len(jobs) + len(halved))
    for done, job in enumerate(halved, len(jobs) + 1):
        halves.append(protocol.base_to_new(pool, *job))
        if on_progress:
            on_progress("comparing", done, len(jobs) + len(halved))
    rows = _compared_rows(runs)
    if plot:
        from promptctl import files
        from promptctl.plot import curve

        try:
            files.place(plot, curve(rows, photos.resolve().name, plot.suffix.lower()), replace=force)
        except OSError as error:
            raise ExportFailed(plot, (error.strerror or str(error)).lower()) from error
    return CompareReport(
        photos=photos,
        backbone=pool.backbone.name,
        template=template,
        classes=len(labels),
        train_images=len(pool.train),
        test_images=len(pool.test),
        measured_on=measured_on,
        seeds=tuple(seeds),
        left_out=left_out,
        learners=rows,
        base_to_new=_halved_rows(halves),
        plot=plot,
        skipped=skipped,
    )


def _check_plot(plot: Path | None, force: bool) -> None:
    if plot is None:
        return
    from promptctl.plot import KINDS

    if plot.suffix.lower() not in KINDS:
        raise ExportFailed(plot, f"a figure ends in {', '.join(KINDS)}", f"--plot {plot.with_suffix('.png')}")
    check_free(plot, force)


def _check_learners(asked: Sequence[str], known: Mapping[str, object]) -> None:
    strange = next((name for name in asked if name not in known), None)
    if strange is not None:
        raise UnknownLearner(strange, tuple(known))


def _pool(
    folder: ImageFolder,
    entries: Sequence[ClassEntry],
    backbone: Backbone,
    template: str,
    on_progress: OnProgress | None,
) -> tuple[Pool, str, tuple[SkippedFile, ...]]:
    """Everything encoded; what the test images are, in words; and the files that were passed over."""
    from promptctl import images
    from promptctl.cache import FeatureCache
    from promptctl.features import encode
    from promptctl.protocol import Pool

    reading, encoding = (partial(on_progress, stage) if on_progress else None for stage in ("reading", "encoding"))
    part = folder.measured_part
    wanted = [*to_learn_from(folder), *(folder.only(part) if part else ())]
    usable, unreadable = images.hash_images(wanted, reading)
    features, damaged = encode([image.path for image in usable], backbone, FeatureCache(), encoding)
    vector_of = dict(zip(features.paths, features.vectors, strict=True))
    known = {entry.label for entry in entries}
    good = [image for image in usable if image.path in vector_of and image.label in known]
    if part:
        train = tuple(image for image in good if image.split != part)
        test, measured_on = tuple(image for image in good if image.split == part), f"images of {part}/"
    else:
        divided = images.fifth_of_each(good)
        train, test, measured_on = divided.train, divided.held_out, "images held out"
    if not test:
        raise NoImages(f"{folder.root} has no image left to measure on", "more images a class, or a test/ folder")
    skipped = skipped_files((*folder.skipped, *unreadable, *damaged))
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
        seconds = float(np.mean([run.seconds for run in of_row]))
        rows.append(ComparedRow(learner, k, float(np.mean(accuracies)), float(np.std(accuracies)), accuracies, seconds))
    return tuple(rows)


def _halved_rows(halves: Sequence[BaseToNew]) -> tuple[BaseToNewRow, ...]:
    import numpy as np

    rows = []
    for learner, k in dict.fromkeys((half.learner, half.shots) for half in halves):
        of_row = [half for half in halves if (half.learner, half.shots) == (learner, k)]
        columns = ([half.base for half in of_row], [half.new for half in of_row], [half.harmonic for half in of_row])
        rows.append(BaseToNewRow(learner, k, *(float(f(column)) for column in columns for f in (np.mean, np.std))))
    return tuple(rows)
