"""`doctor`: what looks wrong in a context, each with the command that puts it right."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import paint
from test_context import unit
from test_log import version

from promptctl import commands
from promptctl.classification import references
from promptctl.classification.doubts import PERHAPS, seen
from promptctl.context.card import BackboneId, ClassEntry, Score, Shots
from promptctl.context.context import Context, ShotTable
from promptctl.store.refs import Ref
from promptctl.store.store import Store

E = 8
GONE = BackboneId("no-such-model", "f" * 64, 4, E)  # whose names nobody can read here


def case(per_class=8, classes=3, *, seed=0, spread=0.15) -> tuple[np.ndarray, np.ndarray]:
    """(N, E) images around three directions, and their classes."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(classes), per_class)
    return unit(np.eye(E)[truth] + spread * rng.normal(size=(len(truth), E))).astype(np.float32), truth


def store(x, labels, *, held_out=None, groups=None, predicted=None, labels_of=None, known=None) -> None:
    """birds@1 of these images."""
    known = int(max(labels)) + 1 if known is None else known
    base = version(list(range(known)), zero_shot=list(range(known)), card={"backbone": GONE})
    apart = np.zeros(len(x), np.uint8) if held_out is None else np.asarray(held_out, np.uint8)
    n = len(x)
    shots = ShotTable(
        x.astype(np.float16),
        np.asarray(labels, np.int32),
        np.array([[i % 256, i // 256] * 16 for i in range(n)], np.uint8),
        apart,
        groups=np.arange(n, dtype=np.int32) if groups is None else np.asarray(groups, np.int32),
        predicted=np.full(n, -1, np.int32) if predicted is None else np.asarray(predicted, np.int32),
    )
    card = dataclasses.replace(base.card, shots=Shots(None, n - int(apart.sum()), int(apart.sum())))
    if labels_of:
        card = dataclasses.replace(
            card, classes=tuple(ClassEntry(i, label, label) for i, label in enumerate(labels_of))
        )
    Store().save("birds", dataclasses.replace(base, card=card, shots=shots).to_bytes(), new=True)


def sha(row: int) -> str:
    return bytes([row % 256, row // 256] * 16).hex()


def of_kind(report, kind):
    return [found for found in report.findings if found.kind == kind]


def test_wrong_labels_are_found_with_what_the_images_look_like():
    x, truth = case()
    labels = truth.copy()
    labels[[0, 9]] = [1, 2]
    store(x, labels)
    found = of_kind(commands.doctor("birds"), "label")
    assert {(one.images, one.labels, one.suggested) for one in found} == {
        ((sha(0),), ("class_1", "class_0"), "class_0"),
        ((sha(9),), ("class_2", "class_1"), "class_1"),
    }
    assert all(one.command == "promptctl relabel birds FIXES.csv" for one in found)
    assert found[0].margin >= found[1].margin >= PERHAPS
    assert "000000000000 is 'class_1', probably 'class_0'" in [one.what for one in found]


def test_sound_labels_are_not_doubted():
    x, truth = case()
    store(x, truth)
    assert of_kind(commands.doctor("birds"), "label") == []


def test_an_image_that_folds_recognise_is_not_doubted():
    x, truth = case()
    labels, folds = truth.copy(), truth.copy()
    labels[0] = folds[0] = 1
    store(x, labels, predicted=folds)
    assert of_kind(commands.doctor("birds"), "label") == []


def test_an_image_held_out_is_doubted_by_those_learned_from():
    x, truth = case()
    labels, apart = truth.copy(), np.arange(len(x)) % 4 == 0
    labels[4] = 2
    store(x, labels, held_out=apart)
    (found,) = of_kind(commands.doctor("birds"), "label")
    assert (found.images, found.suggested) == ((sha(4),), "class_0")


def test_copies_do_not_vouch_for_each_other():
    x, truth = case()
    labels = truth.copy()
    x = np.concatenate([x, x[:1], x[:1]])
    labels = np.concatenate([labels, [1, 1]])
    labels[0] = 1
    groups = np.arange(len(x))
    groups[[0, -2, -1]] = 0
    train, nobody = np.zeros(len(x), bool), np.full(len(x), -1)
    together = seen(x, labels, groups, train, nobody)
    apart = seen(x, labels, np.arange(len(x)), train, nobody)
    assert {0, len(x) - 1} <= set(together.doubtful())
    assert apart.margin[0] < together.margin[0] - 0.1, "copies with the same wrong label speak for it"


def test_the_list_of_fixes_has_a_line_for_each(tmp_path, cli):
    x, truth = case()
    labels = truth.copy()
    labels[[0, 9]] = [1, 2]
    store(x, labels)
    out = tmp_path / "fixes.csv"
    done = cli("doctor", "birds", "--write-fixes", out)
    assert done.code == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert {(row["sha256"], row["label"], row["was"]) for row in rows} == {
        (sha(0), "class_0", "class_1"),
        (sha(9), "class_1", "class_2"),
    }
    assert f"promptctl relabel birds {out}" in done.err
    again = cli("doctor", "birds", "--write-fixes", out)
    assert again.code == 1
    assert "it already exists" in again.err
    assert cli("doctor", "birds", "--write-fixes", out, "--force").code == 0


def test_one_picture_in_two_classes_or_on_both_sides_is_named():
    x, truth = case(per_class=9, spread=0.3)
    x[9], x[1], x[20] = x[0], x[2], x[21]
    apart = np.zeros(len(x))
    apart[1] = 1
    store(x, truth, held_out=apart)
    found = of_kind(commands.doctor("birds"), "copies")
    assert [(one.severity, one.labels, one.images) for one in found] == [
        ("high", ("class_0", "class_1"), (sha(0), sha(9))),
        ("high", ("class_0",), (sha(1), sha(2))),
        ("low", ("class_2",), ()),
    ]
    assert found[0].command == "promptctl relabel birds FIXES.csv"
    assert found[1].command.startswith("promptctl learn PHOTOS --name birds --fresh")
    assert found[2].what == "1 image of 'class_2' is nearly a copy of another"


def test_classes_taken_for_each_other_may_be_one():
    x, truth = case(per_class=12)
    labels = truth.copy()
    rng = np.random.default_rng(3)
    both = truth < 2
    x[both] = unit(np.eye(E)[0] + 0.2 * rng.normal(size=(both.sum(), E)))
    store(x, labels)
    (found,) = of_kind(commands.doctor("birds"), "close classes")
    assert (found.labels, found.severity) == (("class_0", "class_1"), "medium")
    assert found.image_cosine > 0.9
    assert found.command.startswith("promptctl class merge birds class_0 class_1 --into class_0   (if they are one)")


def test_names_that_say_nearly_the_same_are_close():
    x, truth = case()
    store(x, truth)
    entry = Store().find(Ref("birds"))
    context = Context.load(entry.path)
    rows = np.eye(3, E, dtype=np.float32)
    rows[1] = unit(np.array([[0.95, 0.31, 0, 0, 0, 0, 0, 0]]))[0]
    Store().save("birds", dataclasses.replace(context, zero_shot_features=rows).to_bytes(), new=False)
    (found,) = of_kind(commands.doctor("birds"), "close classes")
    assert (found.labels, found.severity, round(found.text_cosine, 2)) == (("class_0", "class_1"), "low", 0.95)


def test_small_classes_and_those_without_hold_out_are_named():
    x, truth = case(per_class=8, classes=4)
    keep = np.r_[0:8, 8:16, 16:19]  # three of class 2, none of class 3
    apart = np.zeros(len(keep))
    apart[:2] = 1
    store(x[keep], truth[keep], held_out=apart, known=4)
    report = commands.doctor("birds")
    assert [(one.severity, one.what) for one in of_kind(report, "few images")] == [
        ("high", "'class_3' has no image to learn from, and none is held out to measure it on"),
        ("medium", "'class_2' has only 3 images to learn from, and none is held out to measure it on"),
    ]
    assert [one.what for one in of_kind(report, "no hold-out")] == [
        "'class_1' has no image held out, so its accuracy is not measured"
    ]
    assert [one.severity for one in report.findings] == sorted(
        (one.severity for one in report.findings), key=("high", "medium", "low").index
    )


def test_a_context_without_any_hold_out_says_so_once():
    x, truth = case()
    store(x, truth)
    (found,) = of_kind(commands.doctor("birds"), "no hold-out")
    assert found.command.startswith("promptctl learn PHOTOS --name birds --shots all")
    # a learner without a head has no folds either
    assert found.what.endswith("is held out, so accuracy is not known")
    context = Store()["birds"]
    judged = dataclasses.replace(context.card, folds=Score("shots, in 5 folds", len(x), 0.9, 0.8))
    Store().save("birds", dataclasses.replace(context, card=judged).to_bytes(), new=False)
    (found,) = of_kind(commands.doctor("birds"), "no hold-out")
    assert found.what.endswith("is held out, so accuracy is known from folds of the shots alone")


def test_names_are_not_read_without_the_backbone_and_that_is_said(cli):
    x, truth = case()
    store(x, truth, labels_of=["IMG_20240101", "emu", "ibis"])
    done = cli("doctor", "birds")
    assert done.code == 0
    assert "names were not held to the tokenizer" in done.err
    assert "the name 'IMG_20240101' of 'IMG_20240101' says hardly anything" in done.out
    assert "promptctl class rename birds IMG_20240101 'WHAT IT SHOWS'" in done.err


def test_names_are_held_to_the_tokenizer(colours_bytes):
    context = Context.from_bytes(colours_bytes, "colours")
    names = ("Blue", "blue", "n01440764")
    classes = [dataclasses.replace(e, name=name) for e, name in zip(context.card.classes, names, strict=True)]
    card = dataclasses.replace(context.card, classes=tuple(classes))
    Store().save("colours", dataclasses.replace(context, card=card).to_bytes(), new=True)
    report = commands.doctor("colours")
    assert report.unchecked == ()
    assert [(one.severity, one.labels) for one in of_kind(report, "name")] == [
        ("high", tuple(entry.label for entry in classes[:2])),
        ("medium", (classes[2].label,)),
    ]


def test_a_context_without_shots_says_what_was_not_looked_at(cli):
    Store().save("birds", version([0, 1], card={"backbone": GONE, "shots": Shots(2, 4, 0)}).to_bytes(), new=True)
    others = version([0, 1], card={"backbone": GONE})
    method = dataclasses.replace(others.card.method, lr=0.0)
    others = dataclasses.replace(others, card=dataclasses.replace(others.card, method=method))
    Store().save("others", others.to_bytes(), new=True)
    assert "labels, copies and confusions were not looked at: birds@1 carries no shots" in cli("doctor", "birds").err
    assert "others@1 was imported and has no shots" in cli("doctor", "others").err


def test_files_are_found_by_their_content(cli, colours_bytes, tmp_path):
    context = Context.from_bytes(colours_bytes, "colours")
    ids = np.roll(context.shots.class_ids, 1)
    moved = dataclasses.replace(context.shots, class_ids=ids, predicted=np.full(len(ids), -1, np.int32))
    Store().save("colours", dataclasses.replace(context, shots=moved).to_bytes(), new=True)
    photos = paint(tmp_path / "photos", images=6)
    found = [one for one in json.loads(cli("doctor", "colours", photos, "--json").out)["findings"] if one["paths"]]
    assert found
    assert all(Path(path).parent.parent == photos for one in found for path in one["paths"])


def test_a_candidate_and_a_file_can_be_looked_at(tmp_path, cli):
    x, truth = case()
    store(x, truth)
    data = Store().find(Ref("birds")).path.read_bytes()
    Store().save_candidate("birds", data)
    (tmp_path / "birds.safetensors").write_bytes(data)
    assert json.loads(cli("doctor", "birds@candidate", "--json").out)["context"] == "birds@candidate"
    assert "--name NAME" in cli("doctor", tmp_path / "birds.safetensors").err


@pytest.mark.parametrize("output", ["table", "json", "jsonl", "csv"])
def test_every_format_has_every_finding(output, cli):
    x, truth = case()
    labels = truth.copy()
    labels[0] = 1
    store(x, labels)
    out = cli("doctor", "birds", "--format", output).out
    assert "000000000000 is 'class_1', probably 'class_0'" in out


def test_what_is_held_out_has_no_say():
    x, truth = case(spread=0.3)
    apart, nobody = np.arange(len(x)) % 3 == 0, np.full(len(x), -1)
    found = seen(x, truth, np.arange(len(x)), apart, nobody)
    scores = references.ridge(x[~apart], truth[~apart]).scores(x[apart])
    own = scores[np.arange(len(scores)), truth[apart]].copy()
    scores[np.arange(len(scores)), truth[apart]] = -np.inf
    np.testing.assert_allclose(found.margin[apart], scores.max(1) - own, atol=1e-12)
    without = seen(x[~apart], truth[~apart], np.arange((~apart).sum()), apart[~apart], nobody[~apart])
    np.testing.assert_allclose(found.margin[~apart], without.margin, atol=1e-12)
