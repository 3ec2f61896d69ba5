"""Classifier: a context and image features → what each image shows. One product with a matrix, no text tower."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from promptctl.encoding import pipeline
from promptctl.encoding.files import Skipped

if TYPE_CHECKING:
    from promptctl.classification.gate import Gate
    from promptctl.context.card import ClassEntry
    from promptctl.context.context import Context
    from promptctl.encoding.cache import FeatureCache
    from promptctl.encoding.encoder import ImageEncoder
    from promptctl.encoding.images import Seen
    from promptctl.encoding.pipeline import Encoded

Vectors = NDArray[np.float32]
_ROWS = 4096  # images at a time, where only the best class is wanted


@dataclass(frozen=True)
class Predictions:
    """A probability of every class for every image."""

    probabilities: NDArray[np.float64]  # (N, C) rows sum to 1

    @staticmethod
    def of(logits: NDArray[np.float64]) -> Predictions:
        """The softmax of (N, C) logits."""
        weights = np.exp(logits - logits.max(1, keepdims=True, initial=-np.inf))
        return Predictions(weights / weights.sum(1, keepdims=True))

    @property
    def best(self) -> NDArray[np.int64]:
        """(N,) the most probable class of each image."""
        return np.asarray(self.probabilities.argmax(1), dtype=np.int64)

    def top(self, k: int) -> NDArray[np.int64]:
        """(N, k) the k most probable classes, best first; ties go to the earlier class."""
        return np.asarray(np.argsort(-self.probabilities, axis=1, kind="stable")[:, :k], dtype=np.int64)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """(N,) the probability of the best class."""
        return np.asarray(self.probabilities.max(1))


@dataclass(frozen=True, eq=False)
class Answer:
    """What one image shows."""

    path: Path | None  # None: a picture in memory
    sha256: str | None  # of the file
    classes: tuple[ClassEntry, ...]
    probabilities: NDArray[np.float64]  # (C,) they sum to 1
    alone: NDArray[np.float64] | None = None  # (C,) what it shows by itself, where others had a part in the answer
    likeness: float | None = None  # cosine to what the context knows; None: not asked for
    unknown: bool = False  # too unlike all that the context knows
    doubtful: bool = False  # not unknown, but too likely wrong
    burst: Path | None = None  # the first photo of a burst that is answered as one

    def __repr__(self) -> str:
        where = "" if self.path is None else f"{self.path}: "
        return f"<Answer {where}{self.name} {100 * self.probability:.1f} %>"

    @property
    def label(self) -> str:
        """Of the most probable class: what its folder is called."""
        return self.classes[self._best].label

    @property
    def name(self) -> str:
        """Of the most probable class: what the prompt says."""
        return self.classes[self._best].name

    @property
    def probability(self) -> float:
        """Of the most probable class."""
        return float(self.probabilities[self._best])

    @property
    def _best(self) -> int:
        return int(self.probabilities.argmax())

    def top(self, k: int) -> tuple[tuple[ClassEntry, float], ...]:
        """The k most probable classes with their probabilities, best first; ties go to the earlier class."""
        return _top(self.probabilities, self.classes, k)

    def top_alone(self, k: int) -> tuple[tuple[ClassEntry, float], ...]:
        """The same of the image by itself."""
        return _top(self.probabilities if self.alone is None else self.alone, self.classes, k)


def _top(
    probabilities: NDArray[np.float64], classes: tuple[ClassEntry, ...], k: int
) -> tuple[tuple[ClassEntry, float], ...]:
    best = Predictions(probabilities[None]).top(k)[0]
    return tuple((classes[c], float(probabilities[c])) for c in best)


@dataclass(frozen=True, eq=False)
class Classifier:
    """Says which of its classes an image shows: the one of the largest logit, logit_scale * F @ weight.T + bias."""

    weight: Vectors  # (C, E) the answer in force: text features, or the rows of a head
    logit_scale: float = 100.0  # CLIP's own; without a bias no ranking depends on it
    classes: tuple[ClassEntry, ...] = ()  # empty where positions are enough
    share: float = 1.0  # of what was learned, the rest is zero-shot's
    bias: Vectors | None = None  # (C,)
    gate: Gate | None = None  # which answers are taken; None: all
    temperature: float = 1.0  # that logits are divided by before they are made probabilities; it changes no answer

    @staticmethod
    def of(context: Context, *, share: float = 1.0, head: bool = True) -> Classifier:
        """A context in use, with so much of what it learned.

        head   False: the context alone answers, whether or not there is a head
        """
        scale, classes = context.card.logit_scale, context.card.classes
        if context.head and head and share:
            own = context.head
            found = Classifier.of_head(own.weight, own.bias, context.zero_shot_features, scale, share, classes)
        else:
            found = Classifier(mixed(context.text_features, context.zero_shot_features, share), scale, classes, share)
        # fitted to what answers; zero-shot has none, nor has what a head answers in place of
        answers = share > 0 and (head or not context.head)
        return replace(found, temperature=context.card.temperature**share) if answers else found

    @staticmethod
    def of_head(
        weight: Vectors,
        bias: Vectors,
        zero_shot: Vectors,
        logit_scale: float,
        share: float = 1.0,
        classes: tuple[ClassEntry, ...] = (),
    ) -> Classifier:
        """A head in use, as much of its logits as the share says and the rest of zero-shot's.

        weight, zero_shot   (C, E); of a head the length of a row counts, so what is mixed is not made unit again
        bias                (C,)
        """
        rows = np.asarray(share * weight + (1 - share) * zero_shot, dtype=np.float32)
        return Classifier(rows, logit_scale, classes, share, np.asarray(share * bias, dtype=np.float32))

    @staticmethod
    def zero_shot(context: Context) -> Classifier:
        """What a context is measured against: the template's text features of the same classes."""
        return Classifier.of(context, share=0.0)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(entry.label for entry in self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.classes)

    def sha256(self) -> str:
        """Of all that decides an answer."""
        gate = [] if self.gate is None else self.gate.parts
        digest = hashlib.sha256()
        for part in (self.weight, self.bias, self.logit_scale, self.temperature, *gate):
            digest.update(b"none" if part is None else np.asarray(part, np.float64).tobytes())
        digest.update(repr(self.labels + self.names).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def classify(
        self,
        paths: Iterable[Path],
        encoder: ImageEncoder,
        cache: FeatureCache,
        on_done: pipeline.OnDone | None = None,
    ) -> Iterator[Answer | Skipped]:
        """What every image shows, in the order of the paths and as soon as it is known, and what is passed over.

        encoder   of the backbone that the weights are for
        """
        for image in pipeline.stream(paths, encoder, cache, on_done):
            yield image if isinstance(image, Skipped) else self.answer(image)

    def answer(self, image: Encoded | Seen) -> Answer:
        """What one image shows whose feature is known."""
        return self.answers([image], self.predict(image.vector[None]))[0]

    def answers(
        self, images: Sequence[Encoded | Seen], found: Predictions, alone: Predictions | None = None
    ) -> list[Answer]:
        """What images show that are known as features, each taken or not as the gate has it.

        found   of the N images
        alone   of each by itself, where other images had a part in `found`
        """
        features = np.array([image.vector for image in images], np.float32)
        passed = self.gate.passed(features, found) if self.gate and len(images) else None
        return [
            Answer(
                image.path,
                image.sha256,
                self.classes,
                found.probabilities[i],
                None if alone is None else alone.probabilities[i],
                *((None, False, False) if passed is None else passed.of(i)),
            )
            for i, image in enumerate(images)
        ]

    def predict(self, features: Vectors) -> Predictions:
        """Softmax over scaled cosine similarities, as CLIP does, or over those of a head, divided by the temperature.

        features   (N, E) unit rows
        """
        return Predictions.of(self.logits(features) / self.temperature)

    def logits(self, features: Vectors) -> NDArray[np.float64]:
        """(N, C) before the temperature; arguments as in `predict`."""
        logits = self.logit_scale * features.astype(np.float64) @ self._weight.T
        return np.asarray(logits if self.bias is None else logits + self.bias)

    def right(self, features: Vectors, targets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(N,) which images are given their own class; (N, E) unit rows and (N,) class indices."""
        # some rows at a time: fifty thousand images of a thousand classes are half a gigabyte of probabilities
        parts = range(0, len(features), _ROWS)
        best = [self.predict(features[first : first + _ROWS]).best for first in parts]
        return np.asarray(np.concatenate([*best, np.empty(0, np.int64)]) == targets, dtype=bool)

    def accuracy(self, features: Vectors, targets: NDArray[np.int64]) -> float:
        """The fraction of images that are given their own class; arguments as in `right`."""
        return float(self.right(features, targets).mean())

    @cached_property
    def _weight(self) -> NDArray[np.float64]:
        return self.weight.astype(np.float64)


def extended(
    ids: NDArray[np.int64], weight: Vectors, bias: Vectors | None, others: NDArray[np.int64], names: Vectors
) -> tuple[Vectors, Vectors]:
    """Rows and biases for the classes of a later version: those of a class it shares, or else its row by name alone.

    ids, weight, bias   (C,) class ids, (C, E) and (C,) of what answers; None: no bias
    others, names       (C',) class ids of the later version, and their (C', E) zero-shot rows
    returns             (C', E), (C',)
    """
    rows, biases = names.copy(), np.zeros(len(names), np.float32)
    row_of = {id: row for row, id in enumerate(ids.tolist())}
    for row, id in enumerate(others.tolist()):
        if id in row_of:
            rows[row] = weight[row_of[id]]
            biases[row] = 0.0 if bias is None else bias[row_of[id]]
    return rows, biases


def mixed(learned: Vectors, zero_shot: Vectors, share: float) -> Vectors:
    """(C, E) unit rows: w = norm((1 - a) z + a t), a share a of the learned text features and the rest zero-shot ones.

    The mixing is WiSE-FT's, on the text side (Wortsman et al., CVPR 2022; Lin et al., CVPR 2023).

    learned, zero_shot   (C, E) unit rows
    """
    if share in (0, 1):
        return learned if share else zero_shot
    rows = share * learned + (1 - share) * zero_shot
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def calibration_error(predictions: Predictions, targets: NDArray[np.int64], *, bins: int = 15) -> float:
    """Expected calibration error (Guo et al., ICML 2017): |accuracy - confidence| over equal-width bins, weighted."""
    confidence = predictions.confidence
    correct = predictions.best == targets
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(correct[bin_of == b].mean() - confidence[bin_of == b].mean()) * (bin_of == b).mean() for b in set(bin_of)
    ]
    return float(sum(gaps))
