"""The commands as people type them: results, whole sentences, exit codes, streams."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import copy_into_splits, paint
from PIL import Image

from promptctl.cells import unescape
from promptctl.cli.app import GROUPS
from promptctl.context.context import Context
from promptctl.store.refs import Ref
from promptctl.store.store import Store


@pytest.fixture(autouse=True)
def on_tiny(monkeypatch, tiny):
    monkeypatch.setenv("PROMPTCTL_MODEL", tiny)


@pytest.fixture
def learned(colours_bytes):
    """A stored context named colours."""
    return Store().save("colours", colours_bytes, new=True).path


PLAN = "classes: blue, green, red"  # what `learn` says before it looks at the photos themselves


def refused(outcome, code: int, sentence: str, hint: str | None = None, *, before: tuple[str, ...] = ()) -> None:
    lines = [*before, f"error: {sentence}"] + ([f"hint:  {hint}"] if hint else [])
    assert (outcome.code, outcome.err.splitlines(), outcome.out) == (code, lines, "")


# --------------------------------------------------------------------------- learn


def test_learn_says_how_good_it_is_where_it_is_and_what_to_type_next(cli, photos):
    outcome = cli("learn", photos, "--name", "colours", "--shots", 2, "--epochs", 30)
    first, photos_line, stored = outcome.out.splitlines()
    assert first.startswith("colours@1 learned 3 classes from 6 images in ")
    assert photos_line == "photos learned from + measured on: blue (2+4), green (2+4), red (2+4)"
    assert " right on the 12 images not sampled, zero-shot " in first
    assert stored.startswith(f"stored: {Store().find(Ref('colours')).path} (")
    assert outcome.err.splitlines() == [
        PLAN,
        "next: promptctl evaluate colours TEST-FOLDER",
        "      promptctl classify UNSORTED-FOLDER --prompt colours",
    ]


def test_a_dry_run_of_a_new_name_says_what_it_would_learn_and_stops(cli, photos, home):
    outcome = cli("learn", photos, "--name", "colours", "--shots", 2, "--dry-run")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        PLAN,
        "new: 6 photos: blue 2, green 2, red 2",
        "nothing was learned: this was a dry run",
    ]
    assert not Store().names() and n_cached(home) == 0


@pytest.mark.parametrize("model", ["ViT-B-32/nobodys", "ViT-B-32:/no/weights.pt", "local-dir:/no/folder", "minni"])
def test_a_dry_run_of_a_model_that_is_none_fails_as_learning_does(cli, photos, model):
    dry, wet = (cli("learn", photos, "--name", "colours", "--model", model, *how) for how in (("--dry-run",), ()))
    assert (dry.code, dry.out, dry.err) == (wet.code, "", wet.err) and dry.code == 1
    not_here = cli("learn", photos, "--name", "colours", "--model", "ViT-B-32/laion2b_s34b_b79k", "--dry-run")
    assert not_here.code == 0, "it would be downloaded"


def test_what_to_type_next_names_folders_that_are_there(cli, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("test", "unsorted"):
        shutil.copytree(photos, tmp_path / name)
    copy_into_splits(photos, tmp_path / "both parts")
    assert cli("learn", "./photos", "--name", "a", "--epochs", 1).err.splitlines()[-2:] == [
        "next: promptctl evaluate a ./test",
        "      promptctl classify ./unsorted --prompt a",
    ]
    split = cli("learn", "both parts", "--name", "b", "--epochs", 1)
    assert split.err.splitlines()[-2] == "next: promptctl evaluate b 'both parts'"
    assert cli("evaluate", "b", "both parts").out.startswith("b@1 on 6 images of both parts (test): ")


def test_learned_accuracy_is_that_of_evaluate_on_the_same_images(cli, photos, tmp_path):
    folder = copy_into_splits(photos, tmp_path / "split")
    learned = json.loads(cli("learn", folder, "--name", "c", "--shots", 2, "--epochs", 20, "--json").out)
    measured = json.loads(cli("evaluate", "c", folder, "--json").out)
    assert learned["measured_on"] == "images of test/"
    assert (learned["accuracy"], learned["zero_shot_accuracy"]) == (
        pytest.approx(measured["learned"]["top1"]),
        pytest.approx(measured["zero_shot"]["top1"]),
    )


def test_the_context_records_its_shots_and_settings(cli, photos):
    import hashlib

    cli("learn", photos, "--name", "c", "--shots", 2, "--epochs", 5, "--seed", 7, "--position", "front")
    context = Context.load(Store().find(Ref("c")).path)
    hashes = {hashlib.sha256(path.read_bytes()).hexdigest() for path in photos.rglob("*.png")}
    recorded = {bytes(row).hex() for row in context.shots.sha256}
    assert len(recorded) == 6 and recorded < hashes
    method = context.card.method
    assert (method.seed, method.position, method.epochs, method.steps, method.context_tokens) == (7, "front", 5, 5, 16)
    assert context.card.shots.asked == 2


def test_the_same_command_gives_the_same_file(cli, photos):
    for name in ("one", "two"):
        cli("learn", photos, "--name", name, "--shots", 2, "--epochs", 5)
    one, two = (Store().find(Ref(name)).path.read_bytes() for name in ("one", "two"))
    assert one == two


def test_all_images_less_a_fifth_are_the_default(cli, tmp_path):
    folder = paint(tmp_path / "many", images=20)
    report = json.loads(cli("learn", folder, "--name", "c", "--epochs", 3, "--json").out)
    context = Context.load(Store().find(Ref("c")).path)
    assert report["shots"] is None
    assert report["measured_on"] == "images held out"
    assert report["train_images"] + report["measured_images"] == 60
    assert int(context.shots.held_out.sum()) == report["measured_images"] > 0


def test_words_start_the_context_and_decide_its_length(cli, photos):
    cli("learn", photos, "--name", "c", "--shots", 2, "--init", "a photo of a", "--epochs", 0)
    context = Context.load(Store().find(Ref("c")).path)
    assert context.vectors.shape == (4, 32)
    assert abs(context.text_features - context.zero_shot_features).max() < 1e-6, "zero epochs of the words: zero-shot"


def test_class_specific_contexts_have_vectors_of_their_own(cli, photos):
    cli("learn", photos, "--name", "c", "--shots", 2, "--class-specific", "--context-tokens", 4, "--epochs", 2)
    assert Context.load(Store().find(Ref("c")).path).vectors.shape == (3, 4, 32)


def test_classes_get_readable_names(cli, photos, tmp_path):
    (tmp_path / "names.csv").write_text("folder,name\nred,red wine\n")
    (photos / "green").rename(photos / "light_green")
    cli("learn", photos, "--name", "c", "--shots", 2, "--epochs", 1, "--classes", tmp_path / "names.csv")
    card = Context.load(Store().find(Ref("c")).path).card
    assert [(c.id, c.label, c.name) for c in card.classes] == [
        (0, "blue", "blue"),
        (1, "light_green", "light green"),
        (2, "red", "red wine"),
    ]


def test_fresh_makes_the_next_version_and_keeps_the_old(cli, photos, learned):
    before = learned.read_bytes()
    outcome = cli("learn", photos, "--name", "colours", "--shots", 2, "--epochs", 1, "--fresh")
    assert outcome.out.startswith("colours@2 learned")
    assert learned.read_bytes() == before


def test_a_context_worse_than_zero_shot_says_so(cli, tmp_path):
    # right answers for training, wrong ones for measuring: learning must lose
    folder = copy_into_splits(paint(tmp_path / "p", images=6), tmp_path / "split")
    (folder / "test" / "red").rename(folder / "test" / "x")
    (folder / "test" / "green").rename(folder / "test" / "red")
    (folder / "test" / "x").rename(folder / "test" / "green")
    outcome = cli("learn", folder, "--name", "c", "--shots", 4, "--epochs", 60, "--lr", 0.02, "--json")
    report = json.loads(outcome.out)
    outcome = cli("learn", folder, "--name", "c", "--shots", 4, "--epochs", 60, "--lr", 0.02, "--fresh")
    worse = report["accuracy"] < report["zero_shot_accuracy"]
    assert ("worse than zero-shot on images of test/" in outcome.err) == worse
    assert worse, "this test needs a case where learning loses"


def test_damaged_images_are_skipped_counted_and_named(cli, photos):
    (photos / "red" / "half.png").write_bytes((photos / "red" / "0.png").read_bytes()[:900])
    (photos / "red" / "notes.txt").write_text("not a picture")
    outcome = cli("learn", photos, "--name", "c", "--shots", 6, "--epochs", 1)
    assert outcome.code == 0
    assert outcome.err.splitlines()[:2] == [PLAN, "passed over: 1 that is not a photo (1 .txt)"]
    assert outcome.err.splitlines()[2] == "warning: 1 skipped:"
    assert outcome.err.splitlines()[3].startswith(f"  {photos / 'red' / 'half.png'}: damaged")


# --------------------------------------------------------------------------- what learn refuses


def test_a_missing_folder(cli, tmp_path):
    path = tmp_path / "nowhere"
    refused(cli("learn", path, "--name", "c"), 1, f"there is no folder {path}", f"ls {tmp_path}")


def test_a_folder_without_class_folders(cli, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    Image.new("RGB", (8, 8)).save(flat / "a.png")
    refused(
        cli("learn", flat, "--name", "c"),
        1,
        f"{flat} has no class folders",
        f"put the images of each class in a folder of its own, for example {flat / 'sparrow' / 'photo1.jpg'}",
    )


def test_one_class_only(cli, photos):
    for name in ("red", "blue"):
        shutil.rmtree(photos / name)
    refused(
        cli("learn", photos, "--name", "c"),
        1,
        f"{photos} has one class only, 'green', and learning needs at least two",
        f"add a folder of something else beside {photos / 'green'}",
    )


def test_fewer_images_than_shots(cli, photos):
    (photos / "red" / "0.png").unlink()
    refused(
        cli("learn", photos, "--name", "c", "--shots", 6),
        1,
        "class 'red' has 5 usable images, 6 were asked for",
        "--shots 5, or more images of 'red'",
        before=(PLAN,),
    )


def test_a_class_whose_images_are_all_damaged(cli, photos):
    for path in (photos / "red").iterdir():
        path.write_bytes(b"<html>")
    why = "0.png: not an image; 1.png: not an image; 2.png: not an image; 3 more skipped"
    refused(
        cli("learn", photos, "--name", "c"),
        1,
        f"class 'red' has no usable image ({why})",
        "add images of 'red', or move its folder away",
        before=(PLAN,),
    )


def test_copies_of_one_picture_are_one_shot(cli, photos):
    for path in (photos / "red").iterdir():
        path.write_bytes((photos / "red" / "0.png").read_bytes())
    refused(
        cli("learn", photos, "--name", "c", "--shots", 2),
        1,
        "class 'red' has 1 usable image (5 are copies of another), 2 were asked for",
        "--shots 1, or more images of 'red'",
        before=(PLAN,),
    )


def test_class_folders_beside_train_are_named_and_not_learned(cli, photos, tmp_path):
    folder = copy_into_splits(photos, tmp_path / "split")
    shutil.copytree(photos / "red", folder / "pink")
    outcome = cli("learn", folder, "--name", "c", "--epochs", 1)
    assert outcome.code == 0
    assert outcome.err.splitlines()[:3] == [
        PLAN,
        "warning: 1 skipped:",
        f"  {folder / 'pink'}: beside test/, so it is not taken for a class",
    ]


def test_a_folder_one_level_too_high(cli, photos, tmp_path):
    photos.rename(tmp_path / "inner")
    (tmp_path / "outer").mkdir()
    (tmp_path / "inner").rename(tmp_path / "outer" / "photos")
    refused(
        cli("learn", tmp_path / "outer", "--name", "c"),
        1,
        f"{tmp_path / 'outer'} has one class only, 'photos', and learning needs at least two",
        f"did you mean {tmp_path / 'outer' / 'photos'}?",
    )


def test_two_classes_of_one_name_are_refused(cli, photos, tmp_path):
    names = tmp_path / "names.csv"
    names.write_text("red;warm\nblue;warm\n")
    refused(
        cli("learn", photos, "--name", "c", "--classes", names),
        1,
        "the prompt would call both 'blue' and 'red' 'warm'",
        "give each a name of its own with --classes names.csv, or put them in one folder",
    )
    names.write_text("red,warm\nred,hot\n")
    refused(
        cli("learn", photos, "--name", "c", "--classes", names),
        1,
        f"{names} names the folder 'red' twice",
        "leave one of the lines out",
    )


def test_a_store_that_cannot_be_written_is_told_before_any_work(cli, photos, home, monkeypatch):
    home.write_text("a file where the store should be")
    outcome = cli("learn", photos, "--name", "c", "--model", "local-dir:/nowhere")
    hint = "PROMPTCTL_HOME moves the store elsewhere"
    refused(outcome, 1, f"cannot read the store: {home / 'contexts'}: not a directory", hint)


def test_too_many_context_tokens(cli, photos):
    refused(
        cli("learn", photos, "--name", "c", "--context-tokens", 100),
        1,
        "100 context tokens leave no room for a class name",
        "--context-tokens 16, or any number up to 73",
    )
    refused(
        cli("learn", photos, "--name", "c", "--init", " "),
        1,
        "--init has no words in it",
        'for example --init "a photo of a"',
    )


def test_a_test_part_is_measured_on_and_not_kept(cli, photos, tmp_path):
    folder = copy_into_splits(photos, tmp_path / "split")
    assert cli("learn", folder, "--name", "c", "--epochs", 1).code == 0
    context = Context.load(Store().find(Ref("c")).path)
    assert (context.card.score.images, context.card.shots.held_out, len(context.shots)) == (6, 0, 12)


@pytest.mark.parametrize("name", ["../x", "CON"])
def test_a_name_that_cannot_be_one(cli, photos, name):
    outcome = cli("learn", photos, "--name", name)
    assert outcome.code == 1
    assert outcome.err.startswith(f"error: '{name}' is not a context name: ")
    assert not Store().names()


def test_an_existing_name_that_cannot_learn_on_is_refused_before_any_work(cli, photos, learned, home):
    file = home / "small.safetensors"
    assert cli("export", "colours", file, "--without-shots").code == 0
    assert cli("import", file, "--name", "small").code == 0
    refused(
        cli("learn", photos, "--name", "small"),
        1,
        "small@1 can classify but not learn on: the features of its shots were left out",
        "--fresh learns the next version of 'small' from these photos alone; old versions stay",
    )
    assert n_cached(home) == 0 and Store().numbers("small") == (1,)
    assert Store().find(Ref("colours")).path == learned


def test_too_many_tokens(cli, photos, tmp_path):
    (tmp_path / "names.csv").write_text("red," + "dog " * 70)
    refused(
        cli("learn", photos, "--name", "c", "--classes", tmp_path / "names.csv", "--context-tokens", 16),
        1,
        f"the class name '{('dog ' * 70).strip()}' is 70 tokens long, 58 fit beside the context",
        "give it a shorter name with --classes names.csv, or fewer --context-tokens",
    )


def test_words_and_a_number_that_disagree(cli, photos):
    refused(
        cli("learn", photos, "--name", "c", "--init", "a photo of a", "--context-tokens", 16),
        1,
        "'a photo of a' is 4 tokens, --context-tokens 16 was asked",
        "leave --context-tokens out: the words of --init decide",
    )


@pytest.mark.parametrize("shots", ["0", "-3", "many", "²"])
def test_shots_are_a_number_or_all(cli, photos, shots):
    outcome = cli("learn", photos, "--name", "c", f"--shots={shots}")
    assert outcome.code == 2
    assert f"'{shots}' is neither a whole number of at least 1 nor all" in outcome.err


def test_an_unknown_backbone(cli, photos):
    refused(
        cli("learn", photos, "--name", "c", "--model", "ViT-B-16/opnai"),
        1,
        "no backbone named 'ViT-B-16/opnai': 'ViT-B-16' has no weights called 'opnai'",
        "did you mean 'ViT-B-16/openai'?",
    )


# --------------------------------------------------------------------------- evaluate


def test_evaluate_shows_the_context_beside_zero_shot(cli, photos, learned):
    report = json.loads(cli("evaluate", "colours", photos, "--json").out)
    assert (report["schema_version"], report["type"], report["context"]) == (2, "evaluate", "colours@1")
    assert report["images"] == 18
    for side in ("learned", "zero_shot"):
        keys = {"top1", "top5", "macro_f1", "ece", "macro_precision", "macro_recall", "aurc"}
        assert set(report[side]) == keys
        assert all(0 <= value <= 1 for value in report[side].values())
    assert [c["label"] for c in report["per_class"]] == ["blue", "green", "red"]
    right = sum(c["accuracy"] * c["images"] for c in report["per_class"])
    assert right / 18 == pytest.approx(report["learned"]["top1"])
    assert report["learned"]["top1"] > report["zero_shot"]["top1"], "noisy colours are learnable"


def test_evaluate_for_people_names_the_gain(cli, photos, learned):
    lines = cli("evaluate", "colours", photos).out.splitlines()
    assert lines[0].startswith(f"colours@1 on 18 images of {photos}: ")
    assert "points against zero-shot ('a photo of a {}.', " in lines[0]
    assert lines[1].startswith("with 95 % confidence ")
    figures = ["top-1", "top-5", "macro F1", "macro precision", "macro recall", "ECE", "AURC"]
    assert [line.split("\t")[0] for line in lines[3:10]] == figures


def test_evaluate_as_csv_is_per_class(cli, photos, learned):
    rows = list(csv.DictReader(io.StringIO(cli("evaluate", "colours", photos, "--format", "csv").out)))
    assert [row["label"] for row in rows] == ["blue", "green", "red"]
    assert set(rows[0]) == {"label", "name", "images", "accuracy", "zero_shot_accuracy", "f1", "mistaken_for"}


def test_evaluate_fails_under_a_bar(cli, photos, learned):
    assert cli("evaluate", "colours", photos, "--fail-under", 0).code == 0
    (photos / "red").rename(photos / "x")
    (photos / "blue").rename(photos / "red")
    (photos / "x").rename(photos / "blue")
    assert cli("evaluate", "colours", photos, "--fail-under", 99).code == 4


def test_folders_may_be_named_by_readable_name_or_in_capitals(cli, photos, tmp_path, learned):
    (photos / "red").rename(photos / "RED")
    assert cli("evaluate", "colours", photos).code == 0


def test_classes_the_context_does_not_know(cli, photos, learned):
    shutil.copytree(photos / "red", photos / "pink")
    outcome = cli("evaluate", "colours", photos)
    assert outcome.code == 3
    assert outcome.out.startswith(f"colours@1 on 18 images of {photos}: ")
    assert f"  {photos / 'pink' / '0.png'}: 'pink' is not a class of colours@1" in outcome.err.splitlines()
    for name in ("red", "green", "blue"):
        shutil.rmtree(photos / name)
    refused(cli("evaluate", "colours", photos), 1, "'pink' is not a class of 'colours@1'", "promptctl show colours@1")


def test_measuring_on_the_images_learned_from_is_called_that(cli, photos, learned):
    outcome = cli("evaluate", "colours", photos)
    warning = "warning: colours@1 was learned from 9 of these 18 images, so this says little about others"
    assert (outcome.code, warning in outcome.err.splitlines()) == (0, True)


def test_every_format_of_an_evaluation(cli, photos, learned):
    lines = [json.loads(line) for line in cli("evaluate", "colours", photos, "--format", "jsonl").out.splitlines()]
    kinds = [line["type"] for line in lines if line["type"] != "confused"]
    assert kinds == ["overall", *["class"] * 3, *["coverage"] * 6]
    assert (
        lines[0]["learned"]["top1"] == json.loads(cli("evaluate", "colours", photos, "--json").out)["learned"]["top1"]
    )


def test_a_part_of_the_folder_can_be_chosen(cli, photos, tmp_path, learned):
    folder = copy_into_splits(photos, tmp_path / "split")
    counts = {
        split: json.loads(cli("evaluate", "colours", folder, *extra, "--json").out)["images"]
        for split, extra in (("", []), ("train", ["--split", "train"]), ("all", ["--split", "all"]))
    }
    assert counts == {"": 6, "train": 12, "all": 18}
    refused(
        cli("evaluate", "colours", photos, "--split", "val"),
        1,
        f"{photos} has no images in the split 'val' and no parts at all",
        "--split all",
    )


def test_unknown_names_get_a_near_miss(cli, photos, learned):
    refused(cli("evaluate", "colors", photos), 10, "no context named 'colors'", "did you mean 'colours'?")
    refused(
        cli("evaluate", "colours@9", photos),
        10,
        "'colours' has no version 9, the newest is 1",
        "promptctl log colours",
    )


def test_another_backbone_is_never_taken_silently(cli, photos, learned, tmp_path):
    from conftest import TINY, build_clip

    other = build_clip(tmp_path, TINY, seed=5)
    outcome = cli("evaluate", "colours", photos, "--model", f"local-dir:{other}")
    assert outcome.code == 1
    assert outcome.err.startswith("error: 'colours@1' was learned on other weights or preprocessing (local-dir:")


@pytest.mark.parametrize("command", [["evaluate", "colours"], ["classify", "--prompt", "colours"]])
def test_a_corrupted_context_names_its_file(cli, photos, learned, command):
    data = bytearray(learned.read_bytes())
    data[-3] ^= 1
    learned.write_bytes(data)
    refused(
        cli(*command, photos),
        12,
        f"{learned} is not an intact context: its checksum does not match its contents",
        "restore the file from a copy, or learn again",
    )


# --------------------------------------------------------------------------- what was meant


def test_arguments_that_changed_places(cli, photos, learned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = "is a folder, and a context was expected"
    for folder in ("./photos", "photos", str(photos)):
        meant = f"did you mean: promptctl evaluate colours {folder}"
        refused(cli("evaluate", folder, "colours"), 10, f"{folder} {wanted}", meant)
        meant = f"did you mean: promptctl classify {folder} --prompt colours"
        refused(cli("classify", "colours", "-p", folder), 10, f"{folder} {wanted}", meant)
        meant = f"did you mean: promptctl learn {folder} --name waste"
        refused(cli("learn", "waste", "--name", folder), 1, "there is no folder waste", meant)
    (tmp_path / "photos.csv").write_text("path,label\n")
    refused(
        cli("evaluate", "photos.csv", "colours"),
        10,
        "photos.csv is not a context file",
        "did you mean: promptctl evaluate colours photos.csv",
    )
    cli("export", "colours", "file.safetensors")
    refused(
        cli("export", "gone.safetensors", "colours"),
        10,
        "gone.safetensors is not a context file",
        "did you mean: promptctl export colours gone.safetensors",
    )
    refused(
        cli("evaluate", "./photos", "file.safetensors"),
        10,
        f"./photos {wanted}",
        "did you mean: promptctl evaluate file.safetensors ./photos",
    )


def test_a_folder_with_the_name_of_its_context_is_both(cli, photos, learned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos.rename(tmp_path / "colours")
    assert cli("evaluate", "colours", "colours").code == 0
    assert cli("classify", "colours", "--prompt", "colours").code == 0


def test_a_folder_for_a_context_and_a_context_for_a_folder(cli, photos, learned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in (["inspect"], ["show"], ["diff", "colours"], ["evaluate", "./photos", "gone"], ["path"]):
        arguments = [*command, *([] if "gone" in command else ["./photos"])]
        refused(cli(*arguments), 10, "./photos is a folder, and a context was expected", "promptctl list")
    refused(
        cli("inspect", "photos"),
        10,
        "no context named 'photos'",
        "promptctl list   (photos is a folder here, and a context was expected)",
    )
    only = "there is no folder colours, only a context"
    refused(cli("evaluate", "colours", "colours"), 1, only, "promptctl evaluate colours FOLDER")
    refused(cli("classify", "colours", "-p", "colours"), 1, only, "promptctl classify FOLDER --prompt colours")
    refused(cli("learn", "colours", "-n", "x"), 1, only, "promptctl learn FOLDER --name colours --fresh")


def test_an_empty_folder_is_called_empty(cli, photos, learned, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / ".DS_Store").touch()
    example = f"put the images of each class in a folder of its own, for example {empty / 'sparrow' / 'photo1.jpg'}"
    for command in (["evaluate", "colours", empty], ["learn", empty, "-n", "x"], ["compare", empty]):
        refused(cli(*command), 1, f"the folder {empty} is empty", example)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("head.npz", "head.safetensors"),
        ("my head.bin", "'my head.safetensors'"),
        ("head.csv", "head.safetensors"),
        ("head.pth.tar-50", "head.pth.tar-50 --as coop"),
        ("head.pth", "head.pth --as coop"),
    ],
)
def test_a_context_file_has_its_own_suffix_or_none(cli, learned, tmp_path, monkeypatch, name, meant):
    monkeypatch.chdir(tmp_path)
    sentence = f"a context file ends in .safetensors, {name} does not"
    refused(cli("export", "colours", name), 1, sentence, f"promptctl export colours {meant}")
    assert not (tmp_path / name).exists()
    assert cli("export", "colours", "head").code == cli("export", "colours", "head.SafeTensors").code == 0
    refused(
        cli("export", "colours", "x.safetensors", "--as", "coop"),
        1,
        "x.safetensors would be taken for a context file",
        "promptctl export colours x.pth.tar --as coop",
    )


@pytest.mark.parametrize("name", ["head.npz", "head.json", "head.jpg", "my head.csv"])
def test_a_checkpoint_is_written_under_no_foreign_suffix(cli, learned, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    sentence = f"a checkpoint of the original code ends in .pth.tar or .pth, {name} does not"
    meant = "'my head.pth.tar'" if " " in name else "head.pth.tar"
    refused(cli("export", "colours", name, "--as", "coop"), 1, sentence, f"promptctl export colours {meant} --as coop")
    assert list(tmp_path.glob("*head*")) == []


@pytest.mark.parametrize("name", ["head", "head.pth", "head.pt", "head.pth.tar", "model.pth.tar-50", "model.PTH.TAR"])
def test_a_checkpoint_may_be_called_as_the_original_calls_it(cli, learned, tmp_path, name):
    assert cli("export", "colours", tmp_path / name, "--as", "coop").code == 0


def test_a_folder_where_a_context_goes_is_named_beside_a_guess(cli, learned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("colour").mkdir()
    guess = "did you mean 'colours'?   (colour is a folder here, and a context was expected)"
    refused(cli("classify", tmp_path, "--prompt", "colour"), 10, "no context named 'colour'", guess)


# --------------------------------------------------------------------------- inspect


def test_inspect_tells_what_it_is_and_the_words_nearby(cli, photos, learned):
    lines = cli("inspect", "colours", "--top", 2).out.splitlines()
    facts = [line.split(":")[0] for line in lines[:11]]
    assert facts[:8] == ["colours@1", "backbone", "vectors", "learned", "head", "shots", "template", "accuracy"]
    assert facts[8:] == ["file", "drift", "words"]
    assert len(lines) == 11 + (1 + 16) + (1 + 3)


def test_inspect_covers_every_vector_of_every_class(cli, photos):
    cli("learn", photos, "--name", "c", "--shots", 2, "--class-specific", "--context-tokens", 2, "--epochs", 1)
    report = json.loads(cli("inspect", "c", "--json").out)
    assert [(v["of_class"], v["vector"]) for v in report["vectors"]] == [
        (name, i) for name in ("blue", "green", "red") for i in (1, 2)
    ]
    for vector in report["vectors"]:
        distances = [word["euclidean"] for word in vector["by_euclidean"]]
        cosines = [word["cosine"] for word in vector["by_cosine"]]
        assert distances == sorted(distances)
        assert cosines == sorted(cosines, reverse=True)


# --------------------------------------------------------------------------- classify


def test_classify_walks_a_tree(cli, photos, learned):
    outcome = cli("classify", photos, "--prompt", "colours", "--json")
    report = json.loads(outcome.out)
    assert outcome.code == 0
    assert len(report["images"]) == 18
    for image in report["images"]:
        probabilities = [guess["probability"] for guess in image["top"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1)


def test_classify_takes_files_and_counts(cli, photos, learned):
    outcome = cli(
        "classify", photos / "red" / "0.png", photos / "blue", "-p", "colours@1", "--top-k", 1, "--format", "jsonl"
    )
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    assert len(rows) == 7
    assert all(row["type"] == "result" and len(row["top"]) == 1 for row in rows)


def test_classify_as_csv_has_a_column_a_rank(cli, photos, learned):
    rows = list(
        csv.DictReader(io.StringIO(cli("classify", photos, "-p", "colours", "--top", 2, "--format", "csv").out))
    )
    columns = ("label", "name", "probability")
    ranks = (*columns, *(f"{column}_2" for column in columns))
    assert list(rows[0]) == ["path", *ranks, "unknown", "doubtful", "likeness"]
    assert {row["path"] for row in rows} == {str(path) for path in photos.rglob("*.png")}


def test_bad_files_in_a_tree_are_skipped_counted_named_and_exit_3(cli, photos, learned):
    (photos / "notes.txt").write_text("hello")
    (photos / "red" / "1.png").write_bytes(b"")
    outcome = cli("classify", photos, "--prompt", "colours")
    assert outcome.code == 3
    assert outcome.err.splitlines() == [
        "passed over: 1 that is not a photo (1 .txt)",
        "warning: 1 skipped:",
        f"  {photos / 'red' / '1.png'}: empty file",
    ]
    assert len(outcome.out.splitlines()) == 1 + 17


def test_no_readable_file_at_all_is_a_failure(cli, tmp_path, learned):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.jpg").write_text("no")
    assert cli("classify", tmp_path / "x", "--prompt", "colours").code == 1
    (tmp_path / "x" / "a.jpg").unlink()
    refused(
        cli("classify", tmp_path / "x", "--prompt", "colours"),
        1,
        f"there is no file in {tmp_path / 'x'}",
        "give photos, or folders that have some in them",
    )
    refused(
        cli("classify", tmp_path / "y", "--prompt", "colours"),
        1,
        f"there is no file or folder {tmp_path / 'y'}",
        f"ls {tmp_path}",
    )


def test_a_one_pixel_image_is_classified(cli, tmp_path, learned):
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    assert cli("classify", tmp_path / "dot.png", "--prompt", "colours").code == 0


NAMES = [b"new\nline.png", b"tab\tname.png", b"-dash.png", b"\xff\xfe.png", "☃.png".encode(), b"a\x1b[31mb.png"]


@pytest.mark.parametrize("form", ["csv", "jsonl", "table"])
def test_any_file_name_comes_back_byte_for_byte(photos, learned, answering, tmp_path, form):
    (tmp_path / "odd").mkdir()
    odd = sorted(os.fsencode(shutil.copy(photos / "red" / "0.png", tmp_path / "odd" / os.fsdecode(n))) for n in NAMES)
    done = run_process("classify", tmp_path / "odd", "--prompt", "colours", "--format", form)
    assert done.returncode == 0, done.stderr
    if form == "table":
        assert b"\x1b" not in done.stdout, "a file name must not drive the terminal"
        assert len(done.stdout.splitlines()) == len(odd) + 1, "nor break a line"
        return
    text = done.stdout.decode("utf-8", "surrogateescape")
    if form == "csv":
        found = [unescape(row["path"]) for row in csv.DictReader(io.StringIO(text, newline=""))]
    else:
        found = [json.loads(line)["path"] for line in text.splitlines()]
    assert sorted(map(os.fsencode, found)) == odd


# --------------------------------------------------------------------------- the store's commands


def test_list_show_remove_restore(cli, photos, learned):
    (row,) = json.loads(cli("list", "--json").out)["contexts"]
    assert (row["name"], row["version"], row["classes"], row["shots"]) == ("colours", 1, 3, "3")
    assert cli("list", "-q").out == "colours\n"
    assert cli("list", "x", "-q").out == ""
    assert json.loads(cli("show", "colours", "--json").out)["card"]["method"]["learner"] == "coop"
    gone = cli("remove", "colours", "--yes")
    assert gone.out.startswith("'colours' and all its versions are in the trash: ")
    assert gone.err == "next: promptctl restore colours   (to undo)\n"
    refused(cli("show", "colours"), 10, "no context named 'colours'", "promptctl restore colours")
    assert cli("restore", "colours").out.startswith("colours@1 is back: ")
    assert learned.exists()


def test_remove_asks(cli, learned, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    refused(
        cli("remove", "colours"),
        1,
        "removing 'colours' asks first, and there is no terminal to ask on",
        "promptctl remove colours --yes",
    )
    assert learned.exists()


def test_restore_says_what_is_in_the_way(cli, photos, learned):
    refused(
        cli("restore", "colours"),
        10,
        "no removed context named 'colours', it is in the store",
        "promptctl show colours",
    )
    refused(cli("restore", "colors"), 10, "no removed context named 'colors'", "promptctl list --trash")
    cli("remove", "colours", "--yes")
    cli("learn", photos, "--name", "colours", "--epochs", 1)
    refused(
        cli("restore", "colours"),
        1,
        "a context named 'colours' already exists",
        "promptctl rename colours ANOTHER-NAME   (then restore it)",
    )


def test_a_list_without_rows(cli, learned):
    outcome = cli("list", "zzz")
    assert (outcome.out, outcome.err) == ("", "no context's name starts with 'zzz'\n")
    assert cli("list", "zzz", "--format", "csv").out.startswith("name,version,classes,")


def test_an_empty_store_says_what_to_type(cli):
    outcome = cli("list")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err.splitlines()[:2] == ["no contexts yet", "next: promptctl learn ./photos --name birds"]


def test_models_list_shows_mini_and_recommendations(cli):
    rows = json.loads(cli("models", "list", "--json").out)["models"]
    assert (rows[0]["name"], rows[0]["here"], rows[0]["joint_width"]) == ("mini", True, 512)
    assert "ViT-B-16/openai" in [row["name"] for row in rows]


def test_models_pull_offline(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    refused(
        cli("models", "pull", "ViT-B-16/openai"),
        13,
        "the weights of 'ViT-B-16/openai' are not on this machine and HF_HUB_OFFLINE is set",
        "where there is a network: promptctl models pull ViT-B-16/openai",
    )
    refused(
        cli("models", "pull", "ViT-B-16/opnai"),
        1,
        "no backbone named 'ViT-B-16/opnai': 'ViT-B-16' has no weights called 'opnai'",
        "did you mean 'ViT-B-16/openai'?",
    )
    assert cli("models", "pull", "mini").code == 0


# --------------------------------------------------------------------------- --help


@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize("group", [[], *([group] for group in GROUPS)])
def test_help_is_cut_nowhere_on_a_narrow_terminal(cli, group, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = cli(*group, "--help").out
    listed = text.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert listed and all(line.endswith((".", "?")) and not line.endswith("...") for line in listed)
    for name in (line.split()[0] for line in listed):
        said = cli(*group, name, "--help").out
        assert max(map(len, said.splitlines())) <= columns
        assert "…" not in said.replace("N,N,…", "").replace("NAME,…", "").replace("WORD,WORD,…", "")


# --------------------------------------------------------------------------- as a process


def run_process(*arguments: object, **options) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "promptctl", *map(str, arguments)], capture_output=True, check=False, **options
    )


def n_cached(home: Path) -> int:
    """How many image features are kept, as seen from outside."""
    kept = f"file:{home / 'cache' / 'features.sqlite'}?mode=ro"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(kept, uri=True)) as table:
        return int(table.execute("SELECT count(*) FROM features").fetchone()[0])
    return 0


def wait_for(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_learn_keeps_what_was_encoded_and_says_so(photos, number, code, home):
    command = [
        sys.executable,
        "-m",
        "promptctl",
        "learn",
        str(photos),
        "--name",
        "c",
        "--shots",
        "2",
        "--epochs",
        "1000000",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        wait_for(lambda: n_cached(home) == 18)  # from here on it learns, for hours
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, b"")
    plan, error = err.decode().splitlines()
    assert plan == PLAN
    assert error == "error: interrupted; 18 image features are kept, the same command goes on from there"
    assert "18 image features" in run_process("cache", "info").stdout.decode()
    assert list((home / "contexts").iterdir()) == []


@pytest.mark.parametrize("command", [["list", "--json"], ["classify", "{photos}", "--prompt", "colours"]])
def test_a_reader_that_has_left_is_told_by_141(photos, learned, answering, command):
    ours, theirs = os.pipe()
    os.close(ours)
    line = [sys.executable, "-m", "promptctl", *(part.format(photos=photos) for part in command)]
    done = subprocess.run(line, stdout=theirs, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_pipe_that_closes_early_is_no_traceback(photos, learned, answering):
    script = f"{sys.executable} -m promptctl classify {photos} --prompt colours --format csv | head -1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("path,label,name,probability")
    assert "Traceback" not in done.stderr


def test_a_read_only_home_still_classifies(photos, learned, answering, home):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    for path in (*home.rglob("*"), home):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        done = run_process("classify", photos, "--prompt", "colours")
        assert done.returncode == 0, done.stderr
        assert run_process("learn", photos, "--name", "c", "--shots", 2, "--epochs", 1).returncode == 1
    finally:
        for path in (home, *home.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.parametrize("target", ["/dev/full", "&-"])
def test_an_output_that_takes_nothing_is_no_traceback(learned, target):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    script = f"{sys.executable} -m promptctl list >{target}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    said = "error: the result cannot be written: no space left on device\n"
    assert (done.returncode, done.stderr) == ((1, said) if target == "/dev/full" else (0, ""))


@pytest.mark.parametrize("streams", ["2>/dev/full", "2>&-", "<&- 2>&-"])
def test_a_command_whose_warnings_nobody_can_read_ends_as_any_other(streams, home):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    command = f"{sys.executable} -m promptctl show nothing {streams}"
    assert subprocess.run(command, shell=True, timeout=60, check=False, stdout=subprocess.DEVNULL).returncode == 10


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_code_page_that_lacks_a_character_is_no_traceback(photos, learned, answering, encoding, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    (photos / "red" / "0.png").rename(photos / "red" / "東京.png")
    done = run_process("classify", photos / "red", "--prompt", "colours")
    assert (done.returncode, b"\\u6771\\u4eac.png" in done.stdout) == (0, True)


@pytest.mark.parametrize(("asked", "written"), [("", "東京".encode()), ("latin-1", rb"\udce6\udc9d\udcb1")])
def test_what_is_redirected_is_utf_8_whatever_the_code_page(tmp_path, asked, written):
    code_page = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": asked}
    done = run_process("path", env={**os.environ, **code_page, "PROMPTCTL_HOME": str(tmp_path / "東京")})
    assert (done.returncode, written in done.stdout) == (0, True), done.stdout


def test_progress_is_silent_when_nobody_watches(cli, photos, answering):
    assert cli("learn", photos, "--name", "b", "--shots", 2, "--epochs", 1).code == 0, "so that photos are known"
    done = run_process("learn", photos, "--name", "c", "--shots", 2, "--epochs", 5)
    plan, *following = done.stderr.decode().splitlines()
    assert (done.returncode, plan, following[0]) == (0, PLAN, "next: promptctl evaluate c TEST-FOLDER")


def test_progress_shows_rate_and_time_left_on_a_terminal(photos, home):
    import pty

    parent, child = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "promptctl",
        "learn",
        str(photos),
        "--name",
        "c",
        "--shots",
        "2",
        "--epochs",
        "400",
    ]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stderr=child, stdout=subprocess.PIPE, env=environment) as process:
        os.close(child)
        shown = b""
        while True:
            try:
                chunk = os.read(parent, 65536)
            except OSError:
                break
            if not chunk:
                break
            shown += chunk
        process.wait(60)
    assert process.returncode == 0
    text = shown.decode()
    assert "learning" in text and "encoding" in text
    assert "/400" in text
    assert "/s" in text
    assert "0:00:0" in text


def test_a_script_that_uses_the_api_gets_reports(photos):
    import promptctl

    report = promptctl.learn(photos, "c", shots=2, epochs=5, model=os.environ["PROMPTCTL_MODEL"])
    assert report.context == "c@1"
    assert promptctl.evaluate("c", photos).images == 18
    with pytest.raises(promptctl.PromptctlError):
        promptctl.evaluate("nothing", Path("x"))


# --------------------------------------------------------------------------- other learners and recipes


def test_clap_is_stored_and_used_like_a_context(cli, photos, tiny):
    learned = cli("learn", photos, "--name", "weights", "--shots", 3, "--model", tiny, "--learner", "clap")
    assert learned.code == 0, learned.err
    shown = cli("show", "weights").out
    assert "vectors:   none: one weight vector per class, which does not generalise to new classes" in shown
    assert "learned:   clap, 300 epochs, 300 steps, lr 0.1, seed 1" in shown
    assert json.loads(cli("evaluate", "weights", photos, "--json").out)["learned"]["top1"] > 0.5
    assert json.loads(cli("evaluate", "weights", photos, "--blend", "auto", "--json").out)["blend"] <= 1
    assert json.loads(cli("inspect", "weights", "--json").out)["vectors"] == []
    assert cli("inspect", "weights").code == 0
    assert cli("classify", photos, "--prompt", "weights").code == 0
    refused = cli("export", "weights", "out.pth.tar", "--as", "coop")
    assert refused.err.splitlines() == [
        "error: out.pth.tar cannot be written: weights@1 was learned with clap and has no context",
        "hint:  leave out --as coop",
    ]


def test_clap_refuses_what_only_a_context_has(cli, photos, tiny):
    done = cli("learn", photos, "--name", "w", "--model", tiny, "--learner", "clap", "--init", "a photo of a")
    assert done.err == (
        "error: clap learns weights of its classes and no context, so --init has no effect\n"
        "hint:  leave out --init, or --learner coop or auto\n"
    )


def test_the_paper_recipe_learns_from_as_many_crops_as_it_has_epochs(cli, photos, tiny):
    asked = ("learn", photos, "--shots", 2, "--model", tiny, "--recipe", "paper")
    assert cli(*asked, "--name", "paper", "--epochs", 5).code == 0
    method = json.loads(cli("show", "paper", "--json").out)["card"]["method"]
    assert (method["recipe"], method["epochs"], method["views"], method["steps"]) == ("paper", 5, 5, 5)
    assert cli(*asked, "--name", "few", "--epochs", 5, "--views", 2).code == 0
    assert "paper recipe, 5 epochs, 5 steps, lr 0.002, seed 1, 2 crops per photo" in cli("show", "few").out
    known = json.loads(cli("cache", "info", "--json").out)["backbones"][0]["features"]
    assert known == 18 + 6 * 5, "the photos themselves, and five crops of the six drawn"
    assert cli(*asked, "--name", "many", "--epochs", 3, "--views", 10**9).code == 0
    assert json.loads(cli("show", "many", "--json").out)["card"]["method"]["views"] == 3, "no more than are shown"


def test_anchor_average_and_template_are_remembered(cli, photos, tiny):
    template = "a photo of a {}, a type of colour."
    options = ("--anchor", "8", "--average", "--template", template)
    done = cli("learn", photos, "--name", "held", "--shots", 2, "--model", tiny, "--epochs", 6, *options)
    assert done.code == 0, done.err
    card = json.loads(cli("show", "held", "--json").out)["card"]
    assert (card["method"]["anchor"], card["method"]["average"]) == (8.0, True)
    assert card["zero_shot_template"] == template
    assert "anchor 8, mean of the late epochs" in cli("show", "held").out
    assert f"against zero-shot ('{template}'" in cli("evaluate", "held", photos).out.replace("\n", " ")


@pytest.mark.parametrize(
    "option", [("--lr", "nan"), ("--lr", "inf"), ("--anchor", "inf"), ("--seed", "-1"), ("--seed", 2**32)]
)
def test_numbers_nothing_can_be_learned_with_are_usage_errors(cli, photos, tiny, option):
    assert cli("learn", photos, "--name", "colours", "--model", tiny, *option).code == 2


def test_learning_measures_itself_on_nothing_it_has_seen(cli, photos, tiny, tmp_path):
    split = copy_into_splits(photos, tmp_path / "split")
    shutil.copytree(split / "train", split / "test", dirs_exist_ok=True)
    shutil.copytree(split / "test" / "red", split / "test" / "pink")
    done = cli("learn", split, "--name", "colours", "--shots", 4, "--model", tiny, "--epochs", 1, "--json")
    report = json.loads(done.out)
    assert (report["train_images"], report["measured_images"]) == (12, 6)
    reasons = Counter(item["reason"] for item in report["skipped"])
    assert reasons == {
        "a copy of a photo to learn from, so it is not measured on": 12,
        "'pink' is not a class of the photos to learn from": 6,
    }


def test_names_that_capitals_alone_tell_apart_are_one_to_the_model(cli, photos, tiny):
    (photos / "red").rename(photos / "Blue")
    refused(
        cli("learn", photos, "--name", "colours", "--model", tiny),
        1,
        "the prompt would call both 'Blue' and 'blue' 'blue'",
        "give each a name of its own with --classes names.csv, or put them in one folder",
    )


def test_a_folder_means_its_own_class_before_anybody_elses_name(cli, photos, tiny, tmp_path):
    (tmp_path / "names.csv").write_text("blue,green thing\ngreen,red thing\nred,green\n")
    options = ("--model", tiny, "--epochs", 1, "--classes", tmp_path / "names.csv")
    assert cli("learn", photos, "--name", "mixed", "--shots", 2, *options).code == 0
    rows = json.loads(cli("evaluate", "mixed", photos, "--json").out)["per_class"]
    assert [(row["label"], row["images"]) for row in rows] == [("blue", 6), ("green", 6), ("red", 6)]
    (photos / "red").rename(photos / "GREEN thing")
    done = json.loads(cli("evaluate", "mixed", photos, "--json").out)
    assert [(row["label"], row["images"]) for row in done["per_class"]] == [("blue", 12), ("green", 6)]
    (photos / "GREEN thing").rename(photos / "GREEN")
    skipped = json.loads(cli("evaluate", "mixed", photos, "--json").out)["skipped"]
    assert {item["reason"] for item in skipped} == {"'GREEN' is not a class of mixed@1"}, (
        "a label, and a name of another"
    )
