"""The journal: what is written down is there after any crash, is never changed, and says what can be taken back."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from faults import killed_at, watched

from promptctl.errors import (
    JournalDamaged,
    NewerJournal,
    NewestVersion,
    NoSuchOperation,
    NotDurable,
    OperationRuns,
    StorageFailed,
)
from promptctl.store.journal import Journal

STEPS = [{"do": "move", "from": f"/a/{i}.jpg", "to": f"/b/{i}.jpg"} for i in range(5)]


def test_an_operation_is_read_as_it_was_written(home):
    journal = Journal()
    with journal.begin("sort", ["sort", "a", "--move"], about={"into": "/b"}, steps=STEPS[:2]) as operation:
        assert operation.number == 1
        operation.became(done=[0])
        assert operation.ahead(STEPS[2:]) == range(2, 5)
        operation.became(done=[2, 3], left={1: "it has gone", 4: "no space left on device"})
        operation.became(done=[4])
    record = journal.read(1)
    assert (record.head.kind, record.head.words, record.head.about) == ("sort", ("sort", "a", "--move"), {"into": "/b"})
    assert list(record.steps.values()) == STEPS
    assert (record.done, record.left, record.open) == ({0, 2, 3, 4}, {1: "it has gone"}, ())
    assert record.head.ended
    assert [head.number for head in journal.heads()] == [1]


def test_paths_that_are_no_utf8_come_back_as_they_were(home):
    name = os.fsdecode(b"/a/\xff\n\xe9.jpg")
    with Journal().begin("sort", [name], steps=[{"from": name}]):
        pass
    assert Journal().read(1).steps[0] == {"from": name}
    assert Journal().head(1).words == (name,)
    assert len((home / "journal" / "1.jsonl").read_bytes().splitlines()) == 3


def test_what_an_error_stops_is_left_and_what_anything_else_stops_is_open(home):
    journal = Journal()
    with pytest.raises(NewestVersion), journal.begin("remove", [], steps=STEPS[:1]):
        raise NewestVersion("birds@2", "birds@1")
    with pytest.raises(NotDurable), journal.begin("remove", [], steps=STEPS[:1]):
        raise NotDurable(OSError(errno.EIO, "x"), Path("/a"))
    with pytest.raises(KeyboardInterrupt), journal.begin("remove", [], steps=STEPS[:1]):
        raise KeyboardInterrupt
    refused, kept, stopped = (journal.read(number) for number in (1, 2, 3))
    assert refused.head.did_nothing
    assert list(refused.left) == [0]
    assert kept.done == {0}
    assert (stopped.head.ended, stopped.open) == (False, (0,))


def test_an_undo_takes_back_until_it_is_taken_back_itself(home):
    journal = Journal()

    def done(kind, of=None):
        with journal.begin(kind, [], about={"of": of} if of else {}, steps=STEPS[:1]) as operation:
            operation.became(done=[0])
        return operation.number

    sort, rename = done("sort"), done("rename")
    with journal.begin("copy", [], steps=STEPS[:1]) as nothing:
        nothing.became(left={0: "no"})
    assert journal.to_take_back().number == rename
    undo = done("undo", rename)
    assert journal.to_take_back().number == sort
    second = done("undo", sort)
    assert journal.to_take_back() is None
    done("undo", undo)
    assert journal.taken_back() == {sort: second, undo: 6}
    assert journal.to_take_back().number == rename


def test_an_undo_that_did_nothing_takes_nothing_back_and_one_that_stopped_goes_first(home):
    journal = Journal()
    with journal.begin("sort", [], steps=STEPS[:1]) as operation:
        operation.became(done=[0])
    with journal.begin("undo", [], about={"of": 1}, steps=STEPS[:1]) as undo:
        undo.became(left={0: "changed"})
    assert journal.to_take_back().number == 1
    with pytest.raises(KeyboardInterrupt), journal.begin("undo", [], about={"of": 1}, steps=STEPS[:1]):
        raise KeyboardInterrupt
    assert journal.to_take_back().number == 3


def test_what_was_stopped_is_taken_up_again_by_one_program_alone(home):
    journal = Journal()
    with pytest.raises(KeyboardInterrupt), journal.begin("sort", [], steps=STEPS[:2]) as operation:
        operation.became(done=[0])
        raise KeyboardInterrupt
    again, record = journal.resume(1)
    assert record.open == (1,)
    with pytest.raises(OperationRuns) as refused:
        journal.resume(1)
    assert str(refused.value) == "operation 1 is still running in another program"
    assert journal.is_running(1)
    with again:
        again.became(done=[1])
        assert again.ahead(STEPS[2:3]) == range(2, 3)
        again.became(done=[2])
    assert not journal.is_running(1)
    assert (journal.read(1).done, journal.head(1).done) == ({0, 1, 2}, 3)


def test_a_line_that_was_cut_off_is_passed_over_and_not_written_on(home):
    journal = Journal()
    with journal.begin("sort", [], steps=STEPS[:2]) as operation:
        operation.became(done=[0])
    path = home / "journal" / "1.jsonl"
    whole = path.read_bytes()
    for length in range(len(whole.splitlines(keepends=True)[0]), len(whole)):
        path.write_bytes(whole[:length])
        again, record = journal.resume(1)
        assert set(record.steps) <= {0, 1}
        with again:
            numbers = again.ahead(STEPS[3:4])
            again.became(done=numbers)
        read = journal.read(1)
        assert read.steps[numbers[0]] == STEPS[3]
        assert read.done == record.done | {numbers[0]}
        assert read.head.ended


def test_numbers_are_given_once_whoever_else_begins(home):
    numbers, threads = [], []

    def begin():
        for _ in range(5):
            with Journal().begin("sort", [], steps=STEPS[:1]) as operation:
                numbers.append(operation.number)

    for _ in range(4):
        threads.append(threading.Thread(target=begin))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 21))


def test_a_file_that_is_none_of_ours_is_told_of(home):
    journal = Journal()
    with journal.begin("sort", []):
        pass
    path = home / "journal" / "1.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"format":1', b'"format":2'))
    with pytest.raises(NewerJournal):
        journal.read(1)
    path.write_bytes(b"{}\n")
    with pytest.raises(JournalDamaged) as damaged:
        journal.heads()
    assert str(damaged.value) == f"{path} is damaged: it does not begin as an operation does"
    assert damaged.value.hint == f"mv {path} {path}.damaged   (what it did is not taken back then)"
    with pytest.raises(NoSuchOperation) as missing:
        journal.read(7)
    assert str(missing.value) == "there is no operation 7"


# --------------------------------------------------------------------------- whatever happens


def work(home: Path) -> None:
    journal = Journal(home)
    with journal.begin("sort", ["x"], steps=STEPS[:2]) as operation:
        os.mkfifo(home / "acted")  # by a call that is not watched
        operation.became(done=[0, 1])
        operation.ahead(STEPS[2:])
        operation.became(done=[2, 3], left={4: "gone"})


def test_killed_at_every_point_the_journal_can_be_read_and_gone_on_with(tmp_path):
    points = 0
    while True:
        home = tmp_path / str(points)
        name = killed_at(home, lambda store: work(store.home), points + 1)
        if name is None:
            break
        points += 1
        journal = Journal(home)
        for head in journal.heads():
            again, record = journal.resume(head.number)
            assert len(record.steps) in (2, 5), name
            assert set(record.done) <= set(record.steps), name
            with again:
                again.became(done=record.open)
            assert journal.head(head.number).ended, name
        # nothing is acted on that is not written down
        assert not (home / "acted").exists() or journal.heads(), name
    assert points > 20


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_whatever_the_disk_refuses_is_one_sentence(tmp_path, code):
    failures = 0
    while True:
        home, calls = tmp_path / str(failures), [0]
        Journal(home).folder.mkdir(parents=True)

        def on_call(name, when, path, calls=calls, nth=failures + 1):
            calls[0] += when == "before"
            if when == "before" and calls[0] == nth:
                raise OSError(code, os.strerror(code))

        try:
            with watched(on_call):
                work(home)
        except StorageFailed as error:
            assert os.strerror(code).lower() in str(error)
        if calls[0] <= failures:
            break
        failures += 1
        for head in Journal(home).heads():
            assert set(Journal(home).read(head.number).steps) <= set(range(5))
    assert failures > 10


def test_steps_are_durable_before_they_are_carried_out(tmp_path):
    calls: list[str] = []
    with watched(lambda name, when, path: calls.append(name) if when == "after" else None):
        operation = Journal(tmp_path).begin("sort", [], steps=STEPS[:1])
        assert calls[-2:] == ["fsync", "open"]  # the folder's name for it, and the file again
        written = calls.index("write")
        assert "fsync" in calls[written : calls.index("link")]
        calls.clear()
        with operation:
            operation.ahead(STEPS[1:])
            assert calls == ["write", "fsync"]
        assert calls[-1] == "fsync"


def test_who_is_killed_lets_go(home):
    code = (
        "from promptctl.store.journal import Journal\nimport time\n"
        "o = Journal().begin('sort', [], steps=[{'do': 'x'}])\nprint(o.number, flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        assert Journal().is_running(1)
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    started = time.monotonic()
    operation, record = Journal().resume(1)
    assert time.monotonic() - started < 1
    assert record.open == (0,)
    with operation:
        operation.became(left={0: "killed"})
