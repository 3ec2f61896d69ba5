"""Models whose prompts are short, such as SigLIP's with 16 places: what nobody typed fits by itself."""

from __future__ import annotations

import json

import pytest
from conftest import TINY, build_clip

PLACES = 16
FITS = 11  # beside 'polar bear', a full stop, the start-of-text and the end-of-text


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    config = {**TINY, "text_cfg": {**TINY["text_cfg"], "context_length": PLACES}}
    return f"local-dir:{build_clip(tmp_path_factory.mktemp('short'), config, seed=1)}"


@pytest.fixture
def named(photos):
    (photos / "red").rename(photos / "polar_bear")
    return photos


def tokens_of(cli, ref):
    return json.loads(cli("show", ref, "--json").out)["card"]["method"]["context_tokens"]


@pytest.mark.parametrize("how", [(), ("--class-specific",), ("--learner", "auto")])
def test_as_many_vectors_are_learned_as_fit(cli, named, short, how):
    done = cli("learn", named, "--name", "c", "--shots", 4, "--epochs", 1, "--model", short, *how)
    assert done.code == 0, done.err
    said = (
        f"warning: {FITS} context vectors fit beside 'polar bear' in a prompt of this model, so as many are learned "
        "and not 16"
    )
    assert done.err.count(said) == 1, done.err
    assert tokens_of(cli, "c") == FITS
    longer = cli("class", "add", "c", "black footed albatross")
    assert longer.code == 1
    assert "'black footed albatross' is 4 tokens long, 2 fit beside the context" in longer.err


def test_only_a_number_that_was_typed_is_refused(cli, named, short):
    for tokens in (FITS + 1, PLACES):
        refused = cli("learn", named, "--name", "c", "--model", short, "--context-tokens", tokens)
        assert refused.code == 1
    assert "error: 16 context tokens leave no room for a class name" in refused.err
    fewer = cli("learn", named, "--name", "c", "--shots", 2, "--epochs", 1, "--model", short, "--context-tokens", 4)
    assert fewer.code == 0
    assert "fit beside" not in fewer.err


def test_a_name_that_leaves_no_room_at_all_is_named(cli, photos, short):
    (photos / "red").rename(photos / "-".join("abcdefghijklmn"))
    refused = cli("learn", photos, "--name", "c", "--model", short)
    assert refused.code == 1
    assert "is 27 tokens long, 12 fit beside the context" in refused.err


def test_a_long_name_is_cut_where_it_is_said(cli, photos, tiny, tmp_path):
    (tmp_path / "names.csv").write_text("red," + "dog " * 70)
    how = ("--shots", 2, "--epochs", 1, "--model", tiny, "--classes", tmp_path / "names.csv")
    done = cli("learn", photos, "--name", "c", *how)
    assert done.code == 0, done.err
    assert f"4 context vectors fit beside '{('dog ' * 15)} …' in a prompt" in done.err


def test_every_half_of_the_classes_gets_what_fits_beside_all(cli, named, short):
    (named / "green").rename(named / "a_b_c")
    (named / "d").mkdir()
    for path in sorted((named / "blue").glob("*"))[:3]:
        path.rename(named / "d" / path.name)
    done = cli(
        "compare", named, "--model", short, "--shots", 1, "--seeds", 1, "--epochs", 1, "--base-to-new",
        "--learners", "coop,coop-csc,zero-shot,auto",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.err.count("fit beside") == 1, done.err


@pytest.mark.parametrize("how", [("--tasks", 2, "--shots", 3), ("--protocol", "labels", "--shots", 4)])
def test_so_do_tasks(cli, named, short, how):
    done = cli("compare", named, "--model", short, "--seeds", 1, *how)
    assert done.code == 0, done.err
    assert done.err.count("fit beside") == 1, done.err


def test_a_context_moves_to_a_model_with_less_room(cli, named, tiny, short):
    for name, init in (("noise", ()), ("words", ("--init", "a photo of a"))):
        learned = cli("learn", named, "--name", name, "--shots", 4, "--epochs", 1, "--model", tiny, *init)
        assert learned.code == 0, learned.err
        done = cli("rebase", name, named, "--model", short, "--force")
        assert done.code == 0, done.err
    assert (tokens_of(cli, "noise"), tokens_of(cli, "words")) == (FITS, 4)
