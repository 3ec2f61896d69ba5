"""The protocols of continual learning, on made-up features and the tiny CLIP's text tower."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf

from promptctl.benchmark import continual, guarding, ways
from promptctl.benchmark.continual import Course, Line
from promptctl.benchmark.ways import WAYS, Lesson, Photos
from promptctl.clip import templates
from promptctl.context.guard import judge
from promptctl.context.prototypes import MADE
from promptctl.learners import head

BENCHMARKS = Path(__file__).parent / "benchmarks"
NAMES = ("dog", "polar bear", "kite", "red", "old house", "rain")


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def photos(clip):
    """Six classes of four images to learn from and 20 to measure on, near enough to each other to be confused."""
    _, _, tower = clip
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(6, tower.joint_width))
    targets, test_targets = np.repeat(np.arange(6), 4), np.repeat(np.arange(6), 20)
    train = unit(centres[targets] + 0.8 * chance.normal(size=(24, tower.joint_width)))
    test = unit(centres[test_targets] + 0.8 * chance.normal(size=(120, tower.joint_width)))
    zero_shot = templates.mean_features(tower, NAMES, ("a photo of a {}.",))
    helpful = unit(zero_shot + 0.3 * unit(centres))  # or it would be right by chance alone
    return Photos(NAMES, train, targets, test, test_targets, helpful, tower, 30.0)


@pytest.fixture
def tasks():
    return continual.tasks_of(6, 3, seed=1)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    for epochs in ("UPDATE_EPOCHS", "ROWS_EPOCHS"):
        monkeypatch.setattr(ways.coop, epochs, 20)


def lines(photos, tasks, *names):
    return {line.way: line for line in continual.class_incremental(photos, tasks, names, seed=1)}


def test_every_class_comes_in_one_task():
    tasks = continual.tasks_of(10, 4, seed=3)
    assert sorted(np.concatenate(tasks)) == list(range(10))
    assert [len(task) for task in tasks] == [3, 3, 2, 2]
    assert [*np.concatenate(tasks)] != [*np.concatenate(continual.tasks_of(10, 4, seed=4))]


def test_a_version_is_measured_on_every_task_among_the_classes_that_it_knows(photos, tasks):
    line = lines(photos, tasks, "nearest-mean")["nearest-mean"]
    for i in range(3):
        for j in range(i + 1):
            for among, found in ((i, line.accuracies), (j, line.among_known)):
                known = np.concatenate(tasks[: among + 1])
                means = unit(np.stack([photos.train[photos.targets == c].mean(0) for c in known]))
                asked = np.isin(photos.test_targets, tasks[j])
                right = known[(photos.test[asked] @ means.T).argmax(1)] == photos.test_targets[asked]
                assert found[i][j] == right.mean()
    assert line.sizes == (40, 40, 40)
    assert line.last == pytest.approx(line.measures.last)


def test_a_frozen_model_forgets_nothing_although_it_forgets():
    texts = np.eye(3, dtype=np.float32)
    test = unit(np.array([[1, 0, 0], [0, 3, 4], [0, 0, 1]]))  # the second looks like the third class
    each = np.arange(3)
    three = Photos(("a", "b", "c"), texts, each, test, each, texts, None, 1.0)
    line = lines(three, each[:, None], "zero-shot")["zero-shot"]
    assert line.accuracies == ((1, 1, 1), (1, 1, 1), (1, 0, 1))
    assert line.among_known == ((1, 1, 1),) * 3
    assert line.zero_shot == (1, 1, 1)
    measures = line.measures
    assert (measures.forgetting, measures.pure_forgetting, measures.bwt) == (0.5, 0, -0.5)
    assert measures.fwt == 0, "before it is learned, a task is known as well as zero-shot knows it"


def test_what_says_nothing_of_other_classes_has_no_forward_transfer(photos, tasks):
    found = lines(photos, tasks, "lda", "clap", "replay")
    assert found["lda"].measures.fwt is None
    assert found["clap"].measures.fwt is not None and found["replay"].measures.fwt is not None


def test_replay_keeps_what_the_new_photos_alone_lose(photos, tasks):
    found = lines(photos, tasks, "replay", "naive", "no-features")
    replay, naive, prototypes = (found[way].measures for way in ("replay", "naive", "no-features"))
    assert replay.last > naive.last + 0.05 and prototypes.last > naive.last + 0.05
    assert naive.pure_forgetting > replay.pure_forgetting
    assert found["naive"].accuracies[0] == found["replay"].accuracies[0], "nothing is old in the first lesson"


def test_rows_of_old_classes_stay_to_the_bit(photos, tasks):
    lessons = [continual._of_task(photos, tasks, number, 1) for number in (1, 2, 3)]
    taken = continual.taken(lessons, ("replay-csc", "replay-csc-polish"))
    versions = [version for version, _ in taken["replay-csc"]]
    for number, (before, after) in enumerate(pairwise(versions), 1):
        old = np.concatenate(tasks[:number])
        np.testing.assert_array_equal(after.vectors[: len(old)], before.vectors)
        np.testing.assert_array_equal(after.rows[old], before.rows[old])
        assert (after.rows[tasks[number]] != before.rows[tasks[number]]).all(1).all(), "the new ones are learned"
    assert lines(photos, tasks, "replay-csc")["replay-csc"].measures.pure_forgetting == 0
    (first, _), (polished, _), _ = taken["replay-csc-polish"]
    assert first is versions[0]
    assert (polished.rows[tasks[0]] != first.rows[tasks[0]]).all(1).all(), "polishing learns them all"


def test_the_head_is_the_products_own_and_knows_the_classes_so_far(photos, tasks):
    lesson = continual._of_task(photos, tasks, 2, 1)
    scores = WAYS["replay-head"].learn(lesson, None).scores(photos.test)
    known = np.concatenate(tasks[:2])
    shown = np.isin(photos.targets, known)
    order = np.argsort(known)  # targets as indices into sorted classes
    indices = np.searchsorted(known[order], photos.targets[shown])
    found = head.fit(photos.train[shown], order[indices], photos.zero_shot[known], logit_scale=30.0, seed=1)
    np.testing.assert_allclose(scores[:, known], 30 * photos.test @ found.weight.T + found.bias, atol=1e-4)
    assert np.isnan(scores[:, tasks[2]]).all()


def test_lda_is_a_gaussian_for_each_class_of_one_covariance(photos, tasks):
    lesson = continual._of_task(photos, tasks, 2, 1)
    scores = WAYS["lda"].learn(lesson, None).scores(photos.test)
    means = np.stack([lesson.features[lesson.targets == c].mean(0) for c in lesson.classes])
    apart = lesson.features - means[lesson.positions]
    covariance = LedoitWolf(assume_centered=True).fit(apart.astype(np.float64)).covariance_
    dense = np.stack([multivariate_normal(mean, covariance).logpdf(photos.test) for mean in means], 1)
    found = scores[:, lesson.classes]
    np.testing.assert_allclose(found - found[:, :1], dense - dense[:, :1], rtol=1e-3, atol=1e-2)


def test_new_rows_start_at_the_mean_of_the_old_ones(photos, tasks, monkeypatch):
    monkeypatch.setattr(ways.coop, "ROWS_EPOCHS", 0)
    lessons = [continual._of_task(photos, tasks, number, 1) for number in (1, 2)]
    (before, _), (after, _) = continual.taken(lessons, ("replay-csc",))["replay-csc"]
    np.testing.assert_allclose(after.vectors[2:], np.stack([before.vectors.mean(0)] * 2), atol=1e-6)


def test_joint_takes_as_many_steps_as_replay_and_five_times_as_many(photos, tasks, monkeypatch):
    for epochs in ("UPDATE_EPOCHS", "ROWS_EPOCHS"):
        monkeypatch.setattr(ways.coop, epochs, 4)
    monkeypatch.setattr(ways.coop, "fast_epochs", lambda shots, **_: 10)
    lessons = [continual._of_task(photos, tasks, number, 1) for number in (1, 2, 3)]
    taken = continual.taken(lessons, ("joint", "joint-5x", "replay", "joint-csc", "replay-csc"))
    steps = {way: [version.steps for version, _ in of_way] for way, of_way in taken.items()}
    assert steps["replay"] == steps["replay-csc"] == steps["joint"] == [10, 14, 18]
    assert steps["joint-5x"] == [90] and steps["joint-csc"] == [18], "the last version alone"


def test_of_the_last_version_alone_there_is_one_accuracy(photos, tasks):
    line = lines(photos, tasks, "joint-csc")["joint-csc"]
    assert line.measures is None and len(line.accuracies) == len(line.seconds) == 1
    assert line.last == np.average(line.accuracies[0], weights=line.sizes) > 0.2


def test_without_features_only_means_and_variances_of_old_images_count(photos, tasks):
    first, second = (continual._of_task(photos, tasks, number, 1) for number in (1, 2))
    features = second.features.copy()
    for c in tasks[0]:  # the other side of the mean, with the same variance and covariance
        rows = second.targets == c
        features[rows] = 2 * features[rows].mean(0) - features[rows]
    swapped = replace(second, features=features)
    way, start = WAYS["no-features"].learn, WAYS["replay"].learn(first, None)
    np.testing.assert_allclose(way(swapped, start).rows, way(second, start).rows, atol=1e-4)
    replayed = WAYS["replay"].learn
    assert np.abs(replayed(swapped, start).rows - replayed(second, start).rows).max() > 1e-2


def test_drawn_images_are_like_those_they_stand_for(photos):
    all_old = Lesson(photos, 2, np.arange(6), photos.train, photos.targets, np.zeros(24, bool), seed=1)
    made, targets = ways._drawn(all_old)
    assert np.bincount(targets).tolist() == [MADE] * 6 and len(made) == len(targets)
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    means = unit(np.stack([photos.train[photos.targets == c].mean(0) for c in range(6)]))
    assert ((made @ means.T).argmax(1) == targets).mean() > 0.9
    assert not (made[:, None] == photos.train).all(2).any()


# --------------------------------------------------------------------------- months and corrections


def test_months_bring_two_shots_of_all_and_then_six_of_some():
    targets = np.repeat(np.arange(10), 40)
    month_of = continual.months_of(targets, 10, seed=2)
    per_month = np.array([np.bincount(targets[month_of == month], minlength=10) for month in range(1, 7)])
    assert (per_month[0] == 2).all()
    assert all(sorted(set(counts)) == [0, 6] and (counts == 6).sum() == 4 for counts in per_month[1:])
    few = np.bincount(continual.months_of(np.repeat(np.arange(10), 3), 10, 2), minlength=7)
    assert few.sum() == 30 and few[1] == 20, "no more than there are"


def test_a_month_is_of_classes_that_have_photos_left_as_long_as_any_has():
    targets = np.repeat(np.arange(4), (30, 3, 3, 3))
    month_of = continual.months_of(targets, 4, seed=2, months=20)
    assert month_of.min() > 0, "all of them come"
    assert set(month_of) == set(range(1, 10)), "28 of the large class in five months, one of each other: none is empty"


def test_every_month_is_measured_on_all_classes(photos):
    more = replace(photos, train=np.tile(photos.train, (5, 1)), targets=np.tile(photos.targets, 5))
    (course,) = continual.monthly(more, ("nearest-mean",), seed=1)
    month_of = continual.months_of(more.targets, 6, 1)
    for month, accuracy in enumerate(course.accuracies, 1):
        shown = (month_of > 0) & (month_of <= month)
        means = unit(np.stack([more.train[shown & (more.targets == c)].mean(0) for c in range(6)]))
        assert accuracy == ((more.test @ means.T).argmax(1) == more.test_targets).mean()
    assert len(course.accuracies) == len(course.seconds) == 6


def test_a_month_brings_what_is_new_and_all_that_was_there(photos, monkeypatch):
    lessons = []
    spy = ways.Way(lambda lesson, before: lessons.append(lesson) or WAYS["nearest-mean"].learn(lesson, before))
    monkeypatch.setitem(ways.WAYS, "spy", spy)
    continual.monthly(photos, ("spy",), seed=1)
    month_of = continual.months_of(photos.targets, 6, 1)
    for month, lesson in enumerate(lessons, 1):
        shown = (month_of > 0) & (month_of <= month)
        np.testing.assert_array_equal(lesson.features, photos.train[shown])
        np.testing.assert_array_equal(lesson.targets, photos.targets[shown])
        np.testing.assert_array_equal(lesson.new, month_of[shown] == month)
    assert len(lessons) == month_of.max() > 1 and not lessons[1].new.all()


def test_a_quarter_of_every_class_is_mislabelled():
    right = np.repeat(np.arange(5), 16)
    wrong = continual._mislabelled(right, 5, seed=1)
    assert np.bincount(right[wrong != right], minlength=5).tolist() == [4] * 5
    assert set(wrong) == set(range(5))


def test_corrected_labels_are_learned_as_if_they_had_been_right(photos):
    means, replay, naive = continual.corrected(photos, ("nearest-mean", "replay", "naive"), seed=1)
    noisy, mended, clean = means.accuracies
    assert noisy < mended == clean
    assert replay.accuracies[1] > replay.accuracies[0]
    assert replay.accuracies[1] > naive.accuracies[1], "only the corrections are shown to the naive one"


def test_progress_of_corrections_is_of_all_three_versions(photos):
    told = []
    continual.corrected(photos, ("nearest-mean", "lda"), seed=1, on_progress=lambda *step: told.append(step))
    assert told == [("comparing", done, 6) for done in range(1, 7)]


# --------------------------------------------------------------------------- the guard


def test_the_guard_sees_the_same_images_of_parent_and_candidate(photos, monkeypatch):
    seen = []
    monkeypatch.setattr(guarding, "GUARDED", ("clap",))
    monkeypatch.setattr(guarding, "IMAGES", (100, 40, 7))
    monkeypatch.setattr(guarding, "judge", lambda pairs, *rest: seen.append((pairs, *rest)) or judge(pairs, *rest))
    found = guarding.guarded(photos, seed=1)
    updates = ("honest, every class", "honest, some classes", "naive, some classes", "shuffled labels")
    assert [(one.update, one.images) for one in found] == [(update, n) for update in updates for n in (100, 40, 7)]
    assert [len(pairs) for pairs, _, _ in seen] == [100, 40, 7] * 4
    for one, (pairs, targets, labels) in zip(found, seen, strict=True):
        assert labels == dict(enumerate(NAMES)) and len(targets) == len(pairs)
        assert one.refused == judge(pairs, targets, labels).refused
        assert one.beyond == (pairs.drop > 0.02)
    drop = {one.update: one.drop for one in found}
    assert drop["honest, every class"] <= 0 < 0.1 < min(drop["naive, some classes"], drop["shuffled labels"])
    before = {round(float(pairs.parent.mean()), 2) for pairs, _, _ in seen if len(pairs) == 100}
    assert max(before) - min(before) < 0.1, "the same parent"


def test_half_of_every_class_comes_with_the_update():
    second = guarding._second_half(np.repeat(np.arange(4), 16), 4, np.random.default_rng(0))
    assert second.reshape(4, 16).sum(1).tolist() == [8] * 4


# ----------------------------------------------------------------------------------- gates of the benchmark


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("continual")
    for name in ("continual", "accuracy"):
        sys.modules.pop(name, None)


def line(way: str, last: float) -> Line:
    rows = ((0.9, 0.0), (0.9, 2 * last - 0.9))
    found = Line(way, rows, ((0.9, 0.9), (0.9, 0.9)), (0.5, 0.5), (10, 10), (3.0, 4.0))
    return replace(found, accuracies=rows[1:], seconds=(4.0,)) if WAYS[way].last_only else found


LAST = {**dict.fromkeys(WAYS, 0.8), "naive": 0.4, "zero-shot": 0.3, "clap": 0.9}


def gates(script, capsys, *without: str) -> list[str]:
    lines = {way: [line(way, LAST[way])] for way in WAYS if way not in without}
    whole = {way: [script.measures(one) for one in of_way] for way, of_way in lines.items() if of_way[0].measures}
    script.gates_of_classes(lines, whole)
    return capsys.readouterr().out.splitlines()


def test_all_gates_are_computed_where_all_was_measured(script, capsys):
    said = gates(script, capsys)
    assert "- pass G1: replay recovers 100 % of the gap from naive to joint, 75 % asked" in said
    assert "- pass G1: replay 80.0, half-way from zero-shot to joint 55.0" in said
    assert "- pass G8: replay 7 s for all tasks, 600 allowed" in said
    assert "- FAIL head: head against the best of joint, clap, kernel-ridge, lda by stage: +0.0 -10.0" in said
    assert not [one for one in said if one.startswith("- none")]


@pytest.mark.parametrize("way", WAYS)
def test_a_gate_about_a_way_that_was_left_out_says_so_and_the_others_stand(script, capsys, way):
    every, said = gates(script, capsys), gates(script, capsys, way)
    assert len(said) == len(every)
    for before, now in zip(every, said, strict=True):
        kind = before.split()[2]
        assert now in (before, f"- none {kind} not computed without {way}")
    used = {"zero-shot", "naive", "joint", "no-features", "joint-csc", *script.CONTEXTS, "replay-head"}
    assert (said != every) == (way in used | set(script.REFERENCES))


def test_joint_training_five_times_as_long_is_the_ceiling_where_it_is_known(script, capsys):
    assert "- pass G1: replay 80.0, half-way from zero-shot to joint 55.0" in gates(script, capsys, "joint")


def test_months_and_corrections_say_it_too(script, capsys):
    means = script.mean_of_each({"replay": [Course("replay", (0.5, 0.6, 0.7), ())]})
    assert script.falls(means, "replay") == ("replay: worst month +10.0", True)
    assert script.rises(means, "replay") == ("replay: first to last +20.0", True)
    assert script.behind_clean(means, "replay", 2) == ("replay: +10.0 points behind clean, 2 allowed", False)
    script.gate("G4", lambda: script.falls(means, "replay-csc"))
    assert capsys.readouterr().out == "- none G4: not computed without replay-csc\n"
    assert np.array_equal(means["replay"], [50, 60, 70])
