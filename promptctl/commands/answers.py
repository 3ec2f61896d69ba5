"""Answers: photos as features, and what a context or words say of them, for every command that acts on it."""

from __future__ import annotations

import os
import shlex
from collections import deque
from collections.abc import Container, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice, tee
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.commands.backbones import chosen_share, load_encoder_for
from promptctl.errors import WrongOption
from promptctl.progress import OnProgress
from promptctl.remote import path_of
from promptctl.report import Rejection, Taken, TakenLine

if TYPE_CHECKING:
    from promptctl.classification.classifier import Answer, Classifier
    from promptctl.classification.gate import Gate
    from promptctl.commands.sources import Source
    from promptctl.context.context import Context
    from promptctl.encoding.boxes import Box
    from promptctl.encoding.encoder import ImageEncoder
    from promptctl.encoding.files import Skipped
    from promptctl.encoding.pipeline import Encoded


UNKNOWN = 0.05  # of one's own photos, at most, that may be called unknown


@dataclass(frozen=True)
class Taking:
    """Which answers somebody wants to be taken.

    unknown          share of one's own photos that may be called unknown; None: no photo is
    min_confidence   probability from which on an answer is taken, the others are doubtful
    accept_error     share of wrong ones among the answers that are taken; None: any
    raises           BadSetting
    """

    unknown: float | None = UNKNOWN
    min_confidence: float = 0.0
    accept_error: float | None = None

    def __post_init__(self) -> None:
        for name in ("unknown", "accept_error"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, checks.number(name, getattr(self, name), 0.0001, 0.5, UNKNOWN))
        object.__setattr__(self, "min_confidence", checks.number("min_confidence", self.min_confidence, 0, 1, 0.8))


@dataclass(frozen=True, eq=False)
class Answering:
    """What photos are answered by."""

    context: str | None  # None: words
    classifier: Classifier
    encoder: ImageEncoder
    taken: Taken = field(default_factory=Taken)  # which answers are, in words
    together: bool = False  # each by itself, or by all of them
    shots: float = 0.0  # of a class, that the classifier was learned from

    def answers(self, photos: Sequence[str], on_progress: OnProgress | None) -> Iterator[Answer | Skipped]:
        """What every photo shows, in the order of the paths and as soon as it is known, and what is passed over."""
        return self.of(encoded(photos, self.encoder, on_progress, len(photos)))

    def of(self, images: Iterator[Encoded | Skipped]) -> Iterator[Answer | Skipped]:
        """What images show that are encoded as they are taken, each in its place, and what is passed over."""
        from promptctl.encoding.files import Skipped

        if self.together:
            from promptctl.classification.together import answers

            yield from answers(images, self.classifier, self.shots)
            return
        for image in images:
            yield image if isinstance(image, Skipped) else self.classifier.answer(image)


def answered(
    answerings: Sequence[Answering],
    photos: Sequence[str],
    on_progress: OnProgress | None,
    *,
    burst: float | None = None,
    known: Container[str] = (),
) -> Iterator[tuple[Answer, ...] | Skipped]:
    """What every photo shows by each of several contexts of one backbone, which encodes it once; as `answers`.

    burst   seconds between photos of one folder that are answered as one; None: each by itself. Photos then come
            folder by folder, those of a burst together
    known   photos that need not come again, and do only where answers that are still to come depend on them
    """
    known = () if any(one.together for one in answerings) else known
    left = [photo for photo in photos if photo not in known]
    if burst is None:
        return _answered(answerings, encoded(left, answerings[0].encoder, on_progress, len(left)))
    return _in_bursts(answerings, photos, burst, known, on_progress) if left else iter(())


def answered_boxes(
    answerings: Sequence[Answering], photos: Sequence[tuple[str, Sequence[Box | None]]], on_progress: OnProgress | None
) -> Generator[tuple[Answer, ...] | Skipped, None, None]:
    """The same of boxes of photos, each by itself, as many items for a photo as it has boxes; None: all of it."""
    return _answered(answerings, _encoded_boxes(photos, answerings[0].encoder, on_progress))


def _answered(
    answerings: Sequence[Answering], encoded: Generator[Encoded | Skipped, None, None]
) -> Generator[tuple[Answer, ...] | Skipped, None, None]:
    from promptctl.encoding.files import Skipped

    with closing(encoded) as images:
        shared = tee(images, len(answerings))
        for found in zip(*(one.of(some) for one, some in zip(answerings, shared, strict=True)), strict=True):
            skipped = next((one for one in found if isinstance(one, Skipped)), None)
            yield skipped or tuple(one for one in found if not isinstance(one, Skipped))


def _in_bursts(
    answerings: Sequence[Answering],
    photos: Sequence[str],
    gap: float,
    known: Container[str],
    on_progress: OnProgress | None,
) -> Iterator[tuple[Answer, ...] | Skipped]:
    from promptctl.data.bursts import bursts_of

    sizes: deque[int] = deque()  # of the bursts that are being encoded

    def in_order() -> Iterator[str]:
        for burst in bursts_of(photos, gap, partial(on_progress, "reading times") if on_progress else None):
            if not all(photo in known for photo in burst):
                sizes.append(len(burst))
                yield from burst

    images = encoded(in_order(), answerings[0].encoder, on_progress, len(photos))
    with closing(_answered(answerings, images)) as answers:
        for first in answers:
            yield from _as_one(answerings, [first, *islice(answers, sizes.popleft() - 1)])


def _as_one(
    answerings: Sequence[Answering], burst: Sequence[tuple[Answer, ...] | Skipped]
) -> Iterator[tuple[Answer, ...] | Skipped]:
    """A burst answered as one by each context; what is passed over stays in its place."""
    from promptctl.classification.bursts import as_one

    told = zip(*(one for one in burst if isinstance(one, tuple)), strict=True)
    whole = zip(*(as_one(some, by.classifier.gate) for by, some in zip(answerings, told, strict=False)), strict=True)
    return (next(whole) if isinstance(one, tuple) else one for one in burst)


def encoded(
    photos: Iterable[str], encoder: ImageEncoder, on_progress: OnProgress | None, total: int
) -> Generator[Encoded | Skipped, None, None]:
    """Photos as an encoder sees them, in the order of the paths, and what is passed over."""
    from promptctl.encoding.cache import FeatureCache
    from promptctl.encoding.pipeline import stream

    on_done = (lambda done: on_progress("encoding", done, total)) if on_progress else None
    with FeatureCache() as cache:
        yield from stream(map(path_of, photos), encoder, cache, on_done)


def _encoded_boxes(
    photos: Sequence[tuple[str, Sequence[Box | None]]], encoder: ImageEncoder, on_progress: OnProgress | None
) -> Generator[Encoded | Skipped, None, None]:
    from promptctl.encoding.cache import FeatureCache
    from promptctl.encoding.pipeline import stream_boxes

    total = sum(len(boxes) for _, boxes in photos)
    on_done = (lambda done: on_progress("encoding", done, total)) if on_progress else None
    with FeatureCache() as cache:
        yield from stream_boxes(((path_of(path), boxes) for path, boxes in photos), encoder, cache, on_done)


def answering_by_context(
    context: Context,
    name: str,
    blend: float | None,
    model: str | None,
    device: str,
    on_progress: OnProgress | None,
    taking: Taking | None = None,
    *,
    encoder: ImageEncoder | None = None,
    together: bool = False,
) -> Answering:
    """A context in use, and what it is called; the other arguments and errors as in `classify`.

    encoder   where it is loaded already
    """
    from promptctl.classification.classifier import Classifier
    from promptctl.classification.together import shots_behind

    gate, taken = gate_of(context, name, taking or Taking(), blend)
    encoder = encoder or load_encoder_for(context, name, model, device)
    share = chosen_share(blend, context, name, model, device, on_progress)
    classifier = replace(Classifier.of(context, share=share), gate=gate)
    return Answering(name, classifier, encoder, taken, together, shots_behind(context, share))


def gate_of(context: Context, name: str, taking: Taking, blend: float | None = 1.0) -> tuple[Gate, Taken]:
    """What lets answers of a context pass, and what is said of it.

    raises   WrongOption where nothing is known of how often it is wrong, and somebody wants a share of mistakes
    """
    from promptctl.classification.gate import Gate

    if taking.accept_error is not None and blend != 1:
        raise WrongOption("mistakes are known of the learned answer alone, not of a blend", "leave out --blend")
    found = Gate.of(
        context, unknown=taking.unknown, min_confidence=taking.min_confidence, accept_error=taking.accept_error
    )
    if taking.accept_error is not None and not found.judged:
        raise WrongOption(
            f"nothing is known of how often {name} is wrong, none of its photos was held out or left to a fold",
            "--min-confidence 0.8, or learn it again with more photos of each class",
        )
    return found, _said_of(found, context, taking, is_blended=blend != 1)


def _said_of(gate: Gate, context: Context, taking: Taking, *, is_blended: bool) -> Taken:
    promise, cannot = gate.promise, None
    if taking.unknown is not None and promise is None:
        cannot = why_none_unknown(context) or "it has too few photos"
    rejection = Rejection(**vars(promise)) if promise is not None else None
    return Taken(rejection, _line(gate, taking, is_blended), cannot)


def why_none_unknown(context: Context) -> str | None:
    """Why nothing that a context keeps tells what is unlike its photos, in words; None where something does."""
    because = context.why_no_shots(each=True)
    if because is None and not context.is_plain and not (context.shots.held_out == 1).any():
        return "its image tower has learned from every photo it keeps, none is held out as by --shots all"
    return because


def _line(gate: Gate, taking: Taking, is_blended: bool) -> TakenLine | None:
    if not gate.least:
        return None
    line, asked = gate.line, taking.accept_error
    if line is None:
        return TakenLine(None, gate.judged, None, asked)
    # what folds said was the learned answer alone
    return TakenLine(line.least, *((0, None) if is_blended else (line.photos, line.right)), asked)


def several(ref: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None) -> list[str | os.PathLike[str]]:
    if ref is None:
        return []
    return [ref] if isinstance(ref, (str, bytes, os.PathLike)) else list(ref)


def of_one_backbone(sources: Sequence[Source]) -> dict[str, Context]:
    """What each is called, and the context; WrongOption for two that one pass over the photos does not answer."""
    contexts: dict[str, Context] = {}
    for source in sources:
        if source.name in contexts:
            raise WrongOption(f"{source.name} is given twice", f"leave out one --prompt {shlex.quote(source.name)}")
        contexts[source.name] = source.load()
    (first, one), *others = contexts.items()
    backbone = one.card.backbone
    for name, context in others:
        other = context.card.backbone
        if other.fingerprint == backbone.fingerprint and context.encoder_fingerprint != one.encoder_fingerprint:
            learned = one.learned_in_tower or context.learned_in_tower
            raise WrongOption(
                f"{first} and {name} do not see photos with the same {learned}, and one pass has one image tower",
                f"classify once more, with --prompt {shlex.quote(name)}",
            )
        if other.fingerprint != backbone.fingerprint:
            raise WrongOption(
                f"{first} is of the backbone {backbone.name} and {name} of {other.name}, and one pass has one backbone",
                f"classify once more, with --prompt {shlex.quote(name)}",
            )
    return contexts


def answerings_by_contexts(
    contexts: Mapping[str, Context],
    blend: float | None,
    model: str | None,
    device: str,
    on_progress: OnProgress | None,
    taking: Taking,
    together: bool,
) -> list[Answering]:
    answerings: list[Answering] = []
    for name, context in contexts.items():
        encoder = answerings[0].encoder if answerings else None
        answerings.append(
            answering_by_context(
                context, name, blend, model, device, on_progress, taking, encoder=encoder, together=together
            )
        )
    return answerings


def check_words_alone(refs: Sequence[str | os.PathLike[str]], blend: float | None, taking: Taking) -> None:
    if refs:
        raise WrongOption("a context has classes of its own, --words has no effect", "leave out --words or --prompt")
    if blend != 1:
        raise WrongOption("nothing is learned from words, --blend has no effect", "leave out --blend")
    if taking.unknown not in (None, UNKNOWN):
        raise WrongOption("words know no photos, --unknown has no effect", "leave out --unknown")
    if taking.accept_error is not None:
        raise WrongOption("of words no mistakes are known, --accept-error has no effect", "--min-confidence 0.8")


def answering_by_words(
    words: str | Sequence[str], template: str | None, model: str, device: str, taking: Taking, together: bool
) -> Answering:
    from promptctl.classification.gate import Gate
    from promptctl.clip import templates
    from promptctl.commands.words import class_words, classifier_of

    classes, template = class_words(words), templates.DEFAULT if template is None else template
    templates.check(template)
    classifier, encoder = classifier_of(classes, template, model, device)
    least = taking.min_confidence
    taken = Taken(line=TakenLine(least, 0, None, None) if least else None)
    return Answering(None, replace(classifier, gate=Gate(least=least)), encoder, taken, together)
