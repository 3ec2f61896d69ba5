"""Protocol: the paper's few-shot protocol on one's own photos, every learner on the same shots and test images."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from promptctl import __version__
from promptctl.benchmark import results
from promptctl.benchmark.results import Facts, Results
from promptctl.classification import blend
from promptctl.classification.classifier import Classifier, mixed
from promptctl.clip import templates
from promptctl.data import sampling
from promptctl.data.images import HashedImage
from promptctl.encoding.decode import DECODER
from promptctl.encoding.pipeline import Features
from promptctl.encoding.views import VIEWS
from promptctl.learners import coop, linear_probe
from promptctl.learners.fitting import OnProgress, Taught, teach
from promptctl.learners.settings import PLAIN, Wish, learns

if TYPE_CHECKING:
    from promptctl.clip.backbone import Backbone

Vectors = NDArray[np.float32]
VERSION = "few-shot-1"  # part of what every result is kept under: change it when any learner learns anything else
# steps of coop that take about as long as a run; what is written by hand takes no time
_EFFORT = {"linear-probe": 20.0, "linear-probe-raw": 40.0, "clap": 10.0}
BLEND_OF_ONE = 0.5  # one shot a class has no folds to choose a share by


@dataclass(frozen=True)
class Pool:
    """Encoded photos of a class list: those shots are drawn from, and those everything is measured on."""

    name_of: Mapping[str, str]  # label → class name, labels in sorted order
    train: tuple[HashedImage, ...]
    test: tuple[HashedImage, ...]
    vector_of: Mapping[Path, Vectors]
    backbone: Backbone
    template: str
    length_of: Mapping[Path, float] = field(default_factory=dict)  # of a feature as it left the tower, where asked for

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.name_of)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.name_of.values())

    @cached_property
    def digest(self) -> str:
        """What is drawn from, what is measured on, and what the classes are called."""
        parts = [[side, i.label, i.sha256] for side, part in (("train", self.train), ("test", self.test)) for i in part]
        return results.digest([*parts, *self.name_of.items()])

    @property
    def most_shots(self) -> tuple[int, str]:
        """How many shots every class has, and the class that has no more."""
        found = Counter(image.label for image in self.train)
        return min((found[label], label) for label in self.labels)

    @cached_property
    def _written(self) -> dict[tuple[str, ...], Vectors]:
        return {}

    def by_hand(self, template: str) -> Vectors:
        """(C, E) unit rows of a template, computed once."""
        return self.by_sentences(templates.sentences(template))

    def by_sentences(self, written: tuple[str, ...]) -> Vectors:
        """(C, E) unit rows, the mean of sentences with {}, computed once."""
        if written not in self._written:
            self._written[written] = templates.mean_features(self.backbone.tower, self.names, written)
        return self._written[written]

    def arrays(self, some: Sequence[HashedImage]) -> tuple[Vectors, NDArray[np.int64]]:
        """(N, E) unit rows and (N,) class indices."""
        index = {label: i for i, label in enumerate(self.labels)}
        width = self.backbone.id.joint_width
        vectors = np.array([self.vector_of[image.path] for image in some], np.float32).reshape(-1, width)
        return vectors, np.array([index[image.label] for image in some], dtype=np.int64)

    def raw_arrays(self, some: Sequence[HashedImage]) -> tuple[Vectors, NDArray[np.int64]]:
        """(N, E) rows as they leave the tower and (N,) class indices."""
        unit, targets = self.arrays(some)
        lengths = np.array([self.length_of[image.path] for image in some], np.float32)
        return unit * lengths[:, None], targets

    def features(self, some: Sequence[HashedImage]) -> Features:
        paths, sha256 = tuple(image.path for image in some), tuple(image.sha256 for image in some)
        return Features(paths, sha256, self.arrays(some)[0])

    def only(self, labels: Sequence[str]) -> Pool:
        """The same photos of some classes."""
        keep = {label: self.name_of[label] for label in labels}
        train, test = (tuple(i for i in part if i.label in keep) for part in (self.train, self.test))
        return replace(self, name_of=keep, train=train, test=test)

    def accuracy(self, texts: Vectors) -> float:
        """Fraction of the test images nearest to their own class, (C, E) unit rows."""
        return Classifier(texts).accuracy(*self.arrays(self.test))


@dataclass(frozen=True)
class Draw:
    """The shots of one seed, and how to learn from them."""

    pool: Pool
    shots: int
    seed: int
    wish: Wish = PLAIN
    on_progress: OnProgress | None = None

    @cached_property
    def sample(self) -> sampling.Sample:
        return sampling.sample(self.pool.train, self.shots, seed=self.seed)

    def taught(self) -> Taught:
        """What `learn` makes of these shots."""
        pool, shown = self.pool, self.sample.train
        _, targets = pool.arrays(shown)
        by_hand = pool.by_hand(pool.template)
        wish = replace(self.wish, seed=self.seed)
        return teach(wish, pool.names, pool.features(shown), targets, by_hand, pool.backbone, self.on_progress)


Speaker = Callable[[Pool], Vectors]  # the classes of a pool → their (C, E) unit rows


@dataclass(frozen=True)
class Compared:
    """One way to classify."""

    accuracy: Callable[[Draw], float]
    speaker: Callable[[Draw], Speaker] | None = None  # where it says something of classes, in text features


def _speaking(speaker: Callable[[Draw], Speaker]) -> Compared:
    return Compared(lambda draw: draw.pool.accuracy(speaker(draw)(draw.pool)), speaker)


def _by_hand(sentences: Callable[[str], tuple[str, ...]]) -> Compared:
    """Written by hand: what the sentences for a template say."""
    return _speaking(lambda draw: lambda pool: pool.by_sentences(sentences(draw.pool.template)))


def _taught(draw: Draw) -> Speaker:
    taught = draw.taught()
    return lambda pool: taught.text_features if pool is draw.pool else _spoken(taught, pool)


def _spoken(taught: Taught, pool: Pool) -> Vectors:
    """(C, E) unit rows: what a shared context says of classes it was not taught."""
    tower = pool.backbone.tower
    vectors = torch.from_numpy(taught.vectors).to(tower.token_table.device)
    prompts = tower.prompts(pool.names, len(vectors), position=taught.method.position)
    with torch.no_grad():
        spoken = normalize(tower.encode(vectors, prompts), dim=-1)
    rows: Vectors = spoken.float().cpu().numpy()
    return rows


def _blended(draw: Draw) -> Speaker:
    taught = draw.taught()
    share = _share(draw, taught)

    def speak(pool: Pool) -> Vectors:
        learned = taught.text_features if pool is draw.pool else _spoken(taught, pool)
        return mixed(learned, pool.by_hand(pool.template), share)

    return speak


def _share(draw: Draw, taught: Taught) -> float:
    """What `evaluate --blend auto` chooses for a context."""
    if draw.shots == 1:
        return BLEND_OF_ONE
    pool, backbone = draw.pool, draw.pool.backbone
    x, y = pool.arrays(draw.sample.train)
    by_hand = pool.by_hand(pool.template)
    again = blend.again_by(taught.method, pool.names, by_hand, backbone.tower, backbone.logit_scale)
    return blend.best_share(blend.as_kept(x), y, again, by_hand, draw.seed)


def _linear_probe(draw: Draw, *, raw: bool) -> float:
    pool, held_out = draw.pool, draw.sample.held_out
    arrays = pool.raw_arrays if raw else pool.arrays
    left = Counter(image.label for image in held_out)
    further = min(linear_probe.validation_shots(draw.shots), *(left[label] for label in pool.labels))
    validation = sampling.sample(held_out, further, seed=draw.seed).train if further else ()
    probe = linear_probe.learn(*arrays(draw.sample.train), *arrays(validation))
    return float(probe.score(*arrays(pool.test)))


COMPARED = {
    "zero-shot": _by_hand(templates.sentences),
    "ensemble-7": _by_hand(templates.ensemble_of_7),
    "ensemble-80": _by_hand(lambda _: templates.sentences("imagenet-80")),
    "linear-probe": Compared(partial(_linear_probe, raw=False)),
    "linear-probe-raw": Compared(partial(_linear_probe, raw=True)),
    # these differ by their wishes
    "coop": _speaking(_taught),
    "coop-csc": _speaking(_taught),
    "coop-anchor": _speaking(_taught),
    "coop-average": _speaking(_taught),
    "coop-blend": _speaking(_blended),
    "clap": _speaking(_taught),
}


@dataclass(frozen=True)
class Run:
    """One learner on the shots of one seed."""

    learner: str
    shots: int
    seed: int
    accuracy: float  # fraction
    seconds: float

    @property
    def numbers(self) -> tuple[float, ...]:
        return self.accuracy, self.seconds


@dataclass(frozen=True)
class BaseToNew:
    """One learner taught half of the classes: how it does on them, and on the others among themselves."""

    learner: str
    shots: int
    seed: int
    base: float  # fraction
    new: float  # fraction
    seconds: float = 0.0

    @property
    def numbers(self) -> tuple[float, ...]:
        return self.base, self.new, self.seconds

    @property
    def harmonic(self) -> float:
        return 2 * self.base * self.new / (self.base + self.new) if self.base + self.new else 0.0


def run(
    pool: Pool, learner: str, shots: int, seed: int, wish: Wish = PLAIN, on_progress: OnProgress | None = None
) -> Run:
    """A learner taught as a wish says, as far as it heeds it."""
    started = time.monotonic()
    accuracy = COMPARED[learner].accuracy(Draw(pool, shots, seed, wish.of(learner), on_progress))
    return Run(learner, shots, seed, accuracy, time.monotonic() - started)


def speaks_of_new_classes(learner: str, wish: Wish = PLAIN) -> bool:
    return COMPARED[learner].speaker is not None and wish.of(learner).speaks_of_new_classes


def halves(labels: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Base and new classes: the first half of the sorted labels, the larger one, and the rest."""
    ordered = sorted(labels)
    middle = (len(ordered) + 1) // 2
    return tuple(ordered[:middle]), tuple(ordered[middle:])


def base_to_new(
    pool: Pool, learner: str, shots: int, seed: int, wish: Wish = PLAIN, on_progress: OnProgress | None = None
) -> BaseToNew:
    started = time.monotonic()
    base, new = (pool.only(half) for half in halves(pool.labels))
    speaker = COMPARED[learner].speaker
    assert speaker is not None
    speak = speaker(Draw(base, shots, seed, wish.of(learner), on_progress))
    found = base.accuracy(speak(base)), new.accuracy(speak(new))
    return BaseToNew(learner, shots, seed, *found, time.monotonic() - started)


@dataclass(frozen=True)
class Task:
    """Something to measure: a learner on the shots of one seed, of all classes or of half of them."""

    kind: str  # of results.KINDS: run or halves
    learner: str
    shots: int
    seed: int

    def effort(self, wish: Wish) -> float:
        """About how long it takes, in steps of coop; for a division of the time left, no more."""
        own = wish.of(self.learner)
        if own.learner == "clap" or not learns(self.learner):
            return _EFFORT.get(self.learner, 0.0)
        epochs = coop.RECIPES[own.recipe].epochs(self.shots) if own.epochs is None else own.epochs
        once = 50.0 + epochs  # loading, drawing, and the crops of a photo
        return once * (1 + blend.FOLDS) if self.learner == "coop-blend" and self.shots > 1 else once

    def measure(self, pool: Pool, wish: Wish, on_progress: OnProgress | None = None) -> Run | BaseToNew:
        take = run if self.kind == "run" else base_to_new
        return take(pool, self.learner, self.shots, self.seed, wish, on_progress)

    def recall(self, pool: Pool, wish: Wish, known: Results) -> Run | BaseToNew | None:
        """What was measured before, the same to the last bit."""
        numbers = known.get(self.kind, _facts(pool, self, wish))
        if numbers is None:
            return None
        make = Run if self.kind == "run" else BaseToNew
        return make(self.learner, self.shots, self.seed, *numbers)

    def keep(self, found: Run | BaseToNew, pool: Pool, wish: Wish, known: Results) -> None:
        known.put(self.kind, _facts(pool, self, wish), found.numbers)


def _facts(pool: Pool, task: Task, wish: Wish) -> Facts:
    """Everything that decides a result."""
    return {
        "code": [VERSION, __version__, DECODER, VIEWS, blend.CHOOSER],
        "backbone": pool.backbone.id.fingerprint,
        "device": pool.backbone.device.type,
        "template": [pool.template, *templates.sentences(pool.template)],
        "photos": pool.digest,
        "learner": task.learner,
        "shots": task.shots,
        "wish": dataclasses.asdict(replace(wish.of(task.learner), seed=task.seed)),
    }
