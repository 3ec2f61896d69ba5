"""`merge`: one context that knows the classes and the photos of two."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import COLOURS, paint

import promptctl
from promptctl import commands
from promptctl.classification.classifier import Classifier
from promptctl.context.context import Context
from promptctl.errors import BackboneMismatch, ContextExists, DatasetError, NoShots
from promptctl.store.refs import Ref
from promptctl.store.store import Store

WARM = {"amber": (250, 190, 20), "crimson": COLOURS["red"]}


@pytest.fixture(scope="module")
def made(tiny_folder, tmp_path_factory) -> dict[str, bytes]:
    """colours: red, green and blue; warm: amber and crimson. Ten pictures of each, two of each held out."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTCTL_HOME", str(folder / "home"))
        store, model = Store(folder / "store"), f"local-dir:{tiny_folder}"
        promptctl.learn(paint(folder / "a", images=10), "colours", epochs=20, model=model, store=store)
        warm = paint(folder / "b", images=10, seed=4, colours=WARM)
        promptctl.learn(warm, "warm", epochs=20, model=model, store=store)
        return {name: store[name].to_bytes() for name in ("colours", "warm")}


@pytest.fixture(autouse=True)
def both(made):
    for name, data in made.items():
        Store().save(name, data, new=True)


def changed(name: str, **changes: object) -> None:
    """The next version of a name with other shots or classes."""
    context = Store()[name]
    card = dataclasses.replace(context.card, classes=changes.pop("classes", context.card.classes))
    shots = dataclasses.replace(context.shots, **changes)
    held = int(shots.held_out.sum())
    card = dataclasses.replace(card, shots=dataclasses.replace(card.shots, train=len(shots) - held, held_out=held))
    Store().save(name, dataclasses.replace(context, card=card, shots=shots).to_bytes(), new=False)


def run(cli, *arguments) -> dict:
    done = cli("merge", *arguments, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def hashes(context: Context) -> dict[str, str]:
    label = {entry.id: entry.label for entry in context.card.classes}
    return {
        s.tobytes().hex(): label[int(i)] for s, i in zip(context.shots.sha256, context.shots.class_ids, strict=True)
    }


def test_one_context_knows_the_classes_and_photos_of_both(cli):
    one, two = Store()["colours"], Store()["warm"]
    report = run(cli, "colours", "warm", "--name", "all")
    after = Store()["all@1"]
    assert (report["context"], report["parent"], report["second"]) == ("all@1", "colours@1", "warm@1")
    assert after.card.labels == ("blue", "green", "red", "amber", "crimson")
    assert [entry.id for entry in after.card.classes] == [0, 1, 2, 3, 4]
    assert after.card.parent == one.card.sha256 and after.card.change.kind == "merge"
    assert hashes(after) == {**hashes(one), **hashes(two)}
    sides = {s.tobytes(): int(h) for s, h in zip(after.shots.sha256, after.shots.held_out, strict=True)}
    for context in (one, two):
        for sha, held in zip(context.shots.sha256, context.shots.held_out, strict=True):
            assert sides[sha.tobytes()] == held
    assert set(after.shots.since.tolist()) == {1} and len(np.unique(after.shots.groups)) == 50
    assert np.bincount(Classifier.of(after).predict(after.text_features).best, minlength=5).max() < 4
    assert Store().numbers("colours") == Store().numbers("warm") == (1,)


def test_classes_with_a_word_in_common_are_one(cli):
    commands.rename_class("warm", "crimson", "red", display_only=True)
    report = run(cli, "colours", "warm", "--name", "all")
    after = Store()["all"]
    assert (report["known"], report["added"]) == (["red"], ["amber"])
    assert after.card.labels == ("blue", "green", "red", "amber")
    assert after.card.classes[2].aliases == ("crimson",) and (after.shots.class_ids == 2).sum() == 20


def test_classes_called_nearly_alike_stop(cli):
    commands.rename_class("warm", "crimson", "Reds", display_only=True)
    with pytest.raises(DatasetError, match="'Reds' of warm@2 is called nearly like 'red' of colours@1") as refused:
        commands.merge("colours", "warm", "all")
    assert refused.value.hint.startswith("promptctl class rename warm Reds red --display-only")
    assert not Store().has("all")
    run(cli, "colours", "warm", "--name", "all", "--force-new-class")
    assert Store()["all"].card.labels[-1] == "Reds"


@pytest.mark.parametrize("rule", [None, "first", "second"])
def test_a_photo_under_two_classes_is_of_the_one_that_is_asked_for(cli, rule):
    one, two = Store()["colours"], Store()["warm"]
    sha256 = two.shots.sha256.copy()
    sha256[0] = one.shots.sha256[0]
    changed("warm", sha256=sha256)
    sha = one.shots.sha256[0].tobytes().hex()
    if rule is None:
        with pytest.raises(DatasetError, match="1 photo has another class in warm@2 than in colours@1") as refused:
            commands.merge("colours", "warm", "all")
        assert "--on-conflict first" in refused.value.hint and not Store().has("all")
        return
    report = run(cli, "colours", "warm", "--name", "all", "--on-conflict", rule)
    after = Store()["all"]
    assert (report["shared"], len(after.shots)) == (1, 49)
    assert hashes(after)[sha] == hashes(one if rule == "first" else Store()["warm"])[sha]


def test_what_one_holds_out_stays_so_unless_the_other_learned_from_it(cli):
    one = Store()["colours"]
    own = np.flatnonzero(one.shots.class_ids == 2)
    apart, learned = (own[one.shots.held_out[own] == side] for side in (1, 0))
    two = Store()["warm"]
    (crimson,) = [entry.id for entry in two.card.classes if entry.label == "crimson"]
    commands.rename_class("warm", "crimson", "red", display_only=True)
    theirs = np.flatnonzero(two.shots.class_ids == crimson)
    theirs_apart, theirs_learned = (theirs[two.shots.held_out[theirs] == side] for side in (1, 0))
    sha256 = two.shots.sha256.copy()
    sha256[theirs_learned[0]] = one.shots.sha256[apart[0]]  # held out here, learned there
    sha256[theirs_apart[0]] = one.shots.sha256[learned[0]]  # the other way round
    sha256[theirs_apart[1]] = one.shots.sha256[apart[1]]  # held out in both
    changed("warm", sha256=sha256)
    done = cli("merge", "colours", "warm", "--name", "all", "--json")
    report = json.loads(done.out)
    assert (report["shared"], report["learned_by_other"]) == (3, 2)
    assert "2 photos held out in one and learned from in the other: not held out any more" in done.err
    after = Store()["all"]
    side = {s.tobytes(): int(h) for s, h in zip(after.shots.sha256, after.shots.held_out, strict=True)}
    found = [side[one.shots.sha256[i].tobytes()] for i in (apart[0], learned[0], apart[1])]
    assert found == [0, 0, 1] and len(after.shots) == 47


def test_what_cannot_be_merged_makes_nothing(made):
    with pytest.raises(ContextExists):
        commands.merge("colours", "warm", "warm")
    bare = Context.from_bytes(made["warm"], "it").without_shots()
    Store().save("bare", bare.to_bytes(), new=True)
    with pytest.raises(NoShots, match="bare@1 cannot be merged: the features of its shots were left out"):
        commands.merge("colours", "bare", "all")
    backbone = dataclasses.replace(bare.card.backbone, fingerprint="f" * 64)
    other = dataclasses.replace(Store()["warm"], card=dataclasses.replace(Store()["warm"].card, backbone=backbone))
    Store().save("other", other.to_bytes(), new=True)
    with pytest.raises(BackboneMismatch):
        commands.merge("colours", "other", "all")
    assert not Store().has("all")


def test_two_classes_of_one_that_are_one_class_of_the_other_are_refused():
    context = Store()["warm"]
    classes = (dataclasses.replace(context.card.classes[0], aliases=("red", "blue")), *context.card.classes[1:])
    changed("warm", classes=classes)
    with pytest.raises(DatasetError, match="'amber' could be both 'blue' and 'red' of colours@1"):
        commands.merge("colours", "warm", "all")


def test_a_merge_that_forgets_either_lies_beside_the_first(cli, monkeypatch):
    from promptctl.commands import guarding

    judged = guarding.judged

    def refusing(parent, candidate, most):
        found = judged(parent, candidate, most)
        refused = "amber" in parent.card.labels  # the second
        return dataclasses.replace(found, verdict=dataclasses.replace(found.verdict, refused=refused, reasons=("no",)))

    monkeypatch.setattr(guarding, "judged", refusing)
    done = cli("merge", "colours", "warm", "--name", "all", "--json")
    report = json.loads(done.out)
    assert (done.code, report["context"]) == (4, "colours@candidate") and "of warm@1, no" in done.err
    assert not Store().has("all") and Store().numbers("colours") == (1,)
    assert report["next"][-1] == "promptctl copy colours@candidate all"
    assert report["sentence"].startswith("colours@1 and warm@1 would be one context of ") and report["name"] == "all"
    said = "error: there is no 'all': what was learned lies beside colours@1, as colours@candidate, since of warm@1, no"
    assert said in done.err.splitlines()
    assert cli(*report["next"][-1].split()[1:]).code == 0 and Store().find(Ref("all")).card.labels[-1] == "crimson"


def test_both_go_on_learning_from_photos_of_either(cli, tmp_path):
    run(cli, "colours", "warm", "--name", "all")
    photos = paint(tmp_path / "more", images=2, seed=8, colours={"amber": WARM["amber"], "blue": COLOURS["blue"]})
    shutil.rmtree(Path(Store().home) / "contexts" / "warm")
    done = cli("learn", photos, "--name", "all", "--epochs", 2, "--json")
    assert done.code == 0 and json.loads(done.out)["update"]["new_classes"] == []
