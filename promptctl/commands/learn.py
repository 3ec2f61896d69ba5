"""Learn: labelled photos → a stored context."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import __version__, checks
from promptctl.clip import templates
from promptctl.commands.backbones import backbone_to_learn_on, check_known, check_same_model, fetched_backbone
from promptctl.commands.classes import newest
from promptctl.commands.photos import (
    called_otherwise,
    check_prompts,
    class_entries,
    columns_asked,
    labelled_as_learned,
    passed_over,
    skipped_files,
    to_learn_from,
)
from promptctl.commands.places import check_learn_places
from promptctl.commands.storing import once_more, place, store_version
from promptctl.context.card import Card, ClassEntry, Shots
from promptctl.context.update import UpdateSettings, thinned
from promptctl.errors import ContextExists, LearningFailed, WrongOption
from promptctl.learners import LEARNERS
from promptctl.learners.settings import PLAIN, LearnSettings, settings_of
from promptctl.progress import OnProgress
from promptctl.report import ClassPhotos, LearnPlan, LearnReport, PlannedClass, UpdateFacts
from promptctl.store.refs import Ref, check_name
from promptctl.store.store import Entry, Store

if TYPE_CHECKING:
    from promptctl.clip.backbone import Backbone
    from promptctl.clip.quick import QuickBackbone
    from promptctl.commands.projected import SplitBefore
    from promptctl.commands.versions import Measured
    from promptctl.context.context import Context
    from promptctl.data.folder import ImageFolder
    from promptctl.data.images import LabelledImage
    from promptctl.data.readers.headings import ColumnNames
    from promptctl.encoding.encoder import ImageEncoder
    from promptctl.encoding.files import Skipped
    from promptctl.learners.fitting import Learned
    from promptctl.learners.shots import FewShotSplit

_LONG = 20.0  # seconds of learning, beside which those it takes to keep a backbone for answers are few


def learn(
    photos: str | PathLike[str],
    name: str,
    *,
    shots: int | str | None = None,
    settings: LearnSettings | None = None,
    template: str | None = None,
    model: str | None = None,
    default_model: str = "mini",
    device: str = "auto",
    classes: str | PathLike[str] | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    fresh: bool = False,
    dry_run: bool = False,
    store: Store | None = None,
    on_plan: Callable[[LearnPlan], None] | None = None,
    on_progress: OnProgress | None = None,
    on_line: Callable[[str], None] | None = None,
    **changes: object,
) -> LearnReport | LearnPlan:
    """Learn a context from labelled images and store it under a name; a name that exists learns more.

        promptctl.learn("photos", name="birds", shots=4)
        promptctl.learn("more-photos", name="birds")
        promptctl.learn("photos", name="birds2", shots=4, learner="clap", seed=2)

    A name that exists keeps all it has learned: its stored shots are rehearsed with the new ones, and the version that
    comes of it replaces the last only if it recognises the images held out as well. What is left out is then as it was
    for the version before.

    photos        folder of class folders, with or without train/ val/ test/; or a list of images
    name          what to call the context, or what it is called
    shots         images per class, from 1, of a name that exists at most so many of this folder; None, "all": all, less
                  a fifth of each class held out by content hash
    settings      how to learn
    template      the zero-shot prompt, which an anchor keeps close to: a sentence with {}, or a name in clip.templates
    model         backbone: mini or an open_clip name; None: default_model, or that of the name that exists
    default_model   backbone of a new name
    device        auto, cpu, cuda or mps
    classes       CSV of folder,name: what the prompt calls each folder
    path_column   of a list whose columns have no usual names: what the column with the paths or ids of photos is called
    label_column  the same of the column with their classes
    split_column  the same of the column with the part of the data set that each is in
    fresh         the next version of a name that exists, from these photos alone
    dry_run       say what would be learned, and learn nothing
    store         where to keep it; None: the store of PROMPTCTL_HOME
    on_plan       called with what will be learned, before it is
    on_progress   called with what is being done, how much is done, and of how much
    on_line       called with a line for people on how long visual tokens take to learn, once that is measured
    changes       fields of LearnSettings, each instead of that of `settings`: learner="clap", epochs=50; and those of
                  UpdateSettings: only_known=True, map={"robins": "robin"}
    returns       what was learned; a plan for a dry run, and where there is nothing new
    raises        InvalidName, BadSetting, SettingsClash, ContextExists, CannotLearnOn, DatasetError, BackboneError and
                  their kinds, LearningFailed
    """
    started = time.monotonic()
    store = store or Store()
    photos = checks.path("photos", photos)
    rules, typed = _divided(changes)
    own = settings_of(settings or PLAIN, typed)
    name = checks.string("name", name, "birds")
    asked = _Asked(
        photos=photos,
        name=name,
        shots=shots if shots is None or shots == "all" else checks.shots_per_class(shots),
        settings=own,
        typed={**_changed(settings), **typed},
        template=template,
        model=None if model is None else checks.text("model", model, "mini"),
        default_model=checks.text("default_model", default_model, "mini"),
        device=checks.one_of("device", device, checks.DEVICES),
        classes=None if classes is None else checks.path("classes", classes),
        columns=columns_asked(path_column, label_column, split_column),
        rules=UpdateSettings(**rules),  # type: ignore[arg-type]
        dry_run=checks.flag("dry_run", dry_run),
        store=store,
        on_plan=on_plan or (lambda plan: None),
        on_progress=on_progress,
        on_line=on_line,
        started=started,
    )
    check_learn_places(photos, name, store)
    check_name(name)
    if template is not None:
        templates.check(template)
    _check_into(asked, fresh)
    from promptctl.encoding.files import fetched_once

    with fetched_once():  # to hash, to encode, and to look at what may be copies
        return _more(asked) if store.has(name) and not fresh else _first(asked, fresh)


@dataclass(frozen=True)
class _Asked:
    """What somebody asked for, checked; None where nobody said."""

    photos: Path
    name: str
    shots: int | str | None
    settings: LearnSettings
    typed: Mapping[str, object]  # of the settings, those that somebody gave
    template: str | None
    model: str | None
    default_model: str
    device: str
    classes: Path | None
    columns: ColumnNames
    rules: UpdateSettings
    dry_run: bool
    store: Store
    on_plan: Callable[[LearnPlan], None]
    on_progress: OnProgress | None
    on_line: Callable[[str], None] | None
    started: float

    @property
    def shots_per_class(self) -> int | None:
        """None: all of them."""
        return self.shots if isinstance(self.shots, int) else None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


def _check_into(asked: _Asked, fresh: bool) -> None:
    """Whether what a name learns can be stored under another, before it is learned."""
    into = asked.rules.into
    if into is None:
        return
    check_name(into)
    if fresh:
        raise WrongOption(f"--fresh takes nothing from '{asked.name}' over to '{into}'", "leave out --fresh or --as")
    asked.store.find(Ref(asked.name))
    if asked.store.has(into):
        raise ContextExists(into, "choose another name for --as")


def _divided(changes: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """The fields of UpdateSettings and the others."""
    known = UpdateSettings.__dataclass_fields__
    rules = {key: value for key, value in changes.items() if key in known}
    return rules, {key: value for key, value in changes.items() if key not in known}


def _changed(settings: LearnSettings | None) -> dict[str, object]:
    """What differs from the defaults, which is what somebody must have asked for."""
    return {
        name: getattr(settings, name)
        for name in LearnSettings.__dataclass_fields__
        if settings is not None and getattr(settings, name) != getattr(PLAIN, name)
    }


# --------------------------------------------------------------------------- a new name, or a fresh start


def _first(asked: _Asked, fresh: bool) -> LearnReport | LearnPlan:
    from promptctl.data.folder import ImageFolder, check_classes

    folder = called_otherwise(ImageFolder.scan(asked.photos, asked.columns), asked.rules.map)
    candidates = to_learn_from(folder)
    labels = tuple(sorted({image.label for image in candidates}))
    check_classes(labels, folder)
    entries = class_entries(labels, asked.classes)
    plan = _plan_of_first(asked, candidates, labels, folder)
    if asked.dry_run:
        check_known(asked.model or asked.default_model)
        return plan
    asked.store.check_writable()
    with_tokens = asked.settings.tokens_shape is not None
    backbone = fetched_backbone(
        asked.model or asked.default_model,
        asked.device,
        whole=with_tokens or LEARNERS[asked.settings.learner].of_projection,
        takes_tokens=with_tokens,
    )
    if with_tokens:
        from promptctl.commands.visual import check_tower

        check_tower(backbone, asked.settings)
    check_prompts(entries, asked.settings, backbone.tower)  # before anything dear
    folder = labelled_as_learned(folder, entries, backbone.tower)
    asked.on_plan(plan)
    split, context, learned = _learned(asked, entries, folder, candidates, backbone)
    entry = store_version(context, asked.name, asked.store, new=not fresh)
    _forget_run(learned)
    if asked.seconds > _LONG:
        _keep_for_answers(backbone)
    return _learn_report(entry, context, _Photos.of_split(split, context.card), folder, asked.seconds)


def _forget_run(learned: Learned) -> None:
    """What a run kept of its steps, now that nobody wants to go on from there."""
    from promptctl.learners import unfinished

    unfinished.remove(learned.unfinished)


def _plan_of_first(
    asked: _Asked, candidates: Sequence[LabelledImage], labels: tuple[str, ...], folder: ImageFolder
) -> LearnPlan:
    count = Counter(image.label for image in candidates)
    limit = asked.shots_per_class
    per_class = tuple(PlannedClass(label, 0, min(count[label], limit or count[label])) for label in labels)
    new = sum(one.new for one in per_class)
    steps, batch = asked.settings.visual_steps(new)
    return LearnPlan(
        context=asked.name,
        dry_run=asked.dry_run,
        nothing_new=False,
        classes=labels,
        added=labels,
        stored=0,
        new=new,
        moved=(),
        per_class=per_class,
        skipped=skipped_files(folder.skipped),
        passed_over=passed_over(folder.skipped),
        steps=steps,
        photos_a_step=batch,
    )


# --------------------------------------------------------------------------- a name that learns more


def _more(asked: _Asked) -> LearnReport | LearnPlan:
    """The next version; where another was stored meanwhile, it is taught once more on top of that."""
    return once_more(lambda: _update(asked))


def _update(asked: _Asked) -> LearnReport | LearnPlan:
    from promptctl.commands import update
    from promptctl.commands.revise import settings_like, typed_beside_tokens

    source, parent = newest(asked.name, asked.store)
    ref = str(source.ref)
    update.check_can_learn(parent, ref)
    if asked.model is not None:
        check_same_model(asked.model, parent, ref)
    typed = typed_beside_tokens(parent, ref, asked.typed)
    wishes = update.Wishes(
        photos=asked.photos,
        shots=parent.card.shots.asked if asked.shots is None else asked.shots_per_class,
        settings=settings_like(parent, typed),
        template=asked.template or parent.card.zero_shot_template,
        classes=asked.classes,
        columns=asked.columns,
        update=asked.rules,
    )
    found = update.incoming(parent, ref, wishes, asked.on_progress)
    plan = update.plan_of(found, wishes, dry_run=asked.dry_run)
    if asked.dry_run:
        return plan
    if found.brings_nothing:
        into = asked.rules.into
        return replace(plan, copied_as=str(asked.store.copy(source.ref, into).ref)) if into else plan
    asked.on_plan(plan)
    asked.store.check_writable()
    backbone = backbone_to_learn_on(parent, ref, asked.model, asked.device)
    done = update.taught(found, wishes, backbone, asked.on_progress)
    forced = asked.rules.force
    placed = place(done.judged, source, asked.store, force=forced, into=asked.rules.into)
    photos = _Photos.of_context(placed.context, done.measured, done.skipped)
    return _learn_report(
        placed.entry,
        placed.context,
        photos,
        found.folder,
        asked.seconds,
        done.facts,
        forced=forced,
        into=asked.rules.into,
    )


def _keep_for_answers(backbone: Backbone | QuickBackbone) -> None:
    from promptctl.clip.quick import QuickBackbone

    if not isinstance(backbone, QuickBackbone):  # which comes of what is kept
        from promptctl.clip.keeping import keep

        keep(backbone)


def _learned(
    asked: _Asked,
    entries: tuple[ClassEntry, ...],
    folder: ImageFolder,
    candidates: Sequence[LabelledImage],
    backbone: Backbone | QuickBackbone,
) -> tuple[FewShotSplit, Context, Learned]:
    """What was learned, and from which of the candidates."""
    from promptctl.commands.versions import Measured, version
    from promptctl.learners.fitting import TrainingSet, fit
    from promptctl.learners.shots import sample_shots

    template, settings = asked.template or templates.DEFAULT, asked.settings
    names = tuple(entry.name for entry in entries)
    zero_shot = templates.text_features(backbone.tower, names, template)
    split = sample_shots(
        folder,
        candidates,
        shots=asked.shots_per_class,
        seed=settings.seed,
        encoder=_encoder(asked, backbone),
        on_progress=asked.on_progress,
    )
    before = _seen_before(asked, split, backbone)
    training_set = TrainingSet(
        names,
        split.train,
        split.targets(split.train),
        zero_shot,
        backbone,
        before=None if before is None else before.shots,
        on_line=asked.on_line,
    )
    learned = fit(training_set, settings, asked.on_progress)
    shots, seen = split.table(), split.held_out.vectors
    if learned.visual_tokens is not None:
        from promptctl.commands.visual import seen_with_tokens

        learned, shots, seen = seen_with_tokens(learned, split, backbone, asked.on_progress)
    elif before is not None:
        shots, seen = before.projected(learned)
    table = thinned(shots, asked.rules.shots_kept)
    card = Card(
        backbone=backbone.id,
        classes=entries,
        method=learned.method,
        shots=Shots(asked.shots_per_class, int((table.held_out == 0).sum()), int(table.held_out.sum())),
        zero_shot_template=template,
        logit_scale=backbone.logit_scale,
        written_by=f"promptctl {__version__}",
        curve=learned.curve,
    )
    plain = None if seen is split.held_out.vectors else split.held_out.vectors
    measured = Measured(seen, split.targets(split.held_out), split.measured_on, plain)
    try:
        return split, version(card, learned, zero_shot, table, settings, measured), learned
    except LearningFailed:
        _forget_run(learned)
        raise


def _encoder(asked: _Asked, backbone: Backbone | QuickBackbone) -> ImageEncoder:
    """The backbone's, which for a learner of a projection keeps what comes before it by the same run of the tower."""
    if not LEARNERS[asked.settings.learner].of_projection:
        return backbone.encoder
    from promptctl.clip.backbone import Backbone
    from promptctl.clip.projection import encoder_with_before

    assert isinstance(backbone, Backbone)
    return encoder_with_before(backbone.encoder)


def _seen_before(asked: _Asked, split: FewShotSplit, backbone: Backbone | QuickBackbone) -> SplitBefore | None:
    """The photos before the projection of the image tower, for a learner of one; None where there is none."""
    if not LEARNERS[asked.settings.learner].of_projection:
        return None
    from promptctl.clip.backbone import Backbone
    from promptctl.commands.projected import seen_before

    assert isinstance(backbone, Backbone)
    return seen_before(split, backbone, asked.on_progress)


@dataclass(frozen=True)
class _Photos:
    """What became of the photos."""

    per_class: tuple[ClassPhotos, ...]
    skipped: tuple[Skipped, ...]

    @staticmethod
    def of_split(split: FewShotSplit, card: Card) -> _Photos:
        train, held_out = (
            Counter(split.class_of[path] for path in part.paths) for part in (split.train, split.held_out)
        )
        rows = (
            ClassPhotos(entry.label, entry.name, split.found[entry.label], train[i], held_out[i])
            for i, entry in enumerate(card.classes)
        )
        return _Photos(tuple(rows), split.skipped)

    @staticmethod
    def of_context(context: Context, measured: Measured | None, skipped: tuple[Skipped, ...]) -> _Photos:
        """Of those it carries; `measured` are others, that the score is of."""
        ids, sides = context.shots.class_ids.tolist(), context.shots.held_out.tolist()
        carried = Counter(zip(ids, sides, strict=True))
        others = Counter(measured.rows.tolist() if measured else ())

        def photos_of(row: int, entry: ClassEntry) -> ClassPhotos:
            train, apart = carried[entry.id, 0], carried[entry.id, 1]
            on = others[row] if measured else apart
            return ClassPhotos(entry.label, entry.name, train + apart + others[row], train, on)

        return _Photos(tuple(photos_of(row, entry) for row, entry in enumerate(context.card.classes)), skipped)


def _learn_report(
    entry: Entry,
    context: Context,
    photos: _Photos,
    folder: ImageFolder,
    seconds: float,
    facts: UpdateFacts | None = None,
    *,
    forced: bool = False,
    into: str | None = None,
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
        steps=0 if facts and card.method.by_template else card.method.steps,  # the image tower stays as it is
        head=tuple(part.kind for part in card.head),
        chosen=card.chosen,
        seconds=round(seconds, 2),
        n_bytes=entry.n_bytes,
        skipped=skipped_files(photos.skipped),
        per_class=photos.per_class,
        passed_over=passed_over(photos.skipped),
        update=facts,
        forced=forced and facts is not None and facts.refused,
        asked_as=into,
        next=_next(name, folder, facts, forced, into),
        projection=card.method.projection,
        kept_in_tower=context.learned_in_tower if facts else "",
    )


def _next(name: str, folder: ImageFolder, facts: UpdateFacts | None, forced: bool, into: str | None) -> tuple[str, ...]:
    if facts is not None and facts.refused and not forced:
        take = f"copy {name}@candidate {into}" if into else f"promote {name}@candidate"
        return f"promptctl diff {facts.parent} {name}@candidate", f"promptctl {take}"
    return (
        f"promptctl evaluate {name} {_nearby(folder, 'test')}",
        f"promptctl classify {_nearby(folder, 'unsorted')} --prompt {name}",
    )


def _nearby(folder: ImageFolder, what: str) -> str:
    """The path a person would type: the folder's own test part, a neighbour of that name, or what to put there."""
    if what in folder.splits:
        return shlex.quote(str(folder.root))
    beside = folder.root.parent / what
    if not beside.is_dir():
        return f"{what.upper()}-FOLDER"
    return shlex.quote(str(beside) if beside.is_absolute() or str(beside).startswith("..") else f"./{beside}")
