"""Take back: what a change of the store did, undone by another change, which can be taken back too; nothing is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from promptctl.errors import CannotTakeBack, NotInStore
from promptctl.store.journal import Record, Step
from promptctl.store.refs import Ref
from promptctl.store.store import Entry, Removed, Store


@dataclass(frozen=True)
class TakenBack:
    """What became of one step."""

    sentence: str
    context: str  # birds@3


def is_of_store(record: Record) -> bool:
    """Whether an operation changed the store."""
    return any(step.get("do") in _WAYS for step in record.steps.values())


def take_back(store: Store, record: Record, *, is_last: Callable[[str], bool]) -> TakenBack | None:
    """Undo the change of an operation; None where it never came about.

    store     that takes back this operation, so that its changes are recorded as its undo
    is_last   whether no later change of a name is in force
    raises    CannotTakeBack, and what the changes of a store raise
    """
    if record.head.did_nothing:
        return None
    step = next(step for step in record.steps.values() if step.get("do") in _WAYS)
    taken = _WAYS[step["do"]](store, step, record.head.number, is_last)
    if taken is None and record.done:
        raise CannotTakeBack(record.head.number, f"what it made of '{step['name']}' is gone", "promptctl operations")
    return taken


_IsLast = Callable[[str], bool]


def _save(store: Store, step: Step, number: int, is_last: _IsLast) -> TakenBack | None:
    """The version before becomes the next one, since no number is used twice; the first of a name goes to the trash."""
    name = step["name"]
    found = _version_of(store, name, step["sha256"], step["version"])
    if found is None:
        return None
    earlier = [n for n in store.numbers(name) if n < (found.ref.version or 0)]
    if earlier:
        before, now = Ref(name, max(earlier)), store.restore(Ref(name, max(earlier)))
        later = "" if is_last(name) else f"; what {name} learned after {found.ref} is not in it"
        return TakenBack(f"{now.ref} is what {before} was, before {found.ref}{later}", str(now.ref))
    if not is_last(name):
        raise CannotTakeBack(
            number, f"{found.ref} is the first of its name, and later ones go on from it", f"promptctl remove {name}"
        )
    return _in_trash(store.remove(Ref(name)))


def _candidate(store: Store, step: Step, number: int, is_last: _IsLast) -> TakenBack | None:
    name = step["name"]
    if store.candidate(name) is None:
        return None
    _check_last(number, name, is_last)
    removed = store.remove(Ref(name, candidate=True))
    if not step.get("replaced"):
        return _in_trash(removed)
    back = store.bring_back(name, step["replaced"])
    return TakenBack(f"{back.ref} is the one before again, the other is in the trash: {removed.path}", str(back.ref))


def _copy(store: Store, step: Step, number: int, is_last: _IsLast) -> TakenBack | None:
    if not store.has(step["name"]):
        return None
    _check_last(number, step["name"], is_last)
    return _in_trash(store.remove(Ref(step["name"])))


def _rename(store: Store, step: Step, number: int, is_last: _IsLast) -> TakenBack | None:
    if not store.has(step["target"]):
        raise CannotTakeBack(number, f"there is no context '{step['target']}' any more", "promptctl list")
    _check_last(number, step["target"], is_last)
    back = store.rename(step["target"], step["name"])
    return TakenBack(f"'{step['target']}' is called '{step['name']}' again", str(back.ref))


def _remove(store: Store, step: Step, number: int, is_last: _IsLast) -> TakenBack | None:
    try:
        back = store.bring_back(step["name"], step["place"])
    except NotInStore as error:
        raise CannotTakeBack(number, f"{error}: gc may have taken it away", "promptctl list") from error
    return TakenBack(f"{back.ref} is back from the trash", str(back.ref))


def _bring_back(store: Store, step: Step, number: int, is_last: _IsLast) -> TakenBack | None:
    _check_last(number, step["name"], is_last)
    return _in_trash(store.remove(Ref.parse(step["ref"])))


def _purge(store: Store, step: Step, number: int, is_last: _IsLast) -> TakenBack | None:
    raise CannotTakeBack(number, "a purge leaves nothing to go back to", "promptctl operations")


def _check_last(number: int, name: str, is_last: _IsLast) -> None:
    """What a name holds now may be another thing than what an operation put there, or more than that."""
    if not is_last(name):
        raise CannotTakeBack(number, f"'{name}' was changed after it", "promptctl operations   (take that back first)")


def _in_trash(removed: Removed) -> TakenBack:
    return TakenBack(f"{', '.join(map(str, removed.refs))} is in the trash: {removed.path}", removed.name)


def _version_of(store: Store, name: str, sha256: str, version: int) -> Entry | None:
    """What was saved: under the number that was meant, or another where a lock held nobody back."""
    entries = store.versions(name) if store.has(name) else ()
    same = [entry for entry in entries if hashlib.sha256(entry.path.read_bytes()).hexdigest() == sha256]
    return next((entry for entry in same if entry.ref.version == version), same[-1] if same else None)


_WAYS: Mapping[str, Callable[[Store, Step, int, _IsLast], TakenBack | None]] = {
    "save": _save,
    "candidate": _candidate,
    "copy": _copy,
    "rename": _rename,
    "remove": _remove,
    "bring back": _bring_back,
    "purge": _purge,
}
