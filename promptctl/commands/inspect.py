"""Inspect: the words near the vectors of a context, what is near its classes, and how it learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.commands.backbones import load_vocabulary_for
from promptctl.commands.classes import class_meant
from promptctl.commands.sources import is_file_reference, locate
from promptctl.commands.writing import checked_figure, place_file
from promptctl.errors import ExportFailed, NotComparable, OneContextForAll, WrongOption
from promptctl.report import (
    AlikeClass,
    ClassReport,
    InspectReport,
    NearPhoto,
    NearWordRow,
    OtherVector,
    StartFacts,
    VectorReport,
    VersionScore,
    VocabularyFacts,
)
from promptctl.store.refs import Ref
from promptctl.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.classification.neighbours import Neighbours
    from promptctl.clip.vocabulary import NearWord, Vocabulary
    from promptctl.commands.sources import Source
    from promptctl.context.context import Context

    Vectors = NDArray[np.float32]
    Near = dict[str, list[list[NearWord]]]


def inspect(
    ref: str | PathLike[str],
    *,
    top: int = 5,
    all_tokens: bool = False,
    only: Sequence[str] = (),
    vectors: bool = True,
    compare: str | PathLike[str] | None = None,
    plot: str | PathLike[str] | None = None,
    force: bool = False,
    model: str | None = None,
    device: str = "auto",
    store: Store | None = None,
) -> InspectReport:
    """What a context is, the words nearest to each of its vectors, what is near its classes, and how it learned.

    ref          NAME, NAME@VERSION or a context file
    top          words per vector, from 1
    all_tokens   pieces of words, punctuation and numbers too, not whole words alone
    only         classes to say it of, by label, name or alias: of a class-specific context; none: all
    vectors      False: of the classes alone, for which the backbone need not be on this machine
    compare      another context, whose vectors are compared with these one by one
    plot         where to draw the learning curve and the accuracy by version: .png, .svg or .pdf
    force        replace the figure if it is there
    model        where to find the context's own backbone, if not under the name it was learned with
    device       auto, cpu, cuda or mps
    store        where names are looked up; None: the store of PROMPTCTL_HOME
    raises       BadSetting, NotInStore and BadContextFile and their kinds, BackboneError and its kind, ClassNotFound,
                 OneContextForAll, NotComparable, WrongOption, ExportFailed
    """
    top = checks.whole("top", top, 1, checks.MOST, 5)
    all_tokens, vectors = checks.flag("all_tokens", all_tokens), checks.flag("vectors", vectors)
    only = checks.texts("only", only)
    model, device = checks.model(model), checks.one_of("device", device, checks.DEVICES)
    if compare is not None and not vectors:
        raise WrongOption("what is near the classes is not compared, only vectors are", "leave out --classes")
    figure = None if plot is None else checked_figure(plot, checks.flag("force", force))
    store = store or Store()
    source = locate(ref, store)
    context = source.load()
    rows = _meant(only, context, source.name, of_vectors=vectors)
    other = None if compare is None else _other(compare, context, source.name, store)
    report = InspectReport(
        context=source.name,
        card=context.card,
        n_bytes=source.path.stat().st_size,
        path=source.path,
        vectors=(),
        classes=_classes(context, rows),
        versions=_versions(source, store),
    )
    if vectors and context.vectors.size:
        vocabulary = load_vocabulary_for(context, source.name, model, device)
        report = _with_vectors(report, _Asked(context, rows, vocabulary, top, all_tokens, other), store)
    return _with_figure(report, figure, force) if figure else report


# --------------------------------------------------------------------------- which classes, which other context


def _meant(only: Sequence[str], context: Context, name: str, *, of_vectors: bool) -> list[int]:
    """Rows of the classes that are asked for, each once; all where none is named.

    raises   ClassNotFound, OneContextForAll
    """
    classes = context.card.classes
    if not only:
        return list(range(len(classes)))
    ids = [class_meant(word, classes, name).id for word in only]
    if of_vectors and context.vectors.ndim == 2:
        raise OneContextForAll(name, only[0], has_vectors=bool(context.vectors.size))
    row_of = {entry.id: row for row, entry in enumerate(classes)}
    return [row_of[id] for id in dict.fromkeys(ids)]


@dataclass(frozen=True, eq=False)
class _Other:
    """The context that one is compared with."""

    name: str
    vectors: Vectors  # (M, W) or (C, M, W)
    row_of: dict[str, int]  # of its classes, by label


def _other(ref: str | PathLike[str], context: Context, name: str, store: Store) -> _Other:
    """The other context, or NotComparable."""
    source = locate(ref, store)
    there = source.load()
    if why := _why_not(context, there, name, source.name):
        raise NotComparable(name, source.name, why)
    return _Other(source.name, there.vectors, {label: row for row, label in enumerate(there.card.labels)})


def _why_not(here: Context, there: Context, a: str, b: str) -> str | None:
    own, other = here.card, there.card
    for context, name in ((here, a), (there, b)):
        if not context.vectors.size:
            return f"{name} has none"
    if own.backbone.fingerprint != other.backbone.fingerprint or here.vectors.shape[-1] != there.vectors.shape[-1]:
        return f"they were learned on different backbones, {own.backbone.name} and {other.backbone.name}"
    if own.method.context_tokens != other.method.context_tokens:
        return f"{a} has {own.method.context_tokens} of them and {b} {other.method.context_tokens}"
    if here.vectors.ndim != there.vectors.ndim:
        specific, shared = (a, b) if own.method.class_specific else (b, a)
        return f"those of {specific} are class-specific, and all classes of {shared} share theirs"
    if here.vectors.ndim == 3 and not set(own.labels) & set(other.labels):
        return "they are class-specific, and no class is in both"
    return None


# --------------------------------------------------------------------------- vectors


@dataclass(frozen=True, eq=False)
class _Asked:
    """What vectors are looked at, and beside what."""

    context: Context
    rows: list[int]  # of classes
    vocabulary: Vocabulary
    top: int
    all_tokens: bool
    other: _Other | None

    @property
    def among(self) -> NDArray[np.bool_]:
        """(V,) tokens that are looked at."""
        return self.vocabulary.plain if self.all_tokens else self.vocabulary.whole_words

    def flat(self, vectors: Vectors) -> Vectors:
        """(L, W) of the classes that are asked for, of vectors (M, W) or (C, M, W)."""
        some = vectors[self.rows] if vectors.ndim == 3 else vectors
        return some.reshape(-1, some.shape[-1])

    def places(self) -> list[tuple[str | None, int]]:
        """L, the class and the number of each vector."""
        names: Sequence[str | None] = [self.context.card.names[row] for row in self.rows]
        names = names if self.context.vectors.ndim == 3 else (None,)
        return [(name, i) for name in names for i in range(1, self.context.card.method.context_tokens + 1)]

    def near(self, vectors: Vectors) -> Near:
        from promptctl.clip.vocabulary import nearest

        return nearest(vectors, self.vocabulary, k=self.top, among=self.among)


def _with_vectors(report: InspectReport, asked: _Asked, store: Store) -> InspectReport:
    from promptctl.clip.vocabulary import spacing
    from promptctl.commands.beginning import beginning_of

    flat = asked.flat(asked.context.vectors)
    near = asked.near(flat)
    start = beginning_of(asked.context, asked.vocabulary, store)
    drift: list[float | None] = [None] * len(flat)
    if start.vectors is not None:
        drift = [*map(float, _lengths(flat - asked.flat(start.vectors)))]
    others = _others(asked, flat, near)
    found = spacing(asked.vocabulary, among=asked.among)
    return replace(
        report,
        vectors=tuple(
            _vector(*facts) for facts in zip(asked.places(), _lengths(flat), *near.values(), drift, others, strict=True)
        ),
        vocabulary=VocabularyFacts(
            "tokens" if asked.all_tokens else "whole words", found.tokens, found.norm, found.sampled, found.nearest
        ),
        start=StartFacts(start.kind, start.words),
        compared=asked.other.name if asked.other else None,
    )


def _vector(
    place: tuple[str | None, int],
    norm: float,
    by_l2: Sequence[NearWord],
    by_cosine: Sequence[NearWord],
    drift: float | None,
    other: OtherVector | None,
) -> VectorReport:
    distance = by_l2[0].euclidean if by_l2 else None
    return VectorReport(*place, float(norm), _words(by_l2), _words(by_cosine), distance, drift, other)


def _words(near: Sequence[NearWord]) -> tuple[NearWordRow, ...]:
    return tuple(NearWordRow(word.word, word.euclidean, word.cosine) for word in near)


def _others(asked: _Asked, flat: Vectors, near: Near) -> list[OtherVector | None]:
    """Each vector beside that of the other context; None for those of a class that is not there."""
    other, tokens = asked.other, asked.context.card.method.context_tokens
    if other is None:
        return [None] * len(flat)
    if asked.context.vectors.ndim == 2:
        rows = list(range(tokens))
        there = other.vectors
    else:
        labels = [asked.context.card.labels[row] for row in asked.rows]
        both = [i for i, label in enumerate(labels) if label in other.row_of]
        rows = [i * tokens + j for i in both for j in range(tokens)]
        there = other.vectors[[other.row_of[labels[i]] for i in both]].reshape(-1, flat.shape[1])
    found: list[OtherVector | None] = [None] * len(flat)
    words = asked.near(there)["euclidean"]
    for row, vector, theirs in zip(rows, there, words, strict=True):
        own, word = near["euclidean"][row], theirs[0].word if theirs else None
        found[row] = OtherVector(
            float(_lengths(flat[row] - vector)), _cosine(flat[row], vector), word, bool(own) and own[0].word == word
        )
    return found


def _lengths(vectors: Vectors) -> NDArray[np.float64]:
    """(…,) of (…, W)."""
    import numpy as np

    return np.asarray(np.linalg.norm(vectors.astype(np.float64), axis=-1))


def _cosine(a: Vectors, b: Vectors) -> float:
    lengths = float(_lengths(a) * _lengths(b))
    return float(a.astype(float) @ b.astype(float)) / lengths if lengths else 0.0


# --------------------------------------------------------------------------- classes and versions


def _classes(context: Context, rows: Sequence[int]) -> tuple[ClassReport, ...]:
    from promptctl.classification.neighbours import Neighbours

    found = Neighbours.of(context)
    label_of = {entry.id: entry.label for entry in context.card.classes}
    return tuple(_class(context, found, row, label_of) for row in rows)


def _class(context: Context, found: Neighbours, row: int, label_of: dict[int, str]) -> ClassReport:
    labels, head, spread = context.card.labels, found.by_head, float(found.spread[row])
    return ClassReport(
        label=labels[row],
        name=context.card.names[row],
        near_text=labels[found.by_text.rows[row]],
        text_cosine=float(found.by_text.cosines[row]),
        near_head=labels[head.rows[row]] if head else None,
        head_cosine=float(head.cosines[row]) if head else None,
        photos=int(found.counts[row]),
        spread=spread if spread == spread else None,
        nearest_photos=tuple(
            NearPhoto(context.shots.hashes[i], label_of[int(context.shots.class_ids[i])], float(cosine))
            for i, cosine in zip(found.photos[row], found.cosines[row], strict=True)
        ),
        too_alike=tuple(
            AlikeClass(labels[pair.b if pair.a == row else pair.a], pair.taken, pair.of)
            for pair in found.alike
            if row in (pair.a, pair.b)
        ),
    )


def _versions(source: Source, store: Store) -> tuple[VersionScore, ...]:
    """How good the versions of its name are on the images that `log` measures them on."""
    from promptctl.commands.log import log

    if is_file_reference(source.name):
        return ()
    found = log(Ref.parse(source.name).name, store=store)
    if found.measured_on is None:
        return ()
    return tuple(VersionScore(row.version, row.n, row.acc, row.zero_shot) for row in reversed(found.versions))


def _with_figure(report: InspectReport, plot: Path, force: bool) -> InspectReport:
    from promptctl.benchmark.plot import learning

    card = report.card
    if not card.curve and not any(row.accuracy is not None for row in report.versions):
        raise ExportFailed(plot, f"{report.context} keeps no learning curve, and no photos to measure its versions on")
    place_file(plot, learning(card.curve, report.versions, report.context, plot.suffix.lower()), force)
    return replace(report, plot=plot)
