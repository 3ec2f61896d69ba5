"""Rebase: a context learned again on another backbone, from the photos it was learned from."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.commands.backbones import fetched_backbone
from promptctl.commands.classes import Rules, check_has_shots, newest
from promptctl.commands.photos import check_name_tokens, check_room, files_by_content
from promptctl.commands.sources import whole_name
from promptctl.commands.storing import Placed, once_more, place
from promptctl.context.card import Change, ClassEntry
from promptctl.context.guard import MAX_FORGETTING
from promptctl.errors import NoImages, PhotosMissing, SameBackbone, TokensClash, TooFewClasses
from promptctl.progress import OnProgress
from promptctl.report import MissingPhoto, RebaseReport
from promptctl.report.phrases import first_few, number_of
from promptctl.store.store import Entry, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.clip.text_tower import TextTower
    from promptctl.commands.guarding import Judged
    from promptctl.commands.revise import AnyBackbone
    from promptctl.context.card import Method
    from promptctl.context.context import Context, ShotTable
    from promptctl.learners.settings import LearnSettings

COMMAND = "rebase"
NOT_FOUND = "not among the photos"


def rebase(
    name: str,
    photos: str | PathLike[str],
    *,
    model: str,
    drop_missing: bool = False,
    max_forgetting: float = MAX_FORGETTING,
    force: bool = False,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> RebaseReport:
    """Learn a context again on another backbone, as its next version; classes and hold-out stay as they are.

    name             what the context is called
    photos           a folder tree with the photos it was learned from, which are found by content
    model            the backbone: mini or an open_clip name
    drop_missing     leave out classes none of whose photos are found, instead of refusing
    max_forgetting   fraction of the held-out images that the new version may lose, from 0 to 1
    force            store it even if it loses more; its card says so
    device           auto, cpu, cuda or mps
    store            where contexts are kept; None: the store of PROMPTCTL_HOME
    on_progress      called with what is being done, how much is done, and of how much
    raises           ContextNotFound, NoShots, SameBackbone, NoImages, PhotosMissing, BackboneError and its kind
    """
    started, rules = time.monotonic(), Rules(max_forgetting, force, device)
    folder, model = checks.path("photos", photos), checks.text("model", model, "ViT-B-16/openai")
    drop_missing, store = checks.flag("drop_missing", drop_missing), store or Store()
    name = whole_name(name, COMMAND)

    def made() -> RebaseReport:
        source, parent = newest(name, store)
        asked = _Asked(source, parent, folder, model, drop_missing, rules, on_progress)
        judged, facts = _rebased(asked)
        placed = place(judged, source, store, force=force)
        return _report(asked, placed, judged, facts, time.monotonic() - started)

    return once_more(made)


@dataclass(frozen=True, eq=False)
class _Asked:
    """A context, and where it is to go."""

    source: Entry
    parent: Context
    photos: Path
    model: str
    drop_missing: bool
    rules: Rules
    on_progress: OnProgress | None

    @property
    def ref(self) -> str:
        return str(self.source.ref)


@dataclass(frozen=True)
class _Facts:
    """What became of the photos and classes."""

    missing: tuple[MissingPhoto, ...]
    dropped: tuple[str, ...]


def _tokens_typed(method: Method) -> str:
    """The options of `learn` for as many visual tokens in as many blocks."""
    from promptctl.learners.settings import LearnSettings

    learner = "" if method.learner == LearnSettings.learner else f"--learner {method.learner} "
    depth = "" if method.visual_depth == LearnSettings.visual_depth else f" --visual-depth {method.visual_depth}"
    return f"{learner}--visual-tokens {method.visual_tokens}{depth}"


def _rebased(asked: _Asked) -> tuple[Judged, _Facts]:
    from promptctl.commands.guarding import guarded
    from promptctl.commands.revise import Revision, settings_like

    parent = asked.parent
    if parent.projection is not None:
        raise TokensClash(
            f"{asked.ref} has a projection, which fits no other image tower than that of {parent.card.backbone.name}",
            f"{_instead(asked)} --learner {parent.card.method.learner}",
        )
    if parent.visual_tokens is not None:
        raise TokensClash(
            f"{asked.ref} has visual tokens, which fit no other image tower than that of {parent.card.backbone.name}",
            f"{_instead(asked)} {_tokens_typed(parent.card.method)}",
        )
    check_has_shots(parent, asked.ref, "be learned again", _instead(asked), each=True)
    paths = _found(asked)
    _checked(asked, frozenset(paths))  # before anything dear
    backbone = _backbone(asked)
    features, reasons = _encoded(paths, backbone, asked.on_progress)
    classes, facts = _checked(asked, frozenset(features), reasons)
    shots = _shots(parent.shots, classes, features)
    names = [entry.name for entry in classes]
    settings = _fitting(settings_like(parent, {}), names, backbone.tower)
    check_name_tokens(classes, backbone.tower)
    check_room(names, settings, backbone.tower)
    revision = Revision(
        parent=parent,
        classes=classes,
        shots=shots,
        change=Change(COMMAND, _in_words(asked, facts)),
        settings=settings,
        template=parent.card.zero_shot_template,
        asked=parent.card.shots.asked,
        from_scratch=True,
    )
    return guarded(revision, backbone, asked.rules.max_forgetting, asked.on_progress), facts


def _instead(asked: _Asked) -> str:
    name, model = asked.source.ref.name, shlex.quote(asked.model)
    return f"promptctl learn {shlex.quote(str(asked.photos))} --name {name} --fresh --model {model}"


def _fitting(settings: LearnSettings, names: Sequence[str], tower: TextTower) -> LearnSettings:
    """The same with as many context vectors as the other tower has room for, or as its words of init are.

    All are learned anew, and nobody who rebases has asked for a number of them.
    """
    fits = settings.init is None and (settings.context_tokens or 0) <= tower.room_beside(names)
    return settings if fits else replace(settings, context_tokens=None)


def _found(asked: _Asked) -> dict[str, Path]:
    """sha256 → file, of the photos that the context was learned from."""
    own = set(asked.parent.shots.hashes)
    found = files_by_content(asked.photos, asked.on_progress)
    paths = {sha: path for sha, path in found.items() if sha in own}
    if not paths:
        raise NoImages(
            f"none of the {number_of(len(own), 'photo')} that {asked.ref} was learned from is in {asked.photos}",
            "give the folder they are in; a photo that was edited or resized is another photo",
        )
    return paths


def _backbone(asked: _Asked) -> AnyBackbone:
    """The new one; SameBackbone where it is the old one."""
    backbone = fetched_backbone(asked.model, asked.rules.device)
    if backbone.id.fingerprint == asked.parent.card.backbone.fingerprint:
        raise SameBackbone(asked.ref, asked.model)
    return backbone


def _encoded(
    paths: dict[str, Path], backbone: AnyBackbone, on_progress: OnProgress | None
) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """sha256 → (E,) unit row, and why some photos have none."""
    from promptctl.encoding.cache import FeatureCache
    from promptctl.encoding.pipeline import encode_files

    encoding = partial(on_progress, "encoding") if on_progress else None
    sha_of = {path: sha for sha, path in paths.items()}
    with FeatureCache() as cache:
        features, skipped = encode_files(list(sha_of), backbone.encoder, cache, encoding)
    rows = {sha_of[path]: row for path, row in zip(features.paths, features.vectors, strict=True)}
    return rows, {sha_of[item.path]: item.reason for item in skipped}


def _checked(
    asked: _Asked, here: frozenset[str], reasons: dict[str, str] | None = None
) -> tuple[tuple[ClassEntry, ...], _Facts]:
    """The classes that stay, and what is missing; PhotosMissing for a class that would lose all it was learned from."""
    parent = asked.parent
    label_of = {entry.id: entry.label for entry in parent.card.classes}
    had, has = set(), set()
    missing = []
    for digest, id, apart in zip(parent.shots.hashes, parent.shots.class_ids, parent.shots.held_out, strict=True):
        is_here = digest in here
        if not apart:
            had.add(int(id))
            has |= {int(id)} if is_here else set()
        if not is_here:
            missing.append(MissingPhoto(digest, label_of[int(id)], (reasons or {}).get(digest, NOT_FOUND)))
    lost = [entry for entry in parent.card.classes if entry.id in had - has]
    if lost and not asked.drop_missing:
        raise PhotosMissing([entry.label for entry in lost], asked.ref, asked.photos, _dropping(asked))
    kept = tuple(replace(entry, tokens=()) for entry in parent.card.classes if entry not in lost)
    if len(kept) < 2:
        raise TooFewClasses(asked.ref, len(kept))
    dropped = tuple(entry.label for entry in lost)
    return kept, _Facts(tuple(photo for photo in missing if photo.label not in dropped), dropped)


def _dropping(asked: _Asked) -> str:
    words = ["promptctl", "rebase", asked.source.ref.name, str(asked.photos), "--model", asked.model, "--drop-missing"]
    return shlex.join(words)


def _shots(old: ShotTable, classes: Sequence[ClassEntry], features: dict[str, NDArray[np.float32]]) -> ShotTable:
    """The images that were found, with their new features and all else that is known of them."""
    import numpy as np

    ids = [entry.id for entry in classes]
    rows = [i for i, sha in enumerate(old.hashes) if sha in features and old.class_ids[i] in ids]
    kept = old.only(np.array(rows, dtype=np.int64))
    new = np.array([features[old.hashes[i]] for i in rows], dtype=np.float16)
    return replace(kept, features=new, plain=new, predicted=np.full(len(rows), -1, np.int32))


def _in_words(asked: _Asked, facts: _Facts) -> str:
    parts = [f"{asked.parent.card.backbone.name} → {asked.model}"]
    if facts.dropped:
        parts.append(
            f"-{len(facts.dropped)} class{'' if len(facts.dropped) == 1 else 'es'} ({first_few(facts.dropped)})"
        )
    if facts.missing:
        parts.append(f"-{number_of(len(facts.missing), 'photo')}")
    return ", ".join(parts)


def _report(asked: _Asked, placed: Placed, judged: Judged, facts: _Facts, seconds: float) -> RebaseReport:
    from promptctl.commands.guarding import facts_of

    context, card, score = placed.context, placed.context.card, placed.context.card.score
    return RebaseReport(
        context=str(placed.entry.ref),
        path=placed.entry.path,
        parent=asked.ref,
        before=asked.parent.card.backbone.name,
        after=card.backbone.name,
        classes=len(card.classes),
        found=len(context.shots),
        missing=facts.missing,
        dropped=facts.dropped,
        measured_on=score.on if score else None,
        measured_images=score.images if score else 0,
        accuracy=score.accuracy if score else None,
        zero_shot_accuracy=score.zero_shot_accuracy if score else None,
        seconds=round(seconds, 2),
        n_bytes=placed.entry.n_bytes,
        held_out_missing=int(asked.parent.shots.held_out.sum() - context.shots.held_out.sum()),
        guard=facts_of(asked.ref, judged),
        refused=placed.refused,
        forced=judged.verdict.refused and not placed.refused,
    )
