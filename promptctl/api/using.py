"""Evaluate, inspect, classify: what a stored context says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl.api.common import OnProgress, locate, own_backbone, skipped_files
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
from promptctl.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.backbone import Backbone
    from promptctl.classifier import Predictions
    from promptctl.context import Context
    from promptctl.features import Features
    from promptctl.images import ImageFolder, LabelledImage, Skipped
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
    source = locate(ref, store)
    from promptctl.images import ImageFolder, Skipped

    context = source.load()
    folder = ImageFolder.scan(photos)
    part = split or folder.measured_part
    images = _to_measure_on(folder, part)
    index = _class_index(context.card, sorted({image.label for image in images}), source.name)
    strange = [
        Skipped(image.path, f"'{image.label}' is not a class of {source.name}")
        for image in images
        if image.label not in index
    ]
    images = tuple(image for image in images if image.label in index)
    backbone = own_backbone(context, source.name, model, device)
    features, skipped = _features([image.path for image in images], backbone, on_progress)
    if not len(features):
        raise NoImages(f"none of the {len(images)} images in {photos} could be read", f"ls {photos}")
    label_of = {image.path: image.label for image in images}
    import numpy as np

    targets = np.array([index[label_of[path]] for path in features.paths], dtype=np.int64)
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
    source = locate(ref, store)
    missing = next((path for path in inputs if not path.exists() and not path.is_symlink()), None)
    if missing is not None:
        raise NoImages(f"there is no file or folder {missing}", f"ls {missing.parent}")
    from promptctl.blend import mixed
    from promptctl.classifier import predict
    from promptctl.images import walk

    context = source.load()
    paths = list(walk(inputs))
    if not paths:
        raise NoImages(f"there is no file in {', '.join(map(str, inputs))}", f"ls {inputs[0]}")
    backbone = own_backbone(context, source.name, model, device)
    features, skipped = _features(paths, backbone, on_progress)
    share = _share(blend, context, source.name, backbone, on_progress)
    texts = mixed(context.text_features, context.zero_shot_features, share)
    predictions = predict(features.vectors, texts, logit_scale=context.card.logit_scale)
    found = _classified(features, predictions, context.card, top)
    return ClassifyReport(source.name, share, blend is None, found, skipped_files(skipped))


def _to_measure_on(folder: ImageFolder, part: str | None) -> tuple[LabelledImage, ...]:
    if part in (None, "all"):
        return folder.images
    images = folder.only(part)
    if not images:
        found = " and ".join(sorted(folder.splits))
        only = f", only {found}" if found else " and no parts at all"
        raise NoImages(f"{folder.root} has no images in the split '{part}'{only}", "--split all")
    return images


def _class_index(card: Card, labels: Sequence[str], context: str) -> dict[str, int]:
    """Which class of the context each folder means, where it means one.

    By label, else by name or alias, else by any of them whatever its case; a word that means two classes means none.
    """
    by_label = _meanings((i, entry.label) for i, entry in enumerate(card.classes))
    by_name = _meanings((i, word) for i, entry in enumerate(card.classes) for word in (entry.name, *entry.aliases))
    in_any_case = _meanings(
        (i, w.casefold()) for words in (by_label, by_name) for w, found in words.items() for i in found
    )
    index = {}
    for label in labels:
        meant = by_label.get(label) or by_name.get(label) or in_any_case.get(label.casefold(), set())
        if len(meant) == 1:
            (index[label],) = meant
    if not index:
        raise UnknownClasses(labels, context)
    return index


def _meanings(words: Iterable[tuple[int, str]]) -> dict[str, set[int]]:
    meant: defaultdict[str, set[int]] = defaultdict(set)
    for i, word in words:
        meant[word].add(i)
    return dict(meant)


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
    if asked is not None:
        return asked
    from promptctl.blend import share_by_folds

    on_fold = partial(on_progress, "blending") if on_progress else None
    return share_by_folds(context, name, backbone.tower, on_fold)


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
