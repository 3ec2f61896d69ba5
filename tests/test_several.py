"""Several contexts in one pass of `classify`: every photo is encoded once."""

from __future__ import annotations

import csv
import io
import json

import pytest
from conftest import TINY, build_clip, paint
from test_cli import refused

from promptctl import commands
from promptctl.encoding import pipeline
from promptctl.errors import WrongOption
from promptctl.learners.settings import LearnSettings
from promptctl.report import Classified

TWO = {"warm": (230, 120, 20), "cold": (30, 90, 200)}


@pytest.fixture
def two(photos, tiny, tmp_path):
    """Contexts of three colours and of two, by the names c and warm_or_cold."""
    for name, folder in (("c", photos), ("warm_or_cold", paint(tmp_path / "two", images=4, colours=TWO))):
        commands.learn(folder, name, model=tiny, shots=2, settings=LearnSettings(epochs=3))
    return photos


def alone(photos, name: str, **options) -> list[Classified]:
    return [item for item in commands.classify(photos, name, **options).items() if isinstance(item, Classified)]


def test_each_says_what_it_says_alone(two):
    both = alone(two, ["c", "warm_or_cold"])
    first, second = alone(two, "c"), alone(two, "warm_or_cold")
    assert len(both) == 18
    assert [(item.path, item.top, item.sha256) for item in both] == [(i.path, i.top, i.sha256) for i in first]
    assert [item.others["warm_or_cold@1"].top for item in both] == [item.top for item in second]
    assert all(item.others == {} for item in first)


def test_a_photo_is_encoded_once(two, monkeypatch):
    new, calls, encoded = paint(two.parent / "new", images=5, seed=9), [], pipeline._encoded
    monkeypatch.setattr(pipeline, "_encoded", lambda batch, *rest: calls.append(len(batch)) or encoded(batch, *rest))
    assert len(alone(new, ["c", "warm_or_cold"])) == sum(calls) == 15


def test_every_format_has_the_first_answer_first_and_the_others_by_name(cli, two):
    typed = ("classify", two, "-p", "c", "-p", "warm_or_cold", "--top", 2)
    rows = [json.loads(line) for line in cli(*typed, "--format", "jsonl").out.splitlines()]
    assert list(rows[0])[:2] == ["path", "label"]
    told = rows[0]["others"]["warm_or_cold@1"]
    assert list(told)[:4] == ["label", "name", "probability", "top"] and told["label"] in TWO
    report = json.loads(cli(*typed, "--json").out)
    assert (report["context"], report["others"]) == ("c@1", {"warm_or_cold@1": {"blend": 1.0}})
    assert report["images"][0]["others"]["warm_or_cold@1"]["top"] == told["top"]
    table = list(csv.DictReader(io.StringIO(cli(*typed, "--format", "csv").out)))
    assert list(table[0])[-3:] == [f"warm_or_cold@1 {key}" for key in ("label", "name", "probability")]
    assert [row["warm_or_cold@1 label"] for row in table] == [r["others"]["warm_or_cold@1"]["label"] for r in rows]
    head, first, *_ = cli(*typed).out.splitlines()
    assert head.split("\t") == ["path", "class", "probability", "warm_or_cold@1", "2nd"]
    assert first.split("\t")[3].startswith(told["name"])


def test_a_terminal_counts_for_each_context(two):
    report = commands.classify(two, ["c", "warm_or_cold"])
    list(report.items())
    assert [line.partition(":")[0] for line in report.closing()[:2]] == ["18 photos", "warm_or_cold@1"]


def test_bad_photos_are_told_once(cli, two):
    (two / "red" / "0.png").write_bytes(b"")
    done = cli("classify", two / "red", "-p", "c", "-p", "warm_or_cold", "--format", "jsonl")
    assert (done.code, [json.loads(line)["type"] for line in done.out.splitlines()]) == (3, ["error", *["result"] * 5])


def test_one_context_twice_and_another_backbone_are_refused(cli, two, tmp_path):
    refused(cli("classify", two, "-p", "c", "-p", "c@1"), 1, "c@1 is given twice", "leave out one --prompt c@1")
    (tmp_path / "clip").mkdir()
    other = build_clip(tmp_path / "clip", TINY, seed=7)
    commands.learn(two, "d", model=f"local-dir:{other}", shots=1, settings=LearnSettings(epochs=3))
    with pytest.raises(WrongOption) as refusal:
        commands.classify(two, ["c", "d"])
    assert str(refusal.value).startswith("c@1 is of the backbone local-dir:")
    assert str(refusal.value).endswith(", and one pass has one backbone")
    assert refusal.value.hint == "classify once more, with --prompt d@1"
