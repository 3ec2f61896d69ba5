"""Every pair of architecture and weights that open_clip lists: works, or is refused before anything is downloaded."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import languages
import numpy as np
import open_clip
import pytest
import torch
from huggingface_hub import constants
from languages import KINDS
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from promptctl.clip import architectures, network, registry, text_files
from promptctl.clip.backbone import Backbone, Pooled, open_clip_unheard
from promptctl.clip.whole_tower import whole_tower
from promptctl.encoding.preprocess import Preprocess
from promptctl.errors import BackboneNeeds, UnsupportedBackbone, WeightsUnavailable

PAIRS = open_clip.list_pretrained()


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """An empty cache of the hub, and every call a failure."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    calls = []

    def call(*address, **_):
        calls.append(address)
        raise OSError("a call")

    monkeypatch.setattr(socket, "create_connection", call)
    monkeypatch.setattr(socket.socket, "connect", call)
    return calls


# --------------------------------------------------------------------------- what is said of each


def test_each_pair_is_decided_without_torch_and_without_a_call(tmp_path):
    code = (
        "import socket, sys\n"
        "def call(*_): raise SystemExit('a call')\n"
        "socket.create_connection = socket.socket.connect = call\n"
        "from promptctl.commands import list_models\n"
        "rows = list_models(everything=True).rows()\n"
        "print(len(rows), sum(r['needs'] == 'hf' for r in rows), sum(r['refused'] is not None for r in rows))\n"
        "print(sorted(m for m in ('torch', 'open_clip', 'transformers', 'numpy') if m in sys.modules))\n"
    )
    environment = {"HOME": str(tmp_path), "HF_HOME": str(tmp_path), "PATH": "/usr/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    hf = sum(bool({"hf_tokenizer_name", "hf_model_name"} & text_of(model).keys()) for model, _ in PAIRS)
    assert done.stdout == f"{len(PAIRS) + 1} {hf} 0\n[]\n"  # mini is one more


def text_of(model):
    return architectures.description(model)["text_cfg"]


@pytest.mark.parametrize("installed", [True, False])
def test_without_the_extra_a_pair_says_which_before_anything_is_asked_for(installed, monkeypatch, hub):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(text_files, "find_spec", lambda _: installed or None)
    outcomes = Counter()
    for name in registry.every_pair():
        try:
            registry.locate(name, fetch=False)
        except (BackboneNeeds, WeightsUnavailable) as error:
            outcomes[type(error).__name__] += 1
            sentence = f"'{name}' needs the library transformers, which is not installed"
            if isinstance(error, BackboneNeeds):
                assert (str(error), error.hint) == (sentence, "pip install 'promptctl[hf]'")
    needing = sum(text_files.extra_for(architectures.description(model)) == "hf" for model, _ in PAIRS)
    assert needing > 40
    of_each = {"WeightsUnavailable": len(PAIRS) - needing, "BackboneNeeds": needing}
    assert outcomes == ({"WeightsUnavailable": len(PAIRS)} if installed else of_each)
    assert hub == []


def test_a_pair_whose_text_side_is_not_known_is_refused_before_its_weights(monkeypatch, hub):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    described = architectures.description("ViT-B-32")
    described["text_cfg"]["pool_type"] = "mean"
    monkeypatch.setattr(architectures, "description", lambda _: described)
    with pytest.raises(UnsupportedBackbone) as refused:
        registry.ensure_available("ViT-B-32/openai")
    assert str(refused.value) == (
        "'ViT-B-32/openai' cannot learn a context: how its text tower pools is not known here (mean)"
    )
    assert hub == []


def test_the_list_says_what_each_needs(cli):
    rows = {row["name"]: row for row in json.loads(cli("models", "list", "--all", "--json").out)["models"]}
    assert rows["ViT-B-16-SigLIP2/webli"]["needs"] == "hf"
    assert rows["ViT-B-16/openai"]["needs"] is None
    assert rows["coca_ViT-B-32/laion2b_s13b_b90k"]["joint_width"] == 512
    assert len(cli("models", "list", "--all", "--quiet").out.splitlines()) == len(PAIRS) + 1
    assert "promptctl[hf]" in cli("models", "list").out


# --------------------------------------------------------------------------- that what works does

# one of each kind of image tower that the pairs have
TOWERS = [
    *("RN50", "ViT-B-32-quickgelu", "ViT-B-16-plus-240", "coca_ViT-B-32", "convnext_base", "EVA02-B-16"),
    *("ViT-B-16-SigLIP2-256", "MobileCLIP-B", "MobileCLIP2-S0", "ViTamin-S", "PE-Core-T-16-384", "ViT-L-14-CLIPA"),
]


@pytest.mark.parametrize("model", TOWERS)
def test_towers_of_every_kind_take_pictures_and_prompts(model):
    """Built without weights: shapes alone."""
    preprocess = dict(architectures.usual_preprocessing(model))
    with torch.device("meta"), open_clip_unheard():
        built = open_clip.create_model(model, device="meta", force_preprocess_cfg=preprocess).eval()
    backbone = object.__new__(Backbone)
    backbone.__dict__["model"] = built
    settings = backbone.preprocess_settings
    made = Preprocess.of(settings)
    assert (made.mean, made.resize_mode) == (preprocess["mean"], preprocess["resize_mode"])
    width = architectures.description(model)["embed_dim"]
    pictures = torch.zeros(2, 3, made.height, made.width, device="meta")
    assert backbone.visual(pictures).shape == (2, width)
    assert isinstance(backbone.visual, Pooled) == model.startswith("coca")
    assert whole_tower(built, name=model).joint_width == width


def test_every_kind_of_image_tower_is_built_here():
    kinds = {kind_of(model) for model, _ in PAIRS}
    assert kinds == {kind_of(model) for model in TOWERS}


def kind_of(model):
    described = architectures.description(model)
    vision = described["vision_cfg"]
    of_layers = "RN" if isinstance(vision.get("layers"), list) else "ViT"
    family = vision.get("timm_model_name", of_layers).partition("_")[0].rstrip("0123456789")
    return family, "multimodal_cfg" in described


def test_pictures_are_made_as_open_clip_makes_them_for_each_pairs_weights():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (61, 97, 3), dtype=np.uint8))
    ways = {architectures.preprocessing(open_clip.get_pretrained_cfg(*pair)) for pair in PAIRS}
    assert len(ways) == 8
    for way in ways:
        settings = {**PreprocessCfg(size=(32, 32)).__dict__, **dict(way)}
        expected = image_transform_v2(PreprocessCfg(**settings), is_train=False)(picture).numpy()
        np.testing.assert_allclose(Preprocess.of(settings)(picture), expected, rtol=0, atol=1e-6)


# --------------------------------------------------------------------------- fetched once, with its tokenizer


class Hub(BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as a download needs: REPOSITORY/resolve/REVISION/FILE."""

    folder: Path
    asked: list[str]

    def do_GET(self):
        repo, _, file = self.path.strip("/").partition("/resolve/main/")
        self.asked.append(f"{repo}/{file}")
        path = self.folder / repo / file
        found = path.is_file()
        self.send_response(200 if found else 404)
        headers = {"ETag": f'"{path.name}"', "X-Repo-Commit": "c" * 40} if found else {"X-Error-Code": "EntryNotFound"}
        for name, value in {**headers, "Content-Length": path.stat().st_size if found else 0}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if found and self.command == "GET":
            self.wfile.write(path.read_bytes())

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def networked(tmp_path, monkeypatch):
    """A hub of one's own, until it is closed."""
    monkeypatch.undo()
    monkeypatch.setenv("PROMPTCTL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    asked: list[str] = []
    there = tmp_path / "there"
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("TheHub", (Hub,), {"folder": there, "asked": asked}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    where = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", where)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", where + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(network, "offline_reason", lambda: None)

    def close():
        server.shutdown()
        server.server_close()

    yield there, asked, close
    close()


def a_pair(kind, there, tmp_path, monkeypatch):
    """`Small/own` in open_clip's table: weights in me/small, tokenizer and tower in a repository without owner."""
    folder = languages.build(tmp_path / "built", KINDS[kind])
    described = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    for key in ("hf_tokenizer_name", "hf_model_name"):
        if key in described["text_cfg"]:
            described["text_cfg"][key] = "some-base"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "Small.json").write_text(json.dumps(described))
    for repo in ("me/small", "some-base"):
        (there / repo).mkdir(parents=True)
    for file in folder.iterdir():
        if file.name != "open_clip_config.json":
            repo = "me/small" if file.name == "open_clip_model.safetensors" else "some-base"
            shutil.copy(file, there / repo)
    real = architectures.folders()
    monkeypatch.setattr(architectures, "folders", lambda: (*real, tmp_path / "configs"))
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Small", described)
    made = {"mean": (0.4,) * 3, "std": (0.3,) * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Small", {"own": {"hf_hub": "me/small/", **made}})
    return folder, made


@pytest.fixture
def made(tmp_path):
    (tmp_path / "built").mkdir()
    return tmp_path


@pytest.mark.parametrize("kind", ["SigLIP", "CLIPA", "XLM-RoBERTa", "CoCa"])
def test_a_pair_is_pulled_with_its_tokenizer_and_used_when_the_hub_is_gone(
    kind, networked, made, monkeypatch, cli, photos
):
    there, asked, close = networked
    folder, how = a_pair(kind, there, made, monkeypatch)
    pulled = cli("models", "pull", "Small/own")
    assert pulled.code == 0, pulled.err
    assert ("some-base/tokenizer.json" in asked) == (kind != "CoCa")
    assert not any("open_clip_config" in one for one in asked)
    close()
    del asked[:]
    monkeypatch.setattr(registry, "offline_reason", lambda: "there is no network")
    own = Backbone("Small/own")
    assert {key: own.preprocess_settings[key] for key in how} == how
    ours = own.tower.encode_sentences(["a photo of a dog."])
    theirs = open_clip.create_model(f"local-dir:{folder}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(["a photo of a dog."])
    expected = theirs.encode_text(tokens, normalize=True).detach()
    torch.testing.assert_close(torch.nn.functional.normalize(ours, dim=-1), expected, atol=1e-5, rtol=0)
    learned = cli("learn", photos, "--name", "c", "--shots", 2, "--epochs", 1, "--model", "Small/own")
    assert learned.code == 0, learned.err
    for command in (("classify", photos, "--prompt", "c"), ("inspect", "c"), ("evaluate", "c", photos)):
        done = cli(*command)
        assert done.code == 0, (command, done.err)
    assert cli("check", "c").code == 0
    assert asked == []


def test_a_tokenizer_that_is_not_here_is_called_by_its_name(networked, made, monkeypatch, cli):
    there, asked, _ = networked
    a_pair("SigLIP", there, made, monkeypatch)
    assert cli("models", "pull", "Small/own").code == 0
    shutil.rmtree(made / "hub" / "models--some-base")
    del asked[:]
    monkeypatch.setattr(registry, "offline_reason", lambda: "there is no network")
    gone = cli("models", "pull", "Small/own")
    assert gone.code == 13
    assert gone.err.splitlines() == [
        "error: the tokenizer of 'Small/own' is not on this machine and there is no network",
        "hint:  where there is a network: promptctl models pull Small/own",
    ]
    assert asked == []


def test_a_tokenizer_that_nobody_has_is_found_out_before_the_weights(networked, made, monkeypatch, cli):
    there, asked, _ = networked
    a_pair("SigLIP", there, made, monkeypatch)
    shutil.rmtree(there / "some-base")
    gone = cli("models", "pull", "Small/own")
    assert (gone.code, "and 'some-base' holds none" in gone.err) == (13, True)
    assert not any(one.startswith("me/small") for one in asked)


@pytest.mark.parametrize("library", ["sentencepiece", "protobuf"])
def test_what_reads_a_tokenizer_is_asked_for_before_the_weights(library, networked, made, monkeypatch, cli):
    """As that of mT5 is stored: a SentencePiece file, which transformers alone cannot read."""
    there, asked, _ = networked
    a_pair("MetaCLIP 2, mT5", there, made, monkeypatch)
    (there / "some-base" / "tokenizer.json").rename(there / "some-base" / "spiece.model")
    lacking = {"sentencepiece": "sentencepiece", "protobuf": "google.protobuf"}[library]
    monkeypatch.setattr(text_files, "find_spec", lambda name: None if name == lacking else True)
    refused = cli("models", "pull", "Small/own")
    assert (refused.code, refused.err.splitlines()) == (
        1,
        [
            f"error: 'Small/own' needs the library {library}, which is not installed",
            "hint:  pip install 'promptctl[hf]'",
        ],
    )
    assert not any(one.startswith("me/small") for one in asked)


def test_the_extra_has_what_reads_a_tokenizer():
    (extra,) = re.findall(r"^hf = (\[.*?\])", (Path(__file__).parents[1] / "pyproject.toml").read_text(), re.MULTILINE)
    assert {re.split("[<>=]", one)[0] for one in json.loads(extra)} == {"transformers", *text_files._TO_READ_THEM}


def test_a_model_of_the_hub_brings_its_own_tokenizer(networked, made, monkeypatch, cli):
    there, asked, close = networked
    shutil.copytree(languages.build(made / "built", KINDS["SigLIP"]), there / "me" / "siglip")
    assert cli("models", "pull", "hf-hub:me/siglip").code == 0
    close()
    del asked[:]
    assert Backbone("hf-hub:me/siglip", fetch=False).tower.encode_sentences(["ein Eisvogel"]).shape == (1, 32)
    assert asked == []


def test_a_model_of_the_hub_whose_tokenizer_is_elsewhere_is_refused_before_its_weights(networked, made, cli):
    there, asked, _ = networked
    shutil.copytree(languages.build(made / "built", KINDS["SigLIP"]), there / "me" / "siglip")
    (there / "me" / "siglip" / "tokenizer.json").unlink()
    refused = cli("models", "pull", "hf-hub:me/siglip")
    assert refused.code == 1
    assert refused.err.splitlines()[0] == (
        "error: 'hf-hub:me/siglip' cannot learn a context: its tokenizer is not beside it: there is no tokenizer.json"
    )
    assert not any("model" in one.rpartition("/")[2] and "open_clip" in one for one in asked)


# --------------------------------------------------------------------------- folders that anybody may have written


@pytest.mark.parametrize(
    ("file", "settings", "reason"),
    [
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["x--y.Z", None]}}, "its tokenizer is not one of"),
        ("tokenizer_config.json", {"tokenizer_class": "TransfoXLTokenizer"}, "its tokenizer is not one of those known"),
        ("tokenizer_config.json", {"vocab_file": "/etc/passwd"}, "its tokenizer is not beside it"),
        ("config.json", {"auto_map": {"AutoModel": "x--y.Z"}}, "its config.json names a program"),
        ("config.json", {"model_type": "odd"}, "its text tower is of a kind that is not known here (odd)"),
        ("config.json", {"_attn_implementation": "a/b"}, "its config.json has a setting that is not known here (_attn"),
        ("config.json", {"quantization_config": {"a": 1}}, "its config.json has a setting that is not known here (q"),
        ("config.json", None, "its text tower is not beside it: there is no config.json"),
        ("tokenizer.json", None, "its tokenizer is not beside it: there is no tokenizer.json"),
        ("text_cfg", {"tokenizer_kwargs": {"trust_remote_code": True}}, "its tokenizer has"),
        ("text_cfg", {"tokenizer_kwargs": {"subfolder": "../.."}}, "its tokenizer has"),
        ("model_cfg", {"multimodal_cfg": {"hf_model_name": "x/y"}}, "its d"),
    ],
    ids=str,
)
def test_a_folder_is_read_as_data_alone(file, settings, reason, made, hub):
    folder = languages.build(made / "built", KINDS["XLM-RoBERTa"])
    path = folder / (file if file.endswith("json") else "open_clip_config.json")
    found = json.loads(path.read_text())
    part = {"text_cfg": lambda: found["model_cfg"]["text_cfg"], "model_cfg": lambda: found["model_cfg"]}
    if settings is None:
        path.unlink()
    else:
        part.get(file, lambda: found)().update(settings)
        path.write_text(json.dumps(found))
    with pytest.raises(UnsupportedBackbone) as refused:
        Backbone(f"local-dir:{folder}")
    assert str(refused.value).startswith(f"'local-dir:{folder}' cannot learn a context: {reason}")
    assert hub == []


def test_a_text_tower_is_run_in_full_precision_whatever_its_description_says(made):
    folder = languages.build(made / "built", KINDS["RoBERTa"])
    before = Backbone(f"local-dir:{folder}").id.fingerprint
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "torch_dtype": "float16", "dtype": "float16"}))
    after = Backbone(f"local-dir:{folder}")
    assert {tensor.dtype for tensor in after.model.state_dict().values() if tensor.is_floating_point()} == {
        torch.float32
    }
    assert after.id.fingerprint == before


@pytest.mark.parametrize("kind", ["XLM-RoBERTa", "NLLB", "mT5", "BERT", "RoBERTa", "SigLIP 2"])
def test_a_folder_with_all_that_is_needed_works_and_asks_for_nothing(kind, made, hub):
    """Whatever name its description has for the model it was made from."""
    folder = languages.build(made / "built", KINDS[kind])
    path = folder / "open_clip_config.json"
    found = json.loads(path.read_text())
    if "hf_model_name" in found["model_cfg"]["text_cfg"]:
        found["model_cfg"]["text_cfg"]["hf_model_name"] = "some/base"
    path.write_text(json.dumps(found))
    assert Backbone(f"local-dir:{folder}").tower.encode_sentences(["a dog", "翡翠"]).shape == (2, 32)
    assert hub == []
