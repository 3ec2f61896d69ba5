"""Results in a file: `classify --output` and `--resume`, whatever comes between."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from conftest import paint
from PIL import Image
from test_bursts import shot
from test_cli import n_cached, refused, wait_for

from promptctl import commands
from promptctl.errors import FileInUse, NotResults, OtherResults, ResultsExist
from promptctl.report import Classified
from promptctl.store import lines as line_files
from promptctl.store.lines import AT_ONCE, new_lines
from promptctl.store.store import Store


@pytest.fixture
def learned(colours_bytes):
    Store().save("colours", colours_bytes, new=True)


@pytest.fixture
def many(tmp_path) -> Path:
    """Six hundred little pictures, no two of them the same, and three bad files."""
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(600):
        Image.new("RGB", (40, 40), (i % 256, i // 256, 7)).save(folder / f"{i:03}.png")
    for name in ("bad.png", "note.txt", "README"):
        (folder / name).write_bytes(b"hello")
    return folder


def saved(folder: Path, target: Path, *, resume: bool = False, **settings) -> bytes:
    results = commands.Results(target, resume=resume)
    results.save(commands.classify(folder, "colours", results=results, **settings))
    return target.read_bytes()


def test_a_file_has_a_head_a_line_a_photo_and_a_summary(cli, photos, learned, tmp_path):
    (photos / "red" / "0.png").write_bytes(b"")
    (photos / "notes.txt").touch()
    done = cli("classify", photos, "-p", "colours", "--output", tmp_path / "r.jsonl")
    assert (done.code, done.out) == (3, "")
    head, *rows, summary = (tmp_path / "r.jsonl").read_text("ascii").splitlines()
    assert json.loads(head)["type"] == "head" and json.loads(head)["context"] == "colours@1"
    assert rows == cli("classify", photos, "-p", "colours", "--format", "jsonl").out.splitlines()
    counts = {"images": 17, "unknown": sum(json.loads(row).get("unknown", False) for row in rows), "doubtful": 0}
    assert json.loads(summary) == {"type": "summary", **counts, "skipped": 1, "passed_over": {".txt": 1}}


def test_what_is_read_again_is_what_was_written(photos, learned, tmp_path):
    for row in saved(photos, tmp_path / "r", burst=60).splitlines()[1:-1]:
        assert json.loads(json.dumps(Classified.of_record(json.loads(row)).record(), default=str)) == json.loads(row)


def test_nothing_is_written_over(cli, photos, learned, tmp_path):
    (tmp_path / "r.jsonl").write_text("mine")
    refused(
        cli("classify", photos, "-p", "colours", "--output", tmp_path / "r.jsonl"),
        1,
        f"{tmp_path / 'r.jsonl'} exists already",
        "add --resume to go on with it, or give another --output",
    )
    for name, content in (
        ("r.jsonl", None),
        ("photo.jpg", b"\xff\xd8\n\n"),
        ("x", b'{"type": "result"}\n'),
        ("y", b"[]\n"),
    ):
        if content:
            (tmp_path / name).write_bytes(content)
        before = (tmp_path / name).read_bytes()
        with pytest.raises(NotResults):
            saved(photos, tmp_path / name, resume=True)
        assert (tmp_path / name).read_bytes() == before
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(ResultsExist):
        saved(photos, tmp_path / "link")


def test_wherever_it_is_cut_it_is_gone_on_with_to_the_same_file(photos, learned, tmp_path):
    (photos / "red" / "0.png").write_bytes(b"")
    (photos / "odd\udcff\n.png").write_bytes((photos / "red" / "1.png").read_bytes())
    whole, chance = saved(photos, tmp_path / "r"), random.Random(1)
    for cut in (0, 1, 30, len(whole), len(whole) - 1, *(chance.randrange(31, len(whole)) for _ in range(8))):
        torn = b"\0" * 50 if cut % 2 and whole[cut - 1 : cut] != b"\n" and cut > 30 else b""  # as after a power cut
        (tmp_path / "r").write_bytes(whole[:cut] + torn)
        assert saved(photos, tmp_path / "r", resume=True) == whole, cut


def test_other_settings_and_another_version_are_refused(photos, learned, colours_bytes, tmp_path):
    before = saved(photos, tmp_path / "r")
    Store().save("colours", colours_bytes, new=False)
    for settings, setting in (({}, "context"), ({"top": 2}, "context"), ({"burst": 5.0}, "context")):
        with pytest.raises(OtherResults) as refusal:
            saved(photos, tmp_path / "r", resume=True, **settings)
        assert str(refusal.value) == f"{tmp_path / 'r'} was begun with {setting} 'colours@1', and 'colours@2' is asked"
    saved(photos, tmp_path / "s")
    for settings, said in (
        ({"top": 2}, "top 3, and 2"),
        ({"burst": 5.0}, "burst none, and 5.0"),
        ({"exclude": "x"}, "exclude [], and ['x']"),
    ):
        with pytest.raises(OtherResults) as refusal:
            saved(photos, tmp_path / "s", resume=True, **settings)
        assert f"was begun with {said} is asked" in str(refusal.value)
    assert (tmp_path / "r").read_bytes() == before


def test_photos_that_came_later_are_added(photos, learned, tmp_path):
    first = saved(photos, tmp_path / "r").splitlines()
    paint(photos / "new", images=1, seed=3)
    second = saved(photos, tmp_path / "r", resume=True).splitlines()
    assert second[:19] == first[:19] and len(second) == 23
    assert json.loads(second[-1])["images"] == 21


def test_answers_that_depend_on_all_photos_are_gone_on_with_for_the_same_photos_alone(photos, learned, tmp_path):
    whole = saved(photos, tmp_path / "r", together=True).splitlines(keepends=True)
    (tmp_path / "r").write_bytes(b"".join(whole[:9]))
    assert saved(photos, tmp_path / "r", resume=True, together=True).splitlines(keepends=True) == whole
    paint(photos / "new", images=1, seed=3)
    with pytest.raises(OtherResults, match=r"was begun with photos '18 files, \w+', and '21 files, \w+' is asked"):
        saved(photos, tmp_path / "r", resume=True, together=True)


def test_a_burst_that_was_half_written_is_answered_whole(learned, tmp_path):
    for i, colour in enumerate([(220, 30, 30)] * 4 + [(40, 60, 220)] * 2):
        shot(tmp_path / "in" / f"{i}.jpg", i, colour=colour)
    whole = saved(tmp_path / "in", tmp_path / "r", burst=60).splitlines(keepends=True)
    for n_lines in range(1, len(whole)):
        (tmp_path / "r").write_bytes(b"".join(whole[:n_lines]))
        assert saved(tmp_path / "in", tmp_path / "r", resume=True, burst=60).splitlines(keepends=True) == whole


def test_lines_are_durable_some_at_a_time_and_when_time_has_passed(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(line_files.time, "monotonic", lambda: now[0])
    with new_lines(tmp_path / "r", "result") as lines:
        size = []
        for _ in range(AT_ONCE):
            lines.add(b"1234567")
            size.append((tmp_path / "r").stat().st_size)
        assert size == [*[0] * (AT_ONCE - 1), 8 * AT_ONCE]
        lines.add(b"x")
        now[0] = 1.5
        lines.add(b"y")
        assert (tmp_path / "r").stat().st_size == 8 * AT_ONCE + 4
        with (
            pytest.raises(FileInUse),
            line_files.more_lines(tmp_path / "r", "result", after=0, n_bytes=8 * AT_ONCE + 4),
        ):
            pass
    with pytest.raises(FileInUse), line_files.more_lines(tmp_path / "r", "result", after=0, n_bytes=5):
        pass


def test_an_interruption_between_writing_and_remembering_writes_no_line_twice(tmp_path, monkeypatch):
    class Stop(BaseException):
        pass

    def stopped(descriptor: int, data: bytes, *, durable: bool) -> None:
        os.write(descriptor, data[: len(data) // 2 if half else None])
        monkeypatch.undo()
        raise Stop

    for half in (True, False):
        path = tmp_path / str(half)
        with pytest.raises(Stop), new_lines(path, "result") as lines:
            lines.add(b"one")
            lines.add(b"two")
            monkeypatch.setattr(line_files.files, "append", stopped)
            lines.flush()
        assert path.read_bytes() == b"one\ntwo\n"


AHEAD = 64  # photos that are encoded before the row of another is written


def grew(process: subprocess.Popen[bytes], target: Path, before: int) -> bool:
    return process.poll() is not None or (target.exists() and target.stat().st_size > before)


def command(folder: Path, target: Path) -> list[object]:
    return [sys.executable, "-m", "promptctl", "classify", folder, "-p", "colours", "--output", target, "--resume"]


def test_a_run_that_is_killed_again_and_again_ends_with_the_lines_of_one_that_is_not(
    many, learned, answering, tmp_path, home
):
    target, chance, killed = tmp_path / "r", random.Random(4), 0
    for _ in range(4):
        before = target.stat().st_size if target.exists() else 0
        with subprocess.Popen(command(many, target), stderr=subprocess.DEVNULL) as process:
            wait_for(partial(grew, process, target, before))
            time.sleep(chance.uniform(0, 0.02))
            process.kill()
        killed += process.returncode == -signal.SIGKILL
        assert n_cached(home) - target.read_bytes().count(b"\n") <= AT_ONCE + AHEAD
    assert killed
    subprocess.run(command(many, target), check=False, stderr=subprocess.DEVNULL)
    fresh = saved(many, tmp_path / "fresh")
    assert sorted(target.read_bytes().splitlines()) == sorted(fresh.splitlines())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_keeps_its_lines_and_says_how_to_go_on(many, learned, answering, tmp_path, number, code):
    target = tmp_path / "r"
    slow = (
        "import time, promptctl.report.classify as c; record = c.Classified.record; "
        "c.Classified.record = lambda self: (time.sleep(0.02), record(self))[1]; "
    )
    run = [sys.executable, "-c", slow + "from promptctl.cli.main import main; main()", *command(many, target)[3:]]
    with subprocess.Popen(run, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: target.exists() and target.read_bytes().count(b"\n") > 20)
        process.send_signal(number)
        started = time.monotonic()
        _, said = process.communicate(timeout=20)
    assert process.returncode == code and time.monotonic() - started < 2
    rows = target.read_bytes().splitlines()
    assert all(json.loads(row) for row in rows)
    assert f"{len(rows)} saved results are kept, with --resume the same command goes on from there" in said


WAIT = (
    "import sys, time, promptctl.cli.main as m; "
    "wait = lambda what: (sys.stderr.write(what + chr(10)), sys.stderr.flush(), time.sleep(30));"
)


@pytest.mark.parametrize("what", ["decoded", "encode"])
def test_a_slow_decoder_or_tower_is_not_waited_for(photos, learned, answering, what):
    slow = {"decoded": "pipeline as p; p.decoded", "encode": "openvino as p; p.OpenVinoEncoder.encode"}[what]
    code = f"{WAIT} import promptctl.encoding.{slow} = lambda *_: wait('waiting'); m.main()"
    run = [sys.executable, "-c", code, "classify", photos, "-p", "colours"]
    with subprocess.Popen(run, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == "waiting\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        process.communicate(timeout=40)
    assert process.returncode == 130 and time.monotonic() - started < 2


def test_a_second_ctrl_c_ends_it_at_once(photos, learned, answering):
    slow = "m._interrupted = lambda: wait('ending'); import promptctl.encoding.pipeline as p; "
    code = f"{WAIT} {slow} p.decoded = lambda *_: wait('waiting'); m.main()"
    run = [sys.executable, "-c", code, "classify", photos, "-p", "colours"]
    with subprocess.Popen(run, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        while (said := process.stderr.readline()) != "ending\n":
            assert said, "it ended without a word"
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        process.communicate(timeout=40)
    assert process.returncode == -signal.SIGINT and time.monotonic() - started < 1


def test_resuming_nothing_is_a_usage_error(cli, photos, learned):
    done = cli("classify", photos, "-p", "colours", "--resume")
    assert done.code == 2 and "add --output FILE" in done.err
