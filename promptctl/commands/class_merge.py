"""Class merge: several classes as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from promptctl.commands.classes import (
    Rules,
    check_free,
    check_has_shots,
    class_meant,
    class_named,
    judged_facts,
    learned_version,
)
from promptctl.context.card import Change, ClassEntry, Relabelled, check_fits
from promptctl.context.guard import MAX_FORGETTING
from promptctl.errors import DatasetError, TooFewClasses
from promptctl.progress import OnProgress
from promptctl.report import ClassMergeReport, MovedClass
from promptctl.report.phrases import joined, number_of
from promptctl.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.commands.revise import Revision
    from promptctl.context.context import Context

COMMAND = "class merge"


@dataclass(frozen=True)
class _Facts:
    into: ClassEntry
    members: tuple[MovedClass, ...]


def merge_classes(
    name: str,
    labels: Sequence[str],
    into: str,
    *,
    force_new_class: bool = False,
    max_forgetting: float = MAX_FORGETTING,
    force: bool = False,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> ClassMergeReport:
    """Merge several classes into one; folders called like any of them are that class from now on.

    name              what the context is called
    labels            of two classes or more
    into              its label: that of one of them, or a new one
    force_new_class   although it is nearly the name of another class
    max_forgetting    fraction of the held-out images that the new version may lose, from 0 to 1
    force             store it even if it loses more; its card says so
    device            auto, cpu, cuda or mps
    store             where contexts are kept; None: the store of PROMPTCTL_HOME
    on_progress       called with what is being done, how much is done, and of how much
    """
    plan = partial(_plan, labels=tuple(labels), into=into, force_new_class=force_new_class)
    made = learned_version(name, COMMAND, plan, Rules(max_forgetting, force, device), store, on_progress)
    facts = made.facts
    said = joined([f"'{member.label}' ({number_of(member.photos, 'photo')})" for member in facts.members])
    return ClassMergeReport(
        **judged_facts(made, f"{said} are one class, '{facts.into.label}'"),
        into=facts.into.label,
        aliases=facts.into.aliases,
        members=facts.members,
    )


def _plan(
    parent: Context, ref: str, *, labels: tuple[str, ...], into: str, force_new_class: bool
) -> tuple[Revision, _Facts]:
    from promptctl.commands.revise import revision_of
    from promptctl.context.update import moved

    check_has_shots(parent, ref, "make several classes one", each=True)
    members = _members(parent, ref, labels)
    ids = {entry.id for entry in members}
    others = [entry for entry in parent.card.classes if entry.id not in ids]
    if not others:
        raise TooFewClasses(ref, 1)
    check_free(into, others, ref, force_new_class=force_new_class)
    count = Counter(int(id) for id in parent.shots.class_ids)
    # the class with most photos stays what it is, its vectors too, and the others join it
    largest = max(members, key=lambda entry: count[entry.id])
    entry = _entry(largest, members, into)
    classes = tuple(entry if e.id == largest.id else e for e in parent.card.classes if e.id not in ids - {largest.id})
    check_fits(classes)
    became = dict.fromkeys(ids, largest.id)
    change = Change(COMMAND, f"{' + '.join(e.label for e in members)} → {entry.label}", _relabelled(parent, became))
    shots = moved(parent.shots, _ids(parent, became), became)
    facts = _Facts(entry, tuple(MovedClass(e.label, e.id, count[e.id]) for e in members))
    return revision_of(parent, classes, shots, change, trains=True), facts


def _members(parent: Context, ref: str, labels: Sequence[str]) -> tuple[ClassEntry, ...]:
    members = tuple(dict.fromkeys(class_meant(label, parent.card.classes, ref) for label in labels))
    if len(members) < 2:
        raise DatasetError(
            f"{joined([repr(label) for label in labels]) or 'nothing'} is one class of {ref}, and two were expected",
            f"promptctl class merge {ref.partition('@')[0]} A B --into C",
        )
    return members


def _entry(largest: ClassEntry, members: Sequence[ClassEntry], into: str) -> ClassEntry:
    """The class they are now; called like one of them it says in the prompt what that one says."""
    aliases = [word for member in members for word in (member.label, *member.aliases)]
    same = next((member for member in members if member.label == into), None)
    named = class_named(largest.id, into, aliases)
    return named if same is None else ClassEntry(largest.id, same.label, same.name, named.aliases, same.tokens)


def _ids(parent: Context, became: dict[int, int]) -> NDArray[np.int64]:
    import numpy as np

    return np.array([became.get(int(id), int(id)) for id in parent.shots.class_ids], dtype=np.int64)


def _relabelled(parent: Context, became: dict[int, int]) -> tuple[Relabelled, ...]:
    """Every photo that has another class now, so that the classes can be told apart again."""
    pairs = zip(parent.shots.hashes, parent.shots.class_ids.tolist(), strict=True)
    return tuple(Relabelled(sha, id, became[id]) for sha, id in pairs if id in became and became[id] != id)
