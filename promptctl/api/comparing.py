"""Compare: learners beside each other on one's own photos."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import files, zero_shot
from promptctl.api.common import (
    OnProgress,
    check_free,
    check_spoken,
    class_entries,
    passed_over,
    skipped_files,
    to_learn_from,
)
from promptctl.card import ClassEntry
from promptctl.errors import DatasetError, ExportFailed, NoImages, NotDurable, TooFewShots, UnknownLearner, reason_of
from promptctl.learners import COMPARED
from promptctl.report import BaseToNewRow, ComparedRow, CompareReport
from promptctl.wish import DEFAULT_TOKENS

if TYPE_CHECKING:
    from promptctl.backbone import Backbone
    from promptctl.images import ImageFolder, Skipped
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

    learners   of learners.COMPARED
    raises     DatasetError and its kind, BackboneError and its kind, ExportFailed
    """
    zero_shot.check(template)
    learners = _known_learners(learners)
    _check_plot(plot, force)
    from promptctl.images import ImageFolder, check_classes
    from promptctl.models import refuse_if_hopeless

    folder = ImageFolder.scan(photos)
    labels = tuple(sorted({image.label for image in to_learn_from(folder)}))
    check_classes(labels, folder)
    entries = class_entries(labels, classes)
    refuse_if_hopeless(model)
    from promptctl import protocol
    from promptctl.backbone import Backbone

    if base_to_new and len(labels) < 4:
        raise DatasetError(f"--base-to-new halves the classes, and {photos} has {len(labels)}", "four classes or more")
    backbone = Backbone(model, device)
    # NameTooLong and TemplateTooLong before anything dear
    longest = max((entry.name for entry in entries), key=lambda name: len(backbone.tower.tokens(name)))
    backbone.tower.prompts([longest], DEFAULT_TOKENS)
    zero_shot.text_features(backbone.tower, [longest], template)
    check_spoken(entries, backbone.tower)
    pool, measured_on, skipped = _pool(folder, entries, backbone, template, on_progress)
    if base_to_new:
        _check_halves(pool, photos)
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
    no_plot = _drawn(plot, rows, photos, force) if plot else None
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
        speechless=tuple(name for name in learners if base_to_new and not protocol.speaks_of_new_classes(name)),
        plot=None if no_plot else plot,
        no_plot=no_plot,
        skipped=skipped_files(skipped),
        passed_over=passed_over(skipped),
    )


def _drawn(plot: Path, rows: Sequence[ComparedRow], photos: Path, force: bool) -> str | None:
    """The figure written, or why not: an hour of learning is not lost over it."""
    from promptctl.plot import curve

    try:
        files.place(plot, curve(rows, photos.resolve().name, plot.suffix.lower()), replace=force)
    except OSError as error:
        return str(ExportFailed(plot, reason_of(error)))
    except NotDurable as error:
        return str(error)
    return None


def _check_plot(plot: Path | None, force: bool) -> None:
    if plot is None:
        return
    from promptctl.plot import KINDS

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
    from promptctl.protocol import halves

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
    from promptctl import images, remarks
    from promptctl.cache import FeatureCache
    from promptctl.features import encode
    from promptctl.protocol import Pool
    from promptctl.shots import measurable, say_near_copies

    reading, encoding = (partial(on_progress, stage) if on_progress else None for stage in ("reading", "encoding"))
    part = folder.measured_part
    to_draw, unreadable = images.hash_images(to_learn_from(folder), reading)
    apart, unreadable_apart = images.hash_images(folder.only(part), reading) if part else ((), ())
    remarks.say(remarks.one_picture_of_two_classes((i.path, i.label, i.sha256) for i in (*to_draw, *apart)))
    with FeatureCache() as cache:
        features, damaged = encode([image.path for image in (*to_draw, *apart)], backbone, cache, encoding)
    vector_of = dict(zip(features.paths, features.vectors, strict=True))
    train, test = (tuple(image for image in some if image.path in vector_of) for some in (to_draw, apart))
    measured_on = f"images of {part}/"
    if part is None:
        divided = images.fifth_of_each(train)
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
        seconds = float(np.mean([run.seconds for run in of_row]))
        rows.append(ComparedRow(learner, k, float(np.mean(accuracies)), _std(accuracies), accuracies, seconds))
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
            )
        )
    return tuple(rows)


def _std(values: Sequence[float]) -> float | None:
    """Of the population; None where there is one value, which says nothing of others."""
    import numpy as np

    return float(np.std(values)) if len(values) > 1 else None
