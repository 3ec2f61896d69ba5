"""Protocol: the paper's few-shot protocol on one's own photos, every learner on the same shots and test images."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from promptctl import __version__
from promptctl.benchmark import unprojected
from promptctl.benchmark.pool import Pool, halves
from promptctl.benchmark.variants import HEAD, learner_of, settings_of, variant_of
from promptctl.classification import blend
from promptctl.classification.classifier import Classifier, mixed
from promptctl.clip import templates
from promptctl.data import sampling
from promptctl.encoding.decode import DECODER
from promptctl.encoding.views import VIEWS
from promptctl.learners import LEARNERS, head, linear_probe
from promptctl.learners.fitting import Learned, TrainingSet, fit
from promptctl.learners.parts import Ways
from promptctl.learners.settings import PLAIN, LearnSettings
from promptctl.progress import OnProgress

if TYPE_CHECKING:
    from promptctl.benchmark.results import Facts, Results
    from promptctl.data.images import HashedImage

Vectors = NDArray[np.float32]
VERSION = "few-shot-6"  # part of what every result is kept under: change it when any learner learns anything else
# in steps of coop; what is written by hand takes no time
_EFFORT = {"linear-probe": 20.0, "linear-probe-raw": 40.0, HEAD: 20.0}
BLEND_OF_ONE = 0.5  # one shot per class, or copies of one, have no folds to choose a share by


@dataclass(frozen=True)
class Trial:
    """The shots of one seed, and how to learn from them."""

    pool: Pool
    shots: int
    seed: int
    settings: LearnSettings = PLAIN
    on_progress: OnProgress | None = None

    @cached_property
    def sample(self) -> sampling.Sample:
        return sampling.sample(self.pool.train, self.shots, seed=self.seed)

    def fit(self) -> Learned:
        """What `learn` makes of these shots."""
        pool, shown = self.pool, self.sample.train
        _, targets = pool.arrays(shown)
        zero_shot = pool.zero_shot_features(pool.template)
        training_set = TrainingSet(
            pool.names, pool.features(shown), targets, zero_shot, pool.backbone, before=unprojected.before(pool, shown)
        )
        return fit(training_set, replace(self.settings, seed=self.seed), self.on_progress)


TextHead = Callable[[Pool], Vectors]  # the classes of a pool → their (C, E) unit rows


@dataclass(frozen=True)
class Compared:
    """One way to classify."""

    accuracy: Callable[[Trial], float]
    text_head: Callable[[Trial], TextHead] | None = None  # where it says something of classes, in text features


def compared(name: str) -> Compared:
    """How what is called so classifies."""
    learner = learner_of(name)
    if learner is None:
        return _WITHOUT_SETTINGS[name]
    if LEARNERS[learner].by_head:
        return Compared(_by_own_head)
    return _by_text(_blended if variant_of(name).blended else _learned)


def _by_text(text_head: Callable[[Trial], TextHead]) -> Compared:
    return Compared(lambda trial: trial.pool.accuracy(text_head(trial)(trial.pool)), text_head)


def _zero_shot(sentences: Callable[[str], tuple[str, ...]]) -> Compared:
    """Written by hand: what the sentences for a template say."""
    return _by_text(lambda trial: lambda pool: pool.by_sentences(sentences(trial.pool.template)))


def _learned(trial: Trial) -> TextHead:
    learned = trial.fit()
    return lambda pool: learned.text_features if pool is trial.pool else _of_other_classes(learned, pool)


def _of_other_classes(learned: Learned, pool: Pool) -> Vectors:
    """(C, E) unit rows: what a shared context says of classes it did not learn."""
    tower = pool.backbone.tower
    vectors = torch.from_numpy(learned.vectors).to(tower.token_table.device)
    prompts = tower.prompts(pool.names, len(vectors), position=learned.method.position)
    with torch.no_grad():
        texts = normalize(tower.encode(vectors, prompts), dim=-1)
    rows: Vectors = texts.float().cpu().numpy()
    return rows


def _blended(trial: Trial) -> TextHead:
    learned = trial.fit()
    share = _share(trial, learned)

    def of(pool: Pool) -> Vectors:
        texts = learned.text_features if pool is trial.pool else _of_other_classes(learned, pool)
        return mixed(texts, pool.zero_shot_features(pool.template), share)

    return of


def _share(trial: Trial, learned: Learned) -> float:
    """What `evaluate --blend auto` chooses for a context."""
    if trial.shots == 1:
        return BLEND_OF_ONE
    pool, backbone = trial.pool, trial.pool.backbone
    x, y = pool.arrays(trial.sample.train)
    groups = pool.groups(trial.sample.train)
    if not blend.folds_of(y, groups, trial.seed):
        return BLEND_OF_ONE
    zero_shot = pool.zero_shot_features(pool.template)
    refit = blend.refit_by(learned.method, pool.names, zero_shot, backbone.tower, backbone.logit_scale)
    return blend.best_share(blend.as_kept(x), y, refit, zero_shot, trial.seed, groups=groups)


def _by_head(trial: Trial) -> float:
    """What `learn` answers with: the head, which its context has no part in, so none is learned here."""
    return _accuracy_of_head(trial, None)


def _accuracy_of_head(trial: Trial, ways: Ways | None) -> float:
    pool, shown = trial.pool, trial.sample.train
    (x, y), zero_shot, scale = pool.arrays(shown), pool.zero_shot_features(pool.template), pool.backbone.logit_scale
    groups, rows = pool.groups(shown), blend.as_kept(x)
    found = head.fit(rows, y, zero_shot, logit_scale=scale, groups=groups, seed=trial.seed, ways=ways)
    classifier = Classifier.of_head(found.weight, found.bias, zero_shot, scale)
    return classifier.accuracy(*pool.arrays(pool.test))


def _by_own_head(trial: Trial) -> float:
    """What a head of the learner's own parts answers, or an image tower that ends in what it learned."""
    learned = trial.fit()
    if learned.projection is not None:
        return unprojected.accuracy_behind(trial.pool, learned.projection)
    return _accuracy_of_head(trial, learned.ways)


def _linear_probe(trial: Trial, *, raw: bool) -> float:
    pool = trial.pool
    arrays = pool.raw_arrays if raw else pool.arrays
    probe = linear_probe.learn(*arrays(trial.sample.train), *arrays(_validation(trial)))
    return float(probe.score(*arrays(pool.test)))


def _validation(trial: Trial) -> tuple[HashedImage, ...]:
    """Further images, as many of every class, none of which belongs together with a shot.

    Chosen among those that a comparison encodes whatever else it measures, so that nothing else decides a result.
    """
    further = [
        image
        for of_class in sampling.by_class(trial.sample.held_out).values()
        for image in sampling.sample(of_class, min(linear_probe.MOST_VALIDATION, len(of_class)), seed=trial.seed).train
    ]
    shown = trial.sample.train
    groups = trial.pool.groups((*shown, *further))
    of_shots = set(groups[: len(shown)].tolist())
    apart = [i for i, group in zip(further, groups[len(shown) :].tolist(), strict=True) if group not in of_shots]
    left = Counter(image.label for image in apart)
    each = min(linear_probe.validation_shots(trial.shots), *(left[label] for label in trial.pool.labels))
    return sampling.sample(apart, each, seed=trial.seed).train if each else ()


_WITHOUT_SETTINGS = {
    "zero-shot": _zero_shot(templates.sentences),
    "ensemble-7": _zero_shot(templates.ensemble_of_7),
    "ensemble-80": _zero_shot(lambda _: templates.sentences("imagenet-80")),
    "linear-probe": Compared(partial(_linear_probe, raw=False)),
    "linear-probe-raw": Compared(partial(_linear_probe, raw=True)),
    HEAD: Compared(_by_head),
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
    """One learner of half of the classes: how it does on them, and on the others among themselves."""

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
    pool: Pool,
    learner: str,
    shots: int,
    seed: int,
    settings: LearnSettings = PLAIN,
    on_progress: OnProgress | None = None,
) -> Run:
    """What is called so, learned by the settings as far as it heeds them."""
    started = time.monotonic()
    trial = Trial(pool, shots, seed, settings_of(learner, settings), on_progress)
    accuracy = compared(learner).accuracy(trial)
    return Run(learner, shots, seed, accuracy, time.monotonic() - started)


def base_to_new(
    pool: Pool,
    learner: str,
    shots: int,
    seed: int,
    settings: LearnSettings = PLAIN,
    on_progress: OnProgress | None = None,
) -> BaseToNew:
    """The same of the base classes alone, measured on them and on the new ones."""
    started = time.monotonic()
    base, new = (pool.only(half) for half in halves(pool.labels))
    text_head = compared(learner).text_head
    assert text_head is not None
    texts_of = text_head(Trial(base, shots, seed, settings_of(learner, settings), on_progress))
    found = base.accuracy(texts_of(base)), new.accuracy(texts_of(new))
    return BaseToNew(learner, shots, seed, *found, time.monotonic() - started)


@dataclass(frozen=True)
class Task:
    """Something to measure: a learner on the shots of one seed, of all classes or of half of them."""

    kind: str  # of results.KINDS: run or halves
    learner: str
    shots: int
    seed: int

    def effort(self, settings: LearnSettings) -> float:
        """About how long it takes, in steps of coop; for a division of the time left, no more."""
        learner = learner_of(self.learner)
        if learner is None:
            return _EFFORT.get(self.learner, 0.0)
        once = LEARNERS[learner].code.effort(settings_of(self.learner, settings), self.shots)
        return once * (1 + blend.FOLDS) if variant_of(self.learner).blended and self.shots > 1 else once

    def measure(self, pool: Pool, settings: LearnSettings, on_progress: OnProgress | None = None) -> Run | BaseToNew:
        take = run if self.kind == "run" else base_to_new
        return take(pool, self.learner, self.shots, self.seed, settings, on_progress)

    def recall(self, pool: Pool, settings: LearnSettings, known: Results) -> Run | BaseToNew | None:
        """What was measured before, the same to the last bit."""
        numbers = known.get(self.kind, _facts(pool, self, settings))
        if numbers is None:
            return None
        make = Run if self.kind == "run" else BaseToNew
        return make(self.learner, self.shots, self.seed, *numbers)

    def keep(self, found: Run | BaseToNew, pool: Pool, settings: LearnSettings, known: Results) -> None:
        known.put(self.kind, _facts(pool, self, settings), found.numbers)


def _facts(pool: Pool, task: Task, settings: LearnSettings) -> Facts:
    """Everything that decides a result."""
    return {
        "code": [VERSION, __version__, DECODER, VIEWS, blend.CHOOSER],
        "backbone": pool.backbone.id.fingerprint,
        "device": pool.backbone.device.type,
        "template": [pool.template, *templates.sentences(pool.template)],
        "photos": pool.digest,
        "learner": task.learner,
        "shots": task.shots,
        "settings": dataclasses.asdict(replace(settings_of(task.learner, settings), seed=task.seed)),
    }
