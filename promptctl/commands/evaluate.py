"""Evaluate: how good a context is on labelled photos, beside zero-shot on the same photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.commands.answers import UNKNOWN
from promptctl.commands.backbones import chosen_share, load_backbone_for, load_encoder_for
from promptctl.commands.photos import encode_photos, passed_over, skipped_files, without_named
from promptctl.commands.places import check_places
from promptctl.commands.sources import locate
from promptctl.context.card import Card
from promptctl.errors import LibraryMissing, NoImages, UnknownClasses, WrongOption
from promptctl.progress import OnProgress
from promptctl.report import (
    ClassScore,
    EvaluateReport,
    PhotoAnswer,
    Rejection,
    Scores,
    UnknownFigures,
    UnknownScores,
)
from promptctl.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.classification.classifier import Predictions
    from promptctl.clip.text_tower import TextTower
    from promptctl.context.context import Context
    from promptctl.data.folder import ImageFolder
    from promptctl.data.images import LabelledImage
    from promptctl.encoding.encoder import ImageEncoder
    from promptctl.encoding.files import Skipped
    from promptctl.encoding.pipeline import Features

_ROWS = 4096  # photos beside all shots at a time
SPLITS = ("train", "val", "test", "all")


def evaluate(
    ref: str | PathLike[str],
    photos: str | PathLike[str],
    *,
    split: str | None = None,
    unknown: str | PathLike[str] | None = None,
    together: bool = False,
    blend: float | None = 1.0,
    model: str | None = None,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> EvaluateReport:
    """Measure a context on labelled images, beside zero-shot on the same images.

    ref           NAME, NAME@VERSION or a context file
    photos        folder of class folders, with or without train/ val/ test/; or a list of images
    split         train, val, test or all of such a folder; None: test, or else val, or else everything
    unknown       folder of photos that show none of the classes, to measure how well they are told from the others
    together      the images are answered together, so that each answer depends on the others; `learned` is then how
                  good these answers are, and `alone` how good those one by one
    blend         share of the learned text features, 0 to 1, the rest zero-shot's; None: chosen by folds of the
                  context's shots
    model         where to find the context's own backbone, if not under the name it was learned with
    device        auto, cpu, cuda or mps
    store         where names are looked up; None: the store of PROMPTCTL_HOME
    on_progress   called with what is being done, how much is done, and of how much
    returns       a report: `learned.top1`, `zero_shot.top1`, `per_class` …, fractions all of them
    raises        BadSetting, WrongOption, NotInStore and BadContextFile and their kinds, DatasetError and its kind,
                  BackboneError and its kind
    """
    split = None if split is None else checks.one_of("split", split, SPLITS)
    model, device = checks.model(model), checks.one_of("device", device, checks.DEVICES)
    photos, blend = checks.path("photos", photos), checks.share(blend)
    foreign = None if unknown is None else checks.path("unknown", unknown)
    together = checks.flag("together", together)
    check_places(ref, [photos], store, "promptctl evaluate {context} {photos}")
    source = locate(ref, store)
    from promptctl.data.folder import ImageFolder
    from promptctl.encoding.files import Skipped

    context = source.load()
    told = None if foreign is None else _files_of(foreign, context, source.name)
    folder = ImageFolder.scan(photos)
    part = split or folder.measured_part
    images = _to_measure_on(folder, part)
    labels = sorted({image.label for image in images})
    index = _class_index(context.card, labels)
    if len(index) < len(labels):  # the tower may read two names as one
        with suppress(LibraryMissing):
            index = _class_index(context.card, labels, load_backbone_for(context, source.name, model, device).tower)
    if not index:
        raise UnknownClasses(labels, source.name)
    strange = [
        Skipped(image.path, f"'{image.label}' is not a class of {source.name}")
        for image in images
        if image.label not in index
    ]
    images = tuple(image for image in images if image.label in index)
    encoder = load_encoder_for(context, source.name, model, device)
    features, skipped = encode_photos([image.path for image in images], encoder, on_progress)
    skipped = without_named(skipped, {image.path for image in images if image.listed})
    if not len(features):
        raise NoImages(f"none of the {len(images)} images in {photos} could be read", f"ls {photos}")
    label_of = {image.path: image.label for image in images}
    import numpy as np

    targets = np.array([index[label_of[path]] for path in features.paths], dtype=np.int64)
    _say_what_is_odd(features, label_of, targets, context, source.name)
    where = photos if part in (None, "all") else f"{photos} ({part})"
    share = chosen_share(blend, context, source.name, model, device, on_progress)
    left_out = [*folder.skipped, *strange, *skipped]
    figures = None
    if foreign is not None and told is not None:
        figures, more = _unknown_figures(context, share, features, foreign, told, encoder, on_progress)
        left_out += more
    return _evaluation(
        context, source.name, share, blend is None, str(where), features, targets, left_out, figures, together
    )


def _files_of(foreign: Path, context: Context, name: str) -> Sequence[Path]:
    """The photos of a folder that shows nothing known, or why they are of no use."""
    from promptctl.commands.gather import gathered

    if why := context.why_no_shots(each=True):
        raise WrongOption(f"{name} cannot tell unknown photos: {why}", "leave out --unknown")
    return [Path(path) for path in gathered([foreign]).photos]


def _unknown_figures(
    context: Context,
    share: float,
    own: Features,
    foreign: Path,
    paths: Sequence[Path],
    encoder: ImageEncoder,
    on_progress: OnProgress | None,
) -> tuple[UnknownFigures, Sequence[Skipped]]:
    import numpy as np

    from promptctl.classification.classifier import Classifier
    from promptctl.classification.gate import Gate
    from promptctl.classification.metrics import auroc, kept_at

    gate, classifier = Gate.of(context, unknown=UNKNOWN), Classifier.of(context, share=share)
    others, skipped = encode_photos(paths, encoder, on_progress)
    if not len(others):
        raise NoImages(f"none of the {len(paths)} images in {foreign} could be read", f"ls {foreign}")
    mine, theirs = (gate.passed(some.vectors, classifier.predict(some.vectors)) for some in (own, others))
    if gate.promise is None or mine.likeness is None or theirs.likeness is None:
        raise WrongOption("it has too few photos to tell unknown ones", "leave out --unknown")
    scored, left = mine.likeness, theirs.likeness

    def of(folder: str, which: NDArray[np.bool_]) -> UnknownScores:
        scores = auroc(scored, left[which]), kept_at(1 - UNKNOWN, scored, left[which])
        return UnknownScores(folder, int(which.sum()), *scores, float((~theirs.unknown[which]).mean()))

    folders = np.array([str(path.parent.relative_to(foreign)) for path in others.paths])
    each = [of(str(folder), folders == folder) for folder in np.unique(folders)]
    figures = UnknownFigures(
        own_rejected=float(mine.unknown.mean()),
        rejection=Rejection(**vars(gate.promise)),
        whole=of(str(foreign), np.ones(len(folders), bool)),
        folders=tuple(each) if len(each) > 1 else (),
    )
    return figures, skipped


def _to_measure_on(folder: ImageFolder, part: str | None) -> tuple[LabelledImage, ...]:
    if part in (None, "all"):
        return folder.images
    images = folder.only(part)
    if not images:
        found = " and ".join(sorted(folder.splits))
        only = f", only {found}" if found else " and no parts at all"
        raise NoImages(f"{folder.root} has no images in the split '{part}'{only}", "--split all")
    return images


def _class_index(card: Card, labels: Sequence[str], tower: TextTower | None = None) -> dict[str, int]:
    """Which class of the context each folder means, where it means one."""
    from promptctl.data.names import meant_by

    return meant_by(labels, card.classes, tower)


def _say_what_is_odd(
    features: Features, label_of: Mapping[Path, str], targets: NDArray[np.int64], context: Context, name: str
) -> None:
    """Pictures in two classes, and pictures that look nearly the same as those the context learned from."""
    from promptctl.data import remarks
    from promptctl.data.near_copies import by_features_alone

    named = [(path, label_of[path], sha256) for path, sha256 in zip(features.paths, features.sha256, strict=True)]
    remarks.say(remarks.one_picture_of_two_classes(named))
    rows, of_rows = context.learned_from()
    known = _own_images(context)
    alike = by_features_alone(features.vectors, targets, rows, of_rows)
    near = [i for i in alike if features.sha256[i] not in known]
    remarks.say(remarks.near_copies((features.paths[i], f"a photo {name} was learned from") for i in near))


def _evaluation(
    context: Context,
    name: str,
    share: float,
    chosen: bool,
    where: str,
    features: Features,
    targets: NDArray[np.int64],
    skipped: Sequence[Skipped],
    unknown: UnknownFigures | None,
    together: bool,
) -> EvaluateReport:
    from promptctl.classification.classifier import Classifier, Predictions, calibration_error
    from promptctl.classification.metrics import class_scores, scores
    from promptctl.classification.together import shots_behind
    from promptctl.classification.together import together as answered_together

    card = context.card
    one_by_one, without_head, zero_shot = (
        classifier.predict(features.vectors)
        for classifier in (
            Classifier.of(context, share=share),
            Classifier.of(context, share=share, head=False),
            Classifier.zero_shot(context),
        )
    )
    learned = one_by_one
    if together:
        classifier, shots = Classifier.of(context, share=share), shots_behind(context, share)
        learned = answered_together(features.vectors, classifier, shots)
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
        context=name,
        blend=share,
        blend_chosen=chosen,
        where=where,
        images=len(targets),
        learned_from=_learned_from(context, features),
        classes=len(card.classes),
        together=together,
        learned=Scores(**scores(learned, targets)),
        alone=Scores(**scores(one_by_one, targets)) if together else None,
        without_head=Scores(**scores(without_head, targets)) if context.head else None,
        zero_shot=Scores(**scores(zero_shot, targets)),
        zero_shot_template=card.zero_shot_template,
        ece_before=calibration_error(
            Predictions.of(Classifier.of(context, share=share).logits(features.vectors)), targets
        ),
        unknown=unknown,
        per_class=per_class,
        skipped=skipped_files(skipped),
        passed_over=passed_over(skipped),
        photos=_photos(context, features, targets, learned, one_by_one if together else None, zero_shot),
    )


def _photos(
    context: Context,
    features: Features,
    targets: NDArray[np.int64],
    learned: Predictions,
    alone: Predictions | None,
    zero_shot: Predictions,
) -> tuple[PhotoAnswer, ...]:
    labels = context.card.labels
    nearest = _nearest_shots(context, features.vectors)
    return tuple(
        PhotoAnswer(
            file=str(path),
            sha256=features.sha256[i],
            label=labels[targets[i]],
            answer=labels[learned.best[i]],
            probability=float(learned.confidence[i]),
            truth_probability=float(learned.probabilities[i, targets[i]]),
            zero_shot=labels[zero_shot.best[i]],
            zero_shot_probability=float(zero_shot.confidence[i]),
            alone=None if alone is None else labels[alone.best[i]],
            alone_probability=None if alone is None else float(alone.confidence[i]),
            nearest_shot=shot and shot[0],
            nearest_shot_sha256=shot and shot[1],
            nearest_shot_cosine=shot and shot[2],
        )
        for i, (path, shot) in enumerate(zip(features.paths, nearest, strict=True))
    )


def _nearest_shots(context: Context, vectors: NDArray[np.float32]) -> Sequence[tuple[str, str, float] | None]:
    """Label, sha256 and cosine of the learned shot most like each of (N, E) unit rows; None: there are none."""
    rows, targets = context.learned_from()
    if not len(rows):
        return [None] * len(vectors)
    hashes = context.shots.sha256[context.shots.held_out == 0]
    found: list[tuple[str, str, float] | None] = []
    for first in range(0, len(vectors), _ROWS):
        cosines = vectors[first : first + _ROWS] @ rows.T
        nearest = cosines.argmax(1)
        for image, shot in enumerate(nearest.tolist()):
            sha256 = hashes[shot].tobytes().hex()
            found.append((context.card.labels[targets[shot]], sha256, float(cosines[image, shot])))
    return found


def _learned_from(context: Context, features: Features) -> int:
    """How many of the images the context was learned from."""
    known = _own_images(context)
    return sum(sha256 in known for sha256 in features.sha256)


def _own_images(context: Context) -> set[str]:
    """sha256 of the images the context was learned from."""
    return {row.tobytes().hex() for row in context.shots.sha256[context.shots.held_out == 0]}
