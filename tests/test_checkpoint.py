"""Contexts to and from the original CoOp code, and files that only look so."""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import hostile
import numpy as np
import open_clip
import pytest
import reference
import torch
from conftest import TINY, build_clip
from safetensors.torch import save_file
from test_cli import refused
from torch.testing import assert_close

from promptctl.clip.registry import MINI_FOLDER
from promptctl.context.context import Context
from promptctl.context.coop_checkpoint import Checkpoint, _bfloat16
from promptctl.context.torchfile import KNOWN, Inert
from promptctl.errors import BadCheckpoint
from promptctl.store.refs import Ref
from promptctl.store.store import Store

NAMES = ("abyssinian", "sea_lion", "bmw m3 coupe 2012")
READ = ["abyssinian", "sea lion", "bmw m 3 coupe 2 0 1 2"]
FORMS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


@pytest.fixture(autouse=True)
def on_tiny(monkeypatch, tiny):
    monkeypatch.setenv("PROMPTCTL_MODEL", tiny)


@pytest.fixture(scope="session")
def clip(tiny_folder):
    where = f"local-dir:{tiny_folder}"
    return open_clip.create_model(where).eval().requires_grad_(False), open_clip.get_tokenizer(where)


class PromptLearner(torch.nn.Module):
    """The learned half of CoOp as the paper's code lays it out: one parameter, two buffers, three positions."""

    def __init__(self, model, tokenizer, names, *, tokens=4, class_specific=False, position="end", dtype=torch.float32):
        super().__init__()
        self.names = [name.replace("_", " ") for name in names]
        self.lengths = [len(tokenizer.encode(name)) for name in self.names]
        self.position, self.tokens = position, tokens
        self.prompts = torch.cat([tokenizer(f"{' '.join(['X'] * tokens)} {name}.") for name in self.names])  # (C, 77)
        embedded = model.token_embedding(self.prompts).to(dtype)
        shape = (len(names), tokens, TINY["text_cfg"]["width"])
        noise = torch.randn(shape if class_specific else shape[1:], generator=torch.Generator().manual_seed(5))
        self.ctx = torch.nn.Parameter((0.02 * noise).to(dtype))
        self.register_buffer("token_prefix", embedded[:, :1])
        self.register_buffer("token_suffix", embedded[:, 1 + tokens :])

    def features(self, model):
        """(C, E) unit rows."""
        rows = []
        for i, length in enumerate(self.lengths):
            ctx = self.ctx if self.ctx.ndim == 2 else self.ctx[i]
            prefix, name, rest = self.token_prefix[i], self.token_suffix[i, :length], self.token_suffix[i, length:]
            half = self.tokens // 2
            parts = {"end": [ctx, name], "middle": [ctx[:half], name, ctx[half:]], "front": [name, ctx]}[self.position]
            rows.append(torch.cat([prefix, *parts, rest]))
        x = torch.stack(rows).float() + model.positional_embedding
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask))
        x = x[torch.arange(len(rows)), self.prompts.argmax(-1)] @ model.text_projection
        return torch.nn.functional.normalize(x, dim=-1)


def original(path: Path, learner: PromptLearner, *, zipped: bool = True, **changes) -> Path:
    """What the original code saves, its optimiser and scheduler alive inside."""
    optimiser = torch.optim.SGD(learner.parameters(), lr=0.002, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 50)
    learner.ctx.grad = torch.zeros_like(learner.ctx)
    optimiser.step()
    content = {
        "state_dict": OrderedDict(learner.state_dict()),
        "epoch": 50,
        "optimizer": optimiser.state_dict(),
        "scheduler": {"successor": schedule, "warmup_epoch": 1, "last_epoch": 50},
        "val_result": np.float64(0.5),
    }
    return save(path, content | changes, zipped=zipped)


def save(path: Path, content: object, *, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def plain(learner: PromptLearner, **changes) -> dict[str, object]:
    return {"state_dict": OrderedDict(learner.state_dict()) | changes, "epoch": 50}


def stored(name: str) -> Context:
    return Context.load(Store().find(Ref(name)).path)


# --------------------------------------------------------------------------- from the original code


@FORMS
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("class_specific", [False, True])
def test_an_original_checkpoint_says_the_same_here(cli, clip, tmp_path, zipped, dtype, position, class_specific):
    learner = PromptLearner(*clip, NAMES, position=position, class_specific=class_specific, dtype=dtype)
    path = original(tmp_path / "model.pth.tar-50", learner, zipped=zipped)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    outcome = cli("import", path, "--name", "pets", "--position", position)
    assert outcome.code == 0, outcome.err
    context = stored("pets")
    np.testing.assert_array_equal(context.vectors, learner.ctx.detach().float().numpy())
    assert list(context.card.labels) == READ
    assert context.card.method.epochs == 50
    if dtype == torch.float32:
        assert_close(torch.from_numpy(context.text_features), learner.features(clip[0]), atol=1e-5, rtol=0)
    theirs = reference.encode(*clip, learner.ctx.detach().float(), READ, position)
    theirs = torch.nn.functional.normalize(theirs, dim=-1)
    assert_close(torch.from_numpy(context.text_features), theirs, atol=1e-5, rtol=0)


def test_import_says_what_came_and_what_to_type_next(cli, clip, tmp_path, tiny):
    path = original(tmp_path / "model.pth.tar-50", PromptLearner(*clip, NAMES))
    outcome = cli("import", path, "--name", "pets")
    first, second, third = outcome.out.splitlines()
    assert first == f"pets@1 holds 3 classes from {path}: {', '.join(READ)}"
    assert second == f"vectors: 4 on {tiny}, shared by all classes, class name at the end"
    assert third.startswith(f"stored: {Store().find(Ref('pets')).path} (")
    assert outcome.err.splitlines() == [
        "the names are spelled as their byte pairs keep them; --classes names.txt sets your own spelling",
        "next: promptctl evaluate pets TEST-FOLDER",
        "      promptctl inspect pets",
    ]
    report = json.loads(cli("import", path, "--name", "again", "--json").out)
    assert (report["type"], report["classes"], report["backbone_checked"]) == ("import", READ, True)


def test_an_imported_context_is_used_like_any_other(cli, clip, photos, tmp_path):
    cli("import", original(tmp_path / "m", PromptLearner(*clip, ["polka dots", "green", "blue"])), "--name", "c")
    (photos / "red").rename(photos / "polka_dots")
    report = json.loads(cli("evaluate", "c", photos, "--json").out)
    assert (report["images"], report["learned_from"], report["classes"]) == (18, 0, 3)
    assert cli("classify", photos, "--prompt", "c").code == 0
    said = cli("inspect", "c").out
    assert "learned:   coop, by the original code and imported, 50 epochs" in said.splitlines()
    assert "shots:     not known" in said.splitlines()
    assert "accuracy:  not measured here" in said.splitlines()
    (row,) = json.loads(cli("list", "--json").out)["contexts"]
    assert (row["shots"], row["accuracy"]) == (None, None)


def test_names_of_ones_own_are_checked_against_those_in_the_file(cli, clip, tmp_path):
    path = original(tmp_path / "m", PromptLearner(*clip, NAMES))
    names = tmp_path / "names.txt"
    names.write_text("Abyssinian\nsea_lion\nBMW M3 Coupe 2012\n\n", "utf-8-sig")
    assert cli("import", path, "--name", "own", "--classes", names).code == 0
    card = stored("own").card
    assert card.labels == ("Abyssinian", "sea_lion", "BMW M3 Coupe 2012")
    assert card.names == ("Abyssinian", "sea lion", "BMW M3 Coupe 2012")

    hint = "the names stand in the order they were learned in; without --classes they are read back"
    names.write_text("abyssinian\nsea lamp\nbmw\n")
    expected = f"{names} says 'sea lamp' in line 2, {path} has 'sea lion' there"
    refused(cli("import", path, "--name", "c", "--classes", names), 1, expected, hint)
    names.write_text("abyssinian\nsea lion\n")
    expected, hint = f"{names} names 2 classes, {path} holds 3", "one name per line, in the order they were learned in"
    refused(cli("import", path, "--name", "c", "--classes", names), 1, expected, hint)
    names.write_text("a\nb\na\n")
    expected, hint = f"{names} names 'a' twice", "give each class a name of its own"
    refused(cli("import", path, "--name", "c", "--classes", names), 1, expected, hint)
    names.write_text("a\n\nb\n")
    expected, hint = f"{names} has no class name in line 2", "write one class name per line"
    refused(cli("import", path, "--name", "c", "--classes", names), 1, expected, hint)
    names.write_bytes(b"caf\xe9\n")
    refused(cli("import", path, "--name", "c", "--classes", names), 1, f"{names} is not a text file in UTF-8", hint)
    refused(cli("import", path, "--name", "c", "--classes", "gone.txt"), 1, "gone.txt: no such file or directory")
    assert Store().names() == ("own",)


def test_a_checkpoint_without_names_needs_them_and_warns(cli, clip, tmp_path, tiny):
    learner = PromptLearner(*clip, NAMES)
    path = save(tmp_path / "m", {"state_dict": {"ctx": learner.ctx.data}})
    expected = f"{path} does not say what its classes are called"
    hint = "--classes names.txt, one name per line, in the order they were learned in"
    refused(cli("import", path, "--name", "c"), 1, expected, hint)
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    outcome = cli("import", path, "--name", "c", "--classes", tmp_path / "names.txt")
    assert (outcome.code, outcome.err.splitlines()[0]) == (
        0,
        f"warning: {path} holds no embedded class names, so only its width was compared with {tiny}: "
        "on another backbone of that width c@1 is meaningless",
    )
    assert "epochs not known" in cli("show", "c").out


def test_two_classes_of_one_name_are_refused(cli, clip, tmp_path):
    path = original(tmp_path / "m", PromptLearner(*clip, ["crane", "dog", "Crane"]))
    hint = "--classes names.txt, where capitals tell them apart, one name per line in the order they were learned in"
    refused(cli("import", path, "--name", "c"), 1, f"{path} calls two classes 'crane'", hint)
    (tmp_path / "names.txt").write_text("crane\ndog\nCrane")
    assert cli("import", path, "--name", "c", "--classes", tmp_path / "names.txt").code == 0


MERGED = ("kite (bird of prey)", "aluminium_(cans)", "C++", "dog")
MERGED_READ = ("kite ( bird of prey )", "aluminium ( cans )", "c ++", "dog")


@FORMS
@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("class_specific", [False, True])
@pytest.mark.parametrize("listed", [False, True])
def test_names_that_swallow_the_full_stop_say_what_they_say_to_the_original(
    cli, clip, tmp_path, zipped, position, class_specific, listed
):
    learner = PromptLearner(*clip, MERGED, position=position, class_specific=class_specific)
    path = original(tmp_path / "m", learner, zipped=zipped)
    (tmp_path / "names.txt").write_text("\n".join(MERGED))
    options = ("--classes", tmp_path / "names.txt") if listed else ()
    outcome = cli("import", path, "--name", "c", "--position", position, *options)
    assert (outcome.code, "warning" in outcome.err) == (0, False), "nothing differs, so nothing is to be warned of"
    context = stored("c")
    assert context.card.labels == (MERGED if listed else MERGED_READ)
    assert_close(torch.from_numpy(context.text_features), learner.features(clip[0]), atol=1e-5, rtol=0)
    tokens = [entry.tokens for entry in context.card.classes]
    assert tokens[0] == tuple(clip[1].encode("kite (bird of prey)."))
    assert tokens[-1] == (), "only where they are not those of name and full stop apart"


def test_names_that_swallow_the_full_stop_go_out_and_come_back_as_they_are(cli, clip, tmp_path):
    learner = PromptLearner(*clip, MERGED, position="middle")
    cli("import", original(tmp_path / "m", learner), "--name", "c", "--position", "middle")
    outcome = cli("export", "c", tmp_path / "out", "--as", "coop")
    assert "warning" not in outcome.err
    state = torch.load(tmp_path / "out", weights_only=True)["state_dict"]
    for buffer in ("token_prefix", "token_suffix"):
        assert_close(state[buffer], getattr(learner, buffer), atol=0, rtol=0)
    cli("import", tmp_path / "out", "--name", "back", "--position", "middle")
    before, after = stored("c"), stored("back")
    assert after.card.classes == before.card.classes
    for tensor in ("vectors", "text_features", "zero_shot_features"):
        np.testing.assert_array_equal(getattr(after, tensor), getattr(before, tensor))
    cli("export", "back", tmp_path / "again", "--as", "coop")
    again = torch.load(tmp_path / "again", weights_only=True)["state_dict"]
    assert all(torch.equal(again[name], state[name]) for name in state)


def test_a_checkpoint_without_names_speaks_those_listed_as_the_original_does(cli, clip, tmp_path):
    learner = PromptLearner(*clip, MERGED)
    path = save(tmp_path / "m", {"state_dict": {"ctx": learner.ctx.data}})
    (tmp_path / "names.txt").write_text("\n".join(MERGED))
    assert cli("import", path, "--name", "c", "--classes", tmp_path / "names.txt").code == 0
    assert_close(torch.from_numpy(stored("c").text_features), learner.features(clip[0]), atol=1e-5, rtol=0)


def test_a_class_that_has_no_name_to_say_is_refused(cli, clip, tmp_path):
    learner = PromptLearner(*clip, ["dog", "cat"])
    escape = clip[1].encoder[clip[1].byte_encoder[0x1B] + "</w>"]
    table, tokens = clip[0].token_embedding.weight, [escape, 269, 49407]
    suffix = learner.token_suffix.clone()
    suffix[1, : len(tokens)] = table[tokens]
    path = save(tmp_path / "m", plain(learner, token_suffix=suffix))
    refused(cli("import", path, "--name", "c"), 1, f"{path} gives class 2 the name '\\x1b', which is not a name")
    suffix[1, :2] = table[[269, 49407]]
    path = save(tmp_path / "m", plain(learner, token_suffix=suffix))
    refused(cli("import", path, "--name", "c"), 1, f"{path} gives class 2 the name '', which is not a name")


def test_another_backbone_is_told_by_its_tokens_and_by_its_width(cli, clip, tmp_path, tiny):
    (tmp_path / "other").mkdir()
    other = f"local-dir:{build_clip(tmp_path / 'other', TINY, seed=1)}"
    path = original(tmp_path / "m", PromptLearner(*clip, NAMES))
    refused(
        cli("import", path, "--name", "c", "--model", other),
        1,
        f"{path} was not learned on '{other}': its class names are not embedded in that model's tokens",
        "--model with the one it was learned on (a CoOp checkpoint does not name its backbone)",
    )
    real = {"ctx": torch.zeros(4, 512), "token_suffix": torch.zeros(3, 72, 512)}
    path = save(tmp_path / "b16", {"state_dict": real})
    refused(
        cli("import", path, "--name", "c"),
        1,
        f"{path} was not learned on '{tiny}': its vectors have width 512, that model's tokens 32",
        "--model ViT-B-16/openai or RN50/openai or ViT-B-32/openai or RN101/openai "
        "(a CoOp checkpoint does not name its backbone)",
    )


def test_a_folder_that_says_another_position_is_quoted(cli, clip, tmp_path):
    folder = tmp_path / "nctx4_cscFalse_ctpmiddle" / "seed1" / "prompt_learner"
    folder.mkdir(parents=True)
    path = original(folder / "model.pth.tar-50", PromptLearner(*clip, NAMES, position="middle"))
    warning = (
        f"warning: the class name was put at the end, and the folder of {path} says 'ctpmiddle': "
        "--position middle may be right"
    )
    assert cli("import", path, "--name", "a").err.splitlines()[0] == warning
    assert "warning" not in cli("import", path, "--name", "b", "--position", "middle").err


def test_import_checks_the_name_before_it_reads(cli, clip, tmp_path, home):
    path = original(tmp_path / "m", PromptLearner(*clip, NAMES))
    cli("import", path, "--name", "pets")
    refused(
        cli("import", "nowhere", "--name", "Pets"),
        1,
        "a context named 'pets' already exists",
        "choose another --name",
    )
    assert cli("import", "nowhere", "--name", "../x").err.startswith("error: '../x' is not a context name: ")
    refused(cli("import", "nowhere", "--name", "c"), 10, "there is no context file nowhere", "ls .")
    refused(
        cli("import", path),
        1,
        f"{path} does not say what its context is called",
        f"promptctl import {path} --name NAME",
    )


# --------------------------------------------------------------------------- what is not a CoOp checkpoint


def not_one(outcome, path: Path, reason: str, hint: str | None = None) -> None:
    refused(outcome, 12, f"{path} is not a CoOp checkpoint: {reason}", hint)


OTHERS = {
    "it has a meta_net, as CoCoOp's, whose context changes with every image": {"meta_net.linear1.weight": 1},
    "it has 'ctx' twice": {"module.ctx": 1},
    "beside ctx it has 'compound_prompts_text.0', so it is another method's and more than a context": {
        "compound_prompts_text.0": 1
    },
    "beside ctx it has 'proj.weight', so it is another method's and more than a context": {"proj.weight": 1},
}


@pytest.mark.parametrize("reason", OTHERS)
def test_other_methods_are_told_apart(cli, clip, tmp_path, reason):
    path = save(tmp_path / "m", plain(PromptLearner(*clip, NAMES), **OTHERS[reason]))
    not_one(cli("import", path, "--name", "c"), path, reason)


def test_kgcoop_learns_a_plain_context(cli, clip, tmp_path):
    more = {"bias_vectors": torch.zeros(2, 2), "meta_net.linear1.weight": torch.zeros(2, 2)}
    path = save(tmp_path / "m", plain(PromptLearner(*clip, NAMES), **more))
    assert cli("import", path, "--name", "c").code == 0


SHAPES = {
    "it has no ctx, the context of a CoOp checkpoint": {},
    "its ctx is not a tensor of float16, bfloat16, float32 or float64": {"ctx": torch.zeros(4, 32, dtype=torch.int64)},
    "its ctx has the shape (32,), (M, W) or (classes, M, W), M up to 73, was expected": {"ctx": torch.zeros(32)},
    "its ctx has the shape (74, 32), (M, W) or (classes, M, W), M up to 73, was expected": {"ctx": torch.zeros(74, 32)},
    "its ctx has the shape (0, 32), (M, W) or (classes, M, W), M up to 73, was expected": {"ctx": torch.zeros(0, 32)},
    "its ctx holds a value that is not a number, or far too large": {"ctx": torch.full((4, 32), torch.nan)},
    "its token_suffix has the shape (3, 60, 32), (classes, 72, 32) fits its ctx": {
        "ctx": torch.zeros(4, 32),
        "token_suffix": torch.zeros(3, 60, 32),
    },
    "its ctx is of 2 classes, its token_suffix of 3": {
        "ctx": torch.zeros(2, 4, 32),
        "token_suffix": torch.zeros(3, 72, 32),
    },
}


@FORMS
@pytest.mark.parametrize("reason", SHAPES)
def test_wrong_tensors_are_described(cli, tmp_path, reason, zipped):
    path = save(tmp_path / "m", {"state_dict": SHAPES[reason]}, zipped=zipped)
    not_one(cli("import", path, "--name", "c"), path, reason)


@FORMS
@pytest.mark.parametrize("content", [[1, 2], {"prompt": torch.zeros(4, 32)}, {"state_dict": 3}, {}])
def test_files_of_torch_save_that_hold_something_else(cli, tmp_path, content, zipped):
    path = save(tmp_path / "m", content, zipped=zipped)
    not_one(cli("import", path, "--name", "c"), path, "it has no state_dict")


@FORMS
def test_a_model_saved_whole_is_told_from_its_values(cli, tmp_path, zipped):
    path = save(tmp_path / "m", torch.nn.Linear(2, 2), zipped=zipped)
    not_one(cli("import", path, "--name", "c"), path, "it is an object of some class, not the state_dict of one")


TOWERS = {
    "logit_scale": torch.zeros(()),
    "image_encoder.conv1.weight": torch.zeros(2, 2),
    "text_encoder.x": torch.zeros(2),
}


def whole(learner: PromptLearner, prefix: str = "", **more: object) -> OrderedDict[str, object]:
    """The state_dict of the original's CustomCLIP, or of one that has more in it."""
    state = {f"prompt_learner.{key}": value for key, value in learner.state_dict().items()}
    return OrderedDict({f"{prefix}{key}": value for key, value in (state | TOWERS | more).items()})


@FORMS
@pytest.mark.parametrize("kind", ["whole", "parallel", "inside", "bare", "bare whole", "parameter", "float64"])
def test_other_files_of_the_same_context_are_imported(cli, clip, tmp_path, zipped, kind):
    learner = PromptLearner(*clip, NAMES)
    state = learner.state_dict()
    content = {
        "whole": {"state_dict": whole(learner), "epoch": 50},
        "parallel": {"state_dict": whole(learner, "module."), "epoch": 50},
        "inside": {"state_dict": {f"prompt_learner.module.{key}": value for key, value in state.items()}},
        "bare": state,
        "bare whole": whole(learner, "module."),
        "parameter": {"state_dict": {**state, "ctx": learner.ctx}},
        "float64": {"state_dict": {key: value.double() for key, value in state.items()}},
    }[kind]
    path = save(tmp_path / "m", content, zipped=zipped)
    outcome = cli("import", path, "--name", "c")
    assert outcome.code == 0, outcome.err
    np.testing.assert_array_equal(stored("c").vectors, learner.ctx.detach().numpy())
    assert list(stored("c").card.labels) == READ


@FORMS
def test_bfloat16_is_read_bit_by_bit(cli, clip, tmp_path, zipped):
    learner = PromptLearner(*clip, NAMES, dtype=torch.bfloat16)
    path = save(tmp_path / "m", plain(learner), zipped=zipped)
    assert cli("import", path, "--name", "c").code == 0
    np.testing.assert_array_equal(stored("c").vectors, learner.ctx.detach().float().numpy())
    assert list(stored("c").card.labels) == READ


def test_rounding_to_bfloat16_is_torchs():
    bits = np.random.default_rng(0).integers(0, 1 << 32, 100_000, dtype=np.uint32)
    values = bits.view(np.float32)[np.isfinite(bits.view(np.float32))]
    expected = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    np.testing.assert_array_equal(_bfloat16(values), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_state_dict_in_safetensors_is_imported(cli, clip, tmp_path, dtype):
    learner = PromptLearner(*clip, NAMES, dtype=dtype)
    path = tmp_path / "m.safetensors"
    state = {f"prompt_learner.{key}": value.contiguous() for key, value in learner.state_dict().items()}
    save_file(state | {"logit_scale": torch.zeros(1)}, path, metadata={"format": "pt"})
    hint = f"promptctl import {path} --name NAME"
    refused(cli("import", path), 1, f"{path} does not say what its context is called", hint)
    outcome = cli("import", path, "--name", "c")
    assert outcome.code == 0, outcome.err
    np.testing.assert_array_equal(stored("c").vectors, learner.ctx.detach().float().numpy())
    assert list(stored("c").card.labels) == READ


def test_safetensors_that_hold_something_else_or_are_damaged(cli, clip, tmp_path):
    path = tmp_path / "m.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    expected = f"{path} is not an intact context: it holds no promptctl metadata"
    refused(cli("import", path, "--name", "c"), 12, expected, "restore the file from a copy, or learn again")
    save_file({"ctx": torch.zeros(4, 32, dtype=torch.int64)}, path)
    expected = "its ctx is not a tensor of float16, bfloat16, float32 or float64"
    not_one(cli("import", path, "--name", "c"), path, expected)
    save_file({"ctx": torch.zeros(4, 32)}, path)
    data = path.read_bytes()
    damage = [data[:-1], data.replace(b"[4,32]", b"[4,99]"), data.replace(b"[0,512]", b"[-9,99]")]
    damage += [
        data.replace(b"[4,32]", b"[4.032"),
        data.replace(b"[4,32]", b'"4,32"'),
        data.replace(b"[4,32]", b"[true]"),
    ]
    for damaged in damage:
        assert damaged != data
        path.write_bytes(damaged)
        reason = "it is not a whole safetensors file, or it is cut off or damaged"
        with pytest.raises(BadCheckpoint, match=reason):
            Checkpoint.read(path)


DEEPER = {
    "it is a whole model of MaPLe with 'prompt_learner.compound_prompts_text.0', which is more than a context": (
        "prompt_learner.compound_prompts_text.0"
    ),
    "it is a whole model of MaPLe with 'prompt_learner.proj.weight', which is more than a context": (
        "prompt_learner.proj.weight"
    ),
    "it is a whole model of PromptSRC or IVLP with 'image_encoder.VPT', which is more than a context": (
        "image_encoder.VPT"
    ),
    "it is a whole model of LASP with 'prompt_learner.w', which is more than a context": "prompt_learner.w",
    "it has a meta_net, as CoCoOp's, whose context changes with every image": "prompt_learner.meta_net.linear1.weight",
    "beside its prompt_learner it has 'adapter.weight', so it is another method's": "adapter.weight",
    "beside ctx it has 'bias', so it is another method's and more than a context": "prompt_learner.bias",
}


@pytest.mark.parametrize("reason", DEEPER)
def test_whole_models_of_other_methods_are_refused_by_their_names(cli, clip, tmp_path, reason):
    state = whole(PromptLearner(*clip, NAMES), **{DEEPER[reason]: torch.zeros(2)})
    path = save(tmp_path / "m", {"state_dict": state})
    not_one(cli("import", path, "--name", "c"), path, reason)


def test_checkpoints_of_other_programs_are_told_where_they_differ(cli, clip, tmp_path):
    state = PromptLearner(*clip, NAMES).state_dict()
    others = [
        (
            {"module": state, "ds_version": "0.14"},
            "it is DeepSpeed's, it has its weights under 'module' and no state_dict",
        ),
        ({"model": state}, "it is another program's, it has its weights under 'model' and no state_dict"),
        (
            {"pytorch-lightning_version": "2.0", "state_dict": {f"net.{key}": value for key, value in state.items()}},
            "it has no ctx, only a 'net.ctx', as no CoOp checkpoint calls it",
        ),
    ]
    for content, reason in others:
        path = save(tmp_path / "m", content)
        not_one(cli("import", path, "--name", "c"), path, reason)


UNREADABLE = "torch.save did not write it, or it is cut off or damaged"


def test_an_empty_file_a_folder_and_garbage(cli, clip, tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b"")
    not_one(cli("import", path, "--name", "c"), path, "it is empty")
    not_one(cli("import", tmp_path, "--name", "c"), tmp_path, "it is a folder")
    (tmp_path / "prompt_learner").mkdir()
    inside = original(tmp_path / "prompt_learner" / "model.pth.tar-50", PromptLearner(*clip, NAMES))
    not_one(cli("import", tmp_path, "--name", "c"), tmp_path, "it is a folder", f"did you mean {inside}?")
    rng = np.random.default_rng(0)
    for length in range(1, 200):
        path.write_bytes(rng.bytes(length))
        not_one(cli("import", path, "--name", "c"), path, UNREADABLE)


@FORMS
def test_every_truncation_is_refused(clip, tmp_path, zipped):
    data = original(tmp_path / "whole", PromptLearner(*clip, NAMES[:2]), zipped=zipped).read_bytes()
    path = tmp_path / "m"
    for length in range(1, len(data) - 1, len(data) // 300):
        path.write_bytes(data[:length])
        with pytest.raises(BadCheckpoint):
            Checkpoint.read(path)


@FORMS
def test_damaged_bytes_are_refused_or_read_and_never_anything_else(clip, tmp_path, zipped):
    data = original(tmp_path / "whole", PromptLearner(*clip, NAMES[:2]), zipped=zipped).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        # half of them where the pickle is
        end = len(data) if rng.integers(2) else 6000
        for place in rng.integers(0, end, 8):
            damaged[place] = rng.integers(256)
        (tmp_path / "m").write_bytes(damaged)
        with contextlib.suppress(BadCheckpoint):
            Checkpoint.read(tmp_path / "m")


# --------------------------------------------------------------------------- hostile files


class Does:
    """Pickles as a call."""

    def __init__(self, call, *arguments) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@FORMS
def test_nothing_in_a_file_is_run(cli, clip, tmp_path, zipped):
    mark = tmp_path / "mark"
    touch = f"open({str(mark)!r}, 'w').close()"
    calls = [
        Does(os.system, f"touch {mark}"),
        Does(builtins.exec, touch),
        Does(builtins.eval, touch),
        Does(builtins.getattr, Does(builtins.__import__, "os"), "system"),
        Does(open, str(mark), "w"),
        Does(Does, Does(builtins.eval, touch)),
    ]
    hostile = {"deep": [{"deeper": calls}], "state": Does(os.system, f"touch {mark}")}
    learner = PromptLearner(*clip, NAMES)
    path = save(tmp_path / "m", plain(learner) | {"optimizer": hostile, "scheduler": calls[0]}, zipped=zipped)
    assert cli("import", path, "--name", "c").code == 0, "the context itself is sound"
    assert not mark.exists()
    for i, call in enumerate(calls):
        for j, content in enumerate((call, {"state_dict": call}, {"state_dict": {"ctx": call}})):
            path = save(tmp_path / f"{i}{j}", content, zipped=zipped)
            assert cli("import", path, "--name", "d").code == 12
    assert not mark.exists()
    # the files do what they seem to where they are trusted
    with pytest.raises(SystemExit):
        torch.load(save(tmp_path / "m", Does(builtins.exec, f"{touch}; raise SystemExit")), weights_only=False)
    assert mark.exists()


def zip_of(path: Path, pickled: bytes, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return path


class Pickled:
    """A pickle whose only tensor is what the test says."""

    class Storage:
        pass

    @classmethod
    def of(cls, kind: object, numel: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
        class Pickler(pickle.Pickler):
            def persistent_id(self, thing: object) -> object:
                return ("storage", kind, "0", "cpu", numel) if isinstance(thing, cls.Storage) else None

        file = io.BytesIO()
        tensor = Does(torch._utils._rebuild_tensor_v2, cls.Storage(), 0, shape, strides, False, OrderedDict())
        Pickler(file, 2).dump({"state_dict": {"ctx": tensor}})
        return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "numel", "shape", "strides"),
    [
        ("O", 128, (4, 4), (4, 1)),  # pointers of the file's choice
        (torch.FloatStorage, 10**12, (10**6, 10**6), (0, 0)),  # four terabytes of one number
        (torch.FloatStorage, 10**12, (70, 10**6), (0, 0)),
        (torch.FloatStorage, 10**9, (16, 10**6), (10**6, 1)),  # of a file that is shorter
        (torch.FloatStorage, 128, (20_000, 1, 1), (1, 1, 1)),  # more classes than a context has
        (torch.FloatStorage, 128, (1,) * 60, (1,) * 60),
        (torch.FloatStorage, 128, (4, 64), (64, 1)),  # beyond its storage
        (torch.FloatStorage, 128, (4, 32), (-32, 1)),  # before it
        (torch.FloatStorage, 128, (-4, -32), (32, 1)),
        (torch.FloatStorage, -1, (4, 32), (32, 1)),
        (os.system, 128, (4, 32), (32, 1)),
    ],
)
def test_tensors_stay_inside_their_storage(tmp_path, kind, numel, shape, strides):
    zip_of(tmp_path / "m", Pickled.of(kind, numel, shape, strides), {"0": bytes(512)})
    with pytest.raises(BadCheckpoint, match="is not a CoOp checkpoint"):
        Checkpoint.read(tmp_path / "m")


def test_a_slice_of_a_larger_tensor_is_read_and_a_transposed_one_refused(tmp_path):
    whole = torch.randn(3, 77, 8).double()
    save(tmp_path / "m", {"state_dict": {"ctx": whole[:, 1:5]}})
    np.testing.assert_array_equal(Checkpoint.read(tmp_path / "m").vectors, whole[:, 1:5].float().numpy())
    save(tmp_path / "m", {"state_dict": {"ctx": whole[0, :8].T}})
    with pytest.raises(BadCheckpoint, match="its ctx is a transposed or repeated tensor, as none of CoOp's is"):
        Checkpoint.read(tmp_path / "m")


@pytest.mark.parametrize("known", [*KNOWN, ("os", "system")])
def test_a_file_changes_none_of_our_classes(tmp_path, known):
    thing = KNOWN.get(known, Inert)
    before = dict(vars(thing)) if isinstance(thing, type) else thing
    state = b"N}X\x07\0\0\0__new__K\x01s\x86b."  # (None, {"__new__": 1}), which sets attributes
    zip_of(tmp_path / "m", b"\x80\x02c%s\n%s\n" % tuple(word.encode() for word in known) + state, {})
    with pytest.raises(BadCheckpoint, match="is not a CoOp checkpoint"):
        Checkpoint.read(tmp_path / "m")
    assert (dict(vars(thing)) if isinstance(thing, type) else thing) == before


def nested(levels: int, innermost: bytes) -> bytes:
    """Opcodes of a tuple that holds one tuple twice, and that another twice, and so on."""
    return innermost + b"".join(
        pickle.BINPUT + bytes([i]) + pickle.BINGET + bytes([i]) + pickle.TUPLE2 for i in range(levels)
    )


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "body",
    [
        b"(X\x07\x00\x00\x00storageX\x01\x00\x00\x00f%sX\x03\x00\x00\x00cpuK\x01tQ.",  # the key of a storage
        b"(X\x07\x00\x00\x00storage%sX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ.",  # its kind
        b"}%sK\x01s.",
        b"}(%sK\x01u.",
        b"(%sK\x01d.",
        b"\x8f(%s\x90.",
        b"(%s\x91.",
    ],
)
def test_what_is_short_in_a_file_and_endless_to_read_is_refused(tmp_path, body):
    pickled = b"\x80\x04" + body.replace(b"%s", nested(60, b"K\x00"))
    path = zip_of(tmp_path / "m.pth.tar", pickled, {})
    with pytest.raises(BadCheckpoint):
        Checkpoint.read(path)


def repeated(unit: bytes, times: int) -> bytes:
    return b"\x80\x04" + unit * times + b"."


def thousands(opcode: bytes, *, call: bytes) -> bytes:
    """Opcodes that give a tuple of a hundred thousand things to something, again and again."""
    return b"\x80\x04cos\nx\nq\x00(" + b"N" * 100_000 + b"tq\x01" + (call + opcode + b"0") * 25_000 + b"."


def word(length: int, mark: bytes) -> bytes:
    return b"X" + length.to_bytes(4, "little") + b"a" * length + b"q" + mark


BOMBS = {
    "13 bytes that ask for four gigabytes": b"\x80\x05\x96" + (4 << 30).to_bytes(8, "little") + b"N.",
    "8 MB of empty sets": repeated(b"\x8f", 8 << 20),
    "as many empty sets as may be": repeated(b"\x8f", (1 << 18) - 3),
    "half of them, remembered": repeated(b"\x8f\x94", (1 << 17) - 2),
    "marks in marks": repeated(b"(", 250_000),
    "tuples in tuples": repeated(b"N" + b"\x85" * 250_000, 1),
    "dictionaries in dictionaries": repeated(b"}" + b"K\x01}" * 60_000 + b"s" * 60_000, 1),
    "a frame longer than any": b"\x80\x04\x95" + (1 << 62).to_bytes(8, "little") + b"N.",
    "one call after the other of many arguments": thousands(b"R", call=b"h\x00h\x01"),
    "one object after the other of many arguments": thousands(b"\x81", call=b"h\x00h\x01"),
    "storages of many arguments": thousands(b"Q", call=b"h\x01"),
    "numbers with one hash": repeated(
        b"}(" + b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N" for k in range(19_000)) + b"u", 1
    ),
    "a number of a quarter of a megabyte": repeated(b"\x8b" + (250_000).to_bytes(4, "little") + b"\x7f" * 250_000, 1),
    "a line of digits": repeated(b"L0x" + b"f" * 250_000 + b"L\n", 1),
    "two long words that are equal": repeated(
        b"}" + word(80_000, b"\1") + word(80_000, b"\2") + b"h\1Ns" + b"h\2Ns" * 20_000, 1
    ),
    "a shape of a quarter of a million axes": (
        b"\x80\x02}X\x0a\x00\x00\x00state_dict}X\x03\x00\x00\x00ctxctorch._utils\n_rebuild_tensor_v2\n"
        b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x80tQ"
        b"K\x00(K\xff" + b"2" * 250_000 + b"t)\x89)tRss."
    ),
}


@pytest.mark.timeout(10)
@FORMS
@pytest.mark.parametrize("bomb", BOMBS)
def test_no_opcode_takes_more_than_its_bytes_are_worth(tmp_path, bomb, zipped):
    path = tmp_path / "m"
    path.write_bytes((hostile.as_zip if zipped else hostile.as_legacy)(BOMBS[bomb]))
    tracemalloc.start()
    try:
        with pytest.raises(BadCheckpoint, match="is not a CoOp checkpoint"):
            Checkpoint.read(path)
        assert tracemalloc.get_traced_memory()[1] < 300e6
    finally:
        tracemalloc.stop()


@pytest.mark.timeout(20)
def test_storages_named_by_what_is_endless_to_hash_are_refused(tmp_path):
    head = b"".join(pickle.dumps(thing, 2) for thing in (0x1950A86A20F9469CFC6C, 1001, {}, {}))
    (tmp_path / "m").write_bytes(head + b"\x80\x02]" + nested(60, b"K\x00") + b"a.")
    with pytest.raises(BadCheckpoint, match=UNREADABLE):
        Checkpoint.read(tmp_path / "m")


def test_zip_files_that_lie_are_refused_and_only_what_is_needed_is_read(tmp_path):
    pickled = Pickled.of(torch.FloatStorage, 128, (4, 32), (32, 1))
    good = zip_of(tmp_path / "good", pickled, {"0": bytes(512), "1": bytes(512)}).read_bytes()
    entry = good.index(b"PK\1\2", good.index(b"PK\1\2") + 1)  # of storage 0, in the list at the end
    lies = {
        "encrypted": (8, b"\1"),
        "a checksum": (16, b"\1\1"),
        "a length": (24, b"\xff\xff\xff\x7f"),
        "a length of the 64-bit kind that is not there": (24, b"\xff\xff\xff\xff"),
        "a place": (42, b"\xff\xff\xff\x7f"),
    }
    for offset, lie in lies.values():
        (tmp_path / "m").write_bytes(good[: entry + offset] + lie + good[entry + offset + len(lie) :])
        with pytest.raises(BadCheckpoint, match=UNREADABLE):
            Checkpoint.read(tmp_path / "m")
    with zipfile.ZipFile(tmp_path / "good", "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data/0", bytes(512))
    with pytest.raises(BadCheckpoint, match=UNREADABLE):
        Checkpoint.read(tmp_path / "good")
    many = {f"{number}": b"" for number in range(8000)}
    with pytest.raises(BadCheckpoint, match=UNREADABLE):
        Checkpoint.read(zip_of(tmp_path / "many", pickled, {"0": bytes(512), **many}))


@pytest.mark.timeout(20)
def test_of_ten_gigabytes_only_what_is_needed_is_read(tmp_path):
    """A sparse file: a context in front, ten gigabytes of nothing behind it."""
    head = hostile.as_legacy(Pickled.of(torch.FloatStorage, 128, (4, 32), (32, 1)), bytes(512))
    (tmp_path / "m").write_bytes(head)
    os.truncate(tmp_path / "m", 10 << 30)
    assert Checkpoint.read(tmp_path / "m").vectors.shape == (4, 32)
    storage = 5 << 29
    head = hostile.as_legacy(Pickled.of(torch.FloatStorage, storage, (4, 32), (32, 1)))
    (tmp_path / "m").write_bytes(head[:-8] + storage.to_bytes(8, "little"))
    os.truncate(tmp_path / "m", 11 << 30)
    with pytest.raises(BadCheckpoint, match="its ctx lies among 10737418240 bytes, more than a context takes"):
        Checkpoint.read(tmp_path / "m")


def test_an_epoch_of_a_hundred_digits_is_not_known(clip, tmp_path):
    for epoch in (10**100, -1, 0, True, 2.5, None, 10**6 + 1):
        assert Checkpoint.read(original(tmp_path / "m", PromptLearner(*clip, NAMES), epoch=epoch)).epochs == 0
    assert Checkpoint.read(original(tmp_path / "m", PromptLearner(*clip, NAMES), epoch=10**6)).epochs == 10**6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
def test_any_malformed_file_is_answered_within_a_gigabyte_and_five_seconds(clip, tmp_path):
    learner = PromptLearner(*clip, NAMES[:2])
    real = [original(tmp_path / f"{zipped}", learner, zipped=zipped) for zipped in (True, False)]
    command = [sys.executable, "-W", "error", hostile.__file__, "1", "400", *map(str, real)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("{'read': "), "and some of them are sound enough to be read"


@pytest.mark.timeout(20)
def test_pipes_and_devices_are_no_files(cli, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        expected = f"{path} is a pipe or a device, and a file was expected"
        refused(cli("import", path, "--name", "c"), 10, expected, "save it as a file first")
    (tmp_path / "m.safetensors").mkdir()
    not_one(cli("import", tmp_path / "m.safetensors", "--name", "c"), tmp_path / "m.safetensors", "it is a folder")


@pytest.mark.timeout(20)
def test_a_list_of_names_that_never_ends_is_refused(cli, clip, tmp_path):
    path = original(tmp_path / "m", PromptLearner(*clip, NAMES))
    expected = "/dev/zero is too long for a list of class names"
    refused(cli("import", path, "--name", "c", "--classes", "/dev/zero"), 1, expected, "write one class name per line")


def test_a_shape_of_sequences_is_refused(tmp_path):
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ"
    shape = b"(K\x01K\x02\x86J\x00\x00\x00\x40t"  # ((1, 2), 2**30)
    tensor = rebuild + b"(" + storage + b"K\x00" + shape + b"K\x01K\x01\x86\x89)tR"
    state = b"}X\x0a\x00\x00\x00state_dict}X\x03\x00\x00\x00ctx" + tensor + b"ss."
    with pytest.raises(BadCheckpoint):
        Checkpoint.read(zip_of(tmp_path / "m.pth.tar", b"\x80\x02" + state, {"0": b"\0" * 4}))


def test_the_last_epoch_of_a_folder_is_suggested(cli, tmp_path):
    for epoch in (50, 200, 100):
        (tmp_path / f"model.pth.tar-{epoch}").touch()
    assert "did you mean" in (err := cli("import", tmp_path, "--name", "pets").err)
    assert "model.pth.tar-200" in err


def test_a_bomb_is_not_unpacked(tmp_path):
    # memo entry two thousand million
    zip_of(tmp_path / "memo", b"\x80\x02}r\xff\xff\xff\x7f.", {})
    with pytest.raises(BadCheckpoint, match="it has no state_dict"):
        Checkpoint.read(tmp_path / "memo")
    pickled = Pickled.of(torch.FloatStorage, 128, (4, 32), (32, 1))
    good = zip_of(tmp_path / "good", pickled, {"0": bytes(512)})
    assert Checkpoint.read(good).vectors.shape == (4, 32)
    bomb = zip_of(tmp_path / "bomb", pickled, {"0": bytes(1 << 24)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(BadCheckpoint, match=UNREADABLE):
        Checkpoint.read(bomb)


# --------------------------------------------------------------------------- to the original code


@pytest.fixture
def learned(cli, photos):
    def learn(*options: object) -> Context:
        assert cli("learn", photos, "--name", "colours", "--shots", 2, "--epochs", 3, *options).code == 0
        return stored("colours")

    return learn


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("class_specific", [(), ("--class-specific",)])
def test_export_and_import_give_the_same_context(cli, learned, tmp_path, position, class_specific):
    before = learned("--position", position, *class_specific)
    path = tmp_path / "model.pth.tar-3"
    assert cli("export", "colours", path, "--as", "coop").code == 0
    assert cli("import", path, "--name", "back", "--position", position).code == 0
    after = stored("back")
    for tensor in ("vectors", "text_features", "zero_shot_features"):
        np.testing.assert_array_equal(getattr(after, tensor), getattr(before, tensor))
    assert (after.card.names, after.card.backbone) == (before.card.names, before.card.backbone)
    assert (after.card.method.epochs, after.card.method.class_specific) == (3, bool(class_specific))


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("class_specific", [(), ("--class-specific",)])
def test_the_original_code_sees_what_we_learned(cli, learned, clip, tmp_path, position, class_specific):
    ours = learned("--position", position, "--context-tokens", 5, *class_specific)
    cli("export", "colours", tmp_path / "m", "--as", "coop")
    content = torch.load(tmp_path / "m", weights_only=True)
    assert [*content] == ["state_dict", "epoch", "optimizer", "scheduler", "val_result"]
    assert content["epoch"] == 3
    learner = PromptLearner(
        *clip, ours.card.names, tokens=5, position=position, class_specific=bool(class_specific)
    ).requires_grad_(False)
    state = content["state_dict"]
    for buffer in ("token_prefix", "token_suffix"):
        assert_close(state.pop(buffer), getattr(learner, buffer), atol=0, rtol=0)
    assert learner.load_state_dict(state, strict=False).unexpected_keys == []
    assert_close(learner.features(clip[0]), torch.from_numpy(ours.text_features), atol=1e-5, rtol=0)


def test_export_says_what_the_original_needs(cli, learned, tmp_path, tiny):
    learned()
    path = tmp_path / "m"
    outcome = cli("export", "colours", path, "--as", "coop")
    assert outcome.out.startswith(f"colours@1 is in {path} (")
    assert outcome.err.splitlines() == [
        "the original code expects it at MODEL_DIR/prompt_learner/model.pth.tar-3, and",
        "  --model-dir MODEL_DIR --load-epoch 3 --eval-only",
        "  TRAINER.COOP.N_CTX 16 TRAINER.COOP.CSC False TRAINER.COOP.CLASS_TOKEN_POSITION end TRAINER.COOP.PREC fp32",
        f"  the weights of {tiny} (which it does not come with), and the classes in this order: blue, green, red",
    ]


def test_export_warns_of_names_that_swallow_the_full_stop(cli, learned, photos, tmp_path):
    (photos / "red").rename(photos / "kite (bird of prey)")
    learned()
    outcome = cli("export", "colours", tmp_path / "m", "--as", "coop")
    assert outcome.err.splitlines()[0] == (
        "warning: the original code tokenises the full stop together with the end of 'kite (bird of prey).', promptctl "
        "apart: expect a difference"
    )


def test_what_promptctl_learned_with_the_full_stop_apart_comes_back_so(cli, learned, photos, tmp_path):
    (photos / "red").rename(photos / "kite (bird of prey)")
    before = learned()
    cli("export", "colours", tmp_path / "m", "--as", "coop")
    (tmp_path / "names.txt").write_text("\n".join(before.card.names))
    for name, options in (("read", ()), ("own", ("--classes", tmp_path / "names.txt"))):
        outcome = cli("import", tmp_path / "m", "--name", name, *options)
        assert "warning: the original code tokenises the full stop together" in outcome.err, "it reads them otherwise"
        assert all(not entry.tokens for entry in stored(name).card.classes)
        np.testing.assert_array_equal(stored(name).text_features, before.text_features)


def test_export_replaces_nothing_unasked(cli, learned, tmp_path):
    learned()
    path = tmp_path / "m"
    path.write_text("precious")
    expected = f"{path} cannot be written: it already exists"
    refused(cli("export", "colours", path, "--as", "coop"), 1, expected, "--force replaces it")
    assert path.read_text() == "precious"
    assert cli("export", "colours", path, "--as", "coop", "--force").code == 0
    assert Checkpoint.read(path).epochs == 3
    assert [item.name for item in tmp_path.iterdir() if item.name.endswith(".part")] == []


def test_places_where_no_file_can_be(cli, learned, tmp_path):
    learned()
    hint = "name a file in it"
    expected = f"{tmp_path} cannot be written: it is a folder"
    refused(cli("export", "colours", tmp_path, "--as", "coop", "--force"), 1, expected, hint)
    path = tmp_path / "no" / "m"
    expected = f"{path} cannot be written: there is no folder {path.parent}"
    refused(cli("export", "colours", path, "--as", "coop"), 1, expected, f"mkdir -p {path.parent}")
    refused(cli("export", "nothing", path, "--as", "coop"), 10, "no context named 'nothing'", "promptctl list")


def test_export_puts_nothing_in_the_place_of_a_device_or_a_link(cli, learned, tmp_path):
    learned()
    os.mkfifo(tmp_path / "pipe")
    expected = f"{tmp_path / 'pipe'} cannot be written: it exists and is not a file"
    refused(cli("export", "colours", tmp_path / "pipe", "--as", "coop", "--force"), 1, expected, "name another")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert cli("export", "colours", tmp_path / "link", "--as", "coop", "--force").code == 0
    assert (tmp_path / "link").is_symlink()
    assert Checkpoint.read(tmp_path / "file").epochs


def test_export_needs_the_contexts_own_backbone(cli, learned, tmp_path):
    learned()
    outcome = cli("export", "colours", tmp_path / "m", "--as", "coop", "--model", "mini")
    assert outcome.code == 1
    assert outcome.err.startswith("error: 'colours@1' was learned on other weights or preprocessing (")
    assert not (tmp_path / "m").exists()


def test_the_embedded_backbone_goes_both_ways(cli, tmp_path):
    where = f"local-dir:{MINI_FOLDER}"
    model, tokenizer = open_clip.create_model(where).eval(), open_clip.get_tokenizer(where)
    embedded = model.token_embedding(tokenizer(["X X dog.", "X X café au lait."])).detach().half()
    path = save(tmp_path / "m", {"state_dict": {"ctx": torch.zeros(2, 512).half(), "token_suffix": embedded[:, 3:]}})
    assert cli("import", path, "--name", "c", "--model", "mini").code == 0
    assert stored("c").card.labels == ("dog", "café au lait")
    assert cli("export", "c", tmp_path / "out", "--as", "coop").code == 0
