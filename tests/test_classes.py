"""`class`: classes renamed, added by name, dropped, merged and split, each as a new version."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import COLOURS, paint

import promptctl
from promptctl import commands
from promptctl.classification.classifier import Classifier
from promptctl.commands import class_add, guarding
from promptctl.context.context import Context, ShotTable
from promptctl.context.prototypes import Prototypes
from promptctl.errors import (
    ClassNameTaken,
    ClassNotFound,
    DatasetError,
    NearlyNamed,
    NoShots,
    TooFewClasses,
)
from promptctl.store.refs import Ref
from promptctl.store.store import Store

FOUR = {**COLOURS, "amber": (250, 190, 20)}


@pytest.fixture(autouse=True)
def on_tiny(monkeypatch, tiny):
    monkeypatch.setenv("PROMPTCTL_MODEL", tiny)


@pytest.fixture(scope="module")
def made(tiny_folder, tmp_path_factory) -> dict[str, bytes]:
    """Contexts of ten pictures of each of four colours, two of each held out: shared, class-specific, clap, no head."""
    folder = tmp_path_factory.mktemp("made")
    ways = {"shared": {}, "own": {"class_specific": True}, "clap": {"learner": "clap"}, "bare": {"head": False}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTCTL_HOME", str(folder / "home"))
        photos, store = paint(folder / "photos", images=10, colours=FOUR), Store(folder / "store")
        for name, settings in ways.items():
            promptctl.learn(photos, name, epochs=20, model=f"local-dir:{tiny_folder}", store=store, **settings)
        return {name: store[name].to_bytes() for name in ways}


@pytest.fixture
def colours(made, tmp_path) -> Path:
    """The photos that colours@1 was learned from; it is stored."""
    Store().save("colours", made["shared"], new=True)
    return paint(tmp_path / "photos", images=10, colours=FOUR)


def has(name: str, data: bytes) -> Context:
    Store().save(name, data, new=True)
    return Store()[name]


def run(cli, *arguments) -> dict:
    done = cli(*arguments, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def probabilities(context: Context, like: Context | None = None) -> np.ndarray:
    x = (like or context).shots.features.astype(np.float32)
    return Classifier.of(context).predict(x / np.linalg.norm(x, axis=1, keepdims=True)).probabilities


def rows_of(context: Context, *labels: str) -> list[int]:
    return [context.card.labels.index(label) for label in labels]


# --------------------------------------------------------------------------- rename


@pytest.mark.parametrize("kind", ["shared", "own", "clap", "bare"])
def test_a_name_for_display_alone_changes_no_bit_of_an_answer(cli, made, kind):
    before = has("c", made[kind])
    report = run(cli, "class", "rename", "c", "red", "crimson", "--display-only")
    after = Store()["c@2"]
    assert (report["context"], report["guard"], report["name"]) == ("c@2", None, "red")
    assert after.card.labels == tuple("crimson" if one == "red" else one for one in before.card.labels)
    assert after.card.names == before.card.names and after.card.parent == before.card.sha256
    assert after._tensors().keys() == before._tensors().keys()
    for name, tensor in after._tensors().items():
        assert tensor.tobytes() == before._tensors()[name].tobytes(), name
    assert probabilities(after).tobytes() == probabilities(before).tobytes()
    assert after.card.score == before.card.score and after.card.head == before.card.head


@pytest.mark.parametrize("command", ["rename c red crimson --display-only", "drop c red", "list c"])
def test_what_learns_nothing_imports_no_torch(made, home, command):
    has("c", made["shared"])
    code = f"""
import sys, atexit
atexit.register(lambda: print("HEAVY", [m for m in ("torch", "sklearn", "open_clip") if m in sys.modules]))
sys.argv = ["promptctl", "class", *{command.split()!r}]
from promptctl.cli.main import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PROMPTCTL_HOME": str(home), "PATH": "/usr/bin"},
    )
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "HEAVY []", done.stdout + done.stderr


def test_a_name_in_the_prompt_is_read_by_the_same_vectors(cli, colours, clip):
    before = Store()["colours"]
    report = run(cli, "class", "rename", "colours", "red", "crimson_hue")
    after = Store()["colours@2"]
    (row,) = rows_of(after, "crimson_hue")
    assert (report["name"], report["aliases"], report["guard"]["parent"]) == ("crimson hue", ["red"], "colours@1")
    assert after.vectors.tobytes() == before.vectors.tobytes() and after.card.method == before.card.method
    others = [i for i in range(4) if i != row]
    assert after.text_features[others].tobytes() == before.text_features[others].tobytes()
    assert after.zero_shot_features[others].tobytes() == before.zero_shot_features[others].tobytes()
    assert np.abs(after.text_features[row] - before.text_features[row]).max() > 1e-3
    assert np.abs(after.zero_shot_features[row] - before.zero_shot_features[row]).max() > 1e-3
    assert after.card.change.guard is not None


@pytest.mark.parametrize("display", [True, False])
def test_the_old_name_goes_on_meaning_the_class(cli, colours, tmp_path, display):
    run(cli, "class", "rename", "colours", "red", "crimson", *(["--display-only"] if display else []))
    more = paint(tmp_path / "more", images=2, seed=3, colours={"red": COLOURS["red"], "crimson": COLOURS["red"]})
    report = run(cli, "learn", more, "--name", "colours", "--dry-run")
    assert (report["added"], report["new"]) == ([], 4)
    assert {one["label"] for one in report["per_class"] if one["new"]} == {"crimson"}
    assert run(cli, "evaluate", "colours", more)["passed_over"] == {}


def test_back_to_the_old_name_is_the_old_class(cli, colours):
    run(cli, "class", "rename", "colours", "red", "crimson", "--display-only")
    report = run(cli, "class", "rename", "colours", "crimson", "red", "--display-only")
    assert (report["after"], report["aliases"]) == ("red", ["crimson"])


@pytest.mark.parametrize(
    ("old", "new", "error", "said"),
    [
        ("rde", "x", ClassNotFound, "'rde' is no class of colours@1|did you mean 'red'?"),
        ("quokka", "x", ClassNotFound, "'quokka' is no class of colours@1|promptctl class list colours"),
        ("red", "blue", ClassNameTaken, "'blue' is a class of colours@1 already"),
        ("red", "Blues", NearlyNamed, "'Blues' is nearly the name of the class 'blue' of colours@1|use 'blue', or add"),
        ("red", "red", DatasetError, "the class 'red' of colours@1 is called that already"),
        ("red", "  ", DatasetError, "'  ' is no name for a class: it is empty"),
    ],
)
@pytest.mark.parametrize("display", [True, False])
def test_what_cannot_be_a_name_changes_nothing(colours, old, new, error, said, display):
    sentence, _, hint = said.partition("|")
    with pytest.raises(error) as refused:
        commands.rename_class("colours", old, new, display_only=display)
    assert str(refused.value).startswith(sentence) and (refused.value.hint or "").startswith(hint)
    assert Store().numbers("colours") == (1,)


def test_an_alias_of_another_class_is_taken(colours):
    commands.rename_class("colours", "red", "crimson", display_only=True)
    with pytest.raises(ClassNameTaken, match="'red' is what the class 'crimson' is called too in colours@2"):
        commands.rename_class("colours", "blue", "red", display_only=True)


def test_a_name_that_the_tower_cannot_tell_apart_is_refused(colours):
    # the tokenizer reads both as the same, and no rule of spelling says so
    with pytest.raises(DatasetError, match="the prompt would call both"):
        commands.rename_class("colours", "red", "blue&amp;lt;", force_new_class=True) and commands.rename_class(
            "colours", "green", "blue<", force_new_class=True
        )


def test_a_version_that_forgets_by_its_new_name_stays_beside(cli, made, monkeypatch):
    """The same place for what the guard refuses as for learn: candidate, exit 4, --force."""
    from promptctl.commands import guarding

    has("c", made["shared"])
    judged = guarding.judged

    def refusing(parent, candidate, most):
        found = judged(parent, candidate, most)
        return dataclasses.replace(found, verdict=dataclasses.replace(found.verdict, refused=True, reasons=("no",)))

    monkeypatch.setattr(guarding, "judged", refusing)
    done = cli("class", "rename", "c", "red", "crimson", "--json")
    report = json.loads(done.out)
    assert (done.code, report["context"], report["refused"]) == (4, "c@candidate", True)
    assert "error: c@candidate is not the next version: no" in done.err
    assert report["next"][-1] == "promptctl promote c@candidate" and Store().numbers("c") == (1,)
    forced = run(cli, "class", "rename", "c", "red", "crimson", "--force")
    assert forced["context"] == "c@2" and forced["forced"] and Store()["c@2"].card.change.forced


# --------------------------------------------------------------------------- add


@pytest.mark.parametrize("kind", ["shared", "own", "clap", "bare"])
def test_a_class_by_name_has_a_new_id_and_is_predicted(cli, made, kind):
    """The others keep their places and ids, though one sorts first."""
    before = has("c", made[kind])
    report = run(cli, "class", "add", "c", "a_lime", "zebra stripes")
    after = Store()["c@2"]
    assert report["added"] == ["a_lime", "zebra stripes"]
    assert after.card.labels == (*before.card.labels, "a_lime", "zebra stripes")
    assert [entry.id for entry in after.card.classes] == [0, 1, 2, 3, 4, 5]
    assert after.card.names[-2:] == ("a lime", "zebra stripes")
    assert len(after.shots) == len(before.shots)
    if kind != "clap":
        assert after.text_features[:4].tobytes() == before.text_features.tobytes()
    # what shows the new class as its name is read is given to it
    assert Classifier.of(after).predict(after.zero_shot_features[4:]).best.tolist() == [4, 5]
    assert report["new_head"] == (before.head is None) == (kind in ("clap", "bare"))
    np.testing.assert_array_equal(after.head.weight[4:], after.zero_shot_features[4:])
    assert (after.head.bias[4:] == 0).all() and (after.head.bias[:4] < 0).all(), "the others make way"
    assert [entry.id for entry in after.card.classes if entry.label in before.card.labels] == [0, 1, 2, 3]


def test_photos_that_a_name_takes_from_other_classes_are_counted(cli, colours):
    done = cli("class", "add", "colours", "grey", "--json")
    assert json.loads(done.out)["taken"] == 0 and "answered 'grey'" not in done.err
    after = Store()["colours@2"]
    apart = dataclasses.replace(after.shots, held_out=(np.arange(len(after.shots)) < 3).astype(np.uint8))
    bias = np.where(np.arange(5) == 4, 1000, after.head.bias).astype(np.float32)
    greedy = dataclasses.replace(after, shots=apart, head=dataclasses.replace(after.head, bias=bias))
    assert [class_add._taken(greedy, (label,)) for label in ("grey", "red")] == [3, 0]
    report = commands.add_classes("colours", ["blue sky"])
    assert dataclasses.replace(report, taken=3).warnings()[-1].startswith("3 held-out photos of other classes are answ")


def twice(context: Context, *, held_out: int) -> Context:
    """Every photo once more, under another checksum, learned from (0) or held out (1)."""
    own, n = context.shots, len(context.shots)
    others = np.random.default_rng(0).integers(0, 256, own.sha256.shape, dtype=np.uint8)
    parts = {name: np.concatenate([getattr(own, name)] * 2) for name in ("features", "class_ids", "predicted")}
    shots = ShotTable(
        **parts,
        sha256=np.concatenate([own.sha256, others]),
        held_out=np.concatenate([own.held_out, np.full(n, held_out, np.uint8)]),
    )
    apart = int(shots.held_out.sum())
    card = dataclasses.replace(
        context.card, shots=dataclasses.replace(context.card.shots, train=2 * n - apart, held_out=apart)
    )
    return dataclasses.replace(context, shots=shots, card=card)


GREEDY = "word salad of many things"  # to the tiny CLIP it is green


@pytest.mark.parametrize(("held_out", "images", "on"), [(1, 48, "images held out"), (0, 72, "shots, in folds")])
def test_a_name_that_takes_photos_of_other_classes_is_refused(cli, made, held_out, images, on):
    """Of photos held out, and where there are too few, of the shots as folds saw them."""
    has("c", twice(Context.from_bytes(made["shared"], "it"), held_out=held_out).to_bytes())
    honest = run(cli, "class", "add", "c", "grey")
    assert honest["context"] == "c@2" and not honest["guard"]["refused"]
    assert (honest["guard"]["compared_on"], honest["guard"]["compared_images"]) == (on, images)
    assert honest["guard"]["by_name"] == ["grey"] and honest["guard"]["worse"] <= 1

    done = cli("class", "add", "c", GREEDY, "--json")
    report = json.loads(done.out)
    assert (done.code, report["context"], Store().numbers("c")) == (4, "c@candidate", (1, 2))
    guard = report["guard"]
    green, taken = images // 4, guard["worse"]
    assert (guard["by_name"], guard["better"]) == ([GREEDY], 0) and taken >= green - 1
    of_all, of_green, names = guard["reasons"]
    assert of_all.startswith(f"it recognises {100 * taken / images:.1f} points fewer of {images} images of the known")
    assert of_green.startswith(f"it recognises {green - taken} of {green} images of 'green', {green} before")
    assert names == f"'{GREEDY}' takes {taken} of 'green'"
    said = cli("class", "add", "c", GREEDY)
    assert said.code == 4 and f"c@candidate is not the next version: {of_all}; {of_green}; {names}" in said.err
    assert f"against c@2, among its classes and '{GREEDY}', on the {images} {on}" in said.out
    assert "class\tphotos\tbefore\tafter\ngreen\t" in said.out, "the class that loses is in the table"
    assert run(cli, "class", "add", "c", GREEDY, "--force")["forced"]
    change = Store()["c@3"].card.change
    assert change.forced and (change.guard.refused, change.guard.worse) == (True, taken)
    assert run(cli, "class", "add", "c", "grey stripes")["guard"]["worse"] <= 1, "what was taken is known to be by now"


def test_too_few_photos_advise_about_a_name(cli, colours):
    done = cli("class", "add", "colours", GREEDY, "--json")
    report = json.loads(done.out)
    assert (done.code, report["context"], report["guard"]["advisory"]) == (0, "colours@2", True)
    assert report["guard"]["compared_images"] == 32
    assert "with 32 images: too few to refuse a version" in report["guard"]["guard_warnings"][0]
    assert report["guard"]["guard_warnings"][-1] == f"'{GREEDY}' takes 8 of 'green'"
    assert report["taken"] == 2 and f"2 held-out photos of other classes are answered '{GREEDY}'" in done.err


def test_a_class_that_brings_a_photo_is_none_by_name_alone(colours):
    parent = Store()["colours"]
    commands.add_classes("colours", ["grey"])
    named = Store()["colours"]
    assert guarding._by_name(parent, named) == {4} and guarding._by_name(named, named) == set()
    ids = np.where(np.arange(len(named.shots)) == 0, 4, named.shots.class_ids).astype(np.int32)
    held = dataclasses.replace(named.shots, class_ids=ids, held_out=(np.arange(len(ids)) == 0).astype(np.uint8))
    assert guarding._by_name(parent, dataclasses.replace(named, shots=held)) == set()
    counts = np.array([0, 0, 0, 0, 3], np.int32)
    means = Prototypes(np.zeros((5, 8), np.float32), np.zeros((5, 8), np.float32), counts)
    assert guarding._by_name(parent, dataclasses.replace(named, prototypes=means)) == set()


def test_a_class_by_name_learns_when_its_photos_come(cli, colours, tmp_path):
    run(cli, "class", "add", "colours", "grey")
    added = Store()["colours"]
    more = paint(tmp_path / "more", images=10, seed=3, colours={"grey": (128, 128, 128)})
    report = run(cli, "learn", more, "--name", "colours", "--epochs", 5)
    assert report["update"]["new_classes"] == []
    after = Store()["colours"]
    assert after.card.labels[-1] == "grey" and after.card.classes[-1].id == 4
    assert {part.kind for part in added.card.head} == {"clap", "ridge"}
    assert {part.kind for part in after.card.head} == {"clap", "proker(1)", "gda-relative"}
    assert np.ptp(after.head.bias) < np.ptp(added.head.bias) / 4, "no class has to make way any more"


@pytest.mark.parametrize(
    ("labels", "error"), [(["grey", "grey"], ClassNameTaken), (["Red"], ClassNameTaken), (["reds"], NearlyNamed)]
)
def test_a_class_that_is_there_is_not_added(colours, labels, error):
    with pytest.raises(error):
        commands.add_classes("colours", labels)
    assert Store().numbers("colours") == (1,)


def test_ids_are_never_used_again(cli, colours):
    run(cli, "class", "drop", "colours", "red")  # the last one
    assert (Store()["colours"].card.next_id, [e.id for e in Store()["colours"].card.classes]) == (4, [0, 1, 2])
    run(cli, "class", "add", "colours", "grey")
    assert [entry.id for entry in Store()["colours"].card.classes] == [0, 1, 2, 4]
    run(cli, "class", "drop", "colours", "grey", "green")
    run(cli, "class", "add", "colours", "white")
    assert [entry.id for entry in Store()["colours"].card.classes] == [0, 1, 5]


def test_many_classes_by_name_do_not_fill_the_line_of_log(colours):
    labels = [f"new{i:02}" for i in range(20)]
    commands.add_classes("colours", labels)
    assert Store()["colours"].card.change.words == "+20 classes by name (new00, new01, new02, …)"
    commands.drop_classes("colours", labels[:5])
    assert Store()["colours"].card.change.words == "-5 classes (new00, new01, new02, …)"


# --------------------------------------------------------------------------- drop


@pytest.mark.parametrize("kind", ["shared", "own", "clap", "bare"])
def test_a_class_goes_with_its_shots_and_the_rest_stays(cli, made, kind):
    before = Context.from_bytes(made[kind], "it")
    (row,) = rows_of(before, "green")
    predicted = np.where(np.arange(40) % 7 == 0, row, before.shots.predicted).astype(np.int32)
    before = dataclasses.replace(before, shots=dataclasses.replace(before.shots, predicted=predicted))
    before = has("c", before.to_bytes())
    report = run(cli, "class", "drop", "c", "green")
    after = Store()["c@2"]
    others = [i for i in range(4) if i != row]
    assert (report["dropped"], report["photos"]) == (["green"], 10)
    assert after.card.labels == tuple(before.card.labels[i] for i in others)
    assert after.text_features.tobytes() == before.text_features[others].tobytes()
    stays = before.shots.class_ids != row
    assert after.shots.features.tobytes() == before.shots.features[stays].tobytes()
    assert after.shots.sha256.tobytes() == before.shots.sha256[stays].tobytes()
    assert (after.card.shots.train, after.card.shots.held_out) == (24, 6)
    seen = before.shots.predicted[stays]
    assert after.shots.predicted.tolist() == [-1 if id == row else id for id in seen.tolist()] and row in seen
    # among the classes that stay the answers are the same, with the share that the other had
    old = probabilities(before)[stays][:, others]
    np.testing.assert_allclose(probabilities(after), old / old.sum(1, keepdims=True), rtol=1e-9)
    if kind == "own":
        assert after.vectors.tobytes() == before.vectors[others].tobytes()


def test_the_score_is_that_of_the_images_that_are_left(cli, colours):
    before = Store()["colours"]
    run(cli, "class", "drop", "colours", "green", "amber")
    after = Store()["colours@2"]
    x, rows = after.held_out()
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    head, scale = after.head, after.card.logit_scale
    right = ((scale * x @ head.weight.T + head.bias).argmax(1) == rows).mean()
    by_hand = ((x @ after.zero_shot_features.T).argmax(1) == rows).mean()
    assert (after.card.score.images, after.card.score.accuracy) == (4, right)
    assert after.card.score.zero_shot_accuracy == by_hand
    own = (after.shots.held_out == 0) & (after.shots.predicted >= 0)
    true, seen = after.shots.class_ids[own], after.shots.predicted[own]
    assert after.card.folds.images == own.sum() <= 16
    assert after.card.folds.accuracy == pytest.approx(np.mean([(seen == true)[true == id].mean() for id in set(true)]))
    assert before.card.folds.on == after.card.folds.on


def test_two_classes_stay(cli, colours):
    with pytest.raises(TooFewClasses, match="colours@1 would keep one class, and two are the fewest"):
        commands.drop_classes("colours", ["red", "green", "blue"])
    with pytest.raises(ClassNotFound):
        commands.drop_classes("colours", ["red", "mauve"])
    assert Store().numbers("colours") == (1,)


def test_what_has_lost_every_class_with_photos_was_not_imported(cli, colours):
    labels = Store()["colours"].card.labels
    run(cli, "class", "add", "colours", "grey", "black")
    run(cli, "class", "drop", "colours", *labels)
    assert not Store()["colours"].card.is_imported
    done = cli("learn", colours, "--name", "colours")
    assert done.code == 1 and "no class with photos is left" in done.err
    done = cli("class", "merge", "colours", "grey", "black", "--into", "dark")
    assert done.code == 1 and "no class with photos is left" in done.err and "imported" not in done.err


def test_what_was_learned_without_a_rate_is_not_taken_for_imported(colours):
    card = Store()["colours"].card
    none_left = {"shots": dataclasses.replace(card.shots, train=0), "method": dataclasses.replace(card.method, lr=0.0)}
    assert dataclasses.replace(card, **none_left).is_imported  # as CoOp's own checkpoints are
    closed_form = dataclasses.replace(none_left["method"], learner="gda", context_tokens=0, recipe="gda")
    assert not dataclasses.replace(card, **{**none_left, "method": closed_form}).is_imported


def test_restore_brings_a_class_back_to_the_bit(cli, colours):
    before = Store().find(Ref("colours")).card.sha256
    report = run(cli, "class", "drop", "colours", "red")
    assert report["next"] == ["promptctl restore colours@1   (to undo)"]
    assert cli("restore", "colours@1").code == 0
    assert Store().find(Ref("colours", 3)).card.sha256 == before


# --------------------------------------------------------------------------- purge


def shots_of(data: bytes, *labels: str) -> list[bytes]:
    """Every feature row and hash of some classes."""
    context = Context.from_bytes(data, "it")
    own = np.isin(context.shots.class_ids, rows_of(context, *labels))
    return [row.tobytes() for row in (*context.shots.features[own], *context.shots.sha256[own])]


def holding(secrets: list[bytes]) -> set[str]:
    """The files below home, of any name, with one of some byte strings in them, or its hexadecimal."""
    home = Store().home
    files = [path for path in home.rglob("*") if path.is_file() and "cache" not in path.parts]
    found = {path: path.read_bytes() for path in files if any(s in path.read_bytes() for s in secrets)} | {
        path: b"" for path in files if any(s.hex().encode() in path.read_bytes() for s in secrets if len(s) == 32)
    }
    return {str(path.relative_to(home)) for path in found}


@pytest.fixture
def many_versions(cli, made, colours) -> list[bytes]:
    """colours with four versions, a candidate and trash, each with photos of red; what must go.

    @2 calls red 'crimson', @3 has one of its photos as blue, @4 has it back. plants is another name with the photos.
    """
    run(cli, "class", "rename", "colours", "red", "crimson", "--display-only")
    parent = Store()["colours@2"]
    ids = parent.shots.class_ids.copy()
    (red,), (blue,) = rows_of(parent, "crimson"), rows_of(parent, "blue")
    moved = int(np.flatnonzero((ids == red) & (parent.shots.held_out == 0))[0])
    ids[moved] = blue
    from promptctl.context.card import Change, Relabelled

    sha = parent.shots.sha256[moved].tobytes().hex()
    shots = dataclasses.replace(parent.shots, class_ids=ids)
    for before, after, table in ((red, blue, shots), (blue, red, parent.shots)):
        newest = Store()["colours"]
        change = Change("relabel", "1", (Relabelled(sha, before, after),))
        card = dataclasses.replace(newest.card, parent=newest.card.sha256, change=change)
        Store().save("colours", dataclasses.replace(newest, card=card, shots=table).to_bytes(), new=False)
    Store().save_candidate("colours", Store()["colours@3"].to_bytes())
    Store().copy(Ref("colours", 1), "plants")
    Store().remove(Ref("colours", 2))
    return shots_of(made["shared"], "red")


def test_a_purge_leaves_no_byte_of_the_class_in_any_file(cli, many_versions):
    assert len(many_versions) == 20 and len(holding(many_versions)) == 6
    kept = shots_of(Store()["colours@1"].to_bytes(), "blue", "green", "amber")
    done = cli("class", "drop", "colours", "crimson", "--purge", "--json")
    assert done.code == 1 and "promptctl class drop colours crimson --purge --yes" in done.err
    assert Store().numbers("colours") == (1, 3, 4)
    report = run(cli, "class", "drop", "colours", "crimson", "--purge", "--yes")
    assert holding(many_versions) == {"contexts/plants/1.safetensors"}
    assert (report["context"], report["photos"], report["rewritten"]) == ("colours@5", 10, 6)
    assert report["elsewhere"] == [{"name": "plants", "photos": 10, "label": "red"}]
    for number in (1, 3, 4, 5):
        context = Store()[f"colours@{number}"]
        assert context.card.labels == ("amber", "blue", "green") and len(context.shots) == 30
        whole = context.to_bytes()
        assert all(row in whole for row in kept)
        assert not context.card.change or not context.card.change.relabelled
    (removed,) = Store().home.glob("trash/*/2.safetensors")
    cards = {n: Store().find(Ref("colours", n)).card for n in (1, 3, 4, 5)}
    assert Context.load(removed).card.parent == cards[1].sha256
    assert [cards[n].parent for n in (3, 4, 5)] == [Context.load(removed).card.sha256, cards[3].sha256, cards[4].sha256]
    assert Store()["colours@candidate"].card.labels == ("amber", "blue", "green")


def test_a_purge_that_was_interrupted_is_finished_by_the_same_command(cli, many_versions, monkeypatch):
    from promptctl.store import files

    replace, point = files.replace, 0
    home = Store().home
    shutil.copytree(home, home.parent / "before")
    while True:
        shutil.rmtree(home)
        shutil.copytree(home.parent / "before", home)
        left = [point]

        def failing(part, path, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            replace(part, path)

        monkeypatch.setattr(files, "replace", failing)
        try:
            commands.drop_classes("colours", ["crimson"], purge=True)
        except KeyboardInterrupt:
            monkeypatch.setattr(files, "replace", replace)
            if holding(many_versions) - {"contexts/plants/1.safetensors"}:
                commands.drop_classes("colours", ["crimson"], purge=True)
            assert holding(many_versions) == {"contexts/plants/1.safetensors"}, point
            point += 2
            continue
        break
    assert point > 8


def test_a_class_that_was_dropped_is_purged_all_the_same(cli, colours, made):
    run(cli, "class", "drop", "colours", "red")
    report = run(cli, "class", "drop", "colours", "red", "--purge", "--yes")
    assert (report["context"], report["photos"], report["dropped"]) == ("colours@2", 10, ["red"])
    assert holding(shots_of(made["shared"], "red")) == set()
    with pytest.raises(ClassNotFound):
        commands.drop_classes("colours", ["red"], purge=True)


def test_a_version_of_two_classes_keeps_the_purged_one_by_its_name(cli, colours, made):
    run(cli, "class", "drop", "colours", "amber", "green")
    run(cli, "class", "add", "colours", "grey")
    run(cli, "class", "drop", "colours", "red", "--purge", "--yes")
    second = Store()["colours@2"]
    (row,) = rows_of(second, "red")
    assert second.card.labels == ("blue", "red") and set(second.shots.class_ids.tolist()) == {1}
    assert second.text_features[row].tobytes() == second.zero_shot_features[row].tobytes()
    assert second.head.weight[row].tobytes() == second.zero_shot_features[row].tobytes()
    assert holding(shots_of(made["shared"], "red")) == set()


# --------------------------------------------------------------------------- merge


def test_classes_merged_know_new_photos_of_either(cli, colours, tmp_path):
    before = Store()["colours"]
    report = run(cli, "class", "merge", "colours", "red", "amber", "--into", "warm")
    after = Store()["colours@2"]
    assert (report["into"], report["aliases"]) == ("warm", ["red", "amber"])
    assert after.card.labels == ("warm", "blue", "green") or after.card.labels == ("blue", "green", "warm")
    assert len(after.shots) == len(before.shots) == 40
    (warm,) = [entry for entry in after.card.classes if entry.label == "warm"]
    assert (after.shots.class_ids == warm.id).sum() == 20
    np.testing.assert_array_equal(after.shots.held_out, before.shots.held_out)
    # which photo was of which class can be told again
    told = {bytes.fromhex(image.sha256): image.before for image in after.card.change.relabelled}
    undone = [
        told.get(sha.tobytes(), int(id)) for sha, id in zip(after.shots.sha256, after.shots.class_ids, strict=True)
    ]
    assert undone == before.shots.class_ids.tolist()
    more = paint(tmp_path / "more", images=3, seed=5, colours={"red": FOUR["red"], "amber": FOUR["amber"]})
    learned = run(cli, "learn", more, "--name", "colours", "--epochs", 3)
    assert (learned["update"]["new_classes"], learned["update"]["new"]) == ([], 6)
    newest = Store()["colours"]
    assert (newest.shots.class_ids == warm.id).sum() == 26


def test_the_row_of_merged_classes_begins_at_that_of_the_larger(cli, tmp_path, monkeypatch):
    from promptctl.learners import coop

    photos = paint(tmp_path / "photos", images=6, colours=FOUR)
    for extra in range(3):
        shutil.copy(photos / "amber" / f"{extra}.png", photos / "amber" / f"more{extra}.png")
        (photos / "red" / f"{extra}.png").unlink()
    assert cli("learn", photos, "--name", "c", "--class-specific", "--epochs", 5).code == 0
    before, starts = Store()["c@1"], []
    learn = coop.learn

    def watched(*arguments, start=None, **options):
        starts.append(start)
        return learn(*arguments, start=start, **options)

    monkeypatch.setattr(coop, "learn", watched)
    run(cli, "class", "merge", "c", "red", "amber", "--into", "warm")
    after = Store()["c@2"]
    (amber,), (warm,) = rows_of(before, "amber"), rows_of(after, "warm")
    np.testing.assert_array_equal(starts[0].vectors[warm], before.vectors[amber])
    assert starts[0].frozen.tolist() == [label != "warm" for label in after.card.labels]
    others = [label for label in after.card.labels if label != "warm"]
    now, then = rows_of(after, *others), rows_of(before, *others)
    assert after.text_features[now].tobytes() == before.text_features[then].tobytes()
    assert after.vectors[now].tobytes() == before.vectors[then].tobytes()


def test_a_merge_into_one_of_them_keeps_its_name(cli, colours):
    report = run(cli, "class", "merge", "colours", "red", "amber", "--into", "red")
    assert (report["into"], report["aliases"]) == ("red", ["amber"])
    assert cli("restore", "colours@1").code == 0
    assert Store().find(Ref("colours", 3)).card.sha256 == Store().find(Ref("colours", 1)).card.sha256


@pytest.mark.parametrize(
    ("labels", "into", "error"),
    [
        (["red", "amber"], "blue", ClassNameTaken),
        (["red", "amber"], "Blues", NearlyNamed),
        (["red", "red"], "warm", DatasetError),
        (["red", "mauve"], "warm", ClassNotFound),
        (["red", "green", "blue", "amber"], "all", TooFewClasses),
    ],
)
def test_what_cannot_be_merged_changes_nothing(colours, labels, into, error):
    with pytest.raises(error):
        commands.merge_classes("colours", labels, into)
    assert Store().numbers("colours") == (1,)


# --------------------------------------------------------------------------- split


def parted(colours: Path, tmp_path: Path, **folders: list[str]) -> Path:
    """Photos of red in folders, under other names."""
    for folder, names in folders.items():
        (tmp_path / "parted" / folder).mkdir(parents=True)
        for name in names:
            shutil.copy(colours / "red" / f"{name}.png", tmp_path / "parted" / folder / f"x{name}.png")
    return tmp_path / "parted"


def test_photos_of_a_class_go_where_their_folders_say(cli, colours, tmp_path):
    before = Store()["colours"]
    folder = parted(colours, tmp_path, scarlet=["0", "1", "2", "3"], rose=["4", "5"], red=["6"])
    paint(folder, images=2, seed=9, colours={"scarlet": FOUR["red"]})  # not stored
    shutil.copy(colours / "blue" / "0.png", folder / "rose" / "blue.png")
    report = run(cli, "class", "split", "colours", "red", "--from", folder)
    after = Store()["colours@2"]
    assert after.card.labels == (*before.card.labels, "rose", "scarlet")
    assert [entry.id for entry in after.card.classes] == [0, 1, 2, 3, 4, 5]
    assert [(one["label"], one["photos"]) for one in report["moved"]] == [("rose", 2), ("scarlet", 4)]
    assert (report["left"], report["not_stored"], report["of_others"], report["gone"]) == (4, 2, 1, False)
    assert report["next"][-1].startswith(f"promptctl learn {folder} --name colours")
    assert len(after.shots) == 40 and after.shots.sha256.tobytes() == before.shots.sha256.tobytes()
    np.testing.assert_array_equal(after.shots.held_out, before.shots.held_out)
    changed = np.flatnonzero(after.shots.class_ids != before.shots.class_ids)
    logged = {image.sha256: (image.before, image.after) for image in after.card.change.relabelled}
    assert (
        logged == {after.shots.sha256[i].tobytes().hex(): (3, int(after.shots.class_ids[i])) for i in changed}
        and len(changed) == 6
    )


def test_a_class_without_photos_goes_and_that_is_said(cli, colours, tmp_path):
    folder = parted(colours, tmp_path, scarlet=[str(n) for n in range(6)], rose=[str(n) for n in range(6, 10)])
    done = cli("class", "split", "colours", "red", "--from", folder)
    assert done.code == 0 and "it has none left and is gone" in done.out, done.err
    assert Store()["colours"].card.labels == ("amber", "blue", "green", "rose", "scarlet")


def test_merged_classes_are_told_apart_again_by_their_folders(cli, colours):
    run(cli, "class", "merge", "colours", "red", "amber", "--into", "warm")
    report = run(cli, "class", "split", "colours", "warm", "--from", colours)
    assert report["gone"] and set(report["classes"]) == {"amber", "blue", "green", "red"}
    before, after = Store()["colours@1"], Store()["colours"]
    label = {c.card.sha256: {e.id: e.label for e in c.card.classes} for c in (before, after)}
    assert [label[after.card.sha256][int(id)] for id in after.shots.class_ids] == [
        label[before.card.sha256][int(id)] for id in before.shots.class_ids
    ]


def test_a_folder_of_a_merged_class_is_a_class_of_its_own_after_the_split(cli, colours, tmp_path):
    run(cli, "class", "merge", "colours", "red", "amber", "--into", "warm")
    report = run(cli, "class", "split", "colours", "warm", "--from", parted(colours, tmp_path, red=["1", "2", "3"]))
    assert (report["left"], report["gone"]) == (17, False)
    (warm,) = [entry for entry in Store()["colours"].card.classes if entry.label == "warm"]
    assert warm.aliases == ("amber",)
    plan = run(cli, "learn", colours / ".." / "parted", "--name", "colours", "--dry-run")
    assert (plan["stored"], plan["moved"]) == (3, [])


def test_a_split_with_nothing_to_split_changes_nothing(cli, colours, tmp_path):
    with pytest.raises(DatasetError, match="every photo lies in the folder of 'red'"):
        commands.split_class("colours", "red", parted(colours, tmp_path, red=["1"], other=[]))
    others = paint(tmp_path / "others", images=2, seed=8)
    with pytest.raises(DatasetError, match="is stored in colours@1 as 'red'"):
        commands.split_class("colours", "red", others)
    near = tmp_path / "near"
    (near / "Blues").mkdir(parents=True)
    shutil.copy(colours / "red" / "1.png", near / "Blues")
    with pytest.raises(NearlyNamed):
        commands.split_class("colours", "red", near)
    assert Store().numbers("colours") == (1,)


# --------------------------------------------------------------------------- list, and what has no shots


def test_the_list_says_what_each_class_is_and_since_when(cli, colours):
    run(cli, "class", "rename", "colours", "red", "crimson", "--display-only")
    run(cli, "class", "add", "colours", "grey")
    assert cli("restore", "colours@3").code == 0
    report = run(cli, "class", "list", "colours")
    assert report["context"] == "colours@4"
    rows = {row["label"]: row for row in report["classes"]}
    assert rows["crimson"] == {
        "id": 3, "label": "crimson", "name": "red", "aliases": ["red"], "train": 8, "held_out": 2, "since": 1,
    }  # fmt: skip
    assert (rows["grey"]["id"], rows["grey"]["since"], rows["grey"]["train"]) == (4, 3, 0)
    assert cli("class", "list", "colours", "-q").out.split() == ["amber", "blue", "green", "crimson", "grey"]
    plain = cli("class", "list", "colours")
    assert "crimson" in plain.out and plain.code == 0


@pytest.mark.parametrize("imported", [True, False])
def test_what_has_no_shots_says_what_it_cannot_do(cli, made, imported, tmp_path):
    context = Context.from_bytes(made["bare"], "it").without_shots()
    if imported:
        shots = dataclasses.replace(context.card.shots, train=0, held_out=0)
        method = dataclasses.replace(context.card.method, lr=0.0)
        context = dataclasses.replace(context, card=dataclasses.replace(context.card, shots=shots, method=method))
    Store().save("bare", context.to_bytes(), new=True)
    with pytest.raises(
        NoShots, match="bare@1 cannot make several classes one: it was imported" if imported else "left out"
    ):
        commands.merge_classes("bare", ["red", "blue"], "both")
    with pytest.raises(NoShots, match="bare@1 cannot tell which photos were of which class"):
        commands.split_class("bare", "red", paint(tmp_path / "photos", images=1))
    # a context of its own reads any name; what it was learned from stays what it says
    run(cli, "class", "rename", "bare", "red", "crimson")
    run(cli, "class", "add", "bare", "grey")
    run(cli, "class", "drop", "bare", "blue")
    after = Store()["bare"]
    assert after.card.labels == ("amber", "green", "crimson", "grey")
    assert after.card.shots == context.card.shots and after.card.method == context.card.method
    assert after.vectors.tobytes() == context.vectors.tobytes()


def test_a_head_without_its_shots_cannot_weigh_a_name(made):
    context = Context.from_bytes(made["shared"], "it").without_shots()
    Store().save("c", context.to_bytes(), new=True)
    with pytest.raises(NoShots, match="cannot weigh a class that it has only the name of"):
        commands.add_classes("c", ["grey"])
    with pytest.raises(NoShots) as refused:
        commands.rename_class("c", "red", "crimson")
    assert refused.value.hint == "promptctl class rename c red crimson --display-only"


def test_two_at_once_both_survive(colours, monkeypatch):
    from promptctl.commands import guarding

    guarded, done = guarding.guarded, []

    def with_another_first(*arguments, **options):
        if not done:
            done.append(True)
            commands.drop_classes("colours", ["amber"])
        return guarded(*arguments, **options)

    monkeypatch.setattr(guarding, "guarded", with_another_first)
    report = commands.rename_class("colours", "red", "crimson")
    assert (report.context, report.parent) == ("colours@3", "colours@2")
    assert Store()["colours"].card.labels == ("blue", "green", "crimson")
