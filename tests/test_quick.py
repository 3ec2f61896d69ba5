"""Learning from known features: no open_clip, no compiler, and the same context to the last byte."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import TINY, build_clip

from promptctl import commands
from promptctl.clip import quick
from promptctl.clip.backbone import Backbone
from promptctl.clip.keeping import keep
from promptctl.clip.quick import QuickBackbone, backbone_of
from promptctl.clip.text_model import read_text_model
from promptctl.clip.text_tower import TextTower
from promptctl.store.refs import Ref
from promptctl.store.store import Store

NEVER = ("open_clip", "torchvision", "torch._dynamo", "sklearn", "matplotlib", "openvino", "timm")
LEARN = f"""
import sys
from promptctl import commands
report = commands.learn(sys.argv[1], sys.argv[2], shots=2, model=sys.argv[3], epochs=5)
print([name for name in {NEVER} if name in sys.modules])
"""


@pytest.fixture
def kept(tiny, photos):
    """The tiny CLIP with what is kept of it, and the features of all photos known."""
    commands.learn(photos, "first", shots=2, model=tiny, epochs=5)
    assert keep(Backbone(tiny, "cpu"))
    return tiny


def sha256(name):
    entry = Store().find(Ref(name))
    return entry.card.sha256


def test_learning_from_known_features_imports_neither_open_clip_nor_a_compiler(kept, photos):
    command = [sys.executable, "-c", LEARN, str(photos), "again", kept]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
    assert sha256("again") == sha256("first"), "the same bytes as by way of open_clip"


def test_a_picture_that_is_not_known_wakes_the_image_side(kept):
    backbone = backbone_of(kept, "cpu")
    assert isinstance(backbone, QuickBackbone)
    whole = Backbone(kept, "cpu")
    assert (backbone.id, backbone.logit_scale) == (whole.id, whole.logit_scale)
    pixels = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    np.testing.assert_array_equal(backbone.encoder.encode(pixels), whole.encoder.encode(pixels))
    np.testing.assert_array_equal(backbone.encoder.unscaled().encode(pixels), whole.encoder.unscaled().encode(pixels))
    assert (backbone.encoder.size, backbone.encoder.width) == (whole.encoder.size, whole.encoder.width)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_the_text_side_says_what_open_clips_says_to_the_bit(tiny_folder, clip, position):
    _, tokenizer, tower = clip
    model = read_text_model(tiny_folder)
    assert model
    own = TextTower(model, tokenizer)
    names = ["red", "polar bear", "kite (bird of prey)"]
    context = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    one, other = (t.encode(context, t.prompts(names, 4, position=position)) for t in (own, tower))
    assert torch.equal(one, other)
    assert quick.plain_tokenizer(77).encode("Kite (bird of prey).") == tokenizer.encode("Kite (bird of prey).")


@pytest.mark.parametrize("change", ["weights", "configuration", "nothing is kept", "another device"])
def test_a_backbone_is_asked_of_open_clip_where_in_doubt(tiny_folder, tmp_path, home, change):
    folder = shutil.copytree(tiny_folder, tmp_path / "copy")
    name, device = f"local-dir:{folder}", "cpu"
    assert keep(Backbone(name, "cpu"))
    assert isinstance(backbone_of(name, device), QuickBackbone)
    if change == "weights":
        (tmp_path / "other").mkdir()
        other = build_clip(tmp_path / "other", TINY, seed=1)
        shutil.copy(other / "open_clip_model.safetensors", folder / "open_clip_model.safetensors")
    elif change == "configuration":
        config = json.loads((folder / "open_clip_config.json").read_text())
        config["model_cfg"]["quick_gelu"] = True
        (folder / "open_clip_config.json").write_text(json.dumps(config))
    elif change == "nothing is kept":
        shutil.rmtree(home / "cache" / "backbones")
    else:
        device = "meta"
        with pytest.raises(Exception, match="'meta' is not a device"):
            backbone_of(name, device)
        return
    assert isinstance(backbone_of(name, device), Backbone)


@pytest.mark.parametrize(
    "changed",
    [
        {"quick_gelu": True},
        {"custom_text": True},
        {"text_cfg": {**TINY["text_cfg"], "no_causal_mask": True}},
        {"text_cfg": {}},
    ],
)
def test_a_text_side_that_is_not_plain_is_left_to_open_clip(tiny_folder, tmp_path, changed):
    shutil.copytree(tiny_folder, tmp_path / "odd")
    config = json.loads((tiny_folder / "open_clip_config.json").read_text())
    config["model_cfg"] |= changed
    (tmp_path / "odd" / "open_clip_config.json").write_text(json.dumps(config))
    assert read_text_model(tiny_folder) is not None
    assert read_text_model(tmp_path / "odd") is None


def test_weights_that_are_cut_off_are_left_to_open_clip(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "cut")
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    assert read_text_model(folder) is None
