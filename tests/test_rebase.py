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
from promptctl.commands import guarding, revise
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


# ----------------------------------------------------------------------------------- the guard


@pytest.fixture(scope="module")
def blind(tmp_path_factory) -> str:
    """A CLIP to which all pictures look nearly the same."""
    folder = build_clip(tmp_path_factory.mktemp("blind"), {**TINY, "embed_dim": 24}, seed=5)
    config = folder / "open_clip_config.json"
    told = json.loads(config.read_text())
    told["preprocess_cfg"]["std"] = [1e5] * 3
    config.write_text(json.dumps(told))
    return f"local-dir:{folder}"


@pytest.fixture(scope="module")
def seventy(tiny_folder, tmp_path_factory) -> tuple[Path, bytes]:
    """Pictures of three colours and shades@1 of them, which holds 42 out."""
    folder = tmp_path_factory.mktemp("seventy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTCTL_HOME", str(folder / "home"))
        store, photos = Store(folder / "store"), paint(folder / "photos", images=70)
        promptctl.learn(photos, "shades", epochs=2, model=f"local-dir:{tiny_folder}", store=store)
    return photos, store["shades"].to_bytes()


def test_a_backbone_that_recognises_less_is_refused_and_kept_beside(seventy, blind, cli):
    photos, shades = seventy
    Store().save("shades", shades, new=True)
    done = cli("rebase", "shades", photos, "--model", blind)
    assert done.code == 4, done.err
    assert "error: shades@candidate is not the next version: it recognises" in done.err
    assert "promptctl promote shades@candidate" in done.err and "promptctl restore" not in done.err
    assert Store().numbers("shades") == (1,)
    before, after = Store()["shades@1"], Store()["shades@candidate"]
    (x, rows), (seen, _) = before.held_out(), after.held_out()
    was, becomes = (
        (scale * features @ head.weight.T + head.bias).argmax(1) == rows
        for scale, features, head in (
            (before.card.logit_scale, x, before.head),
            (after.card.logit_scale, seen, after.head),
        )
    )
    found = after.card.change.guard
    assert (found.on, found.images, found.refused) == ("images held out", 42, True)
    assert (found.worse, found.better) == (int((was & ~becomes).sum()), int((becomes & ~was).sum()))
    for number, label in enumerate(("blue", "green", "red")):
        if was[rows == number].sum() != becomes[rows == number].sum():
            assert any(line.split()[0] == label for line in done.out.splitlines() if line.strip()), done.out
    assert cli("promote", "shades@candidate").code == 0
    assert Store()["shades@2"].card.backbone.name == blind


def test_a_refused_backbone_is_stored_when_forced_and_log_says_so(seventy, blind, cli):
    photos, shades = seventy
    Store().save("shades", shades, new=True)
    report = json.loads(cli("rebase", "shades", photos, "--model", blind, "--force", "--json").out)
    assert (report["context"], report["refused"], report["forced"]) == ("shades@2", False, True)
    assert report["guard"]["refused"] and report["guard"]["parent"] == "shades@1"
    assert report["guard"]["worse"] > report["guard"]["better"]
    assert commands.log("shades").versions[0].change.endswith(", forced")


def test_another_backbone_as_good_becomes_the_next_version(seventy, other, cli):
    photos, shades = seventy
    Store().save("shades", shades, new=True)
    done = cli("rebase", "shades", photos, "--model", other)
    assert done.code == 0, done.err
    assert "against shades@1, among its classes, on the 42 images held out: " in done.out
    assert not Store()["shades@2"].card.change.guard.refused


def test_too_few_images_advise_in_words(photos, blind, cli):
    done = cli("rebase", "colours", photos, "--model", blind)
    assert done.code == 0 and Store().numbers("colours") == (1, 2)
    assert "too few to refuse a version" in done.err
    assert "on the 24 shots, in folds" in done.out, "of which there are more than of those held out"


def test_where_nothing_held_out_is_left_nobody_knows_and_it_is_said(photos, other, cli):
    from promptctl.encoding.decode import hash_image

    shots = Store()["colours@1"].shots
    apart = {sha for sha, held in zip(shots.hashes, shots.held_out, strict=True) if held}
    unseen = dataclasses.replace(
        Store()["colours@1"], shots=dataclasses.replace(shots, predicted=shots.predicted * 0 - 1)
    )
    Store().save("colours", unseen.to_bytes(), new=False)
    for path in photos.glob("*/holiday-*.png"):
        if hash_image(path) in apart:
            path.unlink()
    report = commands.rebase("colours", photos, model=other)
    assert (report.held_out_missing, report.guard.compared_images, report.refused) == (6, 0, False)
    said = report.warnings()
    assert "6 photos held out in colours@2 missing or of a class left out: the two are compared without" in said
    assert "no held-out image of the known classes can be compared, so nobody knows what was forgotten" in said


def test_each_answers_by_its_own_features_of_the_same_images(photos, other):
    """Paired by content, in whatever order either stores them."""
    commands.rebase("colours", photos, model=other)
    before, after = Store()["colours@1"], Store()["colours@2"]
    turned = dataclasses.replace(before, head=dataclasses.replace(before.head, weight=before.head.weight[[0, 2, 1]]))
    backwards = dataclasses.replace(after, shots=after.shots.only(np.arange(len(after.shots))[::-1]))
    seen = guarding._on_held_out(turned, backwards)
    same, ids, full = seen.same, seen.ids, seen.full
    x, rows = turned.held_out()
    old = (turned.card.logit_scale * x @ turned.head.weight.T + turned.head.bias).argmax(1) == rows
    y, rows_after = backwards.held_out()
    new = (after.card.logit_scale * y @ after.head.weight.T + after.head.bias).argmax(1) == rows_after
    assert full is None and (ids == rows_after + 4).all() and len(same) == 6
    assert 0 < old.sum() < 6, "or it would not matter which images are paired"
    assert (same.parent == old[::-1]).all() and (same.candidate == new).all()


def test_before_a_refusal_it_tries_what_another_backbone_allows(photos, other):
    """Nothing of the parent's head or vectors means anything there."""
    from promptctl.clip.backbone import Backbone

    commands.rebase("colours", photos, model=other)
    parent, after = Store()["colours@1"], Store()["colours@2"]
    revision = revise.revision_of(parent, after.card.classes, after.shots, Change("rebase"), trains=True)
    settings = dataclasses.replace(revision.settings, epochs=2, head=False)
    revision = dataclasses.replace(revision, from_scratch=True, settings=settings)
    assert list(guarding._retries(revision, after, None, None)) == []
    tried = dict(guarding._retries(revision, dataclasses.replace(after, head=None), Backbone(other, "cpu"), None))
    assert list(tried) == ["3 times the steps", "class-specific vectors"]
    longer, own = tried.values()
    assert longer.card.method.steps == 6 and own.card.method.class_specific
    assert own.vectors.shape == (3, *longer.vectors.shape)
