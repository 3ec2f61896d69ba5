"""Visual tokens: learned in the image tower of a tiny ViT, kept in the file, and used wherever its context answers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import paint

import promptctl
from promptctl.classification.blend import as_kept
from promptctl.classification.calibration import OwnPhotos
from promptctl.classification.classifier import Classifier
from promptctl.classification.references import unit
from promptctl.clip.backbone import Backbone
from promptctl.clip.image_tower import ImageTower, encoder_with
from promptctl.commands.update import _grouped
from promptctl.commands.versions import answering
from promptctl.context import limits
from promptctl.context.card import KEY, Shots, fingerprint_with, seal, verify_seal
from promptctl.context.context import UNSCORED, Context, ShotTable
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.pipeline import encode_files
from promptctl.errors import BadSetting, CorruptContext, LearningFailed, NoVisualTokens, TokensClash
from promptctl.learners import unfinished, visual
from promptctl.learners.settings import LearnSettings
from promptctl.learners.training import warm_cosine_rate
from promptctl.store.store import Store

SHAPE = (2, 3)  # D, T


@pytest.fixture(scope="session")
def learned(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A context of each kind on the same photos, learned once."""
    folder = tmp_path_factory.mktemp("visual")
    photos, store = paint(folder / "photos", images=6), Store(folder / "store")
    how = {"shots": 3, "model": f"local-dir:{tiny_folder}", "store": store, "epochs": 4, "lr": 0.02}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTCTL_HOME", str(folder / "home"))
        promptctl.learn(photos, "vpt", learner="vpt", visual_tokens=3, visual_depth=2, **how)
        promptctl.learn(photos, "both", visual_tokens=3, visual_depth=2, **how)
        promptctl.learn(photos, "held", visual_tokens=2, model=how["model"], store=store, epochs=2)
    return {name: store[name].to_bytes() for name in ("vpt", "both", "held")}


@pytest.fixture
def stored(learned: dict[str, bytes]) -> Store:
    """A home that has them."""
    store = Store()
    for name, data in learned.items():
        store.save(name, data, new=True)
    return store


# --------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"visual_depth": 2}, "there are no visual tokens, so --visual-depth has no effect"),
        ({"visual_tokens": 4, "average": True}, "--average keeps the mean of a context, not of visual tokens"),
        (
            {"visual_tokens": 4, "head": True},
            "the image tower learns from every shot, so no fold of them could tell how good a head is",
        ),
        (
            {"learner": "clap", "visual_tokens": 4},
            "clap learns weights of its classes and no context, so --visual-tokens has no effect",
        ),
        (
            {"learner": "vpt", "anchor": 8.0},
            "vpt learns visual tokens and no context, so --anchor has no effect",
        ),
    ],
)
def test_what_does_not_go_with_visual_tokens_is_said(settings, says):
    with pytest.raises(promptctl.errors.SettingsClash) as refused:
        LearnSettings(**settings)
    assert str(refused.value) == says


def test_tokens_are_none_by_default_but_of_vpt():
    assert LearnSettings().tokens_shape is None
    assert LearnSettings(learner="vpt").tokens_shape == (1, 4)
    assert LearnSettings(visual_tokens=2, visual_depth=9).tokens_shape == (9, 2)
    assert LearnSettings(visual_tokens=2).visual_steps(10) == (50 * 2, 4)
    assert LearnSettings(visual_tokens=2, epochs=3).visual_steps(2) == (3, 2)


def test_a_tower_that_takes_no_tokens_is_refused_before_a_photo_is_read(photos, tiny):
    for picture in photos.rglob("*.png"):
        picture.write_bytes(b"no picture")
    with pytest.raises(NoVisualTokens):
        promptctl.learn(photos, "birds", visual_tokens=2, model="mini")
    with pytest.raises(BadSetting, match=r"visual_depth is 3, at most 2 \(the blocks"):
        promptctl.learn(photos, "birds", visual_tokens=2, visual_depth=3, model=tiny)


# --------------------------------------------------------------------------- the file


def test_a_file_with_tokens_is_format_3_and_comes_back_to_the_bit(learned):
    context = Context.from_bytes(learned["both"], "both")
    assert context.card.format == 3
    assert context.visual_tokens is not None and context.visual_tokens.shape == (*SHAPE, 64)
    assert (context.card.method.visual_depth, context.card.method.visual_tokens) == SHAPE
    assert not np.array_equal(context.shots.plain, context.shots.features)
    assert context.to_bytes() == learned["both"]


def test_files_without_tokens_are_written_as_before(colours_bytes):
    context = Context.from_bytes(colours_bytes, "colours")
    assert context.to_bytes() == colours_bytes
    assert b"visual" not in colours_bytes and b"plain" not in colours_bytes
    shots = context.shots.only(np.arange(len(context.shots)))
    assert dataclasses.replace(context, shots=shots).to_bytes() == colours_bytes


@pytest.mark.parametrize("name", ["both", "held"])
def test_exports_carry_the_tokens(learned, name):
    context = Context.from_bytes(learned[name], name)
    for smaller in (context.without_shots(), context.with_prototypes_only()):
        again = Context.from_bytes(smaller.to_bytes(), name)
        assert np.array_equal(again.visual_tokens, context.visual_tokens)
        assert again.encoder_fingerprint == context.encoder_fingerprint
        assert not len(again.shots.plain)


def forged(data: bytes, tensors=lambda tensors: None, **method: object) -> bytes:
    """A file with a right checksum and other contents."""
    from safetensors.numpy import load, save

    found = load(data)
    tensors(found)
    end = 8 + int.from_bytes(data[:8], "little")
    card = json.loads(json.loads(data[8:end])["__metadata__"][KEY])
    card["format"] = method.pop("format", card["format"])
    card["method"] |= method
    card["sha256"] = 64 * "0"
    written = json.dumps(card, sort_keys=True, separators=(",", ":"))
    return seal(save(found, metadata={KEY: written}))


def _with(name, value):
    def change(tensors):
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value(tensors[name]) if callable(value) else value

    return change


@pytest.mark.parametrize(
    ("change", "method"),
    [
        (_with("visual_tokens", None), {}),
        (_with("visual_tokens", lambda tokens: tokens[:1]), {}),
        (_with("visual_tokens", lambda tokens: tokens[0]), {}),
        (_with("visual_tokens", lambda tokens: tokens[..., :0]), {}),
        (_with("visual_tokens", lambda tokens: tokens.astype(np.float16)), {}),
        (_with("visual_tokens", lambda tokens: tokens * np.float32("nan")), {}),
        (_with("visual_tokens", lambda tokens: tokens + np.float32(1e20)), {}),
        (_with("visual_tokens", np.zeros((2, 3, (1 << 16) + 1), np.float32)), {}),
        (_with("shot_plain", lambda rows: rows[1:]), {}),
        (_with("shot_plain", lambda rows: rows * np.float16(0)), {}),
        (lambda tensors: None, {"visual_tokens": 0}),
        (lambda tensors: None, {"visual_tokens": 249}),
        (lambda tensors: None, {"visual_depth": 0}),
        (lambda tensors: None, {"visual_depth": 257}),
        (lambda tensors: None, {"visual_depth": -1}),
        (lambda tensors: None, {"visual_depth": "2"}),
        (lambda tensors: None, {"visual_tokens": 0, "visual_depth": 0}),
        (lambda tensors: None, {"format": 2}),
        (lambda tensors: None, {"format": 1}),
    ],
)
def test_a_file_with_impossible_tokens_is_no_context(learned, change, method):
    assert Context.from_bytes(forged(learned["both"]), "same") == Context.from_bytes(learned["both"], "both")
    with pytest.raises(CorruptContext):
        Context.from_bytes(forged(learned["both"], change, **method), "forged")


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ({"learner": "clap", "recipe": "clap"}, "it has visual tokens, and clap learns none"),
        ({"learner": "prolip", "recipe": "prolip"}, "it has visual tokens, and prolip learns none"),
        ({"visual_tokens": 0, "visual_depth": 0, "projection": True}, "it has a projection, and vpt learns none"),
    ],
)
def test_a_file_whose_learner_cannot_have_learned_that_is_no_context(learned, method, says):
    with pytest.raises(CorruptContext, match=says):
        Context.from_bytes(forged(learned["vpt"], **method), "forged")


def _declaring(path, data, name, shape):
    """A file in which one tensor is declared, and has its length, but takes no disk."""
    n = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + n]), data[8 + n :]
    begin, length = len(body), 4 * int(np.prod(shape))
    header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, begin + length]}
    written = json.dumps(header).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + body)
    os.truncate(path, path.stat().st_size + length)
    return path


def test_a_file_is_refused_by_what_it_declares_before_it_is_read(learned, tmp_path, cli, photos, monkeypatch):
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} is read"))
    wide = _declaring(tmp_path / "wide.safetensors", learned["both"], "visual_tokens", [2, 3, 1 << 27])
    says = "visual_tokens takes 3221225472 bytes, at most 268435456 by its metadata"
    for command in (["check"], ["classify", photos, "--prompt"], ["show"], ["import"], ["inspect"], ["sort", photos]):
        if command[0] == "sort":
            command += ["--into", tmp_path / "sorted", "--prompt"]
        found = cli(*command, wide)
        assert found.code == 12 and says in found.err
    vectors = _declaring(tmp_path / "vectors.safetensors", learned["both"], "vectors", [16, 1 << 25])
    assert "vectors takes 2147483648 bytes, at most 2048 by its metadata" in cli("show", vectors).err
    other = _declaring(tmp_path / "other.safetensors", learned["both"], "of_tomorrow", [1 << 25])
    assert "128 MB of it are of no tensor that a context has" in cli("show", other).err
    monkeypatch.setattr(limits, "LARGEST_FILE", 1 << 20)
    more = _declaring(tmp_path / "more.safetensors", learned["both"], "of_tomorrow", [1 << 20])
    assert "it has 4 MB, at most 1 are read" in cli("show", more).err


def test_the_seal_of_a_large_file_is_checked_without_a_copy_of_it(learned):
    data = forged(learned["both"], _with("of_tomorrow", np.zeros(1 << 22, np.float32)))
    card = Context.from_bytes(data, "same").card
    tracemalloc.start()
    verify_seal(data, card, "same")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_tokens_of_another_tower_are_refused_where_they_are_used(learned, tiny, tmp_path, cli, photos):
    wider = forged(learned["both"], _with("visual_tokens", np.zeros((2, 3, 65), np.float32)))
    (tmp_path / "wider.safetensors").write_bytes(wider)
    found = cli("classify", photos, "--prompt", tmp_path / "wider.safetensors")
    assert found.code == 1
    assert f"visual tokens of width 65 in 2 blocks are not for the image tower of '{tiny}'" in found.err


# --------------------------------------------------------------------------- learning


def test_steps_are_those_of_plain_autograd_and_sgd(tiny, photos, monkeypatch):
    """Forward, loss and update written out once more, on the photos in the order of the run."""
    import open_clip

    backbone = Backbone(tiny, "cpu")
    shown: list[tuple[np.ndarray, np.ndarray]] = []
    step = visual._Run._step

    def watched(self, state, rows, pixels, *rest):
        shown.append((rows, pixels))
        return step(self, state, rows, pixels, *rest)

    monkeypatch.setattr(visual._Run, "_step", watched)
    epochs, lr = 5, 1.0  # so that weight decay is seen
    promptctl.learn(photos, "birds", shots=2, learner="vpt", visual_depth=2, model=tiny, epochs=epochs, lr=lr)
    context = promptctl.Store()["birds"]
    targets = torch.tensor([context.card.labels.index(label) for label in ("blue", "green", "red") for _ in range(2)])
    model = open_clip.create_model(tiny).eval().requires_grad_(False)
    texts = torch.from_numpy(context.zero_shot_features)
    tokens = torch.randn(2, 4, 64, generator=torch.Generator().manual_seed(1)) * 0.02
    moved = torch.zeros_like(tokens)
    for number, (rows, pixels) in enumerate(shown):
        leaf = tokens.clone().requires_grad_()
        features = F.normalize(ImageTower(model.visual).encode(torch.from_numpy(pixels), leaf), dim=-1)
        F.cross_entropy(backbone.logit_scale * features @ texts.T, targets[torch.from_numpy(rows)]).backward()
        moved = 0.9 * moved + leaf.grad + 5e-4 * tokens
        tokens = tokens - warm_cosine_rate(number, epochs, lr) * moved
    assert len(shown) == epochs == context.card.method.steps
    assert np.abs(context.visual_tokens - tokens.numpy()).max() < 1e-5
    assert np.abs(context.visual_tokens - context.visual_tokens.mean()).max() > 0.05


def test_shots_and_score_are_of_the_tower_with_tokens_and_zero_shot_is_of_the_plain_one(learned, tiny, tmp_path):
    context = Context.from_bytes(learned["held"], "held")
    backbone = Backbone(tiny, "cpu")
    paths = {hashlib.sha256(p.read_bytes()).hexdigest(): p for p in paint(tmp_path / "p", images=6).rglob("*.png")}
    files = [paths[sha] for sha in context.shots.hashes]
    with FeatureCache() as cache:
        own, _ = encode_files(files, encoder_with(backbone.encoder, context.visual_tokens), cache)
        plain, _ = encode_files(files, backbone.encoder, cache)
    assert np.abs(context.shots.features - own.vectors).max() < 2e-3
    assert np.abs(context.shots.plain - plain.vectors).max() < 2e-3
    apart = context.shots.held_out == 1
    truth = context.held_out()[1]
    by_hand = (plain.vectors[apart] @ context.zero_shot_features.T).argmax(1) == truth
    right = (own.vectors[apart] @ context.text_features.T).argmax(1) == truth
    assert context.card.score.zero_shot_accuracy == by_hand.mean()
    assert context.card.score.accuracy == right.mean()
    for rows, accuracy in ((truth, 1.0), ((truth + 1) % 3, 0.0)):
        changed = context.shots.plain.copy()
        changed[apart] = context.zero_shot_features[rows]
        told = answering(dataclasses.replace(context, shots=dataclasses.replace(context.shots, plain=changed)))
        assert told.card.score.zero_shot_accuracy == accuracy


def test_vpt_leaves_the_words_alone_and_coop_learns_both(learned):
    alone, both = (Context.from_bytes(learned[name], name) for name in ("vpt", "both"))
    assert not alone.vectors.size and np.array_equal(alone.text_features, alone.zero_shot_features)
    assert both.vectors.shape == (16, 32) and not np.allclose(both.text_features, both.zero_shot_features, atol=1e-3)
    assert not np.allclose(alone.visual_tokens, both.visual_tokens, atol=1e-4)
    for context in (alone, both):
        assert context.head is None and context.card.curve[-1].step == context.card.method.steps
    assert alone.card.curve[0].loss > alone.card.curve[-1].loss


def test_bfloat16_and_checkpoints_change_the_gradient_by_rounding_alone(tiny, photos, monkeypatch):
    """The way of a GPU, here on the CPU; CUDA itself is not seen by this test."""
    found = {}
    ways = {"plain": ("float32", False), "again": ("float32", True), "half": ("bfloat16", True)}
    for name, way in ways.items():
        monkeypatch.setattr(visual, "way_on", lambda device, way=way: visual.Way(*way))
        promptctl.learn(photos, name, shots=2, visual_tokens=2, visual_depth=2, model=tiny, epochs=3, lr=0.05)
        found[name] = promptctl.Store()[name]
    plain, again, half = found.values()
    assert np.array_equal(plain.visual_tokens, again.visual_tokens) and np.array_equal(plain.vectors, again.vectors)
    one, other = ((c.visual_tokens - c.visual_tokens.mean()).ravel() for c in (plain, half))
    assert 0.99 < one @ other / np.linalg.norm(one) / np.linalg.norm(other) < 1 - 1e-9
    assert half.visual_tokens.dtype == np.float32


def test_a_gpu_runs_in_bfloat16_with_checkpoints_and_nothing_else_does():
    assert visual.way_on(torch.device("cuda")) == visual.Way("bfloat16", True)
    assert visual.way_on(torch.device("cpu")) == visual.Way("float32", False)


def test_crops_are_other_pixels_in_every_epoch(tiny, photos, monkeypatch):
    seen = []
    monkeypatch.setattr(
        visual, "pixels_of", lambda path, sha, number, looks: seen.append(number) or np.zeros((32, 32, 3), np.uint8)
    )
    promptctl.learn(photos, "a", shots=4, learner="vpt", model=tiny, epochs=4, views=2)
    assert {number: seen.count(number) for number in set(seen)} == {0: 12, 1: 12}  # kept in memory the second time
    seen.clear()
    monkeypatch.setattr(visual, "KEPT_BYTES", 0)
    promptctl.learn(photos, "b", shots=4, learner="vpt", model=tiny, epochs=4, views=2)
    assert {number: seen.count(number) for number in set(seen)} == {0: 24, 1: 24}


# --------------------------------------------------------------------------- what it costs


def test_the_cost_is_said_after_the_first_steps_and_in_the_plan(cli, tiny, photos):
    plan = cli("learn", photos, "--name", "a", "--model", tiny, "--visual-tokens", 2, "--dry-run", "--json")
    assert {key: json.loads(plan.out)[key] for key in ("steps", "photos_a_step")} == {"steps": 200, "photos_a_step": 4}
    done = cli("learn", photos, "--name", "a", "--shots", 4, "--model", tiny, "--visual-tokens", 2, "--epochs", 4)
    assert done.code == 0
    (line,) = [line for line in done.err.splitlines() if "photos/s" in line]
    assert line.startswith("12 steps of 4 photos at ") and ": about " in line


def test_minutes_are_said_in_words():
    assert visual.cost_in_words(20000, 4, 8.0) == "20000 steps of 4 photos at 8 photos/s: about 167 minutes"
    assert visual.cost_in_words(10, 4, 1000.0) == "10 steps of 4 photos at 1e+03 photos/s: about 1 second"


def test_a_cost_is_said_of_a_second_of_steps_or_of_a_run_that_is_over_by_then(monkeypatch):
    """The first steps of a short one are of a machine that has just woken up."""
    for lengths, says in (
        ([0.01, 0.02, *[0.2] * 9], "1000 steps of 4 photos at 23.5 photos/s: about 3 minutes"),
        ([0.5, 2, 2, 2], "1000 steps of 4 photos at 2 photos/s: about 33 minutes"),
    ):
        said, now = [], 0.0
        timer = visual._Timer(4, 1000, said.append)
        for seconds in lengths:
            now += seconds
            monkeypatch.setattr(visual.time, "monotonic", lambda now=now: now)
            timer.stepped()
        assert said == [says]
    said = []
    timer = visual._Timer(4, 20, said.append)
    for now in (0.0, 0.01, 0.02, 0.03):
        monkeypatch.setattr(visual.time, "monotonic", lambda now=now: now)
        timer.stepped()
    assert said == ["20 steps of 4 photos at 400 photos/s: about 1 second"]


@pytest.mark.parametrize("epochs", [3, 6])
@pytest.mark.parametrize("how", [{"learner": "vpt"}, {"visual_tokens": 2}])
def test_what_the_last_step_broke_is_said_and_neither_stored_nor_gone_on_from(tiny, photos, epochs, how):
    with pytest.raises(LearningFailed, match=r"^the loss was no longer finite at step [2-6]$"):
        promptctl.learn(photos, "a", shots=2, model=tiny, epochs=epochs, lr=1e15, **how)
    assert unfinished.count() == 0 and not list(Store().every())


# --------------------------------------------------------------------------- Ctrl-C

STOPS = """
import sys, time
from promptctl.learners import visual
visual.SECONDS_A_SAVE = 0.0
step = visual._Run._step
def stopping(self, state, *rest):
    if state.step == 7:
        print("READY", file=sys.stderr, flush=True)
        time.sleep(60)
    return step(self, state, *rest)
visual._Run._step = stopping
from promptctl.cli.main import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
def test_the_same_command_goes_on_and_ends_in_the_same_bytes(number, cli, tiny, photos, tmp_path, monkeypatch, home):
    command = ["learn", str(photos), "--name", "a", "--shots", "4", "--model", tiny, "--visual-tokens", "2"]
    command += ["--epochs", "5", "--views", "3"]
    run = subprocess.Popen([sys.executable, "-c", STOPS, *command], stderr=subprocess.PIPE, text=True)
    said = []
    for line in run.stderr:
        said.append(line)
        if line == "READY\n":
            run.send_signal(number)
    assert run.wait() == (130 if number == signal.SIGINT else -number)
    if number == signal.SIGINT:
        assert said[-1] == "error: interrupted; 7 of 15 steps are kept: the same command goes on from there\n"
    assert unfinished.count() == 1
    gone_on = cli(*command)
    assert gone_on.code == 0 and "goes on at step 7 of 15, where it was interrupted" in gone_on.err
    assert unfinished.count() == 0
    found = Store()["a"].to_bytes()
    monkeypatch.setenv("PROMPTCTL_HOME", str(tmp_path / "another"))
    assert "goes on" not in cli(*command).err
    assert Store()["a"].to_bytes() == found


def test_other_settings_or_photos_do_not_go_on_from_it(tiny, photos, monkeypatch):
    names = []
    monkeypatch.setattr(unfinished, "remove", lambda path: names.append(path.name))
    how = {"shots": 3, "model": tiny, "learner": "vpt", "epochs": 1}
    promptctl.learn(photos, "a", **how)
    promptctl.learn(photos, "b", **how, lr=0.001)
    promptctl.learn(photos, "c", **how, template="a drawing of {}.")
    for picture in sorted((photos / "red").iterdir())[:4]:
        picture.unlink()
    promptctl.learn(photos, "d", **(how | {"shots": 2}))
    assert len(set(names)) == len(names) == 4
    promptctl.learn(photos, "e", **(how | {"shots": 2}))
    assert names[-1] == names[-2]


def test_what_is_damaged_or_of_other_shapes_is_nothing_to_go_on_from(tmp_path):
    arrays = {"a": np.ones((2, 3), np.float32)}
    path = unfinished.path_of({"seed": 1})
    assert unfinished.write(path, unfinished.Progress(arrays, {"step": 3}))
    assert unfinished.read(path, arrays).facts == {"step": 3}
    assert unfinished.read(path, {"a": np.ones((3, 2), np.float32)}) is None
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert unfinished.read(path, arrays) is None
    path.write_bytes(b"")
    assert unfinished.read(path, arrays) is None


def test_only_so_many_runs_are_kept_and_cache_clear_removes_them(cli):
    for seed in range(unfinished.MOST_KEPT + 3):
        unfinished.write(
            unfinished.path_of({"seed": seed}), unfinished.Progress({"a": np.ones(1, np.float32)}, {"step": 1})
        )
    assert unfinished.count() == unfinished.MOST_KEPT
    assert json.loads(cli("cache", "info", "--json").out)["unfinished"] == unfinished.MOST_KEPT
    assert json.loads(cli("cache", "clear", "--json").out)["unfinished"] == unfinished.MOST_KEPT
    assert unfinished.count() == 0


def test_what_a_killed_command_was_writing_goes_in_the_end(home):
    folder = unfinished.path_of({"seed": 0}).parent
    folder.mkdir(parents=True)
    old, new = folder / f".{'0' * 16}.part", folder / f".{'1' * 16}.part"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    unfinished.write(unfinished.path_of({"seed": 0}), unfinished.Progress({"a": np.ones(1, np.float32)}, {"step": 1}))
    assert not old.exists() and new.exists()
    unfinished.clear()
    assert not list(folder.iterdir())


def test_steps_that_could_not_be_kept_are_not_said_to_be(tiny, photos, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(visual.signals, "say", said.append)
    monkeypatch.setattr(unfinished.files, "write_atomic", lambda *_, **__: (_ for _ in ()).throw(OSError("full")))

    def stops(stage, done, total):
        if stage == "learning" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        promptctl.learn(photos, "a", shots=4, learner="vpt", model=tiny, epochs=2, on_progress=stops)
    assert said == ["2 of 6 steps could not be kept"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vpt", "--learner vpt --visual-tokens 3 --visual-depth 2"),
        ("both", "--visual-tokens 3 --visual-depth 2"),
        ("held", "--visual-tokens 2"),
    ],
)
def test_rebase_says_how_to_learn_the_same_tokens_elsewhere(stored, cli, photos, name, options):
    assert cli("rebase", name, photos, "--model", "mini").err.rstrip().endswith(f"--fresh --model mini {options}")


def test_where_nothing_can_be_kept_it_learns_all_the_same(tiny, photos, home):
    (home / "cache").mkdir(parents=True)
    (home / "cache" / "unfinished").write_text("in the way")
    assert promptctl.learn(photos, "a", shots=3, learner="vpt", model=tiny, epochs=1).steps == 2


# --------------------------------------------------------------------------- where it is used


def test_classify_asks_the_tower_with_tokens(stored, cli, photos, tiny):
    found = cli("classify", photos, "--prompt", "both", "--json")
    assert found.code == 0
    context = stored["both"]
    encoder = encoder_with(Backbone(tiny, "cpu").encoder, context.visual_tokens)
    assert encoder.fingerprint == fingerprint_with(context.card.backbone.fingerprint, context.visual_tokens)
    with FeatureCache() as cache:
        assert set(cache.contents().features) == {encoder.fingerprint}
        rows = json.loads(found.out)["images"]
        features, _ = encode_files([Path(row["path"]) for row in rows], encoder, cache)
    logits = context.card.logit_scale * features.vectors @ context.text_features.T / context.card.temperature
    best = np.array(context.card.names)[logits.argmax(1)]
    assert [row["top"][0]["name"] for row in rows] == best.tolist()


def test_unknown_photos_are_told_by_photos_that_the_tower_has_not_learned_from(stored, cli, photos):
    cannot = (
        "both@1 cannot tell unknown photos: its image tower has learned from every photo it keeps, none is held out"
    )
    found = cli("classify", photos, "--prompt", "both")
    assert found.code == 0 and cannot in found.err
    assert cannot in cli("evaluate", "both", photos, "--unknown", photos).err
    held = stored["held"]
    known = held.shots.likeness != UNSCORED
    assert known.tolist() == (held.shots.held_out == 1).tolist()
    flattered = dataclasses.replace(
        held, shots=dataclasses.replace(held.shots, likeness=np.full(len(known), 0.5, "f4"))
    )
    for context in (held, flattered):
        assert np.isfinite(OwnPhotos.of(context).likeness).sum() == known.sum()
    assert json.loads(cli("classify", photos, "--prompt", "held", "--json").out)["rejection"]["photos"] == known.sum()


def _seen_two_ways(learned, own, plain, ids):
    """A context of `both` with these rows (N, 3) of its shots, by the tower with tokens and by the plain one."""
    context = Context.from_bytes(learned["both"], "both")
    shots = ShotTable(
        *(np.zeros((len(ids), 32), np.float16), np.array(ids, np.int32)),
        np.random.default_rng(0).integers(0, 256, (len(ids), 32), np.uint8),
        np.zeros(len(ids), np.uint8),
    )
    features, by_plain = (np.pad(unit(np.array(rows)), ((0, 0), (0, 29))).astype(np.float16) for rows in (own, plain))
    shots = dataclasses.replace(shots, features=features, plain=by_plain)
    card = dataclasses.replace(context.card, shots=Shots(None, len(ids), 0))
    return dataclasses.replace(context, card=card, shots=shots)


def test_doctor_asks_the_plain_tower_since_the_other_has_learned_a_wrong_label(learned, cli):
    ids = [id for id in range(3) for _ in range(6)]
    rows = np.eye(3)[ids] + np.random.default_rng(1).normal(0, 0.1, (18, 3))
    plain = rows.copy()
    plain[0] = [0.1, 1, 0]
    context = _seen_two_ways(learned, rows, plain, ids)
    Store().save("a", context.to_bytes(), new=True)
    found = json.loads(cli("doctor", "a", "--json").out)["findings"]
    assert [f["images"] for f in found if f["kind"] == "label"] == [[context.shots.hashes[0]]]
    assert any("is held out, so accuracy is not known" in f["what"] for f in found)


def test_near_copies_are_told_by_the_plain_tower(learned):
    rows = np.random.default_rng(2).normal(0, 1, (9, 3))
    context = _seen_two_ways(learned, rows[[0, 0, 2, 3, 3, 5, 6, 7, 8]], rows, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert len(set(_grouped(context.shots, context.shots, []).groups.tolist())) == 9
    other = dataclasses.replace(context.shots, plain=context.shots.features)
    assert len(set(_grouped(other, other, []).groups.tolist())) == 7


def test_python_uses_the_tower_with_tokens(stored, photos):
    first = sorted(photos.rglob("*.png"))[0]
    assert promptctl.load("both").classify(first).name in ("blue", "green", "red")
    with FeatureCache() as cache:
        assert set(cache.contents().features) == {stored["both"].encoder_fingerprint}


def test_evaluate_measures_zero_shot_on_the_plain_tower(stored, photos, tiny):
    promptctl.learn(photos, "plain", shots=3, epochs=0, init="a photo of a", head=False, model=tiny)
    found = promptctl.evaluate("both", photos, baselines=["zero-shot", "ridge"])
    plain = promptctl.evaluate("plain", photos, baselines=["ridge"])
    assert found.zero_shot == plain.zero_shot
    assert found.baselines[0].top1 == plain.zero_shot.top1
    matrix = promptctl.evaluate(["both", "plain"], [photos])
    assert matrix.matrix[0].zero_shot == matrix.matrix[1].zero_shot == plain.zero_shot.top1
    assert matrix.matrix[0].accuracy == found.learned.top1


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (
            "classify PHOTOS --prompt both --prompt vpt",
            "both@1 and vpt@1 do not see photos with the same visual tokens, and one pass has one image tower",
        ),
        (
            "classify PHOTOS --prompt both --blend 0.5",
            "both@1 sees photos with its own visual tokens and zero-shot sees them without, so there is no blend of "
            "the two",
        ),
        (
            "merge both vpt --name all",
            "both@1 and vpt@1 do not see photos with the same visual tokens, so their shots are not comparable",
        ),
        (
            "rebase both PHOTOS --model mini",
            "both@1 has visual tokens, which fit no other image tower than that of TINY",
        ),
        (
            "export both both.pth --as coop",
            "both.pth cannot be written: both@1 has visual tokens, which no checkpoint of CoOp holds, and answers with "
            "both",
        ),
        (
            "learn PHOTOS --name both --visual-tokens 5",
            "both@1 has 3 visual tokens in 2 blocks, which stay as they are: its stored shots were seen with them",
        ),
        ("learn PHOTOS --name both --learner clap", "both@1 has visual tokens, beside which clap learns nothing"),
        (
            "learn PHOTOS --name vpt --epochs 5",
            "vpt@1 has visual tokens, which stay as they are: its stored shots were seen with them",
        ),
        (
            "learn PHOTOS --name both --head",
            "the image tower of both@1 has learned from its shots, so no fold of them could tell how good a head is",
        ),
        (
            "compare PHOTOS --learners vpt",
            "vpt cannot be compared: what is compared learns from features, and a learning image tower changes them",
        ),
    ],
)
def test_what_tokens_do_not_go_with_is_refused_in_a_sentence(stored, cli, photos, tiny, command, says, tmp_path):
    words = [word.replace("PHOTOS", str(photos)) for word in command.split()]
    found = cli(*words)
    assert found.code != 0 and found.out == ""
    assert f"error: {says.replace('TINY', tiny)}" in found.err.splitlines()
    assert sorted(entry.ref.name for entry in stored.every()) == ["both", "held", "vpt"]


def test_a_context_without_tokens_does_not_get_any(colours_bytes, photos, tiny):
    Store().save("colours", colours_bytes, new=True)
    with pytest.raises(TokensClash, match="colours@1 has no visual tokens"):
        promptctl.learn(photos, "colours", visual_tokens=4)
    with pytest.raises(TokensClash, match="colours@1 has no visual tokens"):
        promptctl.learn(photos, "colours", learner="vpt")
    with pytest.raises(TokensClash, match="visual tokens cannot be compared"):
        promptctl.compare(photos, visual_tokens=4)


@pytest.mark.parametrize("name", ["both", "vpt", "held"])
def test_an_update_keeps_the_tokens_and_learns_with_them(stored, name, tmp_path, tiny):
    before = stored[name]
    more = paint(tmp_path / "more", images=8)
    found = promptctl.learn(more, name, max_forgetting=1.0)
    after = stored[f"{name}@2"]
    assert np.array_equal(after.visual_tokens, before.visual_tokens)
    assert after.card.format == 3
    assert len(after.shots) > len(before.shots)
    with FeatureCache() as cache:
        paths = {hashlib.sha256(p.read_bytes()).hexdigest(): p for p in more.rglob("*.png")}
        new = [sha for sha in after.shots.hashes if sha not in before.shots.hashes]
        own, _ = encode_files(
            [paths[sha] for sha in new], encoder_with(Backbone(tiny, "cpu").encoder, before.visual_tokens), cache
        )
        plain, _ = encode_files([paths[sha] for sha in new], Backbone(tiny, "cpu").encoder, cache)
    rows = [after.shots.hashes.index(sha) for sha in new]
    assert np.abs(after.shots.features[rows] - own.vectors).max() < 2e-3
    assert np.abs(after.shots.plain[rows] - plain.vectors).max() < 2e-3
    if name == "vpt":
        assert found.head and "template" not in found.head and found.steps == 0
        answers = [Classifier.of(one).predict(as_kept(own.vectors)).best for one in (before, after)]
        assert not np.array_equal(*answers)
    else:
        assert not np.array_equal(after.vectors, before.vectors)
        assert found.head == () and found.steps > 0
    assert found.accuracy is not None and found.kept_in_tower == "visual tokens"


def test_fresh_learns_all_anew(stored, photos, tiny):
    promptctl.learn(photos, "both", fresh=True, shots=3, epochs=1, model=tiny)
    assert stored["both@2"].visual_tokens is None and stored["both@2"].card.format == 2


@pytest.mark.parametrize("name", ["both", "vpt"])
def test_class_commands_and_relabel_carry_the_tokens(stored, cli, name, tmp_path):
    before, fixes = stored[name], tmp_path / "fixes.csv"
    fixes.write_text(f"sha256,label\n{before.shots.hashes[0]},scarlet\n")
    for command in (
        f"class add {name} yellow",
        f"class rename {name} red scarlet",
        f"class merge {name} green blue --into dull --force",
        f"class drop {name} yellow",
        f"relabel {name} {fixes} --force",
    ):
        found = cli(*command.split())
        assert found.code == 0, found.err
    after = stored[name]
    assert np.array_equal(after.visual_tokens, before.visual_tokens)
    assert set(after.card.labels) == {"dull", "scarlet"}
    assert len(after.shots.plain) == len(after.shots) == len(before.shots) and after.card.format == 3


def test_show_inspect_log_and_diff_speak_of_the_tokens(stored, cli):
    assert "visual:    3 tokens in each of the first 2 blocks of the image tower" in cli("show", "both").out
    shown = cli("show", "vpt").out
    assert "vectors:   none: the template says what classes are, new ones too" in shown
    assert cli("inspect", "both").code == 0 and cli("log", "both").code == 0 and cli("list").code == 0
    changed = cli("diff", "both", "held").out
    assert "visual-tokens" in changed


def test_a_head_or_a_model_that_is_exported_is_of_the_tower_with_tokens(stored, cli, tmp_path, photos, tiny):
    found = cli("export", "both", tmp_path / "head.safetensors", "--as", "head")
    assert found.code == 0 and "with the visual tokens of this context" in found.err
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    assert cli("export", "both", tmp_path / "both.onnx", "--as", "onnx").code == 0
    context = stored["both"]
    pixels = np.random.default_rng(0).random((3, 3, 32, 32), np.float32)
    session = runtime.InferenceSession(tmp_path / "both.onnx", providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {session.get_inputs()[0].name: pixels})
    rows = encoder_with(Backbone(tiny, "cpu").encoder, context.visual_tokens).encode((pixels - 0.5) / np.float32(0.5))
    logits = context.card.logit_scale * rows @ context.text_features.T / context.card.temperature
    weights = np.exp(logits - logits.max(1, keepdims=True))
    assert np.abs(probabilities - weights / weights.sum(1, keepdims=True)).max() < 1e-4
