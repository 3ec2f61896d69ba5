from __future__ import annotations

import dataclasses
import json
import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from conftest import paint

import promptctl
from promptctl.benchmark import results
from promptctl.benchmark.results import Results
from promptctl.classification import blend
from promptctl.classification.classifier import mixed
from promptctl.clip.backbone import Backbone
from promptctl.context.context import Context, ShotTable
from promptctl.errors import DatasetError
from promptctl.learners import coop, head
from promptctl.store.refs import Ref
from promptctl.store.store import Store


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def test_a_mixture_is_its_equation():
    rng = np.random.default_rng(0)
    t, z = unit(rng.normal(size=(5, 8))), unit(rng.normal(size=(5, 8)))
    for share in (0.0, 0.3, 1.0):
        expected = [(1 - share) * zc + share * tc for tc, zc in zip(t, z, strict=True)]
        np.testing.assert_allclose(mixed(t, z, share), unit(np.array(expected)), atol=1e-6)
    np.testing.assert_allclose(mixed(t, z, 1.0), t, atol=1e-6)


@pytest.fixture(scope="module")
def colours(tiny_folder, tmp_path_factory) -> bytes:
    """A context of four shots, learned once for all tests of this file."""
    folder = tmp_path_factory.mktemp("blend")
    store, settings = promptctl.Store(folder / "store"), promptctl.LearnSettings(epochs=20, lr=0.01)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTCTL_HOME", str(folder / "home"))
        photos, model = paint(folder / "photos", images=6), f"local-dir:{tiny_folder}"
        promptctl.learn(photos, "colours", shots=4, settings=settings, model=model, store=store)
    return store["colours"].to_bytes()


@pytest.fixture
def learned(colours) -> Context:
    return Context.load(Store().save("colours", colours, new=True).path)


def without_head(context: Context) -> Context:
    return dataclasses.replace(context, head=None, card=dataclasses.replace(context.card, head=()))


def test_folds_choose_the_share_a_plain_loop_chooses(learned, tiny):
    from sklearn.model_selection import StratifiedKFold

    tower = Backbone(tiny).tower
    x, y = unit(learned.shots.features.astype(np.float32)), learned.shots.class_ids.astype(np.int64)
    settings = coop.Settings(epochs=20, lr=0.01, seed=1)
    right = dict.fromkeys(blend.SHARES, 0)
    for train, held_out in StratifiedKFold(4, shuffle=True, random_state=1).split(x, y):
        fold = coop.learn(
            x[train], y[train], learned.card.names, tower, logit_scale=learned.card.logit_scale, settings=settings
        )
        for share in right:
            texts = share * fold.text_features + (1 - share) * learned.zero_shot_features
            right[share] += int(((x[held_out] @ unit(texts).T).argmax(1) == y[held_out]).sum())
    best = max(share for share in right if right[share] == max(right.values()))
    folds = []
    texts = without_head(learned)
    assert blend.share_by_folds(texts, "colours@1", lambda: tower, lambda *count: folds.append(count)) == best
    assert folds == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_share_of_a_head_is_chosen_by_folds_of_heads(learned):
    """Images have copies; heads that have seen them, or the copies of those left out, would choose all of the head."""
    rng = np.random.default_rng(0)
    zero_shot, y = unit(rng.normal(size=(3, 32))), np.arange(24) % 3
    pictures = unit(0.6 * zero_shot[y] + 2 * unit(rng.normal(size=(24, 32))))
    groups = np.arange(24) // 6 * 3 + y
    first = [int(np.flatnonzero(groups == group)[0]) for group in groups]
    x = unit(pictures[first] + 0.02 * rng.normal(size=(24, 32)))
    shots = ShotTable(
        x.astype(np.float16),
        np.array([learned.card.classes[c].id for c in y], np.int32),
        rng.integers(0, 256, (24, 32), dtype=np.uint8),
        np.zeros(24, np.uint8),
        groups=groups.astype(np.int32),
    )
    card = dataclasses.replace(learned.card, logit_scale=20.0)
    context = dataclasses.replace(learned, card=card, zero_shot_features=zero_shot, shots=shots)
    x = blend.as_kept(x)

    fold_of, hits, folds = head.folds_of(y, groups, 1), dict.fromkeys(blend.SHARES, 0), []
    for fold in range(4):
        left = fold_of != fold
        own = head.fit(x[left], y[left], zero_shot, logit_scale=20.0, groups=groups[left], seed=1)
        for share in hits:
            logits = share * (20 * x @ own.weight.T + own.bias) + (1 - share) * 20 * x @ zero_shot.T
            hits[share] += int((logits.argmax(1) == y)[~left].sum())
    best = max(share for share in hits if hits[share] == max(hits.values()))
    found = blend.share_by_folds(context, "colours@1", no_tower, lambda *count: folds.append(count))
    assert (found, folds) == (best, [(i, 4) for i in range(1, 5)])
    assert 0 < found < 1, "or this says nothing"


def grouped(context: Context, groups: np.ndarray) -> Context:
    return dataclasses.replace(context, shots=dataclasses.replace(context.shots, groups=groups.astype(np.int32)))


def test_folds_of_text_features_keep_copies_together(learned, tiny, monkeypatch):
    """Two pictures of each class are two folds, however many copies of them there are."""
    seen, own = [], learned.shots.class_ids
    pairs = 10 * own + np.argsort(np.argsort(own, kind="stable"), kind="stable") % 2

    def refit(method, x, y, **_):
        seen.append({row.tobytes() for row in x})
        return learned.zero_shot_features

    monkeypatch.setattr(coop, "refit", refit)
    tower = Backbone(tiny).tower
    blend.share_by_folds(grouped(without_head(learned), pairs), "colours@1", lambda: tower)
    rows = blend.as_kept(learned.shots.features)
    of_pair = [{row.tobytes() for row in rows[pairs == pair]} for pair in np.unique(pairs)]
    assert [len(pair) for pair in of_pair] == [2] * 6
    assert len(seen) == 2
    assert all(pair <= shown or pair.isdisjoint(shown) for shown in seen for pair in of_pair)
    assert all(len(shown) == 6 for shown in seen)


def no_tower():
    raise AssertionError("a head is learned without the text tower")


def test_folds_speak_the_classes_in_their_own_tokens(learned, tiny):
    tower = Backbone(tiny).tower
    first, *others = learned.card.classes
    classes = (dataclasses.replace(first, tokens=tuple(tower.tokens("another name."))), *others)
    method = dataclasses.replace(learned.card.method, epochs=0)
    card = dataclasses.replace(learned.card, classes=classes, method=method)
    context = dataclasses.replace(learned, card=card)
    x, y = unit(learned.shots.features.astype(np.float32)), learned.shots.class_ids.astype(np.int64)
    zero_shot = learned.zero_shot_features
    again = blend.refit_by(method, context.card.classes, zero_shot, tower, card.logit_scale)(x, y)
    names = ["another name", *(entry.name for entry in others)]
    settings = coop.Settings(epochs=0, lr=0.01, seed=1)
    expected = coop.learn(x, y, names, tower, logit_scale=card.logit_scale, settings=settings).text_features
    np.testing.assert_allclose(again, expected, atol=1e-6)


def test_nobody_lays_out_a_stored_context_by_its_names_alone():
    """Names do not say in which tokens they are spoken; `card.classes` does."""
    source = Path(blend.__file__).parent.rglob("*.py")
    laid_out = re.compile(r"(prompts|coop\.learn)\([^)]*\b(card|context)\.(names|labels)")
    assert [path.name for path in source if laid_out.search(path.read_text("utf-8"))] == []


def test_one_shot_is_not_enough_to_choose(cli, photos, tiny, learned):
    cli("learn", photos, "--name", "one", "--shots", 1, "--model", tiny, "--epochs", 1)
    context = Context.load(Store().find(Ref("one")).path)
    same = grouped(without_head(learned), learned.shots.class_ids)
    for found, why in (
        (same, "no class with two shots that differ, and choosing a blend takes two"),
        (context, "no class with two shots that differ, and choosing a blend takes two"),
        (without_head(context), "a class with one shot, and choosing a blend takes two per class"),
        (context.without_shots(), "no shots, and choosing a blend takes two per class"),
    ):
        with pytest.raises(DatasetError) as refused:
            blend.share_by_folds(found, "one@1", lambda: Backbone(tiny).tower)
        assert str(refused.value) == f"'one@1' has {why}"
        assert refused.value.hint == "--blend 0.5, or any other share from 0 to 1"


def test_the_ends_of_the_scale_are_zero_shot_and_the_context(cli, learned, photos):
    def top1(*options: object) -> tuple[float, float, float]:
        report = json.loads(cli("evaluate", "colours", photos, *options, "--json").out)
        return report["blend"], report["learned"]["top1"], report["zero_shot"]["top1"]

    plain = top1()
    assert plain[0] == 1
    share, accuracy, zero_shot = top1("--blend", 0)
    assert (share, accuracy) == (0, zero_shot)
    assert top1("--blend", 1) == plain
    chosen = cli("evaluate", "colours", photos, "--blend", "auto")
    assert "as cross-validation chose" in chosen.out
    assert top1("--blend", "auto")[0] in blend.SHARES
    assert "blended with zero-shot (0.5 learned)" in cli("evaluate", "colours", photos, "--blend", "0.5").out


def test_classify_blends_too(cli, learned, photos):
    whole, half = (
        json.loads(cli("classify", photos, "--prompt", "colours", "--blend", share, "--json").out)
        for share in ("1", "0.5")
    )
    assert (whole["blend"], half["blend"]) == (1, 0.5)
    assert whole["images"] != half["images"]


def forge(share: float) -> int:
    """Another share where one was kept; how many there were."""
    text = json.dumps([share])
    with Results() as kept, sqlite3.connect(kept.path) as db:
        keys = [key for (key,) in db.execute("SELECT key FROM results WHERE kind = 'share'")]
        for key in keys:
            db.execute("UPDATE results SET numbers = ?, seal = ? WHERE key = ?", (text, results._seal(key, text), key))
    db.close()
    return len(keys)


def test_a_share_is_chosen_once_a_version_and_kept(cli, learned, photos, tmp_path):
    """A share that folds would not choose, put where the chosen one lies, is what everybody uses from then on."""

    def share(verb: str, *arguments: object) -> float:
        done = cli(verb, *arguments, "--blend", "auto", "--json")
        return float(json.loads(done.out)["blend"])

    chosen = share("evaluate", "colours", photos)
    assert forge(other := 0.3 if chosen != 0.3 else 0.7) == 1
    file = tmp_path / "mine.safetensors"
    assert cli("export", "colours", file).code == 0
    assert share("evaluate", "colours", photos) == other
    assert share("classify", photos, "--prompt", "colours") == other
    assert share("evaluate", file, photos) == share("classify", photos, "--prompt", file) == other
    assert cli("copy", "colours", "same").code == 0
    assert share("evaluate", "same", photos) == other
    assert forge(other) == 1, "the same contents under any name"
    cli("cache", "clear")
    assert share("evaluate", "colours", photos) == chosen


def test_another_version_has_a_share_of_its_own(cli, learned, photos, tiny):
    asked = ("evaluate", "colours", photos, "--blend", "auto", "--json")
    cli(*asked)
    forge(0.3)
    again = cli("learn", photos, "--name", "colours", "--shots", 3, "--model", tiny, "--epochs", 2, "--fresh")
    assert again.code == 0, again.err
    done = json.loads(cli(*asked).out)
    assert (forge(0.3), done["context"]) == (2, "colours@2")


def test_a_share_that_is_none_of_the_eleven_is_chosen_anew(cli, learned, photos):
    asked = ("evaluate", "colours", photos, "--blend", "auto", "--json")
    chosen = json.loads(cli(*asked).out)["blend"]
    for damaged in (0.35, 1.5, float("nan")):
        forge(damaged)
        assert json.loads(cli(*asked).out)["blend"] == chosen


def test_a_kept_share_is_the_chosen_one_to_the_bit(cli, learned, photos):
    asked = ("classify", photos, "--prompt", "colours", "--blend", "auto", "--json")
    assert cli(*asked).out == cli(*asked).out


@pytest.mark.parametrize("share", ["1.5", "-1", "half", "nan"])
def test_a_share_is_between_nothing_and_all(cli, learned, photos, share):
    done = cli("evaluate", "colours", photos, "--blend", share)
    assert done.code == 2
    assert "is neither a number from 0 to 1 nor auto" in done.err
