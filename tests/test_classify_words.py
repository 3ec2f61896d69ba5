"""Zero-shot without learning: `promptctl classify --words`."""

from __future__ import annotations

import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from test_cli import refused

from promptctl.commands.classify import classify
from promptctl.errors import BadSetting, PromptctlError, WrongOption
from promptctl.store.store import Store

EXAMPLE = '--words "emu, ibis, flamingo"'


@pytest.fixture(autouse=True)
def on_tiny(monkeypatch, tiny):
    monkeypatch.setenv("PROMPTCTL_MODEL", tiny)


@pytest.mark.parametrize("template", [None, "a bad photo of the {}."])
def test_words_are_told_apart_as_open_clip_does(cli, photos, tiny, template):
    options = [] if template is None else ["--template", template]
    words = ["red", "dark green", "blue"]
    outcome = cli("classify", photos / "red", "--words", " red,dark  green ,blue", "--format", "jsonl", *options)
    assert (outcome.code, outcome.err) == (0, "")
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    model, _, preprocess = open_clip.create_model_and_transforms(tiny)
    model.eval()
    said = [(template or "a photo of a {}.").format(word) for word in words]
    with torch.no_grad():
        texts = model.encode_text(open_clip.get_tokenizer(tiny)(said), normalize=True)
        images = model.encode_image(torch.stack([preprocess(Image.open(row["path"])) for row in rows]), normalize=True)
        expected = (model.logit_scale.exp() * images @ texts.T).softmax(-1).numpy()
    for row, probabilities in zip(rows, expected, strict=True):
        found = {guess["name"]: guess["probability"] for guess in row["top"]}
        np.testing.assert_allclose([found[word] for word in words], probabilities, atol=1e-4)
        assert (row["label"], row["probability"]) == (row["top"][0]["label"], max(found.values()))
    assert len(Store()) == 0, "nothing is stored"


def test_every_format_is_that_of_a_context(cli, photos):
    report = json.loads(cli("classify", photos, "--words", "red,blue", "--json").out)
    assert (report["context"], report["blend"], report["blend_chosen"]) == (None, 0.0, False)
    assert len(report["images"]) == 18
    table = cli("classify", photos, "--words", "red,blue", "--top", 1, "--format", "csv").out.splitlines()
    assert table[0] == "path,label,name,probability,unknown,doubtful,likeness" and len(table) == 19


def test_words_are_those_of_python_too(photos, tiny):
    report = classify(str(photos / "red"), words=["red", "blue"], model=tiny, top=np.int64(1))
    assert [[guess.label in ("red", "blue") for guess in item.top] for item in report.items()] == [[True]] * 6
    one = [item.top for item in classify(photos / "red", words="red,blue", model=tiny).items()]
    two = [item.top for item in classify([photos / "red"], words=("red", "blue"), model=tiny).items()]
    assert one == two


@pytest.mark.parametrize(
    ("words", "sentence", "hint"),
    [
        ("", "word 1 of 1 in --words is empty", EXAMPLE),
        ("emu,,ibis", "word 2 of 3 in --words is empty", EXAMPLE),
        ("emu, ", "word 2 of 2 in --words is empty", EXAMPLE),
        ("emu", "--words has one class, 'emu', and there is nothing to tell it from", EXAMPLE),
        ("emu,ibis,emu", "--words has 'emu' twice", "give every class a word of its own"),
        ("emu, EMU", "--words has 'emu' and 'EMU', which are one to a prompt", "give every class a word of its own"),
        ("red  kite,Red kite", "--words has 'red kite' and 'Red kite', which are one to a prompt", None),
    ],
)
def test_words_that_are_no_class_list_are_refused_in_words(cli, photos, words, sentence, hint):
    refused(cli("classify", photos, "--words", words), 1, sentence, hint or "give every class a word of its own")


def test_words_that_the_tower_reads_alike_are_refused(cli, photos):
    outcome = cli("classify", photos, "--words", "a&amp;b,a&b")
    assert (outcome.code, outcome.err.splitlines()[1]) == (1, "hint:  leave one of them out of --words")


def test_words_that_say_little_to_the_tower_are_named(cli, photos):
    outcome = cli("classify", photos, "--words", "12,red,77")
    assert (outcome.code, outcome.err) == (0, "warning: '12', '77' say little to the text tower\n")


def test_a_word_that_does_not_fit_is_refused_in_a_few_words(cli, photos):
    outcome = cli("classify", photos, "--words", "red," + "x " * 3000)
    sentence, hint = outcome.err.splitlines()
    assert (outcome.code, hint) == (1, "hint:  shorter --words, or a shorter --template")
    assert sentence.startswith("error: the template says 'a photo of a x x x ") and len(sentence) < 500


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "a context or words are needed to classify with"),
        ({"ref": "x", "words": "a,b"}, "a context has classes of its own, --words has no effect"),
        ({"words": "a,b", "blend": 0.5}, "nothing is learned from words, --blend has no effect"),
        ({"words": "a,b", "blend": None}, "nothing is learned from words, --blend has no effect"),
        ({"ref": "x", "template": "a {}."}, "a context has a template of its own, --template has no effect"),
    ],
)
def test_words_and_a_context_exclude_each_other(photos, settings, sentence):
    with pytest.raises(WrongOption) as refusal:
        classify(photos, **settings)
    assert str(refusal.value) == sentence


@pytest.mark.parametrize(
    "settings",
    [
        {"words": 3},
        {"words": ["a", None]},
        {"words": b"a,b"},
        {"words": ["a\0", "b"]},
        {"words": "a,b", "top": 0},
        {"words": "a,b", "top": True},
        {"words": "a,b", "device": "gpu"},
        {"ref": "x", "blend": 2},
        {"ref": b"x"},
    ],
)
def test_settings_are_checked_before_any_photo_is_looked_for(settings):
    with pytest.raises(BadSetting):
        classify("nowhere", **settings)


def test_one_of_the_two_is_asked_for_on_the_command_line(cli, photos):
    outcome = cli("classify", photos)
    assert outcome.code == 2 and "give a context, or class names with --words" in outcome.err


def test_a_template_and_a_model_of_words_are_checked(cli, photos):
    assert cli("classify", photos, "--words", "a,b", "--template", "no hole").code == 1
    assert "no backbone named 'no/model'" in cli("classify", photos, "--words", "a,b", "--model", "no/model").err
    with pytest.raises(PromptctlError, match="there is no file or folder nowhere"):
        classify("nowhere", words="a,b")
