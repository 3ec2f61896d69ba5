"""`compare` at the command line: the settings it takes, what it keeps, what it warns of."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sqlite3
from collections import Counter

import numpy as np
import pytest
from conftest import COLOURS, copy_into_splits, paint

from promptctl import commands, signals
from promptctl.benchmark import protocol, results
from promptctl.benchmark import variants as compared
from promptctl.benchmark.order import mixed
from promptctl.benchmark.pool import Reach, divide_photos, encode_pool
from promptctl.benchmark.results import Results
from promptctl.cli.main import _interrupted
from promptctl.clip.backbone import Backbone
from promptctl.context.context import Context
from promptctl.data.folder import ImageFolder
from promptctl.errors import Interrupted, NoImages, TooFewShots
from promptctl.learners.settings import LearnSettings
from promptctl.report import BaseToNewRow, ComparedRow, CompareReport
from promptctl.store.refs import Ref
from promptctl.store.store import Store

FOUR = {**COLOURS, "yellow": (220, 210, 40)}
TEMPLATE = "a blurry photo of a {}."
QUICK = LearnSettings(epochs=5)
PAPER = LearnSettings(recipe="paper", epochs=4, views=3)


@pytest.fixture
def split(photos, tmp_path):
    """Four pictures of each of three colours to sample from, two to measure on."""
    return copy_into_splits(photos, tmp_path / "split")


# --------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("learner", "options", "settings", "own"),
    [
        ("coop", ["--lr", 0.01], LearnSettings(lr=0.01), []),
        ("coop", ["--context-tokens", 3, "--position", "front"], LearnSettings(context_tokens=3, position="front"), []),
        ("coop", ["--init", "a photo of a", "--epochs", 9], LearnSettings(init="a photo of a", epochs=9), []),
        ("coop", ["--class-specific", "--epochs", 9], LearnSettings(class_specific=True, epochs=9), []),
        ("coop-csc", ["--epochs", 9], LearnSettings(epochs=9), ["--class-specific"]),
        ("coop", ["--recipe", "paper", "--epochs", 4, "--views", 3], PAPER, []),
        ("coop", ["--recipe", "paper", "--epochs", 3], LearnSettings(recipe="paper", epochs=3), []),
        ("coop", ["--views", 2, "--epochs", 6], LearnSettings(views=2, epochs=6), []),
        ("coop-anchor", ["--epochs", 9], LearnSettings(epochs=9), ["--anchor", 8]),
        ("coop-anchor", ["--anchor", 3, "--epochs", 9], LearnSettings(anchor=3.0, epochs=9), []),
        ("coop", ["--anchor", 3, "--average", "--epochs", 20], LearnSettings(anchor=3.0, average=True, epochs=20), []),
        ("coop-average", ["--epochs", 20], LearnSettings(epochs=20), ["--average"]),
        ("clap", ["--lr", 0.5], LearnSettings(lr=0.5), ["--learner", "clap"]),
        ("clap", ["--views", 2, "--epochs", 20], LearnSettings(views=2, epochs=20), ["--learner", "clap"]),
    ],
)
def test_compare_measures_what_learn_learns_to_the_bit(cli, split, tiny, learner, options, settings, own):
    asked = (split, "--model", tiny, "--template", TEMPLATE, "--shots", 2, *options, "--json")
    (row,) = json.loads(cli("compare", *asked, "--seeds", 3, "--learners", learner).out)["learners"]
    pure = [] if learner == "clap" else ["--no-head"]
    learned = json.loads(cli("learn", *asked, "--seed", 3, *own, *pure, "--name", "same").out)
    assert row["runs"] == [learned["accuracy"]]

    kept = Context.load(Store().find(Ref("same")).path)
    folder, backbone = ImageFolder.scan(split), Backbone(tiny)
    divided = divide_photos(folder, folder.only("train"))
    names = {label: label for label in folder.labels}
    pool, _ = encode_pool(divided, folder, names, Reach((3,), 2), backbone, TEMPLATE)
    found = protocol.Trial(pool, 2, 3, compared.settings_of(learner, settings)).fit()
    assert found.method == kept.card.method
    np.testing.assert_array_equal(found.vectors, kept.vectors)
    np.testing.assert_array_equal(found.text_features, kept.text_features)


def test_compare_measures_the_head_that_learn_answers_with(cli, split, tiny):
    asked = (split, "--model", tiny, "--template", TEMPLATE, "--shots", 2, "--json")
    rows = json.loads(cli("compare", *asked, "--seeds", "1,2,3", "--learners", "coop-head,zero-shot").out)["learners"]
    runs, by_hand = (row["runs"] for row in rows)
    for seed, accuracy in enumerate(runs, 1):
        cli("learn", *asked, "--seed", seed, "--epochs", 1, "--name", f"s{seed}")
        assert Store()[f"s{seed}"].head is not None
        assert Store()[f"s{seed}"].card.score.accuracy == accuracy
    assert runs != by_hand, "or the head has learned nothing"


def test_settings_of_coop_have_no_effect_on_the_head_alone(cli, split, tiny):
    done = cli("compare", split, "--model", tiny, "--shots", 1, "--learners", "coop-head", "--epochs", 5)
    assert (done.code, done.err.splitlines()[0]) == (1, "error: --epochs has no effect on coop-head")


def test_a_learner_takes_of_the_settings_what_it_heeds():
    of = compared.settings_of
    all_of_them = LearnSettings("coop", None, "a photo of a", True, "front", "paper", 7, 0.5, 3, 2.0, True, seed=4)
    assert of("coop", all_of_them) == of("coop-csc", all_of_them) == of("coop-blend", all_of_them) == all_of_them
    assert of("coop-anchor", all_of_them) == all_of_them
    assert of("clap", all_of_them) == LearnSettings("clap", epochs=7, lr=0.5, views=3, seed=4)
    assert of("zero-shot", all_of_them) == of("linear-probe-raw", all_of_them) == LearnSettings(seed=4)
    assert of("coop-anchor", LearnSettings()) == LearnSettings(anchor=8.0)
    assert of("coop-csc", LearnSettings()) == LearnSettings(class_specific=True)
    assert of("coop-average", LearnSettings()) == LearnSettings(average=True)


@pytest.mark.parametrize(
    ("options", "learners", "error", "hint"),
    [
        (["--init", "a photo of a"], "zero-shot,clap", "--init has no effect on zero-shot or clap", "auto or coop"),
        (["--epochs", "5"], "linear-probe", "--epochs has no effect on linear-probe", "auto, clap, coop or prolip"),
        (
            ["--lr", "5"],
            "zero-shot,ensemble-7",
            "--lr has no effect on zero-shot or ensemble-7",
            "auto, clap, coop or prolip",
        ),
        (
            ["--average"],
            "zero-shot,clap,linear-probe",
            "--average has no effect on zero-shot, clap or linear-probe",
            "coop",
        ),
        (["--class-specific"], "clap", "--class-specific has no effect on clap", "coop"),
        (["--views", "0"], "zero-shot", "--views has no effect on zero-shot", "clap or coop"),
        (["--recipe", "paper", "--views", "2"], "clap", "--recipe has no effect on clap", "coop"),
    ],
)
def test_a_setting_nobody_heeds_is_refused(cli, split, tiny, options, learners, error, hint):
    done = cli("compare", split, "--model", tiny, "--learners", learners, *options)
    option = error.split()[0]
    assert (done.code, done.out) == (1, "")
    assert done.err == f"error: {error}\nhint:  leave out {option}, or add {hint} to --learners\n"


def test_a_setting_one_of_several_heeds_is_his_alone(cli, split, tiny):
    asked = ("compare", split, "--model", tiny, "--shots", 2, "--seeds", 1, "--learners", "clap,coop", "--json")
    clap, coop = json.loads(cli(*asked, "--epochs", 3).out)["learners"]
    same_clap, other_coop = json.loads(cli(*asked, "--epochs", 3, "--init", "a photo of a").out)["learners"]
    assert (clap["runs"], clap["run_seconds"]) == (same_clap["runs"], same_clap["run_seconds"]), "kept"
    assert coop["run_seconds"] != other_coop["run_seconds"], "measured"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--init", ""], "--init has no words in it"),
        (["--init", "a photo", "--context-tokens", "3"], "'a photo' is 2 tokens, --context-tokens 3 was asked"),
        (["--context-tokens", "80"], "80 context tokens leave no room for a class name"),
    ],
)
def test_a_context_that_cannot_be_is_told_before_any_picture_is_read(cli, split, tiny, options, error):
    for path in split.rglob("*.png"):
        path.write_bytes(b"no picture")
    done = cli("compare", split, "--model", tiny, "--learners", "zero-shot,coop-csc", *options)
    assert done.err.splitlines()[-2] == f"error: {error}"


# --------------------------------------------------------------------------- what is kept


def forge(numbers):
    """Other numbers in every row of a run, as if they had been measured."""
    with Results() as kept, sqlite3.connect(kept.path) as db:
        for key, text in db.execute("SELECT key, numbers FROM results").fetchall():
            wrong = json.dumps(numbers[: len(json.loads(text))])
            db.execute(
                "UPDATE results SET numbers = ?, seal = ? WHERE key = ?", (wrong, results._seal(key, wrong), key)
            )
    db.close()


FORGED = [0.125, 0.0625, 99.0]


@pytest.fixture
def four(tmp_path):
    return copy_into_splits(paint(tmp_path / "four", images=6, colours=FOUR), tmp_path / "split")


def ask(cli, folder, tiny, *options, learners="zero-shot,coop,linear-probe-raw"):
    """The report of two seeds at one shot, quickly learned."""
    settings = () if "--epochs" in options or "coop" not in learners else ("--epochs", 3)
    asked = ("compare", folder, "--model", tiny, "--shots", "1", "--seeds", "1,2", "--learners", learners)
    done = cli(*asked, *settings, *options, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def sampled(folder, *, seeds, shots=1):
    """The files of train/ that any of the seeds samples, by the rule of design.md written out."""

    def rank(path, seed):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        return hashlib.sha256(f"{seed}:{content}".encode()).hexdigest()

    of_classes = [list(of_class.iterdir()) for of_class in (folder / "train").iterdir()]
    return {
        path
        for files in of_classes
        for seed in seeds
        for path in sorted(files, key=lambda path, seed=seed: rank(path, seed))[:shots]
    }


def test_the_same_command_again_measures_nothing(cli, four, tiny):
    first = ask(cli, four, tiny, "--base-to-new")
    assert first["known"] == 0
    again = ask(cli, four, tiny, "--base-to-new")
    assert again == {**first, "known": 10}
    forge(FORGED)
    forged = ask(cli, four, tiny, "--base-to-new")
    assert {run for row in forged["learners"] for run in row["runs"]} == {0.125}
    assert {row["seconds"] for row in forged["learners"]} == {0.0625}
    assert {(row["base"], row["new"]) for row in forged["base_to_new"]} == {(0.125, 0.0625)}


def test_what_one_seed_or_number_of_shots_gave_is_not_anothers(four, tiny):
    def known(shots, seed):
        return commands.compare(four, shots=(shots,), seeds=(seed,), learners=("zero-shot",), model=tiny).known

    assert [known(1, 1), known(1, 2), known(2, 1), known(2, 2), known(1, 2)] == [0, 0, 0, 0, 1]


def test_how_much_was_known_is_said_beside_the_table(cli, four, tiny):
    asked = ("compare", four, "--model", tiny, "--shots", "1", "--seeds", "1,2", "--learners", "zero-shot")
    first = cli(*asked)
    again = cli(*asked, "--seeds", "1,2,3")
    assert "known" not in first.err
    assert again.err.endswith("2 of 3 results were known from before; promptctl cache clear deletes them\n")
    assert cli(*asked).out == first.out


@pytest.mark.parametrize(
    "change",
    ["setting", "template", "test photo", "train photo", "class name", "backbone", "moved photo"],
)
def test_whatever_decides_a_result_is_measured_anew(cli, four, tiny, tmp_path, change, tiny_folder):
    ask(cli, four, tiny, learners="coop")
    forge(FORGED)
    options, model = [], tiny
    if change == "setting":
        options = ["--epochs", 7]
    elif change == "template":
        options = ["--template", "{} texture."]
    elif change == "class name":
        (tmp_path / "names.csv").write_text("red,crimson\n")
        options = ["--classes", tmp_path / "names.csv"]
    elif change == "backbone":
        from conftest import TINY, build_clip

        (tmp_path / "other").mkdir()
        model = f"local-dir:{build_clip(tmp_path / 'other', TINY, seed=1)}"
    elif change == "moved photo":
        (four / "test" / "red" / "4.png").rename(four / "test" / "green" / "red.png")
    else:
        paint(four / change.split()[0], images=1, seed=5, colours={"red": (200, 0, 0)})
    found = ask(cli, four, model, *options, learners="coop")
    assert found["known"] == 0
    assert {row["seconds"] for row in found["learners"]}.isdisjoint({0.0625})


def test_what_does_not_decide_a_result_keeps_it(cli, four, tiny):
    ask(cli, four, tiny, learners="zero-shot,coop")
    (four / "train" / "red" / "0.png").rename(four / "train" / "red" / "renamed.png")
    moved = four.rename(four.with_name("elsewhere"))
    found = ask(cli, moved, tiny, learners="coop,clap")
    assert found["known"] == 2


def test_an_interrupted_comparison_goes_on_where_it_was(four, tiny):
    seen = []

    def stop(stage, done, total):
        if stage == "comparing":
            seen.append((done, total))
            if done == 3:
                raise Interrupted(130)

    asked = {
        "shots": (1, 2),
        "seeds": (1, 2),
        "learners": ("coop", "clap"),
        "settings": QUICK,
        "model": tiny,
    }
    with pytest.raises(Interrupted):
        commands.compare(four, **asked, on_progress=stop)
    assert seen == [(0, 8), (1, 8), (2, 8), (3, 8)]
    seen.clear()
    found = commands.compare(
        four, **asked, on_progress=lambda *count: seen.append(count[1:]) if count[0] == "comparing" else 0
    )
    assert found.known == 3
    assert seen == [(done, 8) for done in range(3, 9)]


def test_an_interrupted_comparison_says_what_is_kept(four, tiny, monkeypatch):
    asked = {
        "shots": (1,),
        "seeds": (1, 2, 3),
        "learners": ("clap",),
        "settings": QUICK,
        "model": tiny,
    }

    def interrupted_after(runs):
        monkeypatch.setattr(signals._command, "kept", Counter())  # as in a new process

        def stop(stage, done, total):
            if (stage, done) == ("comparing", runs):
                raise Interrupted(130)

        with pytest.raises(Interrupted):
            commands.compare(four, **asked, on_progress=stop)
        return _interrupted()

    goes_on = "kept, the same command goes on from there"
    needed = 8 + len(sampled(four, seeds=(1, 2, 3)))
    assert interrupted_after(1) == f"interrupted; {needed} image features and 1 result are {goes_on}"
    assert interrupted_after(2) == f"interrupted; 1 result is {goes_on}"
    assert interrupted_after(2) == "interrupted, nothing half-done was kept"


def test_quick_learners_and_slow_ones_take_turns(four, tiny):
    seen = []

    def watch(stage, done, total):
        if stage == "comparing":
            seen.append(Results().measured())

    asked = {"shots": (1, 2), "learners": ("zero-shot", "coop"), "settings": QUICK, "model": tiny}
    found = commands.compare(four, **asked, on_progress=watch)
    assert seen == list(range(13))
    in_the_order_asked_for = ["zero-shot", "zero-shot", "coop", "coop"]
    assert [row.learner for row in found.learners] == in_the_order_asked_for
    tasks = [protocol.Task("run", name, 1, seed) for name in ("zero-shot", "coop") for seed in (1, 2)]
    order = mixed(tasks, lambda task: task.effort(LearnSettings()))
    assert [task.learner for task in order] == ["coop", "zero-shot", "coop", "zero-shot"]


def test_more_steps_and_more_folds_are_more_effort():
    def of(learner, shots=16, **settings):
        return protocol.Task("run", learner, shots, 1).effort(LearnSettings(**settings))

    assert of("zero-shot") < of("clap") < of("linear-probe") < of("coop", 1) < of("coop") < of("coop-blend")
    assert of("coop", epochs=5) < of("coop", 1) == of("coop-blend", 1)


def test_a_damaged_table_costs_time_only(cli, four, tiny, home):
    first = ask(cli, four, tiny, learners="coop")
    (home / "cache" / "results.sqlite").write_bytes(b"damaged" * 1000)
    again = ask(cli, four, tiny, learners="coop")
    assert again["known"] == 0
    assert [row["runs"] for row in again["learners"]] == [row["runs"] for row in first["learners"]]
    assert ask(cli, four, tiny, learners="coop")["known"] == 2


def test_clearing_the_cache_forgets_results_too(cli, four, tiny):
    ask(cli, four, tiny, learners="coop")
    info = cli("cache", "info")
    needed = 8 + len(sampled(four, seeds=(1, 2)))
    assert f"{needed} image features and 2 results of compare and --blend auto take " in info.out
    report = json.loads(cli("cache", "info", "--json").out)
    assert report["results"] == 2
    cleared = json.loads(cli("cache", "clear", "--json").out)
    assert (cleared["features"], cleared["results"]) == (needed, 2)
    assert cleared["n_bytes"] > 0
    assert json.loads(cli("cache", "info", "--json").out)["results"] == 0
    assert ask(cli, four, tiny, learners="coop")["known"] == 0


# --------------------------------------------------------------------------- what is said


def test_csv_has_a_row_for_every_seed_of_the_halves_too(cli, four, tiny):
    asked = ("--base-to-new", "--shots", "1,2")
    report = ask(cli, four, tiny, *asked, learners="coop,clap")
    options = ("compare", four, "--model", tiny, "--seeds", "1,2", "--learners", "coop,clap", "--epochs", 3, *asked)
    rows = list(csv.DictReader(io.StringIO(cli(*options, "--format", "csv").out)))
    assert list(rows[0])[:7] == ["learner", "shots", "mean", "std", "seconds", "seed", "accuracy"]
    assert list(rows[0])[7:] == [
        *("base", "base_std", "new", "new_std", "harmonic", "harmonic_std"),
        *("seed_base", "seed_new", "seed_harmonic"),
    ]
    coop, clap = rows[:4], rows[4:]
    for i, row in enumerate(coop):
        halves = report["base_to_new"][i // 2]
        assert (float(row["base"]), float(row["new_std"])) == (halves["base"], halves["new_std"])
        assert float(row["seed_base"]) == halves["base_runs"][i % 2]
        assert float(row["seed_new"]) == halves["new_runs"][i % 2]
        assert float(row["seed_harmonic"]) == halves["harmonic_runs"][i % 2]
    assert {row["seed_base"] for row in clap} == {""}
    assert np.mean(halves["base_runs"]) == pytest.approx(halves["base"])


def report_of(cells, halves=(), **found):
    """A report of (learner, shots, mean), and of (learner, shots, base, new)."""
    rows = tuple(ComparedRow(learner, shots, mean, None, (mean,), 1.0, (1.0,)) for learner, shots, mean in cells)
    half_rows = tuple(BaseToNewRow(name, shots, base, None, new, None, 0.5, None) for name, shots, base, new in halves)
    nothing = dict.fromkeys(("photos", "left_out", "plot", "plot_error", "zero_shot_base", "zero_shot_new"))
    fixed = {"backbone": "mini", "template": "{}", "classes": 4, "train_images": 9, "test_images": 9, "seeds": (1,)}
    fixed |= {"measured_on": "images of test/", "skipped": (), "ensemble_has_own": False, "known": 0}
    fixed |= {"passed_over": {}, "without_new_classes": ()}
    return CompareReport(
        **{**nothing, **fixed, "zero_shot_accuracy": 0.5, **found}, learners=rows, base_to_new=half_rows
    )


def test_what_is_learned_below_zero_shot_is_warned_of():
    below = [("coop", 1, 0.4), ("coop", 2, 0.3), ("coop", 4, 0.45), ("clap", 1, 0.6), ("linear-probe", 1, 0.49)]
    assert report_of(below).warnings() == [
        "coop at 1, 2 and 4 shots is worse than zero-shot (50.0 %) on images of test/",
        "linear-probe at 1 shot is worse than zero-shot (50.0 %) on images of test/",
    ]
    halves = [("coop", 4, 0.9, 0.2), ("coop-anchor", 4, 0.1, 0.9)]
    found = report_of([("coop", 4, 0.5)], halves, zero_shot_base=0.6, zero_shot_new=0.3).warnings()
    assert found == [
        "coop-anchor at 4 shots is worse than zero-shot (60.0 %) on the base classes",
        "coop at 4 shots is worse than zero-shot (30.0 %) on the new classes",
    ]


def test_equal_to_zero_shot_and_written_by_hand_are_not_warned_of():
    assert report_of([("clap", 1, float(np.mean([0.5 - 1e-12] * 3))), ("ensemble-80", 1, 0.2)]).warnings() == []


def test_zero_shot_is_measured_whoever_is_asked_for(cli, four, tiny):
    asked = ["--base-to-new", "--template", TEMPLATE]
    by_hand = ask(cli, four, tiny, *asked, learners="zero-shot")
    options = ("compare", four, "--model", tiny, "--shots", 1, "--seeds", "1", "--learners", "coop", *asked)
    done = cli(*options, "--epochs", 0, "--json")
    report = json.loads(done.out)
    assert report["zero_shot_accuracy"] == by_hand["learners"][0]["mean"]
    halves = by_hand["base_to_new"][0]
    assert (report["zero_shot_base"], report["zero_shot_new"]) == (halves["base"], halves["new"])
    for key, where in (("base", "base classes"), ("new", "new classes")):
        worse = report["base_to_new"][0][key] < report[f"zero_shot_{key}"]
        assert (f"on the {where}" in done.err) == worse
    assert ("on images of test/" in done.err) == (report["learners"][0]["mean"] < report["zero_shot_accuracy"])
    assert "worse than zero-shot" in done.err, "or this test says nothing"


def test_a_seed_named_twice_is_one_seed(four, tiny):
    found = commands.compare(four, shots=(1,), seeds=(2, 1, 2), learners=("zero-shot",), model=tiny)
    assert (found.seeds, [row["seed"] for row in found.rows()]) == ((2, 1), [2, 1])


@pytest.mark.parametrize(("learner", "said"), [("ensemble-7", "itap of a"), ("ensemble-80", "a ")])
def test_a_name_too_long_for_an_ensemble_is_told_before_any_picture_is_read(cli, split, tiny, tmp_path, learner, said):
    (tmp_path / "names.csv").write_text(f"red,{'very ' * 72}red\n")
    for path in split.rglob("*.png"):
        path.write_bytes(b"no picture")
    asked = ("compare", split, "--model", tiny, "--classes", tmp_path / "names.csv", "--template", "{}", "--learners")
    assert f"error: the template says '{said}" in cli(*asked, learner).err
    assert "the template says" not in cli(*asked, "zero-shot").err


def test_the_ensemble_says_when_it_has_a_sentence_more(cli, four, tiny, tmp_path):
    asked = ("compare", four, "--model", tiny, "--shots", 1, "--seeds", 1, "--learners", "ensemble-7", "--base-to-new")
    plain, own = cli(*asked), cli(*asked, "--template", "oxford_pets", "--plot", tmp_path / "curve.svg")
    assert "\nensemble-7\t" in plain.out
    assert own.out.count("\nensemble-7 + template\t") == 2
    report = json.loads(cli(*asked, "--template", "oxford_pets", "--json").out)
    assert (report["learners"][0]["learner"], report["ensemble_has_own"]) == ("ensemble-7", True)


def test_the_report_says_which_probe_is_the_papers(cli, four, tiny):
    asked = ("compare", four, "--model", tiny, "--shots", 1, "--seeds", 1, "--learners")
    assert cli(*asked, "linear-probe").out.splitlines()[1] == (
        "linear-probe uses normalised image features; "
        "linear-probe-raw, the paper's probe, uses them as they leave the tower"
    )
    assert "linear-probe" not in cli(*asked, "zero-shot").out


def test_shots_are_read_once_for_many_views(cli, four, tiny):
    """`--recipe paper` costs its crops once: the second time they come from the cache of features."""
    asked = ["--recipe", "paper", "--epochs", 2, "--views", 2]
    ask(cli, four, tiny, *asked, learners="coop")
    count = json.loads(cli("cache", "info", "--json").out)["backbones"][0]["features"]
    ask(cli, four, tiny, *asked, learners="coop-average")
    assert json.loads(cli("cache", "info", "--json").out)["backbones"][0]["features"] == count > 16


# --------------------------------------------------------------------------- what is encoded


def encoded(cli):
    backbones = json.loads(cli("cache", "info", "--json").out)["backbones"]
    return sum(one["features"] for one in backbones)


@pytest.mark.parametrize(("learners", "of_class"), [("coop", 2), ("coop,linear-probe", 6), ("linear-probe-raw", 6)])
def test_only_what_the_seeds_and_shots_reach_is_encoded(cli, tmp_path, tiny, learners, of_class):
    """Two shots of one seed, and up to four more that a probe searches its strength on; of ten."""
    whole = paint(tmp_path / "whole", images=12, colours=FOUR)
    for path in sorted(whole.rglob("*.png")):
        part = "test" if int(path.stem) < 2 else "train"
        (tmp_path / "split" / part / path.parent.name).mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "split" / part / path.parent.name / path.name)
    asked = ("compare", tmp_path / "split", "--model", tiny, "--shots", "1,2", "--seeds", 1, "--learners", learners)
    assert cli(*asked).code == 0
    assert encoded(cli) == 4 * 2 + 4 * of_class
    with sqlite3.connect(Results().path) as db:
        ((lengths,),) = db.execute("SELECT count(*) FROM results WHERE kind = 'length'")
    db.close()
    assert lengths == (encoded(cli) if learners == "linear-probe-raw" else 0)


def test_a_damaged_photo_in_reach_makes_way_for_the_next(cli, four, tiny):
    """Cut off, so that it looks well until it is decoded; its content, and so its rank, is that of the cut file."""
    asked = ("compare", four, "--model", tiny, "--shots", 1, "--seeds", 1, "--learners", "clap", "--json")
    cut = next(path for path in sorted((four / "train" / "red").iterdir()) if cut_off(path, four))
    report = json.loads(cli(*asked).out)
    assert [item["path"] for item in report["skipped"]] == [str(cut)]
    assert report["train_images"] == 15
    whole = json.loads(cli(*asked).out)["learners"]
    cut.unlink()
    assert json.loads(cli(*asked).out)["learners"] == whole, "as if it had never been there"


def cut_off(path, folder):
    """Whether a file is sampled by seed 1 once it is cut off somewhere; it is left so."""
    data = path.read_bytes()
    for kept in range(300, len(data) - 100, 100):
        path.write_bytes(data[:kept])
        if path in sampled(folder, seeds=(1,)):
            return True
    path.write_bytes(data)
    return False


@pytest.mark.parametrize("half", ["base", "new"])
def test_a_half_without_images_is_told_before_anything_is_decoded(four, tiny, half):
    for label in ("blue", "green") if half == "base" else ("red", "yellow"):
        for path in (four / "test" / label).iterdir():
            path.unlink()
    stages = set()
    with pytest.raises(NoImages, match=f"no image to measure the {half} classes on"):
        commands.compare(
            four,
            shots=(1,),
            learners=("coop",),
            base_to_new=True,
            model=tiny,
            on_progress=lambda *now: stages.add(now[0]),
        )
    assert stages == {"reading"}


def test_a_half_whose_images_are_all_damaged_is_told_before_anything_is_learned(four, tiny):
    for label in ("red", "yellow"):
        for path in (four / "test" / label).iterdir():
            path.write_bytes(path.read_bytes()[:400])
    stages = set()
    with pytest.raises(NoImages, match="no image to measure the new classes on"):
        commands.compare(
            four,
            shots=(1,),
            learners=("coop",),
            base_to_new=True,
            model=tiny,
            on_progress=lambda *now: stages.add(now[0]),
        )
    assert stages == {"reading", "encoding"}


def test_shots_no_class_has_are_told_before_anything_is_decoded(four, tiny):
    stages = set()
    with pytest.raises(TooFewShots):
        commands.compare(four, shots=(40,), model=tiny, on_progress=lambda *now: stages.add(now[0]))
    assert stages == {"reading"}
