"""What a context's own photos say of its answers: likeness, thresholds, temperature and lines, beside what is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from promptctl.classification import calibration
from promptctl.classification.calibration import beta_quantile, line_at, line_for, rank, temperature, threshold


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def rows(n, width=12, seed=0):
    return unit(np.random.default_rng(seed).normal(size=(n, width)) + 0.5)


def by_hand(x, shots, y):
    """As the docstring has it, one photo at a time."""
    classes = np.unique(y)
    means = {c: unit(shots[y == c].mean(0)) for c in classes}
    background = np.mean([x @ means[c] for c in classes])
    return max((x @ s + x @ means[c]) / 2 for s, c in zip(shots, y, strict=True)) - background / 2


def test_likeness_is_that_of_the_formula():
    shots, y, x = rows(9), np.array([4, 0, 2, 4, 2, 0, 2, 2, 0]), rows(5, seed=1)
    found = calibration.likeness(x.astype(np.float32), calibration.references(shots, y))
    np.testing.assert_allclose(found, [by_hand(one, shots, y) for one in x.astype(np.float32)], atol=1e-12)


def test_a_shot_is_scored_without_its_group():
    shots, y = rows(9), np.array([0, 0, 0, 1, 1, 2, 2, 2, 3])
    groups = np.array([7, 7, 3, 2, 5, 7, 1, 0, 9])  # near copies of two classes, and a class of a single image
    found = calibration.likeness_without(shots, y, groups)
    expected = [by_hand(shots[i], shots[groups != groups[i]], y[groups != groups[i]]) for i in range(9)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_class_that_leaves_altogether_has_no_part():
    shots, y = np.concatenate([rows(2, seed=3), rows(3)]), np.array([0, 0, 1, 1, 1])
    found = calibration.likeness_without(shots, y, np.array([1, 1, 2, 3, 4]))
    assert found[0] == pytest.approx(by_hand(shots[0], shots[2:], y[2:]), abs=1e-12)
    assert np.isnan(calibration.likeness_without(shots[:2], y[:2], np.zeros(2, int))).all()


def test_no_more_shots_are_scored_than_are_needed(monkeypatch):
    monkeypatch.setattr(calibration, "MOST_SCORED", 4)
    found = calibration.likeness_without(rows(9), np.arange(9) % 2, np.arange(9))
    assert np.isfinite(found).tolist() == [i % 3 == 0 for i in range(9)]


@pytest.mark.parametrize(("place", "n"), [(1, 1), (1, 12), (1, 20), (2, 40), (8, 160), (200, 4000)])
def test_quantiles_are_those_of_scipy(place, n):
    for p in (0.05, 0.5, 0.95):
        assert beta_quantile(p, place, n) == pytest.approx(beta.ppf(p, place, n + 1 - place), abs=1e-9)


def pooled(n, alpha, seed=0):
    scores = np.random.default_rng(seed).permutation(n).astype(float)
    # no class has enough for itself
    return threshold(scores, np.arange(n) % 8, np.ones(8, bool), alpha)


@pytest.mark.parametrize(("n", "place", "low", "high"), [(40, 2, 0.009, 0.11), (80, 4, 0.017, 0.094)])
def test_the_threshold_is_the_score_that_conformal_prediction_takes(n, place, low, high):
    found = pooled(n, 0.05)
    assert (found.floors == place - 1).all()  # the scores are 0, 1, 2 …
    promise = found.promise
    assert (promise.photos, promise.can_keep, promise.expected) == (n, True, pytest.approx(place / (n + 1)))
    assert (promise.low, promise.high) == (pytest.approx(low, abs=6e-4), pytest.approx(high, abs=6e-3))


def test_few_photos_are_said_not_to_be_enough():
    found = pooled(18, 0.05)
    assert (found.floors == 0).all() and not found.promise.can_keep
    assert found.promise.expected == pytest.approx(1 / 19)
    assert pooled(19, 0.05).promise.can_keep and rank(19, 0.05) == 1 and rank(18, 0.05) == 0
    assert not pooled(98, 0.01).promise.can_keep and pooled(99, 0.01).promise.can_keep


def test_a_class_with_photos_enough_has_a_threshold_of_its_own():
    scores = np.concatenate([np.arange(19.0), 100 + np.arange(18.0), 200 + np.arange(39.0)])
    answers = np.repeat([0, 1, 3], [19, 18, 39])
    found = threshold(scores, answers, np.array([True, True, True, True, False]), 0.05)
    assert found.floors.tolist() == [0, 100, 100, 201, -np.inf]  # 1 and 2 pooled; of 4 nothing is known
    assert found.promise.photos == 76
    assert found.promise.expected == pytest.approx((19 * 1 / 20 + 18 * 1 / 19 + 39 * 2 / 40) / 76)


def test_one_s_own_are_rejected_as_often_as_promised():
    chance, shares = np.random.default_rng(0), []
    for _ in range(400):
        scores = chance.normal(size=40)
        floor = threshold(scores, np.zeros(40, int), np.ones(1, bool), 0.05).floors[0]
        shares.append((chance.normal(size=500) < floor).mean())
    promise = pooled(40, 0.05).promise
    assert np.mean(shares) == pytest.approx(promise.expected, abs=0.004)
    inside = np.mean([promise.low <= share <= promise.high for share in shares])
    assert inside == pytest.approx(0.9, abs=0.05)


def drawn(n, scale, seed=0):
    """Logits whose softmax is right, times a scale."""
    chance = np.random.default_rng(seed)
    logits = 2 * chance.normal(size=(n, 5))
    weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return scale * logits, np.array([chance.choice(5, p=row) for row in weights])


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_temperature_takes_back_what_logits_are_too_large_by(scale):
    assert temperature(*drawn(3000, scale)) == pytest.approx(scale, rel=0.06)


def test_the_temperature_is_where_log_loss_is_least():
    logits, y = drawn(200, 2.0)
    grid = np.linspace(0.5, 5, 2000)
    losses = [-(row := logits / t)[np.arange(200), y].mean() + np.log(np.exp(row).sum(1)).mean() for t in grid]
    assert temperature(logits, y) == pytest.approx(grid[int(np.argmin(losses))], abs=0.004)


def test_few_right_answers_make_no_answer_certain():
    logits = np.eye(3)[np.arange(12) % 3] * 8
    found = temperature(logits, np.arange(12) % 3)
    confidence = (np.exp(logits / found).max(1) / np.exp(logits / found).sum(1)).mean()
    assert confidence == pytest.approx(12.5 / 13, abs=1e-3)


def test_classes_that_were_not_to_be_had_and_images_without_a_fold_do_not_count():
    logits, y = drawn(300, 3.0)
    more = np.concatenate([logits, np.full((2, 5), np.nan)])
    some = np.concatenate([more, np.full((302, 1), -np.inf)], 1)
    assert temperature(some, np.append(y, [0, 1])) == temperature(logits, y)
    assert temperature(np.empty((0, 3)), np.empty(0, int)) == 1.0
    wrong = np.array([[9.0, 0.0]] * 9)  # all wrong: the bound
    assert temperature(wrong, np.ones(9, int)) == pytest.approx(calibration.TEMPERATURES[1], rel=1e-3)


CONFIDENCE = np.array([0.9, 0.5, 0.99, 0.7, 0.8, 0.6])
RIGHT = np.array([True, False, True, True, False, True])


def test_a_line_is_known_by_the_photos_above_it():
    found = line_at(0.7, CONFIDENCE, RIGHT)
    assert (found.least, found.photos, found.right) == (0.7, 4, 0.75)
    assert line_at(1.0, CONFIDENCE, RIGHT).right is None


def test_the_line_for_an_error_counts_one_mistake_more():
    assert line_for(0.33, CONFIDENCE, RIGHT) is None  # (0 + 1) / (2 + 1) are more
    assert line_for(0.34, CONFIDENCE[:4], RIGHT[:4]).least == 0.7  # (0 + 1) / (3 + 1), the wrong one is below
    assert line_for(0.42, CONFIDENCE, RIGHT).least == 0.6  # (1 + 1) / (5 + 1)
    assert line_for(0.43, CONFIDENCE, RIGHT).least == 0.5  # (2 + 1) / (6 + 1)
    same = line_for(0.26, np.full(4, 0.9), np.array([True, True, True, False]))
    assert same is None  # none of four alike can be told from the wrong one
