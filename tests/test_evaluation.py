from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    recall_score,
    top_k_accuracy_score,
)
from sklearn.model_selection import StratifiedKFold
from test_context import make

from promptctl.classification import blend, classifier
from promptctl.classification.classifier import Classifier, Predictions, calibration_error
from promptctl.classification.metrics import class_scores, confusion, scores
from promptctl.errors import DatasetError


@pytest.fixture
def made():
    rng = np.random.default_rng(0)
    features, texts = rng.normal(size=(200, 16)), rng.normal(size=(7, 16))
    unit = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (features, texts)]
    return *unit, rng.integers(0, 7, 200)


def test_probabilities_are_clips_softmax(made):
    features, texts, _ = made
    found = Classifier(texts, 28.5).predict(features).probabilities
    expected = (28.5 * torch.from_numpy(features).double() @ torch.from_numpy(texts).double().T).softmax(1)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_of_equally_probable_classes_the_earlier_comes_first():
    p = Predictions(np.array([[0.2, 0.3, 0.3, 0.2], [0.25, 0.25, 0.25, 0.25]]))
    np.testing.assert_array_equal(p.top(3), [[1, 2, 0], [0, 1, 2]])
    np.testing.assert_array_equal(p.best, [1, 0])


def test_a_context_answers_with_its_share_its_scale_and_its_classes():
    context = make()
    for share in (0.0, 0.25, 1.0):
        found = Classifier.of(context, share=share)
        rows = share * context.text_features + (1 - share) * context.zero_shot_features
        wanted = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        np.testing.assert_allclose(found.weight, wanted, atol=1e-6)
        assert (found.logit_scale, found.classes, found.share) == (28.5, context.card.classes, share)
    np.testing.assert_array_equal(Classifier.zero_shot(context).weight, context.zero_shot_features)


def test_no_images_give_no_predictions(made):
    _, texts, _ = made
    assert Classifier(texts, 1.0).predict(np.empty((0, 16), np.float32)).probabilities.shape == (0, 7)


@pytest.mark.parametrize("rows", [7, 4096])
def test_right_is_the_nearest_class_some_rows_at_a_time(made, monkeypatch, rows):
    features, texts, targets = made
    monkeypatch.setattr(classifier, "_ROWS", rows)
    expected = (features @ texts.T).argmax(1) == targets
    assert 0 < expected.sum() < len(expected)
    np.testing.assert_array_equal(Classifier(texts).right(features, targets), expected)
    assert Classifier(texts).accuracy(features, targets) == expected.mean()


def test_scores_agree_with_scikit_learn(made):
    features, texts, targets = made
    predictions = Classifier(texts, 28.5).predict(features)
    found = scores(predictions, targets)
    assert found["top1"] == pytest.approx((predictions.best == targets).mean())
    assert found["top5"] == pytest.approx(top_k_accuracy_score(targets, predictions.probabilities, k=5))
    per_class = class_scores(predictions, targets)
    assert np.mean([c.recall for c in per_class]) == pytest.approx(balanced_accuracy_score(targets, predictions.best))
    assert sum(c.images for c in per_class) == 200


@pytest.mark.parametrize("seed", range(60))
def test_metrics_are_scikit_learns_whatever_classes_are_missing(seed):
    rng = np.random.default_rng(seed)
    classes, images = int(rng.integers(2, 12)), int(rng.integers(1, 60))
    # few classes are in the images, and others among the answers
    targets = rng.choice(rng.choice(classes, int(rng.integers(1, classes + 1))), images)
    p = Predictions(rng.dirichlet(np.full(classes, 0.3), images))
    best, every = p.best, np.arange(classes)
    np.testing.assert_array_equal(confusion(p, targets), confusion_matrix(targets, best, labels=every))
    found, present = scores(p, targets), np.unique(targets)
    assert found["top1"] == pytest.approx(accuracy_score(targets, best), abs=1e-15)
    expected = f1_score(targets, best, labels=present, average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(expected, abs=1e-15)
    f1 = f1_score(targets, best, labels=every, average=None, zero_division=0)
    recall = recall_score(targets, best, labels=every, average=None, zero_division=0)
    per_class = class_scores(p, targets)
    assert [(c.index, c.images) for c in per_class] == [(c, (targets == c).sum()) for c in present]
    np.testing.assert_allclose([c.f1 for c in per_class], f1[present], atol=1e-15)
    np.testing.assert_allclose([c.recall for c in per_class], recall[present], atol=1e-15)


def test_calibration_error_of_hand_made_bins():
    # two bins: confidence 0.9 with 1 of 2 right (gap 0.4), confidence 0.6 with 2 of 2 right (gap 0.4)
    p = Predictions(np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]]))
    assert calibration_error(p, np.array([0, 1, 0, 0])) == pytest.approx(0.4)
    sure = Predictions(np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert calibration_error(sure, np.array([0, 1])) == 0


def test_calibration_error_has_the_papers_fifteen_bins(made):
    features, texts, targets = made
    p = Classifier(texts, 5.0).predict(features)
    targets = np.where(np.arange(len(targets)) % 2, p.best, targets)  # right about half of the time: gaps of both signs
    right, edges = p.best == targets, np.arange(16) / 15
    inside = [(low < p.confidence) & (p.confidence <= high) for low, high in pairwise(edges)]
    gaps = [abs(right[i].mean() - p.confidence[i].mean()) * i.mean() for i in inside if i.any()]
    assert len(gaps) > 6
    assert scores(p, targets)["ece"] == pytest.approx(sum(gaps))


# --------------------------------------------------------------------------- choosing a share


def test_of_shares_that_are_right_equally_often_the_largest_is_taken(made):
    features, texts, targets = made
    assert blend.best_share(features, targets, lambda x, y: texts, texts, seed=1) == 1.0


@pytest.mark.parametrize("seed", [1, 2, 2**32 + 3])
def test_folds_are_scikit_learns_of_the_contexts_seed(made, seed):
    features, texts, targets = made
    shown = []
    blend.best_share(features, targets, lambda x, y: (shown.append((x, y)), texts)[1], texts, seed=seed)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed % 2**32).split(features, targets)
    for (x, y), (train, _) in zip(shown, folds, strict=True):
        np.testing.assert_array_equal(x, features[train])
        np.testing.assert_array_equal(y, targets[train])


def test_copies_are_on_one_side_of_every_fold(made):
    """What is learned by heart knows the copies of what was left out: all of it would be taken."""
    features, texts, _ = made
    y = np.arange(60) % 3
    groups = np.arange(60) // 6 * 3 + y  # two of each
    x, texts = features[groups], texts[:3]
    seen = []

    def by_heart(shown, targets):
        seen.append({row.tobytes() for row in shown})
        return np.stack([shown[targets == c].mean(0) for c in range(3)])

    blend.best_share(x, y, by_heart, texts, 1, groups=groups)
    folds = blend.folds_of(y, groups, 1)
    assert len(seen) == len(folds) == 5
    for shown, (train, apart) in zip(seen, folds, strict=True):
        assert (train ^ apart).all() and set(y[train]) == {0, 1, 2}
        assert shown == {row.tobytes() for row in x[train]}
        assert shown.isdisjoint(row.tobytes() for row in x[apart])
    assert np.sum([apart for _, apart in folds]) == 60
    for alone in (None, np.arange(60)[::-1]):
        for (train, apart), (own, _) in zip(
            blend.folds_of(y, alone, 1), StratifiedKFold(5, shuffle=True, random_state=1).split(x, y), strict=True
        ):
            assert np.flatnonzero(train).tolist() == own.tolist() and (train ^ apart).all()
    assert blend.folds_of(y, y, 1) == [], "of every class one picture"


def test_what_a_context_keeps_of_its_shots_is_rounded_and_of_length_one(made):
    features, _, _ = made
    found = blend.as_kept(features)
    np.testing.assert_allclose(np.linalg.norm(found.astype(np.float64), axis=1), 1, atol=1e-6)
    wanted = features.astype(np.float16).astype(np.float64)
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-7)


def test_images_that_were_held_out_choose_no_share():
    context = make(shots=6)  # two of each of three classes, of which one was only measured on
    shots = replace(context.shots, held_out=np.array([0, 0, 0, 1, 1, 1], np.uint8))
    with pytest.raises(DatasetError, match="has a class with one shot"):
        blend.share_by_folds(replace(context, shots=shots), "birds", None)


def test_absent_classes_do_not_count_and_errors_have_a_name():
    p = Predictions(np.eye(4)[[0, 1, 1, 2]])
    found = class_scores(p, np.array([0, 0, 1, 0]))
    assert [(c.index, c.images, c.mistaken_for) for c in found] == [(0, 3, 1), (1, 1, None)]
    assert scores(p, np.array([0, 0, 1, 0]))["macro_f1"] == pytest.approx((0.5 + 2 / 3) / 2)
