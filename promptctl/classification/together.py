"""Together: the photos of a folder answered with one another, each by itself and by where the others lie.

Anchored expectation-maximisation of a Gaussian for each class, after Zanella et al., "StatA", CVPR 2025. With y what
photo i shows by itself, f its feature, and the mean of z over the photos that are nearest to it and those it is nearest
to, each as far as they are alike,

    z_i(c)  prop. to  y_i(c) exp{ r [ (f_i mu_c - mu_c^2 / 2) / (T s2) + 3 mean_j W_ij z_j(c) ] }
    mu_c  =  norm( sum_i z_i(c) f_i + 5 a_c )            s2  =  variance of f about its mu, the same for all classes
    a_c   =  norm( w_c + sum_c' n_c' (mean_c' - w_c') / N )

a_c, the anchor, is where the photos of a class are expected: the row w_c of the classifier, moved from where text lies
to where photos do, by as much as this folder shows. It keeps a class that the folder does not have from taking photos
of others. In the paper each class has variances of its own and w_c is not moved; on folders of few classes that is
worse than no help. T = 50 (1 + shots / 16), since an answer learned from more shots is to be trusted more, and r grows
from 0 at six photos a class to 1 at fifteen: a few photos say nothing of one another. What is answered in the end is z
to the power (1 - 0.45 r) / temperature, that of the classifier: neighbours mostly say what was known already, and z is
too sure. docs/benchmarks.md has the measurements.

An answer depends on which photos there are, and not on their order. A photo counts once, however often it is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from promptctl.classification.classifier import Answer, Classifier, Predictions
from promptctl.encoding.files import Skipped

if TYPE_CHECKING:
    from promptctl.context.context import Context
    from promptctl.encoding.images import Seen
    from promptctl.encoding.pipeline import Encoded

Vectors = NDArray[np.float32]
Indices = NDArray[np.int64]

ANCHOR = 5.0  # photos that an anchor counts as
TEMPERATURE = 50.0  # of the Gaussians, whose dimensions are far from independent
SHOTS = 16.0  # per class, at which the Gaussians count half
REPEATED = 0.45  # of the logits of answers together: what others say once more
NEIGHBOURS = 3
SMOOTHING = 3.0  # logits for a class that all neighbours show
FEW, ENOUGH = 6.0, 15.0  # photos of a class that is there: no influence on one another, and all of it
BLOCK = 4096  # photos among which neighbours are looked for
_AT_ONCE = 512  # photos that are answered, once all are known
_OUTER, _INNER = 5, 3  # steps
_LEAST_VARIANCE = 1e-8


def together(features: Vectors, classifier: Classifier, shots: float = 0.0) -> Predictions:
    """What images show that are answered together.

    features   (N, E) unit rows
    shots      per class that the classifier was learned from; 0: none
    """
    first, place = _distinct(features)
    folder = _Folder(features[first], classifier, shots)
    return Predictions(folder.answered()[place])


def answers(
    images: Iterable[Encoded | Seen | Skipped], classifier: Classifier, shots: float = 0.0
) -> Iterator[Answer | Skipped]:
    """What images show that are answered together, each in its place once the last has come, and what is passed over.

    shots   as in `together`
    """
    items, features = _collected(images, classifier.weight.shape[1])
    known = [item for item in items if not isinstance(item, Skipped)]
    answered = _in_order(known, features, together(features, classifier, shots), classifier)
    return (item if isinstance(item, Skipped) else next(answered) for item in items)


def shots_behind(context: Context, share: float) -> float:
    """How many shots of a class an answer was learned from, in the mean; as many less as it is zero-shot's."""
    return share * context.card.shots.train / len(context.card.classes)


def _collected(
    images: Iterable[Encoded | Seen | Skipped], width: int
) -> tuple[list[Encoded | Seen | Skipped], Vectors]:
    """All images in their order, and the (N, E) features of those that were read, each of them there once."""
    items, vectors, blocks = [], [], [np.empty((0, width), np.float32)]
    for image in images:
        if not isinstance(image, Skipped):
            vectors.append(image.vector)
            image = replace(image, vector=blocks[0][:0])  # a hundred thousand features are 200 MB
        items.append(image)
        if len(vectors) == BLOCK:
            blocks.append(np.array(vectors, np.float32))
            vectors = []
    return items, np.concatenate([*blocks, np.array(vectors, np.float32).reshape(-1, width)])


def _in_order(
    known: list[Encoded | Seen], features: Vectors, found: Predictions, classifier: Classifier
) -> Iterator[Answer]:
    for start in range(0, len(known), _AT_ONCE):
        some, rows = slice(start, start + _AT_ONCE), features[start : start + _AT_ONCE]
        seen = [replace(image, vector=row) for image, row in zip(known[some], rows, strict=True)]
        yield from classifier.answers(seen, Predictions(found.probabilities[some]), classifier.predict(rows))


def influence(best: Indices) -> float:
    """How much images have to say of one another, 0 to 1, from what (N,) each shows by itself.

    Classes count by their share, so that a class which a single image is mistaken for hardly does.
    """
    counts = np.bincount(best)
    shares = counts[counts > 0] / max(len(best), 1)
    classes = np.exp(-(shares * np.log(shares)).sum())
    return float(np.clip((len(best) / classes - FEW) / (ENOUGH - FEW), 0, 1))


def _distinct(features: Vectors) -> tuple[Indices, Indices]:
    """(U,) one row of each that differ, in an order by content, and (N,) where among them every row is.

    The order is as good as random, so that a part of them is like the whole.
    """
    digests = [blake2b(row.tobytes(), digest_size=16).digest() for row in np.ascontiguousarray(features)]
    _, first, place = np.unique(np.array(digests, "V16"), return_index=True, return_inverse=True)
    return np.asarray(first, np.int64), np.asarray(place, np.int64).reshape(-1)


@dataclass(frozen=True, eq=False)
class _Folder:
    """Images that all differ."""

    features: Vectors  # (N, E) unit rows
    classifier: Classifier
    shots: float  # per class

    def answered(self) -> NDArray[np.float64]:
        """(N, C) probabilities."""
        z = np.empty((len(self.features), len(self.rows)), np.float32)
        for part in self.parts:
            z[part] = _softmax(self.logits(part))
        strength = influence(np.asarray(z.argmax(1), np.int64))
        if not strength:
            return self.classifier.predict(self.features).probabilities
        graphs = [_Graph.of(self.features[part], strength) for part in self.parts]
        self.step(z, graphs)
        anchors = self.anchors(z)
        for _ in range(_OUTER):
            means, variance = self.gaussians(z, anchors)
            self.step(z, graphs, means / variance * (strength / (TEMPERATURE * self.trust)), means)
        return self.softened(z, strength)

    @property
    def trust(self) -> float:
        """1 of an answer without shots, 2 of one learned from many."""
        return 1 + self.shots / SHOTS

    def softened(self, z: Vectors, strength: float) -> NDArray[np.float64]:
        """(N, C) probabilities as sure as they may be; of no strength, as sure as they are alone."""
        power = (1 - REPEATED * strength) / self.classifier.temperature
        found = z.astype(np.float64)
        np.power(found, power, out=found)
        found /= found.sum(1, keepdims=True)
        return found

    @cached_property
    def rows(self) -> Vectors:
        """(C, E) unit rows: what is known of the classes without these images."""
        return _unit(self.classifier.weight)

    @property
    def parts(self) -> list[slice]:
        """Blocks of about the same size."""
        edges = np.linspace(0, len(self.features), -(-len(self.features) // BLOCK) + 1).astype(int).tolist()
        return [slice(start, end) for start, end in pairwise(edges)]

    def logits(self, part: slice) -> Vectors:
        """(n, C) of each image by itself."""
        return self.classifier.logits(self.features[part]).astype(np.float32)

    def step(self, z: Vectors, graphs: list[_Graph], tilt: Vectors | None = None, means: Vectors | None = None) -> None:
        """Answer anew, in z (N, C), by the neighbours and, where they are known, by the Gaussians of the classes.

        tilt   (C, E) means by variance and temperature
        """
        for part, graph in zip(self.parts, graphs, strict=True):
            logits = self.logits(part)
            if tilt is not None and means is not None:
                logits += self.features[part] @ tilt.T - (means * tilt).sum(1) / 2
            for _ in range(_INNER):
                z[part] = _softmax(logits + graph.smoothed(z[part]))

    def anchors(self, z: Vectors) -> Vectors:
        """(C, E) unit rows: where the photos of each class are expected."""
        sums, counts = z.T @ self.features, z.sum(0, dtype=np.float64)
        gap = counts @ (_unit(sums) - self.rows) / counts.sum()
        return _unit(self.rows + gap)

    def gaussians(self, z: Vectors, anchors: Vectors) -> tuple[Vectors, Vectors]:
        """(C, E) mean of each class, unit rows, and (E,) the variance of all."""
        sums, counts = (z.T @ self.features).astype(np.float64), z.sum(0, dtype=np.float64)
        means = _unit(sums + ANCHOR * anchors)
        scatter = self.squares - 2 * (means * sums).sum(0) + counts @ means.astype(np.float64) ** 2
        variance = np.maximum(scatter / counts.sum(), _LEAST_VARIANCE)
        return means, variance.astype(np.float32)

    @cached_property
    def squares(self) -> NDArray[np.float64]:
        """(E,) sum of the squares of all features."""
        return np.asarray(np.einsum("ne,ne->e", self.features, self.features, dtype=np.float64))


@dataclass(frozen=True, eq=False)
class _Graph:
    """Which of n images are near one another, either way."""

    near: Indices  # (n, k)
    alike: Vectors  # (n, k) what each of them weighs
    back: tuple[tuple[Indices, Indices, Vectors], ...]  # (m,) images, what each is near to, (m, 1) its weight

    @staticmethod
    def of(features: Vectors, strength: float) -> _Graph:
        """The nearest images of every image by cosine; (n, E) unit rows."""
        near, alike = _nearest(features)
        weights = alike * np.float32(strength * SMOOTHING / (2 * near.shape[1]))
        to = near.ravel()
        order = np.argsort(to, kind="stable")
        rank = np.arange(len(to)) - np.searchsorted(to[order], to[order])  # of each among those with the same `to`
        turns = (order[rank == turn] for turn in range(int(rank.max(initial=-1)) + 1))
        back = tuple((to[some], some // near.shape[1], weights.ravel()[some, None]) for some in turns)
        return _Graph(near, weights, back)

    def smoothed(self, z: Vectors) -> Vectors:
        """(n, C) what the neighbours of each say, in logits."""
        logits = np.zeros_like(z)
        for column in range(self.near.shape[1]):
            logits += self.alike[:, column, None] * z[self.near[:, column]]
        for to, others, weights in self.back:  # no image is there twice, which would count once
            logits[to] += weights * z[others]
        return logits


def _nearest(features: Vectors) -> tuple[Indices, Vectors]:
    """(n, k) the images most alike to each, itself left out, and how alike they are, not below 0."""
    k = min(NEIGHBOURS, len(features) - 1)
    near, alike = np.empty((len(features), k), np.int64), np.empty((len(features), k), np.float32)
    for rows in _some(len(features)):
        cosines, each = features[rows] @ features.T, np.arange(len(features[rows]))
        cosines[each, each + rows.start] = -np.inf
        for rank in range(k):
            near[rows, rank] = best = cosines.argmax(1)
            alike[rows, rank] = cosines[each, best]
            cosines[each, best] = -np.inf
    return near, np.maximum(alike, 0)


def _some(n: int, at_once: int = 512) -> Iterator[slice]:
    return (slice(start, start + at_once) for start in range(0, n, at_once))


def _softmax(logits: Vectors) -> Vectors:
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(weights / weights.sum(1, keepdims=True))


def _unit(rows: NDArray[np.floating]) -> Vectors:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float32)
