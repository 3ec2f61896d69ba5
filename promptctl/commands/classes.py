"""Classes: what the commands that change them share. Which class is meant, its next version, and what is said of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from promptctl import checks
from promptctl.commands.sources import whole_name
from promptctl.commands.storing import Placed, once_more, place, store_version
from promptctl.context.card import ClassEntry
from promptctl.context.guard import MAX_FORGETTING
from promptctl.data.names import check_names, meant_by, near_names, one_form, readable
from promptctl.errors import ClassNameTaken, ClassNotFound, NearlyNamed, NoShots
from promptctl.progress import OnProgress
from promptctl.store.refs import Ref
from promptctl.store.store import Entry, Store

if TYPE_CHECKING:
    from promptctl.commands.guarding import Judged
    from promptctl.commands.revise import Revision
    from promptctl.context.context import Context
    from promptctl.report import GuardFacts

Facts = TypeVar("Facts")


@dataclass(frozen=True)
class Rules:
    """How much a version that learns may forget, and on what it is computed.

    raises   BadSetting
    """

    max_forgetting: float = MAX_FORGETTING
    force: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        checks.number("max_forgetting", self.max_forgetting, 0, 1, MAX_FORGETTING)
        checks.flag("force", self.force)
        checks.one_of("device", self.device, checks.DEVICES)


# --------------------------------------------------------------------------- which class


def class_meant(word: str, classes: Sequence[ClassEntry], ref: str, *, where: str = "") -> ClassEntry:
    """The class that has a word as its label, its name or an alias.

    where    what stands before "is no class", as " in line 3"
    raises   ClassNotFound with a suggestion
    """
    index = meant_by([word], classes)
    if word in index:
        return classes[index[word]]
    raise ClassNotFound(word, ref, near=near_label(word, classes), where=where)


def near_label(word: str, classes: Sequence[ClassEntry]) -> str | None:
    """The label of the class that was probably meant."""
    label_of = {name: entry.label for entry in classes for name in (entry.label, entry.name, *entry.aliases)}
    close = get_close_matches(word, label_of, n=1)
    return near_names([word], classes).get(word) or (label_of[close[0]] if close else None)


def words_of(entry: ClassEntry) -> set[str]:
    """What a folder of the class may be called."""
    return {one_form(word) for word in (entry.label, *entry.aliases)}


def check_free(label: str, others: Sequence[ClassEntry], ref: str, *, force_new_class: bool) -> None:
    """ClassNameTaken for a name that one of the other classes has, NearlyNamed for one that is nearly that."""
    taken = meant_by([label], others)
    if taken:
        raise ClassNameTaken(label, others[taken[label]].label, ref)
    near = near_names([label], others)
    if near and not force_new_class:
        raise NearlyNamed(label, near[label], ref)


def class_named(id: int, label: str, aliases: Sequence[str] = ()) -> ClassEntry:
    """A class that is called after its folder, with other words for the folder."""
    label = one_form(label.strip())
    others = dict.fromkeys(one_form(alias) for alias in aliases)
    return ClassEntry(id, label, readable(label), tuple(alias for alias in others if alias != label))


def check_has_shots(parent: Context, ref: str, doing: str, hint: str = "", *, each: bool = False) -> None:
    """NoShots for a context that keeps nothing of its images to learn from.

    each   what is done is about single images, so that means of them will not do
    """
    because = parent.why_no_shots(each=each)
    if because:
        raise NoShots(ref, doing, because, hint or f"promptctl learn PHOTOS --name {ref.partition('@')[0]} --fresh")


# --------------------------------------------------------------------------- the next version


@dataclass(frozen=True, eq=False)
class Made(Generic[Facts]):
    """The next version of a name, and what it was made from."""

    source: Entry
    parent: Context
    placed: Placed
    guard: GuardFacts | None  # None: nothing was learned
    facts: Facts
    seconds: float
    forced: bool = False

    @property
    def ref(self) -> str:
        """Of the version before: birds@1."""
        return str(self.source.ref)

    @property
    def name(self) -> str:
        return self.source.ref.name


def learned_version(
    name: str,
    command: str,
    plan: Callable[[Context, str], tuple[Revision, Facts]],
    rules: Rules,
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> Made[Facts]:
    """The version that a revision makes, judged and in its place; made again where another came between.

    plan     from the newest version and what it is called, the revision and what a report says of it
    """
    started, store, name = time.monotonic(), store or Store(), whole_name(name, command)

    def make() -> Made[Facts]:
        from promptctl.commands import guarding

        source, parent = newest(name, store)
        ref = str(source.ref)
        revision, facts = plan(parent, ref)
        judged = judged_revision(revision, ref, rules, store, on_progress)
        placed = place(judged, source, store, force=rules.force)
        found = guarding.facts_of(ref, judged)
        return Made(source, parent, placed, found, facts, time.monotonic() - started, rules.force and found.refused)

    return once_more(make)


def judged_revision(revision: Revision, ref: str, rules: Rules, store: Store, on_progress: OnProgress | None) -> Judged:
    """The version that a revision makes, and what the guard says of it.

    raises   NameTooLong, DatasetError for names that the text tower cannot tell apart, LearningFailed
    """
    from promptctl.commands import guarding
    from promptctl.commands.backbones import quick_backbone_for
    from promptctl.commands.photos import check_prompts

    check_names(revision.classes)
    store.check_writable()
    backbone = quick_backbone_for(revision.parent, ref, None, rules.device)
    new_names = not revision.said_alike.all()
    check_prompts(revision.classes, revision.settings, backbone.tower, new_names=new_names)
    return guarding.guarded(revision, backbone, rules.max_forgetting, on_progress)


def edited_version(
    name: str, command: str, edit: Callable[[Context, str], tuple[Context, Facts]], store: Store | None = None
) -> Made[Facts]:
    """The version that an edit makes, which learns nothing; made again where another came between."""
    started, store, name = time.monotonic(), store or Store(), whole_name(name, command)

    def make() -> Made[Facts]:
        source, parent = newest(name, store)
        context, facts = edit(parent, str(source.ref))
        entry = store_version(context, source.ref.name, store, new=False, after=source.ref.version)
        return Made(source, parent, Placed(entry, context, False), None, facts, time.monotonic() - started)

    return once_more(make)


def newest(name: str, store: Store) -> tuple[Entry, Context]:
    """The newest version of a name, verified."""
    from promptctl.context.context import Context

    source = store.find(Ref(name))
    return source, Context.load(source.path)


# --------------------------------------------------------------------------- what is said of it


def common_facts(made: Made[Any], sentence: str) -> dict[str, Any]:
    """What every report of a new version says."""
    placed, card = made.placed, made.placed.context.card
    return {
        "context": str(placed.entry.ref),
        "path": placed.entry.path,
        "parent": made.ref,
        "sentence": sentence,
        "classes": card.labels,
        "train_images": card.shots.train,
        "measured_on": card.score.on if card.score else None,
        "measured_images": card.score.images if card.score else 0,
        "accuracy": card.score.accuracy if card.score else None,
        "zero_shot_accuracy": card.score.zero_shot_accuracy if card.score else None,
        "seconds": round(made.seconds, 2),
        "n_bytes": placed.entry.n_bytes,
        "next": _next(made),
    }


def judged_facts(made: Made[Any], sentence: str) -> dict[str, Any]:
    """And what that of one says which the guard has judged."""
    found = {"guard": made.guard, "refused": made.placed.refused, "forced": made.forced}
    return {**common_facts(made, sentence), **found}


def _next(made: Made[Any]) -> tuple[str, ...]:
    if made.placed.refused:
        return (
            f"promptctl diff {made.ref} {made.name}@candidate",
            f"promptctl promote {made.name}@candidate",
        )
    return (f"promptctl restore {made.ref}   (to undo)",)
