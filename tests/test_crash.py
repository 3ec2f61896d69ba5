"""A store on a machine that stops at any moment, and on a disk that says no at any moment."""

from __future__ import annotations

import copy
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from faults import (
    CALLS,
    CANDIDATE,
    OPERATIONS,
    Model,
    killed_at,
    leftovers,
    payload,
    prepared,
    sha,
    signalled_at,
    state,
    watched,
)

from promptctl import signals
from promptctl.errors import Interrupted, StorageFailed
from promptctl.store.refs import Ref
from promptctl.store.store import Store

PAYLOADS = [payload(number) for number in range(20)]
MORE = ("save_candidate", "save_candidate", "promote", "remove_candidate", "restore_candidate")
NAMES = ("birds", "fish", "plants", "trees")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    home = tmp_path_factory.mktemp("original") / "home"
    prepared(home)
    return home


@pytest.fixture
def fresh(original, tmp_path):
    """Make a copy of the prepared store, as often as one likes."""

    def copy() -> Path:
        home = tmp_path / "home"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(original, home)
        return home

    return copy


def after(fresh, operation: str):
    home = fresh()
    OPERATIONS[operation](Store(home))
    return state(home)


def halfway(fresh, operation: str):
    """How a store may look in the middle of the one operation that is two steps."""
    return after(fresh, "remove a candidate") if operation == "replace a candidate" else None


@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_every_point_an_operation_has_happened_or_not(fresh, operation):
    wanted, middle, before = after(fresh, operation), halfway(fresh, operation), state(fresh())
    points, seen = [], []
    while True:
        home = fresh()
        point = killed_at(home, OPERATIONS[operation], len(points) + 1)
        if point is None:
            break
        points.append(point)
        found = state(home)
        between = operation == "collect garbage"  # it takes one thing after the other, each as a whole
        assert found in (before, middle, wanted) or (between and set(found) <= set(before)), point
        seen.append(found)
        store = Store(home)
        assert [entry.fault for entry in store.entries()] == [None] * len(store.names()), point
        store.gc()
        assert leftovers(home) == [], point
        assert state(home) == found, point
        if found in (before, middle):
            OPERATIONS[operation](Store(home))
            assert state(home) == wanted, f"again after {point}"
    assert len(points) >= 4, points
    assert before in seen
    assert wanted in seen


@pytest.mark.parametrize("operation", OPERATIONS)
def test_whatever_the_disk_refuses_is_one_sentence_and_no_damage(fresh, operation):
    wanted, middle, before = after(fresh, operation), halfway(fresh, operation), state(fresh())
    for code in (errno.EIO, errno.ENOSPC, errno.EACCES):
        failures = refused = 0
        while True:
            home, failing = fresh(), [0]

            def on_call(name, when, path, failing=failing, code=code, nth=failures + 1):
                failing[0] += when == "before"
                if when == "before" and failing[0] == nth:
                    raise OSError(code, os.strerror(code), str(path) if isinstance(path, (str, Path)) else None)

            try:
                with watched(on_call):
                    OPERATIONS[operation](Store(home))
            except StorageFailed as error:
                refused += 1
                assert str(home) in str(error)
                assert os.strerror(code).lower() in str(error)
                assert "\n" not in str(error)
            if failing[0] <= failures:
                break
            failures += 1
            found = state(home)
            between = operation == "collect garbage"
            assert found in (before, middle, wanted) or (between and set(found) <= set(before)), f"{failures}, {code}"
            store = Store(home)
            store.gc()
            assert leftovers(home) == []
            if found in (before, middle):
                OPERATIONS[operation](store)
                assert state(home) == wanted
        assert refused >= 2


def test_a_file_is_durable_before_it_has_its_name_and_the_folder_after(fresh):
    for operation in ("save the next version", "save a new name", "restore an old version", "copy"):
        home, calls = fresh(), []
        with watched(lambda name, when, path, calls=calls: calls.append(name) if when == "after" else None):
            OPERATIONS[operation](Store(home))
        named = max(i for i, name in enumerate(calls) if name in ("link", "rename"))
        assert "fsync" in calls[calls.index("write") : named], operation
        assert calls[named + 1 :].count("fsync") >= 1, operation


# --------------------------------------------------------------------------- killed at random


def one_step(store: Store, chance: random.Random, said) -> None:
    """Some operation that is possible now; what is meant and what was done are written down outside the store."""
    names = store.names()
    free = [name for name in NAMES if name not in names]
    removed = [r for r in store.trash() if r.name not in names and r.versions]
    many = [name for name in names if len(store.versions(name)) > 1]
    waiting = [name for name in names if store.candidate(name)]
    kind = chance.choice(
        ["save", "save", "copy", "rename", "remove", "remove_version", "restore", "again", "gc", *MORE]
    )
    if kind == "save":
        name, data = chance.choice(NAMES), chance.choice(PAYLOADS)
        said("save", name, sha(data))
        store.save(name, data, new=False)
    elif kind in ("copy", "rename") and names and free:
        name, target = chance.choice(names), chance.choice(free)
        said(kind, name, target)
        store.copy(Ref(name), target) if kind == "copy" else store.rename(name, target)
    elif kind == "remove" and names:
        name = chance.choice(names)
        said("remove", name)
        store.remove(Ref(name))
    elif kind == "remove_version" and many:
        name = chance.choice(many)
        number = min(entry.ref.version or 0 for entry in store.versions(name))
        said("remove_version", name, number)
        store.remove(Ref(name, number))
    elif kind == "restore" and removed:
        said("restore", removed[0].name)
        store.restore(Ref(removed[0].name))
    elif kind == "again" and many:
        name = chance.choice(many)
        number = min(entry.ref.version or 0 for entry in store.versions(name))
        said("restore_version", name, number)
        store.restore(Ref(name, number))
    elif kind == "save_candidate" and names:
        name, data = chance.choice(names), chance.choice(PAYLOADS)
        said("save_candidate", name, sha(data))
        store.save_candidate(name, data)
    elif kind == "promote" and waiting:
        name = chance.choice(waiting)
        said("promote", name)
        store.promote(name)
    elif kind == "remove_candidate" and waiting:
        name = chance.choice(waiting)
        said("remove_version", name, CANDIDATE)
        store.remove(Ref(name, candidate=True))
    elif kind == "restore_candidate" and names:
        lone = [r.name for r in store.trash() if r.refs == (Ref(r.name, candidate=True),)]
        lone = [name for name in lone if name in names and name not in waiting]
        if not lone:
            return
        said("restore_candidate", lone[0])
        store.restore(Ref(lone[0], candidate=True))
    elif kind == "gc":
        said("nothing")
        store.gc()
    else:
        return
    said("done")


def work_until_killed(home: Path, journal: Path, seed: int) -> None:
    out = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def said(*words: object) -> None:
        os.write(out, (json.dumps(words) + "\n").encode())

    chance, store = random.Random(seed), Store(home)
    while True:
        one_step(store, chance, said)


def kill_at_random(home: Path, journal: Path, kills: int) -> tuple[int, int]:
    """Kill a working process so often; after each the store must hold what was acknowledged.

    returns   the operations that were waited for, and those that were done
    """
    model, asked, done, chance = Model(), 0, 0, random.Random(0)
    for kill in range(kills):
        journal.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            try:
                work_until_killed(home, journal, kill)
            finally:
                os._exit(1)
        wanted = chance.randrange(4)  # operations it does first, however slow a busy machine makes it
        asked += wanted
        while not journal.exists() or journal.read_bytes().count(b'["done"]') < wanted:
            assert not os.waitpid(child, os.WNOHANG)[0], "it ended by itself, so it failed"
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "it ended by itself, so it failed"
        lines = [json.loads(line) for line in journal.read_text().splitlines()]
        meant: list[object] | None = None
        for line in lines:
            if line == ["done"]:
                act(model, meant)
                meant, done = None, done + 1
            else:
                meant = line
        found = state(home)
        if found != model.state() and meant and meant[0] == "save_candidate" and CANDIDATE in model.names[meant[1]]:
            halfway = copy.deepcopy(model)
            halfway.remove_version(meant[1], CANDIDATE)
            model = halfway if found == halfway.state() else model
        if found != model.state():
            assert meant is not None, f"kill {kill}: acknowledged and lost"
            act(model, meant)
        assert found == model.state(), f"kill {kill}: {meant} is half done"
        assert all(entry.fault is None for entry in Store(home).entries())
    Store(home).gc()
    assert leftovers(home) == []
    assert state(home) == model.state()
    return asked, done


def act(model: Model, meant) -> None:
    verb, *rest = meant
    if verb != "nothing":
        getattr(model, verb)(*rest)


def test_killed_at_random_nothing_acknowledged_is_lost(tmp_path):
    asked, done = kill_at_random(tmp_path / "home", tmp_path / "journal", 60)
    assert done >= asked > 60


def test_the_list_of_calls_is_whole():
    import promptctl.store.files

    text = Path(promptctl.store.files.__file__).read_text()
    used = {name for name in dir(os) if f"os.{name}(" in text and callable(getattr(os, name))}
    assert used <= {*CALLS, "close", "fstat", "read"}


# --------------------------------------------------------------------------- asked to end

COMMANDS = {
    "import": ("import", "{file}", "--name", "trees"),
    "copy": ("copy", "birds", "finches"),
    "copy a version": ("copy", "birds@2", "finches"),
    "rename": ("rename", "birds", "finches"),
    "remove": ("remove", "birds", "--yes"),
    "remove a version": ("remove", "birds@2", "--yes"),
    "restore an old version": ("restore", "birds@2"),
    "restore a name": ("restore", "fish"),
    "restore a removed version": ("restore", "birds@1"),
    "restore one of a removed name": ("restore", "fish@1"),
    "promote": ("promote", "birds@candidate"),
    "remove a candidate": ("remove", "birds@candidate", "--yes"),
    "collect garbage": ("gc", "--days", "0", "--yes"),
    "export": ("export", "birds", "{out}", "--force"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_signal_at_any_point_finds_it_done_or_not_begun_and_the_command_says_which(fresh, tmp_path, command):
    file, out = tmp_path / "trees.safetensors", tmp_path / "out.safetensors"
    file.write_bytes(payload(7))
    arguments = [part.format(file=file, out=out) for part in COMMANDS[command]]

    def found(home: Path) -> object:
        return state(home), sha(out.read_bytes()) if out.exists() else None

    def run(point: int) -> tuple[object, str | None, int]:
        out.unlink(missing_ok=True)
        home = fresh()
        name, code = signalled_at(home, arguments, point, (signal.SIGINT, signal.SIGTERM)[point % 2])
        return found(home), name, code

    out.unlink(missing_ok=True)
    before = found(fresh())
    wanted, name, code = run(0)
    assert (name, code) == (None, 0)
    codes = []
    while True:
        there, name, code = run(len(codes) + 1)
        if name is None:
            break
        codes.append(code)
        stopped = (143, 130)[len(codes) % 2 == 0]
        assert (code, there) in ((0, wanted), (stopped, before)), name
    assert codes[0] == 143
    assert codes[-1] == 0
    assert set(codes[codes.index(0) :]) == {0}, "once it has happened, it stays done"


def test_a_second_signal_ends_at_once_whatever_has_happened(monkeypatch):
    child = os.fork()
    if child == 0:
        signals.listen()
        with signals.step():
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


def test_a_step_that_fails_under_a_signal_is_an_interruption(heard):
    with pytest.raises(Interrupted) as stopped, signals.step():
        os.kill(os.getpid(), signal.SIGTERM)
        raise OSError(28, "No space left on device")
    assert stopped.value.exit_code == 143


class Dying:
    """Something whose end is slow enough to be interrupted."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass


def test_an_interruption_inside_a_finalizer_is_not_lost(heard, capsys):
    def work():
        Dying()
        time.sleep(30)

    started = time.monotonic()
    with pytest.raises(Interrupted):
        work()
    assert time.monotonic() - started < 25, "it slept to its end"
    assert capsys.readouterr().err == ""


def test_an_interruption_inside_a_finalizer_is_not_lost_where_a_thread_is_slow_to_start(heard, monkeypatch):
    original = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda thread: (original(thread), time.sleep(0.1))[0])
    with pytest.raises(Interrupted):
        Dying()
        time.sleep(20)


@pytest.fixture
def heard():
    """Signals are listened to, and afterwards as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hook = sys.unraisablehook
    signals.listen()
    yield
    signals.finish()
    sys.unraisablehook = hook
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_while_the_interpreter_ends_changes_nothing(tmp_path):
    code = (
        "import atexit, sys, time\nsys.argv = ['promptctl', 'path']\nfrom promptctl.cli.main import main\n"
        "atexit.register(lambda: (print('ending', flush=True), time.sleep(1)))\nmain()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)][1] == "ending\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


def test_a_signal_while_the_commands_are_imported_is_one_sentence(tmp_path):
    code = (
        "import os, signal, sys\nsys.argv = ['promptctl', 'list']\n"
        "class Press:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'promptctl.store.store':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Press())\nfrom promptctl.cli.main import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted, nothing half-done was kept\n")
