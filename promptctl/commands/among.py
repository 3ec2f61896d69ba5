"""Among: a context that answers among just some classes, new ones told by their names alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl.commands.backbones import quick_backbone_for
from promptctl.commands.class_add import COMMAND
from promptctl.commands.classes import check_has_shots
from promptctl.commands.edited import only
from promptctl.context.card import Change, ClassEntry
from promptctl.errors import WrongOption
from promptctl.learners import LEARNERS

if TYPE_CHECKING:
    from promptctl.commands.labelled import Labelled
    from promptctl.context.context import Context

FOLDERS = "folders"  # in place of a list: the class folders of each folder of photos
Names = Mapping[str, str]  # label → what the prompt calls it


def classes_asked(asked: str | Path | None, found: Sequence[Labelled]) -> list[Names | None]:
    """The classes to answer among on each of some folders of photos; None: all of the context.

    asked    a list of folder,name, the word `folders`, or None
    raises   DatasetError for a list that cannot be read, or that names what is in no folder
    """
    from promptctl.data.names import readable
    from promptctl.data.readers.class_names import read_names

    if asked is None:
        return [None] * len(found)
    if str(asked) == FOLDERS:
        return [{label: readable(label) for label in one.labels} for one in found]
    every = sorted({label for one in found for label in one.labels})
    return [read_names(Path(asked), every)] * len(found)


def among(
    context: Context, name: str, classes: Names, model: str | None, device: str
) -> tuple[Context, dict[str, int]]:
    """The context with these classes alone, and which of them each label means.

    A label is a class of the context by what it is called, or by the name that the list gives it. What is none answers
    by its name, as after `class add`: by the text features that the learned vectors give it, or beside a head by its
    zero-shot row, with what learning gave the others taken off.

    raises   WrongOption where nothing is learned that a new name could be read with, NoShots, DatasetError
    """
    from promptctl.data import remarks
    from promptctl.data.names import meant_by

    known = context.card.classes
    index = meant_by(list(classes), known)
    by_name = meant_by([classes[label] for label in classes if label not in index], known)
    index |= {label: by_name[said] for label, said in classes.items() if label not in index and said in by_name}
    new = {label: said for label, said in classes.items() if label not in index}
    if new:
        context = _with_new(context, name, new, model, device)
        index |= {label: len(known) + i for i, label in enumerate(new)}
    rows = sorted(set(index.values()))
    if context.head and min(rows) >= len(known):
        remarks.say(
            [f"{name} has photos of none of these classes: its head answers as zero-shot, 'without head' learned"]
        )
    place = {row: i for i, row in enumerate(rows)}
    return only(context, rows), {label: place[row] for label, row in index.items()}


def _with_new(context: Context, name: str, new: Names, model: str | None, device: str) -> Context:
    """The context as `class add` makes its next version, not stored, nor judged."""
    from promptctl.data import remarks
    from promptctl.data.names import check_names, near_names

    _check_reads_names(context, name, next(iter(new)))
    first, known = context.card.unused_id, context.card.classes
    added = tuple(ClassEntry(first + i, label, said) for i, (label, said) in enumerate(new.items()))
    check_names((*known, *added))
    near = near_names(list(new), known)
    remarks.say([f"'{one}' counts as another class than '{other}' of {name}" for one, other in near.items()])
    if context.head:
        check_has_shots(context, name, "weigh a class that it has only the name of", "leave out --classes")
    from promptctl.commands.revise import revised, revision_of

    plan = revision_of(context, (*known, *added), context.shots, Change(COMMAND), trains=False)
    if not context.head and "head" in LEARNERS[plan.settings.learner].heeds:
        plan = replace(plan, settings=replace(plan.settings, head=False))
    return revised(plan, quick_backbone_for(context, name, model, device))


def _check_reads_names(context: Context, name: str, label: str) -> None:
    if context.card.method.by_template or (context.vectors.ndim == 2 and len(context.vectors)):
        return
    has = "a context for each of its classes" if len(context.vectors) else "weights of its classes and no context"
    raise WrongOption(
        f"{name} has {has}, which says nothing of a new class such as '{label}'",
        "leave out --classes, or give a context that all classes share",
    )
