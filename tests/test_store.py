from __future__ import annotations

import multiprocessing
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from test_context import make

from promptctl.context.context import Context
from promptctl.errors import ContextExists, ContextNotFound, CorruptContext, InvalidName, StorageFailed, VersionNotFound
from promptctl.store import files
from promptctl.store.refs import Ref
from promptctl.store.store import Removed, Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


DATA = make().to_bytes()


def test_versions_count_up_and_the_newest_is_current(store):
    assert store.save("birds", DATA, new=True).ref == Ref("birds", 1)
    assert store.save("birds", DATA, new=False).ref == Ref("birds", 2)
    assert store.find(Ref("birds")).ref.version == 2
    assert store.find(Ref("birds", 1)).path.name == "1.safetensors"
    assert [entry.ref.version for entry in store.versions("birds")] == [1, 2]
    assert Context.load(store.find(Ref("birds")).path).card.classes == make().card.classes


def test_a_new_name_must_be_free_whatever_its_case(store):
    store.save("birds", DATA, new=True)
    with pytest.raises(ContextExists) as refused:
        store.save("Birds", DATA, new=True)
    assert str(refused.value) == "a context named 'Birds' already exists"
    assert store.find(Ref("BIRDS")).ref == Ref("birds", 1)


def test_what_is_missing_is_named_with_a_near_miss(store):
    store.save("pets", DATA, new=True)
    with pytest.raises(ContextNotFound) as refused:
        store.find(Ref("pest"))
    assert (str(refused.value), refused.value.hint) == ("no context named 'pest'", "did you mean 'pets'?")
    with pytest.raises(VersionNotFound) as refused:
        store.find(Ref("pets", 7))
    assert str(refused.value) == "'pets' has no version 7, the newest is 1"
    assert refused.value.hint == "promptctl log pets"


@pytest.mark.parametrize("name", ["", "..", "a/b", "a@2", ".hidden", "nul", "x" * 65])
@pytest.mark.parametrize("verb", ["save", "copy", "rename"])
def test_nothing_is_called_what_is_no_name(store, verb, name):
    store.save("birds", DATA, new=True)
    before = sorted(store.home.rglob("*"))
    with pytest.raises(InvalidName):
        {
            "save": lambda: store.save(name, DATA, new=True),
            "copy": lambda: store.copy(Ref("birds"), name),
            "rename": lambda: store.rename("birds", name),
        }[verb]()
    assert sorted(store.home.rglob("*")) == before


def test_an_empty_store_lists_nothing(store):
    assert store.entries() == ()


def test_removed_contexts_come_back(store):
    store.save("birds", DATA, new=True)
    store.save("birds", DATA, new=False)
    trash = store.remove(Ref("birds"))
    assert trash.path.is_dir()
    assert not store.has("birds")
    assert store.restore(Ref("birds")).ref == Ref("birds", 2)
    assert store.find(Ref("birds", 1)).path.read_bytes() == DATA


def test_no_number_is_used_twice_however_many_versions_are_gone(store):
    for number in range(1, 5):
        store.save("birds", DATA, new=number == 1)
    for number in range(1, 4):
        store.remove(Ref("birds", number))
    assert store.save("birds", DATA, new=False).ref == Ref("birds", 5)


def test_restore_overwrites_nothing(store):
    store.save("birds", DATA, new=True)
    store.remove(Ref("birds"))
    store.save("birds", DATA, new=True)
    with pytest.raises(ContextExists):
        store.restore(Ref("birds"))


def test_the_file_is_durable_before_it_has_its_name_and_the_folder_after(store, monkeypatch):
    store.save("birds", DATA, new=True)
    calls = []
    for name in ("fsync", "link"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, _o=original, _n=name: (calls.append(_n), _o(*a))[1])
    store.save("birds", DATA, new=False)
    journal, end = ["fsync", "link", "fsync"], ["fsync"]
    assert calls == [*journal, "fsync", "link", "fsync", "fsync", *end]


def fsynced(monkeypatch) -> list[Path]:
    """The folders that are made durable from here on, in order, and not the journal's."""
    seen: list[Path] = []
    original = files.fsync_folder

    def fsync_folder(folder: Path) -> None:
        if folder.name != "journal":
            seen.append(folder)
        original(folder)

    monkeypatch.setattr(files, "fsync_folder", fsync_folder)
    return seen


def test_every_folder_that_changes_is_made_durable(store, monkeypatch):
    seen, contexts, trash = fsynced(monkeypatch), store.home / "contexts", store.home / "trash"

    def synced(change: Callable[[], object]) -> list[Path]:
        seen.clear()
        change()
        return list(seen)

    assert synced(lambda: store.save("birds", DATA, new=True)) == [
        *(store.home.parent, store.home, store.home, contexts),  # each holds a new folder, home the journal too
        *(contexts / "birds", contexts),
    ]
    store.save("birds", DATA, new=False)
    part, *after = synced(lambda: store.copy(Ref("birds"), "finches"))[1:]
    assert (part.parent, after) == (contexts, [contexts]), "its files have names before it has one"
    assert synced(lambda: store.rename("finches", "emus")) == [contexts]
    assert synced(lambda: store.remove(Ref("emus"))) == [store.home, trash, contexts]
    assert synced(lambda: store.restore(Ref("emus"))) == [contexts, trash]
    removed: list[Removed] = []
    assert synced(lambda: removed.append(store.remove(Ref("birds", 1)))) == [trash, removed[0].path, contexts / "birds"]


def test_a_disk_that_takes_a_few_bytes_at_a_time_takes_them_all(store, monkeypatch):
    original = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: original(descriptor, data[:1000]))
    assert store.save("birds", DATA, new=True).path.read_bytes() == DATA


def test_where_links_are_missing_nothing_is_replaced(store, tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    finished, target = tmp_path / "finished", tmp_path / "target"
    finished.write_text("new")
    target.write_text("old")
    with pytest.raises(FileExistsError):
        files.link_exclusive(finished, target)
    assert target.read_text() == "old"


def test_a_file_that_replaces_another_has_its_mode_and_stands_where_a_link_leads(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    files.write_atomic(tmp_path / "link", b"new", replace=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640


def test_a_damaged_version_is_not_made_the_newest(store):
    old = store.save("birds", DATA, new=True).path
    store.save("birds", DATA, new=False)
    old.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
    with pytest.raises(CorruptContext):
        store.restore(Ref("birds", 1))
    assert store.numbers("birds") == (1, 2)


def test_a_version_of_another_life_of_a_name_does_not_join_this_one(store):
    for _ in range(3):
        store.save("birds", DATA, new=False)
    store.remove(Ref("birds"))
    store.save("birds", DATA, new=True)
    for ref in (Ref("birds", 3), Ref("birds")):
        with pytest.raises(ContextExists):
            store.restore(ref)
    assert store.numbers("birds") == (1,)


def test_a_copy_keeps_the_time_of_each_version(store):
    for _ in range(2):
        store.save("birds", DATA, new=False)
    os.utime(store.find(Ref("birds", 1)).path, ns=(10**18, 10**18))
    store.copy(Ref("birds"), "finches")
    assert [e.mtime_ns for e in store.versions("finches")] == [e.mtime_ns for e in store.versions("birds")]


def test_of_folders_alike_but_for_case_the_one_with_versions_is_meant(store):
    store.save("birds", DATA, new=True)
    try:
        (store.home / "contexts" / "Birds").mkdir()
    except FileExistsError:
        pytest.skip("one folder here, whatever its case")
    assert store.find(Ref("Birds")).ref == Ref("birds", 1)


def aged(removed: Removed, days: float) -> Removed:
    """As if it had been removed so many days ago."""
    when = datetime.now(timezone.utc) - timedelta(days=days)
    return replace(removed, path=removed.path.rename(removed.path.with_name(f"{removed.name}@{when:%Y%m%dT%H%M%S.%f}")))


def test_what_lies_in_the_trash_for_thirty_days_goes(store):
    for name, days in (("emus", 29.9), ("ibises", 30.1)):
        store.save(name, DATA, new=True)
        aged(store.remove(Ref(name)), days)
    assert [leftover.path.name.partition("@")[0] for leftover in store.gc()] == ["ibises"]
    assert [removed.name for removed in store.trash()] == ["emus"]


def test_what_was_removed_last_comes_back_first_even_if_the_clock_has_gone_back(store):
    store.save("birds", DATA, new=True)
    aged(store.remove(Ref("birds")), -1000)
    last = make(4).to_bytes()
    store.save("birds", last, new=True)
    store.remove(Ref("birds"))
    assert store.restore(Ref("birds")).path.read_bytes() == last


def test_a_link_in_the_store_is_somebodys_own_and_what_it_leads_to_stays(store, tmp_path):
    store.save("birds", DATA, new=True)
    (tmp_path / "mine").mkdir()
    (store.home / "contexts" / "ibises").symlink_to(tmp_path / "mine")
    removed = aged(store.remove(Ref("birds")), 40)
    (tmp_path / "photo.jpg").write_text("precious")
    (removed.path / "also").symlink_to(tmp_path)
    assert [leftover.path for leftover in store.gc()] == [removed.path]
    assert (store.home / "contexts" / "ibises").is_symlink()
    assert (tmp_path / "photo.jpg").read_text() == "precious"


def test_where_links_are_missing_a_version_is_still_claimed_once(store, monkeypatch):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert store.save("birds", DATA, new=True).ref.version == 1
    assert store.save("birds", DATA, new=False).ref.version == 2
    assert store.find(Ref("birds", 2)).path.read_bytes() == DATA


def test_nothing_half_written_is_left_when_the_disk_is_full(store, monkeypatch):
    def full(folder, data):
        raise OSError(28, "No space left on device", str(folder))

    store.save("birds", DATA, new=True)
    monkeypatch.setattr(files, "finished_file", full)
    with pytest.raises(StorageFailed) as failed:
        store.save("birds", DATA, new=False)
    assert "no space left on device" in str(failed.value), "of the journal"
    monkeypatch.undo()
    write = os.write

    def full_but_for_the_journal(descriptor, data):
        if len(data) == len(DATA):
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", full_but_for_the_journal)
    with pytest.raises(StorageFailed) as failed:
        store.save("birds", DATA, new=False)
    assert f"cannot store the context: {store.home / 'contexts' / 'birds'}: " in str(failed.value)
    assert "no space left on device" in str(failed.value)
    assert sorted(path.name for path in (store.home / "contexts" / "birds").iterdir()) == ["1.safetensors"]


@pytest.mark.parametrize(("umask", "file_mode", "folder_mode"), [(0o022, 0o644, 0o755), (0o002, 0o664, 0o775)])
def test_modes_follow_the_umask(store, umask, file_mode, folder_mode):
    before = os.umask(umask)
    try:
        saved = store.save("birds", DATA, new=True)
        copied = store.copy(Ref("birds"), "finches")
    finally:
        os.umask(before)
    for entry in (saved, copied):
        assert stat.S_IMODE(entry.path.stat().st_mode) == file_mode
        assert stat.S_IMODE(entry.path.parent.stat().st_mode) == folder_mode


def test_an_unreadable_version_is_listed_with_its_fault(store):
    store.save("birds", DATA, new=True).path.write_bytes(b"nonsense")
    (entry,) = store.entries()
    assert entry.card is None
    assert "birds/1.safetensors is not an intact context" in entry.fault


def _save_many(home, count):
    for _ in range(count):
        Store(home).save("birds", DATA, new=False)


def test_processes_that_save_at_once_all_get_a_number(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_save_many, args=(tmp_path / "store", 10)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    versions = Store(tmp_path / "store").versions("birds")
    assert [entry.ref.version for entry in versions] == list(range(1, 41))
    assert all(entry.path.read_bytes() == DATA for entry in versions)


def test_files_that_are_only_called_like_versions_are_none_of_them(store):
    entry = store.save("birds", DATA, new=True)
    for name in ("007", "0", "2x", "1" * 200):
        (entry.path.parent / f"{name}.safetensors").write_bytes(DATA)
    (entry.path.parent / "5.safetensors").mkdir()
    assert [version.ref.version for version in store.versions("birds")] == [1]
    assert store.save("birds", DATA, new=False).ref.version == 2
    assert store.gc(0) == ()
