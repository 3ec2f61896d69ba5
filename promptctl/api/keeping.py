"""What is kept here beside contexts: backbones and cached features."""

from __future__ import annotations

import contextlib
from pathlib import Path

from promptctl.errors import StorageFailed
from promptctl.report import (
    CachedFeatures,
    CacheReport,
    ClearedReport,
    ModelRow,
    ModelsReport,
    PulledReport,
)
from promptctl.store import Store


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
    """What the cache holds: image features, of which backbones, and results."""
    from promptctl.cache import FeatureCache
    from promptctl.results import Results

    cache = FeatureCache()
    contents = cache.contents()
    cache.close()
    with Results() as results:
        measured, n_bytes = results.measured(), contents.n_bytes + results.n_bytes()
    name_of: dict[str, str] = {}
    with contextlib.suppress(StorageFailed):  # no store to look the names up in
        cards = [entry.card for entry in (store or Store()).entries() if entry.card]
        name_of = {card.backbone.fingerprint: card.backbone.name for card in cards}
    kept = sorted(contents.features.items(), key=lambda item: -item[1])
    rows = tuple(CachedFeatures(name_of.get(fingerprint), fingerprint, count) for fingerprint, count in kept)
    return CacheReport(cache.path, cache.keeps, n_bytes, cache.limit_bytes, rows, measured)


def clear_cache() -> ClearedReport:
    """Forget every image feature and every result; they are computed again when they are needed."""
    from promptctl.cache import FeatureCache
    from promptctl.results import Results

    cache = FeatureCache()
    before = cache.contents()
    cache.clear()
    after = cache.contents()
    cache.close()
    with Results() as results:
        measured, n_bytes = results.measured(), results.n_bytes()
        results.clear()
        given_back = before.n_bytes - after.n_bytes + n_bytes - results.n_bytes()
    return ClearedReport(cache.path, sum(before.features.values()), given_back, measured)
