"""Context: learned vectors, the answer they give and the shots they came from, to and from one safetensors file."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from promptctl import checks
from promptctl.context import limits
from promptctl.context.card import (
    FORMAT,
    KEY,
    OF_A_TOWER,
    UNSEALED,
    WITH_HEAD,
    Card,
    card_of,
    context_file,
    fingerprint_with,
    header_length,
    read_card,
    seal,
    verify_seal,
)
from promptctl.context.prototypes import Prototypes
from promptctl.errors import CorruptContext

Floats = NDArray[np.float32]
_UNSAID: Any = None
_COLUMNS = {  # tensor of a file, without "shot_" → field
    "features": "features",
    "class_ids": "class_ids",
    "sha256": "sha256",
    "held_out": "held_out",
    "since": "since",
    "group": "groups",
    "predicted": "predicted",
    "likeness": "likeness",
    "confidence": "confidence",
    "plain": "plain",
}
_IN_WORDS = {"visual_tokens": "visual tokens", "image_projection": "projection"}  # what an image tower learns
UNSCORED = -9.0  # of a likeness; no product of such rows is as small
NOT_JUDGED = -1.0  # of a confidence


@dataclass(frozen=True, eq=False)
class ShotTable:
    """The images a context learned from, as features; no pixels."""

    features: NDArray[np.float16]  # (N, E) unit rows, rounded
    class_ids: NDArray[np.int32]  # (N,) ids of Card.classes
    sha256: NDArray[np.uint8]  # (N, 32) of the image files
    held_out: NDArray[np.uint8]  # (N,) 1: measured on, never learned from
    since: NDArray[np.int32] = _UNSAID  # (N,) number of the version that added it
    groups: NDArray[np.int32] = _UNSAID  # (N,) images of one group are near-copies, and always on one side
    predicted: NDArray[np.int32] = _UNSAID  # (N,) id of the class that was seen without learning from it; -1: not known
    likeness: Floats = _UNSAID  # (N,) to the others, see classification/calibration.py; UNSCORED: not known
    confidence: Floats = _UNSAID  # (N,) probability of `predicted`; NOT_JUDGED: not known
    plain: NDArray[np.float16] = _UNSAID  # (N, E) the same as `features`, but by the plain tower

    def __post_init__(self) -> None:
        for name, usual in self._usual().items():
            if getattr(self, name) is _UNSAID:
                object.__setattr__(self, name, usual)

    def _usual(self) -> dict[str, NDArray[Any]]:
        """What files say by saying nothing: all of the first version, each by itself, none predicted or scored."""
        n = len(self.class_ids)
        return {
            "since": np.ones(n, np.int32),
            "groups": np.arange(n, dtype=np.int32),
            "predicted": np.full(n, -1, np.int32),
            "likeness": np.full(n, UNSCORED, np.float32),
            "confidence": np.full(n, NOT_JUDGED, np.float32),
            "plain": self.features,
        }

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """(N,) sha256 of each image in hexadecimal digits."""
        return tuple(sha.tobytes().hex() for sha in self.sha256)

    def classes_of_images(self) -> dict[str, set[int]]:
        """sha256 → ids of the classes that the image is stored under."""
        found: dict[str, set[int]] = {}
        for sha, id in zip(self.hashes, self.class_ids.tolist(), strict=True):
            found.setdefault(sha, set()).add(id)
        return found

    def tensors(self) -> dict[str, NDArray[Any]]:
        """As a file holds them."""
        usual, columns = self._usual(), self.columns()
        return {
            f"shot_{key}": columns[name]
            for key, name in _COLUMNS.items()
            if name not in usual or not np.array_equal(columns[name], usual[name])
        }

    def columns(self) -> dict[str, NDArray[Any]]:
        """Every field by its name, (N, …)."""
        return {name: getattr(self, name) for name in _COLUMNS.values()}

    def only(self, which: NDArray[Any]) -> ShotTable:
        """The rows of a mask (N,) or of indices."""
        return ShotTable(**{name: column[which] for name, column in self.columns().items()})

    def __len__(self) -> int:
        return len(self.class_ids)

    @staticmethod
    def empty(joint_width: int) -> ShotTable:
        return ShotTable(
            np.empty((0, joint_width), np.float16),
            np.empty(0, np.int32),
            np.empty((0, 32), np.uint8),
            np.empty(0, np.uint8),
        )


@dataclass(frozen=True, eq=False)
class LinearHead:
    """What answers in place of the text features: logit_scale * F @ weight.T + bias."""

    weight: Floats  # (C, E)
    bias: Floats  # (C,)


@dataclass(frozen=True, eq=False, repr=False)
class Context:
    """A learned context with everything needed to use it, inspect it and learn on from it.

    Two are equal when their files would be the same to the last bit.
    """

    card: Card
    vectors: Floats  # (M, W) shared by all classes, or (C, M, W) class-specific
    text_features: Floats  # (C, E) unit rows: what the vectors and class names say
    zero_shot_features: Floats  # (C, E) unit rows: what the hand-written template says
    shots: ShotTable
    head: LinearHead | None = None  # None: the text features answer
    prototypes: Prototypes | None = None  # in place of shots that were left out
    visual_tokens: Floats | None = None  # (D, T, Wv) of the image tower, whose features with them all of this is about
    projection: Floats | None = None  # (D, E) that the image tower ends in; None: its own

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Context):
            return NotImplemented
        return self is other or self._unsealed() == other._unsealed()

    def __hash__(self) -> int:
        return hash(self._unsealed())

    def __repr__(self) -> str:
        card = self.card
        digest = hashlib.sha256(self._unsealed()).hexdigest()
        classes = f"{len(card.classes)} class{'' if len(card.classes) == 1 else 'es'}"
        return f"<Context of {classes} on {card.backbone.name}, {card.method.learner}, sha256 {digest[:12]}>"

    def why_no_shots(self, *, each: bool = False) -> str | None:
        """Why it has nothing to learn on from, in words; None where it has.

        each   means and variances of its shots will not do
        """
        if each and self.prototypes is not None:
            return "it keeps means of its shots in place of them"
        if len(self.shots) or self.prototypes is not None:
            return None
        if self.card.is_imported:
            return "it was imported and has no shots"
        return "the features of its shots were left out" if self.card.shots.train else "no class with photos is left"

    def learned_from(self) -> tuple[Floats, NDArray[np.int64]]:
        """(N, E) features and (N,) class indices of the shots it was learned from, without those held out."""
        return self._images(self.shots.held_out == 0)

    def rehearsed(self) -> tuple[Floats, NDArray[np.int64]]:
        """What a version that goes on from it learns from beside new images: its shots, or images made up for them."""
        features, rows = self.learned_from()
        if self.prototypes is None:
            return features, rows
        made, of_made = self.prototypes.made_up(self.card.method.seed)
        return np.concatenate([features, made]), np.concatenate([rows, of_made])

    def held_out(self) -> tuple[Floats, NDArray[np.int64]]:
        """The same of the images that are kept apart."""
        return self._images(self.shots.held_out == 1)

    def plain_held_out(self) -> Floats:
        """(N, E) features of those kept apart by the plain tower, which is what zero-shot answers about."""
        plain: Floats = self.shots.plain[self.shots.held_out == 1].astype(np.float32)
        return plain

    def seen_plainly(self) -> Context:
        """The same classes and images with the features of the plain tower; for use in memory."""
        if self.is_plain:
            return self
        shots = dataclasses.replace(self.shots, features=self.shots.plain)
        return dataclasses.replace(self, shots=shots, visual_tokens=None, projection=None)

    @property
    def is_plain(self) -> bool:
        """Whether its features are of the backbone's own image tower, in which nothing was learned."""
        return not self.of_tower

    @property
    def learned_in_tower(self) -> str:
        """What it has of the image tower, in words; empty for a plain one."""
        return "".join(_IN_WORDS[name] for name in self.of_tower)

    @property
    def of_tower(self) -> dict[str, Floats]:
        """What was learned in the image tower, as a file calls it: visual_tokens or image_projection, one at most."""
        learned = {"visual_tokens": self.visual_tokens, "image_projection": self.projection}
        return {name: tensor for name, tensor in learned.items() if tensor is not None}

    @property
    def encoder_fingerprint(self) -> str:
        """Of the image tower that its features are of: the backbone's own, or that with what was learned in it."""
        found = self.card.backbone.fingerprint
        for name, tensor in self.of_tower.items():
            found = fingerprint_with(found, tensor, name)
        return found

    def _images(self, which: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.int64]]:
        index = {entry.id: i for i, entry in enumerate(self.card.classes)}
        targets = np.array([index[int(id)] for id in self.shots.class_ids[which]], dtype=np.int64)
        return self.shots.features[which].astype(np.float32), targets

    def to_bytes(self) -> bytes:
        """The safetensors file, sealed; the same context gives the same bytes."""
        return seal(self._unsealed())

    def _unsealed(self) -> bytes:
        # no clock inside the file and one metadata key only: same images, settings and seed, same bytes
        format = FORMAT if self.head is None else WITH_HEAD
        format = format if self.is_plain else OF_A_TOWER
        card = dataclasses.replace(self.card, sha256=UNSEALED, format=format)
        return save(self._tensors(), metadata={KEY: card.fitting().to_json()})

    @staticmethod
    def from_bytes(data: bytes, path: Path | str) -> Context:
        """The context in a file's bytes, verified to the last bit; `path` is for the error only."""
        length = header_length(data[:8], len(data), path)
        card = card_of(data[8 : 8 + length], path)
        verify_seal(data, card, path)
        try:
            tensors = load(data)
            return _assemble(card, tensors)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise CorruptContext(path, f"its tensors do not fit its metadata ({error})") from error

    def without_shots(self) -> Context:
        """The same for somebody who shall not have the features of the images it was learned from."""
        joint, change = self.card.backbone.joint_width, self.card.change
        # a hash of a photo says that it was there
        told = dataclasses.replace(change, relabelled=()) if change else None
        card = dataclasses.replace(self.card, change=told)
        return dataclasses.replace(self, card=card, shots=ShotTable.empty(joint), prototypes=None)

    def with_prototypes_only(self) -> Context:
        """The same with means and variances in place of the features, from which it can still learn on."""
        return dataclasses.replace(self.without_shots(), prototypes=Prototypes.of(self))

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Context:
        """The context in a file; a name in the store is for `promptctl.load`, or `Store()[name]`.

        raises   CorruptContext, NewerFormat, NoSuchFile, NotAContext for a folder, NotAFile
        """
        file = context_file(checks.path("path", path))
        read_card(file)  # refuses what is no context before all of it is read
        return Context.from_bytes(file.read_bytes(), file)

    def _tensors(self) -> dict[str, NDArray[Any]]:
        tensors = {
            "vectors": self.vectors,
            "text_features": self.text_features,
            "zero_shot_features": self.zero_shot_features,
            **self.shots.tensors(),
        }
        if self.head:
            tensors |= {"head_weight": self.head.weight, "head_bias": self.head.bias}
        if self.prototypes:
            kept = {name: value for name, value in vars(self.prototypes).items() if value is not None}
            tensors |= {f"prototype_{name}": value for name, value in kept.items()}
        if self.is_plain:
            tensors.pop("shot_plain", None)
        tensors |= self.of_tower
        return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _assemble(card: Card, tensors: dict[str, NDArray[Any]]) -> Context:
    classes, width, joint = len(card.classes), card.backbone.text_width, card.backbone.joint_width
    tokens = card.method.context_tokens
    n_shots = len(tensors["shot_class_ids"])
    vectors = (classes, tokens, width) if card.method.class_specific else (tokens, width)
    of_a_tower = card.format >= OF_A_TOWER

    def take(name: str, shape: tuple[int, ...], dtype: type, *, optional: bool = False) -> NDArray[Any]:
        if optional and name not in tensors:
            return _UNSAID  # type: ignore[no-any-return]
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != dtype:
            raise ValueError(f"{name} is {tensor.dtype} {tensor.shape}, {np.dtype(dtype)} {shape} was expected")
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise ValueError(f"{name} holds a value that is not a number")
        return tensor

    context = Context(
        card=card,
        vectors=take("vectors", vectors, np.float32),
        text_features=take("text_features", (classes, joint), np.float32),
        zero_shot_features=take("zero_shot_features", (classes, joint), np.float32),
        shots=ShotTable(
            features=take("shot_features", (n_shots, joint), np.float16),
            class_ids=take("shot_class_ids", (n_shots,), np.int32),
            sha256=take("shot_sha256", (n_shots, 32), np.uint8),
            held_out=take("shot_held_out", (n_shots,), np.uint8),
            since=take("shot_since", (n_shots,), np.int32, optional=True),
            groups=take("shot_group", (n_shots,), np.int32, optional=True),
            predicted=take("shot_predicted", (n_shots,), np.int32, optional=True),
            likeness=take("shot_likeness", (n_shots,), np.float32, optional=True),
            confidence=take("shot_confidence", (n_shots,), np.float32, optional=True),
            plain=take("shot_plain", (n_shots, joint), np.float16, optional=True) if of_a_tower else _UNSAID,
        ),
        head=(  # a file of format 1 answers with its text features, whatever else somebody put into it
            LinearHead(take("head_weight", (classes, joint), np.float32), take("head_bias", (classes,), np.float32))
            if card.format == WITH_HEAD or (of_a_tower and "head_weight" in tensors)
            else None
        ),
        prototypes=(
            Prototypes(
                take("prototype_mean", (classes, joint), np.float32),
                take("prototype_variance", (classes, joint), np.float32),
                take("prototype_count", (classes,), np.int32),
                take("prototype_directions", (limits.DIRECTIONS, joint), np.float32)
                if "prototype_directions" in tensors
                else None,
            )
            if "prototype_mean" in tensors
            else None
        ),
        visual_tokens=take("visual_tokens", _shape_of_tokens(card, tensors), np.float32)
        if card.method.visual_tokens
        else None,
        projection=take("image_projection", _shape_of_projection(card, tensors), np.float32)
        if card.method.projection
        else None,
    )
    _check_values(context)
    return context


def _shape_of_tokens(card: Card, tensors: dict[str, NDArray[Any]]) -> tuple[int, ...]:
    """(D, T, Wv) of the visual tokens, whose width the image tower decides and no card says."""
    width = tensors["visual_tokens"].shape[-1] if tensors["visual_tokens"].ndim == 3 else 0
    if not 1 <= width <= limits.WIDEST:
        raise ValueError("visual_tokens has a shape that no image tower takes")
    return card.method.visual_depth, card.method.visual_tokens, width


def _shape_of_projection(card: Card, tensors: dict[str, NDArray[Any]]) -> tuple[int, ...]:
    """(D, E) of the projection, whose first width the image tower decides and no card says."""
    width = tensors["image_projection"].shape[0] if tensors["image_projection"].ndim == 2 else 0
    if not 1 <= width <= limits.WIDEST:
        raise ValueError("image_projection has a shape that no image tower ends in")
    return width, card.backbone.joint_width


def _check_values(context: Context) -> None:
    """ValueError for numbers that nothing we know could have learned; no file is trusted for its seal."""
    for name, learned in {"vectors": context.vectors, **context.of_tower}.items():
        if learned.size and np.abs(learned).max() > limits.LARGEST_VALUE:
            raise ValueError(f"{name} holds a value beyond {limits.LARGEST_VALUE:g}")
    head = context.head
    if head and max(np.abs(head.weight).max(), np.abs(head.bias).max()) > limits.LARGEST_HEAD:
        raise ValueError(f"its head holds a value beyond {limits.LARGEST_HEAD:g}")
    prototypes = context.prototypes
    if prototypes and (
        (prototypes.count < 0).any()
        or not (prototypes.variance >= 0).all()
        or max(np.abs(prototypes.mean).max(), prototypes.variance.max()) > limits.FEATURE_LENGTHS[1]
        or (prototypes.directions is not None and np.abs(prototypes.directions).max() > limits.FEATURE_LENGTHS[1])
        or (_squared_lengths(prototypes)[prototypes.count > 0] < limits.FEATURE_LENGTHS[0] ** 2).any()
    ):
        raise ValueError("a prototype is of no images that there can be")
    for name, rows in (
        ("text_features", context.text_features),
        ("zero_shot_features", context.zero_shot_features),
        ("shot_features", context.shots.features),
        ("shot_plain", context.shots.plain),
    ):
        lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
        least, most = limits.FEATURE_LENGTHS
        if not ((least <= lengths) & (lengths <= most)).all():
            raise ValueError(f"{name} holds a row that is far from a unit row")
    _check_shots(context.shots, context.card)


def _squared_lengths(prototypes: Prototypes) -> NDArray[np.float64]:
    """(C,) the mean squared length of the rows that they stand for."""
    mean, variance = (rows.astype(np.float64) for rows in (prototypes.mean, prototypes.variance))
    return np.asarray((mean**2 + variance).sum(1))


def _check_shots(shots: ShotTable, card: Card) -> None:
    """ValueError where the images are not those the card counts; it may come without any."""
    if not np.isin(shots.class_ids, [entry.id for entry in card.classes]).all():
        raise ValueError("a shot has a class that does not exist")
    if (shots.held_out > 1).any():
        raise ValueError("shot_held_out holds a value other than 0 and 1")
    if (shots.since < 1).any() or (shots.groups < 0).any() or (shots.predicted < -1).any():
        raise ValueError("a shot has a version, a group or an answer that does not exist")
    scored = shots.likeness[shots.likeness != UNSCORED]
    if (np.abs(scored) > limits.LARGEST_LIKENESS).any():
        raise ValueError("a shot is more alike than any can be")
    judged = shots.confidence[shots.confidence != NOT_JUDGED]
    if ((judged < 0) | (judged > 1)).any():
        raise ValueError("a shot has a probability beyond 0 and 1")
    held_out = int(shots.held_out.sum())
    found, said = (len(shots) - held_out, held_out), (card.shots.train, card.shots.held_out)
    if len(shots) and found != said:
        raise ValueError(f"there are {found[0]} + {found[1]} shots, {said[0]} + {said[1]} are counted")
