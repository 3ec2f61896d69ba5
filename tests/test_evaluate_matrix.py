"""Several contexts on several folders: what each is alone, and how far it falls from the first folder."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from PIL import Image
from torch.nn.functional import normalize

import promptctl
from promptctl.commands.places import told_apart
from promptctl.context.context import Context
from promptctl.errors import BadSetting, NoImages, WrongOption
from promptctl.report import MatrixReport


@pytest.fixture
def learned(colours_bytes):
    return promptctl.Store().save("colours", colours_bytes, new=True)


@pytest.fixture
def dark(photos, tmp_path):
    """The same photos with other light, less one class, and some of them in the wrong folder."""
    for path in photos.glob("*/*.png"):
        if path.parent.name != "green":
            label = "red" if path.stem in ("0", "1") else path.parent.name
            target = tmp_path / "dark" / label / f"{path.parent.name} {path.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(Image.open(path)) // 9 + 90).save(target)
    return tmp_path / "dark"


def run(cli, *words):
    return json.loads(cli("evaluate", *words, "--json").out)


def test_a_row_is_what_evaluate_says_of_each_folder(cli, photos, dark, learned):
    whole, less = (run(cli, "colours", folder) for folder in (photos, dark))
    found = run(cli, "colours", photos, dark, "--baselines", "zero-shot")
    first, probe, second, probe_too = found["matrix"]
    for row, alone in ((first, whole), (second, less)):
        assert row["folder"] == alone["where"] and row["baseline"] is None
        assert (row["accuracy"], row["zero_shot"]) == (alone["learned"]["top1"], alone["zero_shot"]["top1"])
        assert row["interval"] == alone["top1_interval"]
        assert row["without_head"] == alone["without_head"]["top1"]
    assert (first["drop"], first["zero_shot_drop"], len(second["present"])) == (None, None, 2)
    assert second["drop"] == pytest.approx(whole["learned"]["top1"] - less["learned"]["top1"]) and second["drop"] != 0
    assert second["zero_shot_drop"] == pytest.approx(whole["zero_shot"]["top1"] - less["zero_shot"]["top1"])
    assert probe["baseline"] == "zero-shot" and probe["accuracy"] != first["accuracy"]
    assert probe_too["drop"] == second["zero_shot_drop"] != second["drop"]


def test_python_takes_lists_and_a_backbone_sees_a_folder_once(photos, dark, learned, colours_bytes, monkeypatch):
    from promptctl.commands import evaluate_matrix

    promptctl.Store().save("again", colours_bytes, new=True)
    passes = []
    seen = evaluate_matrix.seen
    monkeypatch.setattr(evaluate_matrix, "seen", lambda *arguments: passes.append(1) or seen(*arguments))
    report = promptctl.evaluate(["colours", "again"], [photos, dark])
    assert isinstance(report, MatrixReport) and len(passes) == 2
    assert [(row.context, row.folder) for row in report.matrix] == [
        (name, str(folder)) for name in ("colours@1", "again@1") for folder in (photos, dark)
    ]
    assert len(promptctl.evaluate("colours", [photos]).matrix) == 1
    with pytest.raises(BadSetting):
        promptctl.evaluate(["colours"], [])
    with pytest.raises(WrongOption, match="--predictions is of one context on one folder"):
        promptctl.evaluate(["colours"], [photos], predictions="x.csv")  # type: ignore[call-overload]


def test_a_person_reads_what_was_taken_as_what_and_how_far_it_falls(cli, photos, dark, learned):
    done = cli("evaluate", "colours", photos, dark)
    lines = done.out.splitlines()
    assert lines[0] == f"1 context (colours@1) on 2 folders of photos ({photos}, {dark})"
    assert lines[1].startswith("colours@1: ") and lines[2].startswith("context\tphotos\timages\tclasses\ttop-1\t")
    assert f"{dark} has no green, so its drop is of other classes too" in done.err
    rows = cli("evaluate", "colours", photos, dark, "--format", "jsonl").out.splitlines()
    assert [json.loads(row)["type"] for row in rows] == ["cell", "cell"]
    low = min(row["accuracy"] for row in run(cli, "colours", photos, dark)["matrix"])
    missed = cli("evaluate", "colours", photos, dark, "--fail-under", 100 * low + 0.5)
    assert missed.code == 4 and f"error: top-1 of colours@1 on {dark}" in missed.err
    (dark / "red" / "broken.png").write_bytes(b"no image")
    assert cli("evaluate", "colours", photos, dark).code == 3


def test_what_exists_is_photos_and_all_else_a_context(cli, photos, dark, learned, colours_bytes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = promptctl.Store()
    store.save("dark", colours_bytes, new=True)
    (tmp_path / "some.csv").write_text("path,label\nphotos/red/0.png,red\n")
    (tmp_path / "file.safetensors").write_bytes(colours_bytes)
    words = ["dark", "colours", "file.safetensors", "photos", "dark", "some.csv"]
    contexts, folders = told_apart(words[0], words[1:], None)
    assert (contexts, [str(path) for path in folders]) == (words[:3], words[3:])
    assert told_apart("colours", ["gone"], None) == (["colours"], [tmp_path.joinpath("gone").relative_to(tmp_path)])
    report = run(cli, "colours", "photos", "dark", "some.csv")
    assert (report["folders"], report["ambiguous"]) == (["photos", "dark", "some.csv"], ["dark"])
    for rest, sentence in (
        (["photos", "nihgt"], "there is no folder and no context nihgt"),
        (["colours", "colours"], "colours is a context, and no folder is named"),
    ):
        with pytest.raises(NoImages, match=sentence):
            told_apart("colours", rest, None)


# --------------------------------------------------------------------------- just some classes


def test_among_fewer_classes_the_head_of_those_answers(cli, photos, dark, learned):
    report = promptctl.evaluate("colours", dark, classes="folders")
    context = Context.load(learned.path)
    assert context.head is not None
    rows = [context.card.labels.index(label) for label in ("blue", "red")]
    paths = sorted(dark.rglob("*.png"))
    features = promptctl.load("colours").encode(paths)
    logits = context.card.logit_scale * features @ context.head.weight[rows].T + context.head.bias[rows]
    truth = np.array([["blue", "red"].index(path.parent.name) for path in paths])
    assert report.classes == 2 and report.learned.top1 == (logits.argmax(1) == truth).mean()
    weights = np.exp(logits / context.card.temperature)
    said = {photo.file: photo.truth_probability for photo in report.photos}
    expected = (weights / weights.sum(1, keepdims=True))[np.arange(len(truth)), truth]
    assert [said[str(path)] for path in paths] == pytest.approx(expected.tolist(), abs=1e-5)
    by_hand = (features @ context.zero_shot_features[rows].T).argmax(1) == truth
    assert report.zero_shot.top1 == by_hand.mean()


def test_a_shared_context_reads_new_names(cli, photos, learned, clip, caplog, tmp_path):
    """Without its head what `evaluate` says is the text tower's answer to the learned vectors and the new name."""
    _, _, tower = clip
    (photos / "green").rename(photos / "tiger_lily")
    names = tmp_path / "names.csv"
    names.write_text("folder,name\nred,red\ntiger_lily,lily of the tiger\n")
    with caplog.at_level(logging.WARNING):
        report = promptctl.evaluate("colours", photos, classes=names)
    assert "6 images of" in caplog.text and "names.csv does not name" in caplog.text
    assert (report.images, report.classes, report.skipped) == (12, 2, ())
    assert [row.name for row in report.per_class] == ["red", "lily of the tiger"]
    import torch

    vectors = torch.from_numpy(Context.load(learned.path).vectors)
    prompts = tower.prompts(["red", "lily of the tiger"], len(vectors))
    with torch.no_grad():
        texts = normalize(tower.encode(vectors, prompts), dim=-1).numpy()
    paths = sorted(photos.glob("[rt]*/*.png"))
    truth = np.array([path.parent.name == "tiger_lily" for path in paths]).astype(int)
    features = promptctl.load("colours").encode(paths)
    assert report.without_head is not None
    assert report.without_head.top1 == ((features @ texts.T).argmax(1) == truth).mean()


def test_a_name_of_the_list_may_be_a_class(photos, learned, tmp_path):
    (photos / "green").rename(photos / "Grass")
    names = tmp_path / "names.json"
    names.write_text('{"red": "red", "Grass": "green"}')
    report = promptctl.evaluate("colours", photos, classes=names)
    assert [row.label for row in report.per_class] == ["green", "red"]


def test_what_reads_no_new_name_says_so(cli, photos, tiny, learned, tmp_path):
    learn = ("--shots", 2, "--epochs", 1, "--model", tiny)
    assert cli("learn", photos, "--name", "own", "--class-specific", *learn).code == 0
    assert cli("learn", photos, "--name", "weights", "--learner", "clap", *learn).code == 0
    assert run(cli, "own", photos, "--classes", "folders")["classes"] == 3
    (photos / "green").rename(photos / "lily")
    for name, has in (
        ("own", "a context for each of its classes"),
        ("weights", "weights of its classes and no context"),
    ):
        done = cli("evaluate", name, photos, "--classes", "folders")
        assert (done.code, done.err.splitlines()) == (
            1,
            [
                f"error: {name}@1 has {has}, which says nothing of a new class such as 'lily'",
                "hint:  leave out --classes, or give a context that all classes share",
            ],
        )
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes(Context.load(learned.path).without_shots().to_bytes())
    done = cli("evaluate", bare, photos, "--classes", "folders")
    assert done.code == 1 and "cannot weigh a class that it has only the name of" in done.err


def test_a_stored_context_is_as_it_was(photos, learned):
    before = learned.path.read_bytes()
    (photos / "green").rename(photos / "lily")
    promptctl.evaluate("colours", photos, classes="folders")
    assert learned.path.read_bytes() == before and len(promptctl.Store().entries()) == 1
