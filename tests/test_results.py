from __future__ import annotations

import json
import math
import os
import sqlite3

import pytest
from conftest import full_disk

from promptctl.benchmark import results
from promptctl.benchmark.results import Results

FACTS = {"learner": "coop", "shots": 4}


def rewrite(results_file, **columns):
    """Change columns of every row behind the table's back."""
    with sqlite3.connect(results_file) as db:
        for column, value in columns.items():
            db.execute(f"UPDATE results SET {column} = ?", (value,))
    db.close()


def test_numbers_come_back_to_the_last_bit():
    numbers = (2 / 3, math.pi * 1e3)
    with Results() as kept:
        assert kept.get("run", FACTS) is None
        kept.put("run", FACTS, numbers)
    with Results() as kept:
        assert kept.get("run", FACTS) == numbers
        assert kept.get("run", {**FACTS, "shots": 2}) is None
        assert kept.get("halves", FACTS) is None
        assert kept.get("run", dict(reversed(FACTS.items()))) == numbers


def test_many_facts_make_one_digest_whatever_their_order():
    assert results.digest([["a", 1], ["b", 2]]) == results.digest([["b", 2], ["a", 1]])
    assert results.digest([["a", 1], ["b", 2]]) != results.digest([["a", 2], ["b", 1]])


@pytest.mark.parametrize(
    "numbers",
    [
        *("[1.5, 1.0]", "[-0.5, 1.0]", "[NaN, 1.0]", "[0.5, Infinity]", "[0.5, -1.0]", "[0.5]", "[0.5, 1.0, 1.0]"),
        *("[true, 1.0]", '["0.5", 1.0]', "[0.5, null]", "{}", "0.5", "", "[0.5,", "[" * 100_000, None, b"\xff", 7),
    ],
)
def test_a_row_that_is_no_finite_fraction_is_not_believed(numbers):
    with Results() as kept:
        kept.put("run", FACTS, (0.5, 1.0))
        rewrite(kept.path, numbers=numbers, seal=results._seal(results._key("run", FACTS), numbers))
        assert kept.get("run", FACTS) is None
        kept.put("run", FACTS, (0.5, 1.0))
        assert kept.get("run", FACTS) == (0.5, 1.0)


def test_a_row_with_another_number_than_was_written_is_not_believed():
    with Results() as kept:
        kept.put("run", FACTS, (0.5, 1.0))
        rewrite(kept.path, numbers=json.dumps([0.75, 1.0]))
        assert kept.get("run", FACTS) is None


def test_a_row_of_other_facts_is_not_believed():
    with Results() as kept:
        kept.put("run", FACTS, (0.5, 1.0))
        rewrite(kept.path, key=results._key("run", {**FACTS, "shots": 2}))
        assert kept.get("run", {**FACTS, "shots": 2}) is None


def damage(path, how):
    if how == "a folder":
        path.mkdir()
    elif how == "a pipe":
        os.mkfifo(path)
    elif how == "another table":
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE results (key TEXT, number REAL)")
        db.close()
    else:
        path.write_bytes({"empty": b"", "no database": b"not a database at all" * 100}[how])


@pytest.mark.parametrize("how", ["empty", "no database", "another table", "a folder", "a pipe"])
def test_an_unreadable_table_is_an_empty_table(how, home):
    (home / "cache").mkdir(parents=True)
    damage(home / "cache" / "results.sqlite", how)
    with Results() as kept:
        assert kept.get("run", FACTS) is None
        kept.put("run", FACTS, (0.5, 1.0))
        usable = how not in ("a folder", "a pipe")
        assert kept.get("run", FACTS) == ((0.5, 1.0) if usable else None)
        assert kept.measured() == usable
        kept.clear()


def test_a_home_that_cannot_be_written_is_worked_without(home):
    home.write_text("a file where the folder should be")
    with Results() as kept:
        kept.put("run", FACTS, (0.5, 1.0))
        assert kept.get("run", FACTS) is None
        kept.clear()
        assert (kept.measured(), kept.n_bytes()) == (0, 0)


@pytest.mark.parametrize("size", [50, 4096, 5000])
def test_a_table_cut_off_loses_time_only(size):
    with Results() as kept:
        kept.put_all("run", [({**FACTS, "seed": seed}, (0.5, 1.0)) for seed in range(100)])
        path = kept.path
    with path.open("r+b") as file:
        file.truncate(size)
    with Results() as kept:
        assert {kept.get("run", {**FACTS, "seed": seed}) for seed in range(100)} <= {None, (0.5, 1.0)}
        kept.put("run", FACTS, (0.25, 1.0))
    with Results() as kept:
        kept.put("run", FACTS, (0.25, 1.0))
        assert kept.get("run", FACTS) == (0.25, 1.0)


@pytest.mark.parametrize("first", ["get", "put", "measured", "clear"])
def test_a_table_found_broken_in_use_is_started_again(first):
    with Results() as kept:
        kept.put_all("run", [({**FACTS, "seed": seed}, (0.5, 1.0)) for seed in range(100)])
        path = kept.path
    with sqlite3.connect(path) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE type = 'index'").fetchone()
    db.close()
    with path.open("r+b") as file:  # the index alone, so that opening finds nothing
        file.seek(4096 * (page - 1))
        file.write(b"\xff" * 4096)
    with Results() as kept:
        {
            "get": lambda: kept.get("run", {**FACTS, "seed": 1}),
            "put": lambda: kept.put("run", FACTS, (0.25, 1.0)),
            "measured": kept.measured,
            "clear": kept.clear,
        }[first]()
        kept.put("run", FACTS, (0.25, 1.0))
        kept.put("run", FACTS, (0.25, 1.0))
        assert kept.get("run", FACTS) == (0.25, 1.0)


def test_bytes_changed_anywhere_give_no_wrong_number():
    import random

    with Results() as kept:
        kept.put_all("run", [({**FACTS, "seed": seed}, (0.5, 1.0)) for seed in range(60)])
        path = kept.path
    whole, rng = path.read_bytes(), random.Random(1)
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(30):
            damaged[rng.randrange(100, len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with Results() as kept:
            assert {kept.get("run", {**FACTS, "seed": seed}) for seed in range(60)} <= {None, (0.5, 1.0)}
            kept.measured()
            kept.put("run", FACTS, (0.5, 1.0))


def test_clear_forgets_everything_and_the_lengths_are_not_counted():
    with Results() as kept:
        kept.put("run", FACTS, (0.5, 1.0))
        kept.put("length", FACTS, (27.5,))
        assert (kept.measured(), kept.get("length", FACTS)) == (1, (27.5,))
        kept.clear()
        assert (kept.measured(), kept.get("length", FACTS)) == (0, None)


@pytest.mark.parametrize(
    "more",
    [
        "CREATE TRIGGER t BEFORE INSERT ON results BEGIN SELECT RAISE(IGNORE); END",
        "ALTER TABLE results RENAME TO other; CREATE VIEW results AS SELECT * FROM other",
    ],
)
def test_a_table_that_takes_no_rows_is_started_again(more):
    with Results() as results:
        path = results.path
    db = sqlite3.connect(path)
    db.executescript(more)
    db.close()
    with Results() as results:
        results.put("share", {"a": 1}, (0.5,))
        assert results.get("share", {"a": 1}) == (0.5,)
        results.clear()


def test_a_table_on_a_full_disk_is_cleared_all_the_same():
    with Results() as results:
        results.put_all("share", [({"a": i}, (0.5,)) for i in range(500)])
        with full_disk():
            results.clear()
    with Results() as results:
        assert results.measured() == 0
