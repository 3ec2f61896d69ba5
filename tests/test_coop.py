from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F

from promptctl.clip import templates
from promptctl.errors import LearningFailed
from promptctl.learners import coop, training
from promptctl.learners.fitting import Start
from promptctl.learners.settings import PLAIN

NAMES = ["red", "green", "blue"]


def unit_features(n: int, width: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    centres = np.random.default_rng(0).normal(size=(3, width))
    targets = np.arange(n) % 3
    rng = np.random.default_rng(seed + 1)
    x = centres[targets] + 0.3 * rng.normal(size=(n, width))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), targets


@pytest.mark.parametrize(("shots", "epochs"), [(1, 50), (2, 100), (4, 100), (8, 200), (16, 200), (32, 100), (64, 50)])
def test_epochs_follow_the_paper_and_shrink_beyond_16_shots(shots, epochs):
    assert coop.paper_epochs(shots) == epochs


@pytest.mark.parametrize(("epochs", "last"), [(50, 7.9e-6), (100, 1.97e-6), (200, 4.9e-7)])
def test_the_cosine_starts_at_lr_and_never_reaches_zero(epochs, last):
    rates = [training.warm_cosine_rate(e, epochs, 0.002) for e in range(epochs)]
    assert rates[0] == 1e-5
    assert rates[1] == 0.002
    assert rates[-1] == pytest.approx(last, rel=0.01)
    assert rates[10] == pytest.approx(0.001 * (1 + math.cos(math.pi * 9 / epochs)))


@pytest.mark.parametrize(("images", "count"), [(20, 1), (31, 1), (32, 1), (63, 1), (64, 2), (160, 5)])
def test_the_last_partial_batch_is_dropped(images, count):
    batches = training.Batches(images, 32, torch.device("cpu"), torch.Generator().manual_seed(1))
    epoch = batches.epoch()
    assert len(epoch) == len(batches) == count
    assert all(len(torch.arange(images)[batch]) == min(32, images) for batch in epoch)


@pytest.mark.parametrize(
    "shots, epochs, by_class", [(1, 15, 100), (2, 35, 100), (4, 35, 100), (8, 80, 200), (16, 80, 400), (100, 80, 400)]
)
def test_the_fast_recipe_takes_few_steps(shots, epochs, by_class):
    assert coop.fast_epochs(shots) == epochs
    assert coop.fast_epochs(shots, class_specific=True) == by_class
    assert coop.effort(PLAIN, shots) < coop.effort(replace(PLAIN, class_specific=True), shots)


def test_orthogonal_rows_are_those_of_the_singular_vectors():
    rows = torch.randn(4, 32, generator=torch.Generator().manual_seed(1))
    rows[1] = rows[0] + 0.01 * rows[1]  # nearly the same direction counts too
    left, _, right = torch.linalg.svd(rows.double(), full_matrices=False)
    torch.testing.assert_close(training.orthogonal(rows).double(), left @ right, atol=1e-4, rtol=0)
    assert (training.orthogonal(torch.zeros(4, 32)) == 0).all(), "what has no gradient stays where it is"
    many = training.orthogonal(torch.randn(40, 32))
    assert many.norm() <= 32**0.5 * 1.01, "more vectors than they are long share its directions"


def test_a_shared_context_gets_further_than_by_adam_in_as_many_steps(clip):
    """On the same shots from the same noise."""
    _, _, text = clip
    x, y = unit_features(48)
    settings = coop.Settings(context_tokens=16, epochs=25, seed=3)
    ours = coop.learn(x, y, NAMES, text, logit_scale=20.0, settings=settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(coop.RECIPES, "fast", coop.recipe_of("fast", class_specific=True))
        adam = coop.learn(x, y, NAMES, text, logit_scale=20.0, settings=settings)
    assert ours.curve[0].loss == adam.curve[0].loss
    assert ours.curve[-1].loss < adam.curve[-1].loss


def plain_sgd(context, gradient, state, lr):
    """Momentum 0.9 with dampening 0, weight decay 5e-4 added to the gradient, written out."""
    decayed = gradient + 5e-4 * context
    state["m"] = 0.9 * state["m"] + decayed if state else decayed
    return context - lr * state["m"]


def plain_orthogonal(context, gradient, state, lr):
    """Momentum 0.8 as U V' of its U S V', a rate long in the root mean square of its numbers, written out."""
    state["m"] = 0.8 * state.get("m", 0) + 0.2 * gradient
    left, _, right = torch.linalg.svd(state["m"].double(), full_matrices=False)
    return context - lr * 32**0.5 * (left @ right).float()


def plain_adam(context, gradient, state, lr):
    """Kingma and Ba's equations with betas 0.9 and 0.99, written out."""
    t = state["t"] = state.get("t", 0) + 1
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * gradient
    state["v"] = 0.99 * state.get("v", 0) + 0.01 * gradient**2
    return context - lr * (state["m"] / (1 - 0.9**t)) / ((state["v"] / (1 - 0.99**t)).sqrt() + 1e-8)


@pytest.mark.parametrize("class_specific", [False, True])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("views", [1, 4])
def test_the_paper_recipe_equals_a_plain_loop_over_77_tokens(clip, position, class_specific, views):
    """The original's training loop written out: own schedule, own SGD, own batches and views, reference text side."""
    model, tokenizer, text = clip
    _, y = unit_features(70)
    x = np.stack([unit_features(70, seed=view)[0] for view in range(views)], 1)  # (70, V, 32)
    settings = coop.Settings(
        context_tokens=4, position=position, class_specific=class_specific, recipe="paper", epochs=6, lr=0.02, seed=5
    )
    ours = coop.learn(x, y, NAMES, text, logit_scale=20.0, settings=settings)

    shape = (3, 4, 32) if class_specific else (4, 32)
    context = torch.randn(shape, generator=torch.Generator().manual_seed(5)) * 0.02
    state: dict[str, torch.Tensor] = {}
    rng = torch.Generator().manual_seed(5)
    turns = torch.rand(70, views, generator=rng).argsort(1)
    for epoch in range(6):
        lr = 1e-5 if epoch == 0 else 0.01 * (1 + math.cos(math.pi * (epoch - 1) / 6))
        seen = torch.stack([torch.from_numpy(x[i, turns[i, epoch % views]]) for i in range(70)])
        drawn = torch.randperm(70, generator=rng)
        for start in (0, 32):  # the last six images of an epoch are dropped
            batch = drawn[start : start + 32]
            context.requires_grad_()
            texts = F.normalize(reference.encode(model, tokenizer, context, NAMES, position), dim=-1)
            loss = F.cross_entropy(20.0 * seen[batch] @ texts.T, torch.from_numpy(y)[batch])
            (gradient,) = torch.autograd.grad(loss, context)
            context = plain_sgd(context.detach(), gradient, state, lr)

    assert ours.steps == 12
    np.testing.assert_allclose(ours.vectors, context.numpy(), atol=2e-5)
    moved = np.abs(ours.vectors - coop.initial_context(text, 3, settings).numpy()).max()
    assert moved > 1e-3, "the run must have learned something for this comparison to mean anything"


@pytest.mark.parametrize("class_specific", [False, True])
@pytest.mark.parametrize(("anchor", "average"), [(0.0, False), (8.0, False), (0.0, True)])
def test_the_fast_recipe_equals_its_equations(clip, class_specific, anchor, average):
    """All images at once, classes alike; KgCoOp's CE + lambda (1 - mean cos); PromptSRC's average."""
    model, tokenizer, text = clip
    x, y = (array[[*range(70), *range(0, 70, 3)]] for array in unit_features(70))  # twice as many of the first class
    z = templates.text_features(text, NAMES)
    settings = coop.Settings(
        context_tokens=4, class_specific=class_specific, epochs=20, lr=0.01, seed=5, anchor=anchor, average=average
    )
    ours = coop.learn(x, y, NAMES, text, logit_scale=20.0, settings=settings, anchors=z)

    shape = (3, 4, 32) if class_specific else (4, 32)
    context = torch.randn(shape, generator=torch.Generator().manual_seed(5)) * 0.02
    state: dict[str, torch.Tensor] = {}
    total, weights = torch.zeros(shape), 0.0
    for epoch in range(20):
        context.requires_grad_()
        texts = F.normalize(reference.encode(model, tokenizer, context, NAMES, "end"), dim=-1)
        cosines = torch.stack([t @ torch.from_numpy(zc) for t, zc in zip(texts, z, strict=True)])
        losses = F.cross_entropy(20.0 * torch.from_numpy(x) @ texts.T, torch.from_numpy(y), reduction="none")
        of_classes = [losses[torch.from_numpy(y == c)].mean() for c in range(3)]
        loss = torch.stack(of_classes).mean() + anchor * (1 - cosines.mean())
        (gradient,) = torch.autograd.grad(loss, context)
        if class_specific:
            context = plain_adam(context.detach(), gradient, state, 0.005 * (1 + math.cos(math.pi * epoch / 20)))
        else:
            context = plain_orthogonal(context.detach(), gradient, state, 0.01 * (1 - epoch / 20))
        weight = math.exp(-((epoch + 1 - 18) ** 2) / (2 * 2**2))
        total, weights = total + weight * context, weights + weight

    expected = total / weights if average else context
    assert ours.steps == 20
    np.testing.assert_allclose(ours.vectors, expected.numpy(), atol=1e-4)
    moved = np.abs(ours.vectors - coop.initial_context(text, 3, settings).numpy()).max()
    assert moved > 1e-2
    if anchor:
        free = coop.learn(x, y, NAMES, text, logit_scale=20.0, settings=replace(settings, anchor=0.0))
        assert (ours.text_features * z).sum(1).mean() > (free.text_features * z).sum(1).mean() + 1e-3


def test_classes_of_as_many_images_need_no_balance(clip):
    assert coop.balance(torch.arange(70) % 7, 7) is None
    assert coop.balance(torch.arange(70) % 7, 9) is None, "classes without images count for nothing"
    weights = coop.balance(torch.tensor([0, 0, 0, 2]), 3)
    assert weights is not None
    np.testing.assert_allclose(weights[[0, 2]], [4 / 2 / 3, 4 / 2])


def test_the_paper_counts_every_image_alike(clip):
    _, _, text = clip
    x, y = unit_features(60)
    many = np.concatenate([np.arange(60), np.repeat(np.flatnonzero(y == 0), 3)])
    settings = coop.Settings(context_tokens=4, recipe="paper", epochs=2, lr=0.01)
    plain = coop.learn(x[many], y[many], NAMES, text, logit_scale=20.0, settings=settings)
    recipe = replace(coop.RECIPES["paper"], balanced=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(coop.RECIPES, "paper", recipe)
        balanced = coop.learn(x[many], y[many], NAMES, text, logit_scale=20.0, settings=settings)
    assert np.abs(plain.vectors - balanced.vectors).max() > 1e-4


@pytest.mark.parametrize("class_specific", [False, True])
def test_a_run_goes_on_from_given_vectors(clip, class_specific):
    _, _, text = clip
    x, y = unit_features(30)
    settings = coop.Settings(context_tokens=4, class_specific=class_specific, epochs=5, lr=0.01)
    first = coop.learn(x, y, NAMES, text, logit_scale=20.0, settings=settings)
    start = Start(first.vectors)
    assert coop.pace(start) == (coop.UPDATE_EPOCHS, coop.UPDATE_LR)
    kept = coop.learn(x, y, NAMES, text, logit_scale=20.0, settings=replace(settings, epochs=0), start=start)
    np.testing.assert_array_equal(kept.vectors, first.vectors)
    np.testing.assert_array_equal(kept.text_features, first.text_features)
    before = first.vectors.copy()
    on = coop.learn(x, y, NAMES, text, logit_scale=20.0, settings=settings, start=start)
    assert np.abs(on.vectors - first.vectors).max() > 1e-3
    np.testing.assert_array_equal(first.vectors, before)  # what was given is not written to


@pytest.mark.parametrize("told", [False, True])
def test_frozen_classes_stay_while_others_learn_against_them(clip, told):
    model, tokenizer, text = clip
    x, y = unit_features(30)
    settings = coop.Settings(context_tokens=4, class_specific=True, epochs=3, lr=0.01)
    first = coop.learn(x, y, NAMES, text, logit_scale=20.0, settings=settings)
    frozen = np.array([True, False, True])
    start = Start(first.vectors, frozen, first.text_features if told else None)
    assert coop.pace(start) == (coop.ROWS_EPOCHS, coop.ROWS_LR)
    assert coop.pace(start, polished=True) == (coop.UPDATE_EPOCHS, coop.UPDATE_LR)
    on = coop.learn(x, y, NAMES, text, logit_scale=20.0, settings=settings, start=start)
    np.testing.assert_array_equal(on.vectors[frozen], first.vectors[frozen])
    np.testing.assert_allclose(on.text_features[frozen], first.text_features[frozen], atol=1e-6)
    if told:
        np.testing.assert_array_equal(on.text_features[frozen], first.text_features[frozen])

    context, state = torch.from_numpy(first.vectors[1:2].copy()), {}
    for epoch in range(3):
        context.requires_grad_()
        own = F.normalize(reference.encode(model, tokenizer, context, NAMES[1:2], "end"), dim=-1)
        others = torch.from_numpy(first.text_features)
        texts = torch.cat([others[:1], own, others[2:]])
        loss = F.cross_entropy(20.0 * torch.from_numpy(x) @ texts.T, torch.from_numpy(y))
        (gradient,) = torch.autograd.grad(loss, context)
        context = plain_adam(context.detach(), gradient, state, 0.005 * (1 + math.cos(math.pi * epoch / 3)))
    np.testing.assert_allclose(on.vectors[1:2], context.numpy(), atol=1e-4)
    np.testing.assert_allclose(
        on.text_features[1:2],
        F.normalize(reference.encode(model, tokenizer, context, NAMES[1:2], "end"), dim=-1).detach().numpy(),
        atol=1e-4,
    )


def test_zero_epochs_keep_the_words(clip):
    _, _, text = clip
    x, y = unit_features(9)
    settings = coop.Settings(context_tokens=4, init="a photo of a", epochs=0)
    learned = coop.learn(x, y, NAMES, text, logit_scale=20.0, settings=settings)
    assert learned.steps == 0
    np.testing.assert_array_equal(learned.vectors, text.embed("a photo of a").numpy())


def test_class_specific_contexts_start_from_words_too(clip):
    _, _, text = clip
    start = coop.initial_context(text, 3, coop.Settings(init="a photo of a", class_specific=True))
    assert start.shape == (3, 4, 32)
    torch.testing.assert_close(start[2], text.embed("a photo of a"))


def test_the_same_seed_learns_the_same_and_another_does_not(clip):
    _, _, text = clip
    x, y = unit_features(40)
    runs = [
        coop.learn(x, y, NAMES, text, logit_scale=20.0, settings=coop.Settings(epochs=3, seed=seed)).vectors
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])


def test_a_loss_that_is_no_number_stops_the_run(clip):
    _, _, text = clip
    x, y = unit_features(40)
    with pytest.raises(LearningFailed) as failed:
        coop.learn(x * np.nan, y, NAMES, text, logit_scale=20.0, settings=coop.Settings(epochs=3))
    assert str(failed.value) == "the loss was no longer finite at step 1"
    assert failed.value.hint == "a smaller --lr, for example 0.0002"
