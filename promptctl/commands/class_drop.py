"""Class drop: classes gone with their shots; purged, gone from every version too."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from promptctl.commands import edited
from promptctl.commands.classes import Made, class_meant, common_facts, edited_version
from promptctl.commands.sources import whole_name
from promptctl.context.card import Change, ClassEntry
from promptctl.errors import ClassNotFound, TooFewClasses
from promptctl.report import ClassDropReport, HeldElsewhere
from promptctl.report.phrases import first_few, joined, number_of
from promptctl.store.refs import Ref
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.commands.purge import Purge
    from promptctl.context.context import Context

COMMAND = "class drop"


@dataclass(frozen=True)
class _Dropped:
    classes: tuple[ClassEntry, ...]
    photos: int


def drop_classes(
    name: str, labels: Sequence[str], *, purge: bool = False, store: Store | None = None
) -> ClassDropReport:
    """Leave classes out of the next version; the answers among the others stay as they are.

    name     what the context is called
    labels   of the classes
    purge    also take their photos out of every version, the candidate and the trash: this cannot be undone
    store    where contexts are kept; None: the store of PROMPTCTL_HOME
    """
    store = store or Store()
    if purge:
        return _purged(name, labels, store)
    return _report(edited_version(name, COMMAND, partial(_edit, labels=labels), store))


def _purged(name: str, labels: Sequence[str], store: Store) -> ClassDropReport:
    found = _purge_of(name, labels, store)
    here = _present(name, labels, store)
    made = edited_version(name, COMMAND, partial(_edit, labels=here), store) if here else None
    rewritten = len(found.carry_out(store))
    if made is None:
        return _report_of_purge(name, found, store, rewritten)
    # rewriting may have changed it, for its parent is called otherwise now
    again = replace(made.placed, entry=store.find(made.placed.entry.ref))
    made = replace(made, placed=again)
    return _report(made, rewritten=rewritten, elsewhere=found.elsewhere(store), photos=found.images)


def to_purge(name: str, labels: Sequence[str], *, store: Store | None = None) -> str:
    """What `drop --purge` would do, in words to ask with."""
    found = _purge_of(name, labels, store or Store())
    said = joined([f"'{label}'" for label in found.labels])
    files = number_of(len(found.files), "file")
    return (
        f"Purge {said} ({number_of(len(found.images), 'photo')}) from {files} of '{found.name}', "
        "its trash included? It cannot be undone."
    )


def _purge_of(name: str, labels: Sequence[str], store: Store) -> Purge:
    from promptctl.commands.purge import purge_of

    found = purge_of(whole_name(name, COMMAND), labels, store)
    here = _present(name, labels, store)
    if here:
        from promptctl.context.context import Context

        entry = store.find(Ref(name))
        _to_drop(Context.load(entry.path), str(entry.ref), here)  # refused before anything is asked
    return found


def _present(name: str, labels: Sequence[str], store: Store) -> tuple[str, ...]:
    """Those of the labels that the newest version knows; the others may be in older ones."""
    entry = store.find(Ref(whole_name(name, COMMAND)))
    assert entry.card is not None
    known = []
    for label in labels:
        try:
            class_meant(label, entry.card.classes, str(entry.ref))
        except ClassNotFound:
            continue
        known.append(label)
    return tuple(known)


def _edit(context: Context, ref: str, *, labels: Sequence[str]) -> tuple[Context, _Dropped]:
    import numpy as np

    gone = _to_drop(context, ref, labels)
    ids = {entry.id for entry in gone}
    photos = int(np.isin(context.shots.class_ids, list(ids)).sum())
    words = f"-{len(gone)} class{'' if len(gone) == 1 else 'es'} ({first_few([entry.label for entry in gone])})"
    dropped = edited.next_version(edited.without_classes(context, ids), context, Change(COMMAND, words))
    return dropped, _Dropped(gone, photos)


def _to_drop(context: Context, ref: str, labels: Sequence[str]) -> tuple[ClassEntry, ...]:
    """The classes that are meant, each once; TooFewClasses unless two stay."""
    classes = context.card.classes
    gone = tuple(dict.fromkeys(class_meant(label, classes, ref) for label in labels))
    if len(classes) - len(gone) < 2:
        raise TooFewClasses(ref, len(classes) - len(gone))
    return gone


def _report(
    made: Made[_Dropped],
    *,
    rewritten: int | None = None,
    elsewhere: tuple[HeldElsewhere, ...] = (),
    photos: Collection[bytes] = (),
) -> ClassDropReport:
    labels = tuple(entry.label for entry in made.facts.classes)
    gone = f"{joined([repr(label) for label in labels])} {'is' if len(labels) == 1 else 'are'} gone"
    purged = rewritten is not None
    sentence = f"{gone} with {number_of(made.facts.photos, 'photo')}" + (", from every version" if purged else "")
    facts = common_facts(made, sentence)
    if purged:
        facts["next"] = ("promptctl cache clear   (features of photos that were encoded here)",)
    return ClassDropReport(
        **facts,
        dropped=labels,
        photos=len(photos) if purged else made.facts.photos,
        purged=purged,
        rewritten=rewritten or 0,
        elsewhere=elsewhere,
    )


def _report_of_purge(name: str, found: Purge, store: Store, rewritten: int) -> ClassDropReport:
    """Of classes that the newest version had no more."""
    from promptctl.commands.storing import Placed
    from promptctl.context.context import Context

    entry = store.find(Ref(name))
    context = Context.load(entry.path)
    made = Made(entry, context, Placed(entry, context, False), None, _Dropped((), len(found.images)), 0.0)
    facts = common_facts(made, f"{joined([repr(label) for label in found.labels])} is gone from every version")
    facts["next"] = ("promptctl cache clear   (features of photos that were encoded here)",)
    return ClassDropReport(
        **facts,
        dropped=found.labels,
        photos=len(found.images),
        purged=True,
        rewritten=rewritten,
        elsewhere=found.elsewhere(store),
    )
