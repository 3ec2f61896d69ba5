"""Cache: image features and results that are kept so that no work is done twice."""

from __future__ import annotations

import contextlib

from promptctl.errors import StorageFailed
from promptctl.report import (
    CachedFeatures,
    CacheReport,
    ClearedReport,
)
from promptctl.store.store import Store


def cache_info(*, store: Store | None = None) -> CacheReport:
    """What the cache holds: image features, of which backbones, results, backbones to answer with, photos of tables."""
    from promptctl.benchmark.results import Results
    from promptctl.clip import kept as backbones
    from promptctl.data import unpacked
    from promptctl.encoding.cache import FeatureCache

    with FeatureCache() as cache:
        contents, keeps = cache.contents(), cache.keeps
    with Results() as results:
        measured, n_bytes = results.measured(), contents.n_bytes + results.n_bytes()
    answering, pictures = backbones.n_bytes(), unpacked.n_bytes()
    name_of: dict[str, str] = {}
    with contextlib.suppress(StorageFailed):  # no store to look the names up in
        cards = [entry.card for entry in (store or Store()).entries() if entry.card]
        name_of = {card.backbone.fingerprint: card.backbone.name for card in cards}
    kept = sorted(contents.features.items(), key=lambda item: -item[1])
    rows = tuple(CachedFeatures(name_of.get(fingerprint), fingerprint, count) for fingerprint, count in kept)
    return CacheReport(
        cache.path,
        keeps,
        n_bytes + answering + pictures,
        cache.limit_bytes,
        rows,
        measured,
        backbones.count(),
        answering,
        unpacked.count(),
        pictures,
    )


def clear_cache() -> ClearedReport:
    """Forget all features, results, kept backbones and unpacked photos; they are made again when they are needed."""
    from promptctl.benchmark.results import Results
    from promptctl.clip import kept as backbones
    from promptctl.data import unpacked
    from promptctl.encoding.cache import FeatureCache

    cache = FeatureCache()
    before = cache.contents()
    cache.clear()
    after = cache.contents()
    cache.close()
    with Results() as results:
        measured, n_bytes = results.measured(), results.n_bytes()
        results.clear()
        given_back = before.n_bytes - after.n_bytes + n_bytes - results.n_bytes()
    forgotten, pictures = backbones.count(), unpacked.count()
    others = backbones.n_bytes() + unpacked.n_bytes()
    backbones.clear()
    unpacked.clear()
    given_back += others - backbones.n_bytes() - unpacked.n_bytes()
    return ClearedReport(cache.path, sum(before.features.values()), given_back, measured, forgotten, pictures)
