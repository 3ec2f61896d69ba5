"""Learn: labelled photos → a stored context."""

from __future__ import annotations

import contextlib
import secrets
import shlex
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import __version__
from promptctl.clip import templates
from promptctl.commands.common import (
    OnProgress,
    check_spoken,
    class_entries,
    passed_over,
    skipped_files,
    to_learn_from,
    under_taught_names,
)
from promptctl.commands.places import check_learn_places, check_not_empty
from promptctl.context.card import Card, ClassEntry, Score, Shots
from promptctl.errors import ContextExists, LearnedButNotStored, NotDurable, StorageFailed, StoreLocked
from promptctl.learners.settings import Wish
from promptctl.report import ClassPhotos, LearnReport
from promptctl.store import files
from promptctl.store.refs import Ref, check_name
from promptctl.store.store import SUFFIX, Entry, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.clip.backbone import Backbone
    from promptctl.context.context import Context
    from promptctl.data.folder import ImageFolder
    from promptctl.learners.fitting import Taught
    from promptctl.learners.shots import FewShotSplit


def learn(
    photos: Path,
    name: str,
    *,
    shots: int | None = None,
    seed: int = 1,
    model: str = "mini",
    context_tokens: int | None = None,
    init: str | None = None,
    class_specific: bool = False,
    position: str = "end",
    learner: str = "coop",
    recipe: str = "fast",
    epochs: int | None = None,
    lr: float | None = None,
    views: int | None = None,
    anchor: float = 0.0,
    average: bool = False,
    template: str = templates.DEFAULT,
    device: str = "auto",
    classes: Path | None = None,
    fresh: bool = False,
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> LearnReport:
    """Learn a context from labelled images and store it under a name.

    shots     images a class; None: all, less a fifth held out by content hash
    learner   coop, or clap: class weights instead of a context, for a class list that stays
    recipe    of learners.coop.RECIPES; it decides epochs and views where they are None
    views     random crops to learn from, one an epoch; 0: the centre of every image
    anchor    lambda of KgCoOp's term, which holds the text features to those of the template
    average   keep the mean of the late epochs instead of the last step
    template  what zero-shot says, and the anchor: a sentence with {} or a name known to `zero_shot`
    raises    InvalidName, SettingsClash, ContextExists, DatasetError, BackboneError and their kinds, LearningFailed
    """
    started = time.monotonic()
    store = store or Store()
    check_learn_places(photos, name, store)
    check_name(name)
    templates.check(template)
    wish = Wish(
        learner, context_tokens, init, class_specific, position, recipe, epochs, lr, views, anchor, average, seed
    )
    wish.check()
    from promptctl.clip.registry import ensure_available
    from promptctl.data.folder import ImageFolder, check_classes

    if not fresh and store.has(name):
        raise ContextExists(store.find(Ref(name)).ref.name)
    check_not_empty(photos)
    folder = ImageFolder.scan(photos)
    candidates = to_learn_from(folder)
    labels = tuple(sorted({image.label for image in candidates}))
    check_classes(labels, folder)
    entries = class_entries(labels, classes)
    store.check_writable()
    ensure_available(model)

    from promptctl.clip.backbone import Backbone
    from promptctl.learners.fitting import teach
    from promptctl.learners.shots import draw

    backbone = Backbone(model, device)
    names = [entry.name for entry in entries]
    # NameTooLong and the like before anything dear
    backbone.tower.prompts(names, wish.tokens(backbone.tower), position=position)
    check_spoken(entries, backbone.tower)
    folder = under_taught_names(folder, entries, backbone.tower)
    by_hand = templates.text_features(backbone.tower, names, template)
    drawn = draw(folder, candidates, shots=shots, seed=seed, backbone=backbone, on_progress=on_progress)
    taught = teach(wish, names, drawn.train, drawn.targets(drawn.train), by_hand, backbone, on_progress)
    context = _context(taught, entries, shots, drawn, backbone, template, by_hand)
    entry = _stored(context, name, store, fresh)
    return _learn_report(entry, context, drawn, folder, time.monotonic() - started)


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
    taught: Taught,
    entries: tuple[ClassEntry, ...],
    shots: int | None,
    drawn: FewShotSplit,
    backbone: Backbone,
    template: str,
    by_hand: NDArray[np.float32],
) -> Context:
    from promptctl.context.context import Context

    card = Card(
        backbone=backbone.id,
        classes=entries,
        method=taught.method,
        shots=Shots(shots, len(drawn.train), len(drawn.held_out) if drawn.remembers_held_out else 0),
        zero_shot_template=template,
        logit_scale=backbone.logit_scale,
        written_by=f"promptctl {__version__}",
        score=_score(drawn, taught.text_features, by_hand),
    )
    return Context(card, taught.vectors, taught.text_features, by_hand, drawn.table())


def _score(drawn: FewShotSplit, learned: NDArray[np.float32], zero_shot: NDArray[np.float32]) -> Score | None:
    from promptctl.classification.classifier import Classifier

    if not len(drawn.held_out):
        return None
    targets = drawn.targets(drawn.held_out)
    right = [Classifier(texts).accuracy(drawn.held_out.vectors, targets) for texts in (learned, zero_shot)]
    return Score(drawn.measured_on, len(targets), *right)


def _learn_report(
    entry: Entry, context: Context, drawn: FewShotSplit, folder: ImageFolder, seconds: float
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
        skipped=skipped_files(drawn.skipped),
        per_class=_per_class(card, drawn),
        passed_over=passed_over(drawn.skipped),
        next=(
            f"promptctl evaluate {name} {_nearby(folder, 'test')}",
            f"promptctl classify {_nearby(folder, 'unsorted')} --prompt {name}",
        ),
    )


def _per_class(card: Card, drawn: FewShotSplit) -> tuple[ClassPhotos, ...]:
    train, held_out = (Counter(drawn.class_of[path] for path in part.paths) for part in (drawn.train, drawn.held_out))
    return tuple(
        ClassPhotos(entry.label, entry.name, drawn.found[entry.label], train[i], held_out[i])
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
