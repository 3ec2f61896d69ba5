from __future__ import annotations

import json
import sqlite3
import threading

import numpy as np
import pytest
from conftest import full_disk

from promptctl.clip import keeping
from promptctl.clip.backbone import Backbone
from promptctl.encoding.cache import FeatureCache
from promptctl.errors import CacheBusy, InvalidSetting
from promptctl.paths import cache_home


def vector(i: int, width: int = 256) -> np.ndarray:
    row = np.random.default_rng(i).normal(size=width).astype(np.float32)
    return row / np.linalg.norm(row)


def vectors(first: int, count: int = 100) -> dict[str, np.ndarray]:
    return {f"fingerprint:upright:{i}": vector(i) for i in range(first, first + count)}


def test_what_is_put_comes_back_and_nothing_else():
    cache = FeatureCache()
    cache.put(vectors(0))
    np.testing.assert_array_equal(FeatureCache().get("fingerprint:upright:7", 256), vector(7))
    assert cache.get("fingerprint:upright:100", 256) is None
    assert cache.get("fingerprint:upright:7", 512) is None
    assert cache.get("fingerprint:upright:7", 128) is None
    assert cache.contents().features == {"fingerprint": 100}


def test_beyond_its_limit_the_oldest_features_go_first(tmp_path):
    cache = FeatureCache(tmp_path, limit_bytes=400_000)
    for first in range(0, 3000, 100):
        cache.put(vectors(first))
    cache.close()
    again = FeatureCache(tmp_path)
    assert again.get("fingerprint:upright:0", 256) is None
    assert again.get("fingerprint:upright:2999", 256) is not None
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


def test_a_decoder_that_still_asks_while_the_cache_is_closed_gets_no_answer():
    cache = FeatureCache()
    cache.put(vectors(0))
    asked, answers = threading.Event(), []

    def ask() -> None:
        while (found := cache.get("fingerprint:upright:7", 256)) is not None:
            asked.set()
        answers.append(found)

    decoders = [threading.Thread(target=ask) for _ in range(4)]
    for decoder in decoders:
        decoder.start()
    asked.wait(30)
    cache.close()  # SQLite ends the whole process where it is closed under a query
    for decoder in decoders:
        decoder.join(timeout=30)
    assert answers == [None] * 4 and not cache.keeps


def test_a_table_of_another_shape_is_an_empty_cache(tmp_path):
    with sqlite3.connect(tmp_path / "features.sqlite") as db:
        db.execute("CREATE TABLE features (key TEXT PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID")
    cache = FeatureCache(tmp_path)
    cache.put(vectors(0, 1))
    assert cache.get("fingerprint:upright:0", 256) is not None


KEY = "fingerprint:upright:0"


def written(cache: FeatureCache, statement: str, *values: object) -> FeatureCache:
    """The cache opened again after somebody else wrote into its database."""
    cache.close()
    with sqlite3.connect(cache.path) as db:
        db.execute(statement, values)
    db.close()
    return FeatureCache(cache.path.parent)


@pytest.mark.parametrize(
    "value",
    [
        "'text'",
        "printf('%.1028c', 'x')",
        "42",
        "1.5",
        "x''",
        "zeroblob(1028)",
        "zeroblob(1024)",
        "cast('x' as blob)",
        "substr(vector, 5)",  # one number short
        "substr(vector, 1, 1024)",  # as it was once written
        "substr(vector, 1, 500) || x'0000803f' || substr(vector, 505)",  # one number changed
        "substr(vector, 1, 500) || x'0000c07f' || substr(vector, 505)",  # not a number
        "cast(vector as text)",
        "(SELECT vector FROM features WHERE key = 'fingerprint:upright:1')",  # the answer to another question
    ],
)
def test_a_row_that_is_not_what_was_put_there_is_no_row(tmp_path, value):
    cache = FeatureCache(tmp_path)
    cache.put(vectors(0, 2))
    again = written(cache, f"UPDATE features SET vector = {value} WHERE key = ?", KEY)
    assert again.get(KEY, 256) is None
    np.testing.assert_array_equal(again.get("fingerprint:upright:1", 256), vector(1))
    again.put(vectors(0, 1))
    np.testing.assert_array_equal(again.get(KEY, 256), vector(0))


@pytest.mark.parametrize("wrong", [np.zeros(256), np.full(256, np.nan), np.full(256, np.inf), np.full(256, 0.2)])
def test_a_vector_of_another_length_than_one_is_not_believed_either(tmp_path, wrong):
    cache = FeatureCache(tmp_path)
    cache.put({KEY: wrong.astype(np.float32)})
    assert cache.get(KEY, 256) is None


def test_what_others_wrote_beside_features_is_neither_counted_nor_in_the_way(tmp_path):
    cache = FeatureCache(tmp_path, limit_bytes=200_000)
    cache.put(vectors(0, 3))
    for key in ("17", "x'00ff'", "NULL", "'no colon'", "cast(x'ff3a' as text)", "':starts with one'"):
        cache = written(cache, f"INSERT INTO features VALUES ({key}, 'text')")
    cache = written(cache, "INSERT INTO features (rowid, key, vector) VALUES (9223372036854775807, 'a:b', x'00')")
    assert cache.contents().features == {"a": 1, "fingerprint": 3}
    small = FeatureCache(tmp_path, limit_bytes=100_000)
    for first in range(0, 1000, 100):
        small.put(vectors(first))
    assert small.get("fingerprint:upright:999", 256) is not None
    small.clear()
    assert small.contents().features == {}


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE features (key TEXT PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID",
        "CREATE TABLE features (key TEXT)",
        "CREATE TABLE features (vector BLOB NOT NULL, key TEXT PRIMARY KEY)",
        "CREATE TABLE features (key TEXT PRIMARY KEY, vector BLOB NOT NULL, more TEXT NOT NULL)",
        "CREATE VIEW features AS SELECT 'a:b' AS key, x'00' AS vector",
        "CREATE TABLE something_else (x)",
    ],
)
def test_a_database_of_another_shape_is_an_empty_cache(tmp_path, statement):
    with sqlite3.connect(tmp_path / "features.sqlite") as db:
        db.execute(statement)
    db.close()
    cache = FeatureCache(tmp_path)
    assert cache.contents().features == {}
    cache.put(vectors(0, 1))
    np.testing.assert_array_equal(cache.get(KEY, 256), vector(0))


def test_a_trigger_that_keeps_rows_away_is_gone_with_the_rest(tmp_path):
    cache = FeatureCache(tmp_path)
    trigger = "CREATE TRIGGER t BEFORE INSERT ON features BEGIN SELECT RAISE(IGNORE); END"
    again = written(cache, trigger)
    again.put(vectors(0, 1))
    assert again.get(KEY, 256) is not None


def test_a_page_damaged_in_the_middle_gives_no_traceback_and_no_wrong_answer(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.put(vectors(0, 300))
    cache.close()
    whole = cache.path.read_bytes()
    rng = np.random.default_rng(0)
    for page in range(1, len(whole) // 4096, 9):
        damaged = bytearray(whole)
        damaged[4096 * page : 4096 * page + 4096] = rng.bytes(4096)
        cache.path.write_bytes(damaged)
        again = FeatureCache(tmp_path)
        for i in range(0, 300, 7):
            found = again.get(f"fingerprint:upright:{i}", 256)
            assert found is None or (found == vector(i)).all()
        again.contents()
        again.put(vectors(300, 50))
        again.put(vectors(300, 50))
        np.testing.assert_array_equal(again.get("fingerprint:upright:349", 256), vector(349))
        again.clear()
        assert again.contents().features == {}
        again.close()


def test_where_a_folder_has_the_databases_name_there_is_no_cache(tmp_path):
    (tmp_path / "features.sqlite" / "inside").mkdir(parents=True)
    cache = FeatureCache(tmp_path)
    assert not cache.keeps
    assert cache.get(KEY, 256) is None
    cache.put(vectors(0, 1))
    cache.clear()
    assert (cache.contents().n_bytes, cache.contents().features) == (0, {})
    assert (tmp_path / "features.sqlite" / "inside").is_dir()


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
    assert without.get("fingerprint:upright:0", 256) is None
    holder.rollback()
    holder.close()
    assert FeatureCache(tmp_path).get("fingerprint:upright:0", 256) is not None


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
    keeping.keep(Backbone(tiny, "cpu"))
    said = json.loads(cli("cache", "info", "--json").out)
    assert said["kept"] == 1
    assert said["kept_bytes"] == sum(path.stat().st_size for path in cache_home().glob("backbones/*")) > 100_000
    assert [(row["backbone"], row["features"]) for row in said["backbones"]] == [(tiny, 18)]
    shown = cli("cache", "info")
    assert "18 image features take " in shown.out
    assert "\n1 backbone kept in 2" in shown.out
    assert str(cache_home() / "features.sqlite") in shown.out.replace("\n", "")
    cleared = cli("cache", "clear")
    assert cleared.code == 0
    assert cleared.out.startswith("18 image features deleted, ")
    assert "\n1 backbone kept no more; " in cleared.out
    said = json.loads(cli("cache", "info", "--json").out)
    assert (said["backbones"], said["kept"], said["kept_bytes"]) == ([], 0, 0)
    assert not list(cache_home().glob("backbones/*"))
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


def test_a_cache_on_a_full_disk_is_cleared_all_the_same():
    cache = FeatureCache()
    cache.put(vectors(0, 300))
    with full_disk():
        cache.clear()
    assert not cache.path.exists() or cache.path.stat().st_size < 50_000
    again = FeatureCache()
    assert again.contents().features == {}
    again.put(vectors(0, 1))
    assert again.get(KEY, 256) is not None


def test_what_keeps_a_cache_from_being_cleared_is_said(monkeypatch):
    cache = FeatureCache()
    cache.put(vectors(0, 2))
    cache._db.execute("PRAGMA query_only=ON")
    with pytest.raises(CacheBusy) as refused:
        cache.clear()
    assert str(refused.value) == f"{cache.path} cannot be emptied: attempt to write a readonly database"
    assert refused.value.hint == f"rm {cache.path}*"
