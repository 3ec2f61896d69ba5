"""The learning curve that a context keeps."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from test_context import make

import promptctl
from promptctl.context.card import CurvePoint
from promptctl.learners import clap, coop
from promptctl.learners.training import CURVE_POINTS, Curve

NAMES = ["red", "green", "blue"]


def shots(n: int = 24) -> tuple[np.ndarray, np.ndarray]:
    rows = np.random.default_rng(3).normal(size=(n, 32)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), np.arange(n) % 3


def loss_and_accuracy(texts: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Cross-entropy at a scale of 20 and the share of shots that are right, written plainly."""
    logits = 20.0 * x.astype(np.float64) @ texts.T
    right = logits.argmax(1) == y
    losses = [math.log(sum(math.exp(z) for z in row)) - row[c] for row, c in zip(logits, y, strict=True)]
    return sum(losses) / len(losses), right.mean()


def said(point: CurvePoint) -> tuple[float, float]:
    return point.loss, point.accuracy


def test_the_first_point_is_of_the_initial_vectors_and_the_last_of_what_is_kept(clip):
    _, _, text = clip
    x, y = shots()
    own = coop.Settings(context_tokens=4, epochs=1, lr=0.02)
    found = coop.learn(x, y, NAMES, text, logit_scale=20.0, settings=own)
    first, last = found.curve[0], found.curve[-1]
    assert [point.step for point in found.curve] == [0, 1]
    start = text.encode(coop.initial_context(text, 3, own), text.prompts(NAMES, 4))
    start = torch.nn.functional.normalize(start, dim=-1).numpy()
    assert said(first) == pytest.approx(loss_and_accuracy(start, x, y), rel=1e-3)
    assert said(last) == pytest.approx(loss_and_accuracy(found.text_features, x, y), rel=1e-3)
    assert last.loss != pytest.approx(first.loss, rel=0.01)


def test_class_weights_have_one_too():
    x, y = shots()
    start = shots(3)[0]
    found = clap.learn(x, y, start, logit_scale=20.0, settings=clap.Settings(epochs=5))
    assert [point.step for point in found.curve] == [0, 1, 2, 3, 4, 5]
    assert said(found.curve[0])[1] == pytest.approx(loss_and_accuracy(start, x, y)[1], rel=1e-3)
    assert said(found.curve[-1])[1] == pytest.approx(loss_and_accuracy(found.text_features, x, y)[1], rel=1e-3)


def test_a_point_is_the_mean_of_the_batches_of_an_epoch_and_what_is_no_number_is_left_out():
    curve, right = Curve(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    curve.add(0, 0, torch.tensor(1.0), right, torch.tensor([0, 0]))
    curve.add(0, 1, torch.tensor(2.0), right, torch.tensor([0, 1]))
    curve.add(1, 2, torch.tensor(math.inf), right, torch.tensor([0, 0]))
    curve.end(4, torch.tensor(0.123456), right, torch.tensor([1, 1]))
    assert curve.points() == (CurvePoint(0, 1.5, 0.75), CurvePoint(4, 0.1235, 0.0))


def test_many_epochs_leave_a_handful_of_points_and_none_leave_none():
    curve = Curve(400)
    for epoch in range(400):
        curve.add(epoch, epoch, torch.tensor(1.0), torch.eye(2), torch.tensor([0, 1]))
    steps = [point.step for point in curve.points()]
    assert (len(steps), steps[:3], steps[-1]) == (CURVE_POINTS, [0, 1, 4], 399)
    nothing = Curve(0)
    nothing.end(0, torch.tensor(1.0), torch.eye(2), torch.tensor([0, 1]))
    assert nothing.points() == ()


def test_a_context_keeps_it_and_one_without_says_nothing_of_it(tmp_path):
    bare = make()
    assert "curve" not in json.loads(bare.card.to_json())
    points = (CurvePoint(0, 1.25, 0.5), CurvePoint(10, 0.5, 1.0))
    kept = dataclasses.replace(bare, card=dataclasses.replace(bare.card, curve=points))
    path = tmp_path / "x.safetensors"
    path.write_bytes(kept.to_bytes())
    assert promptctl.Context.load(path).card.curve == points


def test_a_version_whose_vectors_stay_keeps_the_curve_they_came_by(cli, photos, colours_bytes):
    store = promptctl.Store()
    store.save("colours", colours_bytes, new=True)
    before = store["colours"].card
    assert before.curve[-1].step == before.method.steps
    assert cli("class", "rename", "colours", "red", "crimson").code == 0
    assert store["colours"].card.parent == before.sha256
    assert cli("class", "drop", "colours", "blue", "--yes").code == 0
    assert store["colours@2"].card.curve == store["colours@3"].card.curve == before.curve
