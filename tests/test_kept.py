"""What is kept of a backbone answers as PyTorch does, and where PyTorch is not installed."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, build_clip, full_disk, paint
from PIL import Image
from test_context import make, unit

import promptctl
from promptctl.clip import keeping, kept
from promptctl.clip.backbone import Backbone
from promptctl.clip.registry import MINI_FOLDER
from promptctl.clip.stored import StoredTensor, stored_tensors
from promptctl.context.card import ClassEntry
from promptctl.encoding import preprocess
from promptctl.encoding.openvino import OpenVinoEncoder
from promptctl.errors import BackboneError
from promptctl.store.store import Store

pytest.importorskip("openvino")

RECIPE = Path(__file__).parents[1] / "promptctl" / "mini" / "recipe"  # of the repository; it is not installed
LIBRARIES = ("torch", "open_clip", "torchvision", "timm", "sklearn")
# as if they were not installed: neither found nor imported
WITHOUT = f"""
import sys
from importlib.machinery import PathFinder

class Without:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in {LIBRARIES} else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""
COMMANDS = f"""
import contextlib, io, json, sys
from promptctl.cli.main import main
for line in json.loads(sys.argv[1]):
    sys.argv, out, err, code = ["promptctl", *line], io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stopped:
            code = stopped.code or 0
    imported = [name for name in {LIBRARIES} if name in sys.modules]
    print(json.dumps([code, out.getvalue(), err.getvalue(), imported]))
"""


@dataclass(frozen=True)
class Done:
    line: tuple[str, ...]
    code: int
    out: str
    err: str
    imported: list[str]  # of LIBRARIES, by then


def run(*lines: tuple[str, ...], installed: bool = False) -> list[Done]:
    """Command lines, one after the other in a fresh interpreter."""
    script = COMMANDS if installed else WITHOUT + COMMANDS
    done = subprocess.run([sys.executable, "-c", script, json.dumps(lines)], capture_output=True, text=True, check=True)
    return [Done(line, *json.loads(told)) for line, told in zip(lines, done.stdout.splitlines(), strict=True)]


def learned(name: str, backbone: Backbone, *, labels: tuple[str, ...] = ("blue", "green", "red")) -> None:
    """A context in the store, as if it had been learned."""
    context = make(len(labels), width=backbone.id.text_width, joint=backbone.id.joint_width)
    classes = tuple(ClassEntry(i, label, label) for i, label in enumerate(labels))
    card = dataclasses.replace(context.card, backbone=backbone.id, classes=classes)
    Store().save(name, dataclasses.replace(context, card=card).to_bytes(), new=True)


@pytest.fixture(scope="module")
def mini() -> Backbone:
    return Backbone("mini", "cpu")


@pytest.fixture
def tiny_backbone(tiny_folder: Path, tmp_path: Path) -> Backbone:
    """A copy of the tiny CLIP, which may be damaged."""
    shutil.copytree(tiny_folder, tmp_path / "clip")
    return Backbone(f"local-dir:{tmp_path / 'clip'}", "cpu")


def noise(n: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 3, size, size)).astype(np.float32)


def never() -> OpenVinoEncoder:
    raise AssertionError("what is kept does not answer")


def farthest(a: np.ndarray, b: np.ndarray) -> float:
    return float(1 - (unit(a.astype(np.float64)) * unit(b.astype(np.float64))).sum(1).min())


INSPECT = ("inspect", "colours", "--json")
CLASSIFY = ("classify", "photos", "--prompt", "colours", "--json")
ANSWERS = (
    CLASSIFY,
    ("classify", "photos", "--prompt", "colours", "--blend", "0.5"),
    ("evaluate", "colours", "photos"),
    ("inspect", "colours"),
    ("diff", "colours", "again"),
    ("check",),
    ("list",),
    ("show", "colours"),
    ("log", "colours"),
    ("copy", "colours", "third"),
    ("rename", "third", "fourth"),
    ("remove", "fourth", "--yes"),
    ("restore", "fourth"),
    ("export", "colours", "colours.safetensors"),
    ("import", "colours.safetensors", "--name", "fifth"),
    ("path", "colours"),
    ("gc",),
    ("cache", "info"),
)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "photos", images=2)
    return tmp_path


def test_mini_answers_where_pytorch_is_not_installed_from_a_fresh_home(mini, here):
    learned("colours", mini)
    learned("again", mini)
    for done in run(*ANSWERS, ("cache", "clear"), CLASSIFY):
        assert done.code == 0, done


def test_without_pytorch_other_classes_are_left_out_and_a_blend_is_not_chosen(mini, here):
    learned("colours", mini)
    paint(here / "photos", images=2, colours={"zebra": (9, 9, 9)})
    measured, chosen = run(("evaluate", "colours", "photos", "--json"), (*CLASSIFY, "--blend", "auto"))
    assert measured.code == 3, measured
    assert json.loads(measured.out)["images"] == 6
    assert "'zebra' is not a class of colours@1" in measured.err
    assert chosen.code == 1
    assert chosen.err.startswith("error: 'mini' cannot be loaded: ")


def test_what_needs_pytorch_says_so_where_it_is_not_installed(mini, here, cli):
    learned("colours", mini)
    assert cli("export", "colours", "model.pth", "--as", "coop").code == 0
    model = ("--model", "mini")
    lines = (("learn", "photos", "--name", "x"), ("compare", "photos", "--shots", "1"), ("encode", "photos", "x.npz"))
    from_pth = ("import", "model.pth", "--name", "x")
    for done in run(*((*line, *model) for line in (*lines, from_pth))):
        sentence, hint = done.err.splitlines()
        assert (done.code, done.out) == (1, "")
        assert re.fullmatch(r"error: 'mini' cannot be loaded: (torch|open_clip) is not installed", sentence)
        assert hint == "hint:  pip install torch torchvision open_clip_torch"


def test_a_backbone_that_was_used_answers_where_pytorch_is_not_installed(tiny_backbone, here):
    learned("colours", tiny_backbone)
    learned("again", tiny_backbone)
    (refused,) = run(CLASSIFY)
    assert refused.code == 1
    assert refused.err.startswith(f"error: '{tiny_backbone.name}' cannot be loaded: open_clip is not installed\nhint: ")
    (by_torch,) = run(CLASSIFY, installed=True)
    assert by_torch.imported
    (here / "home" / "cache" / "features.sqlite").unlink()
    classified, *others = run(*ANSWERS)
    for done in (classified, *others):
        assert done.code == 0, done
    for row, other in zip(*(json.loads(text)["images"] for text in (by_torch.out, classified.out)), strict=True):
        for guess, same in zip(row["top"], other["top"], strict=True):
            assert guess["label"] == same["label"]
            assert guess["probability"] == pytest.approx(same["probability"], abs=1e-5)


def test_where_pytorch_is_installed_it_is_not_imported_to_answer(mini, here):
    learned("colours", mini)
    learned("again", mini)
    Store().save("before", (Path(__file__).parent / "golden" / "mini-before.safetensors").read_bytes(), new=True)
    before, *answers = run(("check", "before"), ("remove", "before", "--yes"), *ANSWERS, installed=True)
    assert (before.code, before.imported) == (12, [])
    for done in answers:
        assert done.code == 0 and done.imported == [], done


@pytest.mark.parametrize("took_long", [True, False])
def test_learning_that_took_long_keeps_the_backbone_for_answers(took_long, tiny_backbone, here, cli, monkeypatch):
    monkeypatch.setattr(import_module("promptctl.commands.learn"), "_LONG", 0 if took_long else 1000)
    learn = ("learn", "photos", "--name", "colours", "--shots", "1", "--epochs", "1", "--model", tiny_backbone.name)
    assert cli(*learn).code == 0
    assert (kept.find(tiny_backbone.id.fingerprint) is not None) == took_long


# --------------------------------------------------------------------------- the same as PyTorch


def test_kept_features_are_pytorchs(mini, tiny_backbone):
    for backbone in (mini, tiny_backbone):
        encoder = keeping.keep(backbone).encoder(never)
        picture = next(iter(pictures()))
        np.testing.assert_allclose(encoder.preprocess(picture), backbone.transform(picture).numpy(), atol=1e-6)
        for n in (1, 7):
            pixels = noise(n, encoder.size)
            found, wanted = encoder.encode(pixels), backbone.encoder.encode(pixels)
            assert found.dtype == np.float32 and found.shape == (n, encoder.width)
            np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
            assert farthest(found, wanted) < 1e-6


def pictures():
    chance = np.random.default_rng(0)
    for width, height in ((50, 70), (301, 40), (8, 8)):
        yield Image.fromarray(chance.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_kept_words_are_the_tokenizers(mini, tiny_backbone):
    for backbone in (mini, tiny_backbone):
        found, wanted = keeping.keep(backbone).vocabulary(), backbone.vocabulary
        assert list(found.words) == list(wanted.words)
        assert found.special == wanted.special
        for part in ((0, 50), (49_000, 49_408)):
            np.testing.assert_array_equal(found.rows(*part), wanted.rows(*part))


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [(torch.float32, "F32"), (torch.float16, "F16"), (torch.bfloat16, "BF16"), (torch.float8_e4m3fn, "F8_E4M3")],
)
def test_stored_tensors_are_read_as_pytorch_reads_them(dtype, stored, tmp_path):
    from safetensors.torch import save_file

    numbers = torch.arange(256, dtype=torch.uint8).repeat(4).view(dtype).reshape(4, -1)
    save_file({"a": torch.ones(3), "b": numbers, "c": torch.ones(2, dtype=torch.int64)}, tmp_path / "x.safetensors")
    tensors = stored_tensors(tmp_path / "x.safetensors")
    assert tensors.keys() == {"a", "b"} and tensors["b"].dtype == stored
    found = tensors["b"].read(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(found, numbers.float().numpy())
    np.testing.assert_array_equal(tensors["b"].rows(1, 3).read(tmp_path / "x.safetensors"), found[1:3])
    with pytest.raises(ValueError, match="cut off"):
        StoredTensor(10, "F32", (1000,)).read(tmp_path / "x.safetensors")


# --------------------------------------------------------------------------- what mini brings along


def test_what_mini_brings_along_is_what_is_translated_now(mini):
    sys.path.insert(0, str(RECIPE))
    try:
        from answers import shipped  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    facts, parts = shipped()
    with zipfile.ZipFile(kept.SHIPPED) as archive:
        told = {name: archive.read(name) for name in archive.namelist()}
    of_tower = {"tower"}  # another PyTorch or OpenVINO may write the same tower in another way
    now = json.loads(json.dumps({name: value for name, value in facts.items() if name not in of_tower}))
    assert {name: value for name, value in json.loads(told["facts.json"]).items() if name not in of_tower} == now
    assert json.loads(told["words.json"]) == json.loads(parts["words.json"])
    encoder = kept.find(mini.id.fingerprint).encoder(never)
    pixels = np.stack([encoder.preprocess(picture) for picture in pictures()])
    with torch.inference_mode():
        wanted = mini.visual(torch.from_numpy(pixels)).numpy()
    assert farthest(encoder.encode(pixels), wanted) < 1e-6


def test_mini_is_not_shipped_twice():
    assert kept.SHIPPED.stat().st_size < 400_000


def test_weights_that_are_not_minis_are_not_taken_for_it(mini, tmp_path, monkeypatch):
    shutil.copytree(MINI_FOLDER, tmp_path / "mini")
    weights = tmp_path / "mini" / "open_clip_model.safetensors"
    monkeypatch.setattr(kept, "MINI_FOLDER", tmp_path / "mini")
    assert kept.find(mini.id.fingerprint) is not None
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert kept.find(mini.id.fingerprint) is None


def test_mini_is_looked_at_once_and_then_known_by_its_time(mini, monkeypatch):
    assert kept.find(mini.id.fingerprint).path.is_relative_to(os.environ["PROMPTCTL_HOME"])
    monkeypatch.setattr(kept, "digests", lambda _: pytest.fail("looked at again"))
    assert kept.find(mini.id.fingerprint) is not None


def test_mini_answers_where_nothing_can_be_kept(mini, home):
    home.write_text("no folder")
    found = kept.find(mini.id.fingerprint)
    assert found.path == kept.SHIPPED
    assert found.encoder(never).encode(noise(1, 224)).shape == (1, 512)


# --------------------------------------------------------------------------- when it is believed


def test_changed_weights_are_not_believed(tiny_backbone):
    assert keeping.keep(tiny_backbone) is not None
    fingerprint, place = tiny_backbone.id.fingerprint, tiny_backbone.where.place
    assert kept.find(fingerprint) is not None
    for change in (_touch, _grow, _replace, _join, _reconfigure, _take_away):
        keeping.keep(tiny_backbone)
        before = {path: (path.read_bytes(), path.stat()) for path in place.iterdir()}
        change(place / "open_clip_model.safetensors")
        assert kept.find(fingerprint) is None, change
        shutil.rmtree(place)
        place.mkdir()
        for path, (data, _) in before.items():
            path.write_bytes(data)
        del tiny_backbone.files
        assert kept.find(fingerprint) is None, "the same bytes at another time are looked at again"


def _touch(weights: Path) -> None:
    os.utime(weights, ns=(1, weights.stat().st_mtime_ns + 1))


def _grow(weights: Path) -> None:
    before = weights.stat()
    weights.write_bytes(weights.read_bytes() + b" ")
    os.utime(weights, ns=(before.st_mtime_ns, before.st_mtime_ns))


def _replace(weights: Path) -> None:
    """By a file of the same size and time."""
    before = weights.stat()
    other = weights.with_suffix(".other")
    other.write_bytes(weights.read_bytes()[::-1])
    os.utime(other, ns=(before.st_mtime_ns, before.st_mtime_ns))
    other.replace(weights)


def _join(weights: Path) -> None:
    """By a file that open_clip may prefer."""
    weights.with_name("a.safetensors").write_bytes(b"")


def _reconfigure(weights: Path) -> None:
    config = weights.with_name("open_clip_config.json")
    config.write_text(config.read_text().replace("bicubic", "bilinear"))


def _take_away(weights: Path) -> None:
    weights.unlink()


def test_a_damaged_file_is_not_believed_and_made_again(tiny_backbone):
    path = keeping.keep(tiny_backbone).path
    whole = path.read_bytes()
    damaged = [b"", whole[:-10], whole[: len(whole) // 2], b"x" * 100, whole[:3000] + b"x" + whole[3001:]]
    for data in (*damaged, _with_facts(whole, layout=0), _with_facts(whole, files=7)):
        path.write_bytes(data)
        assert kept.find(tiny_backbone.id.fingerprint) is None
    assert keeping.keep(tiny_backbone).path == path
    assert kept.find(tiny_backbone.id.fingerprint) is not None


def _with_facts(data: bytes, others: Mapping[str, bytes] | None = None, **changes: object) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {**{name: archive.read(name) for name in archive.namelist()}, **(others or {})}
    parts["facts.json"] = json.dumps({**json.loads(parts["facts.json"]), **changes}).encode()
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return written.getvalue()


@pytest.mark.parametrize("change", [{"openvino": "2025.0"}, {"tower": {"n_bytes": 8, "stored": [], "kept": []}}])
def test_a_tower_that_does_not_run_gives_way_to_pytorch_and_is_forgotten(change, tiny_backbone, here, cli):
    learned("colours", tiny_backbone)
    path = keeping.keep(tiny_backbone).path
    first = cli(*CLASSIFY)
    path.write_bytes(_with_facts(path.read_bytes(), **change))
    (here / "home" / "cache" / "features.sqlite").unlink()
    again = cli(*CLASSIFY)
    assert again.code == 0 and json.loads(again.out)["images"][0]["top"][0] == pytest.approx(
        json.loads(first.out)["images"][0]["top"][0]
    )
    assert not path.exists()


_NO_INPUT = b"<?xml version='1.0'?><net name='x' version='11'><layers/><edges/></net>"


@pytest.mark.parametrize(
    ("line", "facts", "parts"),
    [
        (CLASSIFY, {"place": 7}, {}),
        (CLASSIFY, {"preprocess": {"size": 224}}, {}),
        (CLASSIFY, {}, {"tower.xml": _NO_INPUT}),
        (INSPECT, {"tokens": [1 << 60, "F32", [1, 1]]}, {}),
        (INSPECT, {"special": [1 << 40]}, {}),
        (INSPECT, {}, {"words.json": b'["a", 7]'}),
    ],
    ids=["no place", "no preprocessing", "no input", "no vectors", "no token", "no words"],
)
def test_whatever_a_kept_file_says_there_is_an_answer(line, facts, parts, tiny_backbone, here, cli):
    learned("colours", tiny_backbone)
    path = keeping.keep(tiny_backbone).path
    before = cli(*line)
    shutil.rmtree(here / "home" / "cache", ignore_errors=True)
    path = keeping.keep(tiny_backbone).path
    path.write_bytes(_with_facts(path.read_bytes(), parts, **facts))
    found = cli(*line)
    assert (found.code, _rounded(found.out)) == (0, _rounded(before.out))


def test_what_is_kept_of_weights_elsewhere_is_not_believed(tiny_backbone):
    path = keeping.keep(tiny_backbone).path
    path.write_bytes(_with_facts(path.read_bytes(), weights="/dev/zero"))  # which has no end
    assert kept.find(tiny_backbone.id.fingerprint) is None


def _rounded(text: str) -> str:
    return re.sub(r"(\d\.\d{4})\d+", r"\1", text)


def test_no_part_of_a_kept_file_is_unpacked_beyond_its_bounds(tiny_backbone, monkeypatch):
    path = keeping.keep(tiny_backbone).path
    path.write_bytes(_with_facts(path.read_bytes(), {"words.json": b" " * 1000}))
    assert kept.find(tiny_backbone.id.fingerprint) is not None
    monkeypatch.setattr(kept, "_LARGEST", 999)
    assert kept.find(tiny_backbone.id.fingerprint) is None


def test_a_tower_that_cannot_be_translated_is_left_to_pytorch_and_its_words_are_kept(tiny_backbone, here, monkeypatch):
    monkeypatch.setattr(keeping, "translated", lambda *_: (_ for _ in ()).throw(RuntimeError("an operation")))
    found = keeping.keep(tiny_backbone)
    assert found.encoder(never) is None
    assert len(found.vocabulary().words) == TINY["text_cfg"]["vocab_size"]
    monkeypatch.setattr(keeping, "described", lambda _: pytest.fail("tried in vain again"))
    assert keeping.keep(tiny_backbone) is not None


@pytest.mark.parametrize("fault", ["other pixels", "other features"])
def test_what_is_not_the_same_is_left_to_pytorch(fault, tiny_backbone, monkeypatch):
    if fault == "other pixels":
        monkeypatch.setitem(preprocess._FILTERS, "bicubic", Image.Resampling.BILINEAR)
    else:
        monkeypatch.setattr(keeping, "program_of", lambda *_: lambda pixels: pixels[:, 0, 0, :])
    assert keeping.keep(tiny_backbone).encoder(never) is None


def test_weights_of_another_format_are_kept_whole(tiny_backbone):
    place = tiny_backbone.where.place
    state = tiny_backbone.model.state_dict()
    (place / "open_clip_model.safetensors").unlink()
    torch.save(state, place / "open_clip_pytorch_model.bin")
    again = Backbone(tiny_backbone.name, "cpu")
    assert again.id.fingerprint == tiny_backbone.id.fingerprint
    found = keeping.keep(again)
    pixels = noise(3, 32)
    assert farthest(found.encoder(never).encode(pixels), again.encoder.encode(pixels)) < 1e-6
    np.testing.assert_array_equal(found.vocabulary().rows(5, 9), again.vocabulary.rows(5, 9))


def test_weights_that_are_touched_while_they_are_loaded_are_not_kept(tiny_backbone):
    assert tiny_backbone.id
    os.utime(tiny_backbone.where.place / "open_clip_model.safetensors")
    assert keeping.keep(tiny_backbone) is None


def test_the_weights_are_not_kept_twice(tiny_backbone):
    facts = keeping.keep(tiny_backbone).facts
    assert sum(n_bytes for *_, n_bytes in facts["tower"]["kept"]) < 20_000
    assert facts["tokens"] is not None


def test_on_a_full_disk_nothing_is_kept(tiny_backbone, home):
    with full_disk():
        assert keeping.keep(tiny_backbone) is None
    assert kept.find(tiny_backbone.id.fingerprint) is None
    assert not list((home / "cache").glob("backbones/*"))


def test_keeping_one_forgets_those_whose_weights_have_gone(tiny_backbone, tmp_path):
    keeping.keep(tiny_backbone)
    other = Backbone(f"local-dir:{build_clip(_folder(tmp_path / 'other'), TINY, seed=1)}", "cpu")
    shutil.rmtree(tiny_backbone.where.place)
    keeping.keep(other)
    assert [path.stem for path in (tmp_path / "home" / "cache" / "backbones").iterdir()] == [other.id.fingerprint]


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


# --------------------------------------------------------------------------- which backbone is meant


def test_a_context_that_is_of_another_width_than_its_backbone_is_refused(tiny_backbone, here, cli):
    keeping.keep(tiny_backbone)
    context = make(width=tiny_backbone.id.text_width, joint=7)
    card = dataclasses.replace(context.card, backbone=dataclasses.replace(tiny_backbone.id, joint_width=7))
    Store().save("odd", dataclasses.replace(context, card=card).to_bytes(), new=True)
    refused = cli("classify", "photos", "--prompt", "odd")
    assert refused.code == 1 and "was learned on other weights or preprocessing" in refused.err


def test_a_typed_model_that_is_another_is_refused_as_ever(tiny_backbone, here, cli):
    learned("colours", tiny_backbone)
    keeping.keep(tiny_backbone)
    refused = cli(*CLASSIFY, "--model", "mini")
    assert refused.code == 1 and "was learned on other weights or preprocessing" in refused.err


def test_a_typed_model_that_is_the_kept_one_needs_no_pytorch(tiny_backbone, here):
    learned("colours", tiny_backbone)
    keeping.keep(tiny_backbone)
    typed = f"local-dir:{tiny_backbone.where.place}/../clip"
    for done in run((*CLASSIFY, "--model", tiny_backbone.name), (*CLASSIFY, "--model", typed)):
        assert done.code == 0, done


def test_a_fingerprint_that_is_a_path_is_no_fingerprint(tmp_path):
    (tmp_path / "home" / "cache").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "home" / "cache" / "x.zip", "w") as archive:
        archive.writestr("facts.json", "{}")
    assert kept.find("../x") is None


# --------------------------------------------------------------------------- where it is computed


def test_no_command_takes_another_device_than_was_asked(mini, here, cli):
    missing = "mps" if torch.cuda.is_available() else "cuda"
    sentence = f"this machine or this torch has no '{missing}'"
    learned("colours", mini)
    for command in (
        CLASSIFY,
        ("classify", "photos", "--words", "red, green"),
        ("evaluate", "colours", "photos"),
        ("encode", "photos", "features.npz"),
        ("learn", "photos", "--name", "fresh"),
        ("compare", "photos"),
    ):
        refused = cli(*command, "--device", missing)
        assert (refused.code, refused.err.splitlines()[0]) == (1, f"error: {sentence}"), command
    for ask in (
        lambda: promptctl.load("colours", device=missing).classify("photos/red/0.png"),
        lambda: promptctl.inspect("colours", device=missing),
    ):
        with pytest.raises(BackboneError, match=sentence):
            ask()


def test_where_a_gpu_seems_to_be_pytorch_is_asked(mini, here, monkeypatch):
    from promptctl.clip import device
    from promptctl.commands.backbones import load_encoder_for
    from promptctl.context.context import Context
    from promptctl.encoding.torch import TorchEncoder

    learned("colours", mini)
    context = Context.load(Store().entries()[0].path)
    (here / "driver").write_text("")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(device, "_OF_DRIVERS", (str(here / "driver"),))
    large = dataclasses.replace(context.card.backbone, name=f"local-dir:{MINI_FOLDER}")  # than mini, by its name
    other = dataclasses.replace(context, card=dataclasses.replace(context.card, backbone=large))
    assert isinstance(load_encoder_for(other, "colours", None, "auto"), TorchEncoder)
    assert isinstance(load_encoder_for(other, "colours", None, "cpu"), OpenVinoEncoder)
    assert isinstance(load_encoder_for(context, "colours", None, "auto"), OpenVinoEncoder), "it has answered by then"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert isinstance(load_encoder_for(other, "colours", None, "auto"), OpenVinoEncoder)
    assert isinstance(load_encoder_for(context, "colours", None, "auto"), OpenVinoEncoder)
