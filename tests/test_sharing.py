"""A store that several programs use at once, and one that does what its model does whatever the order."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from faults import CALLS, Model, payload, sha, state, watched
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from promptctl.context.context import Context
from promptctl.errors import ContextExists, InvalidName, NewestVersion, StoreLocked
from promptctl.store import files, lock
from promptctl.store.lock import only_writer
from promptctl.store.refs import Ref, check_name
from promptctl.store.store import Store


def _save_many(home: Path, count: int, number: int, told: multiprocessing.Queue[tuple[int, int]]) -> None:
    data = payload(number)
    for _ in range(count):
        told.put((number, Store(home).save("birds", data, new=False).ref.version or 0))


def test_sixteen_programs_save_fifty_versions_each_and_each_is_told_which(tmp_path):
    home, spawn = tmp_path / "store", multiprocessing.get_context("fork")
    told = spawn.Queue()
    workers = [spawn.Process(target=_save_many, args=(home, 50, number, told)) for number in range(16)]
    for worker in workers:
        worker.start()
    said = [told.get(timeout=120) for _ in range(800)]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    seed_of = {e.ref.version: Context.load(e.path).card.method.seed for e in Store(home).versions("birds")}
    assert sorted(seed_of) == list(range(1, 801))
    assert seed_of == {version: number for number, version in said}


def _hold(home: Path, held: Path, seconds: float) -> None:
    home.mkdir(parents=True, exist_ok=True)
    with only_writer(home):
        held.touch()
        time.sleep(seconds)


@pytest.fixture
def holder(tmp_path):
    process = multiprocessing.get_context("fork").Process(
        target=_hold, args=(tmp_path / "store", tmp_path / "held", 60)
    )
    process.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.005)
    yield process
    process.kill()
    process.join()


def test_waiting_for_a_lock_ends_and_says_who_holds_it(tmp_path, holder, monkeypatch, cli):
    monkeypatch.setenv("PROMPTCTL_LOCK_TIMEOUT", "0.3")
    started = time.monotonic()
    with pytest.raises(StoreLocked) as refused:
        Store(tmp_path / "store").save("birds", payload(1), new=True)
    assert 0.3 <= time.monotonic() - started < 30
    assert str(refused.value).startswith(f"process {holder.pid} (")
    assert str(refused.value).endswith(f") has held {tmp_path / 'store' / '.lock'} too long")
    monkeypatch.setenv("PROMPTCTL_HOME", str(tmp_path / "store"))
    assert cli("remove", "birds", "--yes").code == 11
    assert cli("list").code == 0, "reading waits for nobody"


def test_a_lock_does_not_outlive_its_holder(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    started = time.monotonic()
    Store(tmp_path / "store").save("birds", payload(1), new=True)
    assert time.monotonic() - started < 30, "as long as one waits for a holder that lives"


def test_a_waiting_time_is_a_number(tmp_path, monkeypatch, cli):
    monkeypatch.setenv("PROMPTCTL_LOCK_TIMEOUT", "soon")
    done = cli("gc")
    assert (done.code, done.err.splitlines()[0]) == (
        1,
        "error: PROMPTCTL_LOCK_TIMEOUT is 'soon', a number of seconds was expected",
    )


def test_what_only_reads_writes_nothing(cli, photos, tiny, tmp_path):
    assert cli("learn", photos, "--name", "colours", "--shots", 2, "--model", tiny, "--epochs", 1).code == 0
    assert cli("learn", photos, "--name", "colours", "--shots", 3, "--model", tiny, "--epochs", 1, "--fresh").code == 0
    assert cli("export", "colours", tmp_path / "c.safetensors").code == 0

    def refuse(name, when, path):
        changes = name != "open"
        if changes and when == "before":
            raise OSError(30, "Read-only file system", str(path))

    with watched(refuse):
        for command in (
            ("list",),
            ("list", "--trash"),
            ("show", "colours"),
            ("log", "colours"),
            ("diff", "colours@1", "colours"),
            ("check", "--all"),
            ("gc", "--dry-run"),
            ("path", "colours"),
            ("inspect", "colours"),
            ("classify", photos, "--prompt", "colours"),
            ("classify", photos, "--prompt", tmp_path / "c.safetensors"),
        ):
            assert cli(*command).code == 0, command
        done = cli("remove", "colours", "--yes")
        assert done.code == 1
        assert done.err.endswith("read-only file system\nhint:  PROMPTCTL_HOME moves the store elsewhere\n")


def test_the_watch_sees_every_call():
    assert set(CALLS) >= {"open", "write", "fsync", "link", "rename", "unlink", "mkdir"}


# --------------------------------------------------------------------------- the store beside a dict

NAMES = st.sampled_from(["birds", "fish", "plants"])
PAYLOADS = {sha(data): data for data in (payload(number) for number in range(5))}


class StoreBesideModel(RuleBasedStateMachine):
    """Every verb in any order, possible or refused, on the store and on a dict."""

    @initialize()
    def begin(self):
        self.home = Path(tempfile.mkdtemp(dir=self.root))
        self.store, self.model = Store(self.home), Model()

    def version_of(self, name: str, place: int) -> int:
        versions = sorted(self.model.names[name])
        return versions[place % len(versions)]

    @rule(name=NAMES, digest=st.sampled_from(sorted(PAYLOADS)))
    def save(self, name, digest):
        assert self.store.save(name, PAYLOADS[digest], new=False).ref.version == self.model.save(name, digest)

    @rule(name=NAMES, digest=st.sampled_from(sorted(PAYLOADS)))
    def save_new(self, name, digest):
        if name in self.model.names:
            with pytest.raises(ContextExists):
                self.store.save(name.upper(), PAYLOADS[digest], new=True)
        else:
            self.store.save(name, PAYLOADS[digest], new=True)
            self.model.save(name, digest)

    @precondition(lambda self: self.model.names)
    @rule(data=st.data(), other=NAMES, renamed=st.booleans())
    def copy_or_rename(self, data, other, renamed):
        name = data.draw(st.sampled_from(sorted(self.model.names)))
        act = self.store.rename if renamed else lambda old, new: self.store.copy(Ref(old), new)
        if other in self.model.names:
            with pytest.raises(ContextExists):
                act(name, other)
        else:
            act(name, other)
            (self.model.rename if renamed else self.model.copy)(name, other)

    @precondition(lambda self: self.model.names)
    @rule(data=st.data())
    def remove(self, data):
        name = data.draw(st.sampled_from(sorted(self.model.names)))
        self.store.remove(Ref(name))
        self.model.remove(name)

    @precondition(lambda self: self.model.names)
    @rule(data=st.data(), place=st.integers(0, 9))
    def remove_version(self, data, place):
        name = data.draw(st.sampled_from(sorted(self.model.names)))
        number = self.version_of(name, place)
        if len(self.model.names[name]) == 1:
            self.store.remove(Ref(name, number))
            self.model.remove(name)
        elif number == max(self.model.names[name]):
            with pytest.raises(NewestVersion):
                self.store.remove(Ref(name, number))
        else:
            self.store.remove(Ref(name, number))
            self.model.remove_version(name, number)

    @precondition(lambda self: self.model.trash)
    @rule(data=st.data())
    def restore(self, data):
        name = data.draw(st.sampled_from(sorted({name for name, _ in self.model.trash})))
        newest = next(versions for removed, versions in reversed(self.model.trash) if removed == name)
        stored = self.model.names.get(name, {})
        alone = len(newest) == 1 and max(newest) < max(stored, default=0)
        if stored and (not alone or set(newest) & set(stored)):
            with pytest.raises(ContextExists):
                self.store.restore(Ref(name))
        else:
            self.store.restore(Ref(name))
            self.model.restore(name)

    @precondition(lambda self: self.model.names)
    @rule(data=st.data(), place=st.integers(0, 9))
    def restore_version(self, data, place):
        name = data.draw(st.sampled_from(sorted(self.model.names)))
        number = self.version_of(name, place)
        entry = self.store.restore(Ref(name, number))
        assert entry.ref.version == self.model.restore_version(name, number)

    @rule(empty=st.booleans())
    def collect(self, empty):
        self.store.gc(0 if empty else 30)
        if empty:
            self.model.empty_trash()

    @invariant()
    def same(self):
        if not hasattr(self, "home"):
            return
        assert state(self.home) == self.model.state()
        assert self.store.names() == tuple(sorted(self.model.names))
        for name, versions in self.model.names.items():
            assert [entry.ref.version for entry in self.store.versions(name)] == sorted(versions)
        assert len(self.store.trash()) >= len(self.model.trash)


def test_the_store_does_what_its_model_does(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fsync_folder", lambda folder: None)  # a thousand saves need not outlive the power

    class Machine(StoreBesideModel):
        root = tmp_path

    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


# --------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("", None),
        (".", None),
        ("..", None),
        ("a/b", "a-b"),
        ("a\\b", "a-b"),
        ("../x", "x"),
        ("birds.v2", "birds-v2"),
        ("a\nb", "a-b"),
        ("\x1b[31mred", "31mred"),
        ("con", "my-con"),
        ("COM1", "my-COM1"),
        ("x" * 65, "x" * 64),
        ("Vögel im Garten", "Vogel-im-Garten"),
        ("-rf", "rf"),
        ("a b", "a-b"),
    ],
)
def test_names_that_are_none_are_refused_with_one_that_is(cli, name, suggestion):
    with pytest.raises(InvalidName) as refused:
        check_name(name)
    assert refused.value.hint == (f"try '{suggestion}'" if suggestion else "use letters, digits, '-' and '_'")
    if suggestion:
        check_name(suggestion)
    for command in (("copy", "x", name), ("rename", "x", name)):
        done = cli(*command[:2], "--", command[2]) if name.startswith("-") else cli(*command)
        assert done.code in (1, 2, 10)
        assert not set(done.err) & (set(map(chr, range(32))) - set("\n"))


# --------------------------------------------------------------------------- the lock's own files


def test_who_waits_is_told_for_whom(tmp_path, holder, monkeypatch, cli):
    monkeypatch.setattr(lock, "_PATIENCE", 0.1)
    monkeypatch.setenv("PROMPTCTL_LOCK_TIMEOUT", "0.5")
    monkeypatch.setenv("PROMPTCTL_HOME", str(tmp_path / "store"))
    started = time.monotonic()
    done = cli("gc")
    assert done.code == 11
    assert time.monotonic() - started < 20, "half a second is to be waited, however busy the machine is"
    assert done.err.startswith(f"warning: waiting for process {holder.pid} (")
    assert done.err.splitlines()[0].endswith("), which is changing the store")
    assert len(done.err.splitlines()) == 3, "once"


def test_waiting_for_a_lock_is_interrupted_at_once(tmp_path, holder):
    command = [sys.executable, "-m", "promptctl", "gc"]
    environment = {**os.environ, "PROMPTCTL_HOME": str(tmp_path / "store")}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("warning: waiting for process ")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130  # and not after the minute for which the lock is held
        assert process.stderr.read() == "error: interrupted, nothing half-done was kept\n"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "pipe", "folder"])
def test_the_note_of_who_holds_the_lock_is_written_to_nothing_else(tmp_path, kind):
    home, precious = tmp_path / "store", tmp_path / "precious"
    Store(home).save("birds", payload(1), new=True)
    precious.write_text("mine")
    note = home / ".lock-holder"
    note.unlink()
    {
        "link": lambda: note.symlink_to(precious),
        "dangling link": lambda: note.symlink_to(tmp_path / "nowhere"),
        "hard link": lambda: note.hardlink_to(precious),
        "pipe": lambda: os.mkfifo(note),
        "folder": lambda: note.mkdir(),
    }[kind]()
    assert Store(home).save("birds", payload(2), new=False).ref.version == 2
    assert precious.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    with lock.only_writer(home):
        pass
    if kind != "hard link":
        assert lock._holder(note) == "another program"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
def test_what_stands_for_the_lock_itself_is_refused(tmp_path, kind, monkeypatch, cli):
    home, precious = tmp_path / "store", tmp_path / "precious"
    Store(home).save("birds", payload(1), new=True)
    precious.write_text("mine")
    path = home / ".lock"
    path.unlink()
    {
        "link": lambda: path.symlink_to(precious),
        "dangling link": lambda: path.symlink_to(tmp_path / "nowhere"),
        "pipe": lambda: os.mkfifo(path),
        "folder": lambda: path.mkdir(),
    }[kind]()
    monkeypatch.setenv("PROMPTCTL_HOME", str(home))
    done = cli("remove", "birds", "--yes")
    assert (done.code, done.err.splitlines()) == (
        1,
        [f"error: {path} is not a regular file, and the store needs one there", f"hint:  ls -l {path}"],
    )
    assert precious.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    assert cli("list").code == 0


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
def test_a_drive_without_locks_is_told_what_to_do(tmp_path, monkeypatch, cli, code):
    def none(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(lock, "_take", none)
    monkeypatch.setenv("PROMPTCTL_HOME", str(tmp_path / "store"))
    done = cli("gc")
    assert (done.code, done.err.splitlines()) == (
        1,
        [
            f"error: {tmp_path / 'store'} is on a drive without file locks ({os.strerror(code).lower()}), "
            "and the store is not changed without them",
            "hint:  PROMPTCTL_HOME moves the store to a drive of this machine; reading still works",
        ],
    )


def test_a_pipe_as_a_context_is_said_to_be_one(cli, photos, tmp_path):
    os.mkfifo(tmp_path / "context")
    refused = cli("classify", photos, "--prompt", tmp_path / "context")
    assert refused.code == 10
    assert f"error: {tmp_path / 'context'} is a pipe or a device, and a file was expected" in refused.err
