"""The figures of `evaluate`, against other libraries, plain definitions and what is known of chance."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

import promptctl
from promptctl.classification.classifier import Predictions
from promptctl.classification.metrics import (
    accuracy_among,
    area_under_risk,
    bootstrap,
    confused_pairs,
    confusion,
    scores,
)
from promptctl.report import Interval
from promptctl.report.measures import accuracy_interval


@pytest.fixture
def learned(colours_bytes):
    return promptctl.Store().save("colours", colours_bytes, new=True)


@pytest.mark.parametrize("seed", range(30))
def test_macro_precision_and_recall_are_scikit_learns_whatever_classes_are_missing(seed):
    rng = np.random.default_rng(seed)
    classes, images = int(rng.integers(2, 12)), int(rng.integers(1, 60))
    targets = rng.choice(rng.choice(classes, int(rng.integers(1, classes + 1))), images)
    p = Predictions(rng.dirichlet(np.full(classes, 0.3), images))
    wanted = precision_recall_fscore_support(
        targets, p.best, labels=np.unique(targets), average="macro", zero_division=0
    )
    found = scores(p, targets)
    np.testing.assert_allclose(
        [found["macro_precision"], found["macro_recall"], found["macro_f1"]], wanted[:3], atol=1e-14
    )


def test_confused_pairs_are_the_errors_the_most_first():
    p = Predictions(np.eye(4)[[1, 2, 1, 0, 2, 2, 3]])
    targets = np.array([0, 0, 0, 3, 3, 2, 3])
    assert confused_pairs(confusion(p, targets)) == [(0, 1, 2), (0, 2, 1), (3, 0, 1), (3, 2, 1)]
    assert confused_pairs(np.diag([3, 0, 5])) == []


def certain(confidence: list[float], right: list[int]) -> tuple[Predictions, np.ndarray]:
    """Answers of two classes with these probabilities, and targets that make them right or wrong."""
    return Predictions(np.array([[c, 1 - c] for c in confidence])), 1 - np.array(right)


def test_risk_over_coverage_is_its_definition():
    p, targets = certain([0.6, 0.9, 0.8, 0.7], [0, 1, 0, 1])
    assert area_under_risk(p, targets) == pytest.approx(np.mean([0, 1 / 2, 1 / 3, 2 / 4]))
    assert [accuracy_among(share, p, targets) for share in (1, 0.7, 0.5, 0.01)] == [
        (4, 0.5),
        (3, pytest.approx(2 / 3)),
        (2, 0.5),
        (1, 1.0),
    ]


def test_equally_certain_answers_count_alike_in_any_order():
    for right in ([1, 0, 0], [0, 0, 1]):
        p, targets = certain([0.8, 0.8, 0.8], right)
        assert area_under_risk(p, targets) == pytest.approx(2 / 3)
        assert accuracy_among(0.5, p, targets) == (2, pytest.approx(1 / 3))


def test_the_bootstrap_is_that_of_images_drawn_one_by_one():
    rng = np.random.default_rng(0)
    right, other = rng.random(60) < 0.8, rng.random(60) < 0.6
    drawn = rng.integers(0, 60, (20_000, 60))
    accuracy, gain = right[drawn].mean(1), right[drawn].mean(1) - other[drawn].mean(1)
    for found, plain in zip(bootstrap(right, other), (accuracy, gain), strict=True):
        np.testing.assert_allclose(found, np.quantile(plain, [0.025, 0.975]), atol=0.018)  # an image is 0.0167
    assert bootstrap(right, other) == bootstrap(right, other)
    same = bootstrap(right, right)
    assert same[1] == (0, 0) and same[0][0] < right.mean() < same[0][1]


def test_the_interval_holds_what_is_true_about_as_often_as_it_says():
    rng, held = np.random.default_rng(1), 0
    for _ in range(300):
        right, other = rng.random(200) < 0.9, rng.random(200) < 0.8
        accuracy, gain = bootstrap(right, other, resamples=2000)
        held += (accuracy[0] <= 0.9 <= accuracy[1]) + (gain[0] <= 0.1 <= gain[1])
    assert 0.91 < held / 600 < 0.98


def test_a_hundred_thousand_images_take_no_memory():
    import tracemalloc

    right = np.arange(100_000) % 10 > 0
    tracemalloc.start()
    accuracy, _ = bootstrap(right, ~right)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6 and accuracy[1] - accuracy[0] == pytest.approx(2 * 1.96 * 0.3 / 100_000**0.5, rel=0.05)


def test_intervals_are_said_in_words():
    assert accuracy_interval(0.9, 50, Interval(0.8, 0.98)) == "80.0 to 98.0 % right"
    assert accuracy_interval(1.0, 6, Interval(1, 1)) == "at least 54.1 % right, as none is wrong here"
    assert accuracy_interval(0.0, 6, Interval(0, 0)) == "at most 45.9 % right, as none is right here"
    verdicts = [Interval(*ends).verdict for ends in ((0.01, 0.1), (-0.1, 0.1), (-0.2, -0.01), (0, 0))]
    more, may = "which is more than chance", "which may be chance"
    assert verdicts == [more, may, more, "since both are right on the same images"]
    assert Interval(-0.01, 0.1).points == "-1.0 to +10.0 points"


# --------------------------------------------------------------------------- in the report


def test_a_report_has_them_all_and_what_came_from_the_cache(cli, photos, learned):
    first, again = (json.loads(cli("evaluate", "colours", photos, "--json").out) for _ in range(2))
    assert first["speed"]["cached"] == 0 and 0 < first["speed"]["seconds_per_image"] < 5
    assert again["speed"] == {"seconds_per_image": None, "cached": 18}
    assert {**first, "speed": 0} == {**again, "speed": 0}
    assert [row["share"] for row in first["coverage"]] == [1, 0.95, 0.9, 0.8, 0.7, 0.5]
    assert [row["images"] for row in first["coverage"]] == [18, 18, 17, 15, 13, 9]
    assert first["coverage"][0]["accuracy"] == first["learned"]["top1"]
    assert first["coverage"][0]["zero_shot_accuracy"] == first["zero_shot"]["top1"]
    wrong = 18 * (1 - first["learned"]["top1"])
    assert sum(pair["images"] for pair in first["confused"]) == pytest.approx(wrong)
    gain = first["learned"]["top1"] - first["zero_shot"]["top1"]
    assert first["gain_interval"]["low"] < gain < first["gain_interval"]["high"]


def test_copies_of_one_photo_are_encoded_once(cli, photos, learned):
    (photos / "red" / "copy.png").write_bytes((photos / "red" / "0.png").read_bytes())
    assert json.loads(cli("evaluate", "colours", photos, "--json").out)["speed"]["cached"] == 1


def test_a_person_reads_the_interval_the_pairs_and_the_coverage(cli, photos, learned):
    for name, other in (("red", "x"), ("blue", "red"), ("x", "blue")):  # wrong on purpose
        (photos / name).rename(photos / other)
    lines = cli("evaluate", "colours", photos).out.splitlines()
    assert re.fullmatch(
        r"with 95 % confidence [\d.]+ to [\d.]+ % right, and [+-][\d.]+ to [+-][\d.]+ points against zero-shot, "
        r"which (may be chance|is more than chance)",
        lines[1],
    )
    assert "images of\twere taken for\timages" in lines and "most certain\timages\tlearned\tzero-shot" in lines
    assert any(line.startswith("seconds per image\t") for line in lines)
    assert any(line.startswith("seconds per image (all from the cache)\t–") for line in again(cli, photos))


def again(cli, photos):
    return cli("evaluate", "colours", photos).out.splitlines()
