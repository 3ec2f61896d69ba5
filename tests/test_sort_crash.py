"""Sorting on a machine that stops at any moment, and on a disk that says no at any moment: no photo is ever lost."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults import killed_at, watched
from sorting import contents, results_of, snapshot, write_photos

from promptctl import commands
from promptctl.errors import NoSuchOperation, PromptctlError
from promptctl.store.journal import Journal
from promptctl.store.store import Store

DISKS = ("one", "two", "plain")  # one file system, two of them, one without hard links
NAMES = ["a.jpg", "b.jpg", "b.xmp", "deep/c.jpg"]


@contextmanager
def disk(kind: str) -> Iterator[None]:
    """Hard links as they are; none between folders; none at all."""
    original = os.link

    def link(source, target, **options):
        if kind == "plain":
            raise OSError(errno.EPERM, "no hard links", str(target))
        if kind == "two" and Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, "another disk", str(target))
        return original(source, target, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", link)
        yield


class Scene:
    """A few photos, a plan of them, and what they were."""

    def __init__(self, folder: Path, mode: str, kind: str, *, applied: bool) -> None:
        self.home, self.inbox, self.into = folder / "home", folder / "inbox", folder / "sorted"
        self.plan, self.kind, self.mode = folder / "plan.jsonl", kind, mode
        for path in (self.home, self.inbox, self.into):
            shutil.rmtree(path, ignore_errors=True)
        self.plan.unlink(missing_ok=True)
        photos = write_photos(self.inbox, NAMES)
        write_photos(self.into, ["emu/theirs.jpg"])
        self.before = snapshot(self.inbox, self.into)
        self.contents = contents(self.inbox, self.into)
        results = results_of(folder / "results.jsonl", [photo for photo in photos if photo.suffix == ".jpg"])
        self.store = Store(self.home)
        commands.sort(results=results, into=self.into, mode=mode, plan=self.plan, store=self.store)
        if applied:
            assert self.apply(self.store) == 0

    def apply(self, store: Store) -> int:
        with disk(self.kind):
            return commands.apply(self.plan, store=store).exit_code

    def undo(self, store: Store) -> int:
        with disk(self.kind):
            return commands.undo(store=store).exit_code

    def now(self):
        return snapshot(self.inbox, self.into)

    def check_nothing_lost(self, where: str) -> None:
        found = contents(self.inbox, self.into)
        assert set(found) >= set(self.contents), where
        if self.mode == "move":
            assert set(found) - set(self.contents) <= set(contents_of_parts(self.inbox, self.into)), where


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is such, since what is done here a thousand times is made durable each time."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    folder = memory / f"promptctl-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def contents_of_parts(*roots: Path) -> list[str]:
    """What unfinished copies and the empty files that hold a place have in them."""
    import hashlib

    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    unfinished = [path for path in files if path.suffix == ".part" or not path.stat().st_size]
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in unfinished]


def scenes(
    tmp_path: Path, mode: str, kind: str, what: str
) -> tuple[Callable[[], Scene], Callable[[Scene, Store], int]]:
    def act(scene: Scene, store: Store) -> int:
        return scene.apply(store) if what == "apply" else scene.undo(store)

    return lambda: Scene(tmp_path, mode, kind, applied=what == "undo"), act


CASES = [(mode, kind, what) for what in ("apply", "undo") for mode in ("move", "copy") for kind in DISKS]
CASES += [("link", "one", "apply"), ("link", "one", "undo")]


@pytest.mark.parametrize(("mode", "kind", "what"), CASES)
def test_killed_at_every_point_nothing_is_lost_and_everything_comes_back(quick, mode, kind, what):
    fresh, act = scenes(quick, mode, kind, what)
    wanted = fresh()
    act(wanted, wanted.store)
    done = wanted.now()
    points = 0
    while True:
        scene = fresh()
        # before a call it looks as it does after the one before
        point = killed_at(scene.home, lambda store, scene=scene: act(scene, store), 2 * points + 1)
        if point is None:
            break
        points += 1
        scene.check_nothing_lost(point)
        if points % 2:  # go on
            if what == "apply":
                assert act(scene, scene.store) == 0, point
            else:
                with_undo(scene, point)
            assert scene.now() == done, f"gone on after {point}"
        if what == "apply" or not points % 2:
            with_undo(scene, point)
            assert scene.now() == scene.before, f"taken back after {point}"
    assert points > 20


def with_undo(scene: Scene, point: str) -> None:
    try:
        assert scene.undo(scene.store) == 0, point
    except NoSuchOperation:  # before the first was written down, or after the last
        assert not Journal(scene.home).to_take_back()


def take_all_back(scene: Scene, where: str) -> None:
    """Whatever was left by an undo that the disk refused, the next one with its number takes back."""
    if Journal(scene.home).heads() and scene.now() != scene.before:
        with disk(scene.kind):
            assert commands.undo(1, store=scene.store).exit_code == 0, where


@pytest.mark.parametrize(("mode", "kind", "what"), CASES)
def test_whatever_the_disk_refuses_nothing_is_lost(quick, mode, kind, what):
    fresh, act = scenes(quick, mode, kind, what)
    for code in (errno.EIO, errno.ENOSPC, errno.EACCES):
        failures = 0
        while True:
            scene, failing = fresh(), [0]

            def on_call(name, when, path, failing=failing, code=code, nth=failures + 1):
                failing[0] += when == "before"
                if when == "before" and failing[0] == nth:
                    raise OSError(code, os.strerror(code), str(path) if isinstance(path, (str, Path)) else None)

            try:
                with watched(on_call):
                    act(scene, scene.store)
            except PromptctlError as error:
                assert os.strerror(code).lower() in str(error)
            if failing[0] <= failures:
                break
            failures += 1
            scene.check_nothing_lost(f"{code} at {failures}")
            take_all_back(scene, f"{code} at {failures}")
            assert scene.now() == scene.before, f"{code} at {failures}"
        assert failures > 10


def test_the_old_name_goes_after_the_new_one_is_durable(tmp_path):
    scene, calls = Scene(tmp_path, "move", "one", applied=False), []
    with watched(lambda name, when, path: calls.append((name, str(path))) if when == "after" else None):
        scene.apply(scene.store)
    linked = max(i for i, (name, path) in enumerate(calls) if name == "link" and path.startswith(str(scene.inbox)))
    gone = min(i for i, (name, path) in enumerate(calls) if name == "unlink" and path.startswith(str(scene.inbox)))
    opened = [path for name, path in calls[linked:gone] if name == "open"]
    assert opened == [str(scene.into / "emu"), str(scene.into / "ibis")]
    assert [name for name, _ in calls[linked:gone]].count("fsync") == 2


# --------------------------------------------------------------------------- a disk that is full, another disk


def test_across_file_systems_and_back(tmp_path):
    there = Path("/dev/shm")
    if not there.is_dir() or there.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system only")
    into = there / f"promptctl-{os.getpid()}"
    photos = write_photos(tmp_path / "inbox", ["a.jpg", "a.xmp", "b.jpg"])
    photos[0].chmod(0o640)
    before = snapshot(tmp_path / "inbox")
    try:
        report = commands.sort(results=results_of(tmp_path / "r.jsonl", [photos[0], photos[2]]), into=into, mode="move")
        assert (report.exit_code, len(report.photos), report.sidecars) == (0, 2, 1)
        assert not list((tmp_path / "inbox").iterdir())
        moved = (into / "emu" / "a.jpg").stat()
        assert (moved.st_mtime_ns, moved.st_mode & 0o777) == (before[str(photos[0])][1], 0o640)
        assert commands.undo().exit_code == 0
        assert snapshot(tmp_path / "inbox") == before
        assert not into.exists()
    finally:
        shutil.rmtree(into, ignore_errors=True)


def test_a_full_disk_stops_with_the_photo_whole_and_the_same_command_goes_on(tmp_path, cli):
    photos = write_photos(tmp_path / "inbox", [f"{i}.jpg" for i in range(6)])
    photos[3].write_bytes(b"large" * 1000)
    before = snapshot(tmp_path / "inbox")
    results, into = results_of(tmp_path / "r.jsonl", photos), tmp_path / "sorted"
    original = os.write

    def write(descriptor, data):
        if len(data) == 5000:
            original(descriptor, data[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(descriptor, data)

    with disk("two"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", write)
        done = cli("sort", "--from", results, "--into", into, "--move")
    assert done.code == 3
    assert "error: stopped: no space left on device; make room, and the same command goes on, or " in done.err
    assert sorted(path.name for path in into.rglob("*") if path.is_file()) == ["0.jpg", "1.jpg", "2.jpg"]
    assert {path: what for path, what in before.items() if path[-5] in "345"} == snapshot(tmp_path / "inbox")
    with disk("two"):
        rest = results_of(tmp_path / "rest.jsonl", photos[3:])
        assert cli("sort", "--from", rest, "--into", into, "--move").code == 0
        assert cli("undo").code == cli("undo").code == 0
    assert snapshot(tmp_path / "inbox") == before


# --------------------------------------------------------------------------- killed and interrupted at random

SORT = """
import sys
sys.argv = ["promptctl", *sys.argv[1:]]
from promptctl.cli.main import main
main()
"""


def started(home: Path, *arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PROMPTCTL_HOME": str(home)}
    command = [sys.executable, "-c", SORT, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for_moves(process: subprocess.Popen[str], inbox: Path, total: int, *, least: int = 1) -> None:
    while process.poll() is None and len(os.listdir(inbox)) > total - least:  # noqa: PTH208
        time.sleep(0.002)


@pytest.mark.parametrize("kills", [6])
def test_killed_at_random_times_every_photo_is_recorded_and_comes_back(tmp_path, home, kills):
    chance, total = random.Random(7), 300
    inbox, into, plan = tmp_path / "inbox", tmp_path / "sorted", tmp_path / "plan.jsonl"
    photos = write_photos(inbox, [f"IMG_{i:04}.jpg" for i in range(total)])
    before, every = snapshot(inbox), contents(inbox)
    commands.sort(results=results_of(tmp_path / "r.jsonl", photos), into=into, mode="move", plan=plan)
    for _ in range(kills):
        left = len(os.listdir(inbox))  # noqa: PTH208
        process = started(home, "apply", plan)
        wait_for_moves(process, inbox, left)
        time.sleep(chance.random() * 0.05)
        process.kill()
        process.communicate()
        found = set(contents(inbox, into))
        assert found == set(every), "in one place or in both"
        recorded = {step.get("to") for step in Journal().read(1).steps.values()} if Journal().heads() else set()
        assert {str(path) for path in into.rglob("*.jpg")} <= recorded
    assert commands.undo().exit_code == 0
    assert snapshot(inbox) == before
    assert not into.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_is_gone_at_once_and_goes_on(tmp_path, home, number, code):
    total = 1500
    inbox, into, plan = tmp_path / "inbox", tmp_path / "sorted", tmp_path / "plan.jsonl"
    photos = write_photos(inbox, [f"IMG_{i:04}.jpg" for i in range(total)])
    before = snapshot(inbox)
    commands.sort(results=results_of(tmp_path / "r.jsonl", photos), into=into, mode="move", plan=plan)
    process = started(home, "apply", plan)
    wait_for_moves(process, inbox, total)
    process.send_signal(number)
    pressed = time.monotonic()
    _, said = process.communicate()
    took = time.monotonic() - pressed
    if process.returncode:  # else it was quicker than the signal
        assert process.returncode == code
        assert said.endswith(
            "error: interrupted; what was done is operation 1: the same command goes on, promptctl undo takes it back\n"
        )
        assert took < 2
    names = [path.name for root in (inbox, into) for path in root.rglob("*.jpg")]
    assert len(names) == len(set(names)) == total, "each in one place"
    report = commands.apply(plan)
    assert (report.exit_code, report.before + len(report.photos)) == (0, total)
    assert commands.undo().exit_code == 0
    assert snapshot(inbox) == before
