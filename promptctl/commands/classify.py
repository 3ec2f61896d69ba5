"""Classify: the most probable classes of photos in files and folder trees."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.commands.backbones import chosen_share, load_encoder_for
from promptctl.commands.places import check_places
from promptctl.commands.sources import locate
from promptctl.data.remarks import not_photos
from promptctl.errors import NoImages, WrongOption
from promptctl.progress import OnProgress
from promptctl.report import Classified, ClassifyReport, Guess, NotAPhoto, SkippedFile
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.classification.classifier import Answer, Classifier
    from promptctl.encoding.encoder import ImageEncoder
    from promptctl.encoding.files import Skipped

_Found = Classified | SkippedFile | NotAPhoto


def classify(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    ref: str | os.PathLike[str] | None = None,
    *,
    words: str | Sequence[str] | None = None,
    template: str | None = None,
    top: int = 3,
    blend: float | None = 1.0,
    model: str | None = None,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> ClassifyReport:
    """The most probable classes of every image among files and folder trees, by a context or by words alone.

    Images are encoded while the items of the report are taken; whatever can be refused before is refused here.

    inputs        files and folders, searched through
    ref           NAME, NAME@VERSION or a context file
    words         instead of a context: class names with commas between them or one by one, told apart zero-shot
    template      of words: a sentence with {}, or a name that clip.templates knows; None: "a photo of a {}."
    top           classes per image, from 1
    blend         of a context: share of the learned text features, 0 to 1, the rest zero-shot's; None: chosen by
                  folds of its shots
    model         of a context: where to find its own backbone, if not under the name it was learned with; of words:
                  backbone, None: mini
    device        auto, cpu, cuda or mps
    store         where names are looked up; None: the store of PROMPTCTL_HOME
    on_progress   called with what is being done, how much is done, and of how much
    returns       a report; `items()` gives every image once, as soon as it is classified
    raises        BadSetting, WrongOption, NotInStore and BadContextFile and their kinds, DatasetError and its kind,
                  BackboneError and its kind
    """
    paths, top = checks.paths("inputs", inputs), checks.whole("top", top, 1, checks.MOST, 3)
    blend, model, device = checks.share(blend), checks.model(model), checks.one_of("device", device, checks.DEVICES)
    if words is not None:
        _check_words_alone(ref, blend)
        asked = _asked_by_words(paths, words, template, model or "mini", device)
    elif ref is None:
        raise WrongOption("a context or words are needed to classify with", 'add --prompt NAME, or --words "emu, ibis"')
    elif template is not None:
        raise WrongOption("a context has a template of its own, --template has no effect", "leave out --template")
    else:
        asked = _asked_by_context(paths, ref, blend, model, device, store, on_progress)
    top = min(top, len(asked.classifier.classes))
    return ClassifyReport(
        context=asked.context,
        blend=asked.classifier.share,
        blend_chosen=blend is None,
        class_names=asked.classifier.names,
        top=top,
        files=asked.files.photos,
        found=_found(paths, asked.files, asked.classifier, asked.encoder, top, on_progress),
        passed_over=asked.files.beside,
    )


@dataclass(frozen=True)
class _Asked:
    """What is classified, and by what."""

    files: _Files
    context: str | None  # None: words
    classifier: Classifier
    encoder: ImageEncoder


def _asked_by_context(
    inputs: Sequence[Path],
    ref: str | os.PathLike[str],
    blend: float | None,
    model: str | None,
    device: str,
    store: Store | None,
    on_progress: OnProgress | None,
) -> _Asked:
    check_places(ref, inputs, store, "promptctl classify {photos} --prompt {context}")
    source = locate(ref, store)
    from promptctl.classification.classifier import Classifier

    context = source.load()
    files = gathered(inputs)
    encoder = load_encoder_for(context, source.name, model, device)
    share = chosen_share(blend, context, source.name, model, device, on_progress)
    return _Asked(files, source.name, Classifier.of(context, share=share), encoder)


def _check_words_alone(ref: str | os.PathLike[str] | None, blend: float | None) -> None:
    if ref is not None:
        raise WrongOption("a context has classes of its own, --words has no effect", "leave out --words or --prompt")
    if blend != 1:
        raise WrongOption("nothing is learned from words, --blend has no effect", "leave out --blend")


def _asked_by_words(
    inputs: Sequence[Path], words: str | Sequence[str], template: str | None, model: str, device: str
) -> _Asked:
    from promptctl.clip import templates
    from promptctl.commands.words import class_words, classifier_of

    classes, template = class_words(words), templates.DEFAULT if template is None else template
    templates.check(template)
    files = gathered(inputs)
    classifier, encoder = classifier_of(classes, template, model, device)
    return _Asked(files, None, classifier, encoder)


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
    from promptctl.data.walk import suffix_of
    from promptctl.encoding.files import Skipped

    if not isinstance(image, Skipped):
        assert image.path is not None  # it came from one
        guesses = (Guess(entry.label, entry.name, probability) for entry, probability in image.top(top))
        return Classified(image.path, tuple(guesses))
    if image.foreign and os.fspath(image.path) not in named:
        return NotAPhoto(suffix_of(image.path))
    return SkippedFile(image.path, image.reason)
