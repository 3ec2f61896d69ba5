from __future__ import annotations

import math

import numpy as np
import open_clip
import pytest
import reference
import torch
import torch.nn.functional as F

from promptctl.errors import LearningFailed
from promptctl.learners import coop
from promptctl.text import TextTower

NAMES = ["red", "green", "blue"]


@pytest.fixture(scope="module")
def tower(tiny_folder):
    model = open_clip.create_model(f"local-dir:{tiny_folder}").eval().requires_grad_(False)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tiny_folder}")
    return model, tokenizer, TextTower(model, tokenizer)


def unit_features(n: int, width: int = 32) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(3, width))
    targets = np.arange(n) % 3
    x = centres[targets] + 0.3 * chance.normal(size=(n, width))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), targets


@pytest.mark.parametrize(("shots", "epochs"), [(1, 50), (2, 100), (4, 100), (8, 200), (16, 200), (32, 100), (64, 50)])
def test_epochs_follow_the_paper_and_shrink_beyond_16_shots(shots, epochs):
    assert coop.paper_epochs(shots * 10, 10) == epochs


@pytest.mark.parametrize(("epochs", "last"), [(50, 7.9e-6), (100, 1.97e-6), (200, 4.9e-7)])
def test_the_cosine_starts_at_lr_and_never_reaches_zero(epochs, last):
    rates = [coop.learning_rate(e, epochs=epochs, lr=0.002) for e in range(epochs)]
    assert rates[0] == 1e-5
    assert rates[1] == 0.002
    assert rates[-1] == pytest.approx(last, rel=0.01)
    assert rates[10] == pytest.approx(0.001 * (1 + math.cos(math.pi * 9 / epochs)))


@pytest.mark.parametrize(("images", "steps"), [(20, 1), (31, 1), (32, 1), (63, 1), (64, 2), (160, 5)])
def test_the_last_partial_batch_is_dropped(images, steps):
    batches = coop._Batches(images, seed=1)
    epoch = batches.epoch()
    assert len(epoch) == len(batches) == steps
    assert all(len(batch) == min(32, images) for batch in epoch)


@pytest.mark.parametrize("class_specific", [False, True])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_a_whole_run_equals_a_plain_loop_over_77_tokens(tower, position, class_specific):
    """The paper's training loop written out: own learning rate, torch's own SGD, reference text side."""
    model, tokenizer, text = tower
    x, y = unit_features(70)
    settings = coop.Settings(
        context_tokens=4, position=position, class_specific=class_specific, epochs=6, lr=0.02, seed=5
    )
    ours = coop.learn(x, y, NAMES, text, logit_scale=20.0, settings=settings)

    shape = (3, 4, 32) if class_specific else (4, 32)
    context = (torch.randn(shape, generator=torch.Generator().manual_seed(5)) * 0.02).requires_grad_()
    optimiser = torch.optim.SGD([context], lr=0.02, momentum=0.9, weight_decay=5e-4)
    order = torch.Generator().manual_seed(5)
    for epoch in range(6):
        optimiser.param_groups[0]["lr"] = 1e-5 if epoch == 0 else 0.01 * (1 + math.cos(math.pi * (epoch - 1) / 6))
        drawn = torch.randperm(70, generator=order)
        for start in (0, 32):
            batch = drawn[start : start + 32]
            texts = F.normalize(reference.encode(model, tokenizer, context, NAMES, position), dim=-1)
            loss = F.cross_entropy(20.0 * torch.from_numpy(x)[batch] @ texts.T, torch.from_numpy(y)[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    assert ours.steps == 12
    np.testing.assert_allclose(ours.vectors, context.detach().numpy(), atol=2e-5)
    moved = np.abs(ours.vectors - coop.initial_context(text, 3, settings).numpy()).max()
    assert moved > 1e-3, "the run must have learned something for this comparison to mean anything"


def test_zero_epochs_keep_the_words(tower):
    _, _, text = tower
    x, y = unit_features(9)
    settings = coop.Settings(context_tokens=4, init="a photo of a", epochs=0)
    learned = coop.learn(x, y, NAMES, text, logit_scale=20.0, settings=settings)
    assert learned.steps == 0
    np.testing.assert_array_equal(learned.vectors, text.embed("a photo of a").numpy())


def test_class_specific_contexts_start_from_words_too(tower):
    _, _, text = tower
    start = coop.initial_context(text, 3, coop.Settings(init="a photo of a", class_specific=True))
    assert start.shape == (3, 4, 32)
    torch.testing.assert_close(start[2], text.embed("a photo of a"))


def test_the_same_seed_learns_the_same_and_another_does_not(tower):
    _, _, text = tower
    x, y = unit_features(40)
    runs = [
        coop.learn(x, y, NAMES, text, logit_scale=20.0, settings=coop.Settings(epochs=3, seed=seed)).vectors
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])


def test_a_loss_that_is_no_number_stops_the_run(tower):
    _, _, text = tower
    x, y = unit_features(40)
    with pytest.raises(LearningFailed) as failed:
        coop.learn(x * np.nan, y, NAMES, text, logit_scale=20.0, settings=coop.Settings(epochs=3))
    assert str(failed.value) == "the loss stopped being a number at step 1"
    assert failed.value.hint == "a smaller --lr, for example 0.0002"
