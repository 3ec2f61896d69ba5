"""What each command found: frozen values that say themselves as rows, as a sentence and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from promptctl.card import Card

Row = dict[str, Any]
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class SkippedFile:
    """A file that could not be used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Report:
    """Common shape: `rows` for tables and CSV, `record` for JSON, `summary` for people; the rest is talk on stderr."""

    type: ClassVar[str] = "report"

    def rows(self) -> list[Row]:
        return []

    def tables(self) -> list[list[Row]]:
        """What a person sees on a terminal; the rows, unless a report has more to say."""
        return [self.rows()]

    def records(self) -> list[Row]:
        """What JSON lines hold; the rows, unless they are flattened there."""
        return self.rows()

    def summary(self) -> list[str]:
        return []

    def warnings(self) -> list[str]:
        return []

    def advice(self) -> list[str]:
        """What to type next."""
        return []

    def names(self) -> list[str]:
        """What -q prints, one a line."""
        return []

    def columns(self) -> list[str]:
        """The columns of CSV, there even when no row is."""
        return list(dict.fromkeys(key for row in self.rows() for key in row))

    def complaint(self) -> str | None:
        """Why this is a failure although there is a result to show."""
        return None

    @property
    def exit_code(self) -> int:
        return 0

    def record(self) -> Row:
        return {"schema_version": SCHEMA_VERSION, "type": self.type, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class LearnReport(Report):
    type: ClassVar[str] = "learned"

    context: str  # birds@1
    path: Path
    classes: int
    shots: int | None  # a class; None: all
    train_images: int
    measured_on: str | None  # which images the accuracy is of
    measured_images: int
    accuracy: float | None  # fraction
    zero_shot_accuracy: float | None  # fraction
    steps: int
    seconds: float
    n_bytes: int
    skipped: tuple[SkippedFile, ...]
    next: tuple[str, ...]

    def rows(self) -> list[Row]:
        keys = ("context", "classes", "train_images", "measured_images", "accuracy", "zero_shot_accuracy", "seconds")
        return [{key: getattr(self, key) for key in keys}]

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        learned = (
            f"{self.context} learned {self.classes} classes from {self.train_images} images in {self.seconds:.1f} s"
        )
        return [learned + self._score(), f"stored: {self.path} ({size(self.n_bytes)})"]

    def advice(self) -> list[str]:
        return next_lines(*self.next)

    def warnings(self) -> list[str]:
        found = skipped_lines(self.skipped)
        if self.accuracy is not None and self.accuracy < (self.zero_shot_accuracy or 0):
            found.append(
                f"{self.context} is worse than zero-shot on {self.measured_on}: more shots may help, and promptctl "
                "compare tells which learner would"
            )
        return found

    def _score(self) -> str:
        if self.accuracy is None:
            return "; no image was left to measure it on"
        return (
            f": {percent(self.accuracy)} right on the {self.measured_images} {self.measured_on}, "
            f"zero-shot {percent(self.zero_shot_accuracy)}"
        )


@dataclass(frozen=True)
class Scores:
    """How good one classifier is on one set of images; all fractions."""

    top1: float
    top5: float  # the true class among the five most probable
    macro_f1: float  # mean over the classes present
    ece: float  # expected calibration error, 15 bins


@dataclass(frozen=True)
class ClassScore:
    """One class: the learned context beside zero-shot."""

    label: str
    name: str
    images: int
    accuracy: float  # of its images, the fraction recognised (recall)
    zero_shot_accuracy: float
    f1: float
    mistaken_for: str | None  # the class most of its errors went to


@dataclass(frozen=True)
class EvaluateReport(Report):
    type: ClassVar[str] = "evaluation"

    context: str
    blend: float  # share of the learned text features, the rest zero-shot's
    blend_chosen: bool  # by folds of the shots
    where: str  # the folder, and which part of it
    images: int
    learned_from: int  # of these images, those the context was learned from
    classes: int
    learned: Scores
    zero_shot: Scores
    zero_shot_template: str
    per_class: tuple[ClassScore, ...]
    skipped: tuple[SkippedFile, ...]

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(score) for score in self.per_class]

    def records(self) -> list[Row]:
        overall = {key: value for key, value in dataclasses.asdict(self).items() if key not in ("per_class", "skipped")}
        return [
            {"type": "overall", **overall},
            *({"type": "class", **row} for row in self.rows()),
            *error_records(self.skipped),
        ]

    def tables(self) -> list[list[Row]]:
        overall = [
            {"": title, "learned": getattr(self.learned, key), "zero_shot": getattr(self.zero_shot, key)}
            for title, key in (("top-1", "top1"), ("top-5", "top5"), ("macro F1", "macro_f1"), ("ECE", "ece"))
        ]
        per_class = [
            {
                "class": score.name,
                "images": score.images,
                "learned": score.accuracy,
                "zero_shot": score.zero_shot_accuracy,
                "f1": score.f1,
                "mistaken for": score.mistaken_for or "",
            }
            for score in self.per_class
        ]
        return [overall, per_class]

    def summary(self) -> list[str]:
        gain = 100 * (self.learned.top1 - self.zero_shot.top1)
        return [
            f"{self.context}{blended(self.blend, self.blend_chosen)} on {self.images} images of {self.where}: "
            f"{percent(self.learned.top1)} right, "
            f"{gain:+.1f} points against zero-shot ('{self.zero_shot_template}', {percent(self.zero_shot.top1)})"
        ]

    def warnings(self) -> list[str]:
        found = skipped_lines(self.skipped)
        if self.learned_from:
            found.append(
                f"{self.context} was learned from {self.learned_from} of these {self.images} images, "
                "so this says little about others"
            )
        if self.learned.top1 < self.zero_shot.top1:
            found.append(f"{self.context} is worse than zero-shot on these images")
        return found

    @property
    def exit_code(self) -> int:
        return 3 if self.skipped else 0


@dataclass(frozen=True)
class NearWordRow:
    """A vocabulary token near a vector."""

    word: str
    euclidean: float
    cosine: float


@dataclass(frozen=True)
class VectorReport:
    """One context vector and the words near it."""

    of_class: str | None  # None: shared by all classes
    vector: int  # 1 is the first
    norm: float
    by_euclidean: tuple[NearWordRow, ...]
    by_cosine: tuple[NearWordRow, ...]


@dataclass(frozen=True)
class InspectReport(Report):
    type: ClassVar[str] = "inspection"

    context: str
    card: Card
    n_bytes: int
    path: Path
    vectors: tuple[VectorReport, ...]

    def rows(self) -> list[Row]:
        return [
            {
                "class": vector.of_class,
                "vector": vector.vector,
                "norm": vector.norm,
                "metric": metric,
                "rank": rank,
                **dataclasses.asdict(word),
            }
            for vector in self.vectors
            for metric, words in (("euclidean", vector.by_euclidean), ("cosine", vector.by_cosine))
            for rank, word in enumerate(words, 1)
        ]

    def tables(self) -> list[list[Row]]:
        return [
            [
                {
                    **({"class": vector.of_class} if vector.of_class else {}),
                    "vector": vector.vector,
                    "norm": round(vector.norm, 3),
                    "nearest (Euclidean)": "  ".join(f"{w.word} {w.euclidean:.2f}" for w in vector.by_euclidean),
                    "nearest (cosine)": "  ".join(f"{w.word} {w.cosine:.2f}" for w in vector.by_cosine),
                }
                for vector in self.vectors
            ]
        ]

    def records(self) -> list[Row]:
        return [dataclasses.asdict(vector) for vector in self.vectors]

    def summary(self) -> list[str]:
        return card_lines(self.context, self.card, self.path, self.n_bytes)


@dataclass(frozen=True)
class Guess:
    """A class an image may show, with its probability."""

    label: str
    name: str
    probability: float


@dataclass(frozen=True)
class Classified:
    """One image and its most probable classes, best first."""

    path: Path
    top: tuple[Guess, ...]


@dataclass(frozen=True)
class ClassifyReport(Report):
    type: ClassVar[str] = "classification"

    context: str
    blend: float
    blend_chosen: bool
    images: tuple[Classified, ...]
    skipped: tuple[SkippedFile, ...]

    def rows(self) -> list[Row]:
        return [self._row(image) for image in self.images]

    def records(self) -> list[Row]:
        results = [
            {
                "type": "result",
                "path": image.path,
                "label": image.top[0].label,
                "name": image.top[0].name,
                "probability": image.top[0].probability,
                "top": [dataclasses.asdict(guess) for guess in image.top],
            }
            for image in self.images
        ]
        return results + error_records(self.skipped)

    def columns(self) -> list[str]:
        return super().columns() or ["path", "label", "name", "probability"]

    def complaint(self) -> str | None:
        return None if self.images else "none of these could be read as an image"

    def tables(self) -> list[list[Row]]:
        return [[self._human(image) for image in self.images]]

    def warnings(self) -> list[str]:
        return skipped_lines(self.skipped)

    @property
    def exit_code(self) -> int:
        return 0 if not self.skipped else 3 if self.images else 1

    @staticmethod
    def _human(image: Classified) -> Row:
        others = {ordinal(rank): f"{g.name} {percent(g.probability)}" for rank, g in enumerate(image.top[1:], 2)}
        return {"path": image.path, "class": image.top[0].name, "probability": image.top[0].probability, **others}

    @staticmethod
    def _row(image: Classified) -> Row:
        row: Row = {"path": image.path}
        for rank, guess in enumerate(image.top, 1):
            end = "" if rank == 1 else f"_{rank}"
            row |= {f"{key}{end}": value for key, value in dataclasses.asdict(guess).items()}
        return row


@dataclass(frozen=True)
class ComparedRow:
    """One learner at one number of shots, over the seeds."""

    learner: str
    shots: int
    mean: float  # fraction
    std: float | None  # of the population, fraction; None over one seed
    runs: tuple[float, ...]  # accuracy of every seed, fraction
    seconds: float  # a run, without encoding


@dataclass(frozen=True)
class BaseToNewRow:
    """Taught the base classes: accuracy on them, on the new ones, and the harmonic mean, each over the seeds."""

    learner: str
    shots: int
    base: float
    base_std: float | None
    new: float
    new_std: float | None
    harmonic: float
    harmonic_std: float | None


@dataclass(frozen=True)
class CompareReport(Report):
    type: ClassVar[str] = "compared"

    photos: Path
    backbone: str
    template: str
    classes: int
    train_images: int  # shots are drawn from
    test_images: int  # everything is measured on
    measured_on: str  # which images these are
    seeds: tuple[int, ...]
    left_out: str | None  # shots there are not enough images for
    learners: tuple[ComparedRow, ...]
    base_to_new: tuple[BaseToNewRow, ...]
    speechless: tuple[str, ...]  # asked for base to new, and cannot
    plot: Path | None
    no_plot: str | None  # why there is no figure although one was asked for
    skipped: tuple[SkippedFile, ...]

    def complaint(self) -> str | None:
        return self.no_plot

    @property
    def exit_code(self) -> int:
        return 1 if self.no_plot else 0

    def rows(self) -> list[Row]:
        keys = ("learner", "shots", "mean", "std", "seconds")
        rows = [{key: getattr(row, key) for key in keys} for row in self.learners]
        if self.base_to_new:
            halves = {(row.learner, row.shots): dataclasses.asdict(row) for row in self.base_to_new}
            nothing = dict.fromkeys(field.name for field in dataclasses.fields(BaseToNewRow))
            rows = [{**nothing, **halves.get((row["learner"], row["shots"]), {}), **row} for row in rows]
        return rows

    def records(self) -> list[Row]:
        halves = [{"type": "base-to-new", **dataclasses.asdict(row)} for row in self.base_to_new]
        return [*({"type": "few-shot", **dataclasses.asdict(row)} for row in self.learners), *halves]

    def tables(self) -> list[list[Row]]:
        names = dict.fromkeys(row.learner for row in self.learners)
        curve = [
            {
                "learner": name,
                **{_shots(row.shots): spread(row.mean, row.std) for row in self.learners if row.learner == name},
            }
            for name in names
        ]
        halves = [
            {
                "base to new": row.learner,
                "shots": row.shots,
                "base": spread(row.base, row.base_std),
                "new": spread(row.new, row.new_std),
                "harmonic": spread(row.harmonic, row.harmonic_std),
            }
            for row in self.base_to_new
        ]
        return [curve, halves] if halves else [curve]

    def summary(self) -> list[str]:
        over = f"mean ± deviation over {len(self.seeds)} seeds" if len(self.seeds) > 1 else "one seed"
        lines = [
            f"top-1 in % on {self.test_images} {self.measured_on}; {self.classes} classes, {over}, on {self.backbone}"
        ]
        return lines + ([f"figure: {self.plot}"] if self.plot else [])

    def warnings(self) -> list[str]:
        found = skipped_lines(self.skipped) + ([self.left_out] if self.left_out else [])
        if self.speechless:
            found.append(f"{' and '.join(self.speechless)} cannot speak of classes not learned: not in base to new")
        return found


@dataclass(frozen=True)
class StoredContext:
    """One line of `list`."""

    name: str
    version: int
    classes: int | None
    shots: str | None
    backbone: str | None
    accuracy: float | None
    zero_shot_accuracy: float | None
    n_bytes: int
    changed: str  # ISO 8601, UTC
    fault: str | None


@dataclass(frozen=True)
class ImportReport(Report):
    type: ClassVar[str] = "imported"

    context: str  # pets@1
    path: Path
    checkpoint: Path
    classes: tuple[str, ...]  # labels
    context_tokens: int
    class_specific: bool
    position: str  # as told; the checkpoint does not know
    folder_says: str | None  # the position in the name of a folder it lay in
    backbone: str
    backbone_checked: bool  # by the embedded class names; otherwise by nothing but their width
    names_listed: bool  # the names are the person's own, not read back from byte pairs
    read_otherwise: tuple[str, ...]  # names whose last byte pairs the original code merges with the full stop
    n_bytes: int
    next: tuple[str, ...]

    def rows(self) -> list[Row]:
        keys = ("context", "context_tokens", "class_specific", "position", "backbone")
        return [{"classes": len(self.classes), **{key: getattr(self, key) for key in keys}}]

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        kind = "class-specific" if self.class_specific else "shared by all classes"
        return [
            f"{self.context} holds {len(self.classes)} classes from {self.checkpoint}: {_some(self.classes)}",
            f"vectors: {self.context_tokens} on {self.backbone}, {kind}, class name {_at(self.position)}",
            f"stored: {self.path} ({size(self.n_bytes)})",
        ]

    def warnings(self) -> list[str]:
        found = []
        if self.folder_says not in (None, self.position):
            found.append(
                f"the class name was put {_at(self.position)}, and the folder of {self.checkpoint} says "
                f"'ctp{self.folder_says}': --position {self.folder_says} may be right"
            )
        if not self.backbone_checked:
            found.append(
                f"{self.checkpoint} holds no embedded class names, so only its width was compared with "
                f"{self.backbone}: on another backbone of that width {self.context} means nothing"
            )
        return found + read_otherwise_lines(self.read_otherwise)

    def advice(self) -> list[str]:
        spelled = "the names are as byte pairs keep them; --classes names.txt gives them your own spelling"
        return [*([] if self.names_listed else [spelled]), *next_lines(*self.next)]


@dataclass(frozen=True)
class ExportReport(Report):
    type: ClassVar[str] = "exported"

    context: str
    path: Path
    classes: tuple[str, ...]  # names, in the order of the checkpoint
    context_tokens: int
    class_specific: bool
    position: str
    backbone: str
    epochs: int
    read_otherwise: tuple[str, ...]
    n_bytes: int

    def rows(self) -> list[Row]:
        keys = ("context", "path", "context_tokens", "class_specific", "position", "backbone", "epochs")
        return [{key: getattr(self, key) for key in keys}]

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        return [f"{self.context} is in {self.path} ({size(self.n_bytes)}) as the original code reads it"]

    def warnings(self) -> list[str]:
        return read_otherwise_lines(self.read_otherwise)

    def advice(self) -> list[str]:
        settings = {
            "N_CTX": self.context_tokens,
            "CSC": self.class_specific,
            "CLASS_TOKEN_POSITION": self.position,
            "PREC": "fp32",
        }
        foreign = "" if self.backbone.endswith("/openai") else " (which it does not know by itself)"
        return [
            f"the original code wants it at MODEL_DIR/prompt_learner/model.pth.tar-{self.epochs}, and",
            f"  --model-dir MODEL_DIR --load-epoch {self.epochs} --eval-only",
            "  " + " ".join(f"TRAINER.COOP.{key} {value}" for key, value in settings.items()),
            f"  the weights of {self.backbone}{foreign}, and the classes in this order: {_some(self.classes)}",
        ]


@dataclass(frozen=True)
class ListReport(Report):
    type: ClassVar[str] = "list"

    contexts: tuple[StoredContext, ...]
    prefix: str = ""

    def columns(self) -> list[str]:
        return [field.name for field in dataclasses.fields(StoredContext)]

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(context) for context in self.contexts]

    def tables(self) -> list[list[Row]]:
        return [[self._human(context) for context in self.contexts]]

    def names(self) -> list[str]:
        return [context.name for context in self.contexts]

    def advice(self) -> list[str]:
        if self.contexts:
            return []
        if self.prefix:
            return [f"no context's name starts with '{self.prefix}'"]
        return ["no contexts yet", *next_lines("promptctl learn ./photos --name birds", "promptctl demo")]

    def warnings(self) -> list[str]:
        return [context.fault for context in self.contexts if context.fault]

    @staticmethod
    def _human(context: StoredContext) -> Row:
        return {
            "name": f"{context.name}@{context.version}",
            "classes": context.classes,
            "shots": context.shots,
            "learned": context.accuracy,
            "zero_shot": context.zero_shot_accuracy,
            "backbone": context.backbone,
            "size": size(context.n_bytes),
            "changed": datetime.fromisoformat(context.changed).astimezone().strftime("%Y-%m-%d %H:%M"),
        }


@dataclass(frozen=True)
class ShowReport(Report):
    type: ClassVar[str] = "context"

    context: str
    path: Path
    n_bytes: int
    versions: tuple[int, ...]
    card: Card

    def rows(self) -> list[Row]:
        return [{"id": c.id, "label": c.label, "name": c.name} for c in self.card.classes]

    def summary(self) -> list[str]:
        kept = ", ".join(f"@{number}" for number in self.versions)
        return [*card_lines(self.context, self.card, self.path, self.n_bytes), f"versions:  {kept}"]


@dataclass(frozen=True)
class MovedReport(Report):
    """A name went to the trash, or came back."""

    type: ClassVar[str] = "moved"

    context: str
    path: Path
    sentence: str
    next: str

    def tables(self) -> list[list[Row]]:
        return []

    def rows(self) -> list[Row]:
        return [{"context": self.context, "path": self.path}]

    def summary(self) -> list[str]:
        return [self.sentence]

    def advice(self) -> list[str]:
        return next_lines(self.next)


@dataclass(frozen=True)
class CachedFeatures:
    """How many images of one backbone are known."""

    backbone: str | None  # its name, where a stored context tells
    fingerprint: str
    features: int


@dataclass(frozen=True)
class CacheReport(Report):
    type: ClassVar[str] = "cache"

    path: Path
    keeps: bool  # False where it cannot be written
    n_bytes: int
    limit_bytes: int
    backbones: tuple[CachedFeatures, ...]

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(row) for row in self.backbones]

    def columns(self) -> list[str]:
        return ["backbone", "fingerprint", "features"]

    def tables(self) -> list[list[Row]]:
        return [[{**row, "fingerprint": row["fingerprint"][:12]} for row in self.rows()]]

    def summary(self) -> list[str]:
        if not self.keeps:
            return [f"no cache, image features are computed every time: {self.path} cannot be written"]
        kept = sum(row.features for row in self.backbones)
        return [f"{kept} image features in {size(self.n_bytes)} of at most {size(self.limit_bytes)}: {self.path}"]


@dataclass(frozen=True)
class ClearedReport(Report):
    type: ClassVar[str] = "cleared"

    path: Path
    features: int
    n_bytes: int  # given back

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(self)]

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        return [f"{self.features} image features forgotten, {size(self.n_bytes)} given back: {self.path}"]


@dataclass(frozen=True)
class ModelRow:
    """A backbone, and whether it is here."""

    name: str
    here: bool
    joint_width: int | None
    parameters: int | None
    download_bytes: int | None
    good_for: str | None


@dataclass(frozen=True)
class ModelsReport(Report):
    type: ClassVar[str] = "models"

    models: tuple[ModelRow, ...]

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(model) for model in self.models]

    def names(self) -> list[str]:
        return [model.name for model in self.models]

    def tables(self) -> list[list[Row]]:
        return [
            [
                {
                    "model": model.name,
                    "here": "yes" if model.here else "",
                    "width": model.joint_width,
                    "parameters": f"{model.parameters / 1e6:.0f} M" if model.parameters else None,
                    "download": _download(model),
                    "good for": model.good_for,
                }
                for model in self.models
            ]
        ]

    def advice(self) -> list[str]:
        return ["any open_clip name works: promptctl models pull ViT-B-16/openai, hf-hub:org/repo, local-dir:/path"]


@dataclass(frozen=True)
class PulledReport(Report):
    type: ClassVar[str] = "pulled"

    model: str
    path: Path

    def tables(self) -> list[list[Row]]:
        return []

    def rows(self) -> list[Row]:
        return [{"model": self.model, "path": self.path}]

    def summary(self) -> list[str]:
        return [f"{self.model} is on this machine: {self.path}"]

    def advice(self) -> list[str]:
        return next_lines(f"promptctl learn ./photos --name NAME --model {self.model}")


def _download(model: ModelRow) -> str | None:
    if model.download_bytes is None:
        return None
    return "included" if model.name == "mini" else f"about {size(model.download_bytes)}"


def next_lines(*commands: str) -> list[str]:
    return [f"{'     ' if i else 'next:'} {command}" for i, command in enumerate(commands)]


def card_lines(context: str, card: Card, path: Path, n_bytes: int) -> list[str]:
    """What a context is, a fact a line."""
    method, shots = card.method, card.shots
    kind = "class-specific" if method.class_specific else "shared by all classes"
    asked = "all images" if shots.asked is None else f"{shots.asked} a class"
    used = f"{asked}: {shots.train} images learned from, {shots.held_out} held out"
    shape = f"{method.context_tokens} of text width {card.backbone.text_width}, {kind}, class name "
    shape += f"{_at(method.position)}{_start(card)}"
    if not method.context_tokens:
        shape = "none, but a weight for each class, which speaks of no other class"
    return [
        f"{context}: {len(card.classes)} classes: {_some(card.names)}",
        f"backbone:  {card.backbone.name} (fingerprint {card.backbone.fingerprint[:12]})",
        f"vectors:   {shape}",
        f"learned:   {method.learner}, {_pace(card)}",
        f"shots:     {'not known' if card.is_imported else used}",
        f"template:  {card.zero_shot_template}",
        f"accuracy:  {_score_line(card)}",
        f"parent:    {card.parent[:12] if card.parent else 'none'}",
        f"file:      {path} ({size(n_bytes)}, sha256 {card.sha256[:12]})",
    ]


def _at(position: str) -> str:
    return "in the middle" if position == "middle" else f"at the {position}"


def _start(card: Card) -> str:
    if card.is_imported:
        return ""
    return f", from '{card.method.init}'" if card.method.init else ", from noise"


def _pace(card: Card) -> str:
    method = card.method
    if card.is_imported:
        return (
            f"by the original code and imported, {f'{method.epochs} epochs' if method.epochs else 'epochs not known'}"
        )
    how = f"{method.recipe} recipe, " if method.learner == "coop" else ""
    extra = f", {method.views} crops a photo" if method.views else ""
    extra += f", anchor {method.anchor:g}" if method.anchor else ""
    extra += ", mean of the late epochs" if method.average else ""
    return f"{how}{method.epochs} epochs, {method.steps} steps, lr {method.lr:g}, seed {method.seed}{extra}"


def _score_line(card: Card) -> str:
    if card.is_imported:
        return "not measured here"
    if card.score is None:
        return "not measured, no image was left over"
    score = card.score
    return f"{percent(score.accuracy)} on the {score.images} {score.on}, zero-shot {percent(score.zero_shot_accuracy)}"


def read_otherwise_lines(names: Sequence[str], shown: int = 5) -> list[str]:
    """What differs between the two programs, and for which class names."""
    if not names:
        return []
    some = ", ".join(f"'{name}.'" for name in names[:shown]) + (", …" if len(names) > shown else "")
    return [
        f"the original code joins the full stop to the end of {some}, promptctl keeps it apart: expect a difference"
    ]


def _some(names: Sequence[str], shown: int = 12) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def error_records(skipped: Sequence[SkippedFile]) -> list[Row]:
    return [{"type": "error", "path": item.path, "reason": item.reason} for item in skipped]


def skipped_lines(skipped: Sequence[SkippedFile], shown: int = 20) -> list[str]:
    """Every passed-over file on a line, the first few, after their count."""
    if not skipped:
        return []
    count = f"{len(skipped)} skipped:"
    more = [f"  and {len(skipped) - shown} more, all in --json"] if len(skipped) > shown else []
    return [count, *(f"  {item.path}: {item.reason}" for item in skipped[:shown]), *more]


def blended(share: float, chosen: bool) -> str:
    if share == 1:
        return " with nothing of zero-shot, as its folds chose," if chosen else ""
    return f" blended with zero-shot ({share:g} learned{', as its folds chose' if chosen else ''})"


def spread(mean: float, std: float | None) -> str:
    return f"{100 * mean:.1f}" if std is None else f"{100 * mean:.1f} ± {100 * std:.1f}"


def _shots(count: int) -> str:
    return f"{count} shot{'' if count == 1 else 's'}"


def percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100 * fraction:.1f} %"


def ordinal(number: int) -> str:
    teen = 10 < number % 100 < 14
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def size(n_bytes: int) -> str:
    value = float(n_bytes)
    for unit in ("B", "KB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
