"""Check: that context files are whole and their backbones are here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from promptctl.commands.backbones import library_needed
from promptctl.commands.sources import is_file_reference, locate
from promptctl.context.card import BackboneId
from promptctl.errors import (
    BackboneError,
    BadContextFile,
    NotInStore,
    StorageFailed,
    WeightsUnavailable,
    reason_of,
)
from promptctl.report import (
    Checked,
    CheckReport,
)
from promptctl.store.refs import Ref
from promptctl.store.store import Store


def check(refs: Sequence[str] = (), *, everything: bool = False, store: Store | None = None) -> CheckReport:
    """Read contexts to the last bit, and look whether their backbones are here and the same.

    refs         names (all their versions, and the candidate), versions and files; none: the newest of every name
    everything   every version of every name, and the trash
    """
    store = store or Store()
    found = [_checked(name, path, fault) for name, path, fault in _to_check(refs, everything, store)]
    here = {row.backbone: _backbone_state(row.backbone) for row in found if row.backbone}
    return CheckReport(tuple(row.with_backbone(here[row.backbone]) if row.backbone else row for row in found))


def _to_check(refs: Sequence[str], everything: bool, store: Store) -> list[tuple[str, Path, str | None]]:
    """Names, files, and what is known already to be wrong with them."""
    if everything:
        return [(str(entry.ref), entry.path, entry.fault) for entry in store.every()] + _removed(store)
    if not refs:
        return [(str(entry.ref), entry.path, entry.fault) for entry in store.entries()]
    found: list[tuple[str, Path, str | None]] = []
    for ref in refs:
        if is_file_reference(ref) or not Ref.parse(ref).is_whole:
            source = locate(ref, store)
            found.append((source.name, source.path, None))
        else:
            candidate = store.candidate(ref)
            entries = (*store.versions(ref), *([candidate] if candidate else []))
            found += [(str(entry.ref), entry.path, entry.fault) for entry in entries]
    return found


def _removed(store: Store) -> list[tuple[str, Path, str | None]]:
    found: list[tuple[str, Path, str | None]] = []
    try:
        trash = store.trash()
    except StorageFailed as error:
        return [("the trash", store.home, str(error))]
    for removed in trash:
        if removed.fault:
            found.append((f"{removed.name} in the trash", removed.path, removed.fault))
        found += [(f"{ref} in the trash", removed.file(ref), None) for ref in removed.refs]
    return found


def _checked(name: str, path: Path, fault: str | None) -> Checked:
    from promptctl.context.context import Context

    if fault:
        return Checked(name, path, None, fault, None)
    try:
        context = Context.load(path)
    except (BadContextFile, NotInStore) as error:  # or it has gone this moment
        return Checked(name, path, None, str(error), None)
    except OSError as error:
        return Checked(name, path, None, f"{path} cannot be read: {reason_of(error)}", None)
    return Checked(name, path, context.card.backbone, None, None)


def _backbone_state(expected: BackboneId) -> str:
    """Whether a backbone is here, in words that start with "same", "other" or "not here"."""
    from promptctl.clip import kept

    if kept.find(expected.fingerprint):
        return "same"
    try:
        with library_needed(expected.name):
            found = _fingerprint_of(expected.name)
    except WeightsUnavailable:
        return "not here"
    except BackboneError as error:
        return f"not here: {error}"
    return "same" if found == expected.fingerprint else f"other weights ({found[:12]})"


def _fingerprint_of(name: str) -> str:
    """Of the backbone that is called so on this machine; what is kept of it says so without PyTorch."""
    from promptctl.clip import kept, registry

    here = registry.locate(name, fetch=False)
    known = kept.at(here.place)
    if known and known.id.name == here.name:
        return known.id.fingerprint
    from promptctl.clip.backbone import Backbone

    return Backbone(name, "cpu", fetch=False).id.fingerprint
