from __future__ import annotations

import json
import sqlite3
import threading

import numpy as np
import pytest

from promptctl.cache import FeatureCache
from promptctl.errors import CacheBusy, InvalidSetting
from promptctl.homes import cache_home


def vectors(first: int, count: int = 100, width: int = 256) -> dict[str, np.ndarray]:
    return {f"fingerprint:upright:{i}": np.full(width, i, np.float32) for i in range(first, first + count)}


def test_what_is_put_comes_back_and_nothing_else():
    cache = FeatureCache()
    cache.put(vectors(0))
    np.testing.assert_array_equal(FeatureCache().get("fingerprint:upright:7"), np.full(256, 7, np.float32))
    assert cache.get("fingerprint:upright:100") is None
    assert cache.contents().features == {"fingerprint": 100}


def test_beyond_its_limit_the_oldest_features_go_first(tmp_path):
    cache = FeatureCache(tmp_path, limit_bytes=400_000)
    for first in range(0, 3000, 100):
        cache.put(vectors(first))
    cache.close()
    again = FeatureCache(tmp_path)
    assert again.get("fingerprint:upright:0") is None
    assert again.get("fingerprint:upright:2999") is not None
    assert again.path.stat().st_size < 700_000, "some 1.2 kB a feature, 3000 of them, were 3.6 MB"
    assert again.contents().features["fingerprint"] > 200


def test_several_writers_lose_nothing():
    caches = [FeatureCache() for _ in range(4)]
    threads = [
        threading.Thread(target=lambda i=i, cache=cache: [cache.put(vectors(1000 * i + j, 1)) for j in range(50)])
        for i, cache in enumerate(caches)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert caches[0].contents().features == {"fingerprint": 200}


def test_a_table_of_another_shape_is_an_empty_cache(tmp_path):
    with sqlite3.connect(tmp_path / "features.sqlite") as db:
        db.execute("CREATE TABLE features (key TEXT PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID")
    cache = FeatureCache(tmp_path)
    cache.put(vectors(0, 1))
    assert cache.get("fingerprint:upright:0") is not None


def test_a_cache_that_is_locked_for_long_is_done_without_and_left_alone(tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path)
    cache.put(vectors(0, 1))
    cache.close()
    holder = sqlite3.connect(cache.path)
    holder.execute("PRAGMA journal_mode=DELETE")
    holder.execute("BEGIN EXCLUSIVE")
    original = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: original(*a, **(k | {"timeout": 0.1})))
    without = FeatureCache(tmp_path)
    assert not without.keeps
    assert without.get("fingerprint:upright:0") is None
    holder.rollback()
    holder.close()
    assert FeatureCache(tmp_path).get("fingerprint:upright:0") is not None


def test_clearing_gives_the_disk_back():
    cache = FeatureCache()
    cache.put(vectors(0, 3000))
    before = cache.contents().n_bytes
    cache.clear()
    assert cache.contents().features == {}
    assert cache.contents().n_bytes < before / 50


def test_a_cache_somebody_is_writing_to_is_not_cleared(monkeypatch):
    cache = FeatureCache()
    cache.put(vectors(0, 2))
    cache._db.execute("PRAGMA busy_timeout=50")
    writer = sqlite3.connect(cache.path)
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(CacheBusy) as refused:
        cache.clear()
    assert str(refused.value) == f"{cache.path} is in use by another program"
    writer.rollback()
    cache.clear()


def test_the_limit_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("PROMPTCTL_CACHE_LIMIT", "50")
    assert FeatureCache().limit_bytes == 50_000_000
    monkeypatch.setenv("PROMPTCTL_CACHE_LIMIT", "much")
    with pytest.raises(InvalidSetting) as refused:
        FeatureCache()
    assert str(refused.value) == "PROMPTCTL_CACHE_LIMIT is 'much', a number of megabytes was expected"
    assert refused.value.hint == "export PROMPTCTL_CACHE_LIMIT=2000"


def test_cache_commands(cli, photos, tiny):
    cli("learn", photos, "--name", "colours", "--shots", "2", "--model", tiny, "--epochs", "1")
    said = json.loads(cli("cache", "info", "--json").out)
    assert [(row["backbone"], row["features"]) for row in said["backbones"]] == [(tiny, 18)]
    shown = cli("cache", "info")
    assert "18 image features in " in shown.out
    assert str(cache_home() / "features.sqlite") in shown.out.replace("\n", "")
    cleared = cli("cache", "clear")
    assert cleared.code == 0
    assert cleared.out.startswith("18 image features forgotten, ")
    assert json.loads(cli("cache", "info", "--json").out)["backbones"] == []
    assert cli("cache", "info", "--format", "csv").out == "backbone,fingerprint,features\n"


def test_where_nothing_can_be_written_there_is_no_cache(cli, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PROMPTCTL_HOME", str(tmp_path / "file" / "home"))
    done = cli("cache", "info")
    assert done.code == 0
    said = done.out.replace("\n", "")
    assert said.startswith("no cache, image features are computed every time: ")
    assert said.endswith("features.sqlite cannot be written")
    assert json.loads(cli("cache", "info", "--json").out)["keeps"] is False
