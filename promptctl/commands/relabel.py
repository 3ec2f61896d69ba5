"""Relabel: photos that are of another class after all."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.commands.classes import Rules, check_has_shots, class_meant, judged_facts, learned_version, newest
from promptctl.commands.photos import columns_asked
from promptctl.commands.sources import whole_name
from promptctl.context.card import Change, ClassEntry, Relabelled
from promptctl.context.guard import MAX_FORGETTING
from promptctl.errors import DatasetError
from promptctl.progress import OnProgress
from promptctl.report import CorrectedPhoto, RelabelPlan, RelabelReport
from promptctl.report.phrases import number_of
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.commands.revise import Revision
    from promptctl.context.context import Context, ShotTable
    from promptctl.data.readers.fixes import Fix

COMMAND = "relabel"
_NEAR = 6  # digits that two checksums have in common where one was mistyped


@dataclass(frozen=True)
class _Facts:
    photos: tuple[CorrectedPhoto, ...]
    unchanged: int
    empty: tuple[str, ...]  # classes without any photo now


def relabel(
    name: str,
    fixes: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    path_column: str | None = None,
    label_column: str | None = None,
    max_forgetting: float = MAX_FORGETTING,
    force: bool = False,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> RelabelReport | RelabelPlan:
    """Correct labels of photos and learn from all of them again; if one line is wrong, nothing is changed.

    name              what the context is called
    fixes             a CSV: the photo by its sha256, the first 8 digits or more of it, or its path; and its class.
                      Or what `review` wrote down, or an export of Label Studio: what is not stored is passed over
    dry_run           say what would change, and change nothing
    path_column       what the column with the checksums or paths is called, where it has no usual name
    label_column      the same of the column with the classes
    max_forgetting    fraction of the held-out images that the new version may lose, from 0 to 1
    force             store it even if it loses more; its card says so
    device            auto, cpu, cuda or mps
    store             where contexts are kept; None: the store of PROMPTCTL_HOME
    on_progress       called with what is being done, how much is done, and of how much
    returns           a plan for a dry run, and where every photo has its class already
    """
    from promptctl.data.readers.fixes import read_fixes

    path, kept = checks.path("fixes", fixes), Rules(max_forgetting, force, device)
    lines = read_fixes(path, columns_asked(path_column, label_column))
    if not lines:
        raise DatasetError(f"{path} gives no photo a class", f"ls -l {shlex.quote(str(path))}")
    entry, context = newest(whole_name(name, COMMAND), store or Store())
    facts = _facts(context, str(entry.ref), path, lines)
    _say_what_is_new(context, str(entry.ref), path, lines)
    if dry_run or not facts.photos:
        return RelabelPlan(str(entry.ref), dry_run, facts.photos, facts.unchanged)
    plan = partial(_plan, path=path, lines=lines)
    made = learned_version(name, COMMAND, plan, kept, store, on_progress)
    count = len(made.facts.photos)
    sentence = f"{number_of(count, 'photo')} {'is' if count == 1 else 'are'} of another class now"
    return RelabelReport(
        **judged_facts(made, sentence),
        relabelled=made.facts.photos,
        unchanged=made.facts.unchanged,
        empty=made.facts.empty,
    )


def _plan(parent: Context, ref: str, *, path: Path, lines: Sequence[Fix]) -> tuple[Revision, _Facts]:
    from promptctl.commands.revise import revision_of

    facts = _facts(parent, ref, path, lines)
    if not facts.photos:
        raise DatasetError(f"every photo of {path} has its class in {ref} already", f"promptctl class list {ref}")
    shots, relabelled = _corrected(parent, facts.photos)
    words = f"{number_of(len(facts.photos), 'photo')} relabelled"
    return revision_of(parent, parent.card.classes, shots, Change(COMMAND, words, relabelled), trains=True), facts


def _facts(parent: Context, ref: str, path: Path, lines: Sequence[Fix]) -> _Facts:
    """What changes; DatasetError for the first line that is wrong."""
    import numpy as np

    check_has_shots(parent, ref, "correct the classes of its photos", each=True)
    of_photo = parent.shots.classes_of_images()
    meant: dict[str, tuple[ClassEntry, int]] = {}
    for fix in lines:
        where = f" in line {fix.line} of {path}"
        sha = _sha256(fix, of_photo, ref, where)
        if sha is None:
            continue
        entry = class_meant(fix.label, parent.card.classes, ref, where=where)
        before = meant.setdefault(sha, (entry, fix.line))
        if before[0] != entry:
            one, other = f"'{before[0].label}' in line {before[1]}", f"'{entry.label}' in line {fix.line}"
            raise DatasetError(f"{path} says {one} and {other} of one photo", "leave one of the lines out")
    changed = {sha: entry for sha, (entry, _) in meant.items() if of_photo[sha] != {entry.id}}
    label_of = {entry.id: entry.label for entry in parent.card.classes}
    photos = tuple(
        CorrectedPhoto(sha, " and ".join(label_of[id] for id in sorted(of_photo[sha])), entry.label)
        for sha, entry in changed.items()
    )
    ids = {entry.label: entry.id for entry in parent.card.classes}
    shots, _ = _corrected(parent, photos)
    gone = set(parent.shots.class_ids.tolist()) - set(np.unique(shots.class_ids).tolist())
    return _Facts(photos, len(meant) - len(changed), tuple(label for label, id in ids.items() if id in gone))


def _say_what_is_new(parent: Context, ref: str, path: Path, lines: Sequence[Fix]) -> None:
    """Warn of photos that are not stored, and need not be; DatasetError where none is."""
    from promptctl.data import remarks

    known, command = parent.shots.classes_of_images(), f"promptctl learn {shlex.quote(str(path))} --name"
    new = [fix for fix in lines if fix.may_be_new and (fix.sha256 or _hash_of(fix)) not in known]
    name = ref.partition("@")[0]
    if new and len(new) == len(lines):
        raise DatasetError(f"none of the photos of {path} is stored in {ref}", f"{command} {name}")
    if new:
        remarks.say([f"{number_of(len(new), 'photo')} of {path} not stored in {ref} and passed over: {command} {name}"])


def _sha256(fix: Fix, known: Mapping[str, object], ref: str, where: str) -> str | None:
    """The photo that is meant; DatasetError for one that is not stored, and for a start that several have.

    returns   None for one that is not stored and need not be
    """
    if fix.may_be_new:
        sha = fix.sha256 or _hash_of(fix)
        return sha if sha in known else None
    if fix.sha256 is None:
        return _sha256_of_file(fix, known, ref, where)
    found = [sha for sha in known if sha.startswith(fix.sha256)]
    if len(found) == 1:
        return found[0]
    if found:
        raise DatasetError(
            f"{len(found)} photos of {ref} have a checksum that begins with '{fix.said}'{where}",
            f"write more of it: {found[0][: len(fix.sha256) + 8]}",
        )
    near = next((sha for sha in known if sha.startswith(fix.sha256[:_NEAR])), None)
    hint = f"did you mean {near[: max(12, len(fix.sha256))]}?" if near else f"promptctl show {ref} --json"
    raise DatasetError(f"no photo of {ref} has the checksum '{fix.said}'{where}", hint)


def _hash_of(fix: Fix) -> str | None:
    from promptctl.encoding.decode import hash_image
    from promptctl.encoding.files import UnreadableImage

    assert fix.path is not None
    try:
        return hash_image(fix.path)
    except UnreadableImage:
        return None


def _sha256_of_file(fix: Fix, known: Mapping[str, object], ref: str, where: str) -> str:
    from promptctl.encoding.decode import hash_image
    from promptctl.encoding.files import UnreadableImage

    assert fix.path is not None
    try:
        sha = hash_image(fix.path)
    except UnreadableImage as error:
        raise DatasetError(f"'{fix.said}'{where} cannot be read: {error}", "write its path, or its sha256") from error
    if sha not in known:
        name = ref.partition("@")[0]
        raise DatasetError(
            f"the photo '{fix.said}'{where} is not stored in {ref}",
            f"promptctl learn FOLDER --name {name}   (in a folder called like its class)",
        )
    return sha


def _corrected(parent: Context, photos: Sequence[CorrectedPhoto]) -> tuple[ShotTable, tuple[Relabelled, ...]]:
    """The shots with the classes that photos have now, and which of them changed."""
    from promptctl.context.update import relabelled

    id_of = {entry.label: entry.id for entry in parent.card.classes}
    return relabelled(parent.shots, {photo.sha256: id_of[photo.after] for photo in photos})
