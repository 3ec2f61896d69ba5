"""Watch: what lies in a folder and what arrives there is sorted once, however often the program is stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import paint
from sorting import contents

from promptctl import commands
from promptctl.store.journal import Journal
from promptctl.store.store import Store

WAIT = 120  # seconds, on a busy machine


@pytest.fixture
def photos(colours_bytes, answering, tmp_path) -> list[Path]:
    """Twelve, of three classes, and a context that knows them."""
    Store().save("colours", colours_bytes, new=True)
    return sorted(paint(tmp_path / "made", images=4, seed=3).rglob("*.png"))


@pytest.fixture
def inbox(tmp_path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


def arrive(photos: list[Path], inbox: Path, start: int) -> None:
    for i, photo in enumerate(photos, start):
        shutil.copy2(photo, inbox / f"{i}.png")


def sorted_files(into: Path) -> list[Path]:
    return sorted(path for path in into.rglob("*.png"))


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + WAIT
    while not what():
        assert process is None or process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "in vain"
        time.sleep(0.05)


def watching(inbox: Path, into: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "promptctl", "watch", str(inbox), "--prompt", "colours", "--into", str(into)]
    quick = ["--settle", "0.3s", "--every", "0.5s", "--no-unknown"]
    return subprocess.Popen([*command, *quick, *more], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("mode", ["copy", "move", "link"])
def test_what_lies_there_is_sorted_once_and_undo_takes_it_back(cli, photos, inbox, tmp_path, mode):
    into, flags = tmp_path / "sorted", () if mode == "copy" else (f"--{mode}",)
    arrive(photos, inbox, 0)
    typed = ("watch", inbox, "--prompt", "colours", "--into", into, "--once", "--settle", "0.1s", "--no-unknown")
    assert cli(*typed, *flags).code == 0
    assert len(sorted_files(into)) == 12 and len(list(inbox.iterdir())) == (0 if mode == "move" else 12)
    assert cli(*typed, *flags).code == 0
    assert len(sorted_files(into)) == 12, "nothing is done twice"
    commands.undo()
    assert len(list(inbox.iterdir())) == 12 and not sorted_files(into)


def test_an_answer_is_that_of_classify_one_by_one(cli, photos, inbox, tmp_path):
    arrive(photos, inbox, 0)
    into = tmp_path / "sorted"
    cli("watch", inbox, "-p", "colours", "--into", into, "--once", "--settle", "0.1s", "--no-unknown")
    found = {item.path.name: item.top[0].label for item in commands.classify(inbox, "colours", unknown=None).items()}
    assert {path.name: path.parent.name for path in sorted_files(into)} == found


@pytest.mark.parametrize("mode", ["copy", "move"])
def test_a_killed_watch_leaves_nothing_out_and_does_nothing_twice(photos, inbox, tmp_path, mode):
    into, flags = tmp_path / "sorted", () if mode == "copy" else (f"--{mode}",)
    for start in (0, 4, 8):
        arrive(photos[start : start + 4], inbox, start)
        process = watching(inbox, into, *flags)
        # in the middle of its first photos, or of what comes while it runs
        wait_for(lambda start=start: len(sorted_files(into)) > start, process)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    process = watching(inbox, into, *flags)
    wait_for(lambda: len(sorted_files(into)) >= 12, process)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=WAIT)
    assert process.returncode == 130
    assert contents(into) == contents(tmp_path / "made"), "each once"
    assert len(list(inbox.iterdir())) == (0 if mode == "move" else 12)


def test_a_file_that_is_being_written_waits_until_it_is_whole(photos, inbox, tmp_path):
    into, whole = tmp_path / "sorted", photos[0].read_bytes()
    process = watching(inbox, into)
    with (inbox / "slow.png").open("wb") as file:
        for i in range(10):
            file.write(whole[i * len(whole) // 10 : (i + 1) * len(whole) // 10])
            file.flush()
            time.sleep(0.1)
    wait_for(lambda: len(sorted_files(into)) == 1, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=WAIT)
    assert process.returncode == 143 and "slow.png" not in err
    assert sorted_files(into)[0].read_bytes() == whole


def test_each_batch_is_an_operation(photos, inbox, tmp_path):
    into = tmp_path / "sorted"
    process = watching(inbox, into)
    for start in (0, 6):
        arrive(photos[start : start + 6], inbox, start)
        wait_for(lambda start=start: len(sorted_files(into)) == start + 6, process)
        time.sleep(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=WAIT)
    heads = [head for head in Journal(Store().home).heads() if head.kind == "watch" and not head.did_nothing]
    assert len(heads) >= 2 and sum(head.done for head in heads) >= 12
