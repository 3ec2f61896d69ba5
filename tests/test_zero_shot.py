from __future__ import annotations

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F

from promptctl.clip import templates
from promptctl.errors import BadTemplate, TemplateTooLong

NAMES = ["dog", "kite (bird of prey)", "polar bear"]


@pytest.mark.parametrize("template", ["a photo of a {}.", "{} texture.", "a photo of {}, a type of food."])
def test_one_template_is_encode_text_of_the_whole_sentence(clip, template):
    model, tokenizer, tower = clip
    expected = F.normalize(model.encode_text(tokenizer([template.format(name) for name in NAMES])), dim=-1)
    np.testing.assert_allclose(templates.text_features(tower, NAMES, template), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize(("template", "count"), [("imagenet-7", 7), ("imagenet-80", 80)])
def test_an_ensemble_is_the_mean_of_unit_features(clip, template, count):
    model, tokenizer, tower = clip
    written = open_clip.SIMPLE_IMAGENET_TEMPLATES if count == 7 else open_clip.OPENAI_IMAGENET_TEMPLATES
    assert len(written) == count
    mean = torch.zeros(3, 32)
    for write in written:
        mean += F.normalize(model.encode_text(tokenizer([write(name) for name in NAMES])), dim=-1) / count
    np.testing.assert_allclose(templates.text_features(tower, NAMES, template), F.normalize(mean, dim=-1), atol=1e-6)


def test_the_papers_eleven_are_known_by_name(clip):
    _, _, tower = clip
    assert len(templates.OF_DATA_SET) == 11
    np.testing.assert_array_equal(
        templates.text_features(tower, NAMES, "oxford_pets"),
        templates.text_features(tower, NAMES, "a photo of a {}, a type of pet."),
    )


@pytest.mark.parametrize("template", ["imagenet-8", "a photo", "{} and {}"])
def test_a_template_needs_a_place_for_the_name(template):
    with pytest.raises(BadTemplate) as refused:
        templates.check(template)
    assert str(refused.value) == (
        f"'{template}' is neither a sentence with {{}} for the class name nor a known template"
    )
    assert "oxford_pets" in refused.value.hint


def test_a_sentence_that_does_not_fit_is_named(clip):
    with pytest.raises(TemplateTooLong, match="tokens long, and 75 fit"):
        templates.text_features(clip[2], ["dog " * 80])
