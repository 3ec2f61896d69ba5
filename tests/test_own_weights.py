"""An architecture with weights of one's own: `--model ViT-B-32:/path/weights.safetensors`."""

from __future__ import annotations

import json
import logging
import os
import pickle
import random
import shutil
import zipfile
from pathlib import Path

import hostile
import open_clip
import pytest
import torch
from conftest import TINY
from safetensors.torch import save_file

from promptctl.clip import architectures, keeping, own_weights, registry, weights
from promptctl.clip.backbone import Backbone
from promptctl.errors import BackboneError, PromptctlError, UnknownBackbone, WeightsDoNotFit

OTHER = {**TINY, "vision_cfg": {**TINY["vision_cfg"], "patch_size": 16}}
BIASED = {**TINY, "custom_text": True, "init_logit_bias": -10}


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """Architectures of a few parameters among those of open_clip."""
    folder = tmp_path / "configs"
    folder.mkdir()
    described = {"Tiny": TINY, "Tiny-quickgelu": {**TINY, "quick_gelu": True}, "Other": OTHER, "Biased": BIASED}
    for name, config in described.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
    real = architectures.folders()
    monkeypatch.setattr(architectures, "folders", lambda: (*real, folder))


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return open_clip.factory.CLIP(**TINY).state_dict()


@pytest.fixture
def file(state, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    return path


def saved(content, path):
    torch.save(content, path)
    return path


def refusal(name):
    with pytest.raises(PromptctlError) as refused:
        _ = Backbone(str(name)).model
    return str(refused.value)


def test_one_file_in_every_form_is_one_backbone(state, file, tmp_path):
    training = {
        "epoch": 3,
        "name": "run",
        "state_dict": {f"module.{key}": tensor for key, tensor in state.items()},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.98)}]},
    }
    forms = [
        file,
        saved(state, tmp_path / "plain.pt"),
        saved(training, tmp_path / "epoch_3.pt"),
        saved({f"module._orig_mod.{key}": tensor for key, tensor in state.items()}, tmp_path / "compiled.bin"),
        shutil.copy(file, tmp_path / "misnamed.pt"),
    ]
    assert len({Backbone(f"Tiny:{form}").id.fingerprint for form in forms}) == 1
    model = Backbone(f"Tiny:{forms[2]}").model
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())


def test_the_activation_is_that_of_the_architecture_named(file, caplog):
    plain, quick = Backbone(f"Tiny:{file}"), Backbone(f"Tiny-quickgelu:{file}")
    assert plain.id.fingerprint != quick.id.fingerprint
    assert {type(block.mlp.gelu).__name__ for block in quick.model.transformer.resblocks} == {"QuickGELU"}
    assert caplog.messages == [
        "photos are prepared as Tiny has them: 32x32 pixels, resized by shortest, bicubic, mean 0.481 0.458 0.408, "
        f"std 0.269 0.261 0.276; with GELU (Tiny-quickgelu:{file} has QuickGELU)",
        "photos are prepared as Tiny-quickgelu has them: 32x32 pixels, resized by shortest, bicubic, "
        "mean 0.481 0.458 0.408, std 0.269 0.261 0.276",
    ]
    assert logging.getLogger().filters == []


@pytest.mark.parametrize(
    ("model", "mean", "mode"),
    [("ViT-B-16-SigLIP2", 0.5, "squash"), ("MobileCLIP-S1", 0.0, "shortest"), ("ViT-L-14", 0.48145466, "shortest")],
)
def test_preprocessing_is_that_of_the_architectures_weights(model, mean, mode, file):
    """A bare file of SigLIP's weights would be given CLIP's own."""
    made = dict(architectures.usual_preprocessing(model))
    assert (made["mean"][0], made["resize_mode"]) == (mean, mode)
    if "SigLIP" not in model:
        assert dict(registry.locate(f"{model}:{file}").preprocess) == made


def test_a_name_is_absolute_and_local(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert registry.parse(f"Tiny:{file.name}") == f"Tiny:{file}"
    assert registry.is_local(f"Tiny:{file}")
    assert registry.without_folder(f"Tiny:{file}") == f"Tiny:{file.name}"
    assert registry.repository_of(f"Tiny:{file}") is None
    assert not registry.is_own("hf-hub:a/b") and not registry.is_own("local-dir:/a:b")


@pytest.mark.parametrize(
    ("typed", "sentence", "hint"),
    [
        ("Tiny:", "'Tiny:': it does not say which file", "--model ViT-B-32:/path/weights.safetensors"),
        (
            "ViT-B32:{file}",
            "'ViT-B32:{file}': open_clip has no architecture called 'ViT-B32'",
            "did you mean 'ViT-B-32:{file}' or 'RoViTa-B:{file}' or 'ViT-L-14:{file}'?",
        ),
        (
            "Tiny:/no/w.pt",
            "'Tiny:/no/w.pt': there is no file /no/w.pt",
            "--model Tiny:/path/w.pt, of learn or classify, says where it is",
        ),
        (
            "ViT-B-32:/no/openai",
            "'ViT-B-32:/no/openai': there is no file /no/openai",
            "did you mean 'ViT-B-32/openai'?",
        ),
        (
            "Tiny:https://example.org/w.pt",
            "'Tiny:https://example.org/w.pt': weights are read from a file of this machine",
            "--model ViT-B-32:/path/weights.safetensors",
        ),
        (
            "Tiny:/",
            "'Tiny:/': / is a folder",
            "--model local-dir:/   (a folder with an open_clip_config.json)",
        ),
        ("{file}", "'{file}': it is a file", "--model ARCHITECTURE:{file}   (such as ViT-B-32)"),
    ],
)
def test_names_that_name_no_weights(typed, sentence, hint, file):
    with pytest.raises(UnknownBackbone) as refused:
        registry.ensure_available(typed.format(file=file))
    assert str(refused.value) == f"no backbone named {sentence.format(file=file)}"
    if "RoViTa" not in hint:
        assert refused.value.hint == hint.format(file=file)
    else:
        assert f"'ViT-B-32:{file}'" in refused.value.hint


def test_weights_of_another_architecture_say_what_lacks(file):
    with pytest.raises(WeightsDoNotFit) as refused:
        _ = Backbone(f"Other:{file}").model
    assert str(refused.value) == (
        f"{file} does not fit 'Other': 2 tensors in another shape (visual.positional_embedding is 17x64 and not 5x64, "
        "visual.conv1.weight is 64x3x8x8 and not 64x3x16x16)"
    )
    assert "--all" in refused.value.hint


def test_missing_and_foreign_tensors_are_named(state, tmp_path):
    some = {key: tensor for key, tensor in state.items() if "visual" not in key} | {"x" * 300: torch.zeros(1)}
    said = refusal(f"Tiny:{saved(some, tmp_path / 'w.pt')}")
    lacking = sum("visual" in key for key in state)
    assert (
        f"it lacks {lacking} of {len(state)} tensors (visual.class_embedding, visual.positional_embedding, …)" in said
    )
    assert said.endswith(f"; 1 ({'x' * 100}) that 'Tiny' has not")


def test_a_bias_of_the_logits_is_taken_or_left(state, tmp_path):
    """Which weights of SigLIP's loss have, and which is the same for every class."""
    plain = saved({**state, "logit_bias": torch.tensor([-10.0])}, tmp_path / "plain.pt")
    assert "logit_bias" not in Backbone(f"Tiny:{plain}").model.state_dict()
    assert float(Backbone(f"Biased:{plain}").model.logit_bias) == -10
    assert float(Backbone(f"Biased:{saved(state, tmp_path / 'without.pt')}").model.logit_bias) == 0


class Runs:
    """What runs a program wherever it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("form", ["zip", "pickle", "legacy"])
def test_a_program_in_a_file_never_runs(form, state, tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "w.pt"
    content = {"state_dict": state, "args": Runs(mark)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    said = refusal(f"Tiny:{path}")
    assert not mark.exists()
    if form == "zip":
        assert (
            said
            == f"'Tiny:{path}' cannot be loaded: beside weights it holds posix.system, and nothing in a file is run"
        )
    else:
        assert said == f"'Tiny:{path}' cannot be loaded: w.pt is of a form that PyTorch left in 2020"


def test_a_torchscript_archive_is_refused_in_words(tmp_path):
    path = tmp_path / "RN50.pt"
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(path))
    assert refusal(f"RN50:{path}").endswith("it is a TorchScript archive, which holds a program")


@pytest.mark.parametrize(
    ("content", "end"),
    [
        (b"", "w.pt is neither a safetensors file nor one of torch.save"),
        (b"\xff\xd8\xff\xe0 a photo", "w.pt is neither a safetensors file nor one of torch.save"),
        (b"PK\3\4 and no more", "w.pt is damaged"),
    ],
)
def test_a_file_that_is_none_is_a_sentence(content, end, tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    assert refusal(f"Tiny:{path}") == f"'Tiny:{path}' cannot be loaded: {end}"


def test_a_bomb_is_refused(state, tmp_path):
    plain, bomb = saved(state, tmp_path / "plain.pt"), tmp_path / "bomb.pt"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        for item in source.infolist():
            target.writestr(item.filename, source.read(item))
    assert refusal(f"Tiny:{bomb}").endswith("it is compressed, which torch.save never does")


def test_damaged_files_are_read_or_refused(state, file, tmp_path):
    model = open_clip.factory.CLIP(**{**TINY, "text_cfg": {**TINY["text_cfg"], "vocab_size": 64}})
    torch.save(model.state_dict(), tmp_path / "real.pt")
    save_file(model.state_dict(), tmp_path / "real.safetensors")
    real = [(tmp_path / name).read_bytes() for name in ("real.pt", "real.safetensors")]
    path, outcomes = tmp_path / "w.pt", set()
    for seed in range(300):
        path.write_bytes(hostile.case(random.Random(seed), real))
        try:
            own_weights.checked(f"Tiny:{path}")
            weights.put_into(model, weights.read_weights(path), name="Tiny", path=path)
            outcomes.add("read")
        except BackboneError:
            outcomes.add("refused")
        except Exception:  # which Backbone makes a sentence of
            outcomes.add("failed")
    assert {"read", "refused"} <= outcomes
    path.write_bytes(real[0][: len(real[0]) // 2])
    assert refusal(f"Tiny:{path}") == f"'Tiny:{path}' cannot be loaded: w.pt is damaged"
    path.write_bytes(real[1][: len(real[1]) // 2])
    assert refusal(f"Tiny:{path}").endswith("cannot be loaded: w.pt is damaged, or not all of it is here")


def test_a_context_is_learned_and_used_by_its_weights(file, photos, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(file.parent)
    learned = cli("learn", photos, "--name", "c", "--shots", 2, "--epochs", 1, "--model", f"Tiny:{file.name}")
    assert learned.code == 0, learned.err
    assert "warning: photos are prepared as Tiny has them: 32x32 pixels" in learned.err
    monkeypatch.chdir("/")
    assert f"Tiny:{file}" in cli("show", "c").out
    for command in (
        ("classify", photos, "--prompt", "c"),
        ("evaluate", "c", photos),
        ("inspect", "c"),
        ("doctor", "c", photos),
        ("check", "c"),
        ("models", "pull", f"Tiny:{file}"),
    ):
        done = cli(*command)
        assert done.code == 0, (command, done.err)
        assert "photos are prepared" not in done.err
    assert keeping.keep(Backbone(f"Tiny:{file}", "cpu", fetch=False)) is not None
    added = cli("class", "add", "c", "yellow")
    assert (added.code, "photos are prepared" in added.err) == (0, False), added.err
    compared = cli("compare", photos, "--model", f"Tiny:{file}", "--shots", 1, "--seeds", 1, "--epochs", 1)
    assert compared.code == 0, compared.err


def test_a_file_of_torch_is_read_whatever_it_is_called(state, tmp_path):
    """PyTorch itself goes by the name."""
    fingerprints = {Backbone(f"Tiny:{saved(state, tmp_path / name)}").id.fingerprint for name in ("w.safetensors", "w")}
    assert len(fingerprints) == 1


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_weights_are_found_in_a_checkpoint(key, state, tmp_path):
    path = saved({"epoch": 3, key: state, "optimizer": {"state": {}}}, tmp_path / "w.pt")
    assert torch.equal(Backbone(f"Tiny:{path}").model.text_projection, state["text_projection"])


@pytest.mark.parametrize(
    ("change", "end"),
    [
        (lambda state: {"ema": state, "epoch": 3}, "there are no weights in it, just 'ema', 'epoch'"),
        (lambda state: {}, "there is nothing in it"),
        (lambda state: [*state.values()], "there is no state_dict in it"),
        (
            lambda state: {**state, "ln_final.weight": state["ln_final.weight"].to(torch.int8)},
            "ln_final.weight in w.pt is made of int8",
        ),
        (
            lambda state: {**state, "ln_final.weight": state["ln_final.weight"].log()},
            "ln_final.weight in w.pt has numbers that are not finite",
        ),
    ],
)
def test_weights_that_cannot_be_any_are_a_sentence(change, end, state, tmp_path):
    bad = {**state, "ln_final.weight": state["ln_final.weight"] - 1}
    with pytest.raises(BackboneError) as refused:
        _ = Backbone(f"Tiny:{saved(change(bad), tmp_path / 'w.pt')}").model
    assert str(refused.value) == f"'Tiny:{tmp_path}/w.pt' cannot be loaded: {end}"
    assert "safetensors.torch.save_file" in (refused.value.hint or "")


def test_another_architecture_with_the_same_file_is_another_backbone(file, photos, cli):
    learned = cli("learn", photos, "--name", "c", "--shots", 2, "--epochs", 1, "--model", f"Tiny-quickgelu:{file}")
    assert learned.code == 0, learned.err
    assert keeping.keep(Backbone(f"Tiny-quickgelu:{file}", "cpu")) is not None
    assert cli("classify", photos, "--prompt", "c").code == 0
    other = cli("classify", photos, "--prompt", "c", "--model", f"Tiny:{file}")
    assert (other.code, "was learned on other weights" in other.err) == (1, True), other.err


def test_weights_that_have_gone_are_a_sentence(file, photos, cli):
    assert cli("learn", photos, "--name", "c", "--shots", 2, "--epochs", 1, "--model", f"Tiny:{file}").code == 0
    moved = file.rename(file.with_name("moved weights.safetensors"))
    gone = cli("classify", photos, "--prompt", "c")
    assert (gone.code, gone.err.splitlines()) == (
        1,
        [
            f"error: no backbone named 'Tiny:{file}': there is no file {file}",
            "hint:  --model Tiny:/path/weights.safetensors, of learn or classify, says where it is",
        ],
    )
    assert cli("class", "add", "c", "yellow").code == 1
    assert cli("classify", photos, "--prompt", "c", "--model", f"Tiny:{moved}").code == 0
    assert keeping.keep(Backbone(f"Tiny:{moved}", "cpu")) is not None  # as classify does that waits for PyTorch
    assert cli("class", "add", "c", "yellow").code == 0, "what was answered with last is found again"
    assert json.loads(cli("show", "c@2", "--json").out)["card"]["backbone"]["name"] == f"Tiny:{moved}"


def test_learning_goes_on_with_weights_that_were_moved(file, state, photos, cli, tmp_path):
    """Told by its weights: a file has no other name than where it lies."""
    assert cli("learn", photos, "--name", "c", "--shots", 2, "--epochs", 1, "--model", f"Tiny:{file}").code == 0
    moved = file.rename(tmp_path / "moved.safetensors")
    more = cli("learn", photos, "--name", "c", "--shots", 3, "--epochs", 1, "--model", f"Tiny:{moved}")
    assert more.code == 0, more.err
    assert cli("class", "add", "c", "yellow").code == 0, "its name says where they are now"
    other = saved({**state, "logit_scale": state["logit_scale"] + 1}, file)
    refused = cli("learn", photos, "--name", "c", "--shots", 4, "--model", f"Tiny:{other}")
    assert refused.code == 1
    assert f"its shots mean nothing to Tiny:{other}" in refused.err
    assert "hint:  promptctl rebase c --model" in refused.err
