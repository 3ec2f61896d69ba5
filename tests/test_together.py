"""`together`: the equations written plainly, folders of every kind, and what an answer must not depend on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import paint

import promptctl
from promptctl import commands
from promptctl.classification import together as module
from promptctl.classification.classifier import Classifier
from promptctl.classification.gate import Gate
from promptctl.classification.together import answers, influence, shots_behind, together
from promptctl.encoding.files import Skipped
from promptctl.encoding.images import Seen
from promptctl.report import SkippedFile
from promptctl.store.store import Store

WIDTH, CLASSES, SCALE = 32, 5, 20.0
WRONG, NOISE, GAP = 1.5, 1.2, 8.0


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class World:
    """Photos in clusters, and a classifier of rows near where text lies: right about four photos of five."""

    def __init__(self, seed=0):
        self.chance = np.random.default_rng(seed)
        self.centres, wrong = self.chance.normal(size=(2, CLASSES, WIDTH))
        self.centres[:, 0] = wrong[:, 0] = 0  # photos lie apart from text along the first dimension
        self.classifier = Classifier(unit(self.centres + WRONG * wrong).astype(np.float32), SCALE)

    def photos(self, counts):
        """(N, E) features and (N,) classes, shuffled."""
        targets = self.chance.permutation(np.repeat(np.arange(CLASSES), counts))
        x = self.centres[targets] + NOISE * self.chance.normal(size=(len(targets), WIDTH))
        x[:, 0] += GAP
        return unit(x).astype(np.float32), targets


def gain(world, counts, shots=1.0):
    x, y = world.photos(counts)
    right = [(found.best == y).mean() for found in (world.classifier.predict(x), together(x, world.classifier, shots))]
    return 100 * (right[1] - right[0])


def plainly(x, classifier, shots):
    """The equations of the module in float64, every pair of photos weighed."""
    x, rows, trust = x.astype(np.float64), unit(classifier.weight.astype(np.float64)), 1 + shots / 16
    logits = classifier.logits(x)
    strength = influence(logits.argmax(1))
    cosines = x @ x.T
    np.fill_diagonal(cosines, -np.inf)
    near = np.zeros_like(cosines)
    for i, row in enumerate(cosines):
        for j in np.argsort(-row)[:3]:
            near[i, j] = max(row[j], 0)
    near = (near + near.T) / 2

    def softmax(values):
        weights = np.exp(values - values.max(1, keepdims=True))
        return weights / weights.sum(1, keepdims=True)

    def settled(z, tilt):
        for _ in range(3):
            z = softmax(logits + strength * (tilt + 3 * near @ z / 3))
        return z

    z = settled(softmax(logits), 0)
    class_means = unit(z.T @ x)
    anchors = unit(rows + (z.sum(0)[:, None] * (class_means - rows)).sum(0) / len(x))
    for _ in range(5):
        means = unit(z.T @ x + 5 * anchors)
        variance = sum(z[:, c] @ (x - means[c]) ** 2 for c in range(len(rows))) / len(x)
        tilt = np.array([[(f * m - m * m / 2) @ (1 / variance) for m in means] for f in x]) / (50 * trust)
        z = settled(z, tilt)
    power = (1 - 0.45 * strength) / classifier.temperature
    return z**power / (z**power).sum(1, keepdims=True)


@pytest.mark.parametrize(("counts", "shots", "temperature"), [((40,) * 5, 4, 1.0), ((30, 4, 9, 0, 1), 0, 0.5)])
def test_it_computes_its_equations(counts, shots, temperature):
    world = World()
    x, _ = world.photos(counts)
    classifier = Classifier(world.classifier.weight, SCALE, temperature=temperature)
    bias = np.linspace(-0.2, 0.2, CLASSES).astype(np.float32)
    for one in (classifier, Classifier(2 * classifier.weight, SCALE, bias=bias)):  # a head's rows have any length
        found = together(x, one, shots).probabilities
        assert influence(one.predict(x).best) > 0
        assert found == pytest.approx(plainly(x, one, shots), abs=2e-4)
        assert found.sum(1) == pytest.approx(np.ones(len(x)))


def test_it_helps_whole_folders_and_harms_none_of_few_classes():
    worlds = [World(seed) for seed in range(6)]
    assert np.mean([gain(world, (40,) * 5) for world in worlds]) > 5
    for counts in ((60, 60, 0, 0, 0), (80, 0, 0, 0, 0), (70, 8, 8, 8, 6)):
        assert np.mean([gain(world, counts) for world in worlds]) > 2


def test_a_few_photos_are_answered_one_by_one():
    world = World()
    x, _ = world.photos((3,) * 5)
    classifier = Classifier(world.classifier.weight, SCALE, temperature=0.5)
    assert together(x, classifier).probabilities == pytest.approx(classifier.predict(x).probabilities, rel=1e-9)
    assert together(x[:0], classifier).probabilities.shape == (0, CLASSES)
    assert together(x[:1], classifier).probabilities.shape == (1, CLASSES)


def test_influence_grows_with_the_photos_of_a_class():
    assert [influence(np.repeat(np.arange(10), n)) for n in (6, 9, 15, 40)] == pytest.approx([0, 1 / 3, 1, 1])
    assert influence(np.zeros(12, np.int64)) == pytest.approx(2 / 3)  # classes that are not there do not count
    assert influence(np.array([0] * 30 + [1])) == 1  # nor does one that a single photo is mistaken for
    assert influence(np.zeros(0, np.int64)) == 0


def test_no_answer_depends_on_the_order_or_on_copies():
    world = World()
    x, _ = world.photos((30,) * 5)
    found, shuffled = together(x, world.classifier).probabilities, world.chance.permutation(len(x))
    assert np.array_equal(together(x[shuffled], world.classifier).probabilities, found[shuffled])
    again = together(np.concatenate([x, np.repeat(x[:1], 90, axis=0)]), world.classifier).probabilities
    assert np.array_equal(again, np.concatenate([found, np.repeat(found[:1], 90, axis=0)]))


def test_blocks_share_their_classes(monkeypatch):
    world = World()
    x, y = world.photos((60,) * 5)
    whole = together(x, world.classifier).best
    monkeypatch.setattr(module, "BLOCK", 64)  # five blocks: each by itself has few photos of a class
    parted = together(x, world.classifier).best
    assert (parted == y).mean() > (world.classifier.predict(x).best == y).mean() + 0.03
    assert 0.9 < (parted == whole).mean() < 1


# ---------------------------------------------------------------- images and commands


@pytest.fixture
def learned(colours_bytes):
    Store().save("colours", colours_bytes, new=True)


@pytest.fixture
def many(tmp_path):
    """Sixty painted pictures and a broken one."""
    folder = paint(tmp_path / "many", images=20, seed=3)
    (folder / "green" / "5.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    return folder


def test_images_are_answered_in_their_places():
    world = World()
    x, _ = world.photos((20,) * 5)
    images = [Seen(Path(f"{i}.jpg"), f"{i:064}", row) for i, row in enumerate(x)]
    skipped = Skipped(Path("broken.jpg"), "not an image")
    found = list(answers([*images[:7], skipped, *images[7:]], world.classifier, 4))
    assert found.pop(7) is skipped
    assert [answer.path for answer in found] == [image.path for image in images]
    assert np.array([a.probabilities for a in found]) == pytest.approx(together(x, world.classifier, 4).probabilities)
    assert np.array([a.alone for a in found]) == pytest.approx(world.classifier.predict(x).probabilities)
    assert list(answers([skipped], world.classifier)) == [skipped]


def test_the_gate_is_asked_of_the_answer_together():
    world = World()
    x, _ = world.photos((20,) * 5)
    gated = replace(world.classifier, gate=Gate(least=0.9))
    found = list(answers([Seen(None, None, row) for row in x], gated, 4))
    assert [answer.doubtful for answer in found] == [answer.probability < 0.9 for answer in found]
    assert any((answer.alone.max() < 0.9) != answer.doubtful for answer in found)


def test_classify_together_says_so_and_what_each_photo_shows_alone(cli, learned, many):
    one_by_one, as_one = (
        json.loads(cli("classify", many, "--prompt", "colours", "--json", *more).out) for more in ((), ("--together",))
    )
    assert (one_by_one["together"], as_one["together"]) == (False, True)
    assert [image["path"] for image in as_one["images"]] == [image["path"] for image in one_by_one["images"]]
    assert len(as_one["skipped"]) == 1
    for image, plain in zip(as_one["images"], one_by_one["images"], strict=True):
        assert image["alone"]["label"] == plain["top"][0]["label"]
        assert image["alone"]["probability"] == pytest.approx(plain["top"][0]["probability"])
        assert plain["alone"] is None
    assert any(image["top"][0] != image["alone"] for image in as_one["images"])
    table = cli("classify", many, "--prompt", "colours", "--together")
    assert table.code == 3
    assert table.out.startswith("answered together: each answer depends on the other photos\n")


def test_no_row_comes_before_the_last_photo_is_read(learned, many):
    items = commands.classify([many], "colours", together=True).items()
    for path in [*many.rglob("*.png")]:
        if path.parent.name == "red":
            path.write_bytes(b"")
    assert sum(isinstance(item, SkippedFile) for item in items) == 21


def test_a_hint_says_that_many_photos_could_answer_together(cli, learned, tmp_path):
    few, more = paint(tmp_path / "few", images=33), paint(tmp_path / "more", images=34, seed=9)
    hint = "hint: with --together, these 102 photos help to answer one another\n"
    assert "--together" not in cli("classify", few, "--prompt", "colours").err
    assert cli("classify", more, "--prompt", "colours").err.endswith(hint)
    assert "--together" not in cli("classify", more, "--prompt", "colours", "--together").err
    assert "--together" not in cli("classify", more, "--prompt", "colours", "--json").err


def test_evaluate_together_has_the_plain_answer_beside_it(cli, learned, many):
    plain, one_by_one, as_one = (
        json.loads(cli("evaluate", "colours", many, "--json", *more).out)
        for more in ((), ("--one-by-one",), ("--together",))
    )
    assert {**plain, "speed": None} == {**one_by_one, "speed": None}
    assert (plain["together"], plain["alone"], as_one["together"]) == (False, None, True)
    assert as_one["alone"] == plain["learned"] != as_one["learned"]
    assert as_one["without_head"] == plain["without_head"]
    assert sum(row["images"] * row["accuracy"] for row in as_one["per_class"]) == pytest.approx(
        as_one["learned"]["top1"] * as_one["images"]
    )
    table = cli("evaluate", "colours", many, "--together").out
    assert ", answered together: " in table and "one by one" in table


def test_python_answers_together(learned, many):
    (many / "green" / "5.png").unlink()
    colours, paths = promptctl.load("colours"), sorted(many.rglob("*.png"))
    found, alone = colours.classify(paths, together=True), colours.classify(paths)
    features = colours.encode(paths)
    expected = colours.predict_proba(features, together=True)
    assert np.array([answer.probabilities for answer in found]) == pytest.approx(expected, abs=1e-6)
    assert [answer.label for answer in found] == colours.predict(features, together=True).tolist()
    assert np.array([answer.alone for answer in found]) == pytest.approx(
        np.array([answer.probabilities for answer in alone]), abs=1e-6
    )
    assert [answer.label for answer in colours.classify(iter(paths), together=True)] == [a.label for a in found]
    shots = shots_behind(colours.context, 1.0)
    assert shots == 3
    assert together(features, Classifier.of(colours.context), shots).probabilities == pytest.approx(expected, abs=1e-6)
    assert colours.evaluate(many, together=True).together


def test_words_are_answered_together(cli, many, tiny):
    words = ("--words", "red, green, blue", "--model", tiny)
    found = json.loads(cli("classify", many, *words, "--together", "--json").out)
    assert (found["context"], found["together"], len(found["images"])) == (None, True, 59)
