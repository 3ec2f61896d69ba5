"""Card: everything a context file says about itself, readable with the standard library alone."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import struct
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from promptctl.context import limits
from promptctl.errors import (
    CorruptContext,
    DatasetError,
    NewerFormat,
    NoSuchFile,
    NotAContext,
    NotAFile,
    TooManyClasses,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = 1  # of a file whose text features are its answer
WITH_HEAD = 2  # of one that answers with a head, which a reader of format 1 would pass over
OF_A_TOWER = limits.OF_A_TOWER  # of one about an image tower that learned too, where a reader of 2 asks the plain one
NEWEST = OF_A_TOWER
KEY = "promptctl"
LONGEST_HEADER = 1 << 20  # bytes; ten thousand classes fit
_NO_FORMAT = 1_000_000
_RESERVED_FOR_THE_REST = 16 << 10  # of a header, beside the classes
_RESERVED_FOR_TENSORS = 4 << 10  # of these, for what safetensors says of twenty of them
UNSEALED = "0" * 64
HELD_OUT = "images held out"  # what most scores are of
UNSEEN_SHOTS = "shots, each without having learned from it"  # where none is held out


@dataclass(frozen=True)
class BackboneId:
    """Which frozen model a context belongs to; the fingerprint decides, the rest is for people."""

    name: str  # as given to --model: "mini", "ViT-B-16/openai"
    fingerprint: str  # sha256 over every weight, the preprocessing and a tokenizer that is not CLIP's
    text_width: int  # W
    joint_width: int  # E


@dataclass(frozen=True)
class ClassEntry:
    """One class: an id that never changes, and the words that hang on it."""

    id: int
    label: str  # the folder name
    name: str  # what the prompt says
    aliases: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()  # of the name and the full stop, where they are not those of the two taken apart


@dataclass(frozen=True)
class Method:
    """How the vectors were learned; enough to learn them again from the same images."""

    learner: str
    context_tokens: int  # M
    init: str | None  # the words the context started from; None: normal, standard deviation 0.02
    class_specific: bool
    position: str  # of the class name: end, middle or front
    epochs: int
    lr: float  # 0 in a context that was imported: not known
    seed: int
    steps: int  # optimiser steps actually taken
    recipe: str = "paper"
    views: int = 0  # random crops an image was learned from; 0: its centre
    anchor: float = 0.0  # lambda of KgCoOp's term
    average: bool = False  # of the late epochs, instead of the last step
    visual_tokens: int = 0  # T, in each of the first blocks of the image tower
    visual_depth: int = 0  # D, those blocks; 0 where there are no tokens
    projection: bool = False  # learned again at the end of the image tower

    @property
    def by_template(self) -> bool:
        """Whether the hand-written template says what classes are, new ones too, and the image tower alone learned."""
        return self.learner == "vpt" or self.projection


@dataclass(frozen=True)
class Shots:
    """How many images were asked for and used."""

    asked: int | None  # per class; None: all
    train: int
    held_out: int


@dataclass(frozen=True)
class Score:
    """Accuracy on images the context never learned from, beside zero-shot on the same images."""

    on: str  # which images these were
    images: int
    accuracy: float  # fraction
    zero_shot_accuracy: float  # fraction


@dataclass(frozen=True)
class CurvePoint:
    """How far learning had come: what the vectors, or class weights, said of the shots after some steps."""

    step: int  # optimiser steps taken before
    loss: float  # what is minimised; where steps see some of the shots each, the mean of those of one epoch
    accuracy: float  # fraction of the shots that were given their class


@dataclass(frozen=True)
class HeadPart:
    """One part of a head: where its rows come from, and how much they count."""

    kind: str  # of limits.HEAD_PARTS
    share: float


@dataclass(frozen=True)
class ChoiceScore:
    """How often what could have been chosen was right about shots that folds left out."""

    name: str
    accuracy: float  # fraction


@dataclass(frozen=True)
class Chosen:
    """Which of several ways to answer a head takes."""

    name: str
    by: str  # which folds were asked: 5 folds of 80 shots; empty where there are none
    why: str  # why it is not what they found best, or that they found none better; empty where it is
    scores: tuple[ChoiceScore, ...] = ()  # of all of them; empty where there are no folds

    @property
    def score(self) -> float | None:
        """Its own accuracy by the folds (fraction)."""
        return next((one.accuracy for one in self.scores if one.name == self.name), None)


@dataclass(frozen=True)
class Relabelled:
    """An image whose class was changed."""

    sha256: str
    before: int  # id
    after: int  # id


@dataclass(frozen=True)
class GuardRecord:
    """What the guard found when a version was to replace its parent."""

    images: int
    worse: int  # images the parent gave their class and this version does not
    better: int
    p: float  # exact McNemar, one-sided
    refused: bool = False
    on: str = ""  # which images these were
    kept: str = ""  # which of its retries this version is; empty: the first try


@dataclass(frozen=True)
class Change:
    """What made a version out of its parent."""

    kind: str  # the command: learn, class rename, relabel, merge, rebase …
    words: str = ""  # what it did, for `log`
    relabelled: tuple[Relabelled, ...] = ()
    forced: bool = False  # although the guard refused it
    guard: GuardRecord | None = None


@dataclass(frozen=True)
class Card:
    """The metadata of a context file; docs/format.md describes every field."""

    backbone: BackboneId
    classes: tuple[ClassEntry, ...]
    method: Method
    shots: Shots
    zero_shot_template: str
    logit_scale: float
    written_by: str
    score: Score | None = None
    parent: str | None = None  # sha256 of the version this one was learned from
    sha256: str = ""  # of the whole file, with this value written as 64 zeros
    format: int = FORMAT
    change: Change | None = None  # None: learned from scratch, or imported
    head: tuple[HeadPart, ...] = ()  # how the head is mixed; empty where there is none
    folds: Score | None = None  # on the shots, each by a fold that did not learn from it
    temperature: float = 1.0  # that learned logits are divided by before they are made probabilities
    next_id: int = 0  # of a class to come, where a higher one was used before; ids are never used again
    chosen: Chosen | None = None  # what the head is made of; None where there was no choice
    curve: tuple[CurvePoint, ...] = ()  # of the steps of `method`, the first and the last among them; empty: not kept

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(entry.label for entry in self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.classes)

    @property
    def unused_id(self) -> int:
        """The id of the next new class: higher than any that was ever used."""
        return max(self.next_id, 1 + max(entry.id for entry in self.classes))

    @property
    def is_imported(self) -> bool:
        """Learned elsewhere, by CoOp's own code: nothing is known of its images, start, rate and seed."""
        # a learner in closed form has no rate either, and its classes with photos may be gone
        return self.method.learner == "coop" and not (self.shots.train or self.method.lr)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, ASCII."""
        fields = {**dataclasses.asdict(self), "classes": _plain(self.classes)}
        for name in _LATER:  # files of before say nothing of these, and stay as they are to the bit
            if getattr(self, name) == getattr(Card, name):
                del fields[name]
        for name in _LATER_OF_METHOD:
            if getattr(self.method, name) == getattr(Method, name):
                del fields["method"][name]
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)

    def fitting(self) -> Card:
        """The same with no more of the relabelled images than its header has room for; its words still count them."""
        change = self.change
        room = LONGEST_HEADER - _RESERVED_FOR_TENSORS - len(json.dumps(self.to_json()))  # as JSON inside JSON
        if room >= 0 or change is None:
            return self
        least = len(json.dumps(json.dumps(dataclasses.asdict(_SHORTEST), separators=(",", ":"))))
        kept = change.relabelled[: max(0, len(change.relabelled) - math.ceil(-room / (least - 2)))]
        return dataclasses.replace(self, change=dataclasses.replace(change, relabelled=kept))


_LATER = ("change", "head", "folds", "temperature", "next_id", "chosen", "curve")
_LATER_OF_METHOD = ("visual_tokens", "visual_depth", "projection")
_SHORTEST = Relabelled(UNSEALED, 0, 0)


def fingerprint_with(fingerprint: str, learned: NDArray[np.float32], what: str = "visual_tokens") -> str:
    """Of a backbone whose image tower has something learned in it: sha256 of its own fingerprint and of that.

    learned   visual_tokens (D, T, Wv) or image_projection (D, E); its shape and bytes as little-endian float32
    what      which of them, as a file calls it
    """
    digest = hashlib.sha256(f"{fingerprint}:{what}:{learned.shape}".encode())
    digest.update(learned.astype("<f4").tobytes())
    return digest.hexdigest()


def next_id_after(parent: Card, classes: Sequence[ClassEntry]) -> int:
    """`next_id` of a card with these classes that goes on from another; 0 where the classes themselves say it."""
    of_classes = 1 + max(entry.id for entry in classes)
    return 0 if of_classes >= parent.unused_id else parent.unused_id


def context_file(path: Path) -> Path:
    """The path itself, or NotAContext for a folder, NoSuchFile, NotAFile for a pipe or a device."""
    if path.is_dir():
        raise NotAContext(str(path))
    if not path.is_file():
        raise NotAFile(path) if path.exists() else NoSuchFile(path)
    return path


def read_card(path: Path) -> Card:
    """The card of a context file, from its header alone; contents are not verified, `Context.load` does that."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = header_length(file.read(8), size, path)
        header = file.read(length)
    card = card_of(header, path)
    spans = _spans(header)
    if spans is None or 8 + length + max((end for _, end in spans.values()), default=0) != size:
        raise CorruptContext(path, "it is cut off, or something was added to it")
    return card


def _plain(classes: Sequence[ClassEntry]) -> list[dict[str, Any]]:
    """The fields of classes; without tokens where there are none, as files were before there were any."""
    kept = (dataclasses.asdict(entry) for entry in classes)
    return [{key: value for key, value in entry.items() if key != "tokens" or value} for entry in kept]


def check_fits(classes: Sequence[ClassEntry]) -> None:
    """DatasetError for classes that no file can hold, TooManyClasses where not all fit, before anything is learned."""
    if fault := limits.fault_of_classes(classes):
        raise DatasetError(f"these classes cannot be kept: {fault}", "rename the folder, or call it something else")
    text = json.dumps(_plain(classes), separators=(",", ":"))
    n_bytes = len(json.dumps(text))  # as JSON inside JSON
    if n_bytes > LONGEST_HEADER - _RESERVED_FOR_THE_REST:
        raise TooManyClasses(len(classes), len(classes) * (LONGEST_HEADER - _RESERVED_FOR_THE_REST) // n_bytes)


def _spans(header: bytes) -> dict[str, tuple[int, int]] | None:
    """Where each tensor begins and ends, as the header has it; None when it does not say."""
    spans: dict[str, tuple[int, int]] = {}
    for name, described in json.loads(header).items():
        if name != "__metadata__":
            offsets = described.get("data_offsets") if isinstance(described, dict) else None
            if not isinstance(offsets, list) or [type(one) for one in offsets] != [int, int]:
                return None
            spans[name] = (offsets[0], offsets[1])
    return spans


def _fault_of_sizes(spans: Mapping[str, tuple[int, int]], card: Card) -> str | None:
    """Why a file is not worth the memory that it takes, by where its tensors lie, in words; None when it may be."""
    most, n_bytes = _most_bytes(card), {name: end - begin for name, (begin, end) in spans.items()}
    # of small ones the shape is said, once they are read
    too_large = next((name for name, n in n_bytes.items() if n > max(most.get(name, n), limits.MOST_WRONG)), None)
    if too_large is not None:
        return f"{too_large} takes {n_bytes[too_large]} bytes, at most {most[too_large]} by its metadata"
    unknown = sum(n for name, n in n_bytes.items() if name not in most)
    if unknown > limits.MOST_UNKNOWN:
        return f"{unknown >> 20} MB of it are of no tensor that a context has"
    whole = sum(n_bytes.values())
    return (
        f"it has {whole >> 20} MB, at most {limits.LARGEST_FILE >> 20} are read"
        if whole > limits.LARGEST_FILE
        else None
    )


def _most_bytes(card: Card) -> dict[str, int]:
    """How much each tensor of a context may take, which its shape and type are held to once it is read."""
    method, classes, joint = card.method, len(card.classes), card.backbone.joint_width
    shots, row = card.shots.train + card.shots.held_out, 4 * joint
    vectors = 4 * method.context_tokens * card.backbone.text_width
    of_shots = ("class_ids", "held_out", "since", "group", "predicted", "likeness", "confidence")
    of_classes = ("text_features", "zero_shot_features", "head_weight", "prototype_mean", "prototype_variance")
    return {
        "vectors": vectors * (classes if method.class_specific else 1),
        **dict.fromkeys(of_classes, classes * row),
        **dict.fromkeys(("head_bias", "prototype_count"), 4 * classes),
        "prototype_directions": limits.DIRECTIONS * row,
        **dict.fromkeys(("shot_features", "shot_plain"), shots * row // 2),
        **{f"shot_{name}": 4 * shots for name in of_shots},
        "shot_sha256": 32 * shots,
        **dict.fromkeys(("visual_tokens", "image_projection"), limits.LARGEST_OF_TOWER),
    }


def header_length(first_eight: bytes, file_size: int, path: Path | str) -> int:
    """Length of the safetensors header, checked against the file before anything is allocated."""
    if len(first_eight) < 8:
        raise CorruptContext(path, "it is too short")
    (length,) = struct.unpack("<Q", first_eight)
    if length > min(LONGEST_HEADER, file_size - 8):
        raise CorruptContext(path, "its header is longer than the file or than a header may be")
    return int(length)


def card_of(header: bytes, path: Path | str) -> Card:
    """The card inside a safetensors header."""
    try:
        fields = json.loads(json.loads(header)["__metadata__"][KEY])
        found = fields["format"]
        if type(found) is not int or not 0 < found < _NO_FORMAT:
            raise ValueError(f"{found!r:.40} is not a format")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptContext(path, "it holds no promptctl metadata") from error
    if found > NEWEST:
        raise NewerFormat(path, found, NEWEST)
    try:
        card = _build(Card, fields)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise CorruptContext(path, f"its metadata is incomplete ({error})") from error
    assert isinstance(card, Card)
    if fault := limits.fault_of(card) or _fault_of_sizes(_spans(header) or {}, card):
        raise CorruptContext(path, fault)
    return card


def seal(unsealed: bytes) -> bytes:
    """The same file with its sha256 written where 64 zeros stood."""
    digest = hashlib.sha256(unsealed).hexdigest()
    return _replace_in_header(unsealed, UNSEALED, digest)


def verify_seal(data: bytes, card: Card, path: Path | str) -> None:
    """CorruptContext unless the file is, bit for bit, the one that was sealed."""
    intact = False
    if len(card.sha256) == 64:
        try:
            end = 8 + struct.unpack("<Q", data[:8])[0]
            digest = hashlib.sha256(_replace_in_header(data[:end], card.sha256, UNSEALED))
            digest.update(memoryview(data)[end:])  # which may be large, and is not copied
            intact = digest.hexdigest() == card.sha256
        except ValueError:
            intact = False
    if not intact:
        raise CorruptContext(path, "its checksum does not match its contents")


def verify(data: bytes, path: Path | str) -> None:
    """CorruptContext unless the bytes are those of a context file, to the last bit of its seal."""
    length = header_length(data[:8], len(data), path)
    verify_seal(data, card_of(data[8 : 8 + length], path), path)


def _replace_in_header(data: bytes, old: str, new: str) -> bytes:
    end = 8 + struct.unpack("<Q", data[:8])[0]
    head = data[:end]
    # as JSON inside JSON writes it: no class name can look like this, its quotes are escaped once more
    before, after = (rf"\"sha256\":\"{digest}\"".encode() for digest in (old, new))
    # the last one: relabelled images stand before it, and a stranger may say of one that its checksum is all zeros
    start, found, rest = head.rpartition(before)
    if not found:
        raise ValueError("the checksum must stand in the header")
    return start + after + rest + data[end:]


def _build(kind: Any, value: Any) -> Any:
    """A value of the annotated type from plain JSON; unknown fields are left out, wrong types raise TypeError."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else _build(next(k for k in get_args(kind) if k is not type(None)), value)
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"a list was expected, not {value!r:.40}")
        return tuple(_build(get_args(kind)[0], item) for item in value)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__} was expected, not {value!r:.40}")
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{value} is not a number")
    if kind is str:
        value.encode()  # UnicodeEncodeError, a ValueError, for half a character
    return value


def _build_dataclass(kind: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        raise TypeError(f"{kind.__name__} was expected, not {value!r:.40}")
    hints = _hints(kind)
    fields = [field for field in dataclasses.fields(kind) if field.name in value or _is_required(field)]
    return kind(**{field.name: _build(hints[field.name], value[field.name]) for field in fields})


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING
