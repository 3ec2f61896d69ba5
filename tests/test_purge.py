"""Rewriting what a name holds: the one operation after which an old version is not what it was."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from faults import killed_at, leftovers, watched
from test_context import make

from promptctl.context.card import read_card
from promptctl.context.context import Context
from promptctl.errors import ContextNotFound, CorruptContext, StorageFailed
from promptctl.store import files
from promptctl.store.refs import Ref
from promptctl.store.store import Store

OTHERS = ("finches", "plants")  # names that nobody purges


def context(seed: int, parent: bytes | None = None, *, shots: int = 6, purged: bool = False) -> Context:
    """A version with features of class 0, which are to go, in the first row and the fourth."""
    made = make(shots=shots)
    method = dataclasses.replace(made.card.method, seed=seed)
    sha256 = Context.from_bytes(parent, "parent").card.sha256 if parent else None
    made = dataclasses.replace(made, card=dataclasses.replace(made.card, method=method, parent=sha256))
    return without_class_0(made) if purged else made


def without_class_0(old: Context) -> Context:
    keep = old.shots.class_ids != 0
    columns = {field.name: getattr(old.shots, field.name) for field in dataclasses.fields(old.shots)}
    shots = {name: column if column is None else column[keep] for name, column in columns.items()}
    counted = dataclasses.replace(old.card.shots, train=int(keep.sum()))
    return dataclasses.replace(
        old, card=dataclasses.replace(old.card, shots=counted), shots=dataclasses.replace(old.shots, **shots)
    )


def purge(data: bytes, new_of) -> bytes:
    """What `class drop --purge` does to a version."""
    old = Context.from_bytes(data, "old")
    parent = old.card.parent and new_of.get(old.card.parent, old.card.parent)
    if parent == old.card.parent and not (old.shots.class_ids == 0).any():
        return data
    return dataclasses.replace(
        without_class_0(old), card=dataclasses.replace(without_class_0(old).card, parent=parent)
    ).to_bytes()


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """birds@3 from @2, which is in the trash, from @1; @4 a copy of @1; @5 without the class; a candidate from @3.

    In the trash an older candidate; beside it all a copy, another name and three unfinished files.
    """
    home = tmp_path_factory.mktemp("original") / "home"
    store = Store(home)
    first = context(1).to_bytes()
    second = context(2, first).to_bytes()
    third = context(3, second).to_bytes()
    for data in (first, second, third, first, context(5, purged=True).to_bytes()):
        store.save("birds", data, new=False)
    store.remove(Ref("birds", 2))
    for seed in (7, 8):
        store.save_candidate("birds", context(seed, third).to_bytes())
    store.copy(Ref("birds", 1), "finches")
    store.save("plants", context(4).to_bytes(), new=True)
    for number, path in enumerate(sorted(home.rglob("*.safetensors"))):
        os.utime(path, ns=(10**18 + number, 10**18 + number))
    for parent in ("contexts", "trash"):
        part = files.part_of(home / parent)
        part.mkdir()
        (part / "1.safetensors").write_bytes(first)
    return home


@pytest.fixture
def fresh(original, tmp_path):
    """Make a copy of it as often as one likes."""

    def copy() -> Path:
        home = tmp_path / "home"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(original, home)
        # as a save leaves it that is killed when its file has a name and the unfinished one is still there
        os.link(home / "contexts" / "birds" / "1.safetensors", files.part_of(home / "contexts" / "birds"))
        return home

    return copy


def contents(home: Path) -> dict[str, bytes]:
    """Every file that a name leads to, of the trash too."""
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*.safetensors") if part_free(path)}


def part_free(path: Path) -> bool:
    return not any(files.is_part(folder) for folder in (path, *path.parents))


def secrets_in(home: Path) -> set[str]:
    """The files, of whatever name, with a feature of the class that was to go."""
    features = make().shots.features
    rows = [features[i].tobytes() for i in np.flatnonzero(make().shots.class_ids == 0)]
    assert len(rows) == 2
    every = [path for path in home.rglob("*") if path.is_file()]
    return {str(path.relative_to(home)) for path in every if any(row in path.read_bytes() for row in rows)}


def chained(home: Path) -> None:
    """Every parent is here, and every file intact."""
    cards = [Context.load(home / name).card for name in contents(home) if not name.startswith("contexts/finches")]
    assert {card.parent for card in cards} - {None} <= {card.sha256 for card in cards}


def of_others(names) -> set[str]:
    return {name for name in names if name.split("/")[1] in OTHERS}


@pytest.fixture
def wanted(fresh) -> dict[str, bytes]:
    home = fresh()
    Store(home).rewrite("birds", purge)
    return contents(home)


def test_nothing_of_the_class_is_left_in_any_file_of_the_name(fresh):
    home = fresh()
    before, secret = contents(home), secrets_in(home)
    assert len(secret) == 11, "six of the name, two of others, three unfinished"
    rewritten = Store(home).rewrite("BIRDS", purge)
    after = contents(home)
    assert secrets_in(home) == of_others(before)
    assert leftovers(home) == []
    changed = {name for name in before if before[name] != after[name]}
    assert {str(path.relative_to(home)) for path in rewritten} == changed == secret & before.keys() - of_others(before)
    assert "contexts/birds/5.safetensors" in before.keys() - changed, "which had nothing to lose"
    assert Context.from_bytes(after["contexts/birds/3.safetensors"], "3").shots.class_ids.tolist() == [1, 2, 1, 2]


def test_every_version_names_the_parent_it_had_in_its_new_form(fresh, wanted):
    home = fresh()
    chained(home)
    Store(home).rewrite("birds", purge)
    chained(home)
    card = {number: read_card(home / f"contexts/birds/{number}.safetensors") for number in (1, 3, 4, "candidate")}
    (second,) = home.glob("trash/birds@*/2.safetensors")
    assert card[1] == card[4]
    assert read_card(second).parent == card[1].sha256
    assert (card[3].parent, card["candidate"].parent) == (read_card(second).sha256, card[3].sha256)


def test_a_version_keeps_its_time_and_mode(fresh):
    home = fresh()
    path = home / "contexts" / "birds" / "1.safetensors"
    path.chmod(0o640)
    before = {name: (home / name).stat() for name in contents(home)}
    Store(home).rewrite("birds", purge)
    for name, stat in before.items():
        now = (home / name).stat()
        assert (now.st_mtime_ns, now.st_mode) == (stat.st_mtime_ns, stat.st_mode), name
        assert now.st_nlink == 1, name


def test_again_it_changes_nothing(fresh, wanted):
    home = fresh()
    Store(home).rewrite("birds", purge)
    inodes = {name: (home / name).stat().st_ino for name in contents(home)}
    assert Store(home).rewrite("birds", purge) == ()
    assert {name: (home / name).stat().st_ino for name in contents(home)} == inodes


def test_killed_at_any_point_the_same_rewriting_finishes(fresh, wanted):
    before, point, halves = contents(fresh()), 1, 0
    while True:
        home = fresh()
        killed = killed_at(home, lambda store: store.rewrite("birds", purge), point)
        if killed is None:
            break
        found = contents(home)
        assert found.keys() == before.keys(), killed
        assert all(data in (before[name], wanted[name]) for name, data in found.items()), killed
        halves += found not in (before, wanted)
        Store(home).rewrite("birds", purge)
        assert contents(home) == wanted, killed
        assert secrets_in(home) == of_others(before), killed
        assert leftovers(home) == [], killed
        point += 3  # before a call, after the next one, and so on
    assert point > 80
    assert halves > 5, "it was killed between two files"


def test_a_disk_that_fails_at_any_point_is_one_sentence_and_the_same_rewriting_finishes(fresh, wanted):
    before, nth, whole = contents(fresh()), 1, 0
    while True:
        home, calls = fresh(), [0]

        def on_call(name, when, path, calls=calls, nth=nth):
            calls[0] += when == "before"
            if when == "before" and calls[0] == nth:
                raise OSError(errno.ENOSPC, "No space left on device", str(path) if isinstance(path, Path) else None)

        try:
            with watched(on_call):
                Store(home).rewrite("birds", purge)
        except StorageFailed as error:
            assert "no space left on device" in str(error)
        if calls[0] < nth:
            break
        nth += 2
        found = contents(home)
        whole += found == before
        assert all(data in (before[name], wanted[name]) for name, data in found.items())
        Store(home).rewrite("birds", purge)
        assert contents(home) == wanted
        assert leftovers(home) == []
    assert whole > 10, "as long as anything can be written, nothing is replaced"


def test_a_file_is_durable_before_it_replaces_another_and_each_folder_after(fresh):
    home, calls = fresh(), []

    def on_call(name, when, path):
        if when == "after" and name in ("fsync", "replace"):
            calls.append(name)

    with watched(on_call):
        rewritten = Store(home).rewrite("birds", purge)
    count = len(rewritten)
    begun, ended = ["fsync"] * 2, ["fsync"]  # the journal
    assert calls == ["fsync"] * count + begun + ["replace", "fsync"] * count + ended


def test_what_cannot_be_made_again_stops_it_before_anything_is_replaced(fresh):
    home = fresh()
    for unfinished in home.rglob(".*.part"):
        files.delete(unfinished)
    (removed,) = home.glob("trash/birds@*/2.safetensors")
    data = removed.read_bytes()
    removed.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    before = contents(home)
    with pytest.raises(CorruptContext) as refused:
        Store(home).rewrite("birds", purge)
    assert str(removed) in str(refused.value)
    removed.write_bytes(data)

    def fails_late(data: bytes, new_of) -> bytes:
        if len(new_of) == 3:
            raise CorruptContext("it", "it will not be purged")
        return purge(data, new_of)

    with pytest.raises(CorruptContext):
        Store(home).rewrite("birds", fails_late)
    assert contents(home) == before | {str(removed.relative_to(home)): data}
    assert leftovers(home) == []


def test_the_files_of_a_name_are_those_of_its_trash_too(fresh):
    home = fresh()
    kept = {str(path.relative_to(home)) for path in Store(home).kept_of("birds")}
    assert kept == contents(home).keys() - of_others(contents(home))
    with pytest.raises(ContextNotFound):
        Store(home).rewrite("emus", purge)
    with pytest.raises(ContextNotFound):
        Store(home).kept_of("emus")


def test_another_life_of_the_name_in_the_trash_is_rewritten_too(tmp_path):
    store = Store(tmp_path)
    store.save("birds", context(1).to_bytes(), new=True)
    store.remove(Ref("birds"))
    store.save("Birds", context(2).to_bytes(), new=True)
    assert len(store.rewrite("birds", purge)) == 2
    assert secrets_in(tmp_path) == set()
