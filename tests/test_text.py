from __future__ import annotations

import itertools

import open_clip
import pytest
import reference
import torch
from conftest import TINY, build_clip
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from promptctl.clip import packing, text_tower
from promptctl.clip.packing import POSITIONS
from promptctl.clip.registry import MINI_FOLDER
from promptctl.clip.text_tower import TextTower
from promptctl.context.card import ClassEntry
from promptctl.errors import CorruptTokens, NameTooLong

NAMES = [
    "dog",
    "kite (bird of prey)",
    "C++",
    "bmw m3 coupe 2012",
    "Größe",
    "a very long name of many words indeed",
    " ",
]
CUSTOM = {**TINY, "custom_text": True}
NON_CAUSAL = {**TINY, "custom_text": True, "text_cfg": {**TINY["text_cfg"], "no_causal_mask": True}}
POOLS_LAST = {**TINY, "custom_text": True, "text_cfg": {**TINY["text_cfg"], "pool_type": "last"}}
QUICK_GELU = {**TINY, "quick_gelu": True}
KINDS = {
    "plain": TINY,
    "custom text": CUSTOM,
    "non-causal": NON_CAUSAL,
    "pools the last": POOLS_LAST,
    "quick GELU": QUICK_GELU,
}


@pytest.fixture(scope="module", params=[*KINDS, "mini"])
def towers(request, tmp_path_factory):
    folder = MINI_FOLDER
    if request.param != "mini":
        folder = build_clip(tmp_path_factory.mktemp("clip"), KINDS[request.param], seed=3)
    model = open_clip.create_model(f"local-dir:{folder}").eval().double().requires_grad_(False)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    return model, tokenizer, TextTower(model, tokenizer)


@pytest.mark.parametrize(
    ("position", "class_specific", "tokens"), [*itertools.product(POSITIONS, [False, True], [1, 4, 16])]
)
def test_features_and_gradients_equal_the_77_token_forward(towers, position, class_specific, tokens):
    model, tokenizer, tower = towers
    shape = (len(NAMES), tokens, tower.width) if class_specific else (tokens, tower.width)
    context = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.02
    weights = torch.randn(
        len(NAMES), tower.joint_width, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    ours, theirs = context.clone().requires_grad_(), context.clone().requires_grad_()

    found = tower.encode(ours, tower.prompts(NAMES, tokens, position=position, shared=not class_specific))
    expected = reference.encode(model, tokenizer, theirs, NAMES, position)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()

    assert_close(found, expected, atol=1e-10, rtol=0)
    assert_close(ours.grad, theirs.grad, atol=1e-10, rtol=0)


MERGED = ["kite (bird of prey)", "C++", "dog", "aluminium (cans)", "etc.", 'a "b"', "what?!"]


@pytest.mark.parametrize(
    ("position", "class_specific", "tokens"), [*itertools.product(POSITIONS, [False, True], [1, 5])]
)
def test_names_in_tokens_of_their_own_equal_the_originals_forward(towers, position, class_specific, tokens):
    """Merged with the full stop as the original reads them, and cut in front of what follows the name alone."""
    model, tokenizer, tower = towers
    # "(.." is two tokens and "(..." is one, so the original takes the end-of-text for a part of the name
    names = MERGED + (["kite (.."] if tower._shares else [])
    entries = [ClassEntry(i, name, name, (), tuple(tokenizer.encode(f"{name}."))) for i, name in enumerate(names)]
    assert any(tower.name_tokens(entry) != tower.name_tokens(entry.name) for entry in entries), (
        "the merges this test is about"
    )
    shape = (len(names), tokens, tower.width) if class_specific else (tokens, tower.width)
    context = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.02
    weights = torch.randn(
        len(names), tower.joint_width, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    ours, theirs = context.clone().requires_grad_(), context.clone().requires_grad_()

    found = tower.encode(ours, tower.prompts(entries, tokens, position=position, shared=not class_specific))
    expected = reference.encode_in_one_piece(model, tokenizer, theirs, names, position)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()

    assert_close(found, expected, atol=1e-10, rtol=0)
    assert_close(ours.grad, theirs.grad, atol=1e-10, rtol=0)


def test_tokens_a_model_does_not_have_are_refused_in_words(towers):
    _, _, tower = towers
    for tokens in ((5, 49408), (-1,), (tower.end_of_text, 5)):
        with pytest.raises(CorruptTokens) as refused:
            tower.prompts([ClassEntry(0, "cat", "cat", (), tokens)], 4)
        assert str(refused.value) == "class 'cat' has tokens outside the vocabulary of its backbone, which has 49408"
    with pytest.raises(NameTooLong):
        tower.prompts([ClassEntry(0, "cat", "cat", (), (5,) * 72)], 4)
    tower.prompts([ClassEntry(0, "cat", "cat", (), (5,) * 71)], 4)


def test_words_as_context_equal_encode_text(towers):
    model, tokenizer, tower = towers
    names = ["dog", "polar bear", "t-shirt"]
    words = tower.embed("a photo of a")
    found = tower.encode(words, tower.prompts(names, len(words)))
    expected = model.encode_text(tokenizer([f"a photo of a {name}." for name in names]))
    assert_close(found, expected, atol=1e-10, rtol=0)


def test_no_merge_joins_the_name_and_the_full_stop(towers):
    _, tokenizer, tower = towers
    prompts = tower.prompts(["kite (bird of prey)"], 4)
    assert tokenizer.encode("kite (bird of prey).")[-1] != tokenizer.encode(".")[0], "the merge this test is about"
    (part,) = prompts.parts
    ids = part.ids[part.slot == 4].tolist()  # tokens, not context vectors
    ids = ids[: ids.index(tokenizer.eot_token_id)]
    assert ids == [*tokenizer.encode("kite (bird of prey)"), *tokenizer.encode(".")]


def test_the_longest_name_fits_and_one_token_more_is_refused(towers):
    _, _, tower = towers
    room = 77 - 2 - 16 - 1
    longest = " ".join(["dog"] * room)
    tower.prompts([longest], 16)
    with pytest.raises(NameTooLong) as refused:
        tower.prompts(["cat", longest + " dog"], 16)
    assert (
        str(refused.value) == f"the class name '{longest} dog' is {room + 1} tokens long, {room} fit beside the context"
    )


@pytest.mark.parametrize("class_specific", [False, True])
@pytest.mark.parametrize("kept", [0, 40_000])
def test_a_list_too_long_for_the_memory_gives_the_same_gradients(towers, monkeypatch, class_specific, kept):
    """Many small parts, some of them run again for the gradient instead of kept."""
    _, _, tower = towers
    names = NAMES + [f"{a} {b}" for a in ("red", "small", "old") for b in ("dog", "polar bear", "bmw 320 coupe")]
    shape = (len(names), 4, tower.width) if class_specific else (4, tower.width)
    start = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.02

    def run() -> tuple[torch.Tensor, torch.Tensor, int]:
        context = start.clone().requires_grad_()
        prompts = tower.prompts(names, 4, shared=not class_specific)
        found = tower.encode(context, prompts)
        found.square().sum().sqrt().backward()
        return found.detach(), context.grad, len(prompts.parts)

    whole, whole_gradient, one = run()
    monkeypatch.setattr(text_tower, "PART_ROWS", {"cpu": 20})
    monkeypatch.setitem(text_tower._KEPT_BYTES, "cpu", kept)
    found, gradient, many = run()
    assert many > max(one, 3)
    assert_close(found, whole, atol=1e-10, rtol=0)
    assert_close(gradient, whole_gradient, atol=1e-10, rtol=0)


def test_rows_are_what_the_names_need_and_no_more(towers):
    _, _, tower = towers
    if not tower._shares:
        pytest.skip("a tower that sees the padding runs whole")
    names = ["dog", "cat"] * 20 + ["a polar bear and her cub"] * 20
    rows = sum(len(tower.tokens(name)) + 2 for name in names)  # name, full stop, end-of-text
    assert tower.prompts(names, 16).rows == rows
    assert tower.prompts(names, 16, shared=False).rows == rows + 16 * len(names)


@given(st.lists(st.integers(2, 75), min_size=1, max_size=60), st.integers(0, 40))
def test_rectangles_hold_every_class_and_cost_no_more_than_one_or_all(lengths, extra):
    found = packing.buckets_for(lengths, extra=extra)
    room = [longest for classes, longest in found for _ in range(classes)]
    assert all(length <= longest for length, longest in zip(sorted(lengths), room, strict=True))
    cost = sum(room) + extra * len(found)
    assert cost <= len(lengths) * max(lengths) + extra
    assert cost <= sum(lengths) + extra * len(set(lengths))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
@pytest.mark.parametrize("position", POSITIONS)
def test_a_gpu_gives_the_same_gradient_every_time(tmp_path, position):
    model = open_clip.create_model(f"local-dir:{build_clip(tmp_path, TINY, seed=0)}", device="cuda").eval()
    tower = TextTower(model, open_clip.get_tokenizer(f"local-dir:{tmp_path}"))
    prompts = tower.prompts(NAMES * 20, 4, position=position)
    start = torch.randn((4, tower.width), generator=torch.Generator().manual_seed(1)) * 0.02

    def gradient() -> torch.Tensor:
        context = start.cuda().requires_grad_()
        (found,) = torch.autograd.grad(tower.encode(context, prompts).square().sum().sqrt(), context)
        return found

    first = gradient()
    assert all(torch.equal(gradient(), first) for _ in range(10))
