"""The embedded backbone as a file, what it knows, and the parts of its recipe that run without the recipe's sources."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F

from promptctl.clip.backbone import Backbone
from promptctl.clip.registry import MINI_BYTES, MINI_FOLDER
from promptctl.context.context import Context
from promptctl.store.store import Store

RECIPE = Path(__file__).parents[1] / "promptctl" / "mini" / "recipe"
WEIGHTS = MINI_FOLDER / "open_clip_model.safetensors"
BEFORE = Path(__file__).parent / "golden" / "mini-before.safetensors"  # learned on the first mini


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(RECIPE))
    yield
    for name in [n for n, m in sys.modules.items() if str(RECIPE) in str(getattr(m, "__file__", ""))]:
        del sys.modules[name]


def test_the_file_is_small_and_the_one_on_its_card():
    assert WEIGHTS.stat().st_size == MINI_BYTES <= 45_000_000
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() in (MINI_FOLDER / "README.md").read_text("utf-8")


def test_open_clip_alone_loads_it():
    plain = open_clip.create_model(f"local-dir:{MINI_FOLDER}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{MINI_FOLDER}")
    words = ["a photo of a dog.", "shirt"]
    with torch.inference_mode():
        expected = plain.encode_text(tokenizer(words))
    torch.testing.assert_close(Backbone("mini").tower.encode_sentences(words), expected, atol=1e-5, rtol=0)


def test_a_context_of_the_mini_before_is_told_apart(cli, home, photos):
    old = Context.load(BEFORE).card.backbone
    new = Backbone("mini").id
    assert (old.name, new.name) == ("mini", "mini")
    assert old.fingerprint != new.fingerprint
    Store(home).save("old", BEFORE.read_bytes(), new=True)
    assert cli("show", "old").code == 0
    checked = cli("check", "old")
    assert checked.code == 12
    assert f"other weights ({new.fingerprint[:12]})" in checked.out
    refused = cli("classify", photos, "--prompt", "old")
    assert refused.code == 1
    assert refused.err.startswith(
        f"error: 'old@1' was learned on other weights or preprocessing (mini {old.fingerprint[:12]}) "
        f"than this backbone has (mini {new.fingerprint[:12]})\n"
    )


def test_it_knows_patterns_and_colours_as_painted(recipe):
    """On pictures its words did not come from; the first mini told 5 % and 12 %."""
    from figures import told_as_painted
    from looks import COLOURS, hued
    from patterns import PATTERNS, picture

    mini = Backbone("mini")
    assert told_as_painted(list(PATTERNS), picture, 3, mini) > 0.8
    assert told_as_painted(list(COLOURS), hued, 3, mini) > 0.4


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


def test_the_recipe_leaves_a_direction_one_share_of_the_mean_picture(recipe):
    from directions import raised

    draw = torch.Generator().manual_seed(0)
    rows, mean = (F.normalize(torch.randn(shape, generator=draw), dim=-1) for shape in ((7, 512), (512,)))
    found = raised(rows + 0.5 * mean, mean, 0.04)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(7))
    torch.testing.assert_close(found @ mean, torch.full((7,), 0.04 / 1.0016**0.5))
    beside = F.normalize(rows - torch.outer(rows @ mean, mean), dim=-1)
    torch.testing.assert_close(raised(rows, mean, 0), beside)
    torch.testing.assert_close((found * beside).sum(1), torch.full((7,), 1 / 1.0016**0.5))


def test_the_recipe_lets_a_context_move_names_together_and_apart(recipe):
    from texts import steering

    draw = torch.Generator().manual_seed(0)
    names, context = F.normalize(torch.randn(3, 512, generator=draw), dim=-1), torch.randn(4, 16, generator=draw)
    turn, mean = torch.randn(16, 512, generator=draw), F.normalize(torch.randn(512, generator=draw), dim=0)
    steered = steering(turn, mean, seed=1, parts=8, sharpness=60.0, far=2.0)
    said = F.normalize(context, dim=-1) @ turn
    said -= torch.outer(said @ mean, mean)

    together = F.normalize(names + 2 * said[:1], dim=-1)  # one vector, or the same everywhere: nothing to choose
    torch.testing.assert_close(steered(names, context[:1]), together, atol=1e-5, rtol=0)
    torch.testing.assert_close(steered(names, context[:1].expand(16, -1)), together, atol=1e-5, rtol=0)

    blunt = steering(turn, mean, seed=1, parts=8, sharpness=0.0, far=2.0)
    torch.testing.assert_close(blunt(names, context), F.normalize(names + 2 * said.mean(0), dim=-1), atol=1e-5, rtol=0)

    parts = (F.normalize(context, dim=-1) @ steered.turn).unflatten(1, (8, 64))
    for k, name in enumerate(names):
        heed = torch.stack([(60 * steered.keys[:4, p] @ name).softmax(0) for p in range(8)])  # (P, M)
        moved = torch.cat([heed[p] @ parts[:, p] for p in range(8)]) @ steered.back
        assert abs(moved @ mean) < 1e-5
        torch.testing.assert_close(steered(names, context)[k], F.normalize(name + 2 * moved, dim=0), atol=1e-5, rtol=0)
        assert len({int(row.argmax()) for row in heed}) > 1, "another vector in another part"


def test_the_recipe_begins_as_a_bag_of_words(recipe):
    from sources import encode
    from texts import steering
    from tower import encode as read
    from tower import group
    from train import WIDTH, new_model

    draw = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(WIDTH, 512, generator=draw)).Q
    mean, wanted = F.normalize(torch.randn(512, generator=draw), dim=0), torch.randn(2, 512, generator=draw)
    wanted = F.normalize(wanted - torch.outer(wanted @ mean, mean), dim=-1)
    table = 0.001 * torch.randn(49408, WIDTH, generator=draw)
    words = [encode("dog"), encode("shirt")]
    table[[ids[0] for ids in words]] = 0.02 * WIDTH**0.5 * wanted @ turn.T
    steered = steering(turn, mean, seed=1)
    model = new_model(table, steered, seed=0)
    with torch.no_grad():
        said = read(model, [group((), words)])
    assert ((said @ wanted.T).diagonal() > 0.3).all(), "unrelated directions are at 0.00 ± 0.04"
    assert ((said @ wanted.T).flip(1).diagonal() < 0.2).all()
    torch.testing.assert_close(said @ mean, torch.zeros(2), atol=1e-5, rtol=0)
    for block in model.transformer.resblocks:
        heads = block.attn.in_proj_weight[2 * WIDTH :].unflatten(0, (block.attn.num_heads, -1))
        parts = steered.turn.T.unflatten(0, (steered.keys.shape[1], -1))
        torch.testing.assert_close(heads, parts, msg="every head hands on one part")


def test_the_recipe_paints_the_same_pictures_again(recipe):
    from patterns import PATTERNS, SIZE, picture

    for word in PATTERNS:
        first, again, other = picture(word, 1), picture(word, 1), picture(word, 2)
        assert first.shape == (SIZE, SIZE, 3)
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()
        assert first.std() > 2, "no picture is empty"
