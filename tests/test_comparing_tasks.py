"""`compare --tasks` at the command line: what it measures, says and refuses."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from conftest import COLOURS, copy_into_splits, paint

from promptctl.benchmark import continual, ways
from promptctl.benchmark.pool import Reach, divide_photos, encode_pool
from promptctl.clip.backbone import Backbone
from promptctl.data.folder import ImageFolder

FOUR = {**COLOURS, "yellow": (220, 210, 40)}
TEMPLATE = "a blurry photo of a {}."


@pytest.fixture
def split(tmp_path):
    """Four pictures of each of four colours to learn from, two to measure on."""
    return copy_into_splits(paint(tmp_path / "photos", images=6, colours=FOUR), tmp_path / "split")


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    for epochs in ("UPDATE_EPOCHS", "ROWS_EPOCHS"):
        monkeypatch.setattr(ways.coop, epochs, 3)
    monkeypatch.setattr(ways.coop, "fast_epochs", lambda shots, **_: 3)


def test_every_way_is_measured_as_the_protocol_does(cli, split, tiny):
    asked = (split, "--tasks", 2, "--shots", 3, "--seeds", "1,5", "--model", tiny, "--template", TEMPLATE)
    found = json.loads(cli("compare", *asked, "--json").out)
    assert [row["way"] for row in found["ways"]] == list(ways.FOR_PEOPLE)

    folder, backbone = ImageFolder.scan(split), Backbone(tiny)
    divided, names = divide_photos(folder, folder.only("train")), {label: label for label in folder.labels}
    pool, _ = encode_pool(divided, folder, names, Reach((1, 5), 3), backbone, TEMPLATE)
    tasks = continual.tasks_of(4, 2, 5)
    lines = continual.class_incremental(continual.photos_of(pool, 3, 5), tasks, ways.FOR_PEOPLE, seed=5)
    for row, line in zip(found["ways"], lines, strict=True):
        run = row["runs"][1]
        assert (run["seed"], run["seen"], run["last"]) == (5, list(line.measures.seen), line.last), row["way"]
        assert [len(accuracies) for accuracies in run["accuracies"]] == [1, 2]
        assert run["accuracies"][1] == list(line.accuracies[1])
        for measure in ("average", "forgetting", "pure_forgetting", "learned", "bwt", "fwt"):
            assert run[measure] == getattr(line.measures, measure), (row["way"], measure)
        lasts = [run["last"] for run in row["runs"]]
        assert (row["last"], row["last_std"]) == pytest.approx((np.mean(lasts), np.std(lasts)))
    assert found["orders"][1]["tasks"] == [[folder.labels[c] for c in task] for task in tasks]
    assert (found["shots"], found["test_images"], found["update_steps"]) == (3, 8, 3)


def test_a_person_sees_the_measures_and_the_curve(cli, split, tiny):
    done = cli("compare", split, "--tasks", 2, "--shots", 2, "--seeds", 1, "--model", tiny)
    first, *lines = done.out.splitlines()
    assert first.startswith(
        "top-1 in % on 8 images of test/; 2 tasks of 2 classes, 2 shots each, one seed, on local-dir:"
    )
    heads = [line.split("\t") for line in lines if line.startswith(("learned by", "after task"))]
    assert heads[0] == ["learned by", "average", "last", "forgetting", "pure", "learned", "seconds"]
    assert heads[1] == ["after task", "1", "2"]
    frozen = next(line.split("\t") for line in lines if line.startswith("zero-shot"))
    assert frozen[4] == "0.0", "what does not learn forgets nothing"
    assert sum(line.startswith("replay\t") for line in lines) == 2


def pool_of(split, tiny, depth):
    folder, backbone = ImageFolder.scan(split), Backbone(tiny)
    divided, names = divide_photos(folder, folder.only("train")), {label: label for label in folder.labels}
    return encode_pool(divided, folder, names, Reach((1, 5), depth), backbone, TEMPLATE)[0]


@pytest.mark.parametrize(
    ("asked", "versions"),
    [
        (["months", "--tasks", 2], ["month 1", "month 2"]),
        (["labels", "--shots", 4], ["wrong", "corrected", "right"]),
    ],
)
def test_months_and_labels_are_measured_as_their_protocols_do(cli, split, tiny, asked, versions):
    common = ("--seeds", "1,5", "--model", tiny, "--template", TEMPLATE, "--json")
    found = json.loads(cli("compare", split, "--protocol", *asked, *common).out)
    assert (found["protocol"], found["versions"], found["shots"]) == (
        asked[0],
        versions,
        {"months": 8}.get(asked[0], 4),
    )
    assert [row["way"] for row in found["ways"]] == list(ways.FOR_PEOPLE)
    pool = pool_of(split, tiny, 4)
    if asked[0] == "months":
        photos = continual.photos_by_month(pool, 2, 5)
        courses = continual.monthly(photos, ways.FOR_PEOPLE, seed=5, months=2)
    else:
        courses = continual.corrected(continual.photos_of(pool, 4, 5), ways.FOR_PEOPLE, seed=5)
    for row, course in zip(found["ways"], courses, strict=True):
        assert row["runs"][1]["accuracies"] == list(course.accuracies), row["way"]
        of_seeds = np.array([run["accuracies"] for run in row["runs"]])
        assert row["accuracies"] == pytest.approx(of_seeds.mean(0)) and len(row["accuracies"]) == len(versions)
        assert row["accuracies_std"] == pytest.approx(of_seeds.std(0))
        step = np.diff(of_seeds.mean(0)).min() if asked[0] == "months" else None
        assert row["worst_step"] == (step if step is None else pytest.approx(step))


def test_by_month_no_more_photos_are_encoded_than_can_come(split, tiny):
    pool = pool_of(split, tiny, 3)
    assert continual.most_by_month(3) == 14
    assert [len(continual.photos_by_month(pool, months, 1).train) for months in (1, 2)] == [8, 16]


def test_a_person_sees_a_line_for_each_way_by_month_and_of_labels(cli, split, tiny):
    done = cli("compare", split, "--protocol", "months", "--tasks", 2, "--seeds", 1, "--model", tiny)
    first, heads, *lines = done.out.splitlines()
    assert first.startswith(
        "top-1 in % on 8 images of test/; 2 photos of 4 classes, and then 6 more of 1 of them every month, one seed, "
    )
    assert heads.split("\t") == ["learned by", "month 1", "month 2", "worst step", "seconds"]
    assert len(lines) == len(ways.FOR_PEOPLE) and lines[0].split("\t")[3] == "+0.0"
    asked = ("--protocol", "labels", "--shots", 4, "--seeds", "1,2", "--model", tiny)
    rows = list(csv.DictReader(io.StringIO(cli("compare", split, *asked, "--format", "csv").out)))
    assert [(row["way"], row["seed"]) for row in rows] == [(way, seed) for way in ways.FOR_PEOPLE for seed in "12"]
    assert list(rows[0]) == ["way", "seed", "seconds", "wrong", "corrected", "right"]


@pytest.mark.parametrize(
    ("asked", "code", "error"),
    [
        (["labels", "--tasks", 2], 1, "error: --protocol labels has two versions, so --tasks has no effect"),
        (["labels", "--shots", 2], 2, "error: shots is 2, a whole number from 3 to "),
        (["labels", "--shots", "3,4"], 2, "--shots: --protocol labels takes one number of images per class"),
        (["months", "--shots", 4], 1, "error: the months say how many photos come, so --shots has no effect"),
        (["months", "--plot", "curve.png"], 2, "Invalid value for --plot: it has no effect with --protocol months"),
        (
            ["months", "--tasks", 30],
            1,
            " has photos for 5 months, 30 were asked for\nhint:  --tasks 5, or more photos\n",
        ),
        (["days"], 2, "'days' is not one of 'classes', 'months', 'labels'"),
    ],
)
def test_what_a_protocol_does_not_take_is_refused(cli, split, tiny, asked, code, error):
    done = cli("compare", split, "--seeds", 1, "--model", tiny, "--protocol", *asked)
    assert (done.code, done.out) == (code, "") and error in done.err


def test_csv_has_a_row_for_each_way_and_seed(cli, split, tiny):
    asked = ("--tasks", 3, "--shots", 2, "--seeds", "1,2", "--model", tiny, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(cli("compare", split, *asked).out)))
    assert [(row["way"], row["seed"]) for row in rows] == [(way, seed) for way in ways.FOR_PEOPLE for seed in "12"]
    assert all(row["seen_3"] == row["last"] for row in rows) and "seen_4" not in rows[0]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--learners", "coop"], "Invalid value for --learners: it has no effect with --tasks"),
        (["--base-to-new"], "Invalid value for --base-to-new: it has no effect with --tasks"),
        (["--plot", "curve.png"], "Invalid value for --plot: it has no effect with --tasks"),
        (["--epochs", 5], "Invalid value for --epochs: it has no effect with --tasks"),
        (["--class-specific"], "Invalid value for --class-specific: it has no effect with --tasks"),
        (["--shots", "1,2"], "Invalid value for --shots: --tasks takes one number of images per class"),
        (["--tasks", 1], "Invalid value for '--tasks': "),
    ],
)
def test_what_tasks_do_not_take_is_refused(cli, split, tiny, options, error):
    done = cli("compare", split, "--tasks", 2, "--model", tiny, *options)
    assert (done.code, done.out) == (2, "") and error in done.err


def test_more_tasks_than_classes_are_refused_before_the_backbone_is_loaded(cli, split):
    done = cli("compare", split, "--tasks", 5, "--model", "mini")
    assert (done.code, done.out) == (1, "")
    assert done.err == f"error: 5 tasks are more than the classes: {split} has 4\nhint:  --tasks 4 or fewer\n"


def test_a_class_that_nothing_can_be_measured_of_is_refused(cli, split, tiny):
    for path in (split / "test" / "red").iterdir():
        path.unlink()
    done = cli("compare", split, "--tasks", 2, "--shots", 2, "--model", tiny)
    assert (done.code, done.out) == (1, "")
    assert f"error: {split} has no image to measure 'red' on\nhint:  add some, or leave out --tasks\n" in done.err


def test_too_many_shots_are_refused(cli, split, tiny):
    done = cli("compare", split, "--tasks", 2, "--model", tiny)
    assert (done.code, done.out) == (1, "") and "has 4 usable images, 16 were" in done.err


def test_a_way_below_zero_shot_is_warned_of(cli, split, tiny, monkeypatch):
    monkeypatch.setitem(ways.WAYS, "zero-shot", ways.WAYS["nearest-mean"])  # the tiny CLIP knows no colour
    done = cli("compare", split, "--tasks", 2, "--shots", 2, "--seeds", 1, "--model", tiny)
    last = {line.split("\t")[0]: line.split("\t")[2] for line in done.out.splitlines()[2:14]}
    below = [f"warning: {way} ends at {last[way]} %, below zero-shot (100.0 %)" for way in last if last[way] != "100.0"]
    assert len(below) > 0 and done.err.splitlines()[-len(below) :] == below
