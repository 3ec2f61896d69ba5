"""`log`: the versions of a name beside each other, on images that none of them learned from."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import NearestCentroid
from test_context import make, unit

from promptctl import commands
from promptctl.classification import references
from promptctl.context.card import Change, ClassEntry, Shots
from promptctl.context.context import Context, ShotTable
from promptctl.store.store import Store

E = 8
CODES = np.eye(E, dtype=np.float32)  # class c is seen as direction c


def version(answers, *, parent=None, words="", classes=None, images=None, seed=0, **changes) -> Context:
    """A version whose row of class c points at direction answers[c].

    images   (direction, class, since, held out) each; what is drawn of them is the same for the same row
    """
    classes = list(range(len(answers))) if classes is None else classes
    base = make(len(classes), joint=E, shots=0)
    images = images or []
    card = dataclasses.replace(
        base.card,
        classes=tuple(ClassEntry(i, f"class_{i}", f"class {i}") for i in classes),
        shots=Shots(2, sum(1 for i in images if not i[3]), sum(1 for i in images if i[3])),
        parent=parent.card.sha256 if parent else None,
        change=Change("learn", words) if words else None,
        method=dataclasses.replace(base.card.method, seed=seed),
    )
    card = dataclasses.replace(card, **changes.pop("card", {}))
    context = dataclasses.replace(
        base,
        card=card,
        text_features=CODES[list(answers)],
        zero_shot_features=CODES[changes.pop("zero_shot", [0] * len(classes))],
        shots=table(images),
        **changes,
    )
    return Context.from_bytes(context.to_bytes(), "a version")


def table(images) -> ShotTable:
    rows = [unit((CODES[i[0]] + 0.01 * np.arange(E))[None])[0] for i in images]
    return ShotTable(
        features=np.array(rows, np.float16).reshape(-1, E),
        class_ids=np.array([i[1] for i in images], np.int32),
        sha256=np.array([[i[4] if len(i) > 4 else n] * 32 for n, i in enumerate(images)], np.uint8).reshape(-1, 32),
        held_out=np.array([i[3] for i in images], np.uint8),
        since=np.array([i[2] for i in images], np.int32),
    )


def stored(*contexts: Context) -> None:
    for context in contexts:
        Store().save("birds", context.to_bytes(), new=context is contexts[0])


OLD = [(c, c, 1, side) for c in (0, 1) for side in (0, 1, 1, 1, 1)]
NEW = [(c, c, 2, side) for c in (2, 3) for side in (0, 1)]
# of class 0, two of four are seen as direction 2
MIXED = [(0, 0, 1, 0), (0, 0, 1, 1), (0, 0, 1, 1), (2, 0, 1, 1), (2, 0, 1, 1), *OLD[5:]]


@pytest.fixture
def line():
    """Two classes, then two more: @1 knows 0 and 1; @2 has lost 1 for 3, and sees half of 0 as 2."""
    first = version([0, 1], images=MIXED, words="")
    second = version([0, 3, 2, 1], parent=first, images=[*MIXED, *NEW], words="+2 classes (class_2, class_3)")
    stored(first, second)
    return commands.log("birds")


def test_accuracies_are_of_the_same_images(line):
    assert (line.measured_on, line.measured_of, line.images) == ("images held out", 2, 10)
    new, old = line.versions
    assert (old.n, old.acc) == (8, 0.75), "of the classes it knows; what looks like class 2 it calls class 1"
    assert (new.n, new.acc) == (10, 0.3), "two of class 0, none of class 1, that of class 2"
    assert new.change == "+2 classes (class_2, class_3)"
    assert old.change == "learned"


def test_a_batch_is_what_a_version_added(line):
    assert [(b.version, b.images) for b in line.batches] == [(1, 8), (2, 2)]
    new, old = line.versions
    assert old.acc_per_batch == (0.75, None)
    assert new.acc_per_batch == (0.25, 0.5)


def test_what_was_forgotten_is_said_with_and_without_the_new_classes(line):
    new, old = line.versions
    assert (old.avg, old.last, old.forgetting, old.bwt, old.fwt) == (0.75, 0.75, None, None, None)
    assert (new.avg, new.last) == (pytest.approx((0.75 + 0.3) / 2), pytest.approx(0.3))
    assert new.forgetting == pytest.approx(0.5)
    assert new.bwt == pytest.approx(-0.5)
    assert new.pure_forgetting == 0.0, "between classes 0 and 1 alone it still decides as before"


def test_the_batch_before_it_was_learned_is_seen_by_the_parent_and_the_names(line):
    new, old = line.versions
    assert (old.before, new.before) == (None, 0.0), "the names of classes 2 and 3 say direction 0"
    assert new.fwt == 0.0
    first = version([0, 1], images=OLD)
    second = version([0, 3, 2, 1], parent=first, images=[*OLD, *NEW], zero_shot=[0, 0, 2, 0])
    Store().save("emus", first.to_bytes(), new=True)
    Store().save("emus", second.to_bytes(), new=False)
    new = commands.log("emus").versions[0]
    assert (new.before, new.zero_shot) == (0.5, pytest.approx(5 / 10))
    assert new.fwt == 0.0, "zero-shot says the same of that batch"


def test_references_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    for n, width in ((30, 6), (12, 20)):
        x, y = unit(rng.normal(size=(n, width))), np.arange(n) % 4
        test = unit(rng.normal(size=(50, width)))
        centroids = NearestCentroid().fit(x, y).centroids_
        found = references.nearest_mean(x, y)
        np.testing.assert_allclose(found.weight, unit(centroids), atol=1e-12)
        theirs = RidgeClassifier(alpha=references.ALPHA).fit(x, y)
        np.testing.assert_allclose(
            2 * references.ridge(x, y).scores(test) - 1, theirs.decision_function(test), atol=1e-9
        )


def test_what_is_said_of_a_shot_without_it_is_learned_without_its_group():
    rng = np.random.default_rng(1)
    for n, width in ((24, 5), (16, 30)):
        x, y, groups = unit(rng.normal(size=(n, width))), np.arange(n) % 3, np.arange(n) // 2
        means, ridges = references.means_without(x, y, groups), references.ridge_without(x, y, groups)
        for g in np.unique(groups):
            own = groups == g
            np.testing.assert_allclose(ridges[own], references.ridge(x[~own], y[~own]).scores(x[own]), atol=1e-9)
            np.testing.assert_allclose(means[own], references.nearest_mean(x[~own], y[~own]).scores(x[own]), atol=1e-12)


def test_nearest_mean_and_ridge_learn_from_each_versions_own_shots(line):
    new, old = line.versions
    assert (old.nearest_mean, old.ridge) == (pytest.approx(6 / 8), pytest.approx(6 / 8))
    assert new.nearest_mean == pytest.approx(8 / 10), "two of class 0 look like class 2"
    assert new.ridge == pytest.approx(8 / 10)


def folded(context: Context, predicted) -> Context:
    shots = dataclasses.replace(context.shots, predicted=np.array(predicted, np.int32))
    return Context.from_bytes(dataclasses.replace(context, shots=shots).to_bytes(), "folded")


def test_without_images_held_out_folds_of_the_shots_say_it(cli):
    shots = [(c, c, 1, 0) for c in (0, 0, 1, 1)]
    first = folded(version([0, 1], images=shots), [0, 0, 1, 1])
    more = [*shots, (0, 0, 2, 0), (1, 1, 2, 0)]
    second = folded(version([0, 1], parent=first, images=more, words="+2 photos"), [0, 0, 0, 0, 1, 1])
    stored(first, second)
    report = commands.log("birds")
    assert report.measured_on == "shots, each without having learned from it"
    new, old = report.versions
    assert (old.n, old.acc, new.n, new.acc) == (4, 1.0, 6, pytest.approx(3 / 6))
    assert new.acc_per_batch == (0.5, 0.5)
    assert new.forgetting == new.pure_forgetting == pytest.approx(0.5)
    assert new.before is None, "nobody knows what folds of the first would have seen in them"
    assert new.ridge == new.nearest_mean == 1.0
    assert "each without having learned from it" in json.loads(cli("log", "birds", "--json").out)["measured_on"]


def test_a_version_is_not_measured_on_what_it_learned_from():
    first = version([0, 1], images=[(0, 0, 1, 0), (1, 1, 1, 0), (0, 0, 1, 1), (1, 1, 1, 1)])
    fresh = version([0, 1], images=[(0, 0, 2, 0), (1, 1, 2, 1), (0, 0, 2, 1), (1, 1, 2, 0)])
    stored(first, fresh)
    report = commands.log("birds")
    assert [(row.n, row.acc) for row in report.versions] == [(2, 1.0), (1, 1.0)]
    assert report.notes() == [
        "1 image held out now: some versions learned from them, and are not measured on those",
    ]


def test_a_corrected_label_is_not_forgotten():
    first = version([0, 1], images=[(0, 0, 1, 0), (1, 1, 1, 0), (0, 1, 1, 1), (1, 1, 1, 1)])
    second = version([0, 1], parent=first, images=[(0, 0, 1, 0), (1, 1, 1, 0), (0, 0, 1, 1), (1, 1, 1, 1)])
    stored(first, second)
    assert [row.acc for row in commands.log("birds").versions] == [1.0, 1.0]


def test_answers_of_classes_that_were_merged_since_count_as_what_they_are_now():
    before = [(c, c, 1, side) for c in (0, 1, 2) for side in (0, 1)]
    first = version([0, 1, 2], images=before)
    now = [(d, 0 if c == 1 else c, since, side) for d, c, since, side in before]
    merged = version([0, 2], classes=[0, 2], parent=first, images=now, words="class_1 into class_0")
    stored(first, merged)
    new, old = commands.log("birds").versions
    assert (old.n, old.acc) == (3, 1.0)
    assert new.acc == pytest.approx(2 / 3), "its one row for both is not seen in direction 1, and ties go to the first"


def test_a_version_that_has_gone_leaves_its_batch_to_the_next():
    one, two = (version([0, 1], images=OLD, seed=seed) for seed in (1, 2))
    third = version([0, 1, 2, 3], parent=two, images=[*OLD, *NEW])
    stored(one, two, third)
    from promptctl.store.refs import Ref

    Store().remove(Ref("birds", 1))
    report = commands.log("birds")
    assert [(b.version, b.images) for b in report.batches] == [(2, 8), (3, 2)]
    assert report.versions[0].forgetting == 0.0


def test_a_restored_version_is_measured_on_what_it_holds():
    first = version([0, 1], images=OLD)
    second = version([0, 1, 2, 3], parent=first, images=[*OLD, *NEW])
    stored(first, second)
    from promptctl.store.refs import Ref

    Store().restore(Ref("birds", 1))
    report = commands.log("birds")
    assert [row.change for row in report.versions] == ["@1 restored", "+2 classes (class_2, class_3)", "learned"]
    assert [(row.n, row.acc, row.last) for row in report.versions] == [(8, 1.0, 1.0)] * 3


def test_a_damaged_version_is_named_and_the_others_are_measured(cli):
    contexts = [version([0, 1], images=OLD, seed=seed) for seed in (1, 2, 3)]
    stored(*contexts)
    path = Store().home / "contexts" / "birds" / "2.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    done = cli("log", "birds", "--json")
    rows = json.loads(done.out)["versions"]
    assert [row["acc"] for row in rows] == [1.0, None, 1.0]
    assert "checksum" in rows[1]["fault"]
    assert done.code == 0


def test_versions_on_another_backbone_are_not_compared():
    first = version([0, 1], images=OLD)
    other = dataclasses.replace(first.card.backbone, fingerprint="e" * 64)
    stored(first, version([0, 1], parent=first, images=OLD, card={"backbone": other}))
    report = commands.log("birds")
    assert [row.acc for row in report.versions] == [1.0, None]
    assert report.notes() == ["@1: learned on another backbone, so not measured on the images of @2"]


def test_contexts_without_images_have_dashes_and_one_sentence(cli):
    stored(version([0, 1]), version([0, 1], seed=2))
    done = cli("log", "birds")
    assert done.err.replace("\n", " ").count("accuracies cannot be compared over versions") == 1
    rows = json.loads(cli("log", "birds", "--json").out)["versions"]
    assert all(row["acc"] is row["avg"] is row["bwt"] is None and row["n"] == 0 for row in rows)


def test_a_candidate_is_said_and_no_version(line, cli):
    Store().save_candidate("birds", version([0, 1], images=OLD, seed=9).to_bytes())
    report = commands.log("birds")
    assert report.candidate
    assert [row.version for row in report.versions] == [2, 1]
    assert report.versions == line.versions


def test_json_lines_hold_the_figures_of_a_version_each(line, cli):
    keys = "acc avg last forgetting pure_forgetting bwt fwt zero_shot nearest_mean ridge n accuracy parent version"
    rows = [json.loads(text) for text in cli("log", "birds", "--format", "jsonl").out.splitlines()]
    assert [row["version"] for row in rows] == [2, 1]
    assert all(set(keys.split()) <= set(row) for row in rows)
    assert rows[0]["acc_per_batch"] == [0.25, 0.5]
    assert "acc_per_batch" not in cli("log", "birds", "--format", "csv").out


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_the_tables_fit_eighty_columns(count):
    from promptctl.render.formats import prose
    from promptctl.render.table import table_lines

    images, contexts = [], []
    for number in range(1, count + 1):
        images = [*images, *((c, c, number, side) for c in (0, 1) for side in (0, 1))]
        contexts.append(version([0, 1], images=images, parent=contexts[-1] if contexts else None, words="+4 photos"))
    stored(*contexts)
    report = commands.log("birds")
    tables = [table_lines(rows, 80, spare=report.spare()) for rows in report.tables() if rows]
    lines = [line for part in (*tables, prose(report.closing(), 80)) for line in part]
    assert max(map(len, lines)) <= 80
    assert len(tables[1]) == count + 2, "one line for each version"
    text = "\n".join(lines)
    assert (f"b{count}" in tables[1][0]) == (count > 1)
    assert ("b2, b3, b4 and b5 are in --json" in text) == (count == 9)
    assert ("average 100.0, last 100.0" in text) == (count > 1)


def test_log_imports_neither_torch_nor_scikit_learn(line, home):
    code = (
        "import sys; sys.argv = ['promptctl', 'log', 'birds']; import atexit;"
        "atexit.register(lambda: print('HEAVY', [m for m in ('torch', 'sklearn', 'scipy') if m in sys.modules]));"
        "from promptctl.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PROMPTCTL_HOME": str(home), "PATH": "/usr/bin"},
    )
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stderr


def test_each_file_is_read_whole_once(line, monkeypatch):
    from pathlib import Path

    read = []
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: (read.append(self.name), whole(self))[1])
    commands.log("birds")
    assert sorted(read) == ["1.safetensors", "2.safetensors"]


def named(context: Context, *labels: str) -> Context:
    """The same with other labels."""
    classes = tuple(
        dataclasses.replace(entry, label=label) for entry, label in zip(context.card.classes, labels, strict=True)
    )
    card = dataclasses.replace(context.card, classes=classes)
    return Context.from_bytes(dataclasses.replace(context, card=card).to_bytes(), "named")


def test_classes_of_a_fresh_start_are_those_of_the_same_label():
    """Where a version goes on from none, its ids are its own: its class 0 is what was class 1."""
    first = named(version([0, 1, 2], images=[*OLD, (2, 2, 1, 0), (2, 2, 1, 1)]), "cat", "emu", "ibis")
    fresh = named(
        version([1, 2], images=[(1, 0, 2, 0), (2, 1, 2, 0), (1, 0, 2, 1, 50), (2, 1, 2, 1, 51)]), "emu", "ibis"
    )
    stored(first, fresh)
    assert [(row.n, row.acc) for row in commands.log("birds").versions] == [(2, 1.0), (2, 1.0)]


def test_a_renamed_class_is_the_same_class():
    first = named(version([0, 1], images=OLD), "emu", "ibis")
    stored(first, named(version([0, 1], parent=first, images=OLD), "emu", "white ibis"))
    assert [(row.n, row.acc) for row in commands.log("birds").versions] == [(8, 1.0), (8, 1.0)]


def test_a_version_that_added_nothing_is_the_last_of_those_before_it():
    first = version([0, 1], images=OLD)
    second = version([0, 1, 2, 3], parent=first, images=[*OLD, *NEW])
    third = version([0, 0, 2, 3], parent=second, images=[*OLD, *NEW], words="2 photos relabelled")
    stored(first, second, third)
    newest, before, _ = commands.log("birds").versions
    assert (before.forgetting, before.last) == (0.0, 1.0)
    assert (newest.forgetting, newest.bwt, newest.before) == (0.5, -0.5, None)
    assert newest.last == pytest.approx(6 / 10)
