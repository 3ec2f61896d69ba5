"""Learn: labelled photos → a stored context."""

from __future__ import annotations

import contextlib
import secrets
import shlex
import tempfile
import time
from collections import Counter
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import __version__, checks
from promptctl.clip import templates
from promptctl.commands.backbones import library_needed
from promptctl.commands.photos import (
    check_name_tokens,
    class_entries,
    labelled_as_learned,
    passed_over,
    skipped_files,
    to_learn_from,
)
from promptctl.commands.places import check_learn_places
from promptctl.context.card import Card, ClassEntry, Score, Shots
from promptctl.errors import ContextExists, LearnedButNotStored, NotDurable, StorageFailed, StoreLocked
from promptctl.learners.settings import PLAIN, LearnSettings, settings_of
from promptctl.progress import OnProgress
from promptctl.report import ClassPhotos, LearnReport
from promptctl.store import files
from promptctl.store.refs import Ref, check_name
from promptctl.store.store import SUFFIX, Entry, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.clip.backbone import Backbone
    from promptctl.clip.quick import QuickBackbone
    from promptctl.context.context import Context
    from promptctl.data.folder import ImageFolder
    from promptctl.learners.fitting import Learned, TrainingSet
    from promptctl.learners.shots import FewShotSplit

_LONG = 20.0  # seconds of learning, beside which those it takes to keep a backbone for answers are few


def learn(
    photos: str | PathLike[str],
    name: str,
    *,
    shots: int | None = None,
    settings: LearnSettings = PLAIN,
    template: str = templates.DEFAULT,
    model: str = "mini",
    device: str = "auto",
    classes: str | PathLike[str] | None = None,
    fresh: bool = False,
    store: Store | None = None,
    on_progress: OnProgress | None = None,
    **changes: object,
) -> LearnReport:
    """Learn a context from labelled images and store it under a name.

        promptctl.learn("photos", name="birds", shots=4)
        promptctl.learn("photos", name="birds", shots=4, learner="clap", seed=2)

    photos        folder of class folders, with or without train/ val/ test/; or a list of images
    name          what to call the context
    shots         images per class, from 1; None: all, less a fifth held out by content hash
    settings      how to learn
    template      the zero-shot prompt, which an anchor keeps close to: a sentence with {}, or a name in clip.templates
    model         backbone: mini or an open_clip name
    device        auto, cpu, cuda or mps
    classes       CSV of folder,name: what the prompt calls each folder
    fresh         the next version of a name that exists, from scratch
    store         where to keep it; None: the store of PROMPTCTL_HOME
    on_progress   called with what is being done, how much is done, and of how much
    changes       fields of LearnSettings, each instead of that of `settings`: learner="clap", epochs=50
    raises        InvalidName, BadSetting, SettingsClash, ContextExists, DatasetError, BackboneError and their kinds,
                  LearningFailed
    """
    started = time.monotonic()
    store = store or Store()
    photos, settings = checks.path("photos", photos), settings_of(settings, changes)
    shots, model = checks.shots_per_class(shots), checks.text("model", model, "mini")
    device = checks.one_of("device", device, checks.DEVICES)
    name = checks.string("name", name, "birds")
    check_learn_places(photos, name, store)
    check_name(name)
    templates.check(template)
    from promptctl.clip.registry import ensure_available
    from promptctl.data.folder import ImageFolder, check_classes

    if not fresh and store.has(name):
        raise ContextExists(store.find(Ref(name)).ref.name)
    folder = ImageFolder.scan(photos)
    candidates = to_learn_from(folder)
    labels = tuple(sorted({image.label for image in candidates}))
    check_classes(labels, folder)
    entries = class_entries(labels, checks.path("classes", classes) if classes is not None else None)
    store.check_writable()
    with library_needed(model):
        ensure_available(model)
        from promptctl.clip.quick import backbone_of
        from promptctl.learners.fitting import TrainingSet, fit
        from promptctl.learners.shots import sample_shots

        backbone = backbone_of(model, device)
    names = tuple(entry.name for entry in entries)
    # NameTooLong and the like before anything dear
    backbone.tower.prompts(names, settings.tokens(backbone.tower), position=settings.position)
    check_name_tokens(entries, backbone.tower)
    folder = labelled_as_learned(folder, entries, backbone.tower)
    zero_shot = templates.text_features(backbone.tower, names, template)
    split = sample_shots(
        folder, candidates, shots=shots, seed=settings.seed, encoder=backbone.encoder, on_progress=on_progress
    )
    training_set = TrainingSet(names, split.train, split.targets(split.train), zero_shot, backbone)
    learned = fit(training_set, settings, on_progress)
    context = _context(learned, entries, shots, split, training_set, template)
    entry = _stored(context, name, store, fresh)
    if time.monotonic() - started > _LONG:
        _keep_for_answers(backbone)
    return _learn_report(entry, context, split, folder, time.monotonic() - started)


def _keep_for_answers(backbone: Backbone | QuickBackbone) -> None:
    from promptctl.clip.quick import QuickBackbone

    if not isinstance(backbone, QuickBackbone):  # which comes of what is kept
        from promptctl.clip.keeping import keep

        keep(backbone)


def _stored(context: Context, name: str, store: Store, fresh: bool) -> Entry:
    """The new version; where the store does not take it, a file beside, so that no learning is lost."""
    data = context.to_bytes()
    try:
        return store.save(name, data, new=not fresh)
    except NotDurable:  # it is stored
        raise
    except (StorageFailed, StoreLocked, ContextExists) as error:
        for folder in (Path.cwd(), Path(tempfile.gettempdir())):
            file = folder / f"{name}-{secrets.token_hex(4)}{SUFFIX}"
            with contextlib.suppress(OSError):
                files.write_atomic(file, data, replace=True)
                raise LearnedButNotStored(error, file, name) from error
        raise


def _context(
    learned: Learned,
    entries: tuple[ClassEntry, ...],
    shots: int | None,
    split: FewShotSplit,
    training_set: TrainingSet,
    template: str,
) -> Context:
    from promptctl.context.context import Context

    backbone, zero_shot = training_set.backbone, training_set.zero_shot_features
    card = Card(
        backbone=backbone.id,
        classes=entries,
        method=learned.method,
        shots=Shots(shots, len(split.train), len(split.held_out) if split.remembers_held_out else 0),
        zero_shot_template=template,
        logit_scale=backbone.logit_scale,
        written_by=f"promptctl {__version__}",
        score=_score(split, learned.text_features, zero_shot),
    )
    return Context(card, learned.vectors, learned.text_features, zero_shot, split.table())


def _score(split: FewShotSplit, learned: NDArray[np.float32], zero_shot: NDArray[np.float32]) -> Score | None:
    from promptctl.classification.classifier import Classifier

    if not len(split.held_out):
        return None
    targets = split.targets(split.held_out)
    right = [Classifier(texts).accuracy(split.held_out.vectors, targets) for texts in (learned, zero_shot)]
    return Score(split.measured_on, len(targets), *right)


def _learn_report(
    entry: Entry, context: Context, split: FewShotSplit, folder: ImageFolder, seconds: float
) -> LearnReport:
    card, score = context.card, context.card.score
    name = entry.ref.name
    return LearnReport(
        context=str(entry.ref),
        path=entry.path,
        classes=len(card.classes),
        shots=card.shots.asked,
        train_images=card.shots.train,
        measured_on=score.on if score else None,
        measured_images=score.images if score else 0,
        accuracy=score.accuracy if score else None,
        zero_shot_accuracy=score.zero_shot_accuracy if score else None,
        steps=card.method.steps,
        seconds=round(seconds, 2),
        n_bytes=entry.n_bytes,
        skipped=skipped_files(split.skipped),
        per_class=_per_class(card, split),
        passed_over=passed_over(split.skipped),
        next=(
            f"promptctl evaluate {name} {_nearby(folder, 'test')}",
            f"promptctl classify {_nearby(folder, 'unsorted')} --prompt {name}",
        ),
    )


def _per_class(card: Card, split: FewShotSplit) -> tuple[ClassPhotos, ...]:
    train, held_out = (Counter(split.class_of[path] for path in part.paths) for part in (split.train, split.held_out))
    return tuple(
        ClassPhotos(entry.label, entry.name, split.found[entry.label], train[i], held_out[i])
        for i, entry in enumerate(card.classes)
    )


def _nearby(folder: ImageFolder, what: str) -> str:
    """The path a person would type: the folder's own test part, a neighbour of that name, or what to put there."""
    if what in folder.splits:
        return shlex.quote(str(folder.root))
    beside = folder.root.parent / what
    if not beside.is_dir():
        return f"{what.upper()}-FOLDER"
    return shlex.quote(str(beside) if beside.is_absolute() or str(beside).startswith("..") else f"./{beside}")
