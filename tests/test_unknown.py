"""Unknown photos and doubtful answers: what commands and Python say of them, and where nothing can be said."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

import promptctl
from promptctl.classification import calibration, references
from promptctl.classification.calibration import OwnPhotos
from promptctl.classification.classifier import Classifier, Predictions
from promptctl.classification.gate import Gate
from promptctl.classification.metrics import auroc, kept_at
from promptctl.context.context import NOT_JUDGED, UNSCORED, Context
from promptctl.errors import BadSetting, CorruptContext, WrongOption
from promptctl.report import Rejection, Taken, TakenLine
from promptctl.store.store import Store


@pytest.fixture
def colours(colours_bytes) -> Context:
    return Context.from_bytes(colours_bytes, "colours")


@pytest.fixture
def stored(colours, answering):
    return Store().save("colours", colours.to_bytes(), new=True)


@pytest.fixture
def mixed(photos, tmp_path):
    """One photo of a colour, and one of nothing that was learned."""
    stripes = np.zeros((40, 48, 3), np.uint8)
    stripes[::4] = 255
    (tmp_path / "mixed").mkdir()
    Image.fromarray(stripes).save(tmp_path / "mixed" / "stripes.png")
    Image.open(photos / "red" / "0.png").save(tmp_path / "mixed" / "red.png")
    return tmp_path / "mixed"


def plain(context: Context) -> Context:
    """As it was stored before there were scores and temperatures."""
    n = len(context.shots)
    shots = replace(
        context.shots, likeness=np.full(n, UNSCORED, np.float32), confidence=np.full(n, NOT_JUDGED, np.float32)
    )
    return replace(context, card=replace(context.card, temperature=1.0), shots=shots)


# ---------------------------------------------------------------- stored


def test_what_is_stored_is_what_its_own_photos_say(colours):
    own = colours.shots.held_out == 0
    features, targets = colours.learned_from()
    expected = calibration.likeness_without(references.unit(features), targets, colours.shots.groups[own])
    np.testing.assert_allclose(colours.shots.likeness[own], expected, atol=1e-5)
    assert colours.card.temperature != 1
    assert ((colours.shots.confidence > 1 / 3) & (colours.shots.confidence <= 1)).all()


def test_an_older_context_is_scored_as_it_would_have_been(colours):
    older = Context.from_bytes(plain(colours).to_bytes(), "older")
    assert b"shot_likeness" not in older.to_bytes() and b"temperature" not in older.to_bytes()
    np.testing.assert_array_equal(calibration.scored(older).likeness, colours.shots.likeness)
    assert OwnPhotos.of(older).judged == 0


def test_a_temperature_changes_probabilities_and_no_answer(colours):
    features, _ = colours.learned_from()
    one, other = Classifier.of(colours), Classifier.of(plain(colours))
    np.testing.assert_array_equal(one.predict(features).top(3), other.predict(features).top(3))
    expected = Predictions.of(other.logits(features) / colours.card.temperature)
    np.testing.assert_allclose(one.predict(features).probabilities, expected.probabilities)
    assert Classifier.zero_shot(colours).temperature == 1 == Classifier.of(colours, head=False).temperature


def test_images_held_out_are_scored_by_all_the_others(colours):
    apart = np.arange(len(colours.shots)) % 3 == 0
    shots = replace(colours.shots, held_out=apart.astype(np.uint8))
    found = calibration.scored(replace(colours, shots=shots), again=True).likeness
    x = references.unit(shots.features.astype(np.float64))
    known = calibration.references(x[~apart], shots.class_ids[~apart])
    np.testing.assert_allclose(found[apart], calibration.likeness(x[apart], known), atol=1e-5)


@pytest.mark.parametrize(
    ("field", "value", "fault"), [("likeness", 3.0, "more alike than any"), ("confidence", 1.5, "beyond 0 and 1")]
)
def test_a_file_that_says_what_cannot_be_is_refused(colours, field, value, fault):
    column = getattr(colours.shots, field).copy()
    column[0] = value
    with pytest.raises(CorruptContext, match=fault):
        Context.from_bytes(replace(colours, shots=replace(colours.shots, **{field: column})).to_bytes(), "odd")
    with pytest.raises(CorruptContext, match="its temperature is 0"):
        Context.from_bytes(replace(colours, card=replace(colours.card, temperature=0.0)).to_bytes(), "odd")


# ---------------------------------------------------------------- gate


def test_the_gate_takes_what_is_alike_and_probable(colours):
    gate = Gate.of(colours, unknown=0.05, min_confidence=0.6)
    features = np.concatenate([colours.shots.features[:2].astype(np.float32), -colours.text_features[:1]])
    found = Predictions(np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]))
    passed = gate.passed(features, found)
    assert passed.unknown.tolist() == [False, False, True]
    assert passed.doubtful.tolist() == [False, True, False]  # one that is unknown is not doubtful too
    assert passed.likeness[2] < gate.floors[0] <= passed.likeness[0]


def test_a_class_without_photos_is_never_unknown(colours):
    gone = colours.shots.class_ids == colours.card.classes[0].id
    train = int((~gone).sum())
    some = replace(
        colours,
        shots=colours.shots.only(~gone),
        card=replace(colours.card, shots=replace(colours.card.shots, train=train, held_out=0)),
    )
    assert Gate.of(some, unknown=0.05).floors[0] == -np.inf


def test_near_copies_count_once(colours):
    groups = np.zeros(len(colours.shots), np.int32)
    groups[3:] = np.arange(3, len(groups))
    found = Gate.of(replace(colours, shots=replace(colours.shots, groups=groups)), unknown=0.05)
    assert found.promise.photos == len(groups) - 2


def test_no_line_is_below_the_probability_that_was_asked_for(colours):
    asked = Gate.of(colours, unknown=None, min_confidence=0.999, accept_error=0.5)
    assert asked.least == 0.999 and asked.floors is None
    assert Gate.of(colours, unknown=None, accept_error=0.01).least > 1  # nine photos cannot say so


# ---------------------------------------------------------------- classify


def records(cli, *arguments):
    outcome = cli("classify", *arguments, "--format", "jsonl")
    assert outcome.code == 0, outcome.err
    return {row["path"].rpartition("/")[2]: row for row in map(json.loads, outcome.out.splitlines())}, outcome.err


def test_a_photo_of_nothing_known_is_unknown_and_keeps_its_best_guess(cli, stored, mixed):
    found, said = records(cli, mixed, "-p", "colours")
    assert found["stripes.png"]["unknown"] and not found["red.png"]["unknown"]
    assert found["stripes.png"]["label"] in ("red", "green", "blue") and found["red.png"]["label"] == "red"
    assert found["stripes.png"]["likeness"] < found["red.png"]["likeness"]
    assert said == ""
    without, _ = records(cli, mixed, "-p", "colours", "--no-unknown")
    assert not without["stripes.png"]["unknown"] and without["stripes.png"]["likeness"] is None
    assert without["stripes.png"]["probability"] == found["stripes.png"]["probability"]


def test_every_format_tells_unknown_and_doubtful_photos(cli, stored, mixed):
    rows = list(csv.DictReader(io.StringIO(cli("classify", mixed, "-p", "colours", "--format", "csv").out)))
    assert [row["unknown"] for row in rows] == ["False", "True"] and rows[0]["likeness"]
    table = cli("classify", mixed, "-p", "colours", "--min-confidence", "100%").out.splitlines()
    assert "\tdoubtful (red?)\t" in table[1] and "\tunknown (" in table[2]
    plain_lines = cli("classify", mixed, "-p", "colours", "-q").out.splitlines()
    assert [line.split("\t")[0] for line in plain_lines] == ["red", "unknown"]


def test_json_says_what_is_to_be_expected(cli, stored, mixed):
    report = json.loads(cli("classify", mixed, "-p", "colours", "--json", "--accept-error", "2%").out)
    assert report["rejection"]["photos"] == 9 and report["rejection"]["expected"] == pytest.approx(0.1)
    assert report["line"] == {"least": None, "photos": 9, "right": None, "asked_error": 0.02}
    assert [image["doubtful"] for image in report["images"]] == [True, False]


def test_where_nothing_can_be_told_it_is_said_once(cli, stored, colours, mixed):
    bare = replace(colours.without_shots(), card=replace(colours.without_shots().card, parent=None))
    Store().save("bare", bare.to_bytes(), new=True)
    found, said = records(cli, mixed, "-p", "bare")
    assert said == "bare@1 cannot tell unknown photos: the features of its shots were left out\n"
    assert not any(row["unknown"] for row in found.values())
    assert records(cli, mixed, "-p", "bare", "--no-unknown")[1] == ""
    refused = cli("classify", mixed, "-p", "bare", "--accept-error", "2%")
    assert refused.code == 2 or refused.code == 1
    assert refused.err.startswith("error: nothing is known of how often bare@1 is wrong, none of its photos was held")


@pytest.mark.parametrize("text", ["5", "0", "-1%", "many", "101%", "nan"])
def test_a_share_is_a_percentage_or_a_fraction(cli, stored, mixed, text):
    outcome = cli("classify", mixed, "-p", "colours", f"--unknown={text}")
    assert outcome.code == 2
    assert "is neither a percentage such as 5% nor a fraction such as 0.05" in " ".join(
        outcome.err.replace("│", " ").split()
    )


def test_of_words_and_blends_no_mistakes_are_known(stored, mixed):
    with pytest.raises(WrongOption, match="of words no mistakes are known"):
        promptctl.classify(mixed, words="red,blue", accept_error=0.02)
    with pytest.raises(WrongOption, match="words know no photos"):
        promptctl.classify(mixed, words="red,blue", unknown=0.01)
    with pytest.raises(WrongOption, match="not of a blend"):
        promptctl.classify(mixed, "colours", blend=0.5, accept_error=0.02)
    with pytest.raises(BadSetting, match="unknown"):
        promptctl.classify(mixed, "colours", unknown=0.9)


# ---------------------------------------------------------------- what is said at the end


def test_the_promise_is_in_one_sentence():
    kept = Taken(Rejection(0.05, 40, 2 / 41, 0.00896, 0.113))
    assert kept.closing(12, 0, 240) == [
        "12 of 240 unknown; threshold from 40 photos: "
        "expect 4.9 % of your own photos called so, 0.9 to 11 % nine times in ten"
    ]
    few = Taken(Rejection(0.05, 9, 0.1, 0.005, 0.26))
    assert few.closing(1, 0, 2) == [
        "1 of 2 unknown; threshold from 9 photos, too few to promise 5 %, so the score of the least alike: "
        "expect 10 % of your own photos called so, 0.5 to 26 % nine times in ten"
    ]


def test_a_line_is_in_one_sentence():
    assert Taken(line=TakenLine(0.874, 70, 0.986, 0.02)).closing(0, 32, 240) == [
        "32 of 240 doubtful, less probable than 87.4 %; above this line you are right about 98.6 %, on 70 photos"
    ]
    assert Taken(line=TakenLine(0.8, 0, None, None)).closing(0, 1, 240) == [
        "1 of 240 doubtful, less probable than 80.0 %; nothing is known of the answers above this line"
    ]
    assert Taken(line=TakenLine(None, 9, None, 0.02)).closing(0, 3, 3) == [
        "3 of 3 doubtful: no line is known above which 98 % are right, 9 photos of yours are too few or too often "
        "mistaken"
    ]


# ---------------------------------------------------------------- Python


def test_python_tells_unknown_photos(stored, mixed):
    loaded = promptctl.load("colours")
    assert loaded.classify(mixed / "stripes.png").unknown and not loaded.classify(mixed / "red.png").unknown
    assert not promptctl.load("colours", unknown=None).classify(mixed / "stripes.png").unknown
    assert promptctl.load("colours", min_confidence=1.0).classify(mixed / "red.png").doubtful
    x = loaded.encode(mixed / "red.png")
    logits = loaded.logit_scale * x @ loaded.weight.T + loaded.bias
    np.testing.assert_allclose(loaded.predict_proba(x), Predictions.of(logits.astype(float)).probabilities, atol=1e-5)


# ---------------------------------------------------------------- evaluate


def test_figures_of_unknown_photos_are_those_of_scikit_learn():
    chance = np.random.default_rng(0)
    own, foreign = chance.integers(3, 12, 60).astype(float), chance.integers(0, 9, 40).astype(float)
    truth = np.repeat([1, 0], [60, 40])
    assert auroc(own, foreign) == pytest.approx(roc_auc_score(truth, np.concatenate([own, foreign])))
    assert kept_at(0.95, np.arange(100.0), np.array([3.0, 4.0, 5.0, 60.0])) == 0.5


def test_evaluate_measures_how_well_unknown_photos_are_told(cli, stored, photos, mixed, tmp_path):
    strange = tmp_path / "strange"
    (strange / "stripes").mkdir(parents=True)
    (mixed / "stripes.png").rename(strange / "stripes" / "1.png")
    (strange / "red").mkdir()
    (mixed / "red.png").rename(strange / "red" / "2.png")
    done = cli("evaluate", "colours", photos, "--unknown", strange, "--json")
    report = json.loads(done.out)["unknown"]
    assert [(one["folder"], one["images"], one["kept"]) for one in report["folders"]] == [
        ("red", 1, 1.0),
        ("stripes", 1, 0.0),
    ]
    assert report["folders"][1]["auroc"] == 1.0 and report["whole"]["kept"] == 0.5
    assert report["own_rejected"] <= 0.2 and report["rejection"]["photos"] == 9
    lines = [
        json.loads(line)
        for line in cli("evaluate", "colours", photos, "--unknown", strange, "--format", "jsonl").out.splitlines()
    ]
    types = [line["type"] for line in lines if line["type"] not in ("coverage", "confused")]
    assert types == ["overall", "class", "class", "class", "unknown", "unknown"]
    assert json.loads(cli("evaluate", "colours", photos, "--json").out)["unknown"] is None


def test_evaluate_says_the_calibration_error_before_and_after(cli, stored, colours, photos):
    Store().save("before", plain(colours).to_bytes(), new=True)
    now, before = (json.loads(cli("evaluate", name, photos, "--json").out) for name in ("colours", "before"))
    assert now["ece_before"] == pytest.approx(before["learned"]["ece"]) == before["ece_before"]
    assert now["learned"]["ece"] != now["ece_before"]
    assert "ECE before calibration" in cli("evaluate", "colours", photos).out
    assert "ECE before calibration" not in cli("evaluate", "before", photos).out


def test_evaluate_refuses_unknown_photos_of_a_context_that_cannot_tell(cli, stored, colours, photos, mixed):
    Store().save("bare", colours.without_shots().to_bytes(), new=True)
    refused = cli("evaluate", "bare", photos, "--unknown", mixed)
    assert refused.err.splitlines()[0] == (
        "error: bare@1 cannot tell unknown photos: the features of its shots were left out"
    )
