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
    from promptctl.learners import unfinished

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
        n_bytes + answering + pictures + unfinished.n_bytes(),
        cache.limit_bytes,
        rows,
        measured,
        backbones.count(),
        answering,
        unpacked.count(),
        pictures,
        unfinished.count(),
        unfinished.n_bytes(),
    )


def clear_cache() -> ClearedReport:
    """Forget all features, results, kept backbones, unpacked photos and runs that were interrupted.

    All but the last are made again when they are needed; a run starts from the beginning.
    """
    from promptctl.benchmark.results import Results
    from promptctl.clip import kept as backbones
    from promptctl.data import unpacked
    from promptctl.encoding.cache import FeatureCache
    from promptctl.learners import unfinished

    cache = FeatureCache()
    before = cache.contents()
    cache.clear()
    after = cache.contents()
    cache.close()
    with Results() as results:
        measured, n_bytes = results.measured(), results.n_bytes()
        results.clear()
        given_back = before.n_bytes - after.n_bytes + n_bytes - results.n_bytes()
    forgotten, pictures, runs = backbones.count(), unpacked.count(), unfinished.count()
    others = (backbones, unpacked, unfinished)
    given_back += sum(one.n_bytes() for one in others)
    for one in others:
        one.clear()
    given_back -= sum(one.n_bytes() for one in others)
    return ClearedReport(cache.path, sum(before.features.values()), given_back, measured, forgotten, pictures, runs)
