"""Classify: the most probable classes of photos in files and folder trees."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.commands.answers import Answering, answering_by_context
from promptctl.commands.gather import Gathered, gathered, listed_in, named, no_photo
from promptctl.commands.places import check_places
from promptctl.commands.sources import locate
from promptctl.errors import WrongOption
from promptctl.progress import OnProgress
from promptctl.report import Classified, ClassifyReport, Guess, NotAPhoto, SkippedFile
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.classification.classifier import Answer
    from promptctl.context.card import ClassEntry
    from promptctl.encoding.files import Skipped

_Found = Classified | SkippedFile | NotAPhoto


def classify(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    ref: str | os.PathLike[str] | None = None,
    *,
    words: str | Sequence[str] | None = None,
    template: str | None = None,
    files_from: str | os.PathLike[str] | None = None,
    null: bool = False,
    exclude: str | Sequence[str] = (),
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
    files_from    a list of more files and folders, one a line; "-": stdin
    null          its paths end in a NUL instead
    exclude       files and folders to leave out, as in a .gitignore: one pattern or several
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
    asked = _Asked.of(paths, files_from, checks.flag("null", null), checks.texts("exclude", exclude))
    if words is not None:
        _check_words_alone(ref, blend)
        answering, files = _answering_by_words(words, template, model or "mini", device), asked.gathered()
    elif ref is None:
        raise WrongOption("a context or words are needed to classify with", 'add --prompt NAME, or --words "emu, ibis"')
    elif template is not None:
        raise WrongOption("a context has a template of its own, --template has no effect", "leave out --template")
    else:
        check_places(ref, paths, store, "promptctl classify {photos} --prompt {context}")
        source = locate(ref, store)
        context, files = source.load(), asked.gathered()
        answering = answering_by_context(context, source.name, blend, model, device, on_progress)
    classifier = answering.classifier
    top = min(top, len(classifier.classes))
    return ClassifyReport(
        context=answering.context,
        blend=classifier.share,
        blend_chosen=blend is None,
        class_names=classifier.names,
        top=top,
        files=files.photos,
        found=_found(asked, files, answering, top, on_progress),
        passed_over=files.beside,
    )


@dataclass(frozen=True)
class _Asked:
    """Which files somebody asked about."""

    inputs: Sequence[Path]
    listed: Sequence[str]
    exclude: Sequence[str]

    @staticmethod
    def of(
        inputs: Sequence[Path], files_from: str | os.PathLike[str] | None, null: bool, exclude: Sequence[str]
    ) -> _Asked:
        if files_from is None and not inputs:
            raise WrongOption("there is nothing to classify", "give photos or folders, or a list with --files-from")
        listed = [] if files_from is None else listed_in(checks.path("files_from", files_from), null=null)
        return _Asked(inputs, listed, exclude)

    def gathered(self) -> Gathered:
        return gathered(self.inputs, self.listed, self.exclude)


def _check_words_alone(ref: str | os.PathLike[str] | None, blend: float | None) -> None:
    if ref is not None:
        raise WrongOption("a context has classes of its own, --words has no effect", "leave out --words or --prompt")
    if blend != 1:
        raise WrongOption("nothing is learned from words, --blend has no effect", "leave out --blend")


def _answering_by_words(words: str | Sequence[str], template: str | None, model: str, device: str) -> Answering:
    from promptctl.clip import templates
    from promptctl.commands.words import class_words, classifier_of

    classes, template = class_words(words), templates.DEFAULT if template is None else template
    templates.check(template)
    return Answering(None, *classifier_of(classes, template, model, device))


def _found(
    asked: _Asked, files: Gathered, answering: Answering, top: int, on_progress: OnProgress | None
) -> Iterator[_Found]:
    """Every file as it is classified or found to be none; NoImages after the last when all were something else."""
    meant, total = named(asked.inputs), len(files.photos)
    others = Counter(files.beside)
    yield from files.closed
    for image in answering.answers(files.photos, on_progress):
        item = _item(image, meant, top)
        others.update([item.suffix] if isinstance(item, NotAPhoto) else [])
        yield item
    if others.total() - files.beside.total() == total and not files.closed:
        raise no_photo(asked.inputs, others, excluding=bool(asked.exclude))


def _item(image: Answer | Skipped, meant: frozenset[str], top: int) -> _Found:
    from promptctl.data.walk import suffix_of
    from promptctl.encoding.files import Skipped

    if not isinstance(image, Skipped):
        return _classified(image, top)
    if image.foreign and os.fspath(image.path) not in meant:
        return NotAPhoto(suffix_of(image.path))
    return SkippedFile(image.path, image.reason)


def _classified(image: Answer, top: int) -> Classified:
    assert image.path is not None  # it came from one
    alone = _guesses(image.top_alone(1))[0] if image.alone is not None else None
    return Classified(
        image.path, _guesses(image.top(top)), image.unknown, image.doubtful, image.likeness, alone, image.sha256
    )


def _guesses(top: Sequence[tuple[ClassEntry, float]]) -> tuple[Guess, ...]:
    return tuple(Guess(entry.label, entry.name, probability) for entry, probability in top)
