"""Class split: photos of a class that belong to others, told by the folders they lie in."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.commands.classes import (
    Rules,
    check_free,
    check_has_shots,
    class_meant,
    class_named,
    judged_facts,
    learned_version,
    words_of,
)
from promptctl.commands.photos import columns_asked
from promptctl.context.card import Change, ClassEntry, check_fits
from promptctl.context.guard import MAX_FORGETTING
from promptctl.data.names import meant_by, one_form
from promptctl.errors import DatasetError, TooFewClasses
from promptctl.progress import OnProgress
from promptctl.report import ClassSplitReport, MovedClass
from promptctl.report.phrases import joined, number_of
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.commands.revise import Revision
    from promptctl.context.context import Context
    from promptctl.data.images import HashedImage
    from promptctl.data.readers.headings import ColumnNames

COMMAND = "class split"


@dataclass(frozen=True)
class _Facts:
    split: ClassEntry
    moved: tuple[MovedClass, ...]
    left: int  # photos of it that stay
    not_stored: int
    of_others: int  # stored under other classes
    is_gone: bool


def split_class(
    name: str,
    label: str,
    photos: str | os.PathLike[str],
    *,
    force_new_class: bool = False,
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    max_forgetting: float = MAX_FORGETTING,
    force: bool = False,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> ClassSplitReport:
    """Move photos of a class to the classes of the folders they are in now; they are recognised by content.

    name              what the context is called
    label             of the class
    photos            class folders; those that are no class yet become one
    path_column       of a list whose columns have no usual names: what that with the paths or ids of photos is called
    label_column      the same of the column with their classes
    split_column      the same of the column with the part of the data set that each is in
    force_new_class   although a folder is called nearly like a class
    max_forgetting    fraction of the held-out images that the new version may lose, from 0 to 1
    force             store it even if it loses more; its card says so
    device            auto, cpu, cuda or mps
    store             where contexts are kept; None: the store of PROMPTCTL_HOME
    on_progress       called with what is being done, how much is done, and of how much
    """
    folder = checks.path("photos", photos)
    hashed = _hashed(folder, columns_asked(path_column, label_column, split_column), on_progress)
    plan = partial(_plan, label=label, photos=hashed, folder=folder, force_new_class=force_new_class)
    made = learned_version(name, COMMAND, plan, Rules(max_forgetting, force, device), store, on_progress)
    facts = made.facts
    said = joined([f"'{one.label}' ({number_of(one.photos, 'photo')})" for one in facts.moved])
    rest = "has none left and is gone" if facts.is_gone else f"keeps {number_of(facts.left, 'photo')}"
    common = judged_facts(made, f"of '{facts.split.label}' came {said}; it {rest}")
    learn = f"promptctl learn {shlex.quote(str(folder))} --name {made.name}   (photos that are not stored yet)"
    common["next"] = (*common["next"], *([learn] if facts.not_stored else []))
    return ClassSplitReport(
        **common,
        split=facts.split.label,
        moved=facts.moved,
        left=facts.left,
        not_stored=facts.not_stored,
        of_others=facts.of_others,
        gone=facts.is_gone,
    )


def _hashed(folder: Path, columns: ColumnNames, on_progress: OnProgress | None) -> tuple[HashedImage, ...]:
    from promptctl.data.folder import ImageFolder
    from promptctl.data.images import hash_images

    found = ImageFolder.scan(folder, columns)
    images, _ = hash_images(found.images, partial(on_progress, "reading") if on_progress else None)
    return images


def _plan(
    parent: Context, ref: str, *, label: str, photos: Sequence[HashedImage], folder: Path, force_new_class: bool
) -> tuple[Revision, _Facts]:
    from promptctl.commands.revise import revision_of
    from promptctl.context.update import relabelled

    check_has_shots(parent, ref, "tell which photos were of which class", each=True)
    split = class_meant(label, parent.card.classes, ref)
    stored = parent.shots.classes_of_images()
    own = [image for image in photos if split.id in stored.get(image.sha256, ())]
    if not own:
        learn = f"promptctl learn {shlex.quote(str(folder))} --name {ref.partition('@')[0]}"
        raise DatasetError(
            f"no photo in {folder} is stored in {ref} as '{split.label}'",
            f"{learn}   (photos that are not stored yet)",
        )
    target = _targets(own, split, parent, ref, force_new_class)
    to = {image.sha256: target[image.label].id for image in own}
    shots, changed = relabelled(parent.shots, to, of=split.id)
    count = Counter(int(id) for id in shots.class_ids)
    is_gone = not count[split.id]
    entries = {entry.id: entry for entry in (*parent.card.classes, *target.values())}
    classes = tuple(_without_words(entry, split, target.values()) for entry in entries.values())
    classes = tuple(entry for entry in classes if not (is_gone and entry.id == split.id))
    if len(classes) < 2:
        raise TooFewClasses(ref, len(classes))
    check_fits(classes)
    came = Counter(image.after for image in changed)
    moved = tuple(MovedClass(entries[id].label, id, n) for id, n in sorted(came.items()))
    change = Change(COMMAND, f"{split.label} → {', '.join(f'{m.label} {m.photos}' for m in moved)}", changed)
    facts = _Facts(
        split=split,
        moved=moved,
        left=count[split.id],
        not_stored=sum(image.sha256 not in stored for image in photos),
        of_others=sum(split.id not in stored.get(image.sha256, {split.id}) for image in photos),
        is_gone=is_gone,
    )
    return revision_of(parent, classes, shots, change, trains=True), facts


def _targets(
    own: Sequence[HashedImage], split: ClassEntry, parent: Context, ref: str, force_new_class: bool
) -> dict[str, ClassEntry]:
    """Folder → the class it is; a folder called by an alias of the class that is split is a class of its own."""
    bare = replace(split, aliases=())
    known = [bare if entry.id == split.id else entry for entry in parent.card.classes]
    target: dict[str, ClassEntry] = {}
    first = parent.card.unused_id
    for folder in sorted({image.label for image in own}):
        meant = meant_by([folder], known)
        if meant:
            target[folder] = known[meant[folder]]
            continue
        check_free(folder, known, ref, force_new_class=force_new_class)
        target[folder] = class_named(first + sum(entry.id >= first for entry in target.values()), folder)
    if all(entry.id == split.id for entry in target.values()):
        raise DatasetError(
            f"every photo lies in the folder of '{split.label}', so there is nothing to split",
            "put those of another class into a folder called like it",
        )
    return target


def _without_words(entry: ClassEntry, split: ClassEntry, others: Iterable[ClassEntry]) -> ClassEntry:
    """The class that was split without aliases that are classes of their own now."""
    if entry.id != split.id:
        return entry
    taken = {word for other in others if other.id != split.id for word in words_of(other)}
    return replace(split, aliases=tuple(alias for alias in split.aliases if one_form(alias) not in taken))
