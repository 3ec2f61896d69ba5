"""Tagging: answers → keywords in the sidecars of photos. No photo is opened for writing, ever."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from promptctl import signals
from promptctl.errors import reason_of
from promptctl.sorting.carry import Carrier
from promptctl.sorting.plan import Keywords, Refused, Shown
from promptctl.sorting.sidecars import XmpNames, read_sidecar, regular_files
from promptctl.sorting.steps import write_step
from promptctl.sorting.xmp import BadSidecar, tagged
from promptctl.store.journal import Operation, Step

_BLOCK = 100  # sidecars that are written down together

NEW, MERGED, SAME, REMOVED, NONE = "new", "merged", "same", "removed", "none"  # what becomes of a sidecar

OnDone = Callable[[int], None]
Answered = tuple[Path, Shown]


@dataclass(frozen=True)
class Change:
    """What becomes of one sidecar."""

    photo: Path
    shown: Shown
    keyword: str | None
    sidecar: Path
    action: str  # NEW, MERGED, SAME, REMOVED or NONE
    step: Step | None = None  # None: nothing changes


@dataclass
class Tagged:
    """What has become of sidecars."""

    changes: list[Change] = field(default_factory=list)  # without their steps
    refused: list[Refused] = field(default_factory=list)  # sidecars that are left as they are
    operation: Operation | None = None  # None: nothing was to be changed
    full: str | None = None  # why it was stopped

    @property
    def changed(self) -> bool:
        return any(one.action in (NEW, MERGED, REMOVED) for one in self.changes)


class Library:
    """What lies beside photos, folder by folder."""

    def __init__(self, *, adobe: bool = False) -> None:
        self._adobe = adobe  # a raw photo without a sidecar gets one as Adobe's programs call it
        self._names: dict[Path, XmpNames] = {}

    def sidecars(self, photo: Path) -> list[Path]:
        """The sidecars of a photo, or where the one goes that it gets."""
        return [photo.parent / name for name in self._beside(photo).of(photo.name, adobe=self._adobe)]

    def paired(self, found: Sequence[Answered], refused: Sequence[Refused]) -> tuple[list[Answered], list[Refused]]:
        """Raw photos with the answer of the same picture that lies beside them in another form, readable or not."""
        shown = dict(found)
        of_lead = {path: shown.get(self._lead(path)) for path in (*shown, *(one.path for one in refused))}
        answered = [(path, of_lead[path] or own) for path, own in found]
        answered += [(one.path, lead) for one in refused if (lead := of_lead[one.path]) is not None]
        return answered, [one for one in refused if of_lead[one.path] is None]

    def _lead(self, photo: Path) -> Path:
        return photo.parent / (self._beside(photo).developed(photo.name) or "")

    def _beside(self, photo: Path) -> XmpNames:
        folder = photo.parent
        if folder not in self._names:
            self._names[folder] = XmpNames(_names_in(folder))
        return self._names[folder]


def _names_in(folder: Path) -> Sequence[str]:
    try:
        return regular_files(folder)
    except OSError:  # it can be entered, not listed
        return ()


def change_of(answered: Answered, sidecar: Path, keywords: Keywords, **more: Any) -> Change:
    """What a sidecar is to hold; BadSidecar, OSError"""
    photo, shown = answered
    tag = keywords.tag(shown)
    before, was_ns = read_sidecar(sidecar)
    after = tagged(before, tag)
    if after != before and before is not None and not _may_write(sidecar):
        raise BadSidecar("read-only, so it is not changed")
    if after == before:
        return Change(photo, shown, tag.keyword, sidecar, NONE if before is None or tag.keyword is None else SAME)
    action = NEW if before is None else REMOVED if after is None else MERGED
    step = write_step(sidecar, before, after, was_ns=was_ns, **more)
    return Change(photo, shown, tag.keyword, sidecar, action, step)


def _may_write(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o222) and os.access(path, os.W_OK)


def changes_of(found: Sequence[Answered], keywords: Keywords, library: Library) -> Iterator[Change | Refused]:
    """What becomes of every sidecar; each is read when it is its turn. A photo that has gone gets none."""
    for answered in found:
        if (reason := _not_there(answered[0])) is not None:
            yield Refused(answered[0], reason)
            continue
        for sidecar in library.sidecars(answered[0]):
            try:
                yield change_of(answered, sidecar, keywords)
            except BadSidecar as bad:
                yield Refused(sidecar, str(bad))
            except OSError as error:
                yield Refused(sidecar, reason_of(error))


def _not_there(photo: Path) -> str | None:
    try:
        return None if stat.S_ISREG(photo.stat().st_mode) else "not a file"
    except OSError as error:
        return reason_of(error)


def write_sidecars(
    changes: Iterator[Change | Refused], begin: Callable[[], Operation], on_done: OnDone | None = None
) -> Tagged:
    """Change sidecars, block by block, each written down before it is.

    begin     a new operation, asked for once there is something to change
    on_done   called with how many sidecars are done with
    """
    tagged, carrier = Tagged(), None
    with ExitStack() as stack:
        while block := list(islice(changes, _BLOCK)):
            tagged.refused += [one for one in block if isinstance(one, Refused)]
            those = [one for one in block if isinstance(one, Change)]
            if any(one.step for one in those):
                if tagged.operation is None:
                    tagged.operation = stack.enter_context(begin().carried())
                    carrier = Carrier(tagged.operation.head.token)
                assert carrier is not None
                those = _written(those, tagged, carrier)
            tagged.changes += [replace(one, step=None) for one in those]
            if on_done:
                on_done(len(tagged.changes) + len(tagged.refused))
    return tagged


def _written(changes: Sequence[Change], tagged: Tagged, carrier: Carrier) -> list[Change]:
    """The changes of a block that were made, or that there was nothing to make of."""
    operation = tagged.operation
    assert operation is not None
    signals.say(
        f"what was done is operation {operation.number}: the same command goes on, promptctl undo takes it back"
    )
    steps = [one.step for one in changes if one.step is not None]
    numbers = iter(operation.ahead(steps))
    numbered = [(one, None if one.step is None else next(numbers)) for one in changes]
    outcomes: dict[int, str | None] = {}
    try:
        carrier.carry([(n, one.step) for one, n in numbered if n is not None and one.step is not None], outcomes)
    finally:
        operation.told(outcomes)
    reasons = [(one, None if n is None else outcomes[n]) for one, n in numbered]
    tagged.refused += [Refused(one.sidecar, reason) for one, reason in reasons if reason is not None]
    tagged.full = carrier.full
    return [one for one, reason in reasons if reason is None]
