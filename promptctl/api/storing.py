"""The store's own verbs: what is in it, where it came from, moving it about, checking it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptctl import history
from promptctl.api.common import is_file_reference, locate
from promptctl.card import BackboneId, Card
from promptctl.errors import (
    BackboneError,
    BadContextFile,
    InvalidName,
    StorageFailed,
    UnknownSort,
    WeightsUnavailable,
    reason_of,
)
from promptctl.refs import Ref
from promptctl.report import (
    Checked,
    CheckReport,
    ClassDiff,
    DiffReport,
    GoneReport,
    ListReport,
    LogReport,
    MovedReport,
    PathReport,
    RemovedContext,
    ShowReport,
    StoredContext,
    TrashReport,
    VectorDrift,
    VersionRow,
)
from promptctl.report.words import size
from promptctl.store import SUFFIX, TRASH_DAYS, Entry, Leftover, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from promptctl.context import Context

SORTS = ("name", "changed", "accuracy", "classes", "size")


def list_contexts(prefix: str = "", *, sort: str = "name", store: Store | None = None) -> ListReport:
    """Every context in the store, from file headers alone; the newest, largest and best first where sorted so."""
    if sort not in SORTS:
        raise UnknownSort(sort, SORTS)
    entries = [e for e in (store or Store()).entries() if e.ref.name.casefold().startswith(prefix.casefold())]
    rows = [_stored(entry) for entry in entries]
    if sort != "name":
        key = {"size": "n_bytes"}.get(sort, sort)
        rows.sort(key=lambda row: (getattr(row, key) is not None, getattr(row, key) or 0), reverse=True)
    return ListReport(tuple(rows), prefix)


def list_trash(prefix: str = "", *, store: Store | None = None) -> TrashReport:
    """What was removed and can be restored, the newest first."""
    store = store or Store()
    removed = [
        RemovedContext(r.name, r.versions, r.n_bytes, r.when.isoformat(timespec="seconds"), r.path)
        for r in store.trash()
        if r.versions and r.name.casefold().startswith(prefix.casefold())
    ]
    return TrashReport(tuple(removed), prefix)


def show(ref: str, *, store: Store | None = None) -> ShowReport:
    """What one context is, from its header alone."""
    from promptctl.card import read_card

    store = store or Store()
    source = locate(ref, store)
    versions: tuple[int, ...] = ()
    if not is_file_reference(ref):
        versions = store.numbers(Ref.parse(ref).name)
    return ShowReport(source.name, source.path, source.path.stat().st_size, versions, read_card(source.path))


def log(name: str, *, store: Store | None = None) -> LogReport:
    """The versions of a context, the newest first: when, what changed, how good."""
    entries = (store or Store()).versions(_whole_name(name, "log"))
    number_of: dict[str, int] = {}
    rows: list[VersionRow] = []
    before: Card | None = None
    for entry in entries:
        rows.append(_version(entry, before, number_of))
        if entry.card:
            number_of.setdefault(entry.card.sha256, entry.ref.version or 0)
            before = entry.card
    return LogReport(entries[0].ref.name, tuple(reversed(rows)))


def diff(a: str, b: str, *, store: Store | None = None) -> DiffReport:
    """How context b differs from a: classes, settings, accuracy on the shots both carry, text features, vectors."""
    store = store or Store()
    old, new = locate(a, store), locate(b, store)
    before, after = old.load(), new.load()
    classes = history.class_changes(before.card, after.card)
    same_model = before.card.backbone.fingerprint == after.card.backbone.fingerprint
    return DiffReport(
        before=old.name,
        after=new.name,
        added=classes.added,
        removed=classes.removed,
        renamed=classes.renamed,
        settings=history.setting_changes(before.card, after.card),
        same_backbone=same_model,
        classes=_class_diffs(before, after) if same_model else (),
        vectors=_drift(before, after) if same_model else (),
    )


def copy(source: str, name: str, *, store: Store | None = None) -> MovedReport:
    """A context under another name as well: all its versions, or the one that is named."""
    ref = Ref.parse(source)
    entry = (store or Store()).copy(ref, name)
    what = f"{ref} is" if ref.version else f"'{ref}' and all its versions are"
    return MovedReport(
        str(entry.ref), entry.path, f"{what} now '{entry.ref.name}' as well", f"promptctl show {entry.ref.name}"
    )


def rename(name: str, target: str, *, store: Store | None = None) -> MovedReport:
    """Call a context with all its versions something else."""
    store = store or Store()
    before = store.find(Ref(_whole_name(name, "rename"))).ref.name
    entry = store.rename(before, target)
    undo = f"promptctl rename {target} {before}   (to undo)"
    return MovedReport(str(entry.ref), entry.path, f"'{before}' is now '{entry.ref.name}'", undo)


def remove(ref: str, *, store: Store | None = None) -> MovedReport:
    """Move a context with all its versions to the trash, or one version of it."""
    wanted = Ref.parse(ref)
    removed = (store or Store()).remove(wanted)
    what = (
        f"{removed.name}@{removed.versions[0]} is" if wanted.version else f"'{removed.name}' and all its versions are"
    )
    undo = f"promptctl restore {removed.name}{f'@{wanted.version}' if wanted.version else ''}   (to undo)"
    return MovedReport(removed.name, removed.path, f"{what} in the trash: {removed.path}", undo)


def to_remove(ref: str, *, store: Store | None = None) -> str:
    """What `remove` would take away, in words to ask with."""
    store = store or Store()
    wanted = Ref.parse(ref)
    entry = store.find(wanted)
    if wanted.version:
        return f"{entry.ref} ({size(entry.n_bytes)})"
    versions = store.versions(wanted.name)
    count = f"{len(versions)} version{'' if len(versions) == 1 else 's'}"
    return f"'{entry.ref.name}' ({count}, {size(sum(version.n_bytes for version in versions))})"


def restore(ref: str, *, store: Store | None = None) -> MovedReport:
    """Make an old version the newest, or bring back what was removed."""
    store = store or Store()
    wanted = Ref.parse(ref)
    entry = store.restore(wanted)
    again = wanted.version and entry.ref.version != wanted.version
    sentence = f"{entry.ref} is {wanted} again: {entry.path}" if again else f"{entry.ref} is back: {entry.path}"
    return MovedReport(str(entry.ref), entry.path, sentence, f"promptctl show {entry.ref}")


def check(refs: Sequence[str] = (), *, everything: bool = False, store: Store | None = None) -> CheckReport:
    """Read contexts to the last bit, and look whether their backbones are here and the same.

    refs         names (all their versions), versions and files; none: the newest version of every name
    everything   every version of every name, and what lies in the trash
    """
    store = store or Store()
    found = [_checked(name, path, fault) for name, path, fault in _to_check(refs, everything, store)]
    here = {row.backbone: _backbone_state(row.backbone) for row in found if row.backbone}
    return CheckReport(tuple(row.with_backbone(here[row.backbone]) if row.backbone else row for row in found))


def gc(*, days: float = TRASH_DAYS, dry_run: bool = False, store: Store | None = None) -> GoneReport:
    """Take away for good what an interrupted program left behind, and what lay in the trash for some days."""
    store = store or Store()
    gone = store.leftovers(days) if dry_run else store.gc(days)
    return GoneReport(tuple((item.path, item.what, item.n_bytes) for item in gone), dry_run, store.home)


def trash_to_empty(days: float, *, store: Store | None = None) -> tuple[Leftover, ...]:
    """What `gc` would take out of the trash and nobody could bring back."""
    return tuple(item for item in (store or Store()).leftovers(days) if item.what.startswith("removed"))


def path(ref: str | None = None, *, store: Store | None = None) -> PathReport:
    """Where the store is, or the file of a context."""
    store = store or Store()
    return PathReport(locate(ref, store).path if ref else store.home)


# --------------------------------------------------------------------------- inside


def _whole_name(text: str, command: str) -> str:
    ref = Ref.parse(text)
    if ref.version:
        raise InvalidName(text, f"{command} takes a name with all its versions", suggestion=ref.name)
    return ref.name


def _stored(entry: Entry) -> StoredContext:
    return StoredContext(
        name=entry.ref.name,
        backbone=entry.card.backbone.name if entry.card else None,
        changed=_when(entry),
        **_facts(entry),
    )


def _version(entry: Entry, before: Card | None, number_of: dict[str, int]) -> VersionRow:
    card = entry.card
    parent = card.parent if card else None
    return VersionRow(
        when=_when(entry),
        change=history.change(before, card, number_of) if card else "",
        parent=None if parent is None else f"@{number_of[parent]}" if parent in number_of else parent[:12],
        sha256=card.sha256 if card else None,
        **_facts(entry),
    )


def _facts(entry: Entry) -> dict[str, Any]:
    """What a line of `list` and one of `log` both say of a version."""
    card = entry.card
    score = card.score if card else None
    return {
        "version": entry.ref.version or 0,
        "classes": len(card.classes) if card else None,
        "shots": str(card.shots.asked or "all") if card and not card.is_imported else None,
        "accuracy": score.accuracy if score else None,
        "zero_shot_accuracy": score.zero_shot_accuracy if score else None,
        "n_bytes": entry.n_bytes,
        "fault": entry.fault,
    }


def _when(entry: Entry) -> str:
    return datetime.fromtimestamp(entry.mtime_ns / 1e9, timezone.utc).isoformat(timespec="seconds")


def _to_check(refs: Sequence[str], everything: bool, store: Store) -> list[tuple[str, Path, str | None]]:
    """Names, files, and what is known already to be wrong with them."""
    if everything:
        return [(str(entry.ref), entry.path, entry.fault) for entry in store.every()] + _removed(store)
    if not refs:
        return [(str(entry.ref), entry.path, entry.fault) for entry in store.entries()]
    found: list[tuple[str, Path, str | None]] = []
    for ref in refs:
        if is_file_reference(ref) or Ref.parse(ref).version:
            source = locate(ref, store)
            found.append((source.name, source.path, None))
        else:
            found += [(str(entry.ref), entry.path, entry.fault) for entry in store.versions(ref)]
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
        for number in removed.versions:
            found.append((f"{removed.name}@{number} in the trash", removed.path / f"{number}{SUFFIX}", None))
    return found


def _checked(name: str, path: Path, fault: str | None) -> Checked:
    from promptctl.context import Context

    if fault:
        return Checked(name, path, None, fault, None)
    try:
        context = Context.load(path)
    except BadContextFile as error:
        return Checked(name, path, None, str(error), None)
    except OSError as error:
        return Checked(name, path, None, f"{path} cannot be read: {reason_of(error)}", None)
    return Checked(name, path, context.card.backbone, None, None)


def _backbone_state(wanted: BackboneId) -> str:
    """Whether a backbone is here, in words that start with "same", "other" or "not here"."""
    from promptctl.models import refuse_if_hopeless

    try:
        refuse_if_hopeless(wanted.name, fetch=False)
        from promptctl.backbone import Backbone

        found = Backbone(wanted.name, "cpu", fetch=False).id
    except WeightsUnavailable:
        return "not here"
    except BackboneError as error:
        return f"not here: {error}"
    return "same" if found.fingerprint == wanted.fingerprint else f"other weights ({found.fingerprint[:12]})"


def _class_diffs(before: Context, after: Context) -> tuple[ClassDiff, ...]:
    """For every class of either: how many of its shots either gets right, and how alike its text features are."""
    import numpy as np

    x, labels = _all_shots(before, after)
    rows = []
    right = [_right(context, x, labels) for context in (before, after)]
    places = [{label: i for i, label in enumerate(context.card.labels)} for context in (before, after)]
    for label in sorted({*before.card.labels, *after.card.labels}):
        mine = np.array([found == label for found in labels], dtype=bool)
        old, new = (
            float(of[mine].mean()) if label in place and mine.any() else None
            for of, place in zip(right, places, strict=True)
        )
        alike = None
        if label in places[0] and label in places[1]:
            pair = (before.text_features[places[0][label]], after.text_features[places[1][label]])
            alike = float(pair[0] @ pair[1])
        rows.append(ClassDiff(label, int(mine.sum()), old, new, alike))
    return tuple(rows)


def _all_shots(before: Context, after: Context) -> tuple[NDArray[np.float32], list[str]]:
    """(N, E) unit rows and labels of the images either carries, each once a class."""
    import numpy as np

    seen: dict[tuple[str, bytes], NDArray[np.float32]] = {}
    for context in (before, after):
        label_of = {entry.id: entry.label for entry in context.card.classes}
        for row, id, sha in zip(context.shots.features, context.shots.class_ids, context.shots.sha256, strict=True):
            if int(id) in label_of:
                seen.setdefault((label_of[int(id)], sha.tobytes()), row.astype(np.float32))
    width = before.card.backbone.joint_width
    return np.array(list(seen.values()), np.float32).reshape(-1, width), [label for label, _ in seen]


def _right(context: Context, x: NDArray[np.float32], labels: Sequence[str]) -> NDArray[np.bool_]:
    """(N,) whether the context gives each image its label."""
    import numpy as np

    names = context.card.labels
    best = (x @ context.text_features.T).argmax(1)
    return np.array([names[i] == label for i, label in zip(best, labels, strict=True)], dtype=bool)


def _drift(before: Context, after: Context) -> tuple[VectorDrift, ...]:
    """How far each vector has moved, where both have the same number of them of one kind."""
    import numpy as np

    if before.vectors.ndim != after.vectors.ndim or before.vectors.shape[-2:] != after.vectors.shape[-2:]:
        return ()
    pairs: list[tuple[str | None, NDArray[np.float32], NDArray[np.float32]]]
    if before.vectors.ndim == 2:
        pairs = [(None, before.vectors, after.vectors)]
    else:
        old, new = (dict(zip(c.card.labels, c.vectors, strict=True)) for c in (before, after))
        pairs = [(label, old[label], new[label]) for label in new if label in old]
    rows = []
    for label, a, b in pairs:
        for number, (u, v) in enumerate(zip(a, b, strict=True), 1):
            lengths = float(np.linalg.norm(u) * np.linalg.norm(v))
            cosine = float(u @ v) / lengths if lengths else 0.0
            rows.append(VectorDrift(label, number, float(np.linalg.norm(u - v)), cosine))
    return tuple(rows)
