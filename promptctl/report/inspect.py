"""What `inspect` found: the words near the vectors of a context, what is near its classes, and how it learned."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import ClassVar

from promptctl.context.card import Card
from promptctl.report.base import Chart, Report, Row
from promptctl.report.phrases import card_lines, number_of, percent

_SHOWN = 12  # classes below the vectors; `--classes` shows all
_DIGITS = 8  # of a checksum


@dataclass(frozen=True)
class NearWordRow:
    """A vocabulary token near a vector."""

    word: str
    euclidean: float
    cosine: float


@dataclass(frozen=True)
class OtherVector:
    """The vector at the same place in another context."""

    distance: float
    cosine: float
    word: str | None  # nearest to it
    same_word: bool


@dataclass(frozen=True)
class VectorReport:
    """One context vector and the words near it."""

    of_class: str | None  # None: shared by all classes
    vector: int  # 1 is the first
    norm: float
    by_euclidean: tuple[NearWordRow, ...]
    by_cosine: tuple[NearWordRow, ...]
    distance: float | None = None  # to the nearest word
    drift: float | None = None  # distance from where it started; None: not known
    other: OtherVector | None = None  # where another context is compared

    @property
    def word(self) -> str | None:
        """The nearest."""
        return self.by_euclidean[0].word if self.by_euclidean else None


@dataclass(frozen=True)
class VocabularyFacts:
    """The tokens that were looked at, and how far they lie from each other."""

    of: str  # whole words, or all tokens
    tokens: int
    norm: float  # the median
    sampled: int  # of which the nearest other token was looked for
    nearest: float  # the median distance to it


@dataclass(frozen=True)
class StartFacts:
    """Where the vectors started from."""

    kind: str  # noise, words, version, unknown
    words: str  # what these are, or why it is not known


@dataclass(frozen=True)
class NearPhoto:
    """A stored photo near the text feature of a class."""

    sha256: str
    of_class: str
    cosine: float


@dataclass(frozen=True)
class AlikeClass:
    """A class that can hardly be told from this one."""

    label: str
    taken: int  # photos of either that the others take for the other; 0: told by the words alone
    of: int  # photos of both


@dataclass(frozen=True)
class ClassReport:
    """What lies near one class."""

    label: str
    name: str
    near_text: str  # the class with the most alike text feature
    text_cosine: float
    near_head: str | None  # the class with the most alike row of the head; None: no head
    head_cosine: float | None
    photos: int  # stored ones, or those that a mean is kept of
    spread: float | None  # root mean square distance of them from their mean; None: none are known
    nearest_photos: tuple[NearPhoto, ...]
    too_alike: tuple[AlikeClass, ...]


@dataclass(frozen=True)
class VersionScore:
    """What one version answers to the images that `log` measures it on."""

    version: int
    images: int
    accuracy: float | None
    zero_shot_accuracy: float | None


@dataclass(frozen=True)
class InspectReport(Report):
    type: ClassVar[str] = "inspect"

    context: str
    card: Card
    n_bytes: int
    path: Path
    vectors: tuple[VectorReport, ...]
    vocabulary: VocabularyFacts | None = None  # None: the vectors were not looked at, or there are none
    start: StartFacts | None = None
    compared: str | None = None  # the other context
    classes: tuple[ClassReport, ...] = ()
    versions: tuple[VersionScore, ...] = ()  # the oldest first; empty where they cannot be measured on the same images
    plot: Path | None = None

    def rows(self) -> list[Row]:
        return [row for vector in self.vectors for row in _word_rows(vector)] if self.vocabulary else self._class_rows()

    def records(self) -> list[Row]:
        return [dataclasses.asdict(row) for row in (self.vectors if self.vocabulary else self.classes)]

    def _class_rows(self) -> list[Row]:
        return [
            {
                **{name: value for name, value in vars(row).items() if name not in ("nearest_photos", "too_alike")},
                "nearest_photo": row.nearest_photos[0].sha256 if row.nearest_photos else None,
                "nearest_photo_class": row.nearest_photos[0].of_class if row.nearest_photos else None,
                "nearest_photo_cosine": row.nearest_photos[0].cosine if row.nearest_photos else None,
                "too_alike": " | ".join(other.label for other in row.too_alike) or None,
            }
            for row in self.classes
        ]

    # ------------------------------------------------------------------------- what a person sees

    def tables(self) -> list[list[Row]]:
        return [
            [_vector_cells(vector) for vector in self.vectors],
            [_compared_cells(vector, self.compared or "") for vector in self.vectors if vector.other],
            [_class_cells(row) for row in self._shown()],
        ]

    def _shown(self) -> list[ClassReport]:
        """All classes where few are or they were asked for; else those most like another."""
        if not self.vocabulary or len(self.classes) <= _SHOWN:
            return list(self.classes)
        return sorted(self.classes, key=lambda row: (not row.too_alike, -row.text_cosine))[:_SHOWN]

    def spare(self) -> list[str]:
        return ["distance", "nearest photo", "spread", "photos", "near by head", "nearest (cosine)"]

    def summary(self) -> list[str]:
        lines = card_lines(self.context, self.card, self.path, self.n_bytes)
        if self.start and self.vectors:
            lines.append(f"drift:     {_start_words(self.start)}")
        if self.vocabulary and self.vectors:
            found = self.vocabulary
            lines.append(
                f"words:     {found.tokens:,} {found.of}; in the median of norm {found.norm:.3g}, and "
                f"{found.nearest:.3g} from the nearest other one"
            )
        return lines

    def charts(self) -> list[Chart]:
        curve = self.card.curve
        charts = []
        if curve:
            first, last = curve[0], curve[-1]
            moved = f"from {first.loss:.3g} to {last.loss:.3g} in {number_of(last.step - first.step, 'step')}"
            charts.append(Chart("loss", tuple(point.loss for point in curve), moved))
            alone = " by the vectors alone" if self.card.head else ""
            right = f"from {percent(first.accuracy)} to {percent(last.accuracy)} of the shots{alone}"
            charts.append(Chart("right", tuple(point.accuracy for point in curve), right, 1.0))
        known = [(row.version, row.accuracy) for row in self.versions if row.accuracy is not None]
        if len(known) > 1:
            (first_version, before), (last_version, after) = known[0], known[-1]
            ends = f"from {percent(before)} (@{first_version}) to {percent(after)} (@{last_version})"
            by_log = f"{ends}, as `log` measures them"
            charts.append(Chart("versions", tuple(accuracy for _, accuracy in known), by_log, 1.0))
        return charts

    def closing(self) -> list[str]:
        return [
            *([] if self.card.curve else [_no_curve(self.card)]),
            *_honest_words(self.vectors, self.vocabulary),
            *self._columns(),
            *self._alike(),
            *self._hidden(),
            *([f"figure: {self.plot}"] if self.plot else []),
        ]

    def _columns(self) -> list[str]:
        """What is not plain from the heads of the table of classes."""
        if not self.classes:
            return []
        by_head = any(row.head_cosine is not None for row in self.classes)
        near = "near by words and by head: the class" if by_head else "near by words: the class"
        head = ", or row of the head," if by_head else ""
        return [
            f"{near} whose text feature{head} is most like its own (cosine); spread: how far the photos lie from their "
            "mean; nearest photo: the stored one most like its text feature, by the start of its sha256"
        ]

    def _alike(self) -> list[str]:
        pairs = {frozenset((row.label, other.label)): (row, other) for row in self.classes for other in row.too_alike}
        return [f"too alike: {row.label} and {other.label}, {_because(other)}" for row, other in pairs.values()]

    def _hidden(self) -> list[str]:
        more = len(self.classes) - len(self._shown())
        return [f"{more:,} more class{'' if more == 1 else 'es'} with --classes"] if more else []


def _word_rows(vector: VectorReport) -> list[Row]:
    """A row for each of its nearest words, by either measure."""
    other = {f"other_{name}": value for name, value in vars(vector.other).items()} if vector.other else {}
    return [
        {
            "class": vector.of_class,
            "vector": vector.vector,
            "norm": vector.norm,
            "metric": metric,
            "rank": rank,
            **dataclasses.asdict(word),
            "distance": vector.distance,
            "drift": vector.drift,
            **other,
        }
        for metric, words in (("euclidean", vector.by_euclidean), ("cosine", vector.by_cosine))
        for rank, word in enumerate(words, 1)
    ]


def _vector_cells(vector: VectorReport) -> Row:
    return {
        **({"class": vector.of_class} if vector.of_class else {}),
        "vector": vector.vector,
        "norm": round(vector.norm, 3),
        **({} if vector.drift is None else {"drift": round(vector.drift, 3)}),
        "distance": None if vector.distance is None else round(vector.distance, 3),
        "nearest (Euclidean)": "  ".join(f"{w.word} {w.euclidean:.2f}" for w in vector.by_euclidean),
        "nearest (cosine)": "  ".join(f"{w.word} {w.cosine:.2f}" for w in vector.by_cosine),
    }


def _compared_cells(vector: VectorReport, other: str) -> Row:
    assert vector.other is not None
    return {
        **({"class": vector.of_class} if vector.of_class else {}),
        "vector": vector.vector,
        "apart": round(vector.other.distance, 3),
        "cosine": round(vector.other.cosine, 3),
        "nearest": vector.word,
        f"in {other}": "the same" if vector.other.same_word else vector.other.word,
    }


def _class_cells(row: ClassReport) -> Row:
    photo = row.nearest_photos[0] if row.nearest_photos else None
    return {
        "class": row.label,
        "near by words": f"{row.near_text} {row.text_cosine:.2f}",
        **({} if row.head_cosine is None else {"near by head": f"{row.near_head} {row.head_cosine:.2f}"}),
        "photos": row.photos,
        "spread": None if row.spread is None else round(row.spread, 2),
        **({"nearest photo": f"{photo.sha256[:_DIGITS]} of {photo.of_class} {photo.cosine:.2f}"} if photo else {}),
        **({"too alike": ", ".join(other.label for other in row.too_alike)} if row.too_alike else {}),
    }


def _start_words(start: StartFacts) -> str:
    return f"not known: {start.words}" if start.kind == "unknown" else f"from {start.words}, where the vectors started"


def _because(other: AlikeClass) -> str:
    if not other.taken:
        return "their words say the same: no photo gets one of them three times as probable as the other"
    return f"judged by the other photos, {other.taken} of their {other.of} are of the other class"


def _no_curve(card: Card) -> str:
    if card.is_imported or card.method.steps:
        return "no learning curve: its file keeps none, as older and imported ones"
    return "no learning curve: no step was taken"


def _honest_words(vectors: tuple[VectorReport, ...], found: VocabularyFacts | None) -> list[str]:
    """What the nearest words tell, by how far they are beside how far words are from each other."""
    distances = [vector.distance for vector in vectors if vector.distance is not None]
    if not distances or found is None:
        return []
    usual = f"of {found.sampled} words drawn, half have another within {found.nearest:.3g}"
    far = [distance for distance in distances if distance > found.nearest]
    if not far:
        which = _vectors(len(distances), len(distances))
        return [f"{which} as near to a word as words lie to each other ({usual}), so these can be read"]
    nearer = len(distances) - len(far)
    return [
        f"{_vectors(len(far), len(distances))} farther from every word than words lie from each other: the nearest is "
        f"{median(far):.3g} away in the median, and {usual}. So the nearest words are no translation, and most say "
        "nothing of what was learned, as the CoOp paper found too",
        *([f"{_vectors(nearer, len(distances))} near enough to be read as a word"] if nearer else []),
    ]


def _vectors(some: int, every: int) -> str:
    if some == every:
        return f"all {every} vectors lie" if every > 1 else "the vector lies"
    return f"{some} of {every} vectors {'lies' if some == 1 else 'lie'}"
