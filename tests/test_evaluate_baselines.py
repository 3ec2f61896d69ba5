"""Baselines of `evaluate`: each is what it is called, on the same photos."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier

import promptctl
from promptctl.classification.blend import as_kept
from promptctl.commands.baseline_names import BASELINES, checked
from promptctl.context.context import Context
from promptctl.errors import BadSetting, WrongOption


@pytest.fixture
def learned(colours_bytes):
    return promptctl.Store().save("colours", colours_bytes, new=True)


@pytest.fixture
def mixed_up(photos):
    """Half of the red photos among the blue ones and the other way round, so that nobody is always right."""
    for i in range(3):
        for name, other in (("red", "blue"), ("blue", "red")):
            (photos / name / f"{i}.png").rename(photos / other / f"of {name} {i}.png")
    return photos


def rows_of(report):
    return {row["name"]: row for row in report["baselines"]}


def test_each_is_measured_on_the_same_photos(cli, mixed_up, learned, tiny):
    report = json.loads(cli("evaluate", "colours", mixed_up, "--baselines", ",".join(BASELINES), "--json").out)
    rows = rows_of(report)
    assert list(rows) == list(BASELINES)
    assert rows["zero-shot"]["top1"] == report["zero_shot"]["top1"]
    assert rows["zero-shot"]["gain_interval"] == report["gain_interval"]
    assert rows["coop"]["top1"] == report["without_head"]["top1"]
    for row in rows.values():
        assert row["gain"] == pytest.approx(report["learned"]["top1"] - row["top1"], abs=1e-12)
        assert row["interval"]["low"] <= row["top1"] <= row["interval"]["high"]
        assert (row["ece"] is None) == (row["name"] == "ridge") and row["remark"] == ""


def test_probe_ridge_and_mean_are_those_of_the_stored_shots(mixed_up, learned):
    context = Context.load(learned.path)
    rows, y = context.learned_from()
    x = as_kept(rows)
    colours = promptctl.load("colours")
    paths = sorted(mixed_up.rglob("*.png"))
    features = colours.encode(paths)
    truth = np.array([sorted(["blue", "green", "red"]).index(path.parent.name) for path in paths])
    means = np.array([x[y == c].mean(0) for c in range(3)])
    expected = {
        "ridge": RidgeClassifier().fit(x, y).predict(features),
        "nearest-mean": (features @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T).argmax(1),
        # nothing is held out to search a strength on
        "linear-probe": LogisticRegression(C=1.0, max_iter=1000).fit(x, y).predict(features),
    }
    assert not context.held_out()[1].size
    report = promptctl.evaluate("colours", mixed_up, baselines=list(expected))
    assert [row.top1 for row in report.baselines] == [(found == truth).mean() for found in expected.values()]


def test_another_context_is_matched_by_label_and_what_it_lacks_is_said(cli, photos, learned, tiny, tmp_path):
    some = tmp_path / "some"
    for old, new in (("red", "red"), ("blue", "blue"), ("green", "azure")):
        (some / new).mkdir(parents=True)
        for path in (photos / old).iterdir():
            (some / new / path.name).write_bytes(path.read_bytes())
    learn = ("--shots", 3, "--epochs", 1, "--model", tiny)
    assert cli("learn", some, "--name", "other", *learn).code == 0
    done = cli("evaluate", "colours", photos, "--baselines", "coop:other,coop:colours@1", "--json")
    report = json.loads(done.out)
    rows = rows_of(report)
    assert rows["coop:colours@1"]["top1"] == report["learned"]["top1"] and rows["coop:colours@1"]["gain"] == 0
    # azure is the first of its classes by name, and red the last: only the labels match them
    by_itself = json.loads(cli("evaluate", "other", some, "--json").out)
    right = sum(row["accuracy"] * row["images"] for row in by_itself["per_class"] if row["label"] != "azure")
    assert rows["coop:other"]["top1"] == pytest.approx(right / 18) and right > 6
    assert rows["coop:other"]["remark"] == "has no class green"
    assert "coop:other: has no class green" in done.err
    table = cli("evaluate", "colours", photos, "--baselines", "coop:other").out
    assert any(line.startswith("coop:other\t") for line in table.splitlines())
    lines = cli("evaluate", "colours", photos, "--baselines", "coop:other", "--format", "jsonl").out.splitlines()
    assert [json.loads(line)["name"] for line in lines if json.loads(line)["type"] == "baseline"] == ["coop:other"]


def test_a_context_of_another_backbone_sees_the_photos_with_its_own(cli, photos, learned, tmp_path):
    from conftest import TINY, build_clip

    (tmp_path / "clip").mkdir()
    model = f"local-dir:{build_clip(tmp_path / 'clip', TINY, seed=5)}"
    assert cli("learn", photos, "--name", "other", "--shots", 3, "--epochs", 1, "--model", model).code == 0
    rows = rows_of(json.loads(cli("evaluate", "colours", photos, "--baselines", "coop:other", "--json").out))
    assert rows["coop:other"]["top1"] == json.loads(cli("evaluate", "other", photos, "--json").out)["learned"]["top1"]


def test_what_does_not_exist_is_refused_before_a_photo_is_opened(cli, photos, learned):
    done = cli("evaluate", "colours", photos, "--baselines", "zero-shot,zeroshot")
    known = ", ".join(BASELINES)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[0] == (
        f"error: baselines is 'zeroshot', some of {known} and coop:CONTEXT was expected"
    )
    assert cli("evaluate", "colours", photos, "--baselines", "coop:nobody").code == 10
    for wrong in (3, ["zero-shot", 3], "coop:"):
        with pytest.raises(BadSetting):
            checked(wrong)
    assert checked(" ridge,ridge, coop:a@1 ") == ("ridge", "coop:a@1")


def test_a_context_without_shots_has_nothing_to_fit_a_probe_to(cli, photos, learned, tmp_path):
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes(Context.load(learned.path).without_shots().to_bytes())
    assert len(promptctl.evaluate(bare, photos, baselines="zero-shot,coop").baselines) == 2
    with pytest.raises(
        WrongOption, match="has nothing to fit linear-probe to: the features of its shots were left out"
    ):
        promptctl.evaluate(bare, photos, baselines=["linear-probe"])
