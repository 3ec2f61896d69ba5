from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from conftest import TINY, build_clip
from huggingface_hub import constants

from promptctl.clip import network, registry
from promptctl.clip.backbone import Backbone, choose_device
from promptctl.encoding.torch import _in_full_precision
from promptctl.errors import BackboneError, UnknownBackbone, WeightsUnavailable


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty Hugging Face cache and home."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "hub"


def into_hub(hub: Path, repo: str, files: dict[str, Path]) -> Path:
    folder = hub / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    for name, path in files.items():
        shutil.copy(path, snapshot / name)
    return snapshot


def test_the_embedded_backbone_is_a_whole_clip():
    mini = Backbone("mini")
    assert (mini.id.name, mini.id.text_width, mini.id.joint_width) == ("mini", 512, 512)
    assert mini.logit_scale == pytest.approx(20, abs=0.01)
    assert (registry.MINI_FOLDER / "open_clip_model.safetensors").stat().st_size == registry.MINI_BYTES
    listed = next(r for r in registry.RECOMMENDED if r.name == "mini")
    assert listed.parameters == sum(p.numel() for p in mini.model.parameters())


def test_the_same_weights_are_the_same_backbone_wherever_they_lie(tiny_folder, tmp_path):
    copy = shutil.copytree(tiny_folder, tmp_path / "copy")
    assert Backbone(f"local-dir:{tiny_folder}").id.fingerprint == Backbone(f"local-dir:{copy}").id.fingerprint


def test_other_weights_or_other_preprocessing_are_another_backbone(tiny_folder, tmp_path):
    own = Backbone(f"local-dir:{tiny_folder}").id.fingerprint
    (tmp_path / "weights").mkdir()
    weights = Backbone(f"local-dir:{build_clip(tmp_path / 'weights', TINY, seed=1)}").id.fingerprint
    copy = shutil.copytree(tiny_folder, tmp_path / "copy")
    config = copy / "open_clip_config.json"
    config.write_text(config.read_text().replace("0.5, 0.5, 0.5", "0.4, 0.5, 0.5", 1))
    quick = shutil.copytree(tiny_folder, tmp_path / "quick")
    config = quick / "open_clip_config.json"
    config.write_text(config.read_text().replace('"embed_dim"', '"quick_gelu": true, "embed_dim"', 1))
    prints = [own, weights, *(Backbone(f"local-dir:{f}").id.fingerprint for f in (copy, quick))]
    assert len(set(prints)) == 4


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("ViT-B-16,openai", "ViT-B-16/openai"),
        ("ViT-B-16/openai", "ViT-B-16/openai"),
        ("hf-hub:org,repo", "hf-hub:org/repo"),
        ("mini", "mini"),
        ("local-dir:/a,b", "local-dir:/a,b"),
        (" local-dir:/a b ", "local-dir:/a b"),
    ],
)
def test_comma_and_slash_mean_the_same(typed, name):
    assert registry.parse(typed) == name


@pytest.mark.parametrize(
    ("name", "sentence", "hint"),
    [
        (
            "ViT-B-16/opnai",
            "no backbone named 'ViT-B-16/opnai': 'ViT-B-16' has no weights called 'opnai'",
            "did you mean 'ViT-B-16/openai'?",
        ),
        (
            "ViT-B16/openai",
            "no backbone named 'ViT-B16/openai'",
            "did you mean 'ViT-B-16/openai' or 'ViT-L-14/openai' or 'ViT-B-32/openai'?",
        ),
        (
            "ViT-L-14-336",
            "no backbone named 'ViT-L-14-336': it does not say which weights",
            "did you mean 'ViT-L-14-336/openai'?",
        ),
        (
            "ViT-S-32-alt",
            "no backbone named 'ViT-S-32-alt': open_clip has no weights of 'ViT-S-32-alt'",
            "--model ViT-S-32-alt:/path/weights.safetensors",
        ),
        (
            f"ViT-S-32-alt/{__file__}",
            f"no backbone named 'ViT-S-32-alt/{__file__}': open_clip has no weights of 'ViT-S-32-alt'",
            f"--model ViT-S-32-alt:{__file__}",
        ),
        ("minni", "no backbone named 'minni'", "did you mean 'mini'?"),
        ("zzz", "no backbone named 'zzz'", "promptctl models list"),
    ],
)
def test_unknown_names_get_near_misses(name, sentence, hint):
    with pytest.raises(UnknownBackbone) as refused:
        registry.locate(name)
    assert (str(refused.value), refused.value.hint) == (sentence, hint)


@pytest.mark.parametrize(
    ("name", "shown", "reason", "hint"),
    [
        ("", "", "", "promptctl models list"),
        ("hf-hub:", "hf-hub:", ": what follows hf-hub: is OWNER/NAME", None),
        ("hf-hub:a", "hf-hub:a", ": what follows hf-hub: is OWNER/NAME", None),
        ("hf-hub:a/b/c", "hf-hub:a/b/c", ": what follows hf-hub: is OWNER/NAME", None),
        ("hf-hub:../x", "hf-hub:../x", ": what follows hf-hub: is OWNER/NAME", None),
        ("hf-hub:a b/c", "hf-hub:a b/c", ": what follows hf-hub: is OWNER/NAME", None),
        ("hf-hub:a/b.git", "hf-hub:a/b.git", ": what follows hf-hub: is OWNER/NAME", None),
        ("hf-hub:a--b/c", "hf-hub:a--b/c", ": what follows hf-hub: is OWNER/NAME", None),
        ("hf-hub:-a/b", "hf-hub:-a/b", ": what follows hf-hub: is OWNER/NAME", None),
        ("hf-hub:é/b", "hf-hub:é/b", ": what follows hf-hub: is OWNER/NAME", None),
        ("local-dir:", "local-dir:", ": it does not say which folder", "--model local-dir:FOLDER"),
        ("a\nb", "a\\nb", ": no model has such a name", None),
        ("a\0b", "a\\x00b", ": no model has such a name", None),
        ("local-dir:a\udcffb", "local-dir:a\\udcffb", ": no model has such a name", None),
        ("x" * 10_000, "x" * 40 + "…", ": no model has such a name", None),
        ("/", "/", ": it is a folder", "--model local-dir:/"),
        ("a/b/c", "a/b/c", "", None),
        ("nowhere/" + "x" * 300, "nowhere/" + "x" * 300, "", None),
    ],
    ids=lambda value: str(ascii(value))[:20],
)
def test_names_that_are_none_are_a_sentence(name, shown, reason, hint):
    for look in (registry.locate, registry.ensure_available):
        with pytest.raises(UnknownBackbone) as refused:
            look(name)
        assert str(refused.value) == f"no backbone named '{shown}'{reason}"
        assert refused.value.hint == (hint or "promptctl models list")


def test_a_folder_without_its_prefix_is_told_the_prefix(tiny_folder, monkeypatch):
    monkeypatch.chdir(tiny_folder.parent)
    for typed in (str(tiny_folder), tiny_folder.name, f"./{tiny_folder.name}"):
        with pytest.raises(UnknownBackbone) as refused:
            registry.locate(typed)
        assert str(refused.value) == f"no backbone named '{typed}': it is a folder"
        assert refused.value.hint == f"--model local-dir:{tiny_folder}"


def test_a_local_folder_is_found_again_from_anywhere(tiny_folder, tmp_path, monkeypatch, cli, photos):
    monkeypatch.chdir(tiny_folder.parent)
    typed = f"local-dir:{tiny_folder.name}"
    assert cli("learn", photos, "--name", "c", "--shots", 2, "--epochs", 1, "--model", typed).code == 0
    monkeypatch.chdir(tmp_path)
    assert cli("classify", photos, "--prompt", "c").code == 0
    assert f"local-dir:{tiny_folder}" in cli("show", "c").out
    assert registry.parse("local-dir:a/../b") == f"local-dir:{tmp_path / 'b'}"


def test_a_local_folder_must_hold_a_model(tmp_path):
    with pytest.raises(UnknownBackbone) as refused:
        registry.locate(f"local-dir:{tmp_path}")
    assert (
        str(refused.value)
        == f"no backbone named 'local-dir:{tmp_path}': there is no open_clip_config.json in {tmp_path}"
    )
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(UnknownBackbone, match="there are no weights in"):
        registry.locate(f"local-dir:{tmp_path}")


def test_a_folder_that_was_moved_goes_on_where_it_is(tiny_folder, tmp_path, cli, photos):
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    assert cli("learn", photos, "--name", "c", "--shots", 2, "--epochs", 1, "--model", f"local-dir:{folder}").code == 0
    moved = folder.rename(tmp_path / "moved")
    gone = cli("evaluate", "c", photos)
    assert (gone.code, gone.err.splitlines()) == (
        1,
        [
            f"error: no backbone named 'local-dir:{folder}': there is no folder {folder}",
            "hint:  --model local-dir:/path/model, of learn or classify, says where it is",
        ],
    )
    more = cli("learn", photos, "--name", "c", "--shots", 3, "--epochs", 1, "--model", f"local-dir:{moved}")
    assert more.code == 0, more.err
    assert cli("evaluate", "c", photos).code == 0, "its name says where it is now"


def test_a_broken_local_model_is_one_sentence(tiny_folder, tmp_path):
    broken = shutil.copytree(tiny_folder, tmp_path / "broken")
    (broken / "open_clip_model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(BackboneError, match=f"'local-dir:{broken}' cannot be loaded: "):
        _ = Backbone(f"local-dir:{broken}").model


def test_offline_and_not_here_says_where_to_pull(no_network, hub):
    with pytest.raises(WeightsUnavailable) as refused:
        registry.locate("ViT-B-16/openai")
    assert str(refused.value) == "the weights of 'ViT-B-16/openai' are not on this machine and there is no network"
    assert refused.value.hint == "where there is a network: promptctl models pull ViT-B-16/openai"


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "PROMPTCTL_OFFLINE"])
def test_offline_by_choice_asks_nobody(variable, monkeypatch):
    def call(*_, **__):
        raise AssertionError("a connection was attempted")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket, "create_connection", call)
    monkeypatch.setenv(variable, "1")
    assert registry.offline_reason() == f"{variable} is set"


@pytest.fixture
def networked(monkeypatch):
    """A machine that nothing says is offline, with no proxy; what it calls is answered by the test."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for variable in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        for spelled in (variable, variable.upper()):
            monkeypatch.delenv(spelled, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://huggingface.co")

    def answer(call):
        monkeypatch.setattr(socket, "create_connection", lambda address, *_: call(*address))

    return answer


def test_silence_is_waited_for_and_called_by_its_name(networked, monkeypatch):
    monkeypatch.setattr(network, "_PATIENCE", 0.3)
    answered = threading.Event()
    networked(lambda *_: (answered.wait(30), socket.socket())[1])
    started = time.monotonic()
    assert registry.offline_reason() == "huggingface.co does not answer"
    assert 0.3 <= time.monotonic() - started < 25
    answered.set()


def test_a_slow_look_up_of_a_name_is_no_missing_network(networked):
    networked(lambda *_: (time.sleep(1.5), socket.socket())[1])
    assert registry.offline_reason() is None


def test_nothing_to_answer_is_told_at_once(networked, monkeypatch):
    def fail(*_):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    networked(fail)
    monkeypatch.setattr(network, "_PATIENCE", 60)
    started = time.monotonic()
    assert registry.offline_reason() == "there is no network"
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("environment", "called"),
    [
        ({}, [("huggingface.co", 443)]),
        ({"HTTPS_PROXY": "http://proxy:3128"}, [("proxy", 3128)]),
        ({"https_proxy": "http://proxy:3128/"}, [("proxy", 3128)]),
        ({"HTTPS_PROXY": "proxy:3128"}, [("proxy", 3128)]),
        ({"HTTPS_PROXY": "proxy"}, [("proxy", 80)]),
        ({"HTTPS_PROXY": "https://proxy"}, [("proxy", 443)]),
        ({"ALL_PROXY": "socks5h://proxy"}, [("proxy", 1080)]),
        ({"all_proxy": "http://me:secret@proxy:8080"}, [("proxy", 8080)]),
        ({"HTTPS_PROXY": "http://one:1", "ALL_PROXY": "http://two:2"}, [("one", 1)]),
        ({"HTTPS_PROXY": "", "ALL_PROXY": "http://two:2"}, [("two", 2)]),
        ({"HTTP_PROXY": "http://one:1"}, [("huggingface.co", 443)]),
        ({"HTTPS_PROXY": "http://[::1]:3128"}, [("::1", 3128)]),
        ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "*"}, [("huggingface.co", 443)]),
        ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "localhost"}, [("huggingface.co", 443), ("proxy", 1)]),
        ({"HTTPS_PROXY": "http://proxy:here"}, []),
        ({"HTTPS_PROXY": "http://"}, []),
        ({"HTTPS_PROXY": "http://a..b"}, []),
    ],
    ids=str,
)
def test_the_way_of_a_download_is_called(networked, monkeypatch, environment, called):
    calls = []

    def refuse(host, port):
        calls.append((host, port))
        raise ConnectionRefusedError(111, "Connection refused")

    networked(refuse)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    reason = registry.offline_reason()
    assert sorted(calls) == called
    proxies = [f"the proxy {host}:{port}" for host, port in calls if host != "huggingface.co"]
    if not called:
        assert reason is None, "what cannot be called is the download's to complain of"
    elif proxies:
        assert reason == f"{proxies[0]} cannot be reached (connection refused)"
    else:
        assert reason == "there is no network"


@pytest.mark.parametrize(
    "name, error",
    [
        ("ViT-B-16/openai", "WeightsUnavailable"),
        ("hf-hub:other/repo", "WeightsUnavailable"),
        ("ViT-B16/openai", "UnknownBackbone"),
    ],
)
def test_what_cannot_be_had_is_told_without_torch(name, error, tmp_path, tiny_folder):
    into_hub(tmp_path / "hf" / "hub", "me/tiny", {p.name: p for p in tiny_folder.iterdir()})
    code = (
        "import sys, promptctl.clip.registry as m\n"
        f"try: m.ensure_available('{name}')\n"
        "except Exception as e: print(type(e).__name__, m.on_this_machine(), 'torch' in sys.modules)"
    )
    environment = {"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{error} ('hf-hub:me/tiny',) False\n"


def test_the_table_read_without_open_clip_is_open_clips():
    code = (
        "import promptctl.clip.architectures as m\n"
        "bare = {n: m.table().get_pretrained_cfg(*n) for n in m.table().list_pretrained()}\n"
        "import safetensors.torch\n"
        "from open_clip.pretrained import get_pretrained_cfg, list_pretrained\n"
        "print(bare == {n: get_pretrained_cfg(*n) for n in list_pretrained()}, m.table().__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True _open_clip_table.pretrained\n"


class Hub(BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as a download needs: /owner/repo/resolve/revision/file."""

    folder: Path  # owner/repo/file

    def do_GET(self):
        _, owner, repo, *rest = self.path.split("/")
        file = self.folder / owner / repo / rest[-1]
        found = file.is_file() and rest[0] == "resolve"
        self.send_response(200 if found else 404)
        headers = {"ETag": f'"{file.name}"', "X-Repo-Commit": "c" * 40} if found else {"X-Error-Code": "EntryNotFound"}
        for name, value in {**headers, "Content-Length": file.stat().st_size if found else 0}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if found and self.command == "GET":
            self.wfile.write(file.read_bytes())

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def test_a_model_is_pulled_from_a_hub_and_used_when_the_hub_is_gone(tmp_path, tiny_folder, photos):
    shutil.copytree(tiny_folder, tmp_path / "hub" / "me" / "tiny")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("TheHub", (Hub,), {"folder": tmp_path / "hub"}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        "HOME": str(tmp_path),
        "PATH": "/usr/bin",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "PROMPTCTL_HOME": str(tmp_path / "home"),
    }

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "promptctl", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    pulled = run("models", "pull", "hf-hub:me/tiny")
    assert pulled.returncode == 0, pulled.stderr
    assert pulled.stdout.startswith(f"hf-hub:me/tiny is on this machine: {tmp_path / 'hf'}")
    missing = run("models", "pull", "hf-hub:me/none")
    assert (missing.returncode, missing.stderr[:46]) == (1, "error: no backbone named 'hf-hub:me/none': 404")
    server.shutdown()
    server.server_close()
    learned = run("learn", photos, "--name", "c", "--shots", 2, "--epochs", 1, "--model", "hf-hub:me/tiny")
    assert learned.returncode == 0, learned.stderr
    gone = run("models", "pull", "hf-hub:me/other")
    assert gone.returncode == 13
    assert gone.stderr.splitlines() == [
        "error: the weights of 'hf-hub:me/other' are not on this machine and there is no network",
        "hint:  where there is a network: promptctl models pull hf-hub:me/other",
    ]


def test_what_is_in_the_hub_cache_is_found_without_a_network(no_network, hub, tiny_folder):
    weights = tiny_folder / "open_clip_model.safetensors"
    by_tag = into_hub(hub, "timm/vit_base_patch16_clip_224.openai", {"open_clip_model.safetensors": weights})
    whole = into_hub(hub, "me/tiny", {p.name: p for p in (weights, tiny_folder / "open_clip_config.json")})
    assert registry.on_this_machine() == ("ViT-B-16/openai", "hf-hub:me/tiny")
    found = registry.locate("ViT-B-16/openai")
    assert found.pretrained == str(by_tag / weights.name)
    assert found.quick_gelu, "OpenAI's weights were trained with QuickGELU"
    assert dict(found.preprocess)["mean"] == (0.48145466, 0.4578275, 0.40821073)
    assert registry.locate("hf-hub:me/tiny").model == f"local-dir:{whole}"
    assert Backbone("hf-hub:me/tiny").id.fingerprint == Backbone(f"local-dir:{tiny_folder}").id.fingerprint


def test_a_tag_is_called_as_open_clip_has_it(no_network, hub, tiny_folder):
    """Which takes capitals and other dashes too; a context has one name for it."""
    cfg = open_clip.pretrained.get_pretrained_cfg("ViT-B-32", "laion2b_s34b_b79k")
    weights = tiny_folder / "open_clip_model.safetensors"
    into_hub(hub, cfg["hf_hub"].rpartition("/")[0], {"open_clip_model.safetensors": weights})
    assert registry.locate("ViT-B-32/LAION2B-s34b-b79k").name == "ViT-B-32/laion2b_s34b_b79k"


@pytest.mark.parametrize("name", ["ViT-B-32/openai", "ViT-B-16/openai", "RN50/openai"])
def test_openai_tags_load_with_quick_gelu(name, no_network, hub, tmp_path):
    """Random weights under the tag's own file name, loaded the way downloaded ones are."""
    model, _, _tag = name.partition("/")
    cfg = open_clip.pretrained.get_pretrained_cfg(model, "openai")
    torch.save(open_clip.create_model(model, load_weights=False).state_dict(), tmp_path / "weights.bin")
    into_hub(hub, cfg["hf_hub"].rpartition("/")[0], {"open_clip_pytorch_model.bin": tmp_path / "weights.bin"})
    loaded = Backbone(name, device="cpu").model
    activations = {type(block.mlp.gelu).__name__ for block in loaded.transformer.resblocks}
    assert activations == {"QuickGELU"}


def test_the_pictures_layout_does_not_change_the_features(tiny_folder):
    backbone = Backbone(f"local-dir:{tiny_folder}")
    plain = open_clip.create_model(f"local-dir:{tiny_folder}").eval()
    pictures = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        expected = plain.encode_image(pictures, normalize=True).numpy()
    assert abs(backbone.encoder.encode(pictures.numpy()) - expected).max() < 1e-6


def test_a_gpus_convolutions_are_in_float32_while_a_tower_runs():
    before = torch.backends.cudnn.allow_tf32
    with _in_full_precision(torch.device("cuda")):
        assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.enabled
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_a_gpu_gives_the_features_of_the_processor():
    on_gpu, on_cpu = (Backbone("mini", device).encoder for device in ("cuda", "cpu"))
    pixels = np.random.default_rng(0).normal(size=(4, 3, on_cpu.size, on_cpu.size)).astype(np.float32)
    np.testing.assert_allclose(on_gpu.encode(pixels), on_cpu.encode(pixels), rtol=0, atol=2e-6)


def test_a_device_that_is_not_here_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(BackboneError) as refused:
        choose_device("cuda")
    assert (str(refused.value), refused.value.hint) == ("this machine or this torch has no 'cuda'", "--device auto")
    assert choose_device("auto") in ("cpu", "mps")
