"""The baseline and the learner for fixed class lists, each beside its equations or scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from test_coop import unit_features

from promptctl.context.card import Method
from promptctl.errors import LearningFailed
from promptctl.learners import LEARNERS, clap, coop, linear_probe, training


def test_clap_equals_its_equations():
    """w starts at z; s f norm(w); a_c |w_c - z_c|^2 with a_c the zero-shot probability; SGD written out, float64."""
    x, y = unit_features(40)
    z = np.random.default_rng(3).normal(size=(3, 32)).astype(np.float32) * 2
    found = clap.learn(x, y, z, logit_scale=10.0, settings=clap.Settings(epochs=30, seed=1)).text_features

    f, w, start = x.astype(float), z.astype(float).copy(), z.astype(float)
    one_hot = np.eye(3)[y]

    def unit(rows):
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def softmax(rows):
        e = np.exp(rows - rows.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    a = np.array([softmax(10 * f @ unit(start).T)[y == c, c].mean() for c in range(3)])
    momentum = np.zeros_like(w)
    for epoch in range(30):
        lr = 1e-5 if epoch == 0 else 0.05 * (1 + np.cos(np.pi * (epoch - 1) / 30))
        to_unit = 10 * (softmax(10 * f @ unit(w).T) - one_hot).T @ f / len(f)  # (C, E) gradient of norm(w)
        length = np.linalg.norm(w, axis=1, keepdims=True)
        gradient = (to_unit - unit(w) * (to_unit * unit(w)).sum(1, keepdims=True)) / length
        gradient += 2 * a[:, None] * (w - start) / 3
        momentum = 0.9 * momentum + gradient
        w = w - lr * momentum
    np.testing.assert_allclose(found, unit(w), atol=1e-4)
    assert np.abs(found - unit(start)).max() > 0.05


def test_clap_learns_from_features_that_lie_close_together_as_from_others():
    """Features in a narrow cone, as CLIP's are, with a scale of 100 where there was 20, ask for the same logits."""
    rng = np.random.default_rng(0)
    y = np.tile(np.arange(10), 9)
    shots, others = slice(0, 10), slice(10, 90)

    def close(rows, own, length):
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        rows = np.hstack([rows, np.full((len(rows), 2), np.eye(2)[own] * length)])
        return (rows / np.hypot(1, length)).astype(np.float32)

    def right(x, z, scale, length):
        images, texts = close(x, 0, length), close(z, 1, length)
        learned = clap.learn(images[shots], y[shots], texts, logit_scale=scale, settings=clap.Settings()).text_features
        return [((images[others] @ rows.T).argmax(1) == y[others]).mean() for rows in (texts, learned)]

    apart, together = [], []
    for _ in range(3):
        means = rng.normal(size=(10, 64))
        x, z = means[y] + 1.5 * rng.normal(size=(90, 64)), means + 1.5 * rng.normal(size=(10, 64))
        apart.append(right(x, z, 20.0, 0.0))
        together.append(right(x, z, 100.0, 2.0))
    (zero_shot, expected), (_, found) = np.mean(apart, 0), np.mean(together, 0)
    assert found > zero_shot and abs(found - expected) < 0.05  # unit rows learn themselves far below zero-shot


def test_balanced_clap_weighs_classes_and_not_images():
    x, y = unit_features(30)
    z = np.random.default_rng(3).normal(size=(3, 32)).astype(np.float32)

    def learned(rows, balanced=True):
        settings = clap.Settings(epochs=40)
        return clap.learn(x[rows], y[rows], z, logit_scale=10.0, settings=settings, balanced=balanced).text_features

    few = np.concatenate([np.flatnonzero(y == c)[: 2 * (c + 1)] for c in range(3)])  # 2, 4 and 6 images
    as_often = np.concatenate([np.tile(np.flatnonzero(y == c)[: 2 * (c + 1)], 6 // (c + 1)) for c in range(3)])
    np.testing.assert_allclose(learned(few), learned(as_often, balanced=False), atol=1e-5)
    assert np.abs(learned(few) - learned(few, balanced=False)).max() > 0.01
    alike = np.concatenate([np.flatnonzero(y == c)[:4] for c in range(3)])
    assert learned(alike).tobytes() == learned(alike, balanced=False).tobytes()


def test_clap_leaves_alone_a_class_without_images():
    x, y = unit_features(40)
    z = np.random.default_rng(3).normal(size=(4, 32)).astype(np.float32)
    held = clap.constraint(torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(z), 10.0)
    assert held[3] == 0
    assert np.isfinite(clap.learn(x, y, z, logit_scale=10.0, settings=clap.Settings(epochs=3)).text_features).all()


def test_clap_weighs_its_constraint_by_every_view():
    x, y = unit_features(12)
    views = np.stack([x, np.roll(x, 1, axis=1), -x], 1)
    z = np.random.default_rng(3).normal(size=(3, 32)).astype(np.float32)
    seen = []
    original = clap.constraint
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clap, "constraint", lambda *a: (seen.append(original(*a)), seen[-1])[1])
        clap.learn(views, y, z, logit_scale=10.0, settings=clap.Settings(epochs=1))
    by_view = [
        original(torch.from_numpy(v), torch.from_numpy(y), torch.from_numpy(z), 10.0) for v in (x, views[:, 1], -x)
    ]
    torch.testing.assert_close(seen[0], torch.stack(by_view).mean(0))
    assert not torch.allclose(seen[0], by_view[0])


def test_clap_that_loses_its_numbers_stops():
    x, y = unit_features(9)
    with pytest.raises(LearningFailed):
        clap.learn(x * np.nan, y, np.ones((3, 32), np.float32), logit_scale=10.0, settings=clap.Settings(epochs=2))


def test_the_probe_finds_a_strength_as_good_as_any_of_a_fine_grid():
    x, y = unit_features(12, seed=1)
    x_val, y_val = unit_features(12, seed=2)
    x_test, y_test = unit_features(300, seed=3)
    probe = linear_probe.learn(x, y, x_val, y_val)
    fine = [LogisticRegression(C=c, max_iter=1000).fit(x, y).score(x_val, y_val) for c in np.logspace(-6, 6, 25)]
    assert probe.score(x_val, y_val) >= max(fine) - 1 / 12
    assert probe.score(x_test, y_test) > 0.9


@pytest.mark.parametrize("kept", [set(), {1e7}, {1e2}, {1e-3, 1e1}, {3e-5}])
def test_the_search_takes_the_turns_of_coops_own(kept, monkeypatch):
    """Written out from its description: argmax over seven strengths, then eight comparisons of a range's two ends."""

    class Tried:
        def __init__(self, strength):
            self.strength = strength

        def score(self, *_):
            return max((1 / (1 + abs(np.log10(self.strength / good))) for good in kept), default=0.5)

    strengths = [1e6, 1e4, 1e2, 1, 1e-2, 1e-4, 1e-6]
    peak = strengths[int(np.argmax([Tried(s).score() for s in strengths]))]
    left, right = 0.1 * peak, 10 * peak
    for _ in range(8):
        middle = 10 ** (0.5 * (np.log10(left) + np.log10(right)))
        if Tried(left).score() < Tried(right).score():
            final, left = right, middle
        else:
            final, right = left, middle
    monkeypatch.setattr(linear_probe, "fit", lambda x, y, strength: Tried(strength))
    found = linear_probe.learn(np.ones((2, 2)), np.arange(2), np.ones((2, 2)), np.arange(2))
    assert found.strength == pytest.approx(final)


@pytest.mark.parametrize(("shots", "seen"), [(1, 1), (2, 2), (4, 4), (16, 4)])
def test_the_search_sees_at_most_four_images_a_class(shots, seen):
    assert linear_probe.validation_shots(shots) == seen


@pytest.mark.parametrize(("operations", "threads"), [(1e8, 1), (1e10, 2)])
def test_small_steps_run_on_one_thread_and_the_setting_comes_back(operations, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with training.threads_for(operations):
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# --------------------------------------------------------------------------- once more, on other shots


def method_of(learner, **facts):
    """What a card says of a run."""
    fields = {"context_tokens": 0, "init": None, "class_specific": False, "position": "end", "steps": 0, "lr": 0.02}
    return Method(**{**fields, "learner": learner, "epochs": 4, "seed": 5, **facts})


def test_clap_is_refitted_with_its_own_epochs_rate_and_seed():
    x, y = unit_features(600)  # more than a batch, so that the seed decides something
    z = unit_features(3, seed=9)[0]
    facts = {"classes": ["a", "b", "c"], "zero_shot_features": z, "tower": None, "logit_scale": 10.0}

    def learned(**settings):
        expected = clap.Settings(**{"epochs": 4, "lr": 0.02, "seed": 5, **settings})
        return clap.learn(x, y, z, logit_scale=10.0, settings=expected).text_features

    found = LEARNERS["clap"].code.refit(method_of("clap", recipe="clap"), x, y, **facts)
    np.testing.assert_array_equal(found, learned())
    for other in ({"epochs": 3}, {"lr": 0.1}, {"seed": 1}):
        assert np.abs(found - learned(**other)).max() > 0, other


@pytest.mark.parametrize(
    "facts",
    [
        {"class_specific": True, "recipe": "paper"},
        {"anchor": 8.0, "average": True, "recipe": "fast"},
        {"position": "front", "init": "a photo", "context_tokens": 2, "recipe": "fast"},
    ],
)
def test_coop_is_refitted_with_everything_its_card_says(clip, facts):
    _, _, tower = clip
    x, y = unit_features(40)
    z = unit_features(3, seed=9)[0]
    names = ["red", "green", "blue"]
    method = method_of("coop", **{"context_tokens": 4, **facts})
    found = LEARNERS["coop"].code.refit(
        method, x, y, classes=names, zero_shot_features=z, tower=tower, logit_scale=20.0
    )

    def learned(**settings):
        plain = {"context_tokens": 4, "epochs": 4, "lr": 0.02, "seed": 5}
        expected = coop.Settings(**{**plain, **settings})
        return coop.learn(x, y, names, tower, logit_scale=20.0, settings=expected, anchors=z).text_features

    np.testing.assert_array_equal(found, learned(**facts))
    for fact, value in facts.items():
        usual = getattr(coop.Settings, fact)
        if fact != "context_tokens" and value != usual:
            assert np.abs(found - learned(**{**facts, fact: usual})).max() > 0, fact


# --------------------------------------------------------------------------- optimisers


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda p: training.Adam(p, betas=(0.9, 0.99)), lambda p: torch.optim.Adam([p], betas=(0.9, 0.99))),
        (
            lambda p: training.Sgd(p, momentum=0.9, weight_decay=5e-4),
            lambda p: torch.optim.SGD([p], momentum=0.9, weight_decay=5e-4),
        ),
        (lambda p: training.Sgd(p, momentum=0.9), lambda p: torch.optim.SGD([p], momentum=0.9)),
    ],
)
def test_an_optimiser_takes_the_steps_of_pytorchs_to_the_bit(ours, theirs):
    start = torch.randn(5, 7, generator=torch.Generator().manual_seed(1))
    target = torch.randn(5, 7, generator=torch.Generator().manual_seed(2))
    a, b = (start.clone().requires_grad_() for _ in range(2))
    own, other = ours(a), theirs(b)
    for step in range(60):
        rate = 0.02 * (1 + np.cos(step / 20))
        own.step(rate, ((a - target).abs() ** 1.5).sum())
        other.param_groups[0]["lr"] = rate
        other.zero_grad()
        ((b - target).abs() ** 1.5).sum().backward()
        other.step()
    assert torch.equal(a, b)
    assert (a - start).abs().max() > 0.1
