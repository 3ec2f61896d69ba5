from __future__ import annotations

import os
import subprocess
import sys

import open_clip
import pytest
import torch
import torch.nn.functional as F
from conftest import TINY, build_clip

from promptctl.clip.backbone import Backbone
from promptctl.encoding import torch as torch_encoder
from promptctl.encoding.translate import engine

RESNET = {**TINY, "embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}}


def pictures(n: int, size: int = 32) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["transformer", "resnet", "mini"])
def visual(request, tmp_path):
    if request.param == "mini":
        return Backbone("mini").model.visual, 224
    folder = build_clip(tmp_path, TINY if request.param == "transformer" else RESNET, seed=0)
    return open_clip.create_model(f"local-dir:{folder}").eval().requires_grad_(False).visual, 32


def test_the_engine_gives_the_towers_features_for_any_number_of_pictures(visual):
    pytest.importorskip("openvino")
    tower, size = visual
    with torch.inference_mode():
        found = engine(tower, pictures(3, size))
        assert found is not None
        for n in (1, 2, 7):
            batch = pictures(n, size)
            cosine = F.cosine_similarity(found(batch), tower(batch), dim=-1)
            assert cosine.min() > 1 - 1e-6


class Undecided(torch.nn.Module):
    """A tower whose trace is wrong for other pictures than those it was traced with."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.flatten(1)[:, :8]
        return rows if x.shape[0] == 2 else rows.flip(1)


class Untraceable(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tower", [Undecided(), Untraceable()])
def test_a_tower_that_cannot_be_followed_has_no_engine(tower):
    with torch.inference_mode():
        assert engine(tower, pictures(4)) is None


def test_without_openvino_there_is_no_engine_and_pytorch_goes_on(tiny, monkeypatch):
    monkeypatch.setattr(torch_encoder, "_WORTH_COMPILING", 4)
    monkeypatch.setitem(sys.modules, "openvino", None)
    backbone = Backbone(tiny)
    with torch.inference_mode():
        expected = backbone.model.encode_image(pictures(8), normalize=True)
    torch.testing.assert_close(
        torch.from_numpy(backbone.encoder.encode(pictures(8).numpy())), expected, atol=1e-6, rtol=0
    )
    assert backbone.encoder._engine == backbone.encoder._eagerly


def test_many_pictures_switch_to_the_engine_and_few_do_not(tiny, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(torch_encoder, "_WORTH_COMPILING", 10)
    backbone = Backbone(tiny)
    first = backbone.encoder.encode(pictures(8).numpy())
    assert backbone.encoder._engine is None
    again = backbone.encoder.encode(pictures(8).numpy())
    assert backbone.encoder._engine not in (None, backbone.encoder._eagerly)
    torch.testing.assert_close(torch.from_numpy(again), torch.from_numpy(first), atol=1e-6, rtol=0)


def test_nothing_is_reported_to_anybody(tiny_folder, tmp_path):
    pytest.importorskip("openvino")
    script = """
import os, socket, sys
asked = []
socket.getaddrinfo = socket.socket.connect = lambda *asking, **_: asked.append(asking)
import torch
from promptctl.clip.backbone import Backbone
from promptctl.encoding.translate import engine
sys.excepthook = lambda kind, error, _: (print(repr(error), file=sys.stderr), os._exit(1))  # no waiting for a sender
with torch.inference_mode():
    assert engine(Backbone(sys.argv[1]).model.visual, torch.randn(4, 3, 32, 32)) is not None
assert "openvino_telemetry" not in sys.modules
assert not asked, asked
"""
    # in CI its reporting is off by itself
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    command = [sys.executable, "-c", script, f"local-dir:{tiny_folder}"]
    done = subprocess.run(command, env={**environment, "HOME": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "intel").exists()
