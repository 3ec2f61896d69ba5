"""Inspect: words near vectors, drift, what is near the classes; each beside a plain reference."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import refused
from test_context import make, unit

import promptctl
from promptctl import Store
from promptctl.classification.neighbours import Neighbours, nearest_rows
from promptctl.clip.vocabulary import SAMPLED, Vocabulary, nearest, spacing
from promptctl.commands.beginning import beginning_of
from promptctl.context.card import BackboneId, ClassEntry, CurvePoint
from promptctl.learners import coop
from promptctl.learners.noise import initial_noise
from promptctl.render.chart import bars, thinned
from promptctl.report import ClassReport, InspectReport, NearWordRow, VectorReport, VocabularyFacts

WORDS = ["a·", "a", "Z", "bird", "bird·", "7", "!", "été", "café·", "photo", "<start_of_text>·", "<end>"]
SPECIAL = (10, 11)
WHOLE = [1, 3, 7, 9]


@pytest.fixture
def colours(colours_bytes) -> Path:
    return Store().save("colours", colours_bytes, new=True).path


def vocabulary(words: list[str] = WORDS, width: int = 6) -> tuple[Vocabulary, np.ndarray]:
    table = np.random.default_rng(1).normal(size=(len(words), width)).astype(np.float32)
    return Vocabulary(words, SPECIAL, lambda start, stop: table[start:stop]), table


def inspected(cli, *arguments: object) -> dict:
    outcome = cli("inspect", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


# --------------------------------------------------------------------------- words


def test_whole_words_end_a_word_and_are_small_letters():
    assert np.flatnonzero(vocabulary()[0].whole_words).tolist() == WHOLE


@pytest.mark.parametrize("allowed", ["words", "tokens"])
def test_the_nearest_words_are_those_of_brute_force(allowed):
    known, table = vocabulary()
    among = known.whole_words if allowed == "words" else known.plain
    vectors = np.random.default_rng(2).normal(size=(300, 6)).astype(np.float32)  # more than are looked at at once
    found = nearest(vectors, known, k=3, among=among)
    for row, vector in enumerate(vectors.astype(float)):
        distance = {t: np.linalg.norm(table[t] - vector) for t in np.flatnonzero(among)}
        cosine = {t: table[t] @ vector / np.linalg.norm(table[t]) / np.linalg.norm(vector) for t in distance}
        nearby = sorted(distance, key=distance.__getitem__)[:3]
        alike = sorted(cosine, key=cosine.__getitem__, reverse=True)[:3]
        assert [w.word for w in found["euclidean"][row]] == [WORDS[t] for t in nearby]
        assert [w.word for w in found["cosine"][row]] == [WORDS[t] for t in alike]
        assert found["euclidean"][row][0].euclidean == pytest.approx(distance[nearby[0]])
        assert found["cosine"][row][0].cosine == pytest.approx(cosine[alike[0]])


def test_no_more_words_are_shown_than_there_are():
    known, _ = vocabulary()
    found = nearest(np.ones((2, 6), np.float32), known, k=50, among=known.whole_words)
    assert [len(words) for words in found["euclidean"]] == [4, 4]
    nothing = nearest(np.ones((2, 6), np.float32), known, k=5, among=np.zeros(len(WORDS), bool))
    assert nothing["cosine"] == [[], []]


def test_how_far_words_are_apart_is_the_median_of_each_to_its_nearest_other(monkeypatch):
    known, table = vocabulary()
    apart = [min(np.linalg.norm(table[a] - table[b]) for b in WHOLE if b != a) for a in WHOLE]
    found = spacing(known, among=known.whole_words)
    assert (found.tokens, found.sampled) == (4, 4)
    assert found.nearest == pytest.approx(np.median(apart), rel=1e-5)
    assert found.norm == pytest.approx(np.median(np.linalg.norm(table[WHOLE], axis=1)), rel=1e-5)
    monkeypatch.setattr("promptctl.clip.vocabulary._TOKENS", 5)  # the table in parts
    assert spacing(known, among=known.whole_words).nearest == pytest.approx(found.nearest)


def test_of_many_words_a_sample_is_measured():
    known, table = vocabulary([f"w{'x' * i}" for i in range(400)])
    found = spacing(known, among=known.plain)
    assert (found.tokens, found.sampled) == (398, SAMPLED)
    every = np.linalg.norm(table[known.plain][:, None] - table[known.plain][None], axis=-1) + 9 * np.eye(398)
    assert found.nearest == pytest.approx(np.median(every.min(1)), rel=0.1)


@pytest.mark.parametrize("text", ["a photo of a", "rhododendrons & co., the bird's 12", "Texture of my", "x", "qzxv"])
def test_the_tokens_of_words_are_the_tokenizers(clip, text):
    _, _, tower = clip
    words = [tower.word(token) for token in range(len(tower.token_table))]
    assert Vocabulary(words, (), lambda start, stop: None).tokens_of(text) == tower.tokens(text)
    assert Vocabulary(words, (), lambda start, stop: None).tokens_of("été") is None


# --------------------------------------------------------------------------- drift


@pytest.mark.parametrize("shape", [(16, 32), (3, 5, 32), (3, 7, 33), (1, 17)])
@pytest.mark.parametrize("seed", [1, 2, 2**32 - 1])
def test_the_noise_of_a_seed_is_pytorchs(shape, seed):
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * coop.INIT_STD
    np.testing.assert_allclose(initial_noise(seed, shape), drawn.numpy(), atol=1e-7, rtol=0)


@pytest.mark.parametrize("how", [("--class-specific", "--context-tokens", 2), ("--init", "a photo"), ("--seed", 5)])
def test_drift_is_from_the_learners_own_beginning(cli, photos, tiny, clip, how):
    done = cli("learn", photos, "--name", "c", "--shots", 2, "--epochs", 3, "--lr", 0.1, "--model", tiny, *how)
    assert done.code == 0
    context, found = Store()["c"], inspected(cli, "c")
    method = context.card.method
    own = coop.Settings(method.context_tokens, method.init, method.class_specific, seed=method.seed)
    start = coop.initial_context(clip[2], 3, own).numpy()
    drift = np.linalg.norm(context.vectors - start, axis=-1).ravel()
    np.testing.assert_allclose([v["drift"] for v in found["vectors"]], drift, rtol=1e-4)
    assert drift.min() > 0.01
    assert found["start"]["kind"] == ("words" if method.init else "noise")
    norms = np.linalg.norm(context.vectors, axis=-1).ravel()
    np.testing.assert_allclose([v["norm"] for v in found["vectors"]], norms, rtol=1e-5)
    assert all(v["distance"] == v["by_euclidean"][0]["euclidean"] for v in found["vectors"])


def test_words_that_learned_nothing_are_the_words(cli, photos, tiny):
    cli("learn", photos, "--name", "c", "--shots", 2, "--init", "a photo of a", "--epochs", 0, "--model", tiny)
    found = inspected(cli, "c", "--top", 1)
    assert [v["by_euclidean"][0]["word"] for v in found["vectors"]] == ["a", "photo", "of", "a"]
    assert [(v["drift"], v["distance"]) for v in found["vectors"]] == [(0.0, pytest.approx(0, abs=1e-6))] * 4
    assert "no step was taken" in "".join(promptctl.inspect("c").closing())
    assert "lie as near to a word as words lie to each other" in "".join(promptctl.inspect("c").closing())


def test_a_version_that_went_on_has_drifted_from_its_parent(cli, colours, photos, tiny):
    first = Store()["colours"]
    moved = dataclasses.replace(
        first,
        vectors=first.vectors + np.float32(0.5),
        card=dataclasses.replace(first.card, parent=first.card.sha256),
    )
    Store().save("colours", moved.to_bytes(), new=False)
    found = inspected(cli, "colours")
    assert found["start"] == {"kind": "version", "words": "colours@1"}
    assert [v["drift"] for v in found["vectors"]] == [pytest.approx(0.5 * 32**0.5, rel=1e-4)] * 16
    orphan = dataclasses.replace(moved, card=dataclasses.replace(moved.card, parent="ab" * 32))
    Store().save("orphan", orphan.to_bytes(), new=True)
    found = inspected(cli, "orphan")
    assert found["start"]["words"] == "the version it went on from (abababababab) is not in the store"
    assert {v["drift"] for v in found["vectors"]} == {None}


def test_a_new_class_of_a_class_specific_context_started_from_the_mean(tmp_path):
    before = make(3, class_specific=True)
    Store(tmp_path).save("c", before.to_bytes(), new=True)
    after = make(4, class_specific=True)
    card = dataclasses.replace(after.card, parent=Store(tmp_path)["c"].card.sha256)
    classes = (ClassEntry(7, "new", "new"), *before.card.classes[::-1])  # in another order
    after = dataclasses.replace(after, card=dataclasses.replace(card, classes=classes))
    start = beginning_of(after, vocabulary()[0], Store(tmp_path)).vectors
    np.testing.assert_array_equal(start[1:], before.vectors[::-1])
    np.testing.assert_allclose(start[0], before.vectors.mean(0), rtol=1e-6)
    for change in ({"backbone": BackboneId("other", "e" * 64, 4, 5)}, {"method": after.card.method}):
        other = dataclasses.replace(after, card=dataclasses.replace(after.card, **change))
        found = beginning_of(other, vocabulary()[0], Store(tmp_path))
        assert found.kind == ("noise" if "backbone" in change else "version")


def test_an_imported_context_has_no_known_beginning(tmp_path):
    card = make().card
    bare = dataclasses.replace(
        card, shots=dataclasses.replace(card.shots, train=0), method=dataclasses.replace(card.method, lr=0.0)
    )
    found = beginning_of(dataclasses.replace(make(), card=bare), vocabulary()[0], Store(tmp_path))
    assert found.words == "it was imported, and its file does not say where its vectors started from"


# --------------------------------------------------------------------------- which classes, and another context


@pytest.fixture
def specific(cli, photos, tiny) -> None:
    done = cli(
        "learn", photos, "--name", "c", "--shots", 2, "--class-specific", "--context-tokens", 2, "--epochs", 1,
        "--model", tiny,
    )  # fmt: skip
    assert done.code == 0


def test_only_the_classes_asked_for_are_shown(cli, specific):
    every, some = inspected(cli, "c"), inspected(cli, "c", "--class", "red", "--class", "blue", "--class", "red")
    assert [v["of_class"] for v in some["vectors"]] == ["red", "red", "blue", "blue"]
    assert some["vectors"] == [*every["vectors"][4:], *every["vectors"][:2]]
    assert [row["label"] for row in some["classes"]] == ["red", "blue"]
    refused(cli("inspect", "c", "--class", "rad"), 1, "'rad' is no class of c@1", "did you mean 'red'?")


def test_a_shared_context_has_none_of_one_class(cli, colours):
    hint = "promptctl inspect colours@1 --classes --class red   (what is near the class)"
    refused(cli("inspect", "colours", "--class", "red"), 2, "colours@1 has one context for all classes", hint)
    (row,) = inspected(cli, "colours", "--classes", "--class", "red")["classes"]
    assert row["label"] == "red"


def test_classes_alone_need_no_backbone(cli, colours):
    found = inspected(cli, "colours", "--classes", "--model", "nowhere/at-all")
    assert (found["vectors"], found["vocabulary"], len(found["classes"])) == ([], None, 3)
    lines = cli("inspect", "colours", "--classes", "--format", "jsonl").out.splitlines()
    assert [json.loads(line)["label"] for line in lines] == ["blue", "green", "red"]


def test_vectors_are_compared_one_by_one(cli, colours):
    first = Store()["colours"]
    turned = dataclasses.replace(first, vectors=first.vectors[::-1].copy())
    Store().save("turned", turned.to_bytes(), new=True)
    found = inspected(cli, "colours", "--compare", "turned", "--top", 1)
    assert found["compared"] == "turned@1"
    for i, row in enumerate(found["vectors"]):
        a, b = first.vectors[i].astype(float), first.vectors[15 - i].astype(float)
        assert row["other"]["distance"] == pytest.approx(np.linalg.norm(a - b))
        assert row["other"]["cosine"] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        theirs = found["vectors"][15 - i]["by_euclidean"][0]["word"]
        own = row["by_euclidean"][0]["word"]
        assert (row["other"]["word"], row["other"]["same_word"]) == (theirs, own == theirs)
    rows = cli("inspect", "colours", "--compare", "turned", "--format", "csv").out.splitlines()
    assert rows[0] == (
        "class,vector,norm,metric,rank,word,euclidean,cosine,distance,drift,"
        "other_distance,other_cosine,other_word,other_same_word"
    )


def test_classes_are_compared_with_those_of_the_same_label(cli, specific):
    first = Store()["c"]
    order = [2, 0]  # without green
    some = dataclasses.replace(
        first,
        card=dataclasses.replace(first.card, classes=tuple(first.card.classes[i] for i in order), head=()),
        vectors=first.vectors[order] + np.float32(1),
        text_features=first.text_features[order],
        zero_shot_features=first.zero_shot_features[order],
        head=None,
    ).without_shots()
    Store().save("some", some.to_bytes(), new=True)
    found = inspected(cli, "c", "--compare", "some")
    apart = {v["of_class"]: v["other"] and v["other"]["distance"] for v in found["vectors"]}
    assert apart == {"blue": pytest.approx(32**0.5, rel=1e-4), "green": None, "red": pytest.approx(32**0.5, rel=1e-4)}


def test_what_cannot_be_compared_is_refused_in_words(cli, colours, specific):
    card = Store()["colours"].card
    other = dataclasses.replace(
        Store()["colours"],
        card=dataclasses.replace(card, backbone=dataclasses.replace(card.backbone, fingerprint="e" * 64)),
    )
    Store().save("other", other.to_bytes(), new=True)
    why = f"they were learned on different backbones, {card.backbone.name} and {card.backbone.name}"
    for name, because in (("other", why), ("c", "colours@1 has 16 of them and c@1 2")):
        sentence = f"the vectors of colours@1 and {name}@1 cannot be compared: {because}"
        refused(cli("inspect", "colours", "--compare", name), 1, sentence, f"promptctl diff {name}@1 colours@1")
    assert cli("inspect", "colours", "--compare", "colours", "--classes").code == 1


# --------------------------------------------------------------------------- classes


def test_the_nearest_class_and_photos_are_those_of_brute_force():
    context = make(5, joint=8, shots=25)
    found = Neighbours.of(context)
    texts, photos = context.text_features.astype(float), unit(context.shots.features.astype(float))
    for c in range(5):
        others = [d for d in range(5) if d != c]
        best = max(others, key=lambda d: texts[c] @ texts[d])
        assert found.by_text.rows[c] == best
        assert found.by_text.cosines[c] == pytest.approx(texts[c] @ texts[best], abs=1e-6)
        assert found.photos[c].tolist() == np.argsort(-(photos @ texts[c]))[:3].tolist()
        own = photos[context.shots.class_ids == c]
        apart = ((own - own.mean(0)) ** 2).sum(1)
        assert (found.counts[c], found.spread[c]) == (5, pytest.approx(np.sqrt(apart.mean()), rel=1e-3))


def test_means_of_photos_tell_the_same_spread_as_the_photos():
    context = make(3, joint=8, shots=30)
    kept = Neighbours.of(context.with_prototypes_only())
    np.testing.assert_allclose(kept.spread, Neighbours.of(context).spread, rtol=1e-5)
    assert kept.counts.tolist() == [10, 10, 10] and kept.photos.shape == (3, 0)
    assert np.isnan(Neighbours.of(context.without_shots()).spread).all()


def test_the_nearest_of_many_rows_is_not_itself(monkeypatch):
    monkeypatch.setattr("promptctl.classification.neighbours._CLASSES", 2)  # some at once
    rows = np.random.default_rng(0).normal(size=(7, 4))
    lengths = np.linalg.norm(rows, axis=1)
    alike = rows @ rows.T / lengths / lengths[:, None] - 9 * np.eye(7)
    assert nearest_rows(rows).rows.tolist() == alike.argmax(1).tolist()


def test_classes_whose_photos_are_mixed_stand_out_and_others_do_not():
    context, rng = make(3, joint=8, shots=30), np.random.default_rng(0)
    centres = np.eye(8)[[0, 0, 1]]  # two of the classes are one
    rows = unit(centres[context.shots.class_ids] + rng.normal(0, 0.1, (30, 8))).astype(np.float16)
    mixed = dataclasses.replace(context, shots=dataclasses.replace(context.shots, features=rows))
    (pair,) = Neighbours.of(mixed).alike
    assert (pair.a, pair.b, pair.of) == (0, 1, 20) and pair.taken >= 5


def test_classes_of_the_same_words_stand_out_without_photos():
    context = make(3, joint=8).without_shots()
    texts = context.text_features.copy()
    texts[2] = unit((texts[0] + 1e-3 * texts[1])[None])[0]
    assert [(p.a, p.b, p.taken) for p in Neighbours.of(dataclasses.replace(context, text_features=texts)).alike] == [
        (0, 2, 0)
    ]
    assert Neighbours.of(context).alike == ()


# --------------------------------------------------------------------------- what a person sees


def report(distances: list[float], *, usual: float = 0.35, **changes) -> InspectReport:
    words = (NearWordRow("blurry", 0.5, 0.2),)
    vectors = tuple(VectorReport(None, i, 0.6, words, words, d, 0.1) for i, d in enumerate(distances, 1))
    facts = VocabularyFacts("whole words", 33020, 0.45, 100, usual)
    return dataclasses.replace(InspectReport("c@1", make().card, 9, Path("/c"), vectors, facts), **changes)


def test_what_nearest_words_tell_follows_from_how_far_they_are():
    far, some, near, one = (report(d).closing()[1:] for d in ([0.6, 0.7], [0.1, 0.6], [0.1, 0.2], [0.9]))
    assert far == [
        "all 2 vectors lie farther from every word than words lie from each other: the nearest is 0.65 away in the "
        "median, and of 100 words drawn, half have another within 0.35. So the nearest words are no translation, and "
        "most say nothing of what was learned, as the CoOp paper found too"
    ]
    assert some[0].startswith("1 of 2 vectors lies farther") and some[1:] == [
        "1 of 2 vectors lies near enough to be read as a word"
    ]
    assert near == [
        "all 2 vectors lie as near to a word as words lie to each other (of 100 words drawn, half have another within "
        "0.35), so these can be read"
    ]
    assert one[0].startswith("the vector lies farther")


def test_bars_are_blocks_or_ascii_where_the_terminal_has_none():
    assert bars((0.0, 0.5, 1.0), 1.0, "utf-8") == "▁▄█"
    assert bars((0.0, 0.5, 1.0), 1.0, "latin-1") == bars((0.0, 0.5, 1.0), 1.0, "no such") == ".=@"
    assert bars((2.0, 1.0, float("nan")), None, "utf-8") == "█▄?"
    assert bars((0.0, 0.0), None, "utf-8") == "▁▁"
    assert thinned(range(100), 5) == [0, 25, 50, 74, 99] and thinned((1, 2), 1) == (2,)


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_the_curve_fits_any_terminal(monkeypatch, columns):
    from promptctl import render

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    curve = tuple(CurvePoint(i, 1 / (i + 1), 1.0) for i in range(21))
    found = report([0.6], card=dataclasses.replace(make().card, curve=curve))
    lines = render.FORMATS["table"](found).splitlines()
    assert any(line.startswith("loss:") and "█" in line for line in lines)
    assert all(len(line) <= max(columns, 24) for line in lines if "▁" in line)
    assert "from 1 to 0.0476" in " ".join(" ".join(lines).split())


def test_many_classes_are_cut_to_those_most_like_another():
    rows = tuple(ClassReport(f"c{i}", "", "other", i / 100, None, None, 0, None, (), ()) for i in range(30))
    found = report([0.6], classes=rows)
    assert [row["class"] for row in found.tables()[2]] == [f"c{i}" for i in range(29, 17, -1)]
    assert found.closing()[-1] == "18 more classes with --classes"
    alone = dataclasses.replace(found, vectors=(), vocabulary=None)
    assert len(alone.tables()[2]) == len(alone.rows()) == len(alone.records()) == 30


def test_versions_are_measured_on_the_same_photos_as_by_log(cli, colours):
    cli("restore", "colours@1")
    found = promptctl.inspect("colours")
    by_log = [(row.version, row.acc) for row in reversed(promptctl.log("colours").versions)]
    assert [(row.version, row.accuracy) for row in found.versions] == by_log and len(by_log) >= 1


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_figure_is_the_same_bytes_and_never_written_over(cli, colours, tmp_path, kind):
    path = tmp_path / f"c.{kind}"
    assert cli("inspect", "colours", "--classes", "--plot", path).code == 0
    first = path.read_bytes()
    refused(
        cli("inspect", "colours", "--plot", path),
        1,
        f"{path} cannot be written: it already exists",
        "--force replaces it",
    )
    assert cli("inspect", "colours", "--classes", "--plot", path, "--force").code == 0
    assert path.read_bytes() == first
    if kind == "png":
        pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
        # both lines are drawn, in matplotlib's first two colours
        assert {(31, 119, 180), (255, 127, 14)} <= set(map(tuple, np.unique(pixels, axis=0).tolist()))


def test_a_figure_of_nothing_is_refused(cli, tmp_path):
    Store().save("c", make().without_shots().to_bytes(), new=True)
    path = tmp_path / "c.png"
    why = f"{path} cannot be written: c@1 keeps no learning curve, and no photos to measure its versions on"
    refused(cli("inspect", "c", "--classes", "--plot", path), 1, why)
    named = tmp_path / "c.gif"
    assert f"{named} cannot be written: a figure ends in" in cli("inspect", "c", "--plot", named).err
    assert not path.exists()
