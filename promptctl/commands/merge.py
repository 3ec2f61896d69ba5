"""Merge: two contexts of one backbone as one that knows the classes and the photos of both."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.commands.classes import (
    Made,
    Rules,
    check_has_shots,
    judged_facts,
    judged_revision,
    newest,
    words_of,
)
from promptctl.commands.sources import whole_name
from promptctl.commands.storing import place
from promptctl.context.card import Change, ClassEntry, check_fits
from promptctl.context.guard import MAX_FORGETTING
from promptctl.data.names import near_names, prompt_form
from promptctl.errors import BackboneMismatch, ContextExists, DatasetError, TokensClash
from promptctl.progress import OnProgress
from promptctl.report import MergeReport
from promptctl.report.phrases import number_of
from promptctl.store.refs import check_name
from promptctl.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.commands.guarding import Judged
    from promptctl.commands.revise import Revision
    from promptctl.context.context import Context, ShotTable

COMMAND = "merge"
CONFLICTS = ("first", "second")


@dataclass(frozen=True, eq=False)
class _Both:
    """Two contexts, the second with ids as the first gives them."""

    classes: tuple[ClassEntry, ...]
    shots: ShotTable
    second: Context
    shared: int  # photos that both have
    learned_by_other: int  # held out in one, learned from in the other
    known: tuple[str, ...]  # classes that both have
    added: tuple[str, ...]


def merge(
    first: str,
    second: str,
    name: str,
    *,
    on_conflict: str | None = None,
    force_new_class: bool = False,
    max_forgetting: float = MAX_FORGETTING,
    force: bool = False,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> MergeReport:
    """Learn one context from the photos of two, going on from the first.

    first, second     what the two contexts are called
    name              of the context that comes of it, which is a new one
    on_conflict       whose class a photo has that each has under another: first or second; None: refuse it
    force_new_class   although classes of the second are called nearly like classes of the first
    max_forgetting    fraction of the held-out images that the new version may lose, from 0 to 1
    force             store it even if it loses more; its card says so
    device            auto, cpu, cuda or mps
    store             where contexts are kept; None: the store of PROMPTCTL_HOME
    on_progress       called with what is being done, how much is done, and of how much
    raises            ContextExists, BackboneMismatch, NoShots, DatasetError
    """
    started, store, kept = time.monotonic(), store or Store(), Rules(max_forgetting, force, device)
    if on_conflict is not None:
        checks.one_of("on_conflict", on_conflict, CONFLICTS)
    check_name(checks.string("name", name, "all-birds"))
    if store.has(name):
        raise ContextExists(name, "choose another --name")
    source, parent = newest(whole_name(first, COMMAND), store)
    entry, other = newest(whole_name(second, COMMAND), store)
    ref, other_ref = str(source.ref), str(entry.ref)
    both = _both(parent, ref, other, other_ref, on_conflict=on_conflict, force_new_class=force_new_class)
    revision = _revision(parent, both, f"{ref} + {other_ref}")
    judged = judged_revision(revision, ref, kept, store, on_progress)
    judged = _judged_by_second(judged, both.second, other_ref, kept.max_forgetting)
    placed = place(judged, source, store, force=kept.force, into=name)
    from promptctl.commands.guarding import facts_of

    found = facts_of(ref, judged)
    forced = kept.force and found.refused
    made = Made(source, parent, placed, found, both, time.monotonic() - started, forced)
    photos, n = number_of(len(both.shots), "photo"), len(both.classes)
    become = "would be" if placed.refused else "are"
    facts = judged_facts(made, f"{ref} and {other_ref} {become} one context of {n} classes and {photos}")
    facts["next"] = _next(ref, name, made.name, placed.refused)
    return MergeReport(
        **facts,
        second=other_ref,
        known=both.known,
        added=both.added,
        shared=both.shared,
        learned_by_other=both.learned_by_other,
        name=name,
    )


def _next(ref: str, name: str, of: str, refused: bool) -> tuple[str, ...]:
    if refused:
        return f"promptctl diff {ref} {of}@candidate", f"promptctl copy {of}@candidate {name}"
    return (f"promptctl class list {name}", f"promptctl remove {name}   (to undo)")


def _revision(parent: Context, both: _Both, words: str) -> Revision:
    from promptctl.commands.revise import revision_of

    revision = revision_of(parent, both.classes, both.shots, Change(COMMAND, words), trains=True)
    asked, other = parent.card.shots.asked, both.second.card.shots.asked
    return replace(revision, asked=asked if asked == other else None)


def _judged_by_second(judged: Judged, second: Context, ref: str, max_forgetting: float) -> Judged:
    """Refused too if it forgets what the second knew."""
    from promptctl.commands import guarding

    found = guarding.judged(second, judged.context, max_forgetting).verdict
    if not found.refused or judged.verdict.refused:
        return judged
    reasons = tuple(f"of {ref}, {reason}" for reason in found.reasons)
    return replace(judged, verdict=replace(found, reasons=reasons))


# --------------------------------------------------------------------------- classes and photos of both


def _both(
    parent: Context, ref: str, other: Context, other_ref: str, *, on_conflict: str | None, force_new_class: bool
) -> _Both:
    if parent.card.backbone.fingerprint != other.card.backbone.fingerprint:
        own, theirs = (f"{c.card.backbone.name} {c.card.backbone.fingerprint[:12]}" for c in (parent, other))
        raise BackboneMismatch(other_ref, theirs, own)
    if parent.encoder_fingerprint != other.encoder_fingerprint:
        learned = parent.learned_in_tower or other.learned_in_tower
        raise TokensClash(
            f"{ref} and {other_ref} do not see photos with the same {learned}, so their shots are not comparable",
            f"learn the photos of both: promptctl learn PHOTOS --name {ref.partition('@')[0]}",
        )
    for context, called in ((parent, ref), (other, other_ref)):
        check_has_shots(context, called, "be merged", each=True)
    same = _same_classes(parent.card.classes, other.card.classes, ref, other_ref)
    new = [entry for entry in other.card.classes if entry.id not in same]
    if not force_new_class:
        _refuse_near(new, parent.card.classes, ref, other_ref)
    first = parent.card.unused_id
    id_of = {**same, **{entry.id: first + i for i, entry in enumerate(new)}}
    second = _with_ids(other, id_of)
    words = {id_of[entry.id]: words_of(entry) for entry in other.card.classes if entry.id in same}
    classes = (
        *(_with_words(entry, words.get(entry.id, set())) for entry in parent.card.classes),
        *(replace(entry, id=id_of[entry.id]) for entry in new),
    )
    check_fits(classes)
    shots, shared, moved = _shots(parent.shots, second.shots, on_conflict, ref, other_ref, classes)
    known = tuple(entry.label for entry in classes if entry.id in words)
    return _Both(classes, shots, second, shared, moved, known, tuple(entry.label for entry in new))


def _same_classes(own: Sequence[ClassEntry], others: Sequence[ClassEntry], ref: str, other_ref: str) -> dict[int, int]:
    """Id in the second → id in the first, of classes that have a label, an alias or a name in the prompt in common."""
    same: dict[int, int] = {}
    taken: dict[int, str] = {}
    for entry in others:
        found = [one for one in own if _is_same(one, entry)]
        if len(found) > 1 or (found and found[0].id in taken):
            names = [one.label for one in found] if len(found) > 1 else [taken[found[0].id], entry.label]
            whose, where = (entry.label, ref) if len(found) > 1 else (found[0].label, other_ref)
            raise DatasetError(
                f"'{whose}' could be both '{names[0]}' and '{names[1]}' of {where}",
                f"promptctl class merge {shlex.join([where.partition('@')[0], *names[:2]])} --into CLASS",
            )
        if found:
            same[entry.id], taken[found[0].id] = found[0].id, entry.label
    return same


def _is_same(one: ClassEntry, other: ClassEntry) -> bool:
    return bool(words_of(one) & words_of(other)) or prompt_form(one.name) == prompt_form(other.name)


def _refuse_near(new: Sequence[ClassEntry], own: Sequence[ClassEntry], ref: str, other_ref: str) -> None:
    near = near_names([entry.label for entry in new], own)
    if near:
        label, meant = next(iter(near.items()))
        more = f", and {len(near) - 1} more like this" if len(near) > 1 else ""
        rename = shlex.join(["promptctl", "class", "rename", other_ref.partition("@")[0], label, meant])
        raise DatasetError(
            f"'{label}' of {other_ref} is called nearly like '{meant}' of {ref}{more}",
            f"{rename} --display-only   (it is that class), or --force-new-class   (it is another)",
        )


def _with_words(entry: ClassEntry, words: set[str]) -> ClassEntry:
    """The class with what the other context calls it for aliases."""
    return replace(entry, aliases=(*entry.aliases, *sorted(words - words_of(entry))))


def _with_ids(context: Context, id_of: dict[int, int]) -> Context:
    import numpy as np

    shots = context.shots
    classes = tuple(replace(entry, id=id_of[entry.id]) for entry in context.card.classes)
    ids, predicted = (
        np.array([id_of.get(int(id), -1) for id in column], np.int32) for column in (shots.class_ids, shots.predicted)
    )
    table = replace(shots, class_ids=ids, predicted=predicted)
    return replace(context, card=replace(context.card, classes=classes), shots=table)


def _shots(
    own: ShotTable,
    others: ShotTable,
    on_conflict: str | None,
    ref: str,
    other_ref: str,
    classes: Sequence[ClassEntry],
) -> tuple[ShotTable, int, int]:
    """The photos of both, each content once; how many both have, and how many were held out in one alone."""
    import numpy as np

    from promptctl.context.update import joined
    from promptctl.data.groups import equal_pairs, first_places
    from promptctl.data.groups import joined as joined_groups

    n_own = len(own)
    every = joined(own, others)
    hashes = [sha.tobytes() for sha in every.sha256]
    mine, theirs = set(hashes[:n_own]), set(hashes[n_own:])
    kept, ids = _whose(hashes, n_own, every.class_ids, on_conflict, ref, other_ref, classes)
    learned = {sha for sha, held in zip(hashes, every.held_out, strict=True) if not held}
    held_out = np.array([sha not in learned for sha in hashes], np.uint8)
    apart = [(i >= n_own, int(group)) for i, group in enumerate(every.groups)]
    groups = joined_groups(len(every), [equal_pairs(hashes), equal_pairs(apart)])
    moved = {sha for sha, before, now in zip(hashes, every.held_out, held_out, strict=True) if before and not now}
    table = replace(every, class_ids=ids, held_out=held_out, since=np.ones(len(every), np.int32))
    table = replace(table, groups=groups.astype(np.int32)).only(kept)
    table = replace(table, groups=first_places(table.groups.astype(np.int64)).astype(np.int32))
    return table, len(mine & theirs), len(moved)


def _whose(
    hashes: Sequence[bytes],
    n_own: int,
    ids: NDArray[np.int32],
    on_conflict: str | None,
    ref: str,
    other_ref: str,
    classes: Sequence[ClassEntry],
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """(N,) which rows stay, and (N,) their classes: of a photo that both have those of one."""
    import numpy as np

    sides = [_by_photo(hashes[part], ids[part]) for part in (slice(None, n_own), slice(n_own, None))]
    conflicts = [sha for sha in sides[0] if sha in sides[1] and sides[0][sha] != sides[1][sha]]
    if conflicts and on_conflict is None:
        label_of = {entry.id: entry.label for entry in classes}
        one, other = (label_of[min(side[conflicts[0]])] for side in sides)
        photos = "1 photo has" if len(conflicts) == 1 else f"{len(conflicts)} photos have"
        raise DatasetError(
            f"{photos} another class in {other_ref} than in {ref}: {conflicts[0].hex()[:12]} is '{other}' and '{one}'",
            "--on-conflict first   (as in the first), or --on-conflict second",
        )
    won = set(conflicts) if on_conflict == "second" else set()
    both = sides[0].keys() & sides[1].keys()
    stays = [sha not in both or (sha in won) == (i >= n_own) for i, sha in enumerate(hashes)]
    return np.array(stays, bool), ids


def _by_photo(hashes: Sequence[bytes], ids: NDArray[np.int32]) -> dict[bytes, set[int]]:
    found: dict[bytes, set[int]] = {}
    for sha, id in zip(hashes, ids.tolist(), strict=True):
        found.setdefault(sha, set()).add(id)
    return found
