"""`rebase`: a context learned again on another backbone, from the same photos wherever they lie."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, build_clip, paint

import promptctl
from promptctl import commands
from promptctl.context.card import Change, Shots
from promptctl.context.context import Context
from promptctl.errors import NoImages, NoShots, PhotosMissing, SameBackbone
from promptctl.store.store import Store


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> str:
    """Another random CLIP, whose features are of another width."""
    folder = build_clip(tmp_path_factory.mktemp("other"), {**TINY, "embed_dim": 24}, seed=5)
    return f"local-dir:{folder}"


@pytest.fixture(scope="module")
def first(tiny_folder, tmp_path_factory) -> bytes:
    """colours@1: ten pictures of each of three colours, two of each held out, and odd ids, names and groups."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTCTL_HOME", str(folder / "home"))
        store, model = Store(folder / "store"), f"local-dir:{tiny_folder}"
        promptctl.learn(paint(folder / "photos", images=10), "colours", epochs=5, model=model, store=store)
    context = store["colours"]
    classes = tuple(
        dataclasses.replace(entry, id=entry.id + 4, name=f"a {entry.label}", aliases=(f"{entry.label}s",))
        for entry in context.card.classes
    )
    since, groups = 1 + np.arange(30) % 2, np.arange(30) // 2
    shots = dataclasses.replace(
        context.shots,
        class_ids=(context.shots.class_ids + 4).astype(np.int32),
        since=since.astype(np.int32),
        groups=groups.astype(np.int32),
        predicted=np.full(30, 5, np.int32),
    )
    card = dataclasses.replace(context.card, classes=classes, next_id=9)
    return dataclasses.replace(context, card=card, shots=shots).to_bytes()


@pytest.fixture
def photos(first, tmp_path) -> Path:
    """The photos, in other folders and under other names, among photos that the context has never seen."""
    Store().save("colours", first, new=True)
    for number, path in enumerate(sorted(paint(tmp_path / "painted", images=10).glob("*/*.png"))):
        (tmp_path / "photos" / f"{number % 4}").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "photos" / f"{number % 4}" / f"holiday-{number}.png")
    paint(tmp_path / "photos" / "elsewhere", images=2, seed=9)
    return tmp_path / "photos"


def test_all_but_the_features_stays(photos, other, cli):
    before = Store()["colours@1"]
    done = cli("rebase", "colours", photos, "--model", other)
    assert done.code == 0, done.err
    after = Store()["colours@2"]
    assert after.card.backbone.fingerprint != before.card.backbone.fingerprint
    assert after.card.backbone.joint_width == after.shots.features.shape[1] == after.text_features.shape[1] == 24
    assert after.card.classes == before.card.classes
    assert (after.card.next_id, after.card.parent) == (9, before.card.sha256)
    for column in ("class_ids", "sha256", "held_out", "since", "groups"):
        np.testing.assert_array_equal(getattr(after.shots, column), getattr(before.shots, column), err_msg=column)
    assert after.card.shots == before.card.shots
    assert after.card.zero_shot_template == before.card.zero_shot_template
    own = before.card.backbone.name
    assert (after.card.change.kind, after.card.change.words) == ("rebase", f"{own} → {other}")
    assert set(after.shots.predicted.tolist()) <= {-1, 4, 5, 6}
    assert f"promptctl restore colours@1   (to go back to {own})" in done.err


def test_features_are_the_new_backbones_and_the_answer_is_learned_from_them(photos, other):
    from promptctl.clip import templates
    from promptctl.clip.backbone import Backbone
    from promptctl.encoding.cache import FeatureCache
    from promptctl.encoding.pipeline import encode_files

    commands.rebase("colours", photos, model=other)
    after, backbone = Store()["colours@2"], Backbone(other, "cpu")
    with FeatureCache() as cache:
        features, _ = encode_files(sorted(photos.glob("*/holiday-*.png")), backbone.encoder, cache)
    rows = dict(zip(features.sha256, features.vectors, strict=True))
    wanted = np.array([rows[sha.tobytes().hex()] for sha in after.shots.sha256]).astype(np.float16)
    np.testing.assert_array_equal(after.shots.features, wanted)
    by_hand = templates.text_features(backbone.tower, after.card.names, after.card.zero_shot_template)
    np.testing.assert_allclose(after.zero_shot_features, by_hand, atol=1e-6)
    assert after.card.score.images == 6
    assert after.vectors.shape == Store()["colours@1"].vectors.shape, "as many vectors, learned from noise again"


def test_what_is_missing_is_named(photos, other, cli):
    gone = sorted(photos.glob("*/holiday-*.png"))[:3]
    for path in gone[:2]:
        path.unlink()
    gone[2].write_bytes(gone[2].read_bytes()[:60])
    report = json.loads(cli("rebase", "colours", photos, "--model", other, "--json").out)
    assert (report["found"], len(report["missing"]), report["dropped"]) == (27, 3, [])
    assert {row["reason"] for row in report["missing"]} == {"not among the photos"}, "a damaged file is another file"
    after = Store()["colours@2"]
    assert len(after.shots) == 27
    assert "-3 photos" in after.card.change.words
    assert commands.log("colours").versions[0].change.endswith("-3 photos")


def test_a_class_without_photos_is_left_out_only_when_asked(photos, other, cli, tmp_path):
    red = {path.read_bytes() for path in (tmp_path / "painted" / "red").iterdir()}
    for path in photos.glob("*/holiday-*.png"):
        if path.read_bytes() in red:
            path.unlink()
    done = cli("rebase", "colours", photos, "--model", other)
    assert done.code == 1
    assert "none of the photos that colours@1 learned 'red' from are in" in done.err
    assert "--drop-missing" in done.err
    assert Store().numbers("colours") == (1,)
    report = json.loads(cli("rebase", "colours", photos, "--model", other, "--drop-missing", "--json").out)
    assert (report["dropped"], report["missing"], report["found"]) == (["red"], [], 20)
    after = Store()["colours@2"].card
    assert [(entry.id, entry.label) for entry in after.classes] == [(4, "blue"), (5, "green")]
    assert after.next_id == 9, "its id is not used again"


def test_a_class_of_which_only_what_is_held_out_is_left_is_lost(photos, other):
    context = Store()["colours@1"]
    train = {
        sha.tobytes().hex()
        for sha, id, apart in zip(context.shots.sha256, context.shots.class_ids, context.shots.held_out, strict=True)
        if id == 4 and not apart
    }
    from promptctl.encoding.decode import hash_image

    for path in photos.glob("*/holiday-*.png"):
        if hash_image(path) in train:
            path.unlink()
    with pytest.raises(PhotosMissing):
        commands.rebase("colours", photos, model=other)


def test_the_same_backbone_is_refused_in_words(photos, tiny):
    with pytest.raises(SameBackbone, match=r"colours@1 was learned on local-dir:.* already"):
        commands.rebase("colours", photos, model=tiny)


def test_a_folder_without_its_photos_is_refused(photos, other, tmp_path):
    with pytest.raises(NoImages, match="none of the 30 photos that colours@1 was learned from is in"):
        commands.rebase("colours", paint(tmp_path / "others", images=2, seed=4), model=other)


def test_a_context_without_shots_is_refused_in_words(photos, other):
    bare = Store()["colours@1"].without_shots()
    Store().save("bare", bare.to_bytes(), new=True)
    method = dataclasses.replace(bare.card.method, lr=0.0)
    imported = dataclasses.replace(bare, card=dataclasses.replace(bare.card, shots=Shots(None, 0, 0), method=method))
    Store().save("imported", imported.to_bytes(), new=True)
    with pytest.raises(NoShots, match="bare@1 cannot be learned again: the features of its shots were left out") as no:
        commands.rebase("bare", photos, model=other)
    assert no.value.hint == f"promptctl learn {photos} --name bare --fresh --model {other}"
    with pytest.raises(NoShots, match="imported@1 cannot be learned again: it was imported and has no shots"):
        commands.rebase("imported", photos, model=other)


def test_log_and_diff_compare_no_accuracies_across(photos, other):
    commands.rebase("colours", photos, model=other)
    new, old = commands.log("colours").versions
    assert (new.acc is not None, old.acc) == (True, None)
    found = commands.diff("colours@1", "colours@2")
    assert (found.same_backbone, found.compared_on, found.shots_added) == (False, None, ())


def test_it_can_learn_on_where_it_is(photos, other, tmp_path, monkeypatch):
    commands.rebase("colours", photos, model=other)
    more = paint(tmp_path / "more", images=3, seed=12)
    promptctl.learn(more, "colours", epochs=2)
    after = Store()["colours@3"]
    assert (after.card.backbone.name, len(after.shots)) == (other, 39)
    assert isinstance(after.card.change, Change)
    assert Context.load(Store().find(promptctl.Ref("colours", 3)).path) == after
