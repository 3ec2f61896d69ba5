"""Classify: the most probable classes of photos in files and folder trees."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.commands.common import (
    OnProgress,
    chosen_share,
    encode_photos,
    load_encoder_for,
    locate,
    passed_over,
    skipped_files,
    without_named,
)
from promptctl.commands.places import check_places
from promptctl.context.card import Card
from promptctl.data.remarks import not_photos
from promptctl.errors import NoImages
from promptctl.report import (
    Classified,
    ClassifyReport,
    Guess,
)
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.classification.classifier import Predictions
    from promptctl.data.images import Skipped
    from promptctl.encoding.pipeline import Features


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
    blend = checks.share(blend)
    check_places(ref, inputs, store, "promptctl classify {photos} --prompt {context}")
    source = locate(ref, store)
    from promptctl.classification.classifier import Classifier

    context = source.load()
    paths, passed = _gathered(inputs)
    encoder = load_encoder_for(context, source.name, model, device)
    features, skipped = encode_photos(paths, encoder, on_progress)
    left_out = (*passed, *without_named(skipped, inputs))
    if not len(features):
        _refuse_no_photo(inputs, left_out)
    share = chosen_share(blend, context, source.name, model, device, on_progress)
    predictions = Classifier.of(context, share=share).predict(features.vectors)
    found = _classified(features, predictions, context.card, top)
    return ClassifyReport(source.name, share, blend is None, found, skipped_files(left_out), passed_over(left_out))


def _gathered(inputs: Sequence[Path]) -> tuple[list[Path], list[Skipped]]:
    """The files to classify, and what is passed over before any is read.

    raises   NoImages when there is none
    """
    from promptctl.data.images import Skipped, photos_among
    from promptctl.data.walk import walk

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


def _classified(features: Features, predictions: Predictions, card: Card, top: int) -> tuple[Classified, ...]:
    best = predictions.top(min(top, len(card.classes)))
    return tuple(
        Classified(
            path,
            tuple(Guess(card.labels[c], card.names[c], float(predictions.probabilities[row, c])) for c in best[row]),
        )
        for row, path in enumerate(features.paths)
    )
