"""Contexts that keep means and variances in place of their shots."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from conftest import paint
from test_context import make, unit

import promptctl
from promptctl.commands import edited
from promptctl.context.card import Change, Relabelled
from promptctl.context.context import Context, ShotTable
from promptctl.context.prototypes import DIRECTIONS, MADE, MOST_COUNTED, Prototypes
from promptctl.errors import CorruptContext
from promptctl.store.store import Store


def of_counts(*counts: int) -> Context:
    """A context with so many shots of each class, and one more of each held out."""
    rng = np.random.default_rng(1)
    ids = np.concatenate([np.full(n + 1, i, np.int32) for i, n in enumerate(counts)])
    held = np.concatenate([np.arange(n + 1) == n for n in counts]).astype(np.uint8)
    centres = unit(rng.normal(size=(len(counts), 5)))
    rows = unit(centres[ids] + 0.2 * rng.normal(size=(len(ids), 5))).astype(np.float16)
    shots = ShotTable(rows, ids, rng.integers(0, 256, (len(ids), 32)).astype(np.uint8), held)
    context = make(len(counts))
    counted = dataclasses.replace(context.card.shots, train=int((held == 0).sum()), held_out=int(held.sum()))
    return dataclasses.replace(context, shots=shots, card=dataclasses.replace(context.card, shots=counted))


def test_prototypes_are_means_and_variances_of_what_was_learned_from():
    context = of_counts(20, 6, 4)
    found = Prototypes.of(context)
    x, y = context.learned_from()
    assert found.count.tolist() == [20, 6, 0]
    np.testing.assert_allclose(found.mean[1], x[y == 1].mean(0), atol=1e-6)
    pooled = (x[y == 0].var(0) + x[y == 1].var(0)) / 2
    np.testing.assert_allclose(found.variance[1], (6 * x[y == 1].var(0) + 2 * pooled) / 8, atol=1e-6)
    assert not found.mean[2].any(), "a mean of four says too much of each"


def test_images_made_up_lie_around_them():
    prototypes = Prototypes.of(of_counts(400, 5, 2))
    x, y = prototypes.made_up(1)
    assert np.bincount(y).tolist() == [MADE, MADE]
    assert np.bincount(prototypes.made_up(1, balanced=False)[1]).tolist() == [MOST_COUNTED, 5]
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(prototypes.made_up(1)[0], x)
    assert not np.array_equal(prototypes.made_up(2)[0], x)
    near = unit(x[y == 0].mean(0)[None])[0] @ unit(prototypes.mean[:1])[0]
    assert near > 0.97


def test_images_made_up_differ_where_the_shots_of_all_classes_do():
    rng = np.random.default_rng(2)
    along = unit(rng.normal(size=(1, 40)))[0]
    rows = np.repeat(np.arange(4), 30)
    centres = unit(rng.normal(size=(4, 40)))[rows]
    x = unit(centres + 0.2 * rng.normal(size=(120, 1)) * along + 0.02 * rng.normal(size=(120, 40)))
    prototypes = Prototypes.of_shots(x, rows, 4)
    found = prototypes.directions
    assert found.shape == (DIRECTIONS, 40) and abs(unit(found[:1])[0] @ along) > 0.99
    np.testing.assert_allclose(np.linalg.norm(found[0]), 0.2, rtol=0.15)
    gram = found @ found.T
    np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0, atol=1e-6)

    def deviations(kept: Prototypes) -> tuple[float, float]:
        """Along that direction, and of a value."""
        made, y = kept.made_up(3)
        apart = made - kept.mean[y]
        return float((apart @ along).std()), float(apart.std())

    alone = dataclasses.replace(prototypes, directions=None)
    real = ((x - prototypes.mean[rows]) @ along).std()
    assert deviations(prototypes)[0] == pytest.approx(real, rel=0.15) and deviations(alone)[0] < 0.6 * real
    assert deviations(prototypes)[1] == pytest.approx(deviations(alone)[1], rel=0.1), "as much in all"


def test_a_direction_is_of_eight_shots_at_least():
    directions = Prototypes.of(of_counts(20, 6, 4)).directions
    assert directions.any(1).tolist() == [True] * 3 + [False] * 5, "of 26 shots three"
    assert Prototypes.of(of_counts(5, 2)).directions is None


def test_shots_and_what_others_stand_for_come_to_the_same_as_all_of_them_together():
    rng = np.random.default_rng(3)
    centres, rows = unit(rng.normal(size=(3, 6))), np.repeat(np.arange(3), 40)
    x = unit(centres[rows] + 0.2 * rng.normal(size=(120, 6)))
    first = np.tile(np.arange(40) < 25, 3) | (rows == 2)  # of the third class none is new
    before = Prototypes.of_shots(x[first], rows[first], 3)
    after, at_once = Prototypes.of_shots(x[~first], rows[~first], 3, before), Prototypes.of_shots(x, rows, 3)
    assert after.count.tolist() == at_once.count.tolist() == [40, 40, 40]
    np.testing.assert_allclose(after.mean, at_once.mean, atol=1e-6)
    np.testing.assert_allclose(after.variance, at_once.variance, rtol=0.1)
    np.testing.assert_allclose(np.abs(after.directions[0] @ at_once.directions[0]), 0.04, rtol=0.4)
    np.testing.assert_array_equal(after.mean[2], before.mean[2])
    np.testing.assert_array_equal(after.variance[2], before.variance[2])


def test_a_file_without_directions_is_read_and_taken_in_as_ever():
    context = dataclasses.replace(make(), prototypes=dataclasses.replace(prototypes_of_three(), directions=None))
    back = Context.from_bytes(context.to_bytes(), "x")
    assert back.prototypes.directions is None and back == context
    assert np.bincount(back.rehearsed()[1])[:3].min() >= MADE


@pytest.mark.parametrize("gone", [edited.without_classes, edited.by_name_alone])
def test_a_class_that_goes_takes_along_what_the_classes_share(gone):
    context = dataclasses.replace(make().without_shots(), prototypes=prototypes_of_three())
    assert context.prototypes.directions.any()
    kept = gone(context, {context.card.classes[1].id}).prototypes
    assert kept.directions is None and kept.count.sum() == 18


def prototypes_of_three() -> Prototypes:
    return Prototypes.of(of_counts(9, 9, 9))


def test_the_file_carries_them_and_no_byte_of_a_shot(tmp_path):
    context = of_counts(9, 9, 9)
    change = Change("relabel", relabelled=(Relabelled(context.shots.sha256[0].tobytes().hex(), 0, 1),))
    context = dataclasses.replace(context, card=dataclasses.replace(context.card, change=change))
    for alone in (context.with_prototypes_only(), context.without_shots()):
        data = alone.to_bytes()
        for row, sha in zip(context.shots.features, context.shots.sha256, strict=True):
            assert row.tobytes() not in data and sha.tobytes() not in data and sha.tobytes().hex().encode() not in data
    back = Context.from_bytes(context.with_prototypes_only().to_bytes(), "x")
    for name, value in vars(Prototypes.of(context)).items():
        np.testing.assert_array_equal(getattr(back.prototypes, name), value)
    assert len(back.shots) == 0 and back.card.format == 1
    assert Context.from_bytes(context.without_shots().to_bytes(), "x").prototypes is None


@pytest.mark.parametrize(
    "changed", [{"count": np.array([-1, 1, 1], np.int32)}, {"variance": np.full((3, 5), -1, np.float32)},
                {"mean": np.full((3, 5), 1e9, np.float32)}, {"mean": np.full((3, 5), np.nan, np.float32)},
                {"mean": np.zeros((3, 5), np.float32), "variance": np.zeros((3, 5), np.float32)},
                {"directions": np.full((DIRECTIONS, 5), 1e9, np.float32)}, {"directions": np.zeros((3, 5), np.float32)},
                {"directions": np.full((DIRECTIONS, 5), np.nan, np.float32)}]
)  # fmt: skip
def test_prototypes_of_no_images_are_refused(changed):
    bad = dataclasses.replace(Prototypes.of(of_counts(9, 9, 9)), **changed)
    with pytest.raises(CorruptContext):
        Context.from_bytes(dataclasses.replace(make(), prototypes=bad).to_bytes(), "x")


def test_other_classes_and_another_order():
    prototypes = Prototypes.of(of_counts(9, 8, 7))
    some = prototypes.only(np.array([2, -1, 0]))
    assert some.count.tolist() == [7, 0, 9]
    np.testing.assert_array_equal(some.mean[2], prototypes.mean[0])


def test_a_file_of_prototypes_learns_on(cli, photos, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTCTL_MODEL", tiny)
    assert cli("learn", photos, "--name", "c", "--epochs", 20, "--lr", 0.02).code == 0
    out = tmp_path / "c.safetensors"
    done = cli("export", "c", out, "--prototypes-only", "--json")
    assert done.code == 0 and json.loads(done.out)["prototypes"] == 3
    before = Context.load(out)
    same = Store()["c"]
    np.testing.assert_array_equal(before.head.weight, same.head.weight)
    assert cli("import", out, "--name", "theirs").code == 0
    more = paint(tmp_path / "more", images=5, seed=5, colours={"grey": (128, 128, 128)})
    done = cli("learn", more, "--name", "theirs", "--epochs", 3, "--json")
    assert done.code == 0, done.err
    after = Store()["theirs@2"]
    assert after.card.labels == ("blue", "green", "red", "grey") and len(after.shots) == 5
    assert after.prototypes.count.tolist() == [5, 5, 5, 0]
    assert np.bincount(promptctl.load("theirs").context.rehearsed()[1]).tolist() == [MADE, MADE, MADE, 4]
    right = [one.label == photo.parent.name for photo in sorted(photos.glob("*/*.png")) for one in [
        promptctl.load("theirs").classify(photo)]]  # fmt: skip
    assert np.mean(right) > 0.8, "what it knew it knows"
    assert after.card.folds.images == 4, "made-up images are none of the shots that folds are said to judge"
    again = paint(tmp_path / "again", images=5, seed=6, colours={"grey": (128, 128, 128)})
    done = cli("learn", again, "--name", "theirs", "--learner", "gda")
    assert done.code == 0, done.err
    made_up = 3 * MADE
    assert f"5 folds of {made_up + 8} images, {made_up} of them made up around means, give it" in done.out
    assert "right on the 2 images held out" in done.out
    assert Store()["theirs@3"].card.folds.images == 8


def test_means_of_old_shots_beside_new_ones_do_not_do_for_single_images():
    context = of_counts(9, 9, 9)
    both = dataclasses.replace(context, prototypes=Prototypes.of(context))
    means = "it keeps means of its shots in place of them"
    assert both.why_no_shots() is None and both.why_no_shots(each=True) == means
    assert context.why_no_shots(each=True) is None
    assert context.with_prototypes_only().why_no_shots() is None
    assert context.without_shots().why_no_shots() == "the features of its shots were left out"


def test_a_head_of_few_photos_is_warned_of_where_features_are_left_out(cli, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTCTL_MODEL", tiny)
    photos = paint(tmp_path / "photos", images=4)
    ways = {"headed": ("--epochs", 2), "headless": ("--epochs", 2, "--no-head"), "gaussians": ("--learner", "gda")}
    for name, options in ways.items():
        assert cli("learn", photos, "--name", name, *options).code == 0
    said = {
        name: [
            cli("export", name, tmp_path / f"{name}{i}", *options).err
            for i, options in enumerate([("--without-shots",), ("--prototypes-only",), ()])
        ]
        for name in ways
    }
    few = "fewer than 5 photos of 'blue', 'green', 'red'"
    warned = {name: [few in text for text in texts] for name, texts in said.items()}
    assert warned == {"headed": [True, True, False], "headless": [False] * 3, "gaussians": [True, True, False]}
    assert "features: learn with --no-head, or more photos, to give away less" in said["headed"][0]
    # what it says is a command that runs: gda has no answer but its head
    assert "features: learn with --learner coop --no-head, or more photos" in said["gaussians"][0]
    assert cli("learn", photos, "--name", "gaussians", "--fresh", "--learner", "coop", "--no-head").code == 0
    assert few not in cli("export", "gaussians", tmp_path / "again", "--without-shots").err
