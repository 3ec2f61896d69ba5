from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from conftest import COLOURS, copy_into_splits, paint
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from promptctl import images, protocol, zero_shot
from promptctl.backbone import Backbone
from promptctl.cache import FeatureCache
from promptctl.features import encode
from promptctl.learners import COMPARED, coop

FOUR = {**COLOURS, "yellow": (220, 210, 40)}


@pytest.fixture
def pool(tmp_path, tiny):
    folder = images.ImageFolder.scan(paint(tmp_path / "four", images=8, colours=FOUR))
    hashed, _ = images.hash_images(folder.images)
    backbone = Backbone(tiny)
    features, _ = encode([image.path for image in hashed], backbone, FeatureCache())
    divided = images.fifth_of_each(hashed)
    vector_of = dict(zip(features.paths, features.vectors, strict=True))
    names = {label: f"{label} thing" for label in folder.labels}
    return protocol.Pool(names, divided.train, divided.held_out, vector_of, backbone, zero_shot.DEFAULT)


def test_a_run_learns_from_the_drawn_shots_and_is_measured_on_the_test_images(pool):
    found = protocol.run(pool, "coop", 2, 3)
    x, y = pool.arrays(images.sample(pool.train, 2, seed=3).train)
    tower, scale = pool.backbone.tower, pool.backbone.logit_scale
    settings = coop.Settings(epochs=100, seed=3)
    learned = coop.learn(x, y, pool.names, tower, logit_scale=scale, settings=settings)
    x_test, y_test = pool.arrays(pool.test)
    assert found.accuracy == ((x_test @ learned.text_features.T).argmax(1) == y_test).mean()
    assert not {image.sha256 for image in pool.test} & {image.sha256 for image in pool.train}


@pytest.mark.parametrize("learner", protocol.COMPARED)
def test_every_learner_runs_and_repeats_itself(pool, learner):
    first, again = (protocol.run(pool, learner, 2, 1) for _ in range(2))
    assert 0 <= first.accuracy <= 1
    assert first.accuracy == again.accuracy


def test_a_blend_mixes_what_plain_folds_choose(pool):
    by_hand = pool.by_hand(zero_shot.DEFAULT)
    draw = protocol.Draw(pool, 4, 1)
    x, y = pool.arrays(draw.sample.train)
    right = dict.fromkeys(range(11), 0)
    for train, held_out in StratifiedKFold(4, shuffle=True, random_state=1).split(x, y):
        fold = draw.learn(x[train], y[train]).text_features
        for tenths in right:
            texts = tenths * fold + (10 - tenths) * by_hand
            texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
            right[tenths] += int(((x[held_out] @ texts.T).argmax(1) == y[held_out]).sum())
    best = max(tenths for tenths in right if right[tenths] == max(right.values()))
    texts = best * draw.context().text_features + (10 - best) * by_hand
    texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    x, y = pool.arrays(pool.test)
    assert protocol.run(pool, "coop-blend", 4, 1).accuracy == ((x @ texts.T).argmax(1) == y).mean()


def test_one_shot_is_blended_half_and_half(pool):
    learned, by_hand = protocol.Draw(pool, 1, 1).context().text_features, pool.by_hand(zero_shot.DEFAULT)
    x, y = pool.arrays(pool.test)
    texts = learned + by_hand
    texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    assert protocol.run(pool, "coop-blend", 1, 1).accuracy == ((x @ texts.T).argmax(1) == y).mean()


def test_a_probe_without_validation_images_is_scikit_learns_default(pool):
    most, _ = pool.most_shots
    x, y = pool.arrays(images.sample(pool.train, most, seed=1).train)
    plain = LogisticRegression(max_iter=1000).fit(x, y).score(*pool.arrays(pool.test))
    assert len({image.label for image in images.sample(pool.train, most, seed=1).held_out}) < 4
    assert protocol.run(pool, "linear-probe", most, 1).accuracy == plain


@pytest.mark.parametrize(("labels", "base"), [("dcba", "ab"), ("edcba", "abc"), ("ab", "a")])
def test_base_classes_are_the_first_and_larger_half(labels, base):
    assert protocol.halves(labels) == (tuple(base), tuple(sorted(set(labels) - set(base))))


def test_base_to_new_asks_the_context_about_classes_it_never_saw(pool):
    found = protocol.base_to_new(pool, "coop", 2, 1)
    base, new = (pool.only(half) for half in protocol.halves(pool.labels))
    assert base.labels == ("blue", "green")
    learned = protocol.Draw(base, 2, 1).context()
    tower = pool.backbone.tower
    prompts = tower.prompts(["red thing", "yellow thing"], 16)
    import torch

    texts = tower.encode(torch.from_numpy(learned.vectors), prompts).numpy()
    x, y = new.arrays(new.test)
    texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    assert found.new == ((x @ texts.T).argmax(1) == y).mean()
    assert found.base == base.accuracy(learned.text_features)
    assert protocol.BaseToNew("x", 1, 1, 0.5, 0.25).harmonic == pytest.approx(1 / 3)
    assert protocol.BaseToNew("x", 1, 1, 0.0, 0.0).harmonic == 0.0


def test_zero_shot_does_not_depend_on_shots_or_seed(pool):
    assert len({protocol.run(pool, "zero-shot", shots, seed).accuracy for shots in (1, 2) for seed in (1, 2)}) == 1


# --------------------------------------------------------------------------- the command


def test_the_command_prints_a_table_and_draws_the_figure(cli, tmp_path, tiny):
    photos = paint(tmp_path / "four", images=8, colours=FOUR)
    plot = tmp_path / "curve.png"
    asked = ("compare", photos, "--model", tiny, "--shots", "1,2,16", "--seeds", "1,2", "--learners", "zero-shot,coop")
    done = cli(*asked, "--base-to-new", "--plot", plot)
    assert done.code == 0, done.err
    assert "1 shot" in done.out
    assert "2 shots" in done.out
    assert "16 shots" not in done.out
    assert "left out 16 shots: class '" in done.err
    assert "harmonic" in done.out
    assert plot.read_bytes()[:4] == b"\x89PNG"
    refused = cli(*asked, "--plot", plot)
    assert (refused.code, refused.err) == (
        1,
        f"error: {plot} cannot be written: it already exists\nhint:  --force replaces it\n",
    )
    assert cli(*asked, "--plot", plot, "--force").code == 0


def test_json_holds_every_run(cli, photos, tiny, tmp_path):
    split = copy_into_splits(photos, tmp_path / "split")
    asked = ("compare", split, "--model", tiny, "--shots", "1,2", "--seeds", "1,2,3", "--learners", "coop,linear-probe")
    report = json.loads(cli(*asked, "--json").out)
    assert report["measured_on"] == "images of test/"
    assert (report["train_images"], report["test_images"]) == (12, 6)
    for row in report["learners"]:
        assert len(row["runs"]) == 3
        assert row["mean"] == pytest.approx(np.mean(row["runs"]))
        assert row["std"] == pytest.approx(np.std(row["runs"]))
    rows = list(csv.DictReader(io.StringIO(cli(*asked, "--format", "csv").out)))
    assert [(row["learner"], row["shots"]) for row in rows] == [
        ("coop", "1"),
        ("coop", "2"),
        ("linear-probe", "1"),
        ("linear-probe", "2"),
    ]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--learners", "coop,tip"], "no learner is called 'tip'"),
        (["--learners", ","], "no learner is named"),
        (["--template", "{} " + "very " * 80], "the template says 'blue very"),
        (["--base-to-new"], "--base-to-new halves the classes, and {photos} has 3"),
        (["--shots", "40"], "class 'blue' has"),
        (["--plot", "curve.gif"], "curve.gif cannot be written: a figure ends in .png, .svg, .pdf"),
        (["--plot", ""], ". cannot be written: a figure ends in .png, .svg, .pdf"),
        (["--template", "{} of {x}"], "'{{}} of {{x}}' is neither a sentence with {{}}"),
        (["--template", "a photo"], "'a photo' is neither a sentence with {{}} for the class name"),
    ],
)
def test_what_cannot_be_compared_is_said_in_words(cli, photos, tiny, options, error):
    done = cli("compare", photos, "--model", tiny, *options)
    assert done.code == 1
    assert done.err.splitlines()[-2].startswith("error: " + error.format(photos=photos))


def test_shots_that_are_no_numbers_are_a_usage_error(cli, photos):
    for shots in ("1,many", "0", ",", "", "-1", str(2**32)):
        assert cli("compare", photos, "--shots", shots).code == 2


@pytest.mark.parametrize("kind", [".svg", ".pdf"])
def test_the_same_rows_draw_the_same_figure(kind):
    from promptctl.plot import curve
    from promptctl.report import ComparedRow

    rows = [ComparedRow("coop", k, 0.5 + k / 100, 0.02, (0.5,), 1.0) for k in (1, 2, 4)]
    assert curve(rows, "birds", kind) == curve(rows, "birds", kind)


def test_a_learner_named_twice_runs_once(cli, photos, tiny):
    asked = ("compare", photos, "--model", tiny, "--shots", "1", "--seeds", "1,2", "--learners", "zero-shot,zero-shot")
    (row,) = json.loads(cli(*asked, "--json").out)["learners"]
    assert len(row["runs"]) == 2


def test_one_number_of_shots_is_a_point_in_the_figure():
    from promptctl.plot import curve
    from promptctl.report import ComparedRow

    svg = curve([ComparedRow("coop", 4, 0.5, 0.02, (0.5,), 1.0)], "birds", ".svg").decode()
    assert svg.count("fill: #1f77b4; stroke: #1f77b4") == 2, "itself and in the legend"


def test_a_figure_that_cannot_be_written_loses_no_result(cli, photos, tiny, tmp_path, monkeypatch):
    from promptctl import files

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "place", full)
    asked = ("compare", photos, "--model", tiny, "--shots", "1", "--seeds", "1", "--learners", "zero-shot")
    done = cli(*asked, "--plot", tmp_path / "curve.png")
    assert done.code == 1
    assert "zero-shot" in done.out
    assert done.err.endswith(f"error: {tmp_path / 'curve.png'} cannot be written: no space left on device\n")


def test_a_figure_the_disk_did_not_confirm_loses_no_result(cli, photos, tiny, tmp_path, monkeypatch):
    from promptctl import files

    def broken(folder):
        raise OSError(5, "Input/output error", str(folder))

    monkeypatch.setattr(files, "fsync_folder", broken)
    asked = ("compare", photos, "--model", tiny, "--shots", "1", "--seeds", "1", "--learners", "zero-shot")
    done = cli(*asked, "--plot", tmp_path / "curve.png")
    assert done.code == 1
    assert "zero-shot" in done.out
    assert f"error: it is done, but may not outlast a power cut: {tmp_path}: input/output error" in done.err
    assert (tmp_path / "curve.png").exists()


def test_a_half_without_test_images_is_told_before_anything_is_learned(cli, tmp_path, tiny):
    split = copy_into_splits(paint(tmp_path / "four", images=6, colours=FOUR), tmp_path / "split")
    for path in (split / "test").glob("red/*"):
        path.unlink()
    for path in (split / "test").glob("yellow/*"):
        path.unlink()
    done = cli("compare", split, "--model", tiny, "--shots", "1", "--base-to-new", "--learners", "zero-shot")
    assert done.code == 1
    assert f"error: {split} has no image to measure the new classes on (red, yellow)" in done.err


def test_test_images_it_could_know_and_of_classes_it_cannot_are_named(cli, photos, tiny, tmp_path):
    import shutil

    split = copy_into_splits(photos, tmp_path / "split")
    shutil.copy(split / "train" / "red" / "0.png", split / "test" / "red" / "seen.png")
    shutil.copytree(split / "test" / "red", split / "test" / "pink")
    done = cli("compare", split, "--model", tiny, "--shots", "1", "--seeds", "1", "--learners", "zero-shot", "--json")
    report = json.loads(done.out)
    assert report["test_images"] == 6
    assert sorted((item["path"].split("/")[-2:], item["reason"]) for item in report["skipped"]) == [
        (["pink", "4.png"], "'pink' is not a class of the photos to learn from"),
        (["pink", "5.png"], "'pink' is not a class of the photos to learn from"),
        (["pink", "seen.png"], "'pink' is not a class of the photos to learn from"),
        (["red", "seen.png"], "a copy of a photo to learn from, so it is not measured on"),
    ]


def test_the_names_are_those_of_the_protocol():
    assert tuple(protocol.COMPARED) == COMPARED


def test_what_cannot_speak_of_new_classes_is_named_and_csv_holds_what_can(cli, tmp_path, tiny):
    photos = paint(tmp_path / "four", images=6, colours=FOUR)
    asked = ("compare", photos, "--model", tiny, "--shots", "1", "--seeds", "1", "--base-to-new", "--learners")
    done = cli(*asked, "zero-shot,linear-probe,clap", "--format", "csv")
    assert "warning: linear-probe and clap cannot speak of classes not learned: not in base to new" in done.err
    zero_shot_row, probe, _ = csv.DictReader(io.StringIO(done.out))
    assert 0 <= float(zero_shot_row["harmonic"]) <= 1
    assert (zero_shot_row["std"], zero_shot_row["base_std"], probe["base"], probe["std"]) == ("", "", "", "")
    assert " ± " not in cli(*asked, "zero-shot").out, "one seed has no deviation"


def test_what_is_learned_is_a_line_and_what_is_written_by_hand_is_dashed():
    from promptctl.plot import curve
    from promptctl.report import ComparedRow

    def line(learner):
        return curve([ComparedRow(learner, k, 0.5, None, (0.5,), 1.0) for k in (1, 2)], "birds", ".svg").decode()

    assert "dasharray" in line("zero-shot")
    assert "dasharray" not in line("clap")


def test_a_letter_the_font_lacks_draws_no_complaint(recwarn):
    from promptctl.plot import curve
    from promptctl.report import ComparedRow

    curve([ComparedRow("coop", 1, 0.5, None, (0.5,), 1.0)], "鳥の写真", ".png")
    assert not [w for w in recwarn if "Glyph" in str(w.message)]
