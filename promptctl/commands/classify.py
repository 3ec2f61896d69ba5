"""Classify: the most probable classes of photos in files and folder trees."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.commands.common import OnProgress, chosen_share, load_encoder_for, locate
from promptctl.commands.places import check_places
from promptctl.data.remarks import not_photos
from promptctl.errors import NoImages
from promptctl.report import Classified, ClassifyReport, Guess, NotAPhoto, SkippedFile
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.classification.classifier import Answer, Classifier
    from promptctl.data.images import Skipped
    from promptctl.encoding.encoder import ImageEncoder

_Found = Classified | SkippedFile | NotAPhoto


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
    """The most probable classes of every image among files and folder trees; `blend` as in `evaluate`.

    Images are encoded while the items of the report are taken; whatever can be refused before is refused here.
    """
    blend = checks.share(blend)
    check_places(ref, inputs, store, "promptctl classify {photos} --prompt {context}")
    source = locate(ref, store)
    from promptctl.classification.classifier import Classifier

    context = source.load()
    files = gathered(inputs)
    encoder = load_encoder_for(context, source.name, model, device)
    share = chosen_share(blend, context, source.name, model, device, on_progress)
    classifier = Classifier.of(context, share=share)
    top = min(top, len(classifier.classes))
    return ClassifyReport(
        context=source.name,
        blend=share,
        blend_chosen=blend is None,
        class_names=classifier.names,
        top=top,
        files=files.photos,
        found=_found(inputs, files, classifier, encoder, top, on_progress),
        passed_over=files.beside,
    )


@dataclass(frozen=True)
class _Files:
    """What lies under the inputs, before any of it is opened."""

    photos: list[str]  # as text: a hundred thousand paths are many
    beside: Counter[str]  # files that lie beside photos, by the end of their names
    closed: list[SkippedFile]  # folders that cannot be read


def gathered(inputs: Sequence[Path]) -> _Files:
    """NoImages when there is nothing to look at, or something that is named does not exist."""
    from promptctl.data.walk import Closed, every_file, is_beside, suffix_of

    missing = next((path for path in inputs if not os.path.lexists(path)), None)
    if missing is not None:
        raise NoImages(f"there is no file or folder {missing}", f"ls {missing.parent}")
    named = _named(inputs)
    files = _Files([], Counter(), [])
    for found in every_file(inputs):
        if isinstance(found, Closed):
            files.closed.append(SkippedFile(found.path, found.reason))
        elif is_beside(found) and found not in named:
            files.beside[suffix_of(found)] += 1
        else:
            files.photos.append(found)
    if not files.photos and not files.closed:
        raise _no_photo(inputs, files.beside)
    return files


def _named(inputs: Sequence[Path]) -> frozenset[str]:
    """What a person names is meant to be a photo, whatever it is called."""
    return frozenset(map(os.fspath, inputs))


def _no_photo(inputs: Sequence[Path], others: Counter[str]) -> NoImages:
    where = f"in {', '.join(map(str, inputs))}"
    if others:
        return NoImages(f"there is no photo {where}, only {not_photos(most_first(others))}", f"ls {inputs[0]}")
    return NoImages(f"there is no file {where}", "give photos, or folders that have some in them")


def most_first(counts: Counter[str]) -> Mapping[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _found(
    inputs: Sequence[Path],
    files: _Files,
    classifier: Classifier,
    encoder: ImageEncoder,
    top: int,
    on_progress: OnProgress | None,
) -> Iterator[_Found]:
    """Every file as it is classified or found to be none; NoImages after the last when all were something else."""
    from promptctl.encoding.cache import FeatureCache

    named, total = _named(inputs), len(files.photos)
    on_done = (lambda done: on_progress("encoding", done, total)) if on_progress else None
    others = Counter(files.beside)
    yield from files.closed
    with FeatureCache() as cache:
        for image in classifier.classify(map(Path, files.photos), encoder, cache, on_done):
            item = _item(image, named, top)
            others.update([item.suffix] if isinstance(item, NotAPhoto) else [])
            yield item
    if others.total() - files.beside.total() == total and not files.closed:
        raise _no_photo(inputs, others)


def _item(image: Answer | Skipped, named: frozenset[str], top: int) -> _Found:
    from promptctl.data.images import Skipped
    from promptctl.data.walk import suffix_of

    if not isinstance(image, Skipped):
        assert image.path is not None  # it came from one
        guesses = (Guess(entry.label, entry.name, probability) for entry, probability in image.top(top))
        return Classified(image.path, tuple(guesses))
    if image.foreign and os.fspath(image.path) not in named:
        return NotAPhoto(suffix_of(image.path))
    return SkippedFile(image.path, image.reason)
