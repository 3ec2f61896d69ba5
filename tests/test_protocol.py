from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import COLOURS, copy_into_splits, paint
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from promptctl.benchmark import protocol, variants
from promptctl.benchmark.lengths import lengths
from promptctl.benchmark.pool import Pool, halves
from promptctl.benchmark.results import Results
from promptctl.classification.classifier import mixed
from promptctl.clip import templates
from promptctl.clip.backbone import Backbone
from promptctl.commands.compare import _with_lengths
from promptctl.data import images, sampling
from promptctl.data.folder import ImageFolder
from promptctl.data.images import HashedImage
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.pipeline import encode_files
from promptctl.errors import NoImages
from promptctl.learners import clap, coop
from promptctl.learners.settings import LearnSettings

FOUR = {**COLOURS, "yellow": (220, 210, 40)}


@pytest.fixture
def pool(tmp_path, tiny):
    folder = ImageFolder.scan(paint(tmp_path / "four", images=8, colours=FOUR))
    hashed, _ = images.hash_images(folder.images)
    backbone = Backbone(tiny)
    features, _ = encode_files([image.path for image in hashed], backbone.encoder, FeatureCache())
    divided = sampling.fifth_of_each(hashed)
    vector_of = dict(zip(features.paths, features.vectors, strict=True))
    names = {label: f"{label} thing" for label in folder.labels}
    pool = Pool(names, divided.train, divided.held_out, vector_of, backbone, templates.DEFAULT)
    return _with_lengths(pool, Results(), None)


@pytest.fixture
def crowd(tiny):
    """Made-up features: enough of them to test on that no two learners are right equally often by chance."""
    backbone, chance = Backbone(tiny), np.random.default_rng(0)
    width, labels = backbone.id.joint_width, ("a", "b", "c", "d")
    centres = chance.normal(size=(4, width))

    def some(side, count):
        made = [HashedImage(Path(f"/{side}/{i}"), labels[i % 4], None, f"{i:064x}") for i in range(count)]
        rows = centres[np.arange(count) % 4] + 3 * chance.normal(size=(count, width))
        unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return tuple(made), {image.path: row for image, row in zip(made, unit, strict=True)}

    train, of_train = some("train", 24)
    test, of_test = some("test", 1000)
    names = {"a": "dog", "b": "polar bear", "c": "kite", "d": "red"}
    return Pool(names, train, test, {**of_train, **of_test}, backbone, "{} texture.")


def right(pool, texts):
    """The share of the test images nearest to their own text, written plainly."""
    x, y = pool.arrays(pool.test)
    return sum(int(np.argmax(texts @ row)) == target for row, target in zip(x, y, strict=True)) / len(y)


def trial(pool, name):
    return protocol.Trial(pool, 2, 3, variants.settings_of(name, LearnSettings()))


@pytest.mark.parametrize(
    ("learner", "settings"),
    [
        ("coop", {}),
        ("coop-csc", {"class_specific": True}),
        ("coop-anchor", {"anchor": 8.0}),
        ("coop-average", {"average": True}),
    ],
)
def test_a_kind_of_coop_is_coop_with_its_own_setting(crowd, learner, settings):
    x, y = crowd.arrays(sampling.sample(crowd.train, 2, seed=3).train)
    tower, scale, by_hand = crowd.backbone.tower, crowd.backbone.logit_scale, crowd.zero_shot_features("{} texture.")

    def texts(**settings):
        epochs = coop.fast_epochs(2, class_specific="class_specific" in settings)
        wanted = coop.Settings(epochs=epochs, seed=3, **settings)
        return coop.learn(x, y, crowd.names, tower, logit_scale=scale, settings=wanted, anchors=by_hand).text_features

    found = protocol.compared(learner).text_head(trial(crowd, learner))(crowd)
    np.testing.assert_array_equal(found, texts(**settings))
    assert bool(settings) == (np.abs(found - texts()).max() > 1e-6)
    assert protocol.run(crowd, learner, 2, 3).accuracy == right(crowd, texts(**settings))


def test_clap_is_the_learner_of_its_name(crowd):
    x, y = crowd.arrays(sampling.sample(crowd.train, 2, seed=3).train)
    by_hand = templates.text_features(crowd.backbone.tower, crowd.names, "{} texture.")
    learned = clap.learn(x, y, by_hand, logit_scale=crowd.backbone.logit_scale, settings=clap.Settings(seed=3))
    assert protocol.run(crowd, "clap", 2, 3).accuracy == right(crowd, learned.text_features)
    assert right(crowd, learned.text_features) != right(crowd, by_hand)


@pytest.mark.parametrize(
    ("learner", "templates"),
    [
        ("zero-shot", ["{} texture."]),
        ("ensemble-7", [*templates.sentences("imagenet-7"), "{} texture."]),
        ("ensemble-80", templates.sentences("imagenet-80")),
    ],
)
def test_what_is_written_by_hand_is_the_mean_of_its_sentences(crowd, clip, learner, templates):
    model, tokenizer, _ = clip
    wanted = np.zeros((4, 32))
    for template in templates:
        rows = model.encode_text(tokenizer([template.format(name) for name in crowd.names])).numpy()
        wanted += rows / np.linalg.norm(rows, axis=1, keepdims=True)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    found = protocol.compared(learner).text_head(trial(crowd, learner))(crowd)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert protocol.run(crowd, learner, 2, 3).accuracy == right(crowd, found)


@pytest.mark.parametrize("template", ["a photo of a {}.", "imagenet", "imagenet-7", "imagenet-80"])
def test_imagenets_own_ensemble_is_seven_sentences(template):
    assert templates.ensemble_of_7(template) == templates.sentences("imagenet-7")
    assert len(templates.ensemble_of_7(template)) == 7


@pytest.mark.parametrize(
    ("template", "own"),
    [
        ("oxford_pets", "a photo of a {}, a type of pet."),
        ("caltech101", "a photo of a {}."),  # as the paper has it
        ("a blurry {}", "a blurry {}"),
    ],
)
def test_the_ensemble_of_another_set_has_its_own_sentence_too(template, own):
    assert templates.ensemble_of_7(template) == (*templates.sentences("imagenet-7"), own)


@pytest.mark.parametrize("learner", variants.names())
def test_every_learner_runs_and_repeats_itself(pool, learner):
    first, again = (protocol.run(pool, learner, 2, 1) for _ in range(2))
    assert 0 <= first.accuracy <= 1
    assert first.accuracy == again.accuracy


def test_a_blend_mixes_what_plain_folds_choose(crowd):
    by_hand = crowd.zero_shot_features("{} texture.")
    four = protocol.Trial(crowd, 4, 1)
    x, y = crowd.arrays(four.sample.train)
    x = x.astype(np.float16).astype(np.float32)  # as a stored context remembers them
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    hits = dict.fromkeys(range(11), 0)
    for train, held_out in StratifiedKFold(4, shuffle=True, random_state=1).split(x, y):
        tower, scale = crowd.backbone.tower, crowd.backbone.logit_scale
        settings = coop.Settings(epochs=coop.fast_epochs(3), seed=1)
        fold = coop.learn(x[train], y[train], crowd.names, tower, logit_scale=scale, settings=settings).text_features
        for tenths in hits:
            texts = tenths * fold + (10 - tenths) * by_hand
            texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
            hits[tenths] += int(((x[held_out] @ texts.T).argmax(1) == y[held_out]).sum())
    best = max(tenths for tenths in hits if hits[tenths] == max(hits.values()))
    texts = mixed(four.fit().text_features, by_hand, best / 10)
    assert protocol.run(crowd, "coop-blend", 4, 1).accuracy == right(crowd, texts)


def test_one_shot_is_blended_half_and_half(crowd):
    learned, by_hand = protocol.Trial(crowd, 1, 1).fit().text_features, crowd.zero_shot_features("{} texture.")
    texts = learned + by_hand
    assert protocol.run(crowd, "coop-blend", 1, 1).accuracy == right(
        crowd, texts / np.linalg.norm(texts, axis=1, keepdims=True)
    )


def test_a_probe_without_validation_images_is_scikit_learns_default(pool):
    most, _ = pool.most_shots
    x, y = pool.arrays(sampling.sample(pool.train, most, seed=1).train)
    plain = LogisticRegression(max_iter=1000).fit(x, y).score(*pool.arrays(pool.test))
    assert len({image.label for image in sampling.sample(pool.train, most, seed=1).held_out}) < 4
    assert protocol.run(pool, "linear-probe", most, 1).accuracy == plain


@pytest.fixture
def copied(pool):
    """The same pool with a near copy of every picture, saved once more and a little darker."""
    from PIL import Image

    copies, vector_of = [], dict(pool.vector_of)
    for image in pool.train:
        again = image.path.with_name(f"again-{image.path.name}")
        Image.open(image.path).point(lambda level: level - level // 64).save(again)
        copies.append(replace(image, path=again, sha256=images.hash_images([replace(image, path=again)])[0][0].sha256))
    features, _ = encode_files([image.path for image in copies], pool.backbone.encoder, FeatureCache())
    vector_of |= zip(features.paths, features.vectors, strict=True)
    return replace(pool, train=(*pool.train, *copies), vector_of=vector_of)


def picture(image):
    return image.label, image.path.name.removeprefix("again-")


def test_the_probe_searches_on_no_copy_of_a_shot(copied):
    next_in_rank = []
    for seed in range(1, 9):
        two = protocol.Trial(copied, 2, seed)
        shown, found = two.sample.train, protocol._validation(two)
        shots = {picture(image) for image in shown}
        assert shots.isdisjoint(picture(image) for image in found)
        further = sampling.sample(two.sample.held_out, 2, seed=seed).train
        next_in_rank.append(shots.isdisjoint(picture(image) for image in further))
        if next_in_rank[-1]:
            assert found == further, "where there is none, as ever"
        counts = {label: sum(image.label == label for image in found) for label in copied.labels}
        assert len(set(counts.values())) == 1 and counts["red"] <= 2
    assert set(next_in_rank) == {True, False}, "or this says nothing"
    assert any(protocol._validation(protocol.Trial(copied, 2, seed)) for seed in range(1, 9))


def test_a_blend_is_chosen_by_folds_without_copies(copied, monkeypatch):
    seen = []
    monkeypatch.setattr(
        protocol.blend, "best_share", lambda *arguments, groups: (seen.append((arguments[1], groups)), 0.5)[1]
    )
    every = protocol.Trial(copied, 12, 1, LearnSettings(epochs=0))
    protocol._share(every, every.fit())
    ((y, groups),) = seen
    named = [picture(image) for image in every.sample.train]
    both = set(zip(named, groups.tolist(), strict=True))
    assert len(both) == len(set(named)) == len(set(groups.tolist())) < len(named), "a group is a picture"
    monkeypatch.setattr(Pool, "groups", lambda self, some: y)
    assert protocol._share(every, every.fit()) == protocol.BLEND_OF_ONE
    assert len(seen) == 1


def test_the_raw_probe_sees_features_as_they_leave_the_tower(pool, clip):
    """The original's probe written out: raw features, seven strengths, eight comparisons of two ends."""
    from PIL import Image

    model, _, _ = clip

    def raw(some):
        pixels = [pool.backbone.transform(Image.open(image.path).convert("RGB")) for image in some]
        return model.encode_image(torch.stack(pixels)).numpy(), [pool.labels.index(image.label) for image in some]

    sample = sampling.sample(pool.train, 2, seed=1)
    x, y = raw(sample.train)
    x_val, y_val = raw(sampling.sample(sample.held_out, 2, seed=1).train)
    x_test, y_test = raw(pool.test)
    found, targets = pool.raw_arrays(sample.train)
    np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(targets, y)
    assert np.abs(np.linalg.norm(found, axis=1) - 1).min() > 0.01

    def fitted(strength):
        return LogisticRegression(C=strength, max_iter=1000).fit(x, y)

    strengths = [1e6, 1e4, 1e2, 1, 1e-2, 1e-4, 1e-6]
    peak = strengths[int(np.argmax([fitted(s).score(x_val, y_val) for s in strengths]))]
    left, right_end = 0.1 * peak, 10 * peak
    for _ in range(8):
        middle = 10 ** (0.5 * (np.log10(left) + np.log10(right_end)))
        if fitted(left).score(x_val, y_val) < fitted(right_end).score(x_val, y_val):
            final, left = right_end, middle
        else:
            final, right_end = left, middle
    assert protocol.run(pool, "linear-probe-raw", 2, 1).accuracy == fitted(final).score(x_test, y_test)


def test_the_two_probes_differ_by_the_length_of_the_features(crowd):
    long = {path: 20.0 + i % 3 for i, path in enumerate(crowd.vector_of)}
    unit, raw = (protocol.run(replace(crowd, length_of=long), f"linear-probe{kind}", 2, 1) for kind in ("", "-raw"))
    one = protocol.run(replace(crowd, length_of=dict.fromkeys(long, 1.0)), "linear-probe-raw", 2, 1)
    assert one.accuracy == unit.accuracy != raw.accuracy


def test_lengths_are_kept_and_a_changed_photo_is_told(pool):
    shown = pool.train[:2]
    known = lengths(shown, pool.backbone, Results())
    assert known == {image.path: pool.length_of[image.path] for image in shown}
    for image in shown:
        image.path.unlink()
    assert lengths(shown, pool.backbone, Results()) == known
    other = replace(pool.train[2], sha256="0" * 64)
    with pytest.raises(NoImages, match=f"{other.path} has changed since a moment ago"):
        lengths([other], pool.backbone, Results())


def test_a_length_of_another_decoder_is_not_believed(pool, monkeypatch):
    shown = pool.train[:1]
    lengths(shown, pool.backbone, Results())
    monkeypatch.setattr(import_module("promptctl.benchmark.lengths"), "DECODER", "another decoder")
    shown[0].path.unlink()
    with pytest.raises(NoImages):
        lengths(shown, pool.backbone, Results())


def test_a_result_of_other_code_or_of_another_device_is_not_believed(crowd, monkeypatch):
    task, found, known = protocol.Task("run", "coop", 1, 1), protocol.Run("coop", 1, 1, 0.5, 2.0), Results()
    task.keep(found, crowd, LearnSettings(), known)
    assert task.recall(crowd, LearnSettings(), known) == found
    for module, constant in (
        *((protocol, name) for name in ("VERSION", "__version__", "DECODER", "VIEWS")),
        (protocol.blend, "CHOOSER"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, constant, "another")
            assert task.recall(crowd, LearnSettings(), known) is None, constant
    monkeypatch.setattr(crowd.backbone, "device", torch.device("meta"))
    assert task.recall(crowd, LearnSettings(), known) is None


@pytest.mark.parametrize(("labels", "base"), [("dcba", "ab"), ("edcba", "abc"), ("ab", "a")])
def test_base_classes_are_the_first_and_larger_half(labels, base):
    assert halves(labels) == (tuple(base), tuple(sorted(set(labels) - set(base))))


def test_base_to_new_asks_the_context_about_classes_it_never_saw(pool):
    found = protocol.base_to_new(pool, "coop", 2, 1)
    base, new = (pool.only(half) for half in halves(pool.labels))
    assert base.labels == ("blue", "green")
    learned = protocol.Trial(base, 2, 1).fit()
    tower = pool.backbone.tower
    prompts = tower.prompts(["red thing", "yellow thing"], 16)

    texts = tower.encode(torch.from_numpy(learned.vectors), prompts).numpy()
    x, y = new.arrays(new.test)
    texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    assert found.new == ((x @ texts.T).argmax(1) == y).mean()
    assert found.base == base.accuracy(learned.text_features)
    assert protocol.BaseToNew("x", 1, 1, 0.5, 0.25).harmonic == pytest.approx(1 / 3)
    assert protocol.BaseToNew("x", 1, 1, 0.0, 0.0).harmonic == 0.0


@pytest.mark.parametrize("position", ["front", "middle"])
def test_new_names_stand_where_the_learned_ones_did(crowd, position):

    found = protocol.base_to_new(crowd, "coop", 2, 1, LearnSettings(position=position, context_tokens=4))
    base, new = (crowd.only(half) for half in halves(crowd.labels))
    learned = protocol.Trial(base, 2, 1, LearnSettings(position=position, context_tokens=4)).fit()
    tower = crowd.backbone.tower
    with torch.no_grad():
        texts = tower.encode(torch.from_numpy(learned.vectors), tower.prompts(["kite", "red"], 4, position=position))
    assert found.new == right(new, texts.numpy() / np.linalg.norm(texts.numpy(), axis=1, keepdims=True))


def test_a_context_of_each_class_generalises_to_no_other():
    generalises = variants.generalises_to_new_classes
    by_hand = ["zero-shot", "ensemble-7", "ensemble-80"]
    found = [name for name in variants.names() if generalises(name)]
    assert found == [*by_hand, "coop", "coop-anchor", "coop-average", "coop-blend"]
    specific = LearnSettings(class_specific=True)
    assert [name for name in variants.names() if generalises(name, specific)] == by_hand


def test_zero_shot_does_not_depend_on_shots_or_seed(pool):
    assert len({protocol.run(pool, "zero-shot", shots, seed).accuracy for shots in (1, 2) for seed in (1, 2)}) == 1


# --------------------------------------------------------------------------- the command


def test_the_command_prints_a_table_and_draws_the_figure(cli, tmp_path, tiny):
    photos = paint(tmp_path / "four", images=8, colours=FOUR)
    plot = tmp_path / "curve.png"
    asked = ("compare", photos, "--model", tiny, "--shots", "1,2,16", "--seeds", "1,2", "--learners", "zero-shot,coop")
    done = cli(*asked, "--base-to-new", "--plot", plot)
    assert done.code == 0, done.err
    assert "1 shot" in done.out
    assert "2 shots" in done.out
    assert "16 shots" not in done.out
    assert "left out 16 shots: class '" in done.err
    assert "harmonic" in done.out
    assert plot.read_bytes()[:4] == b"\x89PNG"
    refused = cli(*asked, "--plot", plot)
    assert (refused.code, refused.err) == (
        1,
        f"error: {plot} cannot be written: it already exists\nhint:  --force replaces it\n",
    )
    assert cli(*asked, "--plot", plot, "--force").code == 0


def test_json_holds_every_run(cli, photos, tiny, tmp_path):
    split = copy_into_splits(photos, tmp_path / "split")
    asked = ("compare", split, "--model", tiny, "--shots", "1,2", "--seeds", "1,2,3", "--epochs", 10)
    asked = (*asked, "--learners", "coop,linear-probe")
    report = json.loads(cli(*asked, "--json").out)
    assert report["measured_on"] == "images of test/"
    assert (report["train_images"], report["test_images"]) == (12, 6)
    for row in report["learners"]:
        assert len(row["runs"]) == 3
        assert row["mean"] == pytest.approx(np.mean(row["runs"]))
        assert row["std"] == pytest.approx(np.std(row["runs"]))
    rows = list(csv.DictReader(io.StringIO(cli(*asked, "--format", "csv").out)))
    assert list(rows[0]) == ["learner", "shots", "mean", "std", "seconds", "seed", "accuracy"]
    assert [(row["learner"], int(row["shots"]), int(row["seed"])) for row in rows] == [
        (learner, shots, seed) for learner in ("coop", "linear-probe") for shots in (1, 2) for seed in (1, 2, 3)
    ]
    for i, row in enumerate(rows):
        of_cell = report["learners"][i // 3]
        assert float(row["accuracy"]) == of_cell["runs"][i % 3]
        assert float(row["seconds"]) == of_cell["run_seconds"][i % 3]
        assert (float(row["mean"]), float(row["std"])) == (of_cell["mean"], of_cell["std"])
    assert of_cell["seconds"] == pytest.approx(np.mean(of_cell["run_seconds"]))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--learners", "coop,tip"], "no learner is called 'tip'"),
        (["--learners", ","], "no learner is named"),
        (["--template", "{} " + "very " * 80], "the template says 'blue very"),
        (["--base-to-new"], "--base-to-new halves the classes, and {photos} has 3"),
        (["--shots", "40"], "class 'blue' has"),
        (["--plot", "curve.gif"], "curve.gif cannot be written: a figure ends in .png, .svg, .pdf"),
        (["--plot", ""], ". cannot be written: a figure ends in .png, .svg, .pdf"),
        (["--template", "{} of {x}"], "'{{}} of {{x}}' is neither a sentence with {{}}"),
        (["--template", "a photo"], "'a photo' is neither a sentence with {{}} for the class name"),
    ],
)
def test_what_cannot_be_compared_is_said_in_words(cli, photos, tiny, options, error):
    done = cli("compare", photos, "--model", tiny, *options)
    assert done.code == 1
    assert done.err.splitlines()[-2].startswith("error: " + error.format(photos=photos))


def test_shots_that_are_no_numbers_are_a_usage_error(cli, photos):
    for shots in ("1,many", "0", ",", "", "-1", str(2**32)):
        assert cli("compare", photos, "--shots", shots).code == 2


@pytest.mark.parametrize("kind", [".svg", ".pdf"])
def test_the_same_rows_draw_the_same_figure(kind):
    from promptctl.benchmark.plot import curve
    from promptctl.report import ComparedRow

    rows = [ComparedRow("coop", k, 0.5 + k / 100, 0.02, (0.5,), 1.0) for k in (1, 2, 4)]
    assert curve(rows, "birds", kind) == curve(rows, "birds", kind)


def test_a_learner_named_twice_runs_once(cli, photos, tiny):
    asked = ("compare", photos, "--model", tiny, "--shots", "1", "--seeds", "1,2", "--learners", "zero-shot,zero-shot")
    (row,) = json.loads(cli(*asked, "--json").out)["learners"]
    assert len(row["runs"]) == 2


def test_one_number_of_shots_is_a_point_in_the_figure():
    from promptctl.benchmark.plot import curve
    from promptctl.report import ComparedRow

    svg = curve([ComparedRow("coop", 4, 0.5, 0.02, (0.5,), 1.0)], "birds", ".svg").decode()
    assert svg.count("fill: #1f77b4; stroke: #1f77b4") == 2, "itself and in the legend"


def test_a_figure_that_cannot_be_written_loses_no_result(cli, photos, tiny, tmp_path, monkeypatch):
    from promptctl.store import files

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_atomic", full)
    asked = ("compare", photos, "--model", tiny, "--shots", "1", "--seeds", "1", "--learners", "zero-shot")
    done = cli(*asked, "--plot", tmp_path / "curve.png")
    assert done.code == 1
    assert "zero-shot" in done.out
    assert done.err.endswith(f"error: {tmp_path / 'curve.png'} cannot be written: no space left on device\n")


def test_a_figure_the_disk_did_not_confirm_loses_no_result(cli, photos, tiny, tmp_path, monkeypatch):
    from promptctl.store import files

    def broken(folder):
        raise OSError(5, "Input/output error", str(folder))

    monkeypatch.setattr(files, "fsync_folder", broken)
    asked = ("compare", photos, "--model", tiny, "--shots", "1", "--seeds", "1", "--learners", "zero-shot")
    done = cli(*asked, "--plot", tmp_path / "curve.png")
    assert done.code == 1
    assert "zero-shot" in done.out
    assert f"error: done, but it may not survive a power cut: {tmp_path}: input/output error" in done.err
    assert (tmp_path / "curve.png").exists()


def test_a_half_without_test_images_is_told_before_anything_is_learned(cli, tmp_path, tiny):
    split = copy_into_splits(paint(tmp_path / "four", images=6, colours=FOUR), tmp_path / "split")
    for path in (split / "test").glob("red/*"):
        path.unlink()
    for path in (split / "test").glob("yellow/*"):
        path.unlink()
    done = cli("compare", split, "--model", tiny, "--shots", "1", "--base-to-new", "--learners", "zero-shot")
    assert done.code == 1
    assert f"error: {split} has no image to measure the new classes on (red, yellow)" in done.err


def test_test_images_it_could_know_and_of_classes_it_cannot_are_named(cli, photos, tiny, tmp_path):
    import shutil

    split = copy_into_splits(photos, tmp_path / "split")
    shutil.copy(split / "train" / "red" / "0.png", split / "test" / "red" / "seen.png")
    shutil.copytree(split / "test" / "red", split / "test" / "pink")
    done = cli("compare", split, "--model", tiny, "--shots", "1", "--seeds", "1", "--learners", "zero-shot", "--json")
    report = json.loads(done.out)
    assert report["test_images"] == 6
    assert sorted((item["path"].split("/")[-2:], item["reason"]) for item in report["skipped"]) == [
        (["pink", "4.png"], "'pink' is not a class of the photos to learn from"),
        (["pink", "5.png"], "'pink' is not a class of the photos to learn from"),
        (["pink", "seen.png"], "'pink' is not a class of the photos to learn from"),
        (["red", "seen.png"], "a copy of a photo to learn from, so it is not measured on"),
    ]


def test_what_cannot_speak_of_new_classes_is_named_and_csv_holds_what_can(cli, tmp_path, tiny):
    photos = paint(tmp_path / "four", images=6, colours=FOUR)
    asked = ("compare", photos, "--model", tiny, "--shots", "1", "--seeds", "1", "--base-to-new", "--learners")
    done = cli(*asked, "zero-shot,linear-probe,clap", "--format", "csv")
    assert "warning: linear-probe and clap cannot classify new classes: not in base to new" in done.err
    zero_shot_row, probe, _ = csv.DictReader(io.StringIO(done.out))
    assert 0 <= float(zero_shot_row["harmonic"]) <= 1
    assert (zero_shot_row["std"], zero_shot_row["base_std"], probe["base"], probe["std"]) == ("", "", "", "")
    assert " ± " not in cli(*asked, "zero-shot").out, "one seed has no deviation"


def test_what_is_learned_is_a_line_and_what_is_written_by_hand_is_dashed():
    from promptctl.benchmark.plot import curve
    from promptctl.report import ComparedRow

    def line(learner):
        return curve([ComparedRow(learner, k, 0.5, None, (0.5,), 1.0) for k in (1, 2)], "birds", ".svg").decode()

    assert "dasharray" in line("zero-shot")
    assert "dasharray" not in line("clap")


def test_a_letter_the_font_lacks_draws_no_complaint(recwarn):
    from promptctl.benchmark.plot import curve
    from promptctl.report import ComparedRow

    curve([ComparedRow("coop", 1, 0.5, None, (0.5,), 1.0)], "鳥の写真", ".png")
    assert not [w for w in recwarn if "Glyph" in str(w.message)]
