"""Class add: classes by their names alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from promptctl.commands.classes import (
    Rules,
    check_free,
    check_has_shots,
    class_named,
    judged_facts,
    learned_version,
)
from promptctl.context.card import Change, ClassEntry, check_fits
from promptctl.context.guard import MAX_FORGETTING
from promptctl.errors import DatasetError
from promptctl.progress import OnProgress
from promptctl.report import ClassAddReport
from promptctl.report.phrases import first_few, joined
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.commands.revise import Revision
    from promptctl.context.context import Context

COMMAND = "class add"


def add_classes(
    name: str,
    labels: Sequence[str],
    *,
    force_new_class: bool = False,
    max_forgetting: float = MAX_FORGETTING,
    force: bool = False,
    device: str = "auto",
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> ClassAddReport:
    """Add classes by name, without photos: their names answer for them, as in zero-shot.

    name              what the context is called
    labels            names of the new classes
    force_new_class   although a name is nearly that of a class
    max_forgetting    fraction of the held-out images that the new version may lose, from 0 to 1
    force             store it even if it loses more; its card says so
    device            auto, cpu, cuda or mps
    store             where contexts are kept; None: the store of PROMPTCTL_HOME
    on_progress       called with what is being done, how much is done, and of how much
    """
    plan = partial(_plan, labels=tuple(labels), force_new_class=force_new_class)
    made = learned_version(name, COMMAND, plan, Rules(max_forgetting, force, device), store, on_progress)
    added = tuple(entry.label for entry in made.facts)
    verb = "answers by its name" if len(added) == 1 else "answer by their names"
    said = joined([f"'{label}'" for label in added])
    has_head = bool(made.placed.context.head and not made.parent.head)
    return ClassAddReport(
        **judged_facts(made, f"{said} {verb}, until there are photos to learn from"),
        added=added,
        new_head=has_head,
        taken=_taken(made.placed.context, added),
    )


def _taken(context: Context, added: tuple[str, ...]) -> int:
    """How many held-out images, which show other classes, are answered by a name that was added."""
    import numpy as np

    from promptctl.classification.classifier import Classifier

    features, _ = context.held_out()
    new = [i for i, label in enumerate(context.card.labels) if label in added]
    return int(np.isin(Classifier.of(context).predict(features).best, new).sum()) if len(features) else 0


def _plan(
    parent: Context, ref: str, *, labels: tuple[str, ...], force_new_class: bool
) -> tuple[Revision, tuple[ClassEntry, ...]]:
    from promptctl.commands.revise import revision_of

    added = _entries(parent, ref, labels, force_new_class)
    if parent.head or parent.vectors.ndim == 3 or not (len(parent.vectors) or parent.card.method.by_template):
        check_has_shots(parent, ref, "weigh a class that it has only the name of")
    words = f"+{len(added)} class{'' if len(added) == 1 else 'es'} by name ({first_few([e.label for e in added])})"
    classes = (*parent.card.classes, *added)
    found = revision_of(parent, classes, parent.shots, Change(COMMAND, words), trains=False)
    # whatever answered before: a name without photos is answered as seldom as what was learned is sure of its classes,
    # and a head alone makes room for it (docs/benchmarks.md)
    return replace(found, settings=replace(found.settings, head=None)), added


def _entries(parent: Context, ref: str, labels: Sequence[str], force_new_class: bool) -> tuple[ClassEntry, ...]:
    if not labels:
        raise DatasetError("no class is named", f"promptctl class add {ref.partition('@')[0]} NAME")
    first, known = parent.card.unused_id, list(parent.card.classes)
    for number, label in enumerate(labels):
        entry = class_named(first + number, label)
        if not entry.name:
            raise DatasetError(f"{label!r} is no name for a class", "use another name")
        check_free(entry.label, known, ref, force_new_class=force_new_class)
        known.append(entry)
    check_fits(known)
    return tuple(known[len(parent.card.classes) :])
