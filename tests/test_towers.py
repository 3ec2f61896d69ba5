"""Text towers other than CLIP's own: which there are, and that each is followed exactly."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest

from promptctl.clip.towers import needs_transformers, unsupported_reason


def test_every_model_of_open_clip_has_a_text_tower_that_can_be_used():
    configs = {path.stem: json.loads(path.read_text()) for path in open_clip_configs()}
    assert len(configs) > 100
    assert {name: unsupported_reason(config) for name, config in configs.items() if unsupported_reason(config)} == {}
    assert {
        name for name in ("ViT-B-32", "RN50", "coca_ViT-B-32", "PE-Core-B-16") if needs_transformers(configs[name])
    } == set()
    for name in ("ViT-B-16-SigLIP", "ViT-B-16-SigLIP2", "ViT-H-14-CLIPA", "ViT-H-14-worldwide", "roberta-ViT-B-32"):
        assert needs_transformers(configs[name])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "it has no text tower"),
        ({"pool_type": "none"}, "how its text tower pools is not known here (none)"),
        ({"hf_model_name": "a/b", "hf_pooler_type": "max"}, "how its text tower pools is not known here (max)"),
        ({"tokenizer_mode": "odd"}, "how its tokenizer lays out a text is not known here (odd)"),
        ({"tokenizer_kwargs": {"clean": 5}}, "how its tokenizer cleans a text is not known here (5)"),
        ({"tokenizer_kwargs": 5}, "the settings of its tokenizer are none"),
        ({"hf_model_name": "a/b"}, "its text tower is of Hugging Face and its tokenizer is not"),
        ({}, None),
    ],
)  # fmt: skip
def test_a_description_says_why_a_text_tower_cannot_be_used(text, reason):
    assert unsupported_reason({"embed_dim": 8} | ({} if text is None else {"text_cfg": text})) == reason


def open_clip_configs() -> list[Path]:
    return sorted((Path(open_clip.__file__).parent / "model_configs").glob("*.json"))
