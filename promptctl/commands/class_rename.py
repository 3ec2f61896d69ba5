"""Class rename: another name for a class, and in the prompt too unless it is for display alone."""

from __future__ import annotations

import shlex
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from promptctl.commands import edited
from promptctl.commands.classes import (
    Made,
    Rules,
    check_free,
    check_has_shots,
    class_meant,
    class_named,
    edited_version,
    judged_facts,
    learned_version,
)
from promptctl.context.card import Change, ClassEntry, check_fits
from promptctl.context.guard import MAX_FORGETTING
from promptctl.context.limits import fault_of_text
from promptctl.errors import DatasetError
from promptctl.progress import OnProgress
from promptctl.report import ClassRenameReport
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.commands.revise import Revision
    from promptctl.context.context import Context

COMMAND = "class rename"
Facts = tuple[ClassEntry, ClassEntry]  # before and after


def rename_class(
    name: str,
    old: str,
    new: str,
    *,
    display_only: bool = False,
    force_new_class: bool = False,
    max_forgetting: float = MAX_FORGETTING,
    force: bool = False,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> ClassRenameReport:
    """Call a class of a context something else; folders called as before are still that class.

    name              what the context is called
    old               label, name or alias of the class
    new               its new label, and its name in the prompt
    display_only      the prompt says what it said, so no answer changes
    force_new_class   although the name is nearly that of another class
    max_forgetting    fraction of the held-out images that the new version may lose, from 0 to 1
    force             store it even if it loses more; its card says so
    device            auto, cpu, cuda or mps
    store             where contexts are kept; None: the store of PROMPTCTL_HOME
    on_progress       called with what is being done, how much is done, and of how much
    """
    entries = partial(_entries, old=old, new=new, display_only=display_only, force_new_class=force_new_class)
    made: Made[Facts]
    if display_only:
        made = edited_version(name, COMMAND, partial(_edit, entries=entries), store)
    else:
        plan, rules = partial(_plan, entries=entries), Rules(max_forgetting, force, device)
        made = learned_version(name, COMMAND, plan, rules, store, on_progress)
    before, after = made.facts
    return ClassRenameReport(
        **judged_facts(made, f"'{before.label}' is '{after.label}'{_prompt(before, after)}"),
        before=before.label,
        after=after.label,
        name=after.name,
        aliases=after.aliases,
        display_only=display_only,
    )


def _prompt(before: ClassEntry, after: ClassEntry) -> str:
    same = f", the prompt says '{after.name}' as before and every answer is the same"
    return same if before.name == after.name else f", and the prompt says '{after.name}'"


def _entries(
    context: Context, ref: str, *, old: str, new: str, display_only: bool, force_new_class: bool
) -> tuple[ClassEntry, ClassEntry]:
    """The class as it is and as it will be."""
    card = context.card
    before = class_meant(old, card.classes, ref)
    after = class_named(before.id, new, (before.label, *before.aliases))
    if fault := fault_of_text(after.label) or ("is empty" if not after.name else None):
        raise DatasetError(f"{new!r} is no name for a class: it {fault}", "use another name")
    if after.label == before.label and (display_only or after.name == before.name):
        raise DatasetError(f"the class '{before.label}' of {ref} is called that already", "use another name")
    others = [entry for entry in card.classes if entry.id != before.id]
    check_free(after.label, others, ref, force_new_class=force_new_class)
    after = replace(before, label=after.label, aliases=after.aliases) if display_only else after
    check_fits([after if entry.id == before.id else entry for entry in card.classes])
    return before, after


def _edit(context: Context, ref: str, entries: partial[Facts]) -> tuple[Context, Facts]:
    before, after = entries(context, ref)
    change = Change(COMMAND, f"{before.label} → {after.label}, for display alone")
    return edited.next_version(edited.with_entry(context, after), context, change), (before, after)


def _plan(parent: Context, ref: str, entries: partial[Facts]) -> tuple[Revision, Facts]:
    from promptctl.commands.revise import revision_of
    from promptctl.learners import LEARNERS

    before, after = entries(parent, ref)
    method = parent.card.method
    if parent.head or not (LEARNERS[method.learner].has_context or method.by_template):
        words = shlex.join([ref.partition("@")[0], before.label, after.label])
        hint = f"promptctl class rename {words} --display-only"
        check_has_shots(parent, ref, "learn what a new name says", hint)
    classes = tuple(after if entry.id == before.id else entry for entry in parent.card.classes)
    change = Change(COMMAND, f"{before.label} → {after.label}")
    return revision_of(parent, classes, parent.shots, change, trains=False), (before, after)
