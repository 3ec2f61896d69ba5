"""Bursts: photos of one folder and one moment are answered as one."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from conftest import COLOURS
from PIL import Image

from promptctl import commands
from promptctl.classification.bursts import as_one
from promptctl.classification.classifier import Answer
from promptctl.classification.gate import Gate
from promptctl.context.card import ClassEntry
from promptctl.data import bursts
from promptctl.data.bursts import bursts_of
from promptctl.encoding.decode import moment_of
from promptctl.encoding.tiff import Moment
from promptctl.report import Classified
from promptctl.store.store import Store

NOON = datetime(2024, 5, 1, 12)
CLASSES = tuple(ClassEntry(i, label, label) for i, label in enumerate(("ant", "bee", "cow")))


def shot(path: Path, seconds: float | None, *, offset: str | None = None, colour=(9, 9, 9)) -> str:
    """A picture taken so many seconds after noon on its camera's clock."""
    exif = Image.Exif()
    if seconds is not None:
        at = NOON + timedelta(seconds=seconds)
        times = {0x9003: at.strftime("%Y:%m:%d %H:%M:%S"), 0x9291: f"{at.microsecond:06}"}
        exif.get_ifd(0x8769).update(times | ({0x9011: offset} if offset else {}))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), colour).save(path, exif=exif.tobytes())
    return str(path)


def names(found) -> list[str]:
    return [" ".join(Path(path).stem for path in burst) for burst in found]


@pytest.fixture
def learned(colours_bytes):
    Store().save("colours", colours_bytes, new=True)


def test_a_burst_ends_where_time_jumps(tmp_path):
    taken = {"a": 0, "b": 300.0, "c": 60.0, "d": 301.5, "e": None, "f": 120.0, "g": 361.4, "h": 421.5}
    photos = [shot(tmp_path / f"{name}.jpg", seconds) for name, seconds in taken.items()]
    assert names(bursts_of(photos, 60)) == ["a c f", "b d g", "e", "h"]
    assert names(bursts_of(photos, 0)) == list("abcdefgh")
    assert names(bursts_of(photos[::-1], 61)) == ["b d g h", "a c f", "e"]


def test_a_burst_is_of_one_folder(tmp_path):
    photos = [shot(tmp_path / f"{name}.jpg", 0) for name in ("x/1", "y/2", "x/3", "y/4", "z/5")]
    assert names(bursts_of(photos, 60)) == ["1 3", "2 4", "5"]


def test_clocks_that_say_their_offset_are_compared_by_it_and_only_with_each_other(tmp_path):
    taken = {
        "a": (0, "+02:00"),
        "b": (-3600, "+01:00"),
        "c": (0, None),
        "d": (1, None),
        "e": (2, "+02:00"),
        "f": (1, "?"),
    }
    photos = [shot(tmp_path / f"{name}.jpg", at, offset=offset) for name, (at, offset) in taken.items()]
    assert names(bursts_of(photos, 60)) == ["a b e", "c d f"]
    assert moment_of(Path(photos[1])) == Moment((NOON - datetime(1970, 1, 1)).total_seconds() - 3600, 3600.0)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_parts_of_a_second_are_read_in_every_format(tmp_path, suffix):
    moment = moment_of(Path(shot(tmp_path / f"a.{suffix}", 0.25)))
    assert moment is not None and moment.seconds % 1 == 0.25


def test_of_a_large_jpeg_only_the_beginning_is_read(tmp_path, monkeypatch):
    path = Path(shot(tmp_path / "a.jpg", 5))
    path.write_bytes(path.read_bytes() + bytes(1 << 20))
    monkeypatch.setattr("promptctl.encoding.decode.file_bytes", None)
    assert moment_of(path) is not None
    assert moment_of(tmp_path / "gone.jpg") is None


def test_a_clock_that_stood_still_makes_no_burst(tmp_path):
    photos = [shot(tmp_path / f"{i:02}.jpg", 0.0) for i in range(61)]
    assert len(list(bursts_of(photos, 60))) == 61
    assert len(list(bursts_of(photos[1:], 60))) == 1


def test_a_series_without_end_is_cut(monkeypatch):
    monkeypatch.setattr(bursts, "MOST", 4)
    found = bursts.cut(np.arange(10.0), np.zeros(10, bool), 1.0)
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def answer(name: str, *probabilities: float, likeness: float | None = None, alone=None) -> Answer:
    return Answer(Path(name), name, CLASSES, np.array(probabilities), alone=alone, likeness=likeness)


def test_the_answer_of_a_burst_is_the_mean_of_log_probabilities():
    own = [answer("a", 0.5, 0.3, 0.2), answer("b", 0.1, 0.6, 0.3), answer("c", 0.4, 0.6, 0.0)]
    found = as_one(own, None)
    product = np.prod([np.maximum(one.probabilities, 1e-300) for one in own], 0) ** (1 / 3)
    for before, after in zip(own, found, strict=True):
        np.testing.assert_allclose(after.probabilities, product / product.sum())
        assert (after.label, after.burst, after.sha256) == ("bee", Path("a"), before.sha256)
        assert after.alone is before.probabilities
    assert as_one(own[:1], None) == own[:1]
    plain = np.array([1.0, 0, 0])
    assert as_one([answer("a", 0.5, 0.3, 0.2, alone=plain), own[1]], None)[0].alone is plain


def test_whether_the_answer_of_a_burst_is_taken_is_asked_anew():
    gate = Gate(floors=np.array([0.9, 0.5, 0.1]), least=0.55)
    own = [answer("a", 0.5, 0.3, 0.2, likeness=0.6), answer("b", 0.1, 0.8, 0.1, likeness=0.4)]
    found = as_one(own, gate)
    assert found[0].label == "bee" and found[0].probability == pytest.approx(0.573, abs=1e-3)
    assert [(one.unknown, one.doubtful) for one in found] == [(False, False), (True, False)]
    sure = Gate(floors=gate.floors, least=0.7)
    assert [(one.unknown, one.doubtful) for one in as_one(own, sure)] == [(False, True), (True, False)]


@pytest.fixture
def mixed(tmp_path):
    """Two bursts of red, in one of which a picture looks blue by itself; one picture alone; one broken."""
    red, blue = COLOURS["red"], COLOURS["blue"]
    for i, (seconds, colour) in enumerate([(0, red), (500, red), (20, red), (40, blue), (501, red), (9000, blue)]):
        shot(tmp_path / "in" / f"{i}.jpg", seconds, colour=colour)
    (tmp_path / "in" / "9.jpg").write_bytes(b"")
    return tmp_path / "in"


def test_photos_of_a_burst_have_one_answer_and_their_own_beside_it(mixed, learned):
    found = {item.path.stem: item for item in commands.classify(mixed, "colours", burst=60).items()}
    own = {item.path.stem: item for item in commands.classify(mixed, "colours").items()}
    assert list(found) == ["0", "2", "3", "1", "4", "5", "9"]
    assert len({found[name].top for name in "023"}) == 1
    for name in "02314":
        assert found[name].alone == own[name].top[0]
        assert found[name].burst == mixed / ("0.jpg" if name in "023" else "1.jpg")
    assert (found["5"].alone, found["5"].burst, found["5"].top) == (None, None, own["5"].top)
    assert own["3"].top[0].label != found["3"].top[0].label == own["0"].top[0].label


def test_a_burst_in_every_format(cli, mixed, learned):
    typed = ("classify", mixed, "-p", "colours", "--burst", "1m")
    rows = [json.loads(line) for line in cli(*typed, "--format", "jsonl").out.splitlines()]
    assert [row.get("burst") for row in rows] == [*[str(mixed / "0.jpg")] * 3, *[str(mixed / "1.jpg")] * 2, None, None]
    assert json.loads(cli(*typed, "--json").out)["burst"] == 60
    table = list(csv.DictReader(io.StringIO(cli(*typed, "--format", "csv").out)))
    assert [row["alone_label"] for row in table] == [(row["alone"] or {"label": ""})["label"] for row in rows[:6]]
    head, *lines = cli(*typed).out.splitlines()
    assert head.split("\t")[:4] == ["path", "class", "probability", "alone"]
    assert lines[5].split("\t")[3] == "–"


@pytest.mark.parametrize(
    ("text", "code"), [("60", 3), ("0.5 s", 3), ("1h", 3), ("soon", 2), ("-1s", 2), ("nan", 2), ("40h", 2)]
)
def test_what_a_time_is(cli, mixed, learned, text, code):
    assert cli("classify", mixed, "-p", "colours", f"--burst={text}").code == code


def test_bursts_of_several_contexts(cli, mixed, learned, colours_bytes):
    Store().save("again", colours_bytes, new=True)
    for item in commands.classify(mixed, ["colours", "again"], burst=60).items():
        if isinstance(item, Classified):
            told = item.others["again@1"]
            assert (told.top, told.alone) == (item.top, item.alone)


def test_many_photos_wait_only_for_their_own_burst(tmp_path, learned, monkeypatch):
    for i in range(300):
        shot(tmp_path / "in" / f"{i:03}.jpg", 1000 * (i // 3) + i % 3, colour=(i % 256, 5, i // 256))
    items = commands.classify(tmp_path / "in", "colours", burst=60).items()
    assert next(items).path.stem == "000"
    for i in range(200, 300):
        (tmp_path / "in" / f"{i:03}.jpg").unlink()
    rest = list(items)
    assert len(rest) == 299 and not isinstance(rest[-1], Classified)


def test_sort_puts_a_burst_in_one_folder(cli, mixed, learned, tmp_path):
    done = cli("sort", mixed, "-p", "colours", "--into", tmp_path / "out", "--burst", "60s")
    assert done.code == 3
    folder_of = {path.stem: path.parent.name for path in (tmp_path / "out").rglob("*.jpg")}
    assert folder_of["3"] == folder_of["0"] == folder_of["2"]
