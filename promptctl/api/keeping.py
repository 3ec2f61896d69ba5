"""What is kept here: contexts, backbones, cached features."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from promptctl.errors import InvalidName
from promptctl.refs import Ref, check_name
from promptctl.report import (
    CachedFeatures,
    CacheReport,
    ClearedReport,
    ListReport,
    ModelRow,
    ModelsReport,
    MovedReport,
    PulledReport,
    ShowReport,
    StoredContext,
)
from promptctl.store import Entry, Store


def list_contexts(prefix: str = "", *, store: Store | None = None) -> ListReport:
    """Every context in the store, from file headers alone."""
    entries = (store or Store()).entries()
    return ListReport(tuple(_stored(entry) for entry in entries if entry.ref.name.startswith(prefix)), prefix)


def show(ref: str, *, store: Store | None = None) -> ShowReport:
    """What one stored context is, from its header alone."""
    store = store or Store()
    entry = store.find(Ref.parse(ref))
    versions = tuple(version.ref.version or 0 for version in store.versions(entry.ref.name))
    from promptctl.card import read_card

    return ShowReport(str(entry.ref), entry.path, entry.n_bytes, versions, read_card(entry.path))


def remove(name: str, *, store: Store | None = None) -> MovedReport:
    """Move a context with all its versions to the trash."""
    store = store or Store()
    entry = store.find(Ref(_whole_name(name, "remove")))
    trash = store.remove(name)
    sentence = f"'{entry.ref.name}' and all its versions are in the trash: {trash}"
    return MovedReport(entry.ref.name, trash, sentence, f"promptctl restore {entry.ref.name}   (to undo)")


def restore(name: str, *, store: Store | None = None) -> MovedReport:
    """Bring a removed context back from the trash."""
    entry = (store or Store()).restore(_whole_name(name, "restore"))
    return MovedReport(str(entry.ref), entry.path, f"{entry.ref} is back: {entry.path}", f"promptctl show {entry.ref}")


def list_models() -> ModelsReport:
    """The embedded backbone, those on this machine, and a few worth knowing."""
    from promptctl.models import MINI, RECOMMENDED, on_this_machine

    here = {MINI, *on_this_machine()}
    known = [
        ModelRow(r.name, r.name in here, r.joint_width, r.parameters, r.download_bytes, r.good_for) for r in RECOMMENDED
    ]
    others = sorted(here - {row.name for row in known})
    return ModelsReport((*known, *(ModelRow(name, True, None, None, None, None) for name in others)))


def pull_model(name: str) -> PulledReport:
    """Download a backbone's weights, unless they are here."""
    from promptctl.models import locate, refuse_if_hopeless

    refuse_if_hopeless(name)
    found = locate(name)
    return PulledReport(found.name, Path(found.pretrained or found.model.removeprefix("local-dir:")))


def cache_info(*, store: Store | None = None) -> CacheReport:
    """What the cache of image features holds, for which backbones."""
    from promptctl.cache import FeatureCache

    cache = FeatureCache()
    contents = cache.contents()
    cache.close()
    cards = [entry.card for entry in (store or Store()).entries() if entry.card]
    name_of = {card.backbone.fingerprint: card.backbone.name for card in cards}
    kept = sorted(contents.features.items(), key=lambda item: -item[1])
    rows = tuple(CachedFeatures(name_of.get(fingerprint), fingerprint, count) for fingerprint, count in kept)
    return CacheReport(cache.path, cache.keeps, contents.n_bytes, cache.limit_bytes, rows)


def clear_cache() -> ClearedReport:
    """Forget every image feature; they are computed again when they are needed."""
    from promptctl.cache import FeatureCache

    cache = FeatureCache()
    before = cache.contents()
    cache.clear()
    after = cache.contents()
    cache.close()
    return ClearedReport(cache.path, sum(before.features.values()), before.n_bytes - after.n_bytes)


def _whole_name(name: str, command: str) -> str:
    """The name; `remove` and `restore` take all its versions, so one with a version is refused."""
    bare, at, _ = name.partition("@")
    if at:
        raise InvalidName(name, f"{command} takes a name with all its versions", suggestion=bare)
    return check_name(name)


def _stored(entry: Entry) -> StoredContext:
    card = entry.card
    changed = datetime.fromtimestamp(entry.mtime_ns / 1e9, timezone.utc).isoformat(timespec="seconds")
    return StoredContext(
        name=entry.ref.name,
        version=entry.ref.version or 0,
        classes=len(card.classes) if card else None,
        shots=str(card.shots.asked or "all") if card and not card.is_imported else None,
        backbone=card.backbone.name if card else None,
        accuracy=card.score.accuracy if card and card.score else None,
        zero_shot_accuracy=card.score.zero_shot_accuracy if card and card.score else None,
        n_bytes=entry.n_bytes,
        changed=changed,
        fault=entry.fault,
    )
