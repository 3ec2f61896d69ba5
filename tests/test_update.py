"""`learn` on a name that exists: more photos, new classes, corrected labels, and nothing forgotten."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import COLOURS, paint
from PIL import Image
from test_context import make

import promptctl
from promptctl.classification.classifier import Classifier
from promptctl.commands import edited, guarding, revise
from promptctl.context.card import Change, ClassEntry
from promptctl.context.context import Context
from promptctl.context.graded import right_probability
from promptctl.context.update import herded
from promptctl.learners import coop
from promptctl.store.refs import Ref
from promptctl.store.store import Store

GREY = {"grey": (128, 128, 128)}
AMBER = {"amber": (250, 190, 20)}


@pytest.fixture(autouse=True)
def on_tiny(monkeypatch, tiny):
    monkeypatch.setenv("PROMPTCTL_MODEL", tiny)


@pytest.fixture(scope="module")
def first(tiny_folder, tmp_path_factory) -> bytes:
    """colours@1: ten pictures of each of three colours, two of each held out."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTCTL_HOME", str(folder / "home"))
        store = Store(folder / "store")
        photos = paint(folder / "photos", images=10)
        promptctl.learn(photos, "colours", epochs=30, lr=0.02, model=f"local-dir:{tiny_folder}", store=store)
    return store["colours"].to_bytes()


@pytest.fixture
def colours(first, tmp_path) -> Path:
    """The photos colours@1 was learned from; it is stored."""
    Store().save("colours", first, new=True)
    return paint(tmp_path / "photos", images=10)


def more(tmp_path: Path, name: str = "more", **colours: tuple[int, int, int]) -> Path:
    return paint(tmp_path / name, images=5, seed=7, colours=colours or COLOURS)


def learned(cli, photos, *options, name="colours") -> dict:
    done = cli("learn", photos, "--name", name, "--epochs", 5, *options, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_more_photos_of_known_classes_are_shots(cli, colours, tmp_path):
    before = Store()["colours@1"]
    report = learned(cli, more(tmp_path))
    after = Store()["colours@2"]
    assert (report["context"], report["update"]["parent"], report["update"]["new"]) == ("colours@2", "colours@1", 15)
    assert after.card.parent == before.card.sha256
    assert after.card.labels == before.card.labels
    n = len(before.shots)
    np.testing.assert_array_equal(after.shots.sha256[:n], before.shots.sha256)
    np.testing.assert_array_equal(after.shots.held_out[:n], before.shots.held_out)
    assert after.shots.since.tolist() == [1] * n + [2] * 15
    assert np.abs(after.vectors - before.vectors).max() > 1e-4
    assert (after.card.shots.train, after.card.shots.held_out) == (36, 9), "a fifth of fifteen of each"


def test_the_same_folder_again_makes_no_version(cli, colours):
    (path,) = (Store().home / "contexts" / "colours").iterdir()
    before = path.read_bytes()
    report = learned(cli, colours)
    assert (report["nothing_new"], report["stored"], report["new"]) == (True, 30, 0)
    assert [one.name for one in path.parent.iterdir()] == ["1.safetensors"] and path.read_bytes() == before
    plain = cli("learn", colours, "--name", "colours")
    nothing, classes, known = plain.out.splitlines()
    assert (plain.code, nothing) == (0, "nothing new for colours@1: no version was made")
    assert classes.startswith("classes: ") and known.endswith(" stored already, skipped")


def test_a_new_folder_is_a_class_behind_the_others(cli, colours, tmp_path):
    """One that sorts first: no class changes its place, none its id."""
    before = Store()["colours@1"]
    report = learned(cli, more(tmp_path, **AMBER))
    after = Store()["colours@2"]
    assert report["update"]["new_classes"] == ["amber"]
    assert after.card.labels == ("blue", "green", "red", "amber")
    assert [entry.id for entry in after.card.classes] == [0, 1, 2, 3]
    np.testing.assert_array_equal(after.zero_shot_features[:3], before.zero_shot_features)
    assert cli("classify", tmp_path / "more", "--prompt", "colours").code == 0


def test_an_id_is_never_used_again(cli, colours, tmp_path):
    context = Store()["colours@1"]
    card = dataclasses.replace(context.card, next_id=9)
    Store().save("colours", dataclasses.replace(context, card=card).to_bytes(), new=False)
    learned(cli, more(tmp_path, **GREY))
    after = Store()["colours"].card
    assert (after.classes[-1].id, after.next_id) == (9, 0)


def test_the_plan_is_printed_first_and_a_dry_run_stops_there(cli, colours, tmp_path):
    photos = more(tmp_path, **GREY)
    shutil.copy(colours / "red" / "0.png", photos / "grey" / "known.png")
    shutil.copytree(colours / "blue", photos / "blue")
    report = learned(cli, photos, "--dry-run", "--on-conflict", "relabel")
    assert (report["dry_run"], report["classes"]) == (True, ["blue", "green", "red", "grey"])
    assert (report["added"], report["stored"], report["new"]) == (["grey"], 10, 5)
    (moved,) = report["moved"]
    assert (moved["before"], moved["after"], Path(moved["path"]).name) == ("red", "grey", "known.png")
    assert not Store().has("colours@2") and Store().numbers("colours") == (1,)
    err = cli("learn", photos, "--name", "colours", "--epochs", 1, "--on-conflict", "relabel").err
    assert "classes: blue, green, red, grey" in err and "new classes: grey" in err
    assert "moved: " in err and "is stored as 'red', its folder says 'grey'" in err


def test_it_is_scored_on_the_new_photos_before_it_learns_them(cli, colours, tmp_path):
    parent = Store()["colours@1"]
    photos = more(tmp_path, **{**GREY, "red": COLOURS["red"]})
    facts = learned(cli, photos)["update"]
    after = Store()["colours@2"]
    new = after.shots.since == 2
    x, true = after.shots.features[new].astype(np.float32), after.shots.class_ids[new]
    weight = np.concatenate([Classifier.of(parent).weight, after.zero_shot_features[3:]])
    bias = np.concatenate([parent.head.bias, [0.0]])
    right = (28.0 * 0 + parent.card.logit_scale * x @ weight.T + bias).argmax(1) == true
    assert facts["incoming_accuracy"] == pytest.approx(right.mean())
    zero_shot = (x @ after.zero_shot_features.T).argmax(1) == true
    assert facts["incoming_zero_shot_accuracy"] == pytest.approx(zero_shot.mean())
    assert 0 < right.mean() < 1, "or this says nothing"


@pytest.mark.parametrize("rule", ["relabel", "keep", None])
def test_photos_of_another_folder_are_relabelled_when_asked(cli, colours, tmp_path, rule):
    before = Store()["colours@1"]
    moved = tmp_path / "moved"
    (moved / "blue").mkdir(parents=True)
    shutil.copy(colours / "red" / "3.png", moved / "blue")
    photos = [moved, "--name", "colours", "--epochs", 5]
    done = cli("learn", *photos, *(["--on-conflict", rule] if rule else []), "--json")
    if rule is None:
        assert done.code == 1 and Store().numbers("colours") == (1,)
        assert "stored in colours@1 under another class" in done.err and "--on-conflict relabel" in done.err
        return
    if rule == "keep":
        assert done.code == 0 and json.loads(done.out)["nothing_new"] and Store().numbers("colours") == (1,)
        return
    after = Store()["colours@2"]
    changed = np.flatnonzero(after.shots.class_ids != before.shots.class_ids)
    assert len(after.shots) == len(before.shots) and len(changed) == 1
    (told,) = after.card.change.relabelled
    assert told.sha256 == after.shots.sha256[changed[0]].tobytes().hex()
    assert (told.before, told.after) == (2, 0)


@pytest.mark.parametrize(
    ("folder", "label"), [("Red", "red"), ("reds", "red"), ("re\u200bd", "red"), ("ｒｅｄ", "red"), ("RED_", "red")]
)
def test_a_folder_called_nearly_like_a_class_stops(cli, colours, tmp_path, folder, label):
    photos = more(tmp_path, **{folder: COLOURS["red"]})
    done = cli("learn", photos, "--name", "colours")
    assert done.code == 1 and Store().numbers("colours") == (1,)
    assert f"nearly like the class '{label}'" in done.err and f"--map {folder}={label}" in done.err.replace("'", "")
    report = learned(cli, photos, "--map", f"{folder}={label}")
    assert report["update"]["new_classes"] == [] and Store()["colours"].card.labels == ("blue", "green", "red")


def test_a_folder_may_be_a_class_of_its_own_all_the_same(cli, colours, tmp_path):
    learned(cli, more(tmp_path, reds=COLOURS["red"]), "--force-new-class")
    assert Store()["colours"].card.labels[-1] == "reds"


def test_only_known_classes_where_that_is_asked(cli, colours, tmp_path):
    done = cli("learn", more(tmp_path, **GREY), "--name", "colours", "--only-known")
    assert done.code == 1 and "'grey' is no class of colours@1" in done.err
    assert Store().numbers("colours") == (1,)


def test_a_folder_that_is_mapped_to_a_new_class_is_not_known(cli, colours, tmp_path):
    done = cli("learn", more(tmp_path, **GREY), "--name", "colours", "--map", "grey=ash", "--only-known")
    assert done.code == 1 and "'ash' is no class of colours@1" in done.err
    assert Store().numbers("colours") == (1,)


def test_a_folder_that_is_mapped_nearly_to_a_class_stops(cli, colours, tmp_path):
    photos = more(tmp_path, crimson=COLOURS["red"])
    done = cli("learn", photos, "--name", "colours", "--map", "crimson=Reds")
    assert done.code == 1 and "'Reds', which the folder 'crimson' is to be, is called nearly like" in done.err
    assert "--map crimson=red " in done.err and Store().numbers("colours") == (1,)
    report = learned(cli, photos, "--map", "crimson=Reds", "--force-new-class")
    assert report["update"]["new_classes"] == ["Reds"]


def test_a_folder_cannot_be_mapped_to_two_classes(cli, colours, tmp_path):
    photos = more(tmp_path, crimson=COLOURS["red"])
    done = cli("learn", photos, "--name", "colours", "--map", "crimson=red", "--map", "crimson=blue")
    assert done.code == 2 and "'crimson' is both 'red' and 'blue'" in done.err


@pytest.mark.parametrize("name", ["colours", "new"])
def test_a_folder_that_is_mapped_has_to_be_there(cli, colours, tmp_path, name):
    photos = more(tmp_path, crimson=COLOURS["red"], blue=COLOURS["blue"])
    done = cli("learn", photos, "--name", name, "--map", "crimsn=red")
    found = f"error: {photos} has no class folder 'crimsn' to take for 'red': it has 'blue', 'crimson'"
    assert (done.code, done.out) == (1, "") and done.err == f"{found}\nhint:  --map crimson=red\n"
    done = cli("learn", photos, "--name", name, "--map", "crimson=red", "--map", "X=blue")
    assert done.code == 1 and done.err.endswith("hint:  --map FOLDER=CLASS with one of these, or leave it out\n")
    assert Store().names() == ("colours",) and Store().numbers("colours") == (1,)


def test_a_list_of_names_may_name_the_classes_that_are_known(cli, colours, tmp_path):
    names = tmp_path / "names.csv"
    names.write_text("folder,name\ngrey,ash\nred,crimson\nblue,blue\n")
    done = cli("learn", more(tmp_path, **GREY), "--name", "colours", "--epochs", 0, "--classes", names)
    assert done.code == 0, done.err
    assert "the prompt goes on to call 'red' 'red', not 'crimson': promptctl class rename" in done.err
    assert "'blue'" not in done.err and Store()["colours"].card.names == ("blue", "green", "red", "ash")
    names.write_text("gray,ash\n")
    done = cli("learn", more(tmp_path, "again"), "--name", "colours", "--classes", names)
    assert done.code == 1 and "names a folder that is not there: 'gray'" in done.err


def test_an_alias_is_the_class(cli, colours, tmp_path):
    context = Store()["colours@1"]
    entries = list(context.card.classes)
    entries[2] = dataclasses.replace(entries[2], aliases=("crimson",))
    card = dataclasses.replace(context.card, classes=tuple(entries))
    Store().save("colours", dataclasses.replace(context, card=card).to_bytes(), new=False)
    report = learned(cli, more(tmp_path, crimson=COLOURS["red"]))
    assert report["update"]["new_classes"] == [] and Store()["colours"].card.classes[2].aliases == ("crimson",)


def test_a_version_may_go_elsewhere(cli, colours, tmp_path):
    report = learned(cli, more(tmp_path), "--as", "colours2")
    assert report["context"] == "colours2@1" and Store().numbers("colours") == (1,)
    assert Store()["colours2"].card.parent == Store()["colours"].card.sha256


def test_where_there_is_nothing_new_the_other_name_is_a_copy(cli, colours):
    dry = cli("learn", colours, "--name", "colours", "--as", "colours2", "--dry-run")
    assert dry.out.startswith("nothing new for colours@1: no version was made\n") and not Store().has("colours2")
    done = cli("learn", colours, "--name", "colours", "--as", "colours2")
    assert (done.code, done.out.splitlines()[0]) == (0, "nothing new for colours@1: colours2@1 is a copy of it")
    one, other = (Store().find(Ref(name)).path.read_bytes() for name in ("colours", "colours2"))
    assert one == other and Store().numbers("colours") == Store().numbers("colours2") == (1,)
    report = learned(cli, colours, "--as", "colours3")
    assert (report["nothing_new"], report["copied_as"]) == (True, "colours3@1")


@pytest.mark.parametrize(
    ("name", "options", "code", "sentence"),
    [
        ("colours", ["--as", "Colours"], 1, "a context named 'Colours' already exists"),
        ("colours", ["--as", "../x"], 1, "'../x' is not a context name: "),
        ("colours", ["--as", "other", "--fresh"], 1, "--fresh takes nothing from 'colours' over to 'other'"),
        ("colour", ["--as", "other"], 10, "no context named 'colour'"),
    ],
)
def test_where_a_version_goes_is_known_before_it_is_learned(cli, colours, tmp_path, name, options, code, sentence):
    done = cli("learn", more(tmp_path), "--name", name, *options)
    assert (done.code, done.out) == (code, "") and done.err.startswith(f"error: {sentence}"), done.err
    assert Store().names() == ("colours",) and Store().numbers("colours") == (1,)


def test_at_most_so_many_of_each_class(cli, colours, tmp_path):
    report = learned(cli, more(tmp_path), "--shots", 2)
    assert report["update"]["new"] == 6
    assert report["measured_on"] == "images not sampled" and report["measured_images"] == 9
    assert [row["held_out"] for row in report["per_class"]] == [3, 3, 3]
    again = learned(cli, tmp_path / "more", "--shots", 2, "--dry-run")
    assert again["new"] == 6, "the others are still there to be learned"


def test_what_is_not_typed_is_the_parents(cli, tmp_path, tiny):
    photos = paint(tmp_path / "photos", images=6)
    options = ["--class-specific", "--context-tokens", 3, "--position", "front", "--seed", 4, "--no-head"]
    first = cli("learn", photos, "--name", "c", "--shots", 3, "--epochs", 5, "--template", "a {} dot.", *options)
    assert first.code == 0, first.err
    learned(cli, more(tmp_path), name="c")
    before, after = (Store()[f"c@{n}"].card for n in (1, 2))
    same = ("learner", "class_specific", "context_tokens", "position", "seed", "recipe")
    assert [getattr(before.method, name) for name in same] == [getattr(after.method, name) for name in same]
    assert after.zero_shot_template == "a {} dot." and after.shots.asked == 3
    assert (after.head, after.format) == ((), 1)


def test_another_backbone_is_for_rebase(cli, colours, tmp_path):
    done = cli("learn", more(tmp_path), "--name", "colours", "--model", "mini")
    assert done.code == 1 and "promptctl rebase colours --model mini" in done.err


@pytest.mark.parametrize("without", ["shots", "imported"])
def test_what_has_no_shots_cannot_learn_on(cli, colours, tmp_path, without):
    context = Store()["colours@1"].without_shots()
    if without == "imported":
        shots = dataclasses.replace(context.card.shots, train=0, held_out=0)
        method = dataclasses.replace(context.card.method, lr=0.0)
        context = dataclasses.replace(context, card=dataclasses.replace(context.card, shots=shots, method=method))
    Store().save("bare", context.to_bytes(), new=True)
    done = cli("learn", more(tmp_path), "--name", "bare")
    assert done.code == 1 and "can classify but not learn on" in done.err and "--fresh" in done.err
    assert Store().numbers("bare") == (1,)


def test_classes_of_their_own_stay_to_the_bit_where_nothing_is_new(cli, tmp_path):
    photos = paint(tmp_path / "photos", images=6)
    assert cli("learn", photos, "--name", "c", "--class-specific", "--epochs", 10).code == 0
    before = Store()["c@1"]
    learned(cli, more(tmp_path, **GREY), name="c")
    after = Store()["c@2"]
    np.testing.assert_array_equal(after.vectors[:3], before.vectors)
    np.testing.assert_array_equal(after.text_features[:3], before.text_features)
    assert np.abs(after.vectors[3] - before.vectors.mean(0)).max() > 1e-4, "and the new one has learned"
    assert after.card.method.lr == coop.ROWS_LR
    learned(cli, more(tmp_path, name="lime", lime=(150, 220, 30)), "--polish", name="c")
    polished = Store()["c@3"]
    assert np.abs(polished.vectors[:3] - before.vectors).max() > 1e-4
    assert polished.card.method.lr == coop.UPDATE_LR


def test_the_same_photos_and_seed_give_the_same_bytes(cli, colours, tmp_path):
    photos = more(tmp_path, **GREY)
    learned(cli, photos)
    again = Store(tmp_path / "again")
    again.save("colours", Store()["colours@1"].to_bytes(), new=True)
    os.environ["PROMPTCTL_HOME"] = str(again.home)
    learned(cli, photos)
    assert (
        again["colours@2"].card.sha256
        == Context.load(tmp_path / "home" / "contexts" / "colours" / "2.safetensors").card.sha256
    )


def test_no_photo_changes_sides_whatever_comes_when(cli, tmp_path):
    """Three folders in two orders: what was held out stays so, and is never learned from."""
    parts = [paint(tmp_path / f"part{n}", images=6, seed=n) for n in range(3)]
    for name, order in (("a", parts), ("b", parts[::-1])):
        sides: dict[bytes, int] = {}
        for i, part in enumerate(order):
            done = cli("learn", part, "--name", name, "--epochs", 1)
            assert done.code == 0, done.err
            shots = Store()[f"{name}@{i + 1}"].shots
            now = {sha.tobytes(): int(side) for sha, side in zip(shots.sha256, shots.held_out, strict=True)}
            assert {sha: now[sha] for sha in sides} == sides
            sides = now
        assert sum(sides.values()) == 9, "three of the eighteen of each"


def test_copies_kept_are_the_most_typical(cli, colours, tmp_path):
    learned(cli, more(tmp_path), "--shots-kept", 4)
    shots = Store()["colours@2"].shots
    assert np.bincount(shots.class_ids[shots.held_out == 0]).tolist() == [4, 4, 4]
    assert (shots.held_out == 1).sum() == 9


def test_a_new_name_keeps_as_few_and_calls_folders_otherwise_too(cli, tmp_path):
    photos = paint(tmp_path / "photos", images=10)
    done = cli("learn", photos, "--name", "n", "--epochs", 2, "--shots-kept", 3, "--map", "red=crimson", "--json")
    assert done.code == 0, done.err
    context = Store()["n"]
    assert context.card.labels == ("blue", "crimson", "green")
    assert np.bincount(context.shots.class_ids[context.shots.held_out == 0]).tolist() == [3, 3, 3]
    assert (context.card.shots.train, context.card.shots.held_out) == (9, 6)


# --------------------------------------------------------------------------- the guard


def mixed_up(tmp_path: Path) -> Path:
    """Many pictures of every colour in the folder of another."""
    folder = tmp_path / "mixed-up"
    painted = paint(tmp_path / "wrong", images=90, seed=11)
    for path in sorted(painted.glob("*/*.png")):
        label = list(COLOURS)[(1 + list(COLOURS).index(path.parent.name)) % 3]
        (folder / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / label / f"{path.parent.name}{path.name}")
    return folder


@pytest.fixture
def many(tiny_folder, tmp_path) -> Path:
    """shades@1, of sixty pictures of each colour, twelve of each held out."""
    photos = paint(tmp_path / "many", images=60)
    promptctl.learn(photos, "shades", epochs=40, lr=0.02, model=f"local-dir:{tiny_folder}", shots_kept=None)
    return photos


def test_a_version_that_forgets_is_kept_beside_the_others(cli, many, tmp_path):
    before = Store().find(promptctl.store.refs.Ref("shades")).path.read_bytes()
    done = cli("learn", mixed_up(tmp_path), "--name", "shades", "--max-forgetting", 0, "--json")
    report = json.loads(done.out)
    assert (done.code, report["context"]) == (4, "shades@candidate"), done.err
    assert report["update"]["refused"] and report["update"]["worse"] > report["update"]["better"]
    assert Store().numbers("shades") == (1,)
    assert Store().find(promptctl.store.refs.Ref("shades")).path.read_bytes() == before
    assert (Store().home / "contexts" / "shades" / "candidate.safetensors").is_file()
    assert "error: shades@candidate is not the next version" in done.err
    assert report["next"][-1] == "promptctl promote shades@candidate"

    elsewhere = cli(
        "learn", tmp_path / "mixed-up", "--name", "shades", "--as", "tints", "--max-forgetting", 0, "--json"
    )
    assert (elsewhere.code, Store().has("tints")) == (4, False)
    said = "error: there is no 'tints': what was learned lies beside shades@1, as shades@candidate, since "
    assert said in elsewhere.err and "is not the next version" not in elsewhere.err
    report = json.loads(elsewhere.out)
    assert (report["asked_as"], report["next"][-1]) == ("tints", "promptctl copy shades@candidate tints")

    forced = cli("learn", tmp_path / "mixed-up", "--name", "shades", "--max-forgetting", 0, "--force", "--json")
    assert forced.code == 0 and json.loads(forced.out)["context"] == "shades@2"
    change = Store()["shades@2"].card.change
    assert change.forced and change.guard.refused


def test_an_honest_update_passes(cli, many, tmp_path):
    report = learned(cli, more(tmp_path), name="shades")
    facts = report["update"]
    assert report["context"] == "shades@2" and not facts["refused"] and not facts["kept"]
    assert facts["compared_on"] == "shots, in folds", "36 held out are fewer than forty"
    assert Store()["shades@2"].card.change.guard.images == facts["compared_images"] > 100


def test_few_images_advise_and_never_refuse(cli, tmp_path):
    assert cli("learn", paint(tmp_path / "few", images=5), "--name", "few", "--epochs", 20).code == 0
    report = learned(cli, mixed_up(tmp_path), name="few")
    assert report["context"] == "few@2" and report["update"]["advisory"]


def test_the_guard_counts_what_either_version_answers(colours):
    """By hand: the parent's and the candidate's answers among the parent's classes."""
    parent = Store()["colours@1"]
    weight = parent.head.weight[[1, 2, 0]]
    worse = dataclasses.replace(parent, head=dataclasses.replace(parent.head, weight=weight))
    seen = guarding._on_held_out(parent, worse)
    same, ids, full, zero_shot = seen.same, seen.ids, seen.full, seen.zero_shot
    x, rows = parent.held_out()
    old, new = (
        (parent.card.logit_scale * x @ head.weight.T + head.bias).argmax(1) for head in (parent.head, worse.head)
    )
    assert (same.worse, same.better) == (
        int(((old == rows) & (new != rows)).sum()),
        int(((old != rows) & (new == rows)).sum()),
    )
    assert len(same) == 6 and same.worse and (ids == rows).all()
    assert full is None and len(zero_shot) == 6, "there is no new class to choose from"


def test_the_guard_knows_what_the_right_classes_lost_among_those_that_both_have(colours):
    parent = Store()["colours@1"]
    first, *others = parent.card.classes
    weight = parent.head.weight[[1, 0, 2]]
    worse = dataclasses.replace(parent, head=dataclasses.replace(parent.head, weight=weight))
    seen = guarding._on_held_out(parent, edited.without_classes(worse, {first.id}))
    same, ids = seen.same, seen.ids
    x, rows = parent.held_out()
    x, rows = x[rows > 0], rows[rows > 0]
    assert len(same) == 4 and ids.tolist() == [others[row - 1].id for row in rows]
    was, becomes = (
        right_probability(np.exp(parent.card.logit_scale * x @ head.weight[1:].T + head.bias[1:]), rows - 1)
        for head in (parent.head, worse.head)
    )
    np.testing.assert_allclose(same.lost, was - becomes, atol=1e-4)
    assert np.ptp(same.lost) > 0.05


def test_another_update_meanwhile_is_learned_on_top_of(colours, tmp_path, tiny, monkeypatch):
    """The second to store finds a newer version: it starts again from that, so both are in it."""
    from promptctl.commands import update

    one, two = more(tmp_path, name="one"), paint(tmp_path / "two", images=5, seed=9, colours=GREY)
    taught, done = update.taught, []

    def with_another_first(*arguments, **options):
        if not done:
            done.append(True)
            promptctl.learn(one, "colours", epochs=2)
        return taught(*arguments, **options)

    monkeypatch.setattr(update, "taught", with_another_first)
    report = promptctl.learn(two, "colours", epochs=2)
    assert report.context == "colours@3" and report.update.parent == "colours@2"
    assert len(Store()["colours"].shots) == 30 + 15 + 5


def test_no_answer_depends_on_the_others(colours, tmp_path):
    context = promptctl.load("colours")
    photos = sorted(colours.glob("*/*.png"))[:6]
    together = [answer.probability for answer in context.classify(photos)]
    assert together == [context.classify(photo).probability for photo in photos]


def test_linked_class_folders_count_as_folders(cli, colours, tmp_path):
    real = more(tmp_path, **GREY)
    links = tmp_path / "links"
    links.mkdir()
    (links / "grey").symlink_to(real / "grey", target_is_directory=True)
    assert learned(cli, links)["update"]["new_classes"] == ["grey"]


def test_a_damaged_photo_is_named_and_the_rest_learned(cli, colours, tmp_path):
    photos = more(tmp_path)
    (photos / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0" + b"x" * 100)
    done = cli("learn", photos, "--name", "colours", "--epochs", 2, "--json")
    assert done.code == 0 and json.loads(done.out)["update"]["new"] == 15
    assert "broken.jpg" in done.err


def test_one_class_folder_is_enough(cli, colours, tmp_path):
    assert learned(cli, more(tmp_path, red=COLOURS["red"]))["update"]["new"] == 5


def test_an_empty_folder_changes_nothing(cli, colours, tmp_path):
    (tmp_path / "empty" / "red").mkdir(parents=True)
    done = cli("learn", tmp_path / "empty", "--name", "colours")
    assert done.code == 1 and Store().numbers("colours") == (1,)


def test_a_one_pixel_photo_is_learned(cli, colours, tmp_path):
    (tmp_path / "tiny" / "red").mkdir(parents=True)
    Image.new("RGB", (1, 1), "red").save(tmp_path / "tiny" / "red" / "dot.png")
    assert learned(cli, tmp_path / "tiny")["update"]["new"] == 1


def test_a_burst_stays_on_one_side_of_an_update(cli, colours, tmp_path):
    """Three slightly different pictures of every scene."""
    rng = np.random.default_rng(3)
    for colour, base in COLOURS.items():
        folder = tmp_path / "later" / colour
        folder.mkdir(parents=True)
        for scene in range(10):
            blobs = np.kron(rng.integers(-60, 60, (5, 6, 3)), np.ones((8, 8, 1)))
            for shot in range(3):
                noisy = np.array(base) + blobs + rng.normal(0, 3, blobs.shape)
                Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"{scene}-{shot}.png")
    assert cli("learn", tmp_path / "later", "--name", "colours", "--epochs", 1).code == 0
    shots = Store()["colours@2"].shots
    sides: dict[int, set[int]] = {}
    for group, side in zip(shots.groups[30:], shots.held_out[30:], strict=True):
        sides.setdefault(int(group), set()).add(int(side))
    assert len(sides) == 30 and all(len(side) == 1 for side in sides.values())
    assert (shots.held_out == 1).sum() == 3 * (40 // 5)


def test_before_a_refusal_it_leans_on_what_the_parent_answers(cli, tiny, tmp_path):
    """Where a head answers the vectors have no part in it: shares of the two heads are tried, for classes of both."""
    assert cli("learn", paint(tmp_path / "old", images=80), "--name", "s", "--epochs", 20, "--lr", 0.02).code == 0
    parent = Store()["s@1"]
    assert parent.card.shots.held_out >= 40
    more = paint(tmp_path / "more", images=5, seed=3, colours=GREY)
    assert cli("learn", more, "--name", "s", "--epochs", 2).code == 0
    candidate = Store()["s@2"]
    turned = dataclasses.replace(candidate.head, weight=candidate.head.weight[[1, 2, 0, 3]])
    worse = dataclasses.replace(candidate, head=turned)
    assert guarding.judged(parent, worse, 0.02).verdict.refused

    revision = revise.revision_of(parent, candidate.card.classes, candidate.shots, Change("learn"), trains=True)
    tried = list(guarding._retries(revision, worse, None, None))
    assert [kept for kept, _ in tried] == [f"{share} of the parent's head" for share in (0.25, 0.5, 0.75)]
    half = tried[1][1]
    np.testing.assert_allclose(half.head.weight[:3], (parent.head.weight + turned.weight[:3]) / 2, atol=1e-6)
    np.testing.assert_array_equal(half.head.weight[3], turned.weight[3])
    assert [part.kind for part in half.card.head] == ["clap", "proker(1)", "gda-relative", "parent"]
    Context.from_bytes(half.to_bytes(), "half")
    assert not guarding.judged(parent, tried[2][1], 0.02).verdict.refused


def test_before_a_refusal_other_vectors_are_tried_where_the_context_answers(cli, tiny, tmp_path):
    """More steps, shares of the parent's vectors, and vectors of each class beside those that stay."""
    from promptctl.clip.backbone import Backbone

    options = ["--no-head", "--epochs", 4, "--lr", 0.02]
    assert cli("learn", paint(tmp_path / "old", images=6), "--name", "v", *options).code == 0
    assert cli("learn", paint(tmp_path / "more", images=5, seed=3, colours=GREY), "--name", "v", *options).code == 0
    parent, candidate = Store()["v@1"], Store()["v@2"]
    revision = revise.revision_of(parent, candidate.card.classes, candidate.shots, Change("learn"), trains=True)
    revision = dataclasses.replace(revision, settings=dataclasses.replace(revision.settings, epochs=2))
    tried = dict(guarding._retries(revision, candidate, Backbone(tiny), None))
    assert list(tried) == [
        "3 times the steps",
        *(f"{share} of the parent's vectors" for share in (0.25, 0.5, 0.75)),
        "class-specific vectors",
    ]
    assert tried["3 times the steps"].card.method.steps == 6
    half = (parent.vectors + candidate.vectors) / 2
    np.testing.assert_allclose(tried["0.5 of the parent's vectors"].vectors, half, atol=1e-6)
    own = tried["class-specific vectors"]
    np.testing.assert_array_equal(own.vectors[:3], np.repeat(parent.vectors[None], 3, 0))
    np.testing.assert_array_equal(own.text_features[:3], parent.text_features)
    assert np.abs(own.vectors[3] - parent.vectors).max() > 1e-4


def test_herding_takes_no_image_twice():
    """Of Welling's rule by hand: each brings the mean of those taken as near as it can to the mean of all."""
    rows = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0], [5.0, 1.0], [-3.0, 1.0]])
    assert herded(rows, 1) == [1]
    assert herded(rows, 3) == [1, 0, 2]
    assert sorted(herded(rows, 5)) == [0, 1, 2, 3, 4]


def test_an_image_seen_as_a_new_class_by_folds_says_nothing_of_the_old_ones():
    """Which of the old it would have been seen as nobody knows; what is seen as another old one got worse, and so did
    what is seen as a class that brought no photo."""
    parent = make(3, shots=6)
    ids = parent.shots.class_ids
    parent = dataclasses.replace(parent, shots=dataclasses.replace(parent.shots, predicted=ids))
    classes = (*parent.card.classes, ClassEntry(3, "new", "new"))
    seen = ids.copy()
    seen[0], seen[1] = 3, (ids[1] + 1) % 3
    shots = dataclasses.replace(parent.shots, predicted=seen)
    by_name = dataclasses.replace(parent, card=dataclasses.replace(parent.card, classes=classes), shots=shots)
    found = guarding._on_folds(parent, by_name)
    assert (len(found.same), found.same.worse, found.same.better) == (6, 2, 0)
    assert found.ids.tolist() == ids.tolist()
    with_photo = dataclasses.replace(
        by_name, shots=dataclasses.replace(shots, class_ids=np.append(ids[:5], ids.dtype.type(3)))
    )
    found = guarding._on_folds(parent, with_photo)
    assert (len(found.same), found.same.worse, found.same.better) == (5, 1, 0)
    assert found.ids.tolist() == ids[:5].tolist()
