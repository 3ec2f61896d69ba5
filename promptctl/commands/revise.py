"""Revise: classes and shots, going on from a parent → a new version of its context. No photo is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from promptctl import __version__
from promptctl.classification.blend import as_kept
from promptctl.clip.registry import is_local
from promptctl.commands.versions import Measured, version
from promptctl.context.card import BackboneId, Card, Change, ClassEntry, Shots, next_id_after
from promptctl.context.context import Context, ShotTable
from promptctl.context.prototypes import Prototypes
from promptctl.encoding.pipeline import Features
from promptctl.errors import TokensClash, option_of
from promptctl.learners import LEARNERS, coop, head
from promptctl.learners.fitting import Learned, Start, TrainingSet, fit
from promptctl.learners.settings import LearnSettings
from promptctl.progress import OnProgress

if TYPE_CHECKING:
    from promptctl.clip.backbone import Backbone
    from promptctl.clip.quick import QuickBackbone

    AnyBackbone = Backbone | QuickBackbone

Rows = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Revision:
    """What a new version is made of, and the version it goes on from."""

    parent: Context
    classes: tuple[ClassEntry, ...]  # C
    shots: ShotTable  # of these classes, those held out among them
    change: Change
    settings: LearnSettings
    template: str  # the zero-shot prompt
    asked: int | None  # shots per class; None: all
    trains: bool = True  # False: the vectors stay as they are
    polish: bool = False  # class-specific vectors learn a little, although nothing about their shots has changed
    from_scratch: bool = False  # forget the parent's vectors
    begin: Rows | None = None  # vectors to go on from; None: the parent's
    measured: Measured | None = None  # on further images than those held out

    @property
    def index(self) -> dict[int, int]:
        """Class id → row."""
        return {entry.id: row for row, entry in enumerate(self.classes)}

    @cached_property
    def came_from(self) -> NDArray[np.int64]:
        """(C,) the row that each class has in the parent; -1 where it has none."""
        before = {entry.id: row for row, entry in enumerate(self.parent.card.classes)}
        return np.array([before.get(entry.id, -1) for entry in self.classes], dtype=np.int64)

    @cached_property
    def said_alike(self) -> NDArray[np.bool_]:
        """(C,) whether the prompt calls each class what the parent's does."""
        old = self.parent.card.classes
        pairs = zip(self.classes, self.came_from, strict=True)
        return np.array([row >= 0 and _said(old[row]) == _said(entry) for entry, row in pairs], dtype=bool)

    @property
    def rows(self) -> NDArray[np.int64]:
        """(N,) the row of each shot's class."""
        index = self.index
        return np.array([index[int(id)] for id in self.shots.class_ids], dtype=np.int64)

    @cached_property
    def prototypes(self) -> Prototypes | None:
        """Of the parent's classes that these are, in their order."""
        kept = self.parent.prototypes
        return None if kept is None else kept.only(self.came_from)

    def class_by_class(self) -> Revision:
        """The same with vectors of its own for every class; those of the parent's classes stay as they are."""
        parent = self.parent
        vectors = np.repeat(parent.vectors[None], len(parent.card.classes), 0)
        method = replace(parent.card.method, class_specific=True)
        base = replace(parent, card=replace(parent.card, method=method), vectors=vectors)
        return replace(self, parent=base, settings=replace(self.settings, class_specific=True))

    def goes_on(self) -> bool:
        """Whether the parent's vectors are a start for these settings."""
        method, own = self.parent.card.method, self.settings
        if self.from_scratch or method.learner != own.learner or not LEARNERS[own.learner].has_context:
            return False
        of_parent = (method.class_specific, method.position)
        return (own.class_specific, own.position) == of_parent and (own.context_tokens or method.context_tokens) == (
            method.context_tokens
        )


def revision_of(
    parent: Context, classes: tuple[ClassEntry, ...], shots: ShotTable, change: Change, *, trains: bool
) -> Revision:
    """Other classes or shots, and all else as the parent has it."""
    return Revision(
        parent=parent,
        classes=classes,
        shots=shots,
        change=change,
        settings=settings_like(parent, {}),
        template=parent.card.zero_shot_template,
        asked=parent.card.shots.asked,
        trains=trains,
    )


def settings_like(parent: Context, typed: Mapping[str, object]) -> LearnSettings:
    """What is asked for, and else what the parent was learned with; how long it takes is for the learner to say."""
    method = parent.card.method
    kept: dict[str, Any] = {
        "context_tokens": method.context_tokens or None,
        "init": None if method.init is None or "init" in typed else method.init,
        "class_specific": method.class_specific,
        "position": method.position,
        "recipe": method.recipe,
        "anchor": method.anchor,
        "average": method.average,
        "head": None if parent.head or _is_of_before(parent.card) else False,
    }
    learner = str(typed.get("learner", method.learner))
    known = LEARNERS.get(learner)
    heeded = known.heeds if known and learner == method.learner else ()
    own = {name: value for name, value in kept.items() if name in heeded}
    if "init" in typed:
        own.pop("context_tokens", None)
    seed = method.seed if 0 <= method.seed < 1 << 32 else 1
    return LearnSettings(**{"learner": learner, "seed": seed, **own, **typed})  # type: ignore[arg-type]


def typed_beside_tokens(parent: Context, ref: str, typed: Mapping[str, object]) -> dict[str, object]:
    """What somebody asked for of a version that goes on from another, less what its visual tokens are anyway.

    raises   TokensClash for what would change the image tower of the version before, or learns nothing beside it
    """
    for sentence, hint in _clashes(parent, ref, typed):
        raise TokensClash(sentence, hint)
    is_known = _OF_TOKENS if parent.visual_tokens is not None else ("visual_tokens",)
    return {name: value for name, value in typed.items() if name not in is_known}


_OF_TOKENS = ("visual_tokens", "visual_depth")
_OF_TOWER = ("epochs", "lr", "views")  # of a learner that learns in the image tower alone
_FRESH = "--fresh, to learn the next version from these photos alone"


def _clashes(parent: Context, ref: str, typed: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Sentence and hint of everything that what an image tower has learned rules out."""
    method = parent.card.method
    learner, tokens = str(typed.get("learner", method.learner)), parent.visual_tokens is not None
    if not tokens and (typed.get("visual_tokens") or learner == "vpt"):
        yield (
            f"{ref} has no visual tokens, and its stored shots are features of a tower without any",
            "--fresh learns the next version from these photos alone, with tokens",
        )
    if parent.is_plain:
        return
    has, stays = "a projection", "which stays as it is: its stored shots were seen with it"
    if tokens:
        has, stays = "visual tokens", "which stay as they are: its stored shots were seen with them"
    if tokens and any(typed.get(name, getattr(method, name)) != getattr(method, name) for name in _OF_TOKENS):
        yield (
            f"{ref} has {method.visual_tokens} {has} in {method.visual_depth} blocks, {stays}",
            "leave them out, or --fresh to learn others from these photos alone",
        )
    if learner not in (("coop", "vpt") if tokens else (method.learner,)):
        yield (
            f"{ref} has {has}, beside which {learner} learns nothing",
            "--learner coop, or --fresh" if tokens else _FRESH,
        )
    for name in _OF_TOWER if learner in ("vpt", "prolip") else ():
        if name in typed:
            yield f"{ref} has {has}, {stays}", f"leave out {option_of(name)}, or {_FRESH}"
    if tokens and typed.get("head"):
        yield (
            f"the image tower of {ref} has learned from its shots, so no fold of them could tell how good a head is",
            "leave out --head",
        )


def _is_of_before(card: Card) -> bool:
    """Learned when there were no heads yet, so that having none was nobody's wish."""
    numbers = card.written_by.rpartition(" ")[2].split(".")[:2]
    return all(part.isdigit() for part in numbers) and tuple(map(int, numbers)) < (0, 3)


def revised(revision: Revision, backbone: AnyBackbone, on_progress: OnProgress | None = None) -> Context:
    """The new version, not stored yet.

    raises   NameTooLong, LearningFailed
    """
    zero_shot = _zero_shot_rows(revision, backbone)
    learned = _learned(revision, backbone, zero_shot, on_progress)
    card = _card(revision, backbone, learned)
    return version(card, learned, zero_shot, revision.shots, revision.settings, revision.measured, revision.prototypes)


def _card(revision: Revision, backbone: AnyBackbone, learned: Learned) -> Card:
    parent, held_out = revision.parent.card, int(revision.shots.held_out.sum())
    return Card(
        backbone=_id_of(backbone, revision.parent),
        classes=revision.classes,
        method=learned.method,
        shots=Shots(revision.asked, len(revision.shots) - held_out, held_out) if len(revision.shots) else parent.shots,
        zero_shot_template=revision.template,
        logit_scale=backbone.logit_scale,
        written_by=f"promptctl {__version__}",
        parent=parent.sha256,
        change=revision.change,
        next_id=next_id_after(parent, revision.classes),
        curve=learned.curve,
    )


def _id_of(backbone: AnyBackbone, parent: Context) -> BackboneId:
    """As the parent calls it, but of a folder or file of this machine, which may have been moved: where it is now."""
    own = parent.card.backbone
    may_have_moved = is_local(own.name) and is_local(backbone.name)
    return own if _is_its_own(backbone, parent) and not may_have_moved else backbone.id


def _is_its_own(backbone: AnyBackbone, parent: Context) -> bool:
    """Whether it is the one that the parent was learned on, whatever it is called."""
    return backbone.id.fingerprint == parent.card.backbone.fingerprint


# --------------------------------------------------------------------------- what the words say


def _zero_shot_rows(revision: Revision, backbone: AnyBackbone) -> Rows:
    """(C, E) unit rows; the parent's own where nothing about them has changed."""
    from promptctl.clip import templates

    parent = revision.parent
    same_words = parent.card.zero_shot_template == revision.template and _is_its_own(backbone, parent)
    known = revision.said_alike & same_words
    rows = np.empty((len(revision.classes), backbone.id.joint_width), np.float32)
    if known.any():
        rows[known] = parent.zero_shot_features[revision.came_from[known]]
    new = np.flatnonzero(~known)
    if len(new):
        rows[new] = templates.text_features(backbone.tower, [revision.classes[i].name for i in new], revision.template)
    return rows


def _learned(revision: Revision, backbone: AnyBackbone, zero_shot: Rows, on_progress: OnProgress | None) -> Learned:
    x, y = _rehearsed(revision)
    goes_on = revision.goes_on()
    start = _start(revision) if goes_on else None
    rests = start is not None and (not revision.trains or (start.frozen is not None and start.frozen.all()))
    settings = replace(revision.settings, epochs=0) if rests else revision.settings
    training_set = TrainingSet(
        revision.classes,
        Features((), (), x),
        y,
        zero_shot,
        backbone,
        start,
        revision.parent.visual_tokens,
        revision.parent.projection,
    )
    if revision.polish and start is not None and start.frozen is not None:
        learned = fit(training_set, _before_polish(settings, start), on_progress)
        learned = _polished(learned, training_set, settings, on_progress)
    else:
        learned = fit(training_set, settings, on_progress)
    if goes_on and not revision.trains and revision.begin is None:
        card = revision.parent.card
        learned = replace(learned, method=card.method, curve=card.curve)  # which its vectors came by
    learned = _as_the_parent(revision, learned) if goes_on else learned
    return learned if revision.parent.is_plain else _with_tower(revision, learned)


def _with_tower(revision: Revision, learned: Learned) -> Learned:
    """What was learned in the image tower stays: the stored shots were seen so, and there are no photos for another."""
    parent, own = revision.parent, revision.parent.card.method
    if learned.method.by_template:
        learned = _beside_tower(revision, learned)
    method = replace(learned.method, visual_tokens=own.visual_tokens, visual_depth=own.visual_depth)
    return replace(learned, method=method, visual_tokens=parent.visual_tokens, projection=parent.projection)


def _beside_tower(revision: Revision, learned: Learned) -> Learned:
    """What answers where the image tower alone has learned: a head, once there are shots that it has not learned."""
    card = revision.parent.card
    if revision.parent.head is None and not _brings_shots(revision):
        return replace(learned, method=card.method, curve=card.curve) if card.method.by_template else learned
    method = replace(card.method, epochs=0, steps=0, views=0) if card.method.by_template else learned.method
    return replace(learned, method=method, ways=head.OF_CONTEXTS)


def _brings_shots(revision: Revision) -> bool:
    """Whether a class has images to learn from that the parent did not learn as that class."""
    old, new = (_shots_by_class(context) for context in (revision.parent.shots, revision.shots))
    return any(not images <= old.get(id, set()) for id, images in new.items())


def _before_polish(settings: LearnSettings, start: Start) -> LearnSettings:
    """As far as new vectors go that are polished with the others afterwards."""
    if settings.recipe != "fast":
        return settings
    epochs, lr = coop.pace(start, polished=True)
    return replace(
        settings,
        epochs=epochs if settings.epochs is None else settings.epochs,
        lr=lr if settings.lr is None else settings.lr,
    )


def _polished(
    learned: Learned, training_set: TrainingSet, settings: LearnSettings, on_progress: OnProgress | None
) -> Learned:
    """All vectors learned a little more together, which the new ones have learned beside the others until here."""
    epochs = coop.POLISH_EPOCHS if settings.epochs is None else min(settings.epochs, coop.POLISH_EPOCHS)
    together = replace(training_set, start=Start(learned.vectors))
    found = fit(together, replace(settings, epochs=epochs), on_progress)
    before = learned.method.steps
    steps = before + found.method.steps
    # where the first of them ended the polish begins
    curve = (*learned.curve[:-1], *(replace(point, step=before + point.step) for point in found.curve))
    return replace(found, method=replace(learned.method, steps=steps), curve=curve)


def _rehearsed(revision: Revision) -> tuple[Rows, NDArray[np.int64]]:
    """(N, E) unit rows and (N,) rows of classes: the shots to learn from, and those made up for shots left out."""
    train = revision.shots.held_out == 0
    x, y = as_kept(revision.shots.features[train].astype(np.float32)), revision.rows[train]
    prototypes = revision.prototypes
    if prototypes is None:
        return x, y
    # the paper's loss counts images
    made, of_made = prototypes.made_up(revision.settings.seed, balanced=revision.settings.recipe != "paper")
    return np.concatenate([x, made]), np.concatenate([y, of_made])


def _as_the_parent(revision: Revision, learned: Learned) -> Learned:
    """What did not change is the parent's to the last bit, whatever stood beside it in the text tower's batch."""
    parent, before = revision.parent, revision.came_from
    if learned.vectors.ndim == 3:
        same = (learned.vectors == parent.vectors[np.maximum(before, 0)]).all((1, 2))
    else:
        same = np.full(len(before), np.array_equal(learned.vectors, parent.vectors))
    same &= revision.said_alike
    texts = learned.text_features.copy()
    texts[same] = parent.text_features[before[same]]
    return replace(learned, text_features=texts)


def _start(revision: Revision) -> Start:
    """The parent's vectors, with rows for new classes where every class has its own."""
    parent, before = revision.parent, revision.came_from
    if revision.begin is not None:
        return Start(revision.begin)
    if parent.vectors.ndim == 2:
        return Start(parent.vectors)
    vectors = parent.vectors[np.maximum(before, 0)].copy()  # (C, M, W)
    vectors[before < 0] = parent.vectors.mean(0)
    frozen = (before >= 0) & revision.said_alike & ~_touched(revision)
    texts = np.zeros((len(before), parent.text_features.shape[1]), np.float32)
    texts[frozen] = parent.text_features[before[frozen]]
    return Start(vectors, frozen, texts)


def _touched(revision: Revision) -> NDArray[np.bool_]:
    """(C,) classes whose images to learn from are not those the parent had."""
    old, new = (_shots_by_class(context) for context in (revision.parent.shots, revision.shots))
    return np.array([old.get(entry.id) != new.get(entry.id) for entry in revision.classes], dtype=bool)


def _shots_by_class(shots: ShotTable) -> dict[int, set[bytes]]:
    found: dict[int, set[bytes]] = {}
    for id, sha, held_out in zip(shots.class_ids, shots.sha256, shots.held_out, strict=True):
        if not held_out:
            found.setdefault(int(id), set()).add(sha.tobytes())
    return found


def _said(entry: ClassEntry) -> tuple[str, tuple[int, ...]]:
    return entry.name, entry.tokens
