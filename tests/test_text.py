from __future__ import annotations

import itertools

import open_clip
import pytest
import reference
import torch
from conftest import TINY, build_clip
from torch.testing import assert_close

from promptctl.errors import NameTooLong, UnsupportedBackbone
from promptctl.models import MINI_FOLDER
from promptctl.text import POSITIONS, TextTower

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
KINDS = {"plain": TINY, "custom text": CUSTOM, "non-causal": NON_CAUSAL}


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
    wanted = reference.encode(model, tokenizer, theirs, NAMES, position)
    (found * weights).sum().backward()
    (wanted * weights).sum().backward()

    assert_close(found, wanted, atol=1e-10, rtol=0)
    assert_close(ours.grad, theirs.grad, atol=1e-10, rtol=0)


def test_words_as_context_equal_encode_text(towers):
    model, tokenizer, tower = towers
    names = ["dog", "polar bear", "t-shirt"]
    words = tower.embed("a photo of a")
    found = tower.encode(words, tower.prompts(names, len(words)))
    wanted = model.encode_text(tokenizer([f"a photo of a {name}." for name in names]))
    assert_close(found, wanted, atol=1e-10, rtol=0)


def test_no_merge_joins_the_name_and_the_full_stop(towers):
    _, tokenizer, tower = towers
    prompts = tower.prompts(["kite (bird of prey)"], 4)
    assert tokenizer.encode("kite (bird of prey).")[-1] != tokenizer.encode(".")[0], "the merge this test is about"
    own = prompts.slot[0] == 4  # tokens, not context vectors
    ids = prompts.ids[0][own].tolist()
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


def test_a_shared_context_runs_its_prefix_once(towers):
    _, _, tower = towers
    if tower._text.attn_mask is None:
        pytest.skip("a tower without a causal mask runs whole")
    prompts = tower.prompts(["dog", "a polar bear"], 16)
    assert prompts.frozen.shape[:2] == (2, len(tower.tokens("a polar bear")) + 2)  # name, full stop, end-of-text


def test_a_tower_that_cannot_be_followed_exactly_is_refused_in_words(tmp_path):
    config = {**TINY, "custom_text": True, "text_cfg": {**TINY["text_cfg"], "embed_cls": True}}
    folder = build_clip(tmp_path, config, seed=0)
    model = open_clip.create_model(f"local-dir:{folder}")
    with pytest.raises(UnsupportedBackbone) as refused:
        TextTower(model, open_clip.get_tokenizer(f"local-dir:{folder}"), name="odd")
    assert str(refused.value) == (
        "'odd' cannot learn a context: its text tower reads a class token after the prompt (CoCa)"
    )
