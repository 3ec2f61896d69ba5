"""Limits: what a context can say of itself. A checksum keeps accidents out; a stranger can write it as well as we."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from promptctl.context.card import BackboneId, Card, Change, Chosen, ClassEntry, CurvePoint, Method, Score, Shots
    from promptctl.learners import Learner

POSITIONS = ("end", "middle", "front")
LONGEST_CONTEXT = 248  # vectors; the longest text towers there are read 248 tokens, most of them 77
MOST_VISUAL = 248  # tokens in a block of an image tower, which has some hundred patches beside them
DEEPEST = 256  # blocks of an image tower; the deepest there are have 64
LARGEST_VALUE = 1e15  # of a learned vector and a learning rate: sums of squares stay finite in float32
LARGEST_HEAD = 1e4  # of a weight and a bias, which stand beside unit rows times the logit scale
OF_A_TOWER = 3  # the format of a file that has visual tokens or a projection
HEAD_PARTS = (
    "clap",
    "ridge",
    "coop",
    "coop-csc",
    "prolip",
    "gda",
    "gda-relative",
    *(f"proker({ridge})" for ridge in ("0.3", "0.5", "1", "2", "3")),
    "template",
    "zero-shot",
    "parent",
)
LARGEST_LIKENESS = 2.0  # of unit rows
TEMPERATURES = (0.01, 100.0)
MOST_POINTS = 64  # of a learning curve
MOST_CHOICES = 64  # of what a head could have been made of
FEATURE_LENGTHS = (0.1, 10.0)  # between which a row that is written as a unit row is believed
WIDEST = 1 << 16
LARGEST_FILE = 4 << 30  # bytes that are read: two million shots of width 1024
LARGEST_OF_TOWER = 256 << 20  # bytes of visual tokens or a projection; the largest that learn makes takes a third
MOST_WRONG = 1 << 20  # bytes of a tensor that is larger than its card says
MOST_UNKNOWN = 64 << 20  # bytes of tensors that another version may have put beside those known here
DIRECTIONS = 8  # of prototypes, docs/benchmarks.md
_LARGEST_VOCABULARY = 1 << 21  # tokens; the largest there are have a quarter of a million
_MOST = 10**9  # images, epochs, views
_MOST_STEPS = 10**15
_LONGEST_CHOICE = 200  # characters
_LONGEST_MODEL = 4200  # characters; it may be a path
_HIGHEST_SCALE = 1000.0  # CLIP stops its own at 100
_DIGEST = re.compile("[0-9a-f]{64}")


def fault_of(card: Card) -> str | None:
    """What is wrong with a card that is of the right types, in words; None when it can be true."""
    return next(
        (
            fault
            for fault in (
                fault_of_backbone(card.backbone),
                fault_of_classes(card.classes),
                *_faults_of_method(card.method),
                *_faults_of_shots(card.shots),
                *(_faults_of_score(card.score) if card.score else ()),
                *(_faults_of_score(card.folds) if card.folds else ()),
                *(_faults_of_change(card.change) if card.change else ()),
                *_faults_of_head(card),
                *(_faults_of_choice(card.chosen) if card.chosen else ()),
                *_faults_of_curve(card.curve),
                *_faults_of_rest(card),
            )
            if fault
        ),
        None,
    )


def fault_of_classes(classes: Sequence[ClassEntry]) -> str | None:
    """What is wrong with a list of classes, in words, or None."""
    if len(classes) < 2:
        return f"there {'is one class' if classes else 'are no classes'}, two are the fewest"
    labels: set[str] = set()
    ids: set[int] = set()
    for number, entry in enumerate(classes, 1):
        fault = fault_of_text(entry.label) or fault_of_text(entry.name)
        fault = fault or next(filter(None, map(fault_of_text, entry.aliases)), None)
        if fault:
            return f"class {number} has a name that {fault}"
        if entry.label in labels:
            return f"two classes are called {entry.label!r:.60}"
        if entry.id in ids:
            return f"two classes have the id {entry.id}"
        if not 0 <= entry.id < 1 << 31:
            return f"class {number} has the id {_short(entry.id)}"
        if len(entry.tokens) > LONGEST_CONTEXT or not all(0 <= token < _LARGEST_VOCABULARY for token in entry.tokens):
            return f"class {number} has tokens that no tokenizer gives"
        labels.add(entry.label)
        ids.add(entry.id)
    return None


def fault_of_text(text: str) -> str | None:
    """Why no file can keep a word, so that it ends "a name that …"; a folder may be called anything else."""
    if not text:
        return "is empty"
    if "\0" in text:
        return "holds a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not UTF-8"
    return None


def is_model_name(name: str) -> bool:
    """Whether a backbone may be called so, or lie in such a folder."""
    return len(name) <= _LONGEST_MODEL and not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)


def fault_of_backbone(backbone: BackboneId) -> str | None:
    """What is wrong with what is said of a backbone, in words, or None."""
    return next(filter(None, _faults_of_backbone(backbone)), None)


def _faults_of_backbone(backbone: BackboneId) -> Iterator[str | None]:
    yield _outside("text width", backbone.text_width, 1, WIDEST)
    yield _outside("joint width", backbone.joint_width, 1, WIDEST)
    yield _not_a_digest("the backbone's fingerprint", backbone.fingerprint)
    fault = fault_of_text(backbone.name)
    yield f"its backbone has a name that {fault}" if fault else None
    if not is_model_name(backbone.name):
        yield "its backbone has a name that no model has"


def _faults_of_method(method: Method) -> Iterator[str | None]:
    # the one import that climbs: whoever adds a learner adds it to one table, and only here does a card look it up
    from promptctl.learners import LEARNERS, written_recipes

    if method.learner not in LEARNERS:
        yield _none_of("learner", method.learner, tuple(LEARNERS))
        return
    yield _none_of("recipe", method.recipe, written_recipes(method.learner))
    yield _none_of("position", method.position, POSITIONS)
    if LEARNERS[method.learner].has_context:
        yield _outside("count of context tokens", method.context_tokens, 1, LONGEST_CONTEXT)
    else:
        yield _outside("count of context tokens", method.context_tokens, 0, 0)
        if method.class_specific:
            yield "class weights are marked as a class-specific context"
    for what, count in (("epochs", method.epochs), ("views", method.views)):
        yield _outside(f"count of {what}", count, 0, _MOST)
    yield _outside("count of steps", method.steps, 0, _MOST_STEPS)
    yield _outside("seed", method.seed, -(1 << 63), 1 << 64)
    yield _outside("learning rate", method.lr, 0, LARGEST_VALUE)
    yield _outside("anchor", method.anchor, 0, LARGEST_VALUE)
    yield _outside("count of visual tokens", method.visual_tokens, 0, MOST_VISUAL)
    yield _outside("depth of visual tokens", method.visual_depth, 0, DEEPEST)
    if bool(method.visual_tokens) != bool(method.visual_depth):
        yield "its visual tokens have no depth, or its depth no tokens"
    yield from _faults_of_tower(method, LEARNERS[method.learner])
    if method.visual_tokens and method.projection:
        yield "it has visual tokens and a projection, which nothing learns together"
    if method.init is not None and "\0" in method.init:
        yield "its first words hold a NUL character"


def _faults_of_tower(method: Method, learner: Learner) -> Iterator[str | None]:
    """What a learner cannot have learned in the image tower, or must have."""
    if method.visual_tokens and "visual_tokens" not in learner.heeds:
        yield f"it has visual tokens, and {method.learner} learns none"
    if method.projection and not learner.of_projection:
        yield f"it has a projection, and {method.learner} learns none"
    if not (method.visual_tokens or learner.of_features):
        yield f"it has no visual tokens, and {method.learner} learns nothing else"


def _faults_of_shots(shots: Shots) -> Iterator[str | None]:
    if shots.asked is not None:
        yield _outside("count of shots", shots.asked, 1, _MOST)
    yield _outside("count of images learned from", shots.train, 0, _MOST)
    yield _outside("count of images held out", shots.held_out, 0, _MOST)


def _faults_of_score(score: Score) -> Iterator[str | None]:
    yield _outside("count of images measured on", score.images, 1, _MOST)
    yield _outside("accuracy", score.accuracy, 0, 1)
    yield _outside("zero-shot accuracy", score.zero_shot_accuracy, 0, 1)
    if "\0" in score.on:
        yield "what it was measured on holds a NUL character"


def _faults_of_change(change: Change) -> Iterator[str | None]:
    if "\0" in change.kind + change.words + (change.guard.on + change.guard.kept if change.guard else ""):
        yield "what made it holds a NUL character"
    for image in change.relabelled:
        yield _not_a_digest("the checksum of a relabelled image", image.sha256)
    if change.guard:
        for what, count in (("compared", change.guard.images), ("worse", change.guard.worse)):
            yield _outside(f"count of images {what}", count, 0, _MOST)
        yield _outside("count of images better", change.guard.better, 0, _MOST)
        yield _outside("p", change.guard.p, 0, 1)


def _faults_of_head(card: Card) -> Iterator[str | None]:
    for part in card.head:
        yield _none_of("part of its head", part.kind, HEAD_PARTS)
        yield _outside("share in its head", part.share, 0, LARGEST_HEAD)
    if not 0 <= card.next_id <= 1 << 31:
        yield f"its next class would have the id {_short(card.next_id)}"


def _faults_of_choice(chosen: Chosen) -> Iterator[str | None]:
    yield _outside("count of choices", len(chosen.scores), 0, MOST_CHOICES)
    for text in (chosen.name, chosen.by, chosen.why, *(one.name for one in chosen.scores)):
        if "\0" in text or len(text) > _LONGEST_CHOICE:
            yield f"what its head chose among is called {text!r:.40}"
    for one in chosen.scores:
        yield _outside("accuracy of a choice", one.accuracy, 0, 1)


def _faults_of_curve(curve: Sequence[CurvePoint]) -> Iterator[str | None]:
    yield _outside("count of points of a learning curve", len(curve), 0, MOST_POINTS)
    for point in curve:
        yield _outside("step of a learning curve", point.step, 0, _MOST_STEPS)
        yield _outside("loss", point.loss, 0, LARGEST_VALUE)
        yield _outside("accuracy while it learned", point.accuracy, 0, 1)
    if any(before.step >= after.step for before, after in pairwise(curve)):
        yield "its learning curve goes back"


def _faults_of_rest(card: Card) -> Iterator[str | None]:
    of_a_tower = card.format >= OF_A_TOWER
    if of_a_tower != bool(card.method.visual_tokens or card.method.projection):
        yield f"a file of format {card.format} {'needs' if of_a_tower else 'has no'} visual tokens or a projection"
    yield _outside("temperature", card.temperature, *TEMPERATURES)
    if not 0 < card.logit_scale <= _HIGHEST_SCALE:
        yield f"its logit scale is {_short(card.logit_scale)}"
    if "\0" in card.zero_shot_template + card.written_by:
        yield "its template or its program holds a NUL character"
    yield _not_a_digest("its checksum", card.sha256)
    if card.parent is not None:
        yield _not_a_digest("its parent's checksum", card.parent)


def _outside(what: str, value: float, least: float, most: float) -> str | None:
    return None if least <= value <= most else f"its {what} is {_short(value)}"


def _short(value: float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)[:20]


def _none_of(what: str, value: str, known: Sequence[str]) -> str | None:
    return None if value in known else f"its {what} is {value!r:.40}, which is none of {', '.join(known)}"


def _not_a_digest(what: str, value: str) -> str | None:
    return None if _DIGEST.fullmatch(value) else f"{what} is no sha256"
