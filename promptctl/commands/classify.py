"""Classify: the most probable classes of photos in files and folder trees."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.commands.answers import (
    UNKNOWN,
    Answering,
    Taking,
    answered,
    answering_by_words,
    answerings_by_contexts,
    check_words_alone,
    of_one_backbone,
    several,
)
from promptctl.commands.detected import PASSED, Files, Photos, Shown, photos_named, shown
from promptctl.commands.gather import Gathered, gathered, listed_in, named, no_photo
from promptctl.commands.places import check_places
from promptctl.commands.results import Results
from promptctl.commands.sources import locate
from promptctl.errors import WrongOption
from promptctl.progress import OnProgress
from promptctl.remote import path_of
from promptctl.report import (
    Classified,
    ClassifyReport,
    Detected,
    Guess,
    NotAPhoto,
    SkippedFile,
    Survey,
    Told,
)
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.classification.classifier import Answer
    from promptctl.context.card import ClassEntry
    from promptctl.data.readers.detections import Detection, Detections
    from promptctl.encoding.files import Skipped

_LONGEST_BURST = 86400.0  # seconds between two photos
_Found = Classified | SkippedFile | NotAPhoto


def classify(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    ref: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    words: str | Sequence[str] | None = None,
    template: str | None = None,
    files_from: str | os.PathLike[str] | None = None,
    null: bool = False,
    exclude: str | Sequence[str] = (),
    top: int = 3,
    burst: float | None = None,
    unknown: float | None = UNKNOWN,
    min_confidence: float = 0.0,
    accept_error: float | None = None,
    results: Results | None = None,
    together: bool = False,
    detections: str | os.PathLike[str] | None = None,
    detection_threshold: float | None = None,
    survey: Survey | None = None,
    taxa: str | os.PathLike[str] | None = None,
    blend: float | None = 1.0,
    model: str | None = None,
    device: str = "auto",
    store: Store | None = None,
    apart: Iterable[Path] = (),
    on_progress: OnProgress | None = None,
) -> ClassifyReport:
    """The most probable classes of every image among files and folder trees, by a context or by words alone.

    Images are encoded while the items of the report are taken; whatever can be refused before is refused here.

    inputs        files and folders, searched through
    ref           NAME, NAME@VERSION or a context file; or several of one backbone, which encodes every image once
    words         instead of a context: class names with commas between them or one by one, told apart zero-shot
    template      of words: a sentence with {}, or a name that clip.templates knows; None: "a photo of a {}."
    files_from    a list of more files and folders, one a line; "-": stdin
    null          its paths end in a NUL instead
    exclude       files and folders to leave out, as in a .gitignore: one pattern or several
    top           classes per image, from 1
    burst         seconds between photos of one folder, by their EXIF, that are answered as one; None: each by itself
    unknown       of a context: share of one's own photos that may be called unknown, for being less like what was
                  learned from; None: no photo is
    min_confidence   probability from which on an answer is taken, the others are doubtful
    accept_error  of a context: share of wrong ones among the answers that are taken; None: any
    results       what is written down already, which does not come again; to be saved there
    together      all photos are answered together, so that each answer depends on the others and none comes before
                  the last photo is encoded
    detections    what a detector of animals found, as MegaDetector or SpeciesNet wrote it: every animal is looked at by
                  itself, and photos of people, of vehicles and of nothing are passed through. Without inputs the photos
                  are those that it names
    detection_threshold   the detector's confidence from which on a box is believed; None: as the file recommends
    survey        of formats that want it: tell when each photo was taken, and what it does not say of that
    taxa          scientific names for formats that want them: lines of class,name as `learn --classes` reads them
    blend         of a context: share of the learned text features, 0 to 1, the rest zero-shot's; None: chosen by
                  folds of its shots
    model         of a context: where to find its own backbone, if not under the name it was learned with; of words:
                  backbone, None: mini
    device        auto, cpu, cuda or mps
    store         where names are looked up; None: the store of PROMPTCTL_HOME
    apart         folders that are not entered from another, wherever a link leads
    on_progress   called with what is being done, how much is done, and of how much
    returns       a report; `items()` gives every image once, as soon as it is classified
    raises        BadSetting, WrongOption, NotInStore and BadContextFile and their kinds, DatasetError and its kind,
                  BackboneError and its kind
    """
    paths, top = checks.paths("inputs", inputs), checks.whole("top", top, 1, checks.MOST, 3)
    blend, model, device = checks.share(blend), checks.model(model), checks.one_of("device", device, checks.DEVICES)
    burst = None if burst is None else checks.number("burst", burst, 0, _LONGEST_BURST, 60)
    together = checks.flag("together", together)
    taking = Taking(unknown, min_confidence, accept_error)
    refs = several(ref)
    detector = _Detector.of(detections, detection_threshold, burst)
    asked = _Asked.of(
        paths, files_from, checks.flag("null", null), checks.texts("exclude", exclude), tuple(apart), detector
    )
    if words is not None:
        check_words_alone(refs, blend, taking)
        answering = answering_by_words(words, template, model or "mini", device, taking, together)
        answerings, files = [answering], asked.gathered()
    elif not refs:
        raise WrongOption("a context or words are needed to classify with", 'add --prompt NAME, or --words "emu, ibis"')
    elif template is not None:
        raise WrongOption("a context has a template of its own, --template has no effect", "leave out --template")
    else:
        for one in refs:
            check_places(one, paths, store, "promptctl classify {photos} --prompt {context}")
        sources = [locate(one, store) for one in refs]
        contexts, files = of_one_backbone(sources), asked.gathered()
        answerings = answerings_by_contexts(contexts, blend, model, device, on_progress, taking, together)
    first, *others = answerings
    classifier = first.classifier
    photos = detector.photos(asked, files) if detector else None
    return ClassifyReport(
        context=first.context,
        blend=classifier.share,
        blend_chosen=blend is None,
        others={str(other.context): other.classifier.share for other in others},
        class_names=classifier.names,
        names_of_others={str(other.context): other.classifier.names for other in others},
        top=min(top, len(classifier.classes)),
        files=files.photos,
        burst=burst,
        together=together,
        found=_found(
            asked,
            files,
            photos,
            answerings,
            _Telling(tuple(str(one.context) for one in others), top, survey is not None),
            burst,
            results.known if results else frozenset(),
            on_progress,
        ),
        taken=first.taken,
        passed_over=files.beside,
        settings=_settings(asked, files, answerings, taking, top, words, template),
        labels=tuple(dict.fromkeys(classifier.labels + (PASSED if photos else ()))),
        detections=photos.said if photos else None,
        file_of=Files(paths, photos).file_of,
        survey=survey,
        taxa=_taxa(taxa, classifier.labels),
    )


def _taxa(file: str | os.PathLike[str] | None, labels: Sequence[str]) -> Mapping[str, str]:
    """Label → scientific name."""
    if file is None:
        return {}
    from promptctl.data.readers.class_names import read_names

    return read_names(checks.path("taxa", file), labels)


@dataclass(frozen=True)
class _Asked:
    """Which files somebody asked about."""

    inputs: Sequence[Path]
    listed: Sequence[str]
    exclude: Sequence[str]
    apart: Sequence[Path]
    files_from: str | None
    detector: _Detector | None

    @staticmethod
    def of(
        inputs: Sequence[Path],
        files_from: str | os.PathLike[str] | None,
        null: bool,
        exclude: Sequence[str],
        apart: Sequence[Path],
        detector: _Detector | None,
    ) -> _Asked:
        if files_from is None and not inputs and detector is None:
            raise WrongOption("there is nothing to classify", "give photos or folders, or a list with --files-from")
        file = None if files_from is None else checks.path("files_from", files_from)
        listed = listed_in(file, null=null) if file else []
        return _Asked(inputs, listed, exclude, apart, None if file is None else str(file), detector)

    def gathered(self) -> Gathered:
        if self.detector and not self.inputs and self.files_from is None:
            return gathered((), self.detector.named(), self.exclude, self.apart)
        return gathered(self.inputs, self.listed, self.exclude, self.apart)


@dataclass(frozen=True)
class _Detector:
    """A file of detections that somebody gave."""

    found: Detections
    threshold: float | None

    @staticmethod
    def of(detections: str | os.PathLike[str] | None, threshold: float | None, burst: float | None) -> _Detector | None:
        if detections is None:
            if threshold is not None:
                raise WrongOption("there are no boxes, --detection-threshold has no effect", "add --detections FILE")
            return None
        if burst is not None:
            raise WrongOption(
                "boxes are answered by themselves and a burst as one", "leave out --burst or --detections"
            )
        from promptctl.data.readers.detections import read_detections

        if threshold is not None:
            threshold = checks.number("detection_threshold", threshold, 0, 1, 0.2)
        return _Detector(read_detections(checks.path("detections", detections)), threshold)

    def named(self) -> list[str]:
        from promptctl.encoding.formats import is_image_name

        return photos_named(self.found, lambda path: is_image_name(Path(path)))

    def photos(self, asked: _Asked, files: Gathered) -> Photos:
        return Photos.of(self.found, files.photos, list(map(os.fspath, asked.inputs)), self.threshold)


def _settings(
    asked: _Asked,
    files: Gathered,
    answerings: Sequence[Answering],
    taking: Taking,
    top: int,
    words: str | Sequence[str] | None,
    template: str | None,
) -> dict[str, object]:
    """What decides the answers, beside the head of the report."""
    from promptctl.encoding.decode import DECODER

    first = answerings[0]
    return {
        "answers": [by.classifier.sha256() for by in answerings],
        "backbone": first.encoder.fingerprint,
        "decoder": DECODER,
        **asdict(taking),
        "top": top,
        "words": words,
        "template": template,
        "inputs": list(map(os.fspath, asked.inputs)),
        "files_from": asked.files_from,
        "exclude": list(asked.exclude),
        # of answers that depend on all photos: which these are
        "photos": _said_of(files.photos) if any(by.together for by in answerings) else None,
        **({"detections_sha256": asked.detector.found.sha256} if asked.detector else {}),
    }


def _said_of(photos: Sequence[str]) -> str:
    digest = hashlib.sha256("\0".join(photos).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{len(photos)} files, {digest[:16]}"


@dataclass(frozen=True)
class _Telling:
    """What is told of a photo."""

    contexts: tuple[str, ...]  # those of all answers but the first
    top: int
    times: bool


def _found(
    asked: _Asked,
    files: Gathered,
    photos: Photos | None,
    answerings: Sequence[Answering],
    telling: _Telling,
    burst: float | None,
    known: AbstractSet[str],
    on_progress: OnProgress | None,
) -> Iterator[_Found]:
    """Every file as it is classified or found to be none; NoImages after the last when all were something else."""
    meant, total = named(asked.inputs), len(files.photos)
    others = Counter(files.beside)
    yield from (closed for closed in files.closed if os.fspath(closed.path) not in known)
    images: Iterator[tuple[Answer, ...] | Shown | SkippedFile | Skipped]
    if photos:
        images = shown(answerings, photos.found, on_progress, known)
    else:
        images = answered(answerings, files.photos, on_progress, burst=burst, known=known)
    for image in images:
        item = _item(image, telling, meant)
        others.update([item.suffix] if isinstance(item, NotAPhoto) else [])
        if isinstance(item, NotAPhoto) or os.fspath(item.path) not in known:
            yield item
    if others.total() - files.beside.total() == total and not files.closed:
        raise no_photo(asked.inputs, others, excluding=bool(asked.exclude))


def _item(
    image: tuple[Answer, ...] | Shown | SkippedFile | Skipped, telling: _Telling, meant: frozenset[str]
) -> _Found:
    """A photo as the report has it."""
    from promptctl.data.walk import suffix_of

    if isinstance(image, SkippedFile):
        return image
    if isinstance(image, Shown):
        return _timed(_with_boxes(image, telling), telling)
    if isinstance(image, tuple):
        return _timed(_classified(image, telling), telling)
    if image.foreign and os.fspath(image.path) not in meant:
        return NotAPhoto(suffix_of(image.path))
    return SkippedFile(image.path, image.reason)


def _timed(item: Classified, telling: _Telling) -> Classified:
    if not telling.times:
        return item
    from promptctl.encoding.decode import moment_of

    moment = moment_of(item.path)
    return replace(item, taken_at=moment.iso() if moment else None)


def _with_boxes(found: Shown, telling: _Telling) -> Classified:
    """A photo that a detector has looked at, answered by its most certain box, as a whole, or by the detector alone."""
    photo = found.photo
    answers = dict(zip(photo.boxes, found.answers, strict=False))  # a photo without boxes has one answer, of it all
    detections = tuple(_detected(one, answers.get(i), telling) for i, one in enumerate(photo.detections))
    if photo.passed is None:
        item = _classified(found.answers[found.best], telling)
        return replace(item, detections=detections, answer_of="box" if photo.boxes else "photo")
    label, probability = photo.passed
    told = Told((Guess(label, label, probability),))
    others = dict.fromkeys(telling.contexts, told)
    return Classified(path_of(photo.path), told.top, others=others, answer_of="detector", detections=detections)


def _detected(one: Detection, answers: tuple[Answer, ...] | None, telling: _Telling) -> Detected:
    if answers is None:
        return Detected(one.category, one.confidence, one.box)
    told = told_by(answers[0], telling.top)
    return Detected(one.category, one.confidence, one.box, told.top, told.unknown, told.doubtful, told.likeness)


def _classified(answers: tuple[Answer, ...], telling: _Telling) -> Classified:
    image, *rest = answers
    assert image.path is not None  # it came from one
    first, *others = (told_by(answer, telling.top) for answer in (image, *rest))
    return Classified(
        image.path,
        first.top,
        first.unknown,
        first.doubtful,
        first.likeness,
        first.alone,
        image.sha256,
        dict(zip(telling.contexts, others, strict=True)),
        image.burst,
    )


def told_by(answer: Answer, top: int) -> Told:
    alone = _guesses(answer.top_alone(1))[0] if answer.alone is not None else None
    return Told(_guesses(answer.top(top)), answer.unknown, answer.doubtful, answer.likeness, alone)


def _guesses(top: Sequence[tuple[ClassEntry, float]]) -> tuple[Guess, ...]:
    return tuple(Guess(entry.label, entry.name, probability) for entry, probability in top)
