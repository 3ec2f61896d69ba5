"""Watch: what arrives is sorted once it is whole, nothing twice, nothing left out, whatever stops the program."""

from __future__ import annotations

import json
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

import numpy as np
import pytest
from faults import killed_at
from PIL import Image
from sorting import contents, snapshot

from promptctl import commands
from promptctl.data.walk import every_file
from promptctl.errors import ExtraMissing, NoImages, WatchedAlready
from promptctl.report import Arrived, SkippedFile
from promptctl.sorting.inbox import Inbox
from promptctl.store.journal import Journal
from promptctl.store.store import Store

MODES = ("copy", "move", "link")
SETTLE = 0.05  # seconds


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "sorted"


@pytest.fixture
def learned(colours_bytes, answering) -> None:
    Store().save("colours", colours_bytes, new=True)


def painted(path: Path, colour: tuple[int, int, int], seed: int = 0) -> Path:
    """A noisy picture, another for each seed."""
    noise = np.random.default_rng(seed).normal(0, 40, (40, 48, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(path)
    return path


def red(path: Path, seed: int = 0) -> Path:
    return painted(path, (220, 30, 30), seed)


def once(inbox: Path, into: Path, **options: object) -> list[Arrived | SkippedFile]:
    options = {"settle": SETTLE, "unknown": None, **options}
    return list(commands.watch(inbox, "colours", into=into, once=True, **options).items())


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def wait_until(holds: Callable[[], object], seconds: float = 60) -> None:
    over = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < over, "it never came about"
        time.sleep(0.02)


# --------------------------------------------------------------------------- at rest or not


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """An inbox that is looked at by a clock of its own."""

    def __init__(self, folder: Path, settle: float = 2.0) -> None:
        self.folder, self.clock = folder, Time()
        self.inbox = Inbox(settle, lambda _: False, self.clock)

    def at(self, now: float) -> list[str]:
        self.clock.now = now
        self.inbox.look(sorted(str(path) for path in self.folder.iterdir()))
        return [Path(path).name for path in self.inbox.ready().batch()]


def test_a_photo_waits_until_it_stays_as_it_is(inbox):
    photo, desk = inbox / "a.jpg", Desk(inbox)
    for second in range(5):
        with photo.open("ab") as file:
            file.write(b"more")
        assert desk.at(second) == []
    assert desk.at(5.9) == []
    assert desk.at(6.0) == ["a.jpg"]
    desk.inbox.settle_all([str(photo)])
    assert desk.at(7) == []
    photo.chmod(0o600)
    assert desk.at(8) == [], "another mode is no other photo"
    photo.write_bytes(b"another")
    assert desk.at(9) == []
    assert desk.at(11) == ["a.jpg"]


def test_a_photo_waits_for_the_sidecar_that_is_still_arriving(inbox):
    desk = Desk(inbox)
    for name in ("a.jpg", "b.jpg"):
        inbox.joinpath(name).write_bytes(b"photo")
    assert desk.at(0) == []
    inbox.joinpath("a.xmp").write_bytes(b"half")
    assert desk.at(1.9) == []
    assert desk.at(3) == [], "b.jpg has patience, so that both are one batch"
    assert sorted(desk.at(3.9)) == ["a.jpg", "b.jpg"]


def test_patience_ends_while_others_never_come_to_rest(inbox):
    desk = Desk(inbox)
    inbox.joinpath("a.jpg").write_bytes(b"photo")
    for second in range(13):
        inbox.joinpath("film.jpg").write_bytes(b"x" * second)
        assert desk.at(second) == (["a.jpg"] if second == 12 else [])


def test_what_is_not_whole_by_its_name_and_the_raw_of_a_pair_are_no_photos(inbox):
    desk = Desk(inbox)
    for name in ("a.jpg.part", "b.jpg.crdownload", "c.CR2", "c.jpg", "d.mov"):
        inbox.joinpath(name).write_bytes(b"photo")
    desk.at(0)
    assert desk.at(2) == ["c.jpg"]


def test_what_is_refused_is_tried_again_after_pauses_and_when_it_changes(inbox):
    photo, desk = inbox / "a.jpg", Desk(inbox)
    photo.write_bytes(b"photo")
    desk.at(0)
    assert desk.at(2) == ["a.jpg"]
    desk.inbox.put_off([str(photo)], 60)
    assert [desk.at(61), desk.at(62)] == [[], ["a.jpg"]]
    desk.inbox.put_off([str(photo)], 60)
    assert [desk.at(181), desk.at(182)] == [[], ["a.jpg"]]
    desk.inbox.put_off([str(photo)], 60)
    photo.chmod(0o600)
    desk.at(190)
    assert desk.at(192) == ["a.jpg"]


def test_no_batch_has_more_than_a_thousand(inbox):
    desk = Desk(inbox)
    for i in range(1001):
        inbox.joinpath(f"{i:04}.jpg").touch()
    desk.at(0)
    assert len(desk.at(2)) == 1000


# --------------------------------------------------------------------------- what happens


@pytest.mark.parametrize("mode", MODES)
def test_what_is_there_is_sorted_once_and_comes_back(inbox, into, learned, mode):
    red(inbox / "a.png"), red(inbox / "deep/b.png", 1)
    inbox.joinpath("a.xmp").write_text("about a")
    before = snapshot(inbox)
    first = once(inbox, into, mode=mode)
    assert sorted((item.target, item.sidecars, item.operation) for item in first) == [
        ("red/a.png", 1, 2),
        ("red/b.png", 0, 2),
    ]
    assert below(into) == ["red/a.png", "red/a.xmp", "red/b.png"]
    assert below(inbox) == ([] if mode == "move" else ["a.png", "a.xmp", "deep/b.png"])
    assert once(inbox, into, mode=mode) == []
    commands.undo()
    assert snapshot(inbox) == before and below(into) == []


def test_a_look_that_takes_longer_than_photos_have_to_rest_is_followed_by_another(inbox, into, learned, monkeypatch):
    def slow_disk(*places: object, **options: object) -> Iterator[object]:
        time.sleep(2 * SETTLE)
        return every_file(*places, **options)

    red(inbox / "a.png")
    monkeypatch.setattr("promptctl.data.walk.every_file", slow_disk)
    assert [item.target for item in once(inbox, into)] == ["red/a.png"]


def test_a_copy_that_was_made_before_is_not_made_again(inbox, into, learned):
    red(inbox / "a.png"), red(inbox / "b.png", 1)
    commands.sort(inbox, "colours", into=into, unknown=None)
    assert once(inbox, into) == []
    (into / "red/a.png").unlink()
    assert once(inbox, into) == [], "nor when somebody has filed it away since"
    red(inbox / "b.png", 2)
    assert [item.target for item in once(inbox, into)] == ["red/b-2.png"]
    commands.undo(), commands.undo()
    assert len(once(inbox, into)) == 2, "what was taken back does not count"


def test_an_answer_is_that_of_classify_one_by_one(inbox, into, learned):
    for seed, colour in enumerate([(220, 30, 30), (130, 90, 40), (40, 60, 220), (100, 100, 100)]):
        painted(inbox / f"{seed}.png", colour, seed)
    told = {item.path.name: item for item in commands.classify(inbox, "colours", min_confidence=0.8).items()}
    found = {item.source.name: item for item in once(inbox, into, unknown=0.05, min_confidence=0.8)}
    assert len(found) == len(told) == 4
    for name, item in found.items():
        wanted = told[name]
        assert (item.label, item.unknown, item.doubtful) == (wanted.top[0].label, wanted.unknown, wanted.doubtful)
        assert item.probability == pytest.approx(wanted.top[0].probability)


def test_what_cannot_be_read_is_named_and_the_rest_is_sorted(inbox, into, learned, cli):
    red(inbox / "a.png")
    inbox.joinpath("broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    inbox.joinpath("notes.txt").write_text("mine")
    done = cli("watch", inbox, "--prompt", "colours", "--into", into, "--once", "--settle", "0.05s", "--json", "--move")
    report = json.loads(done.out)
    assert (done.code, len(report["photos"]), len(report["skipped"])) == (3, 1, 1)
    assert report["skipped"][0]["path"] == str(inbox / "broken.png")
    assert f"warning: {inbox / 'broken.png'}: " in done.err
    assert below(inbox) == ["broken.png", "notes.txt"]


@pytest.mark.parametrize("where", ["target in inbox", "inbox in target", "inbox is target"])
def test_inbox_and_target_may_lie_in_one_another(tmp_path, learned, where):
    inbox, into = {
        "target in inbox": (tmp_path / "a", tmp_path / "a/sorted"),
        "inbox in target": (tmp_path / "a/unknown", tmp_path / "a"),
        "inbox is target": (tmp_path / "a", tmp_path / "a"),
    }[where]
    red(inbox / "a.png")
    assert [item.target for item in once(inbox, into, mode="move")] == ["red/a.png"]
    assert once(inbox, into, mode="move") == []
    assert below(into) == ["red/a.png"]


def test_patterns_and_links_are_left_out(inbox, into, learned):
    photo = red(inbox / "a.png")
    red(inbox / "raw/b.png", 1)
    inbox.joinpath("link.png").symlink_to(photo)
    first, second = once(inbox, into, exclude="raw/")
    assert isinstance(first, Arrived) and first.target == "red/a.png"
    assert second == SkippedFile(inbox / "link.png", "a link, and only files are sorted")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_target_that_may_not_be_written_leaves_photos_where_they_are(inbox, into, learned):
    red(inbox / "a.png")
    into.mkdir(mode=0o500)
    (skipped,) = once(inbox, into, mode="move")
    assert skipped.reason == "permission denied"
    into.chmod(0o700)
    assert len(once(inbox, into, mode="move")) == 1


def test_a_disk_that_is_full_loses_nothing_and_the_next_run_goes_on(inbox, into, learned, monkeypatch):
    import errno

    from promptctl.store import files

    red(inbox / "a.png"), red(inbox / "b.png", 1)
    before = contents(inbox)

    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "copy_file", full)
        assert [item.reason for item in once(inbox, into)] == ["no space left on device"] * 2
    assert len(once(inbox, into)) == 2
    assert contents(into) == contents(inbox) == before


def test_it_says_what_is_wrong_before_anything_is_watched(inbox, into, learned, monkeypatch, tmp_path):
    with pytest.raises(NoImages, match="there is no folder"):
        once(tmp_path / "nowhere", into)
    with pytest.raises(NoImages, match="is not a folder"):
        once(red(tmp_path / "a.png"), into)
    red(inbox / "a.png")
    watched = commands.watch(inbox, "colours", into=into, once=True, settle=SETTLE, unknown=None).items()
    next(watched)
    with pytest.raises(WatchedAlready, match="another program sorts what arrives in"):
        once(inbox, into)
    watched.close()
    monkeypatch.setattr("promptctl.sorting.events.find_spec", lambda _: None)
    with pytest.raises(ExtraMissing) as missing:
        commands.watch(inbox, "colours", into=into)
    assert missing.value.hint == "pip install 'promptctl[watch]'"
    assert once(inbox, into) == [], "once needs no watchfiles"


# --------------------------------------------------------------------------- killed


@pytest.mark.parametrize("mode", ["move", "copy"])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a program is forked and killed")
def test_killed_at_any_point_the_next_run_does_the_rest_and_nothing_twice(inbox, into, home, learned, mode):
    photos = [red(inbox / name, seed).read_bytes() for seed, name in enumerate(("a.png", "b.png", "deep/c.png"))]
    inbox.joinpath("b.xmp").write_text("about b")
    wanted = contents(inbox)
    once(inbox, into)  # the photos are known to the cache from here on
    commands.undo()
    names, stopped = ["a.png", "b.png", "deep/c.png"], 0
    for point in range(1, 1000, 9):
        shutil.rmtree(home / "journal")
        shutil.rmtree(into, ignore_errors=True)
        for name, data in zip(names, photos, strict=True):
            (inbox / name).write_bytes(data)
        (inbox / "b.xmp").write_text("about b")
        where = killed_at(home, lambda store: once(inbox, into, mode=mode, store=store), point)
        once(inbox, into, mode=mode)
        assert contents(into) == wanted, where
        assert [path for path in below(into) if path.endswith(".part")] == [], where
        assert below(inbox) == ([] if mode == "move" else ["a.png", "b.png", "b.xmp", "deep/c.png"]), where
        if where is None:
            break
        stopped += 1
    assert stopped > 5


# --------------------------------------------------------------------------- a program that runs


@contextmanager
def running(inbox: Path, into: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """The program, once it watches; what it says is in files beside the inbox."""
    command = [sys.executable, "-m", "promptctl", "watch", inbox, "--prompt", "colours", "--into", into]
    out, err = (inbox.with_name(name).open("ab") for name in ("out", "err"))
    before = inbox.with_name("err").stat().st_size
    with out, err, subprocess.Popen([*map(str, command), *options], stdout=out, stderr=err) as process:
        try:
            wait_until(lambda: b"watching" in said(inbox)[before:] or process.poll() is not None)
            assert process.poll() is None, said(inbox)
            yield process
        finally:
            process.kill()


def said(inbox: Path) -> bytes:
    return inbox.with_name("err").read_bytes()


def sorted_so_far(inbox: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in inbox.with_name("out").read_bytes().splitlines()]


LIVELY = ("--no-unknown", "--settle", "0.4s", "--format", "jsonl")


def test_a_burst_and_a_slow_writer_are_one_batch_that_can_be_taken_back(inbox, into, learned, tmp_path):
    source = red(tmp_path / "source.png").read_bytes()
    slow = painted(tmp_path / "slow.png", (40, 60, 220), 1).read_bytes()
    with running(inbox, into, "--move", *LIVELY) as process:
        with (inbox / "slow.png").open("wb") as file:
            for first in range(0, len(slow), 1000):
                file.write(slow[first : first + 1000])
                file.flush()
                for i in range(first // 1000 * 34, (first // 1000 + 1) * 34):
                    (inbox / f"{i:03}.png").write_bytes(source)
                time.sleep(0.2)
        (inbox / "slow.xmp").write_text("late")
        photos = len(list(inbox.glob("*.png")))
        assert photos > 200
        wait_until(lambda: len(sorted_so_far(inbox)) == photos)
        assert {row["operation"] for row in sorted_so_far(inbox)} == {2}
        assert (into / "blue/slow.png").read_bytes() == slow
        assert below(into / "blue") == ["slow.png", "slow.xmp"] and below(inbox) == []
        commands.undo()
        wait_until(lambda: b"brought back by undo" in said(inbox))
        time.sleep(0.8)
        assert len(below(inbox)) == photos + 1 and below(into) == [], "what was brought back stays"
        red(inbox / "new.png", 9)
        wait_until(lambda: below(into) == ["red/new.png"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=2) == 143
    assert said(inbox).splitlines()[-1].startswith(b"error: interrupted; ")
    assert len(once(inbox, into, mode="move")) == photos, "it starts again"


def test_an_inbox_that_goes_and_comes_back_is_watched_on(inbox, into, learned):
    with running(inbox, into, "--move", *LIVELY) as process:
        inbox.rmdir()
        wait_until(lambda: b"it has gone; waiting for it" in said(inbox))
        inbox.mkdir()
        wait_until(lambda: b"it is there again" in said(inbox))
        red(inbox / "deep/a.png")
        wait_until(lambda: sorted_so_far(inbox))
        assert below(into) == ["red/a.png"]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=2) == 130
    assert b"1 photo moved in 1 batch" in said(inbox)


def test_what_cannot_be_read_is_named_once_and_sorted_when_it_is_whole(inbox, into, learned):
    whole = red(inbox / "a.png").read_bytes()
    (inbox / "a.png").write_bytes(whole[:1000])
    with running(inbox, into, "--move", *LIVELY, "--every", "0.3s"):
        wait_until(lambda: sorted_so_far(inbox))
        time.sleep(1)
        (inbox / "a.png").write_bytes(whole)
        wait_until(lambda: below(into) == ["red/a.png"])
        wait_until(lambda: len(sorted_so_far(inbox)) == 2)
    assert [row["type"] for row in sorted_so_far(inbox)] == ["error", "photo"]


def test_killed_again_and_again_while_photos_arrive_nothing_is_lost_or_done_twice(inbox, into, learned):
    rng = random.Random(0)
    for round_ in range(2):
        with running(inbox, into, *LIVELY) as process:
            for i in range(40):
                red(inbox / f"{round_}/{i}.png", 40 * round_ + i)
            done = len(below(into))
            wait_until(lambda: len(below(into)) > done)  # noqa: B023  within the round
            time.sleep(rng.random() / 20)
            process.kill()
    red(inbox / "last.png", 1000)
    with running(inbox, into, *LIVELY):
        wait_until(lambda: len(below(into)) >= 81)
        time.sleep(0.6)
    assert contents(into) == contents(inbox)
    heads = Journal().heads()
    assert all(head.ended for head in heads)
