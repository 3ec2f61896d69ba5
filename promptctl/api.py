"""The commands as functions: each a short walk through the rooms, returning a report."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import __version__, zero_shot
from promptctl.card import BackboneId, Card, ClassEntry, Method, Score, Shots
from promptctl.errors import (
    BackboneMismatch,
    CheckpointMismatch,
    ContextExists,
    DatasetError,
    ExportFailed,
    InvalidName,
    NoImages,
    SettingsClash,
    TooFewShots,
    UnknownClasses,
    UnknownLearner,
)
from promptctl.refs import Ref, check_name
from promptctl.report import (
    BaseToNewRow,
    CachedFeatures,
    CacheReport,
    Classified,
    ClassifyReport,
    ClassScore,
    ClearedReport,
    ComparedRow,
    CompareReport,
    EvaluateReport,
    ExportReport,
    Guess,
    ImportReport,
    InspectReport,
    LearnReport,
    ListReport,
    ModelRow,
    ModelsReport,
    MovedReport,
    NearWordRow,
    PulledReport,
    Scores,
    ShowReport,
    SkippedFile,
    StoredContext,
    VectorReport,
)
from promptctl.store import Entry, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.backbone import Backbone
    from promptctl.checkpoint import Checkpoint
    from promptctl.classifier import Predictions
    from promptctl.compare import BaseToNew, Pool, Run
    from promptctl.context import Context
    from promptctl.features import Features
    from promptctl.images import ImageFolder, LabelledImage, Skipped
    from promptctl.shots import Drawn
    from promptctl.teaching import Taught
    from promptctl.text import TextTower
    from promptctl.words import NearWord

OnProgress = Callable[[str, int, int], None]  # stage, done, total


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
    template: str = zero_shot.DEFAULT,
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
    check_name(name)
    zero_shot.check(template)
    if learner == "clap":
        of_a_context = {
            "--context-tokens": context_tokens is not None,
            "--init": init is not None,
            "--class-specific": class_specific,
            "--position": position != "end",
            "--recipe": recipe != "fast",
            "--anchor": anchor != 0,
            "--average": average,
        }
        _refuse_clash("clap", "learns weights of its classes and no context", of_a_context)
    if not fresh and store.has(name):
        raise ContextExists(store.find(Ref(name)).ref.name)
    from promptctl.images import ImageFolder, check_classes
    from promptctl.models import refuse_if_hopeless

    folder = ImageFolder.scan(photos)
    candidates = _to_learn_from(folder)
    labels = tuple(sorted({image.label for image in candidates}))
    check_classes(labels, photos)
    entries = _class_entries(labels, classes)
    store.check_writable()
    refuse_if_hopeless(model)

    from promptctl.backbone import Backbone
    from promptctl.learners import clap, coop
    from promptctl.shots import draw
    from promptctl.teaching import teach_clap, teach_coop

    backbone = Backbone(model, device)
    tokens = _context_tokens(backbone, context_tokens, init) if learner == "coop" else 0
    names = [entry.name for entry in entries]
    backbone.tower.prompts(names, tokens, position=position)  # NameTooLong before anything dear
    drawn = draw(folder, candidates, shots=shots, seed=seed, backbone=backbone, on_progress=on_progress)
    by_hand = zero_shot.text_features(backbone.tower, names, template)
    if learner == "clap":
        weights = clap.Settings(
            epochs=clap.Settings.epochs if epochs is None else epochs,
            lr=clap.Settings.lr if lr is None else lr,
            seed=seed,
        )
        taught = teach_clap(weights, drawn, by_hand, backbone, views=views, on_progress=on_progress)
    else:
        settings = coop.Settings(
            context_tokens=tokens,
            init=init,
            class_specific=class_specific,
            position=position,
            recipe=recipe,
            epochs=coop.RECIPES[recipe].epochs(len(drawn.train) / len(labels)) if epochs is None else epochs,
            lr=coop.Settings.lr if lr is None else lr,
            anchor=anchor,
            average=average,
            seed=seed,
        )
        taught = teach_coop(settings, names, drawn, by_hand, backbone, views=views, on_progress=on_progress)
    context = _context(taught, entries, shots, drawn, backbone, template, by_hand)
    entry = store.save(name, context.to_bytes(), new=not fresh)
    return _learn_report(entry, context, drawn, folder, time.monotonic() - started)


def evaluate(
    ref: str,
    photos: Path,
    *,
    split: str | None = None,
    blend: float | None = 1.0,
    model: str | None = None,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> EvaluateReport:
    """Measure a context on labelled images, beside zero-shot on the same images.

    blend   share of the learned text features, the rest zero-shot's; None: chosen by folds of the context's shots
    split   which part of a folder with `train/ val/ test/` to use; None: test, or else val, or else everything
    """
    entry = (store or Store()).find(Ref.parse(ref))
    from promptctl.context import Context
    from promptctl.images import ImageFolder, Skipped

    context = Context.load(entry.path)
    folder = ImageFolder.scan(photos)
    part = split or folder.measured_part
    images = _to_measure_on(folder, part)
    index = _class_index(context.card, sorted({image.label for image in images}), str(entry.ref))
    strange = [
        Skipped(image.path, f"'{image.label}' is not a class of {entry.ref}")
        for image in images
        if image.label not in index
    ]
    images = tuple(image for image in images if image.label in index)
    backbone = _own_backbone(context, entry, model, device)
    features, skipped = _features([image.path for image in images], backbone, on_progress)
    if not len(features):
        raise NoImages(f"none of the {len(images)} images in {photos} could be read", f"ls {photos}")
    label_of = {image.path: image.label for image in images}
    import numpy as np

    targets = np.array([index[label_of[path]] for path in features.paths], dtype=np.int64)
    where = photos if part in (None, "all") else f"{photos} ({part})"
    share = _share(blend, context, entry, backbone, on_progress)
    return _evaluation(context, entry, share, str(where), features, targets, (*folder.skipped, *strange, *skipped))


def inspect(
    ref: str, *, top: int = 5, model: str | None = None, device: str = "auto", store: Store | None = None
) -> InspectReport:
    """What a context is, and the vocabulary tokens nearest to each of its vectors."""
    entry = (store or Store()).find(Ref.parse(ref))
    from promptctl import words
    from promptctl.context import Context

    context = Context.load(entry.path)
    backbone = _own_backbone(context, entry, model, device)
    flat = context.vectors.reshape(-1, context.vectors.shape[-1])
    near = [words.nearest(flat, backbone.tower, k=top, metric=metric) for metric in words.METRICS]
    tokens = context.card.method.context_tokens
    names: Sequence[str | None] = context.card.names if context.card.method.class_specific else (None,)
    vectors = tuple(
        VectorReport(
            names[row // tokens], row % tokens + 1, float((vector @ vector) ** 0.5), _words(by_l2), _words(by_cosine)
        )
        for row, (vector, by_l2, by_cosine) in enumerate(zip(flat, *near, strict=True))
    )
    return InspectReport(str(entry.ref), context.card, entry.n_bytes, entry.path, vectors)


def classify(
    inputs: Sequence[Path],
    ref: str,
    *,
    top: int = 3,
    blend: float | None = 1.0,
    model: str | None = None,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> ClassifyReport:
    """The most probable classes of every image among files and folder trees; `blend` as in `evaluate`."""
    entry = (store or Store()).find(Ref.parse(ref))
    missing = next((path for path in inputs if not path.exists() and not path.is_symlink()), None)
    if missing is not None:
        raise NoImages(f"there is no file or folder {missing}", f"ls {missing.parent}")
    from promptctl.blend import mixed
    from promptctl.classifier import predict
    from promptctl.context import Context
    from promptctl.images import walk

    context = Context.load(entry.path)
    paths = list(walk(inputs))
    if not paths:
        raise NoImages(f"there is no file in {', '.join(map(str, inputs))}", f"ls {inputs[0]}")
    backbone = _own_backbone(context, entry, model, device)
    features, skipped = _features(paths, backbone, on_progress)
    share = _share(blend, context, entry, backbone, on_progress)
    texts = mixed(context.text_features, context.zero_shot_features, share)
    predictions = predict(features.vectors, texts, logit_scale=context.card.logit_scale)
    found = _classified(features, predictions, context.card, top)
    return ClassifyReport(str(entry.ref), share, found, _skipped(skipped))


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

    Shots are drawn from train/ and measured on test/ (or val/); without such parts a fifth of the images, chosen by
    content hash, is measured on and the rest drawn from.

    learners   of compare.COMPARED
    raises     DatasetError and its kind, BackboneError and its kind, ExportFailed
    """
    zero_shot.check(template)
    _check_plot(plot, force)
    from promptctl.images import ImageFolder, check_classes
    from promptctl.models import refuse_if_hopeless

    folder = ImageFolder.scan(photos)
    labels = tuple(sorted({image.label for image in _to_learn_from(folder)}))
    check_classes(labels, photos)
    entries = _class_entries(labels, classes)
    refuse_if_hopeless(model)
    from promptctl import compare as room
    from promptctl.backbone import Backbone

    _check_learners(learners, room.COMPARED)
    if base_to_new and len(labels) < 4:
        raise DatasetError(f"--base-to-new halves the classes, and {photos} has {len(labels)}", "four classes or more")
    pool, measured_on, skipped = _pool(folder, entries, Backbone(model, device), template, on_progress)
    feasible, left_out = _feasible(shots, pool)
    jobs = [(name, k, seed) for name in learners for k in feasible for seed in seeds]
    halved = [job for job in jobs if base_to_new and room.speaks_of_new_classes(job[0])]
    runs, halves = [], []
    for done, job in enumerate(jobs, 1):
        runs.append(room.run(pool, *job))
        if on_progress:
            on_progress("comparing", done, len(jobs) + len(halved))
    for done, job in enumerate(halved, len(jobs) + 1):
        halves.append(room.base_to_new(pool, *job))
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


def import_context(
    checkpoint: Path,
    name: str,
    *,
    position: str = "end",
    classes: Path | None = None,
    model: str = "mini",
    device: str = "auto",
    store: Store | None = None,
) -> ImportReport:
    """Store a context that the original CoOp code learned.

    position  of the class name, which a checkpoint does not tell
    classes   a file of class names in the checkpoint's order; None: read back from their embeddings
    raises    InvalidName, ContextExists, BadCheckpoint, DatasetError, CheckpointMismatch and other BackboneErrors
    """
    store = store or Store()
    check_name(name)
    if store.has(name):
        raise ContextExists(store.find(Ref(name)).ref.name, "choose another --name")
    from promptctl.checkpoint import Checkpoint, position_in_path, read_class_list, read_otherwise
    from promptctl.models import refuse_if_hopeless

    found = Checkpoint.read(checkpoint)
    listed = read_class_list(classes) if classes else None
    _check_listed(listed, classes, found, checkpoint)
    store.check_writable()
    refuse_if_hopeless(model)
    from promptctl.backbone import Backbone

    backbone = Backbone(model, device)
    embedded = _embedded_names(found, checkpoint, backbone)
    labels = _imported_labels(embedded, listed, classes, checkpoint, backbone.tower)
    context = _imported(found, labels, position, backbone)
    entry = store.save(name, context.to_bytes(), new=True)
    return ImportReport(
        context=str(entry.ref),
        path=entry.path,
        checkpoint=checkpoint,
        classes=labels,
        context_tokens=context.card.method.context_tokens,
        class_specific=found.class_specific,
        position=position,
        folder_says=position_in_path(checkpoint),
        backbone=backbone.name,
        backbone_checked=found.suffix is not None,
        names_listed=listed is not None,
        read_otherwise=read_otherwise(context.card.names, backbone.tower),
        n_bytes=entry.n_bytes,
        next=(f"promptctl evaluate {entry.ref.name} TEST-FOLDER", f"promptctl inspect {entry.ref.name}"),
    )


def export_context(
    ref: str, out: Path, *, force: bool = False, model: str | None = None, store: Store | None = None
) -> ExportReport:
    """Write a context as a checkpoint that the original CoOp code loads."""
    entry = (store or Store()).find(Ref.parse(ref))
    _check_free(out, force)
    from promptctl import checkpoint, files
    from promptctl.context import Context

    context = Context.load(entry.path)
    if not context.vectors.size:
        raise ExportFailed(out, f"{entry.ref} is {context.card.method.learner} and has no context")
    card, method = context.card, context.card.method
    tower = _own_backbone(context, entry, model, "cpu").tower
    data = checkpoint.to_bytes(context.vectors, card.names, tower, epochs=method.epochs)
    try:
        files.place(out, data, replace=force)
    except OSError as error:
        raise ExportFailed(out, (error.strerror or str(error)).lower()) from error
    return ExportReport(
        context=str(entry.ref),
        path=out,
        classes=card.names,
        context_tokens=method.context_tokens,
        class_specific=method.class_specific,
        position=method.position,
        backbone=card.backbone.name,
        epochs=method.epochs,
        read_otherwise=checkpoint.read_otherwise(card.names, tower),
        n_bytes=len(data),
    )


def list_contexts(prefix: str = "", *, store: Store | None = None) -> ListReport:
    """Every context in the store, from file headers alone."""
    entries = (store or Store()).entries()
    return ListReport(tuple(_stored(entry) for entry in entries if entry.ref.name.startswith(prefix)), prefix)


def show(ref: str, *, store: Store | None = None) -> ShowReport:
    """What one stored context is, from its header alone."""
    store = store or Store()
    entry = store.find(Ref.parse(ref))
    versions = tuple(version.ref.version or 0 for version in store.versions(entry.ref.name))
    from promptctl.card import read_card

    return ShowReport(str(entry.ref), entry.path, entry.n_bytes, versions, read_card(entry.path))


def remove(name: str, *, store: Store | None = None) -> MovedReport:
    """Move a context with all its versions to the trash."""
    store = store or Store()
    entry = store.find(Ref(_whole_name(name, "remove")))
    trash = store.remove(name)
    sentence = f"'{entry.ref.name}' and all its versions are in the trash: {trash}"
    return MovedReport(entry.ref.name, trash, sentence, f"promptctl restore {entry.ref.name}   (to undo)")


def restore(name: str, *, store: Store | None = None) -> MovedReport:
    """Bring a removed context back from the trash."""
    entry = (store or Store()).restore(_whole_name(name, "restore"))
    return MovedReport(str(entry.ref), entry.path, f"{entry.ref} is back: {entry.path}", f"promptctl show {entry.ref}")


def list_models() -> ModelsReport:
    """The embedded backbone, those on this machine, and a few worth knowing."""
    from promptctl.models import MINI, RECOMMENDED, on_this_machine

    here = {MINI, *on_this_machine()}
    known = [
        ModelRow(r.name, r.name in here, r.joint_width, r.parameters, r.download_bytes, r.good_for) for r in RECOMMENDED
    ]
    others = sorted(here - {row.name for row in known})
    return ModelsReport((*known, *(ModelRow(name, True, None, None, None, None) for name in others)))


def pull_model(name: str) -> PulledReport:
    """Download a backbone's weights, unless they are here."""
    from promptctl.models import locate, refuse_if_hopeless

    refuse_if_hopeless(name)
    found = locate(name)
    return PulledReport(found.name, Path(found.pretrained or found.model.removeprefix("local-dir:")))


def cache_info(*, store: Store | None = None) -> CacheReport:
    """What the cache of image features holds, for which backbones."""
    from promptctl.cache import FeatureCache

    cache = FeatureCache()
    contents = cache.contents()
    cache.close()
    cards = [entry.card for entry in (store or Store()).entries() if entry.card]
    name_of = {card.backbone.fingerprint: card.backbone.name for card in cards}
    kept = sorted(contents.features.items(), key=lambda item: -item[1])
    rows = tuple(CachedFeatures(name_of.get(fingerprint), fingerprint, count) for fingerprint, count in kept)
    return CacheReport(cache.path, contents.n_bytes, cache.limit_bytes, rows)


def clear_cache() -> ClearedReport:
    """Forget every image feature; they are computed again when they are needed."""
    from promptctl.cache import FeatureCache

    cache = FeatureCache()
    before = cache.contents()
    cache.clear()
    after = cache.contents()
    cache.close()
    return ClearedReport(cache.path, sum(before.features.values()), before.n_bytes - after.n_bytes)


def _whole_name(name: str, command: str) -> str:
    """The name; `remove` and `restore` take all its versions, so one with a version is refused."""
    bare, at, _ = name.partition("@")
    if at:
        raise InvalidName(name, f"{command} takes a name with all its versions", suggestion=bare)
    return check_name(name)


# --------------------------------------------------------------------------- learn


def _to_learn_from(folder: ImageFolder) -> tuple[LabelledImage, ...]:
    images = folder.only("train", None) if folder.splits else folder.images
    if not images:
        raise NoImages(f"{folder.root} has no images to learn from, only {' and '.join(sorted(folder.splits))}")
    return images


def _class_entries(labels: Sequence[str], names_file: Path | None) -> tuple[ClassEntry, ...]:
    from promptctl.images import read_names, readable

    names: Mapping[str, str] = read_names(names_file, labels) if names_file else {}
    entries = tuple(ClassEntry(i, label, names.get(label, readable(label))) for i, label in enumerate(labels))
    label_of: dict[str, str] = {}
    for entry in entries:
        if entry.name in label_of:
            raise DatasetError(
                f"the prompt would call both '{label_of[entry.name]}' and '{entry.label}' '{entry.name}'",
                "give each a name of its own with --classes names.csv, or put them in one folder",
            )
        label_of[entry.name] = entry.label
    return entries


def _context_tokens(backbone: Backbone, asked: int | None, init: str | None) -> int:
    if init is None:
        return 16 if asked is None else asked
    found = len(backbone.tower.tokens(init))
    if not found:
        raise DatasetError("--init has no words in it", 'for example --init "a photo of a"')
    if asked not in (None, found):
        raise DatasetError(
            f"'{init}' is {found} token{'' if found == 1 else 's'}, --context-tokens {asked} was asked",
            "leave --context-tokens out: the words of --init decide",
        )
    return found


def _refuse_clash(learner: str, because: str, asked: Mapping[str, bool]) -> None:
    option = next((option for option, given in asked.items() if given), None)
    if option is not None:
        raise SettingsClash(learner, because, option)


def _context(
    taught: Taught,
    entries: tuple[ClassEntry, ...],
    shots: int | None,
    drawn: Drawn,
    backbone: Backbone,
    template: str,
    by_hand: NDArray[np.float32],
) -> Context:
    from promptctl.context import Context

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


def _score(drawn: Drawn, learned: NDArray[np.float32], zero_shot: NDArray[np.float32]) -> Score | None:
    if not len(drawn.held_out):
        return None
    targets = drawn.targets(drawn.held_out)
    right = [float(((drawn.held_out.vectors @ texts.T).argmax(1) == targets).mean()) for texts in (learned, zero_shot)]
    return Score(drawn.measured_on, len(targets), *right)


def _learn_report(entry: Entry, context: Context, drawn: Drawn, folder: ImageFolder, seconds: float) -> LearnReport:
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
        skipped=_skipped(drawn.skipped),
        next=(
            f"promptctl evaluate {name} {_nearby(folder, 'test')}",
            f"promptctl classify {_nearby(folder, 'unsorted')} --prompt {name}",
        ),
    )


def _nearby(folder: ImageFolder, what: str) -> str:
    """The path a person would type: the folder's own test part, a neighbour of that name, or what to put there."""
    if what in folder.splits:
        return shlex.quote(str(folder.root))
    beside = folder.root.parent / what
    if not beside.is_dir():
        return f"{what.upper()}-FOLDER"
    return shlex.quote(str(beside) if beside.is_absolute() or str(beside).startswith("..") else f"./{beside}")


# --------------------------------------------------------------------------- compare


def _check_plot(plot: Path | None, force: bool) -> None:
    if plot is None:
        return
    from promptctl.plot import KINDS

    if plot.suffix.lower() not in KINDS:
        raise ExportFailed(plot, f"a figure ends in {', '.join(KINDS)}", f"--plot {plot.with_suffix('.png')}")
    _check_free(plot, force)


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
    from promptctl.compare import Pool
    from promptctl.features import encode

    reading, encoding = (partial(on_progress, stage) if on_progress else None for stage in ("reading", "encoding"))
    part = folder.measured_part
    wanted = [*_to_learn_from(folder), *(folder.only(part) if part else ())]
    usable, unreadable = images.hash_images(wanted, reading)
    features, damaged = encode([image.path for image in usable], backbone, FeatureCache(), encoding)
    vector_of = dict(zip(features.paths, features.vectors, strict=True))
    known = {entry.label for entry in entries}
    good = [image for image in usable if image.path in vector_of and image.label in known]
    if part:
        train = tuple(image for image in good if image.split != part)
        test, measured_on = tuple(image for image in good if image.split == part), f"images of {part}/"
    else:
        divided = images.hold_out_fifth(good)
        train, test, measured_on = divided.train, divided.held_out, "images held out"
    if not test:
        raise NoImages(f"{folder.root} has no image left to measure on", "more images a class, or a test/ folder")
    skipped = _skipped((*folder.skipped, *unreadable, *damaged))
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


# --------------------------------------------------------------------------- import and export


def _check_listed(listed: tuple[str, ...] | None, classes: Path | None, found: Checkpoint, checkpoint: Path) -> None:
    """DatasetError where the list, as far as can be told without the backbone, is not the checkpoint's."""
    if listed is None:
        if found.suffix is None:
            raise DatasetError(
                f"{checkpoint} does not say what its classes are called",
                "--classes names.txt, one name a line, in the order they were learned in",
            )
    elif found.classes not in (None, len(listed)):
        raise DatasetError(
            f"{classes} names {len(listed)} classes, {checkpoint} holds {found.classes}",
            "one name a line, in the order they were learned in",
        )


def _embedded_names(found: Checkpoint, checkpoint: Path, backbone: Backbone) -> list[list[int]] | None:
    """Tokens of the class names as far as they are in the file; CheckpointMismatch on a backbone it is not for."""
    from promptctl.checkpoint import ORIGINAL_BACKBONES

    width, reason = found.vectors.shape[-1], None
    embedded = None
    if width != backbone.tower.width:
        reason = f"its vectors have width {width}, that model's tokens {backbone.tower.width}"
    elif found.suffix is not None:
        embedded = found.class_tokens(backbone.tower)
        reason = None if embedded else "its class names are not embedded in that model's tokens"
    if reason:
        others = [other for other in ORIGINAL_BACKBONES.get(width, ()) if other != backbone.name]
        raise CheckpointMismatch(checkpoint, backbone.name, reason, others=others)
    return embedded


def _imported_labels(
    embedded: Sequence[Sequence[int]] | None,
    listed: tuple[str, ...] | None,
    classes: Path | None,
    checkpoint: Path,
    tower: TextTower,
) -> tuple[str, ...]:
    """The class names listed, checked against those embedded in the file, or these."""
    if embedded is None:
        return listed or ()
    from promptctl.checkpoint import joined
    from promptctl.images import readable

    read = [tower.read(tokens).removesuffix(".").strip() for tokens in embedded]
    if listed is None:
        return _unlike(read, checkpoint)
    for line, (label, tokens) in enumerate(zip(listed, embedded, strict=True), 1):
        if joined(readable(label), tower) != tokens:
            raise DatasetError(
                f"{classes} says '{label}' in line {line}, {checkpoint} has '{read[line - 1]}' there",
                "the names stand in the order they were learned in; without --classes they are read back",
            )
    return listed


def _unlike(labels: Sequence[str], checkpoint: Path) -> tuple[str, ...]:
    twice = next((label for i, label in enumerate(labels) if label in labels[:i]), None)
    if twice is not None:
        raise DatasetError(
            f"{checkpoint} calls two classes '{twice}'",
            "--classes names.txt, where capitals tell them apart, one name a line in the order they were learned in",
        )
    return tuple(labels)


def _imported(found: Checkpoint, labels: Sequence[str], position: str, backbone: Backbone) -> Context:
    import numpy as np
    import torch

    from promptctl.context import Context, ShotTable

    entries = tuple(_class_entry(i, label) for i, label in enumerate(labels))
    names = [entry.name for entry in entries]
    tower, tokens = backbone.tower, found.vectors.shape[-2]
    vectors = torch.from_numpy(found.vectors).to(tower.token_table.device)
    prompts = tower.prompts(names, tokens, position=position, shared=not found.class_specific)
    with torch.no_grad():
        texts = torch.nn.functional.normalize(tower.encode(vectors, prompts), dim=-1)
    joint = backbone.id.joint_width
    no_shots = ShotTable(
        np.empty((0, joint), np.float16), np.empty(0, np.int32), np.empty((0, 32), np.uint8), np.empty(0, np.uint8)
    )
    card = Card(
        backbone=backbone.id,
        classes=entries,
        method=Method(
            learner="coop",
            context_tokens=tokens,
            init=None,
            class_specific=found.class_specific,
            position=position,
            epochs=found.epochs,
            lr=0.0,
            seed=0,
            steps=0,
        ),
        shots=Shots(None, 0, 0),
        zero_shot_template=zero_shot.DEFAULT,
        logit_scale=backbone.logit_scale,
        written_by=f"promptctl {__version__}",
    )
    by_hand = zero_shot.text_features(tower, names)
    return Context(card, found.vectors, texts.float().cpu().numpy(), by_hand, no_shots)


def _class_entry(id: int, label: str) -> ClassEntry:
    """A class that was imported: its images, if any, may lie in a folder with underscores."""
    from promptctl.images import readable

    folder = label.replace(" ", "_")
    return ClassEntry(id, label, readable(label), (folder,) if folder != label else ())


def _check_free(out: Path, force: bool) -> None:
    if out.is_dir():
        raise ExportFailed(out, "it is a folder", f"a file in it: {out / 'model.pth.tar-50'}")
    if not out.parent.is_dir():
        raise ExportFailed(out, f"there is no folder {out.parent}", f"mkdir -p {shlex.quote(str(out.parent))}")
    if not force and (out.exists() or out.is_symlink()):
        raise ExportFailed(out, "it already exists", "--force replaces it")


# --------------------------------------------------------------------------- use


def _to_measure_on(folder: ImageFolder, part: str | None) -> tuple[LabelledImage, ...]:
    if part in (None, "all"):
        return folder.images
    images = folder.only(part)
    if not images:
        found = " and ".join(sorted(folder.splits)) or "no split at all"
        raise NoImages(f"{folder.root} has no images in the split '{part}', only {found}", "--split all")
    return images


def _class_index(card: Card, labels: Sequence[str], context: str) -> dict[str, int]:
    """Which class of the context each folder means, where it means one: by label, name or alias, whatever its case."""
    words: dict[str, int] = {}
    for i, entry in enumerate(card.classes):
        for word in (entry.label, entry.name, *entry.aliases):
            words.setdefault(word.casefold(), i)
    index = {label: words[label.casefold()] for label in labels if label.casefold() in words}
    if not index:
        raise UnknownClasses(labels, context)
    return index


def _features(
    paths: Sequence[Path], backbone: Backbone, on_progress: OnProgress | None
) -> tuple[Features, tuple[Skipped, ...]]:
    from promptctl.cache import FeatureCache
    from promptctl.features import encode

    return encode(paths, backbone, FeatureCache(), partial(on_progress, "encoding") if on_progress else None)


def _share(
    asked: float | None, context: Context, entry: Entry, backbone: Backbone, on_progress: OnProgress | None
) -> float:
    if asked is not None:
        return asked
    from promptctl.blend import share_by_folds

    on_fold = partial(on_progress, "blending") if on_progress else None
    return share_by_folds(context, str(entry.ref), backbone.tower, on_fold)


def _own_backbone(context: Context, entry: Entry, model: str | None, device: str) -> Backbone:
    """The backbone a context was learned on, told by fingerprint; `model` may say where else to find it."""
    from promptctl.models import refuse_if_hopeless

    wanted = context.card.backbone
    refuse_if_hopeless(model or wanted.name)
    from promptctl.backbone import Backbone

    backbone = Backbone(model or wanted.name, device)
    if backbone.id.fingerprint != wanted.fingerprint:
        raise BackboneMismatch(str(entry.ref), _id_line(wanted), _id_line(backbone.id))
    return backbone


def _id_line(backbone: BackboneId) -> str:
    return f"{backbone.name} {backbone.fingerprint[:12]}"


def _evaluation(
    context: Context,
    entry: Entry,
    share: float,
    where: str,
    features: Features,
    targets: NDArray[np.int64],
    skipped: Sequence[Skipped],
) -> EvaluateReport:
    from promptctl.blend import mixed
    from promptctl.classifier import predict
    from promptctl.evaluation import class_scores, scores

    card = context.card
    learned, zero_shot = (
        predict(features.vectors, texts, logit_scale=card.logit_scale)
        for texts in (
            mixed(context.text_features, context.zero_shot_features, share),
            context.zero_shot_features,
        )
    )
    per_class = tuple(
        ClassScore(
            label=card.labels[c.index],
            name=card.names[c.index],
            images=c.images,
            accuracy=c.recall,
            zero_shot_accuracy=z.recall,
            f1=c.f1,
            mistaken_for=None if c.mistaken_for is None else card.names[c.mistaken_for],
        )
        for c, z in zip(class_scores(learned, targets), class_scores(zero_shot, targets), strict=True)
    )
    return EvaluateReport(
        context=str(entry.ref),
        blend=share,
        where=where,
        images=len(targets),
        learned_from=_learned_from(context, features),
        classes=len(card.classes),
        learned=Scores(**scores(learned, targets)),
        zero_shot=Scores(**scores(zero_shot, targets)),
        zero_shot_template=card.zero_shot_template,
        per_class=per_class,
        skipped=_skipped(skipped),
    )


def _learned_from(context: Context, features: Features) -> int:
    """How many of the images the context was learned from."""
    own = context.shots.sha256[context.shots.held_out == 0]
    known = {row.tobytes().hex() for row in own}
    return sum(sha256 in known for sha256 in features.sha256)


def _classified(features: Features, predictions: Predictions, card: Card, top: int) -> tuple[Classified, ...]:
    best = predictions.top(min(top, len(card.classes)))
    return tuple(
        Classified(
            path,
            tuple(Guess(card.labels[c], card.names[c], float(predictions.probabilities[row, c])) for c in best[row]),
        )
        for row, path in enumerate(features.paths)
    )


def _words(near: Sequence[NearWord]) -> tuple[NearWordRow, ...]:
    return tuple(NearWordRow(word.word, word.euclidean, word.cosine) for word in near)


def _skipped(skipped: Sequence[Skipped]) -> tuple[SkippedFile, ...]:
    return tuple(SkippedFile(item.path, item.reason) for item in skipped)


def _stored(entry: Entry) -> StoredContext:
    card = entry.card
    changed = datetime.fromtimestamp(entry.mtime_ns / 1e9, timezone.utc).isoformat(timespec="seconds")
    return StoredContext(
        name=entry.ref.name,
        version=entry.ref.version or 0,
        classes=len(card.classes) if card else None,
        shots=str(card.shots.asked or "all") if card and not card.is_imported else None,
        backbone=card.backbone.name if card else None,
        accuracy=card.score.accuracy if card and card.score else None,
        zero_shot_accuracy=card.score.zero_shot_accuracy if card and card.score else None,
        n_bytes=entry.n_bytes,
        changed=changed,
        fault=entry.fault,
    )
