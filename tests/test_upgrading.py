"""Homes that earlier versions wrote are used by this one: tests/golden holds them, their photos and their answers.

0.1.0: the contexts are of `mini`: shapes (two versions, shared by all classes), own (class-specific), weights (clap),
theirs (shapes@2 by way of the original code's checkpoint), crops (its first version removed), faded (removed whole).
The cache holds the features of the photos.

0.2.0: of the first four photos of each class, shapes@1 (5 of the 12 held out), and of three shots shapes@2, own
(class-specific) and weights (clap); faded (removed). The cache holds the features of all photos, as 0.2.0 decoded them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import promptctl
from promptctl.classification.classifier import Classifier
from promptctl.report.base import SCHEMA_VERSION

GOLDEN = Path(__file__).parent / "golden" / "0.1.0"
ANSWERS = json.loads((GOLDEN / "answers.json").read_text("utf-8"))
SECOND = GOLDEN.parent / "0.2.0"
SECOND_ANSWERS = json.loads((SECOND / "answers.json").read_text("utf-8"))


@pytest.fixture
def old_home(home, tmp_path, monkeypatch):
    return place(GOLDEN, home, tmp_path, monkeypatch)


@pytest.fixture
def second_home(home, tmp_path, monkeypatch):
    return place(SECOND, home, tmp_path, monkeypatch)


def place(golden: Path, home: Path, tmp_path: Path, monkeypatch) -> Path:
    shutil.copytree(golden / "home", home)
    shutil.copytree(GOLDEN / "photos", tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return home


def silent(outcome) -> str:
    """What was printed, by a command that found nothing to complain of."""
    assert outcome.code == 0, outcome.err
    assert not {"error", "warning"} & {line.split(":")[0] for line in outcome.err.splitlines()}, outcome.err
    return outcome.out


def test_this_is_a_later_version_with_a_schema_of_its_own():
    assert (promptctl.__version__, SCHEMA_VERSION) == ("0.5.0", 2)


def test_an_old_store_is_listed_shown_and_found_intact(cli, old_home):
    listed = json.loads(silent(cli("list", "--json")))["contexts"]
    assert [(row["name"], row["version"]) for row in listed] == [
        ("crops", 2),
        ("own", 1),
        ("shapes", 2),
        ("theirs", 1),
        ("weights", 1),
    ]
    for row in listed:
        assert row["classes"] == 3 and row["fault"] is None
        assert silent(cli("show", row["name"])).startswith(
            f"{row['name']}@{row['version']}: 3 classes: circle, square, "
        )
    assert silent(cli("list", "--trash", "--format", "csv")).splitlines()[1].startswith("crops,")
    changes = [row["change"] for row in json.loads(silent(cli("log", "shapes", "--json")))["versions"]]
    assert len(changes) == 2 and changes[-1] == "learned"
    checked = json.loads(silent(cli("check", "--all", "--json")))["contexts"]
    assert len(checked) == 8 and {row["backbone_state"] for row in checked} == {"same"}


@pytest.mark.parametrize("context", ["shapes@1", "own", "weights", "theirs"])
def test_an_old_context_answers_as_before(cli, old_home, context):
    assert_answers(cli, context, ANSWERS[context]["best"])


def assert_answers(cli, context, expected, *, within: float = 1e-3) -> None:
    images = json.loads(silent(cli("classify", "photos", "--prompt", context, "--json")))["images"]
    assert len(images) == len(expected) == 18
    for image in images:
        label, probability = expected[image["path"]]
        assert image["top"][0]["label"] == label
        assert image["top"][0]["probability"] == pytest.approx(probability, abs=within)


@pytest.mark.parametrize("context", ["shapes@1", "own", "weights"])
def test_an_old_context_tells_unknown_photos_by_the_shots_it_has(cli, old_home, context):
    report = json.loads(silent(cli("classify", "photos", "--prompt", context, "--json")))
    assert report["rejection"]["photos"] >= 2 and report["rejection"]["asked"] == 0.05
    likeness = {flag: [i["likeness"] for i in report["images"] if i["unknown"] is flag] for flag in (False, True)}
    assert likeness[False] and max(likeness[True], default=-2) < max(likeness[False])


def test_an_old_context_that_came_without_shots_says_that_it_cannot(cli, old_home):
    outcome = cli("classify", "photos", "--prompt", "theirs", "--json")
    assert outcome.err == "theirs@1 cannot tell unknown photos: it was imported and has no shots\n"
    assert json.loads(outcome.out)["rejection"] is None


def test_an_old_context_is_measured_as_before(cli, old_home):
    outcome = cli("evaluate", "weights", "photos", "--json")
    report = json.loads(outcome.out)
    assert report["learned"]["top1"] == ANSWERS["weights"]["top1"]
    assert report["zero_shot"]["top1"] == ANSWERS["weights"]["zero_shot"]
    warning = "warning: weights@1 was learned from 9 of these 18 images, so this says little about others\n"
    assert outcome.err == warning


def test_old_contexts_are_compared_inspected_restored_and_copied(cli, old_home):
    assert json.loads(cli("diff", "shapes@1", "shapes", "--json").out)["same_backbone"]
    assert len(json.loads(silent(cli("inspect", "own", "--json")))["vectors"]) == 6
    assert "faded@1 is back" in silent(cli("restore", "faded"))
    assert "crops@1 is back" in silent(cli("restore", "crops@1"))
    silent(cli("copy", "theirs", "others"))
    assert silent(cli("list", "-q")).split() == ["crops", "faded", "others", "own", "shapes", "theirs", "weights"]
    assert silent(cli("classify", "photos/circle/0.png", "--prompt", "faded", "--format", "csv")).count("circle") == 3


def test_an_old_context_is_learned_again_beside_what_was_kept(cli, old_home):
    before = {path: path.read_bytes() for path in (old_home / "contexts").rglob("*.safetensors")}
    done = cli("learn", "photos", "--name", "shapes", "--shots", 3, "--context-tokens", 2, "--epochs", 5, "--fresh")
    assert done.out.startswith("shapes@3 learned 3 classes from 9 images"), done.err
    assert "cache" not in done.err
    assert {path: path.read_bytes() for path in before} == before
    assert json.loads(cli("diff", "shapes@2", "shapes@3", "--json").out)["added"] == []


def test_the_old_cache_is_taken_or_forgotten_without_a_word(cli, old_home):
    kept = json.loads(silent(cli("cache", "info", "--json")))
    assert kept["keeps"] and kept["path"] == str(old_home / "cache" / "features.sqlite")
    assert (
        silent(cli("classify", "photos", "--prompt", "shapes", "--blend", "auto", "--format", "csv")).count("\n") == 19
    )
    assert "photos" not in silent(cli("cache", "clear"))


# --------------------------------------------------------------------------- 0.2.0


def test_a_store_of_020_is_listed_checked_and_measured_as_before(cli, second_home):
    listed = json.loads(silent(cli("list", "--json")))["contexts"]
    assert [(row["name"], row["version"], row["fault"]) for row in listed] == [
        ("own", 1, None),
        ("shapes", 2, None),
        ("weights", 1, None),
    ]
    checked = json.loads(silent(cli("check", "--all", "--json")))["contexts"]
    assert len(checked) == 5 and {row["backbone_state"] for row in checked} == {"same"}
    assert "faded@1 is back" in silent(cli("restore", "faded"))
    report = json.loads(cli("evaluate", "shapes@1", "photos", "--json").out)
    expected = SECOND_ANSWERS["shapes@1"]
    assert (report["learned"]["top1"], report["zero_shot"]["top1"]) == (expected["top1"], expected["zero_shot"])
    assert report["without_head"] is None


@pytest.mark.parametrize("context", ["shapes@1", "shapes", "own", "weights"])
def test_a_context_of_020_answers_as_before(cli, second_home, context):
    assert_answers(cli, context, SECOND_ANSWERS[context]["best"])


@pytest.mark.parametrize("context", ["shapes", "own", "weights"])
def test_a_context_of_020_learns_more_and_keeps_what_it_knew(cli, second_home, context):
    before = {path: path.read_bytes() for path in (second_home / "contexts").rglob("*.safetensors")}
    parent = promptctl.Store()[context]
    done = cli("learn", "photos", "--name", context, "--epochs", 3, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["update"]["stored"] == 9 and report["update"]["new"] == 9
    after = promptctl.Store()[context]
    assert after.card.parent == parent.card.sha256 and after.card.labels == parent.card.labels
    kept = {sha.tobytes() for sha in after.shots.sha256}
    assert {sha.tobytes() for sha in parent.shots.sha256} <= kept and len(kept) == 18
    # a head is the default that 0.2.0 did not have yet; weights of classes are their own
    assert (after.head is None) == (context == "weights")
    assert {path: path.read_bytes() for path in before} == before


def test_what_020_held_out_stays_held_out(cli, second_home):
    """Its hold-out was by hash alone, so a class may have more or less of it than a fifth."""
    parent = promptctl.Store()["shapes@1"]
    assert parent.shots.held_out.sum() == 5
    cli("copy", "shapes@1", "first")
    assert cli("learn", "photos", "--name", "first", "--epochs", 3).code == 0
    after = promptctl.Store()["first@2"]
    side = {sha.tobytes(): held for sha, held in zip(after.shots.sha256, after.shots.held_out, strict=True)}
    for sha, held in zip(parent.shots.sha256, parent.shots.held_out, strict=True):
        assert side[sha.tobytes()] == held
    assert Classifier.of(after).bias is not None and Classifier.of(parent).bias is None
