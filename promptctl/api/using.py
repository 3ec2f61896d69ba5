"""Evaluate, inspect, classify: what a stored context says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import __version__
from promptctl.api.common import OnProgress, locate, own_backbone, passed_over, skipped_files
from promptctl.api.places import check_not_empty, check_places
from promptctl.card import Card
from promptctl.errors import NoImages, UnknownClasses
from promptctl.report import (
    Classified,
    ClassifyReport,
    ClassScore,
    EvaluateReport,
    Guess,
    InspectReport,
    NearWordRow,
    Scores,
    VectorReport,
)
from promptctl.report.words import not_photos
from promptctl.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.backbone import Backbone
    from promptctl.classifier import Predictions
    from promptctl.context import Context
    from promptctl.features import Features
    from promptctl.images import ImageFolder, LabelledImage, Skipped
    from promptctl.text import TextTower
    from promptctl.words import NearWord


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
    check_places(ref, [photos], store, "promptctl evaluate {context} {photos}")
    source = locate(ref, store)
    check_not_empty(photos)
    from promptctl.images import ImageFolder, Skipped

    context = source.load()
    folder = ImageFolder.scan(photos)
    part = split or folder.measured_part
    images = _to_measure_on(folder, part)
    labels = sorted({image.label for image in images})
    index = _class_index(context.card, labels)
    if len(index) < len(labels):  # the tower may read two names as one
        index = _class_index(context.card, labels, own_backbone(context, source.name, model, device).tower)
    if not index:
        raise UnknownClasses(labels, source.name)
    strange = [
        Skipped(image.path, f"'{image.label}' is not a class of {source.name}")
        for image in images
        if image.label not in index
    ]
    images = tuple(image for image in images if image.label in index)
    backbone = own_backbone(context, source.name, model, device)
    features, skipped = _features([image.path for image in images], backbone, on_progress)
    skipped = _meant(skipped, {image.path for image in images if image.listed})
    if not len(features):
        raise NoImages(f"none of the {len(images)} images in {photos} could be read", f"ls {photos}")
    label_of = {image.path: image.label for image in images}
    import numpy as np

    targets = np.array([index[label_of[path]] for path in features.paths], dtype=np.int64)
    _say_what_is_odd(features, label_of, targets, context, source.name)
    where = photos if part in (None, "all") else f"{photos} ({part})"
    share = _share(blend, context, source.name, backbone, on_progress)
    left_out = (*folder.skipped, *strange, *skipped)
    return _evaluation(context, source.name, share, blend is None, str(where), features, targets, left_out)


def inspect(
    ref: str, *, top: int = 5, model: str | None = None, device: str = "auto", store: Store | None = None
) -> InspectReport:
    """What a context is, and the vocabulary tokens nearest to each of its vectors."""
    source = locate(ref, store)
    from promptctl import words

    context = source.load()
    backbone = own_backbone(context, source.name, model, device)
    flat = context.vectors.reshape(-1, context.vectors.shape[-1])
    near = words.nearest(flat, backbone.tower, k=top)
    tokens = context.card.method.context_tokens
    names: Sequence[str | None] = context.card.names if context.card.method.class_specific else (None,)
    vectors = tuple(
        VectorReport(
            names[row // tokens], row % tokens + 1, float((vector @ vector) ** 0.5), _words(by_l2), _words(by_cosine)
        )
        for row, (vector, by_l2, by_cosine) in enumerate(zip(flat, *near.values(), strict=True))
    )
    return InspectReport(source.name, context.card, source.path.stat().st_size, source.path, vectors)


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
    check_places(ref, inputs, store, "promptctl classify {photos} --prompt {context}")
    source = locate(ref, store)
    from promptctl.blend import mixed
    from promptctl.classifier import predict

    context = source.load()
    paths, passed = _gathered(inputs)
    backbone = own_backbone(context, source.name, model, device)
    features, skipped = _features(paths, backbone, on_progress)
    left_out = (*passed, *_meant(skipped, inputs))
    if not len(features):
        _refuse_no_photo(inputs, left_out)
    share = _share(blend, context, source.name, backbone, on_progress)
    texts = mixed(context.text_features, context.zero_shot_features, share)
    predictions = predict(features.vectors, texts, logit_scale=context.card.logit_scale)
    found = _classified(features, predictions, context.card, top)
    return ClassifyReport(source.name, share, blend is None, found, skipped_files(left_out), passed_over(left_out))


def _to_measure_on(folder: ImageFolder, part: str | None) -> tuple[LabelledImage, ...]:
    if part in (None, "all"):
        return folder.images
    images = folder.only(part)
    if not images:
        found = " and ".join(sorted(folder.splits))
        only = f", only {found}" if found else " and no parts at all"
        raise NoImages(f"{folder.root} has no images in the split '{part}'{only}", "--split all")
    return images


def _gathered(inputs: Sequence[Path]) -> tuple[list[Path], list[Skipped]]:
    """The files to classify, and what is passed over before any is read.

    raises   NoImages when there is none
    """
    from promptctl.images import Skipped, photos_among
    from promptctl.walk import walk

    missing = next((path for path in inputs if not os.path.lexists(path)), None)
    if missing is not None:
        raise NoImages(f"there is no file or folder {missing}", f"ls {missing.parent}")
    tree = walk(inputs)
    photos, passed = photos_among(tree.files, named=inputs)
    left_out = [*(Skipped(path, reason) for path, reason in tree.closed), *passed]
    if not photos:
        _refuse_no_photo(inputs, left_out)
    return photos, left_out


def _refuse_no_photo(inputs: Sequence[Path], left_out: Sequence[Skipped]) -> None:
    """NoImages, unless there are files that should be photos and could not be read: these are reported one by one."""
    failed = [item for item in left_out if not item.foreign]
    where = f"in {', '.join(map(str, inputs))}"
    if counts := passed_over(left_out):
        if not failed:
            raise NoImages(f"there is no photo {where}, only {not_photos(counts)}", f"ls {inputs[0]}")
    elif not failed:
        raise NoImages(f"there is no file {where}", "give photos, or folders that have some in them")


def _meant(skipped: Iterable[Skipped], named: Iterable[Path]) -> tuple[Skipped, ...]:
    """What was passed over, and as a failure what a person, or a list, names to be a photo."""
    meant = set(named)
    return tuple(replace(item, foreign=False) if item.path in meant else item for item in skipped)


def _class_index(card: Card, labels: Sequence[str], tower: TextTower | None = None) -> dict[str, int]:
    """Which class of the context each folder means, where it means one."""
    from promptctl.names import meant_by

    return meant_by(labels, card.classes, tower)


def _say_what_is_odd(
    features: Features, label_of: Mapping[Path, str], targets: NDArray[np.int64], context: Context, name: str
) -> None:
    """Pictures in two classes, and pictures that look nearly the same as those the context learned from."""
    import numpy as np

    from promptctl import remarks
    from promptctl.likeness import by_features_alone

    named = [(path, label_of[path], sha256) for path, sha256 in zip(features.paths, features.sha256, strict=True)]
    remarks.say(remarks.one_picture_of_two_classes(named))
    place = {entry.id: i for i, entry in enumerate(context.card.classes)}
    own = context.shots.held_out == 0
    rows = context.shots.features[own].astype(np.float32)
    of_rows = np.array([place[int(id)] for id in context.shots.class_ids[own]], dtype=np.int64)
    known = _own_images(context)
    alike = by_features_alone(features.vectors, targets, rows, of_rows)
    near = [i for i in alike if features.sha256[i] not in known]
    remarks.say(remarks.near_copies((features.paths[i], f"a photo {name} was learned from") for i in near))


def _features(
    paths: Sequence[Path], backbone: Backbone, on_progress: OnProgress | None
) -> tuple[Features, tuple[Skipped, ...]]:
    from promptctl.cache import FeatureCache
    from promptctl.features import encode

    with FeatureCache() as cache:
        return encode(paths, backbone, cache, partial(on_progress, "encoding") if on_progress else None)


def _share(
    asked: float | None, context: Context, name: str, backbone: Backbone, on_progress: OnProgress | None
) -> float:
    """The share that was asked for, or the one folds choose: once a version, which never changes."""
    if asked is not None:
        return asked
    from promptctl.blend import CHOOSER, SHARES, share_by_folds
    from promptctl.results import Results

    facts = {"context": context.card.sha256, "chooser": CHOOSER, "by": __version__}
    with Results() as results:
        known = results.get("share", facts)
        if known is not None and known[0] in SHARES:
            return known[0]
        on_fold = partial(on_progress, "blending") if on_progress else None
        share = share_by_folds(context, name, backbone.tower, on_fold)
        results.put("share", facts, (share,))
    return share


def _evaluation(
    context: Context,
    name: str,
    share: float,
    chosen: bool,
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
        context=name,
        blend=share,
        blend_chosen=chosen,
        where=where,
        images=len(targets),
        learned_from=_learned_from(context, features),
        classes=len(card.classes),
        learned=Scores(**scores(learned, targets)),
        zero_shot=Scores(**scores(zero_shot, targets)),
        zero_shot_template=card.zero_shot_template,
        per_class=per_class,
        skipped=skipped_files(skipped),
        passed_over=passed_over(skipped),
    )


def _learned_from(context: Context, features: Features) -> int:
    """How many of the images the context was learned from."""
    known = _own_images(context)
    return sum(sha256 in known for sha256 in features.sha256)


def _own_images(context: Context) -> set[str]:
    """sha256 of the images the context was learned from."""
    return {row.tobytes().hex() for row in context.shots.sha256[context.shots.held_out == 0]}


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
