"""What the text tower reads while it is trained, and where each text should point.

Texts come in groups with one beginning and endings of one length. Most are names in a sentence; some carry a look
("a striped ..."), two things, a gloss, a beginning without sense, or a context of random vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

from directions import without_mean
from sources import encode
from tower import START, Group, group

LENGTHS = (1, 2, 3, 4, 6, 9, 14, 20)  # endings up to each of these lengths lie in one group
GROUPS, SIZE = 8, 48  # of one step
USUAL = ("a photo of a ", ".")
MORE = (
    *(("a ", "."), ("the ", "."), ("a ", ""), ("an ", ""), ("a photo of ", "."), ("photo of a ", ""), ("one ", "")),
    *(("a picture of a ", "."), ("an image of a ", "."), ("this is a ", "."), ("a close-up photo of the ", ".")),
    *(("a photo of a person wearing ", "."), ("there is a ", " in the scene."), ("a snapshot of ", "")),
    *(("a photo of a ", ", an object."), ("a photo of a ", ", a type of thing."), ("a photo of the ", " on a table.")),
    *(("", " texture."), ("", " pattern"), ("a photo of a ", " texture."), ("a photo of a ", " surface.")),
    *(("a photo of a ", ", a type of bird."), ("a photo of ", ", a type of clothing."), ("itap of a ", ".")),
    ("a photo of a ", ", a type of animal."),
)
SHARE = 0.25  # weight of contexts of vectors beside the other groups: a fifth of all
FAR, SHARPNESS, PARTS = 2.2, 60.0, 8  # see Steering


def sentences() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Beginnings and tails, as tokens."""
    split = [tuple(template("\0").split("\0")) for template in OPENAI_IMAGENET_TEMPLATES]
    return [(encode(first), encode(last)) for first, last in (*split, *MORE)]


class Pool:
    """Texts of one sort with the row of `targets` each should point to, laid out by length."""

    def __init__(self, texts: Sequence[tuple[int, ...]], rows: Sequence[int], weights: Sequence[float] | None = None):
        lengths = np.array([len(t) for t in texts])
        weight = np.ones(len(texts)) if weights is None else np.asarray(weights, float)
        self.texts, self.rows = texts, np.asarray(rows)
        self._members: list[np.ndarray] = []
        self._chance: list[np.ndarray] = []
        shorter = 0
        total = []
        for longest in LENGTHS:
            inside = np.flatnonzero((lengths > shorter) & (lengths <= longest))
            shorter = longest
            if len(inside):
                self._members.append(inside)
                self._chance.append(weight[inside].cumsum() / weight[inside].sum())
                total.append(weight[inside].sum())
        self._length_chance = np.cumsum(total) / np.sum(total)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[list[tuple[int, ...]], np.ndarray]:
        """n texts of about one length, and their rows of targets."""
        k = int(np.searchsorted(self._length_chance, rng.random()))
        chosen = self._members[k][np.searchsorted(self._chance[k], rng.random(n)).clip(max=len(self._members[k]) - 1)]
        return [self.texts[i] for i in chosen], self.rows[chosen]


@dataclass(frozen=True)
class Steering:
    """What a context of vectors does to a name: it adds the directions of the vectors, and each name heeds some of them
    more than others, which ones by its own direction, and different ones in every part of the joint space. So a
    context can move names together, and apart.

    keys        (77, P, 512) unit rows, one for every place in a context and every part of the joint space
    turn        (W, 512) from the directions of token embeddings to the parts, side by side
    back        (512, 512) from the parts to the joint space
    sharpness   of the choice which vector of a context a name heeds
    far         how far a context of aligned vectors moves a name, in unit rows
    """

    keys: torch.Tensor
    turn: torch.Tensor
    back: torch.Tensor
    sharpness: float
    far: float

    def __call__(self, rows: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Where a context (M, W) moves names (B, 512) to, unit rows."""
        keys = self.keys[: len(context)]
        heed = (self.sharpness * torch.einsum("be,mpe->bmp", rows, keys)).softmax(1)
        said = (F.normalize(context, dim=-1) @ self.turn).unflatten(1, (keys.shape[1], -1))  # (M, P, 512 / P)
        moves = torch.einsum("bmp,mpd->bpd", heed, said).flatten(1) @ self.back  # (B, 512)
        return F.normalize(rows + self.far * moves, dim=-1)


def steering(
    turn: torch.Tensor,
    mean: torch.Tensor,
    *,
    seed: int,
    parts: int = PARTS,
    sharpness: float = SHARPNESS,
    far: float = FAR,
) -> Steering:
    """With keys and parts at random. What a context adds to a name has nothing along the mean picture.

    turn   (W, 512) from the directions of token embeddings to the joint space
    mean   (512) the mean picture
    """
    draw = torch.Generator().manual_seed(seed)
    keys = F.normalize(torch.randn(77, parts, 512, generator=draw), dim=-1)
    axes = torch.linalg.qr(torch.randn(512, 512, generator=draw)).Q
    return Steering(keys, turn @ axes, without_mean(axes.T, mean), sharpness, far)


@dataclass
class Reading:
    """Draws steps of training: groups of texts and their targets.

    targets   (R, 512) unit rows
    pools     classes, nouns, words, tokens, glosses and looks
    looks     how an adjective changes a thing: its tokens and its direction
    """

    targets: torch.Tensor
    pools: dict[str, Pool]
    looks: list[tuple[tuple[int, ...], torch.Tensor]]
    steering: Steering
    table: torch.Tensor  # (V, W) the token embeddings at the start

    def __post_init__(self) -> None:
        self._sentences = sentences()
        self._usual = tuple(encode(part) for part in USUAL)
        self._kinds = (
            (0.40, self._named, ("classes",)), (0.33, self._named, ("nouns",)), (0.05, self._named, ("words",)),
            (0.04, self._named, ("looks",)), (0.03, self._bare, ("tokens",)), (0.05, self._bare, ("glosses",)),
            (0.05, self._changed, ()), (0.04, self._two, ()), (SHARE, self._steered, ()),
        )  # fmt: skip

    def step(self, rng: np.random.Generator) -> tuple[list[Group], torch.Tensor]:
        chance = np.cumsum([share for share, *_ in self._kinds])
        drawn = []
        for _ in range(GROUPS):
            _, make, given = self._kinds[int(np.searchsorted(chance, rng.random() * chance[-1]))]
            drawn.append(make(rng, *given))
        return [g for g, _ in drawn], torch.cat([rows for _, rows in drawn])

    def _sentence(self, rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
        chance = rng.random()
        if chance < 0.2:
            return (), ()
        if chance < 0.55:
            return self._usual
        return self._sentences[rng.integers(len(self._sentences))]

    def _named(self, rng: np.random.Generator, pool: str) -> tuple[Group, torch.Tensor]:
        texts, rows = self.pools[pool].draw(SIZE, rng)
        first, last = self._sentence(rng)
        return group(first, [t + last for t in texts]), self.targets[rows]

    def _bare(self, rng: np.random.Generator, pool: str) -> tuple[Group, torch.Tensor]:
        texts, rows = self.pools[pool].draw(SIZE, rng)
        return group((), texts), self.targets[rows]

    def _things(self, rng: np.random.Generator) -> tuple[list[tuple[int, ...]], torch.Tensor]:
        texts, rows = self.pools["classes" if rng.random() < 0.6 else "nouns"].draw(SIZE, rng)
        return texts, self.targets[rows]

    def _changed(self, rng: np.random.Generator) -> tuple[Group, torch.Tensor]:
        texts, rows = self._things(rng)
        word, direction = self.looks[rng.integers(len(self.looks))]
        first = (encode("a photo of a ") if rng.random() < 0.7 else encode("a ")) + word
        if rng.random() < 0.3:
            first = encode("a ") + word + encode(" photo of a ")
        return group(first, [t + encode(".") for t in texts]), F.normalize(rows + 0.45 * direction, dim=-1)

    def _two(self, rng: np.random.Generator) -> tuple[Group, torch.Tensor]:
        texts, rows = self._things(rng)
        others, other_rows = self.pools["nouns"].draw(1, rng)
        joint, share = ((" and a ", 0.5), (" with a ", 0.4), (" on a ", 0.4), (" in a ", 0.4))[rng.integers(4)]
        if rng.random() < 0.5:  # the common thing in front
            first = encode("a photo of a ") + others[0] + encode(joint)
            return group(first, texts), F.normalize((1 - share) * self.targets[other_rows] + share * rows, dim=-1)
        tail = encode(joint) + others[0]
        mixed = F.normalize((1 - share) * rows + share * self.targets[other_rows], dim=-1)
        return group(encode("a photo of a "), [t + tail for t in texts]), mixed

    def _steered(self, rng: np.random.Generator) -> tuple[Group, torch.Tensor]:
        texts, rows = self._things(rng)
        vectors = int(rng.choice([16, 8, 4, rng.integers(1, 17)], p=[0.6, 0.1, 0.2, 0.1]))
        if rng.random() < 0.3:  # any words of the vocabulary
            context = self.table[torch.from_numpy(rng.integers(256, START, vectors))]
        else:
            noise = torch.from_numpy(rng.standard_normal((vectors + 1, self.table.shape[1]))).float()
            along = float(rng.choice([0, rng.random()]))  # some contexts pull one way
            context = along * noise[-1] + (1 - along**2) ** 0.5 * noise[:-1]
            context = context * 0.01 * 12 ** float(rng.random())  # half the length of a token's embedding to six times
        return group((), [t + encode(".") for t in texts], context), self.steering(rows, context)
