"""Which photos a person is asked about, and the list that says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import paint
from PIL import Image

from promptctl import commands
from promptctl.classification import asking
from promptctl.classification.asking import Judged, asked
from promptctl.classification.classifier import Classifier
from promptctl.errors import NoImages, WrongOption
from promptctl.store.store import Store


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def judged(features: np.ndarray, margin: np.ndarray, unknown: np.ndarray | None = None) -> Judged:
    n = len(margin)
    first = (1 + np.asarray(margin)) / 2
    unknown = np.zeros(n, bool) if unknown is None else unknown
    zeros = np.zeros(n, np.int64)
    return Judged(features.astype(np.float16), zeros, zeros + 1, first, 1 - first, np.full(n, np.nan), unknown)


@pytest.fixture
def crowd() -> np.ndarray:
    """(60, 16) unit rows: three kinds of twenty photos each."""
    chance = np.random.default_rng(0)
    return unit(np.repeat(np.eye(16)[:3], 20, 0) + 0.1 * chance.normal(size=(60, 16)))


def test_of_photos_alike_the_least_certain_is_first(crowd):
    margin = np.tile(np.linspace(0.9, 0.1, 20), 3)
    assert set(asked(judged(crowd, margin), 3).tolist()) == {19, 39, 59}


def test_each_kind_is_asked_about_before_one_twice(crowd):
    margin = np.repeat([0.1, 0.2, 0.3], 20) + np.tile(np.linspace(0, 0.01, 20), 3)
    assert sorted((asked(judged(crowd, margin), 3) // 20).tolist()) == [0, 1, 2]


def test_a_photo_like_nothing_else_comes_after_one_of_each_that_many_are_like(crowd):
    alone = unit(np.eye(16)[15:])
    order = asked(judged(np.concatenate([alone, crowd]), np.r_[0.05, np.full(60, 0.2)]))
    assert order.tolist().index(0) >= 3  # its margin alone would have it first


def test_the_order_does_not_depend_on_how_many_are_asked_about(crowd, monkeypatch):
    chance = np.random.default_rng(1)
    photos = judged(crowd, chance.random(60), chance.random(60) < 0.3)
    whole = asked(photos)
    assert sorted(whole.tolist()) == list(range(60))
    for count in (1, 7, 60, 100):
        assert asked(photos, count).tolist() == whole[:count].tolist()
    monkeypatch.setattr(asking, "POOL", 20)
    assert sorted(asked(photos).tolist()) == list(range(60))


def test_one_in_ten_at_most_is_unknown_while_there_are_others(crowd):
    unknown = np.arange(60) < 40
    order = asked(judged(crowd, np.where(unknown, 0.0, 0.5), unknown))
    assert np.flatnonzero(unknown[order[:20]]).tolist() == [9, 19]
    assert unknown[order[22:]].all()


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_photos_come_by_their_margin(n):
    features = unit(np.random.default_rng(2).normal(size=(n, 8)))
    photos = judged(features, np.array([0.5, 0.1, 0.9])[:n])
    assert sorted(asked(photos).tolist()) == list(range(n))
    assert asked(photos).tolist() == np.argsort(photos.margin).tolist() if n < 3 else asked(photos)[-1] == 2


def test_a_hundred_thousand_photos_take_seconds():
    chance = np.random.default_rng(3)
    photos = judged(unit(chance.normal(size=(100_000, 16))), chance.random(100_000))
    assert len(set(asked(photos, 200).tolist())) == 200


def test_one_class_has_no_second():
    found = Judged.of(unit(np.ones((2, 4))), Classifier(unit(np.ones((1, 4)))))
    assert found.margin.tolist() == [1, 1] and found.second_probability.tolist() == [0, 0]


@pytest.fixture
def unsorted(colours_bytes, tmp_path) -> Path:
    """Twelve photos, of which one is twice there, once more smaller, and once what is no photo."""
    Store().save("colours", colours_bytes, new=True)
    folder = tmp_path / "unsorted"
    found = paint(tmp_path / "more", images=4, seed=9)
    folder.mkdir()
    for i, file in enumerate(sorted(found.rglob("*.png"))):
        shutil.copy(file, folder / f"{i:02}.png")
    shutil.copy(folder / "00.png", folder / "same.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def test_a_copy_is_asked_about_once_and_named(unsorted):
    found = commands.suggest(unsorted, prompt="colours")
    files = [Path(one.file).name for one in found.candidates]
    assert "same.png" not in files and len(set(files)) == len(files)
    assert next(one.copies for one in found.candidates if one.file.endswith("/00.png")) == (str(unsorted / "same.png"),)
    assert found.images == 13 and [item.path.name for item in found.skipped] == ["broken.jpg"]


def test_near_copies_are_asked_about_once(colours_bytes, tmp_path):
    Store().save("colours", colours_bytes, new=True)
    waves = np.sin(np.add.outer(np.arange(64) / 5, np.arange(64) / 9)) * 127 + 128
    picture = Image.fromarray(np.stack([waves, waves[::-1], waves.T], 2).astype(np.uint8))
    picture.save(tmp_path / "a.png")
    picture.resize((48, 48)).save(tmp_path / "b.png")
    Image.effect_noise((64, 64), 90).convert("RGB").save(tmp_path / "c.png")
    found = commands.suggest([tmp_path / f"{name}.png" for name in "abc"], prompt="colours")
    assert sorted(Path(path).name for one in found.candidates for path in (one.file, *one.copies)) == [
        "a.png", "b.png", "c.png"
    ]  # fmt: skip
    assert sorted(len(one.copies) for one in found.candidates) == [0, 1]


def test_photos_that_were_learned_from_are_left_out(colours_bytes, tmp_path):
    store = Store()
    store.save("colours", colours_bytes, new=True)
    photos = paint(tmp_path / "photos", images=6)  # those it was learned from
    found = commands.suggest(photos, prompt="colours")
    assert (
        found.learned_from == 9
        and len({one.sha256 for one in found.candidates} & set(store["colours"].shots.hashes)) == 0
    )


def test_suggest_in_every_format(cli, unsorted, monkeypatch):
    whole = json.loads(cli("review", unsorted, "--prompt", "colours", "--suggest", 4, "--json").out)
    assert whole["type"] == "review" and len(whole["candidates"]) == 4
    files = [one["file"] for one in whole["candidates"]]
    lines = cli("review", unsorted, "--prompt", "colours", "--suggest", 4, "--format", "jsonl").out.splitlines()
    assert [json.loads(line).get("file") for line in lines] == [*files, None]
    quiet = cli("review", unsorted, "--prompt", "colours", "--suggest", 4, "-q")
    assert quiet.out.splitlines() == files and quiet.code == 3
    table = cli("review", unsorted, "--prompt", "colours", "--suggest", 4).out.splitlines()
    assert table[0].startswith("4 photos of 13 to ask about") and len(table) == 6
    monkeypatch.chdir(unsorted.parent)
    assert str(unsorted) not in cli("review", unsorted.name, "--prompt", "colours", "--suggest", 4).out
    csv = cli("review", unsorted, "--prompt", "colours", "--suggest", 4, "--format", "csv").out
    assert csv.startswith("file,sha256,label,name,probability,second,")


def test_nothing_to_ask_about_is_refused(colours_bytes, tmp_path):
    Store().save("colours", colours_bytes, new=True)
    with pytest.raises(WrongOption, match="nothing to ask about"):
        commands.suggest(prompt="colours")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoImages, match="no file in"):
        commands.suggest(tmp_path / "empty", prompt="colours")
