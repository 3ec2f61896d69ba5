"""Update: more photos for a context that exists → its next version, which has learned from all its shots again."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from promptctl.classification.blend import as_kept
from promptctl.classification.classifier import Classifier
from promptctl.commands import guarding
from promptctl.commands.backbones import encoders_for
from promptctl.commands.photos import (
    check_mapped,
    check_prompts,
    class_entries,
    passed_over,
    skipped_files,
    to_learn_from,
)
from promptctl.commands.revise import Revision
from promptctl.commands.versions import Measured
from promptctl.context import update as shots_of
from promptctl.context.card import Change, ClassEntry, Relabelled
from promptctl.context.context import Context, ShotTable
from promptctl.context.update import UpdateSettings
from promptctl.data import sampling
from promptctl.data.folder import ImageFolder
from promptctl.data.groups import first_places, groups_of
from promptctl.data.images import HashedImage, LabelledImage
from promptctl.data.names import near_names, one_form, readable
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.files import Skipped
from promptctl.encoding.pipeline import Features, encode_files, encoded_again
from promptctl.errors import CannotLearnOn, LooksKnown, Relabels, UnknownFolders
from promptctl.learners.shots import MOST_MEASURED, HashedPhotos, encode_chosen, hash_photos, measurable
from promptctl.progress import OnProgress
from promptctl.report import LearnPlan, MovedPhoto, PlannedClass, UpdateFacts
from promptctl.report.phrases import first_few

if TYPE_CHECKING:
    from promptctl.commands.revise import AnyBackbone
    from promptctl.data.readers.headings import ColumnNames
    from promptctl.encoding.cache import Vector
    from promptctl.learners.settings import LearnSettings


@dataclass(frozen=True)
class Wishes:
    """What is asked for, as far as anybody typed it; the parent says the rest."""

    photos: Path
    shots: int | None  # of each class at most; None: all there are
    settings: LearnSettings
    template: str
    classes: Path | None  # names.csv
    columns: ColumnNames  # of a list
    update: UpdateSettings


@dataclass(frozen=True, eq=False)
class Incoming:
    """What a folder brings to a context: every content once, by what is to be done with it."""

    parent: Context
    ref: str  # birds@1
    folder: ImageFolder
    hashed: HashedPhotos  # labels are those of classes, where a folder is one
    new_classes: tuple[ClassEntry, ...]
    stored: int  # images that are there under the same class
    new: tuple[HashedImage, ...]
    moved: tuple[tuple[HashedImage, int, int], ...]  # stored under another class: id before and after
    on_conflict: str

    @property
    def classes(self) -> tuple[ClassEntry, ...]:
        return (*self.parent.card.classes, *self.new_classes)

    @cached_property
    def ids(self) -> dict[str, int]:
        return {entry.label: entry.id for entry in self.classes}

    @cached_property
    def rows(self) -> dict[str, int]:
        return {entry.label: row for row, entry in enumerate(self.classes)}

    @property
    def relabels(self) -> tuple[tuple[HashedImage, int, int], ...]:
        return self.moved if self.on_conflict == "relabel" else ()

    @property
    def brings_nothing(self) -> bool:
        return not self.new and not self.relabels


def incoming(parent: Context, ref: str, wishes: Wishes, on_progress: OnProgress | None) -> Incoming:
    """What the folder brings, before a photo is decoded.

    raises   CannotLearnOn, DatasetError and its kind
    """
    check_can_learn(parent, ref)
    folder = ImageFolder.scan(wishes.photos, wishes.columns)
    candidates = to_learn_from(folder)
    check_mapped(folder, wishes.update.map)
    meant = _meant(sorted({image.label for image in folder.images}), parent, ref, wishes)
    folder = replace(folder, images=tuple(_called(image, meant) for image in folder.images))
    candidates = tuple(_called(image, meant) for image in candidates)
    hashed = hash_photos(folder, candidates, on_progress)
    added = sorted({image.label for image in hashed.to_learn_from} - set(parent.card.labels))
    new_classes = _new_classes(added, parent, wishes)
    stored, new, moved = _sorted_out(hashed.to_learn_from, parent, new_classes)
    conflict = wishes.update.on_conflict
    if moved and conflict in (None, "error"):
        label_of = {entry.id: entry.label for entry in (*parent.card.classes, *new_classes)}
        first, before, after = moved[0]
        raise Relabels(len(moved), str(first.path), label_of[before], label_of[after], ref)
    return Incoming(parent, ref, folder, hashed, new_classes, stored, new, moved, conflict or "error")


def check_can_learn(parent: Context, ref: str) -> None:
    """CannotLearnOn for a context without the features of its shots."""
    because = parent.why_no_shots()
    if because:
        raise CannotLearnOn(ref, ref.partition("@")[0], because)


def _called(image: LabelledImage, meant: Mapping[str, str]) -> LabelledImage:
    return replace(image, label=meant.get(image.label, image.label))


def _meant(folders: Sequence[str], parent: Context, ref: str, wishes: Wishes) -> dict[str, str]:
    """Folder → label of the class it is, or is to be."""
    rules, classes = wishes.update, parent.card.classes
    own = {one_form(word): entry.label for entry in classes for word in (entry.label, *entry.aliases)}
    own |= {one_form(entry.name): entry.label for entry in classes if entry.name != readable(entry.label)}
    meant = {folder: own[folder] for folder in folders if folder in own}
    asked = {one_form(folder): one_form(label) for folder, label in rules.map.items()}
    mapped = {folder: asked[one_form(folder)] for folder in folders if one_form(folder) in asked}
    meant |= {folder: own.get(label, label) for folder, label in mapped.items()}
    labels = {entry.label for entry in classes}
    unknown = [folder for folder in folders if meant.get(folder) not in labels]
    if unknown and not rules.force_new_class:
        _refuse_near(unknown, meant, classes, wishes, ref)
    if unknown and rules.only_known:
        raise UnknownFolders([meant.get(folder, folder) for folder in unknown], ref)
    return meant


def _refuse_near(
    unknown: Sequence[str], meant: Mapping[str, str], classes: Sequence[ClassEntry], wishes: Wishes, ref: str
) -> None:
    # what a class is called only because of its folder is no name that another folder could mean
    by_folder = [replace(c, name=c.label) if c.name == readable(c.label) else c for c in classes]
    near = near_names([meant.get(folder, folder) for folder in unknown], by_folder)
    if near:
        word, label = next(iter(near.items()))
        folder = next(folder for folder in unknown if meant.get(folder, folder) == word)
        name = ref.partition("@")[0]
        rule = shlex.quote(f"{folder}={label}")
        command = f"promptctl learn {shlex.quote(str(wishes.photos))} --name {name} --map {rule}"
        raise LooksKnown(folder, word, label, len(near) - 1, command)


def _new_classes(labels: Sequence[str], parent: Context, wishes: Wishes) -> tuple[ClassEntry, ...]:
    card = parent.card
    return class_entries(labels, wishes.classes, card.classes, card.unused_id) if labels or wishes.classes else ()


def _sorted_out(
    photos: Sequence[HashedImage], parent: Context, new_classes: Sequence[ClassEntry]
) -> tuple[int, tuple[HashedImage, ...], tuple[tuple[HashedImage, int, int], ...]]:
    """How many are stored already, those that are new, and those stored under other classes alone."""
    id_of = {entry.label: entry.id for entry in (*parent.card.classes, *new_classes)}
    known = parent.shots.classes_of_images()
    shown: dict[str, set[int]] = {}
    for image in photos:
        shown.setdefault(image.sha256, set()).add(id_of[image.label])
    stored, new = 0, []
    moved: list[tuple[HashedImage, int, int]] = []
    for image in photos:
        before, now = known.get(image.sha256), id_of[image.label]
        if before is None:
            new.append(image)
        elif now in before:
            stored += 1
        elif len(before) == len(shown[image.sha256]) == 1:
            moved.append((image, min(before), now))
        # a photo of several classes, here or there, stays what it is; whoever reads is told
    return stored, tuple(new), tuple(moved)


# --------------------------------------------------------------------------- what is said of it before


def plan_of(found: Incoming, wishes: Wishes, *, dry_run: bool) -> LearnPlan:
    """What will be learned, class by class."""
    label_of = {entry.id: entry.label for entry in found.classes}
    new = Counter(image.label for image in found.new)
    before = Counter(int(id) for id in found.parent.shots.class_ids)
    limit = wishes.shots
    return LearnPlan(
        context=found.ref,
        dry_run=dry_run,
        nothing_new=found.brings_nothing,
        classes=tuple(entry.label for entry in found.classes),
        added=tuple(entry.label for entry in found.new_classes),
        stored=found.stored,
        new=sum(min(count, limit or count) for count in new.values()),
        moved=tuple(
            MovedPhoto(image.path, image.sha256, label_of[old], label_of[now]) for image, old, now in found.moved
        ),
        per_class=tuple(
            PlannedClass(entry.label, before[entry.id], min(new[entry.label], limit or new[entry.label]))
            for entry in found.classes
        ),
        skipped=skipped_files(found.hashed.skipped),
        passed_over=passed_over(found.hashed.skipped),
    )


# --------------------------------------------------------------------------- learning it


@dataclass(frozen=True, eq=False)
class Taught:
    """A version that has learned what a folder brings."""

    judged: guarding.Judged
    facts: UpdateFacts
    skipped: tuple[Skipped, ...]
    measured: Measured | None  # other photos, that the score is of; None: of those held out


def taught(found: Incoming, wishes: Wishes, backbone: AnyBackbone, on_progress: OnProgress | None = None) -> Taught:
    """The version that has learned the folder too; it is not stored yet.

    raises   NameTooLong, LearningFailed
    """
    check_prompts(found.classes, wishes.settings, backbone.tower, new_names=bool(found.new_classes))
    taken, features, measured, skipped = _encoded(found, wishes, backbone, on_progress)
    encoders = encoders_for(found.parent, backbone)
    plain = features.vectors if encoders.are_one else encoded_again(features, encoders.plain, on_progress)
    shots = _all_shots(found, wishes, taken, features, plain)
    revision = Revision(
        parent=found.parent,
        classes=found.classes,
        shots=shots,
        change=Change("learn", _in_words(found, len(taken)), _relabelled(found)),
        settings=wishes.settings,
        template=wishes.template,
        asked=wishes.shots,
        polish=wishes.update.polish,
        measured=measured,
    )
    judged = guarding.guarded(revision, backbone, wishes.update.max_forgetting, on_progress)
    facts = _facts(found, judged, taken, features, plain)
    return Taught(judged, facts, skipped, measured)


def _encoded(
    found: Incoming, wishes: Wishes, backbone: AnyBackbone, on_progress: OnProgress | None
) -> tuple[tuple[HashedImage, ...], Features, Measured | None, tuple[Skipped, ...]]:
    """The images that are taken in, their features, and others of the folder to measure on."""
    encoding, encoders = partial(on_progress, "encoding") if on_progress else None, encoders_for(found.parent, backbone)

    def chosen(usable: Sequence[HashedImage], damaged: Sequence[Skipped]) -> Sequence[HashedImage]:
        return _some_of_each(usable, wishes.shots, wishes.settings.seed)

    with FeatureCache() as cache:
        usable, features, damaged = encode_chosen(found.new, chosen, encoders.together, cache, encoding)
        taken = tuple(chosen(usable, ()))
        others = found.hashed.to_measure_on if found.hashed.part else [i for i in usable if i not in set(taken)]
        known = set(found.parent.shots.hashes)
        unseen, leaked = measurable(others, set(found.ids), taken)
        some = sampling.at_most([i for i in unseen if i.sha256 not in known], MOST_MEASURED)
        seen, lost = encode_files([image.path for image in some], encoders.together, cache, encoding)
    skipped = (*found.hashed.skipped, *damaged, *leaked, *lost)
    label_of = {image.path: image.label for image in some}
    rows = np.array([found.rows[label_of[path]] for path in seen.paths], dtype=np.int64)
    on = f"images of {found.hashed.part}/" if found.hashed.part else "images not sampled"
    plain = None if encoders.are_one else encoded_again(seen, encoders.plain, on_progress)
    return taken, features, Measured(seen.vectors, rows, on, plain) if len(seen) else None, skipped


def _some_of_each(images: Sequence[HashedImage], limit: int | None, seed: int) -> list[HashedImage]:
    """The images, or so many of each class at most, by content hash and seed."""
    if limit is None:
        return list(images)
    of_class = sampling.by_class(images).values()
    ranked = (sorted(some, key=lambda image: sampling.rank_key(image.sha256, seed)) for some in of_class)
    return [image for some in ranked for image in some[:limit]]


def _all_shots(
    found: Incoming, wishes: Wishes, taken: Sequence[HashedImage], features: Features, plain: Vector
) -> ShotTable:
    """The stored shots, some with other classes, and the new ones behind them, as `plain` without visual tokens."""
    parent = found.parent
    old, _ = shots_of.relabelled(parent.shots, {image.sha256: now for image, _, now in found.relabels})
    version = int(found.ref.rpartition("@")[2]) if "@" in found.ref else 1
    new = ShotTable(
        features=features.vectors.astype(np.float16),
        class_ids=np.array([found.ids[image.label] for image in taken], np.int32),
        sha256=np.frombuffer(b"".join(bytes.fromhex(i.sha256) for i in taken), np.uint8).reshape(-1, 32),
        held_out=np.zeros(len(taken), np.uint8),
        since=np.full(len(taken), version + 1, np.int32),
        plain=plain.astype(np.float16),
    )
    every = _grouped(shots_of.joined(old, new), old, [image.path for image in taken])
    if wishes.shots is None and not found.hashed.part:
        every = _with_some_held_out(every, len(old), found)
    return shots_of.thinned(every, wishes.update.shots_kept)


def _grouped(shots: ShotTable, old: ShotTable, paths: Sequence[Path]) -> ShotTable:
    """The shots with what belongs together; new ones, which stand last, have photos to look at.

    The plain tower tells copies: one that has learned classes may see all photos of a class alike.
    """
    labels = [str(int(id)) for id in shots.class_ids]
    rows = as_kept(shots.plain.astype(np.float32))
    before = [*old.groups.tolist(), *(-1 for _ in paths)]
    groups = groups_of(rows, labels, shots.hashes, [*(None for _ in range(len(old))), *paths], before=before)
    return replace(shots, groups=first_places(groups).astype(np.int32))


def _with_some_held_out(shots: ShotTable, n_old: int, found: Incoming) -> ShotTable:
    """A fifth of each class kept apart, those stored where they are."""
    known = {sha: bool(side) for sha, side in zip(shots.hashes[:n_old], shots.held_out[:n_old], strict=True)}
    labels = [str(int(id)) for id in shots.class_ids]
    sides = sampling.held_out(labels, shots.hashes, groups=shots.groups.tolist(), known=known)
    return replace(shots, held_out=np.array(sides, np.uint8))


def _relabelled(found: Incoming) -> tuple[Relabelled, ...]:
    return tuple(Relabelled(image.sha256, before, now) for image, before, now in found.relabels)


def _in_words(found: Incoming, n_new: int) -> str:
    parts = []
    if found.new_classes:
        labels = [entry.label for entry in found.new_classes]
        parts.append(f"+{len(labels)} class{'' if len(labels) == 1 else 'es'} ({first_few(labels)})")
    if n_new:
        parts.append(f"+{n_new} photo{'' if n_new == 1 else 's'}")
    if found.relabels:
        parts.append(f"{len(found.relabels)} relabelled")
    return ", ".join(parts)


# --------------------------------------------------------------------------- what is said of it after


def _facts(
    found: Incoming, judged: guarding.Judged, taken: Sequence[HashedImage], features: Features, plain: Vector
) -> UpdateFacts:
    parent, context = found.parent, judged.context
    rows = np.array([found.rows[image.label] for image in taken], dtype=np.int64)
    before = guarding.extended(parent, context)
    zero_shot = Classifier.zero_shot(context)
    return UpdateFacts(
        **vars(guarding.facts_of(found.ref, judged)),
        stored=found.stored,
        new=len(taken),
        relabelled=len(found.relabels),
        kept_as_stored=len(found.moved) - len(found.relabels),
        new_classes=tuple(entry.label for entry in found.new_classes),
        incoming_accuracy=before.accuracy(features.vectors, rows) if len(rows) else None,
        incoming_zero_shot_accuracy=zero_shot.accuracy(plain, rows) if len(rows) else None,
    )
