"""Protocol: the paper's few-shot protocol on one's own photos, every learner on the same shots and test images."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from promptctl import blend, images, zero_shot
from promptctl.images import HashedImage
from promptctl.learners import clap, coop, linear_probe

if TYPE_CHECKING:
    from promptctl.backbone import Backbone

Vectors = NDArray[np.float32]
ANCHOR = 8.0  # KgCoOp's own lambda
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

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.name_of)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.name_of.values())

    @property
    def most_shots(self) -> tuple[int, str]:
        """How many shots every class has, and the class that has no more."""
        found = Counter(image.label for image in self.train)
        return min((found[label], label) for label in self.labels)

    @cached_property
    def _written(self) -> dict[str, Vectors]:
        return {}

    def by_hand(self, template: str) -> Vectors:
        """(C, E) unit rows of a template, computed once."""
        if template not in self._written:
            self._written[template] = zero_shot.text_features(self.backbone.tower, self.names, template)
        return self._written[template]

    def arrays(self, some: Sequence[HashedImage]) -> tuple[Vectors, NDArray[np.int64]]:
        """(N, E) unit rows and (N,) class indices."""
        index = {label: i for i, label in enumerate(self.labels)}
        width = self.backbone.id.joint_width
        vectors = np.array([self.vector_of[image.path] for image in some], np.float32).reshape(-1, width)
        return vectors, np.array([index[image.label] for image in some], dtype=np.int64)

    def only(self, labels: Sequence[str]) -> Pool:
        """The same photos of some classes."""
        keep = {label: self.name_of[label] for label in labels}
        train, test = (tuple(i for i in part if i.label in keep) for part in (self.train, self.test))
        return replace(self, name_of=keep, train=train, test=test)

    def accuracy(self, texts: Vectors) -> float:
        """Fraction of the test images nearest to their own class, (C, E) unit rows."""
        x, y = self.arrays(self.test)
        return float(((x @ texts.T).argmax(1) == y).mean())


@dataclass(frozen=True)
class Draw:
    """The shots of one seed."""

    pool: Pool
    shots: int
    seed: int

    @cached_property
    def sample(self) -> images.Sample:
        return images.sample(self.pool.train, self.shots, seed=self.seed)

    def context(self, **settings: Any) -> coop.Learned:
        """What CoOp learns from these shots, its settings the defaults but for those given."""
        return self.learn(*self.pool.arrays(self.sample.train), **settings)

    def learn(self, x: Vectors, y: NDArray[np.int64], **settings: Any) -> coop.Learned:
        """The same from (N, E) unit rows and (N,) class indices."""
        pool, backbone = self.pool, self.pool.backbone
        epochs = coop.RECIPES["fast"].epochs(self.shots)
        return coop.learn(
            x,
            y,
            pool.names,
            backbone.tower,
            logit_scale=backbone.logit_scale,
            settings=coop.Settings(epochs=epochs, seed=self.seed, **settings),
            anchors=pool.by_hand(pool.template),
        )


Speaker = Callable[[Pool], Vectors]  # the classes of a pool → their (C, E) unit rows


@dataclass(frozen=True)
class Compared:
    """One way to classify."""

    accuracy: Callable[[Draw], float]
    speaker: Callable[[Draw], Speaker] | None = None  # where what is learned speaks of other classes too


def _speaking(speaker: Callable[[Draw], Speaker]) -> Compared:
    return Compared(lambda draw: draw.pool.accuracy(speaker(draw)(draw.pool)), speaker)


def _template(name: str | None) -> Compared:
    return _speaking(lambda draw: lambda pool: pool.by_hand(name or pool.template))


def _context(draw: Draw, **settings: Any) -> Speaker:
    learned = draw.context(**settings)
    return lambda pool: learned.text_features if pool is draw.pool else _spoken(learned, pool)


def _spoken(learned: coop.Learned, pool: Pool) -> Vectors:
    """(C, E) unit rows: what a shared context says of classes it was not taught."""
    tower = pool.backbone.tower
    vectors = torch.from_numpy(learned.vectors).to(tower.token_table.device)
    with torch.no_grad():
        spoken = normalize(tower.encode(vectors, tower.prompts(pool.names, len(vectors))), dim=-1)
    rows: Vectors = spoken.float().cpu().numpy()
    return rows


def _blended(draw: Draw) -> Speaker:
    pool = draw.pool
    x, y = pool.arrays(draw.sample.train)

    def again(rows: Vectors, targets: NDArray[np.int64]) -> Vectors:
        return draw.learn(rows, targets).text_features

    share = BLEND_OF_ONE
    if draw.shots > 1:
        share = blend.best_share(x, y, again, pool.by_hand(pool.template), draw.seed)
    learned = _context(draw)
    return lambda other: blend.mixed(learned(other), other.by_hand(other.template), share)


def _class_specific(draw: Draw) -> float:
    return draw.pool.accuracy(draw.context(class_specific=True).text_features)


def _clap(draw: Draw) -> float:
    pool = draw.pool
    x, y = pool.arrays(draw.sample.train)
    start, scale = pool.by_hand(pool.template), pool.backbone.logit_scale
    learned = clap.learn(x, y, start, logit_scale=scale, settings=clap.Settings(seed=draw.seed))
    return pool.accuracy(learned.text_features)


def _linear_probe(draw: Draw) -> float:
    pool, held_out = draw.pool, draw.sample.held_out
    left = Counter(image.label for image in held_out)
    further = min(linear_probe.validation_shots(draw.shots), *(left[label] for label in pool.labels))
    validation = images.sample(held_out, further, seed=draw.seed).train if further else ()
    probe = linear_probe.learn(*pool.arrays(draw.sample.train), *pool.arrays(validation))
    return float(probe.score(*pool.arrays(pool.test)))


COMPARED = {
    "zero-shot": _template(None),
    "ensemble-7": _template("imagenet-7"),
    "ensemble-80": _template("imagenet-80"),
    "linear-probe": Compared(_linear_probe),
    "coop": _speaking(_context),
    "coop-csc": Compared(_class_specific),
    "coop-anchor": _speaking(partial(_context, anchor=ANCHOR)),
    "coop-average": _speaking(partial(_context, average=True)),
    "coop-blend": _speaking(_blended),
    "clap": Compared(_clap),
}


@dataclass(frozen=True)
class Run:
    """One learner on the shots of one seed."""

    learner: str
    shots: int
    seed: int
    accuracy: float  # fraction
    seconds: float


@dataclass(frozen=True)
class BaseToNew:
    """One learner taught half of the classes: how it does on them, and on the others among themselves."""

    learner: str
    shots: int
    seed: int
    base: float  # fraction
    new: float  # fraction

    @property
    def harmonic(self) -> float:
        return 2 * self.base * self.new / (self.base + self.new) if self.base + self.new else 0.0


def run(pool: Pool, learner: str, shots: int, seed: int) -> Run:
    started = time.monotonic()
    accuracy = COMPARED[learner].accuracy(Draw(pool, shots, seed))
    return Run(learner, shots, seed, accuracy, time.monotonic() - started)


def speaks_of_new_classes(learner: str) -> bool:
    return COMPARED[learner].speaker is not None


def halves(labels: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Base and new classes: the first half of the sorted labels, the larger one, and the rest."""
    ordered = sorted(labels)
    middle = (len(ordered) + 1) // 2
    return tuple(ordered[:middle]), tuple(ordered[middle:])


def base_to_new(pool: Pool, learner: str, shots: int, seed: int) -> BaseToNew:
    base, new = (pool.only(half) for half in halves(pool.labels))
    speaker = COMPARED[learner].speaker
    assert speaker is not None
    speak = speaker(Draw(base, shots, seed))
    return BaseToNew(learner, shots, seed, base.accuracy(speak(base)), new.accuracy(speak(new)))
