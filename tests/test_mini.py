"""The parts of the embedded backbone's recipe that run without the recipe's sources."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

RECIPE = Path(__file__).parents[1] / "docs" / "mini"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(RECIPE))
    yield
    for name in [n for n, m in sys.modules.items() if str(RECIPE) in str(getattr(m, "__file__", ""))]:
        del sys.modules[name]


def test_the_recipe_reads_texts_as_open_clip_does(recipe, clip):
    from sources import encode
    from tower import encode as read
    from tower import group

    model, tokenizer, _ = clip
    names = ["dog", "long sleeve shirt", "emu", "great grey owl"]
    groups = [
        group(encode("a photo of a"), [(*encode(n), *encode(".")) for n in names]),
        group((), [encode(n) for n in names]),
    ]
    texts = [f"a photo of a {n}." for n in names] + names
    with torch.enable_grad():
        model.requires_grad_(True)
        try:
            found, expected = read(model, groups), F.normalize(model.encode_text(tokenizer(texts)), dim=-1)
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
            weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
            watched = [p for n, p in model.named_parameters() if n.startswith(("transformer", "positional"))]
            ours = torch.autograd.grad((found * weights).sum(), watched, retain_graph=True)
            theirs = torch.autograd.grad((expected * weights).sum(), watched)
            for a, b in zip(ours, theirs, strict=True):
                torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
        finally:
            model.requires_grad_(False)


def test_the_recipe_puts_a_context_where_learning_puts_it(recipe, clip):
    from sources import encode
    from tower import encode as read
    from tower import group

    model, _, ours = clip
    context = 0.02 * torch.randn(5, ours.width, generator=torch.Generator().manual_seed(1))
    names = ["dog", "long sleeve shirt"]
    found = read(model, [group((), [(*encode(n), *encode(".")) for n in names], context)])
    expected = F.normalize(ours.encode(context, ours.prompts(names, 5)), dim=-1)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_the_recipe_paints_the_same_pictures_again(recipe):
    from patterns import PATTERNS, SIZE, picture

    for word in PATTERNS:
        first, again, other = picture(word, 1), picture(word, 1), picture(word, 2)
        assert first.shape == (SIZE, SIZE, 3)
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()
        assert first.std() > 2, "no picture is empty"
