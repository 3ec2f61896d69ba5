"""A candidate in the store: an update beside the versions of a name that is none of them yet."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import re

import pytest
from faults import payload
from test_store import aged, fsynced

import promptctl
from promptctl import commands
from promptctl.cli import completion
from promptctl.context.context import Context
from promptctl.errors import (
    CandidateNotFound,
    ContextExists,
    ContextNotFound,
    CorruptContext,
    InvalidName,
    NotInTrash,
    Outdated,
    StorageFailed,
)
from promptctl.report.phrases import size
from promptctl.store.refs import Ref
from promptctl.store.store import Store

BIRDS = Ref("birds", candidate=True)
CANDIDATE = "colours@candidate"
PAYLOADS = [payload(number) for number in range(6)]


@pytest.fixture
def store(tmp_path):
    """birds@1 and @2."""
    store = Store(tmp_path / "store")
    for number in (1, 2):
        store.save("birds", PAYLOADS[number], new=number == 1)
    return store


@pytest.fixture
def waiting(store):
    """A candidate beside them."""
    store.save_candidate("birds", PAYLOADS[3])
    return store


def test_a_reference_names_the_candidate():
    assert Ref.parse("birds@candidate") == BIRDS
    assert str(BIRDS) == "birds@candidate"
    assert [ref.is_whole for ref in (Ref("birds"), Ref("birds", 2), BIRDS)] == [True, False, False]
    with pytest.raises(InvalidName) as refused:
        Ref.parse("birds@candidates")
    assert str(refused.value).endswith("the version after '@' is a number from 1, or 'candidate'")


def test_it_lies_beside_the_versions_and_is_none_of_them(waiting):
    entry = waiting.find(BIRDS)
    assert (entry.ref, entry.path.name, entry.card.method.seed) == (BIRDS, "candidate.safetensors", 3)
    assert waiting.candidate("Birds") == entry
    assert waiting["birds@candidate"].card.method.seed == 3
    assert "birds@candidate" in waiting
    assert waiting.find(Ref("birds")).ref == Ref("birds", 2)
    assert waiting.numbers("birds") == (1, 2)
    assert [entry.ref for entry in waiting.versions("birds")] == [Ref("birds", 1), Ref("birds", 2)]
    assert [entry.ref for entry in waiting.entries()] == [Ref("birds", 2)]
    assert [entry.ref for entry in waiting.every()] == [Ref("birds", 1), Ref("birds", 2), BIRDS]
    assert waiting.save("birds", PAYLOADS[4], new=False).ref == Ref("birds", 3)
    assert waiting.find(BIRDS).card.method.seed == 3, "it waits on"


def test_a_name_without_one_says_so(store):
    assert store.candidate("birds") is store.candidate("emus") is None
    assert "birds@candidate" not in store
    for change in (store.find, store.remove, lambda ref: store.copy(ref, "emus"), lambda ref: store.promote(ref.name)):
        with pytest.raises(CandidateNotFound) as refused:
            change(BIRDS)
        assert str(refused.value) == "'birds' has no candidate, which is an update that the guard refused"
        assert refused.value.hint == "promptctl log birds"
    with pytest.raises(ContextNotFound):
        store.save_candidate("emus", PAYLOADS[3])
    assert not (store.home / "contexts" / "emus").exists()


def test_an_older_candidate_goes_to_the_trash(waiting):
    entry, before = waiting.save_candidate("birds", PAYLOADS[4])
    assert entry.path.read_bytes() == PAYLOADS[4]
    assert before.refs == (BIRDS,)
    assert before.file(BIRDS).read_bytes() == PAYLOADS[3]
    waiting.remove(BIRDS)
    assert waiting.save_candidate("birds", PAYLOADS[5])[1] is None


def test_promoting_makes_it_the_next_version_and_leaves_none(waiting):
    written = waiting.find(BIRDS).mtime_ns
    entry = waiting.promote("BIRDS")
    assert (entry.ref, entry.path.read_bytes(), entry.mtime_ns) == (Ref("birds", 3), PAYLOADS[3], written)
    assert waiting.candidate("birds") is None
    assert waiting.trash() == ()
    with pytest.raises(CandidateNotFound):
        waiting.promote("birds")


def test_promoting_replaces_nothing_that_is_called_like_a_version(waiting):
    (waiting.home / "contexts" / "birds" / "3.safetensors").symlink_to("nowhere")
    assert waiting.promote("birds").ref == Ref("birds", 4)
    assert (waiting.home / "contexts" / "birds" / "3.safetensors").is_symlink()


def test_a_damaged_candidate_is_not_promoted(waiting):
    waiting.find(BIRDS).path.write_bytes(PAYLOADS[3][:-1] + bytes([PAYLOADS[3][-1] ^ 1]))
    with pytest.raises(CorruptContext):
        waiting.promote("birds")
    assert waiting.numbers("birds") == (1, 2)
    assert waiting.candidate("birds")


def test_it_goes_where_its_name_goes_and_a_copy_is_one_of_the_versions(waiting):
    waiting.copy(Ref("birds"), "finches")
    assert waiting.candidate("finches") is None
    assert waiting.copy(BIRDS, "emus").path.read_bytes() == PAYLOADS[3]
    assert waiting.numbers("emus") == (1,)
    waiting.rename("birds", "ibises")
    assert waiting.find(Ref("ibises", candidate=True)).path.read_bytes() == PAYLOADS[3]
    removed = waiting.remove(Ref("ibises"))
    assert removed.refs == (Ref("ibises", 1), Ref("ibises", 2), Ref("ibises", candidate=True))
    waiting.restore(Ref("ibises"))
    assert waiting.candidate("ibises")


def test_a_removed_one_comes_back_if_its_place_is_free(waiting):
    removed = waiting.remove(BIRDS)
    assert (removed.refs, removed.n_bytes) == ((BIRDS,), len(PAYLOADS[3]))
    assert waiting.candidate("birds") is None
    with pytest.raises(CandidateNotFound) as refused:
        waiting.find(BIRDS)
    assert refused.value.hint == "promptctl restore birds@candidate"
    assert waiting.restore(BIRDS).path.read_bytes() == PAYLOADS[3]
    assert waiting.trash() == ()
    assert not removed.path.exists()
    with pytest.raises(ContextExists) as refused:
        waiting.restore(BIRDS)
    assert str(refused.value) == "a context named 'birds@candidate' already exists"
    assert refused.value.hint.startswith("promptctl promote birds@candidate")


def test_of_several_removed_ones_the_last_comes_back_and_each_once(waiting):
    waiting.save_candidate("birds", PAYLOADS[4])
    waiting.remove(BIRDS)
    assert waiting.restore(BIRDS).path.read_bytes() == PAYLOADS[4]
    waiting.promote("birds")
    assert waiting.restore(BIRDS).path.read_bytes() == PAYLOADS[3]
    waiting.promote("birds")
    with pytest.raises(NotInTrash) as refused:
        waiting.restore(BIRDS)
    assert str(refused.value) == "no removed context named 'birds@candidate'"


def test_a_candidate_does_not_come_back_without_its_name_nor_to_another_life_of_it(waiting):
    waiting.remove(Ref("birds"))
    with pytest.raises(ContextNotFound) as refused:
        waiting.restore(BIRDS)
    assert refused.value.hint == "promptctl restore birds"
    waiting.save("birds", PAYLOADS[4], new=True)
    with pytest.raises(NotInTrash):
        waiting.restore(BIRDS)


def test_a_removed_candidate_stands_in_nobodys_way(waiting):
    """Versions and names come back past it."""
    waiting.remove(Ref("birds", 1))
    waiting.remove(BIRDS)
    assert waiting.restore(Ref("birds")).ref == Ref("birds", 1)
    with pytest.raises(NotInTrash):
        waiting.restore(Ref("birds"))
    waiting.restore(BIRDS)
    waiting.remove(Ref("birds"))
    waiting.save("birds", PAYLOADS[5], new=True)
    waiting.save_candidate("birds", PAYLOADS[5])
    waiting.remove(BIRDS)
    waiting.rename("birds", "emus")
    assert waiting.restore(Ref("birds")).ref == Ref("birds", 2)
    assert waiting.find(BIRDS).path.read_bytes() == PAYLOADS[3]


def test_what_is_left_of_a_removed_name_is_its_candidate_once_its_versions_are_back(waiting):
    waiting.remove(Ref("birds"))
    for number in (2, 1):
        waiting.restore(Ref("birds", number))
    assert waiting.candidate("birds") is None
    assert waiting.restore(BIRDS).path.read_bytes() == PAYLOADS[3]
    assert waiting.trash() == ()


def test_a_candidate_leaves_the_trash_with_the_rest_and_the_store_not_at_all(waiting):
    removed = aged(waiting.remove(BIRDS), 31)
    waiting.save_candidate("birds", PAYLOADS[4])
    os.utime(waiting.find(BIRDS).path, (0, 0))
    assert [leftover.path for leftover in waiting.gc()] == [removed.path]
    assert waiting.candidate("birds")


def test_one_version_alone_takes_its_candidate_along(tmp_path):
    store = Store(tmp_path)
    store.save("birds", PAYLOADS[1], new=True)
    store.save_candidate("birds", PAYLOADS[2])
    assert store.remove(Ref("birds", 1)).refs == (Ref("birds", 1), BIRDS)
    assert not store.has("birds")


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: os.mkfifo(path)])
def test_what_is_only_called_like_a_candidate_is_none(store, make):
    make(store.home / "contexts" / "birds" / "candidate.safetensors")
    assert store.candidate("birds") is None
    with pytest.raises(StorageFailed):
        store.save_candidate("birds", PAYLOADS[3])
    assert sorted(path.name for path in (store.home / "contexts" / "birds").iterdir()) == [
        "1.safetensors",
        "2.safetensors",
        "candidate.safetensors",
    ]


def test_an_older_promptctl_sees_the_versions_alone(waiting):
    """Its rule, as 0.1.0 has it: a version is `<number>.safetensors`."""
    waiting.save_candidate("birds", PAYLOADS[4])  # so that there is one in the trash as well
    (birds,) = (waiting.home / "contexts").iterdir()
    (trash,) = (waiting.home / "trash").iterdir()

    def seen(folder):
        return sorted(path.name for path in folder.iterdir() if re.fullmatch("[1-9][0-9]{0,9}", path.stem))

    assert seen(birds) == ["1.safetensors", "2.safetensors"]
    assert seen(trash) == [], "which it takes for somebody's own"
    assert {path.suffix for path in (*birds.iterdir(), *trash.iterdir())} == {".safetensors"}, "nothing unfinished"


def test_every_folder_that_changes_is_made_durable(waiting, monkeypatch):
    birds, trash, seen = waiting.home / "contexts" / "birds", waiting.home / "trash", fsynced(monkeypatch)
    before = waiting.save_candidate("birds", PAYLOADS[4])[1]
    assert seen == [waiting.home, trash, before.path, birds, birds]
    seen.clear()
    waiting.promote("birds")
    assert seen == [birds]
    seen.clear()
    waiting.restore(BIRDS)
    assert seen == [birds, before.path]


@pytest.mark.parametrize("closed", ["trash", "contexts/birds"])
def test_looking_for_one_needs_no_trash_and_takes_a_closed_folder_for_none(waiting, closed, monkeypatch):
    waiting.remove(BIRDS)
    original = os.scandir

    def scandir(path):
        if os.fspath(path) == os.fspath(waiting.home / closed):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert waiting.candidate("birds") is None


# ------------------------------------------------------------------------------- two at once


def test_what_started_from_a_version_that_is_no_longer_the_newest_is_refused(store):
    assert store.save("birds", PAYLOADS[3], new=False, after=2).ref == Ref("birds", 3)
    for save in (lambda: store.save("birds", PAYLOADS[4], new=False, after=2), lambda: candidate(store)):
        with pytest.raises(Outdated) as refused:
            save()
        assert str(refused.value) == "birds@3 is newer than birds@2, which this update started from"
        assert refused.value.hint == "run the command again"
    assert store.numbers("birds") == (1, 2, 3)
    assert store.candidate("birds") is None
    store.remove(Ref("birds"))
    with pytest.raises(ContextNotFound):
        store.save("birds", PAYLOADS[4], new=False, after=3)
    assert not (store.home / "contexts" / "birds").exists()


def candidate(store):
    return store.save_candidate("birds", PAYLOADS[4], after=2)


def _update(home, count):
    """As `learn` does: from the newest version, and again when another was faster."""
    store = Store(home)
    for _ in range(count):
        while True:
            newest = store.find(Ref("birds")).ref.version
            try:
                store.save("birds", payload(newest), new=False, after=newest)
                break
            except Outdated:
                continue


def test_updates_at_once_are_each_made_after_the_one_before(tmp_path):
    Store(tmp_path).save("birds", payload(0), new=True)
    workers = [multiprocessing.get_context("fork").Process(target=_update, args=(tmp_path, 8)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seeds = [entry.card.method.seed for entry in Store(tmp_path).versions("birds")]
    assert seeds == list(range(25)), "each says which version it was made from"


# ------------------------------------------------------------------------------- as people type it


@pytest.fixture
def typed(home):
    """The same store, where the command line looks; the candidate learned from @2."""
    store = Store()
    store.save("birds", PAYLOADS[1], new=True)
    two = store.save("birds", PAYLOADS[2], new=False)
    store.save_candidate("birds", child(PAYLOADS[3], two.card.sha256))
    return store


def child(data: bytes, parent: str) -> bytes:
    context = Context.from_bytes(data, "child")
    return dataclasses.replace(context, card=dataclasses.replace(context.card, parent=parent)).to_bytes()


def test_promote_says_what_it_did_and_how_to_go_back(cli, typed):
    done = cli("promote", "birds@candidate")
    path = typed.find(Ref("birds")).path
    assert (done.code, done.out) == (0, f"birds@candidate is now birds@3: {path}\n")
    assert done.err.split() == ["next:", "promptctl", "restore", "birds@2", "(to", "undo)"]
    again = cli("promote", "birds")
    assert (again.code, again.out) == (10, "")
    assert again.err.startswith("error: 'birds' has no candidate, which is an update that the guard refused\n")


def test_promote_takes_a_candidate_alone(cli, typed):
    done = cli("promote", "birds@2")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "error: 'birds@2' is not a context name: promote takes a candidate\nhint:  try 'birds@candidate'\n"
    )


def test_promote_names_the_versions_that_the_candidate_was_not_learned_from(cli, typed):
    for number in (4, 5):
        typed.save("birds", PAYLOADS[number], new=False)
    done = cli("promote", "birds@candidate", "--json")
    assert json.loads(done.out)["left_out"] == ["birds@3", "birds@4"]
    assert "warning: it was learned before birds@3, birds@4, and has nothing of what was learned there" in done.err
    typed.save_candidate("birds", PAYLOADS[1])  # whose parent nobody knows
    assert json.loads(cli("promote", "birds@candidate", "--json").out)["left_out"] == []


def test_show_log_and_check_tell_of_it(cli, typed):
    shown = cli("show", "birds@candidate")
    assert shown.out.startswith("birds@candidate: 3 classes")
    assert "versions:  @1, @2, @candidate\n" in cli("show", "birds").out
    log = cli("log", "birds")
    assert "birds@candidate is an update that was not taken" in log.err
    assert "promptctl promote birds@candidate" in log.err
    assert json.loads(cli("log", "birds", "--json").out)["candidate"] is True
    for arguments in (["birds"], ["--all"]):
        rows = json.loads(cli("check", *arguments, "--json").out)["contexts"]
        assert [row["context"] for row in rows] == ["birds@1", "birds@2", "birds@candidate"]
    assert [row["name"] for row in json.loads(cli("list", "--json").out)["contexts"]] == ["birds"]
    assert "seed\t2\t3\n" in cli("diff", "birds@2", "birds@candidate").out


def test_remove_and_restore_say_that_it_is_the_candidate(cli, typed):
    gone = cli("remove", "birds@candidate", "--yes")
    assert gone.out.startswith("birds@candidate is in the trash: ")
    assert "promptctl restore birds@candidate" in gone.err
    row = json.loads(cli("list", "--trash", "--json").out)["removed"][0]
    assert (row["name"], row["versions"], row["candidate"]) == ("birds", [], True)
    listed = cli("list", "--trash")
    assert "@candidate" in listed.out
    assert "promptctl restore birds@candidate" in listed.err
    assert cli("list", "--trash", "-q").out == "birds@candidate\n"
    (checked,) = json.loads(cli("check", "--all", "--json").out)["contexts"][2:]
    assert (checked["context"], checked["fault"]) == ("birds@candidate in the trash", None)
    assert cli("restore", "birds@candidate").out.startswith("birds@candidate is back: ")
    removed = cli("remove", "birds", "--yes")
    assert removed.out.startswith("'birds' and all its versions are in the trash")
    assert "@1, @2, @candidate" in cli("list", "--trash").out


def test_remove_asks_about_all_there_is(typed):
    n_bytes = sum(entry.n_bytes for entry in typed.every())
    assert commands.to_remove("birds") == f"'birds' (2 versions and a candidate, {size(n_bytes)})"
    assert commands.to_remove("birds@candidate").startswith("birds@candidate (")


def test_commands_that_take_a_whole_name_take_no_candidate(cli, typed):
    for arguments in (("log", "birds@candidate"), ("rename", "birds@candidate", "emus")):
        done = cli(*arguments)
        assert done.code == 1
        assert "takes a name with all its versions" in done.err
    assert cli("copy", "birds@candidate", "emus").out == "birds@candidate is now 'emus' as well\n"


def test_the_shell_completes_it(typed):
    assert completion.known_refs("birds@") == ["birds@1", "birds@2", "birds@candidate"]
    assert completion.known_refs("BIRDS@c") == completion.candidates("bi") == ["birds@candidate"]
    assert completion.known_refs("bi") == ["birds"]
    typed.remove(BIRDS)
    (typed.home / "trash" / "emus@20260101T000000.000000-abcdef").mkdir()
    assert completion.candidates("") == []
    assert completion.in_trash("birds") == ["birds", "birds@candidate"]
    assert completion.in_trash("e") == []


def test_a_candidate_answers_like_any_version(cli, photos, tiny, colours_bytes):
    Store().save("colours", colours_bytes, new=True)
    Store().save_candidate("colours", colours_bytes)
    answers = [json.loads(cli("classify", photos, "--prompt", ref, "--json").out) for ref in ("colours", CANDIDATE)]
    assert (answers[0].pop("context"), answers[1].pop("context")) == ("colours@1", "colours@candidate")
    assert answers[0]["images"] == answers[1]["images"]
    measured = [json.loads(cli("evaluate", ref, photos, "--json").out) for ref in ("colours", CANDIDATE)]
    assert measured[1]["context"] == "colours@candidate"
    assert measured[0]["learned"] == measured[1]["learned"]
    assert repr(promptctl.load(CANDIDATE)).count("colours@candidate") == 1
