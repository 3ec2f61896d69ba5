"""Changes of the store are written down, and taken back by others that nothing is lost by."""

from __future__ import annotations

from pathlib import Path

import pytest

from promptctl import typed
from promptctl.errors import CannotTakeBack, ContextExists, ContextNotFound, StorageFailed
from promptctl.store import files
from promptctl.store.journal import UNDO, Journal
from promptctl.store.refs import Ref
from promptctl.store.store import Store
from promptctl.store.takeback import TakenBack, take_back

GOLDEN = Path(__file__).parent / "golden"
ONE, TWO, THREE = ((GOLDEN / f"format1-{name}.safetensors").read_bytes() for name in ("shared", "clap", "imported"))


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "home")


def undo(store: Store, number: int | None = None, *, is_last: bool = True) -> TakenBack | None:
    journal = Journal(store.home)
    head = journal.to_take_back() if number is None else journal.head(number)
    assert head is not None
    return take_back(Store(store.home, takes_back=head.number), journal.read(head.number), is_last=lambda _: is_last)


def held(store: Store) -> dict[str, dict[int, bytes]]:
    """name → version → bytes"""
    return {
        name: {entry.ref.version or 0: entry.path.read_bytes() for entry in store.versions(name)}
        for name in store.names()
    }


def newest(store: Store, name: str) -> bytes:
    return store.find(Ref(name)).path.read_bytes()


def test_every_change_is_an_operation_under_the_words_that_were_typed(store, monkeypatch):
    monkeypatch.setattr(typed, "_words", ("learn", "./photos", "--name", "birds"))
    store.save("birds", ONE, new=True)
    monkeypatch.setattr(typed, "_words", ())
    store.copy(Ref("birds"), "finches")
    store.rename("finches", "emus")
    store.remove(Ref("emus"))
    store.restore(Ref("emus"))
    heads = Journal(store.home).heads()[::-1]
    assert [head.kind for head in heads] == ["learn", "copy", "rename", "remove", "bring back"]
    assert heads[0].words == ("learn", "./photos", "--name", "birds")
    assert all(head.ended and head.done == 1 for head in heads)


def test_what_does_not_happen_is_no_operation(store):
    store.save("birds", ONE, new=True)
    with pytest.raises(ContextExists):
        store.save("birds", TWO, new=True)
    with pytest.raises(ContextNotFound):
        store.rename("emus", "ibises")
    assert len(Journal(store.home).heads()) == 1


def test_the_first_version_goes_to_the_trash_and_comes_back(store):
    store.save("birds", ONE, new=True)
    undo(store)
    assert held(store) == {}
    undo(store, 2)
    assert held(store) == {"birds": {1: ONE}}
    assert Journal(store.home).head(2).kind == UNDO


def test_of_a_later_version_its_predecessor_becomes_the_next(store):
    for data, new in ((ONE, True), (TWO, False)):
        store.save("birds", data, new=new)
    taken = undo(store)
    assert taken is not None and taken.sentence == "birds@3 is what birds@1 was, before birds@2"
    assert held(store) == {"birds": {1: ONE, 2: TWO, 3: ONE}}
    undo(store)  # one operation further back: the first version, not the third that is the same to the byte
    assert held(store) == {}


def test_an_undo_is_taken_back(store):
    for data, new in ((ONE, True), (TWO, False)):
        store.save("birds", data, new=new)
    undo(store)
    undo(store, 3)
    assert newest(store, "birds") == TWO and store.numbers("birds") == (1, 2, 3, 4)


def test_of_a_version_in_the_middle_the_one_before_comes_back_and_it_is_said_what_that_lacks(store):
    for data, new in ((ONE, True), (TWO, False), (THREE, False)):
        store.save("birds", data, new=new)
    taken = undo(store, 2, is_last=False)
    assert taken is not None and "what birds learned after birds@2 is not in it" in taken.sentence
    assert newest(store, "birds") == ONE and len(store.numbers("birds")) == 4
    with pytest.raises(CannotTakeBack, match="the first of its name"):
        undo(store, 1, is_last=False)


def test_copy_rename_and_remove(store):
    store.save("birds", ONE, new=True)
    store.copy(Ref("birds"), "finches")
    undo(store)
    assert held(store) == {"birds": {1: ONE}}
    store.rename("birds", "emus")
    undo(store)
    assert held(store) == {"birds": {1: ONE}}
    store.save("birds", TWO, new=False)
    store.remove(Ref("birds", 1))
    undo(store)
    assert held(store) == {"birds": {1: ONE, 2: TWO}}
    store.remove(Ref("birds"))
    undo(store)
    assert held(store) == {"birds": {1: ONE, 2: TWO}}


def test_exactly_what_was_removed_comes_back_whatever_was_removed_after_it(store):
    store.save("birds", ONE, new=True)
    store.remove(Ref("birds"))
    store.save("birds", TWO, new=True)
    store.remove(Ref("birds"))
    undo(store, 2)
    assert held(store) == {"birds": {1: ONE}}


def test_what_was_restored_goes_again(store):
    for data, new in ((ONE, True), (TWO, False)):
        store.save("birds", data, new=new)
    store.restore(Ref("birds", 1))
    undo(store)
    assert newest(store, "birds") == TWO
    store.remove(Ref("birds"))
    store.restore(Ref("birds"))
    undo(store)
    assert held(store) == {}


def test_a_candidate_goes_and_the_one_it_replaced_comes_back(store):
    store.save("birds", ONE, new=True)
    store.save_candidate("birds", TWO)
    store.save_candidate("birds", THREE)
    undo(store)
    candidate = store.candidate("birds")
    assert candidate is not None and candidate.path.read_bytes() == TWO
    undo(store)
    assert store.candidate("birds") is None
    store.restore(Ref("birds", candidate=True))
    store.promote("birds")
    undo(store)
    assert held(store) == {"birds": {1: ONE, 2: TWO, 3: ONE}}


def test_a_purge_is_not_taken_back(store):
    store.save("birds", ONE, new=True)
    store.rewrite("birds", lambda data, _: data)
    with pytest.raises(CannotTakeBack, match="purge"):
        undo(store)


def test_what_was_taken_away_for_good_does_not_come_back(store):
    store.save("birds", ONE, new=True)
    store.remove(Ref("birds"))
    store.gc(older_than_days=0)
    with pytest.raises(CannotTakeBack, match="gc"):
        undo(store)


def test_a_change_that_failed_is_an_operation_that_did_nothing(store, monkeypatch):
    store.save("birds", ONE, new=True)

    def fails(source: Path, target: Path) -> None:
        raise OSError(5, "Input/output error", str(target))

    monkeypatch.setattr(files, "move", fails)
    with pytest.raises(StorageFailed):
        store.rename("birds", "emus")
    monkeypatch.undo()
    head = Journal(store.home).head(2)
    assert head.did_nothing and head.left == 1
    assert undo(store, 2) is None and held(store) == {"birds": {1: ONE}}
    undo(store)
    assert held(store) == {}, "a plain undo passes over it"


def test_an_operation_that_was_killed_is_looked_up_on_the_disk(store):
    store.save("birds", ONE, new=True)
    step = {"do": "save", "name": "birds", "version": 2, "sha256": "0" * 64}
    Journal(store.home).begin("learn", (), steps=[step])  # and never carried out
    assert undo(store, 2) is None and held(store) == {"birds": {1: ONE}}


def test_a_made_change_stands_although_the_journal_is_full(store, monkeypatch):
    store.save("birds", ONE, new=True)
    append = files.append

    def full(descriptor: int, data: bytes, *, durable: bool) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "append", full)
    store.rename("birds", "emus")
    monkeypatch.setattr(files, "append", append)
    assert held(store) == {"emus": {1: ONE}}
    undo(store)
    assert held(store) == {"birds": {1: ONE}}


@pytest.mark.parametrize("change", ["copy", "rename", "candidate", "restore"])
def test_what_came_to_a_name_later_is_not_taken_for_what_an_operation_made(store, change):
    store.save("birds", ONE, new=True)
    if change == "candidate":
        store.save_candidate("birds", TWO)
        store.promote("birds")
        store.save_candidate("birds", THREE)
    elif change == "restore":
        store.remove(Ref("birds"))
        store.restore(Ref("birds"))
        store.save("birds", TWO, new=False)
    else:
        (store.copy if change == "copy" else lambda ref, target: store.rename(ref.name, target))(Ref("birds"), "emus")
        store.remove(Ref("emus"))
        store.save("emus", THREE, new=True)
    before, number = held(store), 3 if change == "restore" else 2
    with pytest.raises(CannotTakeBack, match="was changed after it"):
        undo(store, number, is_last=False)
    assert held(store) == before
    assert change != "candidate" or store.candidate("birds") is not None
