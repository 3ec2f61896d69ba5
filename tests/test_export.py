"""What `export` writes for other programs: a plain zero-shot head, and an ONNX model."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from test_cli import refused

from promptctl.classification.classifier import mixed
from promptctl.commands.export import export
from promptctl.context.context import Context
from promptctl.errors import ExportFailed, WrongOption
from promptctl.store.store import Store


@pytest.fixture
def learned(colours_bytes):
    return Store().save("colours", colours_bytes, new=True)


def store_without_head(entry):
    """The same context as its next version, answering by its text features."""
    context = Context.load(entry.path)
    plain = replace(context, head=None, card=replace(context.card, head=()))
    return Store().save("colours", plain.to_bytes(), new=False)


def answers(cli, photos, *options):
    """(N, C) probabilities as `classify` has them, by path, classes in the order of the context."""
    outcome = cli("classify", photos, "--prompt", "colours", "--format", "jsonl", "--top", 3, *options)
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    by_label = [{guess["label"]: guess["probability"] for guess in row["top"]} for row in rows]
    return [row["path"] for row in rows], np.array([[of[c] for c in ("blue", "green", "red")] for of in by_label])


def read_head(path):
    with safe_open(path, "pt") as head:
        return head.get_tensor("weight"), head.get_tensor("bias"), head.metadata()


@pytest.mark.parametrize("fitted", [True, False])
@pytest.mark.parametrize("blend", ["1", "0.3"])
def test_a_head_gives_the_answers_of_classify_in_open_clip(cli, photos, learned, tiny, tmp_path, blend, fitted):
    path, rows = tmp_path / "head.safetensors", "head" if fitted else "text features"
    if not fitted:
        store_without_head(learned)
    done = cli("export", "colours", path, "--as", "head", "--blend", blend)
    assert done.code == 0 and done.out.endswith(f" as a head, 3 classes by 32, rows of its {rows}\n")
    weight, bias, metadata = read_head(path)
    card = json.loads(metadata["head"])
    model, _, preprocess = open_clip.create_model_and_transforms(tiny)
    paths, expected = answers(cli, photos, "--blend", blend)
    with torch.no_grad():
        pixels = torch.stack([preprocess(Image.open(path)) for path in paths])
        features = torch.nn.functional.normalize(model.eval().encode_image(pixels), dim=-1)
    ours = (card["logit_scale"] * features @ weight.T + bias).softmax(-1)
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_a_bias_is_exported_too(photos, learned, tmp_path):
    """A class without photos has no bias, the others one of their own."""
    context = Context.load(learned.path)
    bias = np.array([-9.0, 3.0, 4.0], np.float32)
    Store().save("colours", replace(context, head=replace(context.head, bias=bias)).to_bytes(), new=False)
    export("colours", tmp_path / "head", kind="head", blend=0.5)
    temperature = context.card.temperature**0.5
    assert temperature != 1
    np.testing.assert_allclose(read_head(tmp_path / "head")[1], bias / 2 / temperature, rtol=1e-6)


def test_a_head_says_what_it_is_and_is_the_same_every_time(cli, learned, tiny, tmp_path):
    store_without_head(learned)
    one, two = tmp_path / "one.safetensors", tmp_path / "two"
    for path in (one, two):
        cli("export", "colours@2", path, "--as", "head", "--blend", 0.5)
    assert one.read_bytes() == two.read_bytes()
    weight, bias, metadata = read_head(one)
    assert not bias.any() and bias.dtype == torch.float32
    assert (weight.shape, weight.dtype, [*metadata]) == ((3, 32), torch.float32, ["head"])
    np.testing.assert_allclose(weight.norm(dim=1), 1, atol=1e-6)
    card = json.loads(metadata["head"])
    own = Store()["colours@2"].card
    assert card == {
        "format": 2,
        "labels": ["blue", "green", "red"],
        "names": ["blue", "green", "red"],
        "logit_scale": own.logit_scale / own.temperature**0.5,
        "blend": 0.5,
        "backbone": {"name": tiny, "fingerprint": own.backbone.fingerprint, "text_width": 32, "joint_width": 32},
        "context": "colours@2",
        "context_sha256": own.sha256,
    }


def test_csv_counts_the_classes_of_a_head(cli, learned, tmp_path):
    outcome = cli("export", "colours", tmp_path / "head.safetensors", "--as", "head", "--format", "csv")
    names, cells = (line.split(",") for line in outcome.out.splitlines())
    assert dict(zip(names, cells, strict=True))["classes"] == "3"


def test_the_share_of_a_head_may_be_chosen_by_folds(cli, learned, tmp_path):
    report = export("colours", tmp_path / "head", kind="head", blend=None)
    assert 0 <= report.blend <= 1
    context, share = Context.load(learned.path), report.blend
    expected = share * context.head.weight + (1 - share) * context.zero_shot_features
    np.testing.assert_allclose(read_head(tmp_path / "head")[0], expected, atol=1e-6)
    store_without_head(learned)
    report = export("colours", tmp_path / "texts", kind="head", blend=None)
    expected = mixed(context.text_features, context.zero_shot_features, report.blend)
    np.testing.assert_array_equal(read_head(tmp_path / "texts")[0], expected)


@pytest.mark.parametrize(
    ("kind", "name", "sentence", "meant"),
    [
        ("head", "h.npz", "a head ends in .safetensors, h.npz does not", "h.safetensors --as head"),
        ("head", "h.onnx", "a head ends in .safetensors, h.onnx does not", "h.safetensors --as head"),
        ("onnx", "h.safetensors", "an ONNX model ends in .onnx, h.safetensors does not", "h.onnx --as onnx"),
        ("onnx", "my h.pt", "an ONNX model ends in .onnx, my h.pt does not", "'my h.onnx' --as onnx"),
        ("context", "h.onnx", "a context file ends in .safetensors, h.onnx does not", "h.onnx --as onnx"),
        ("coop", "h.onnx", "a checkpoint of the original code ends in .pth.tar or .pth, h.onnx does not", None),
    ],
)
def test_a_file_ends_as_its_kind_does(cli, learned, tmp_path, monkeypatch, kind, name, sentence, meant):
    monkeypatch.chdir(tmp_path)
    meant = meant or "h.pth.tar --as coop"
    refused(cli("export", "colours", name, "--as", kind), 1, sentence, f"promptctl export colours {meant}")
    assert not list(tmp_path.glob("*h.*"))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kind": "tensorrt"}, "nothing is exported as 'tensorrt'"),
        ({"blend": 0.5}, "a context file is written without a blend"),
        ({"kind": "coop", "blend": None}, "a checkpoint of the original code is written without a blend"),
        ({"kind": "head", "model": "mini"}, "a head is written without its backbone"),
        ({"model": "mini"}, "a context file is written without its backbone"),
    ],
)
def test_settings_that_mean_nothing_for_a_kind_are_refused(learned, tmp_path, settings, sentence):
    with pytest.raises(WrongOption) as refusal:
        export("colours", tmp_path / "out", **settings)
    assert str(refusal.value) == sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["head", "onnx"])
def test_what_is_there_is_replaced_only_when_asked(learned, tmp_path, kind, home):
    path = tmp_path / "out"
    path.write_text("precious")
    with pytest.raises(ExportFailed, match="it already exists"):
        export("colours", str(path), kind=kind)
    assert path.read_text() == "precious"
    with pytest.raises(ExportFailed, match="it is inside the store"):
        export("colours", learned.path.parent / "out", kind=kind)


# --------------------------------------------------------------------------- ONNX


@pytest.fixture(scope="session")
def as_onnx(colours_bytes, tmp_path_factory):
    """Two ONNX models of one context, since writing one takes seconds."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("onnx")
    store = Store(folder / "store")
    store.save("colours", colours_bytes, new=True)
    paths = [folder / "one.onnx", folder / "two.onnx"]
    for path in paths:
        report = export("colours", path, kind="onnx", blend=0.7, store=store)
        assert report.n_bytes == path.stat().st_size
    return paths


def test_an_onnx_model_gives_the_answers_of_classify_for_any_number_of_pictures(cli, photos, learned, as_onnx):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(as_onnx[0], providers=["CPUExecutionProvider"])
    (pixels,), (probabilities,) = session.get_inputs(), session.get_outputs()
    assert (pixels.name, pixels.type, pixels.shape) == ("pixels", "tensor(float)", ["N", 3, 32, 32])
    assert (probabilities.name, probabilities.type, probabilities.shape) == ("probabilities", "tensor(float)", ["N", 3])
    paths, expected = answers(cli, photos, "--blend", 0.7)
    transform = open_clip.image_transform(32, is_train=False, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bicubic")
    batch = np.stack([transform(Image.open(path)).numpy() for path in paths])
    for count in (1, 2, 5, len(paths)):
        (ours,) = session.run(None, {"pixels": batch[:count]})
        np.testing.assert_allclose(ours, expected[:count], atol=1e-4)


def test_an_onnx_model_says_what_it_is_and_nothing_of_this_machine(cli, as_onnx, learned, tiny):
    onnx = pytest.importorskip("onnx")
    data = as_onnx[0].read_bytes()
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    facts = {item.key: item.value for item in model.metadata_props}
    assert json.loads(facts["labels"]) == json.loads(facts["names"]) == ["blue", "green", "red"]
    assert json.loads(facts["backbone"])["fingerprint"] == learned.card.backbone.fingerprint
    shown = ("context", "size", "interpolation", "resize_mode", "blend")
    assert [facts[key] for key in shown] == ["colours@1", "32", "bicubic", "shortest", "0.7"]
    model.ClearField("metadata_props")  # the backbone is a folder that the person named
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
    text = model.SerializeToString()
    assert b"site-packages" not in text and b".py" not in text
    assert as_onnx[1].read_bytes() == data


def test_an_onnx_model_needs_its_library(cli, learned, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    refused(
        cli("export", "colours", tmp_path / "x.onnx", "--as", "onnx"),
        1,
        "an ONNX model needs the library onnxscript, which is not installed",
        "pip install 'promptctl[onnx]'",
    )


def test_a_tower_beyond_what_an_onnx_file_holds_is_refused(cli, learned, tmp_path, monkeypatch, tiny):
    pytest.importorskip("onnxscript")
    monkeypatch.setattr("promptctl.classification.onnx.LARGEST", 1000)
    outcome = cli("export", "colours", tmp_path / "x.onnx", "--as", "onnx")
    assert outcome.code == 1
    assert f"the image tower of '{tiny}' is larger than the 2 GB of an ONNX file" in outcome.err


def test_an_onnx_model_needs_the_contexts_own_backbone(cli, learned, tmp_path):
    pytest.importorskip("onnxscript")
    outcome = cli("export", "colours", tmp_path / "x.onnx", "--as", "onnx", "--model", "mini")
    assert outcome.err.startswith("error: 'colours@1' was learned on other weights or preprocessing (")
    assert not (tmp_path / "x.onnx").exists()
