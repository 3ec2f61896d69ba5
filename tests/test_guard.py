"""The guard: an exact paired test, held to scipy's and to figures computed elsewhere."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from promptctl.context import graded, guard
from promptctl.context.guard import Paired, Taken, Verdict, detectable_drop, judge, mcnemar

LABELS = {id: f"class {id}" for id in range(20)}


def paired(images: int, *, worse: int = 0, better: int = 0, right: float = 0.75) -> Paired:
    """The images that changed stand first, those that got worse before those that got better."""
    parent = np.arange(images) < worse
    candidate = (np.arange(images) >= worse) & (np.arange(images) < worse + better)
    both = np.arange(images) >= worse + better + round((1 - right) * (images - worse - better))
    return Paired(parent | both, candidate | both)


def judged(pairs: Paired, classes: int = 1, **options) -> Verdict:
    return judge(pairs, np.arange(len(pairs)) % classes, LABELS, **options)


def test_the_test_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    for changed in (*range(1, 31), 200, 3000):
        for worse in sorted({0, 1, changed // 3, changed // 2, changed * 2 // 3, changed - 1, changed}):
            wanted = stats.binomtest(worse, changed, 0.5, alternative="greater").pvalue
            assert mcnemar(worse, changed - worse) == pytest.approx(wanted, rel=1e-9), (worse, changed)
    assert mcnemar(0, 0) == 1.0


@pytest.mark.parametrize(
    ("discordance", "images", "points"),
    [
        *[(0.04, 160, 3.8), (0.04, 320, 2.2), (0.04, 640, 1.6)],
        *[(0.08, 80, 7.5), (0.08, 160, 4.4)],
        *[(0.15, 40, 15.0), (0.15, 80, 10.0), (0.15, 160, 6.2), (0.15, 20, None)],
    ],
)
def test_the_smallest_drop_that_can_be_told_from_chance(discordance, images, points):
    found = detectable_drop(round(discordance * images), images)
    assert (None if found is None else round(100 * found, 1)) == points


def test_thirteen_points_are_refused_and_one_worse_for_one_better_is_not():
    bad = judged(paired(150, worse=20, better=1))
    assert (bad.refused, bad.advisory, bad.worse, bad.better) == (True, False, 20, 1)
    assert bad.drop == pytest.approx(19 / 150)
    assert bad.p < 1e-4
    assert bad.reasons[0] == (
        "it recognises 12.7 points fewer of 150 images of the known classes"
        " (20 worse, 1 better, p below 0.0001), more than 2.0 points and more than chance"
    )
    good = judged(paired(150, worse=1, better=1))
    assert (good.refused, good.reasons, good.warnings, good.drop) == (False, (), (), 0.0)


def test_the_chance_that_a_name_takes_as_many_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    for images, fraction in ((80, 0.02), (160, 0.02), (3000, 0.1), (40, 0.5)):
        for count in {0, 1, 2, 5, images // 10, images // 2, images}:
            wanted = stats.binom.sf(count - 1, images, fraction)
            assert guard.at_least(count, images, fraction) == pytest.approx(wanted, rel=1e-6, abs=1e-12)
    assert [guard.at_least(count, 80, 0.0) for count in (0, 1)] == [1.0, 0.0]
    assert guard.at_least(80, 80, 1.0) == 1.0


@pytest.mark.parametrize(
    ("images", "worse", "allowed", "refused"),
    [(80, 4, 0.02, True), (80, 3, 0.02, False), (160, 6, 0.02, False), (160, 7, 0.02, True), (300, 12, 0.05, False)],
)
def test_what_a_name_takes_is_held_to_what_may_be_forgotten(images, worse, allowed, refused):
    """It gives nothing back, so that McNemar's test would find any five photos too many."""
    found = judged(paired(images, worse=worse), taken=[Taken("bird", "emu", worse)], max_forgetting=allowed)
    assert found.refused is refused
    assert bool(found.warnings) is (not refused and worse > allowed * images)
    none = judged(paired(images, worse=12, better=1), taken=[])
    assert none.refused is judged(paired(images, worse=12, better=1)).refused is True, (
        "what learning lost counts as ever"
    )
    assert judged(paired(80, worse=1), taken=[Taken("bird", "emu", 1)], max_forgetting=0).refused is True
    mixed = judged(paired(80, worse=5, better=1), taken=[Taken("bird", "emu", 2)])
    assert mixed.refused is False, "two that a name took, three beside one that learning lost: both may be chance"


def test_what_names_take_is_said_beside_the_reasons():
    taken = [Taken("bird", "emu", 4), Taken("ape", "emu", 9), Taken("bird", "ibis", 12)]
    found = judged(paired(150, worse=25), taken=taken)
    assert found.reasons[-2:] == ("'bird' takes 12 of 'ibis', 4 of 'emu'", "'ape' takes 9 of 'emu'")
    assert judged(paired(150, worse=1), taken=[Taken("bird", "emu", 1)]).reasons == ()
    many = [Taken("bird", f"class {i}", 20 - i) for i in range(9)]
    assert judged(paired(400, worse=144), taken=many).reasons[-1].endswith("16 of 'class 4', 4 more")


def test_a_drop_that_may_be_chance_is_a_warning():
    found = judged(paired(100, worse=4))
    assert (found.refused, found.p, found.drop) == (False, 0.0625, 0.04)
    assert found.warnings == (
        "it recognises 4.0 points fewer of 100 images of the known classes"
        " (4 worse, 0 better, p 0.062), which may be chance",
    )


def test_a_drop_is_refused_only_beyond_what_may_be_forgotten():
    pairs = paired(500, worse=10)
    assert judged(pairs).refused is False, "2 points exactly, however certain"
    assert judged(pairs, max_forgetting=0.019).refused is True
    assert judged(paired(500, worse=11)).refused is True
    assert judged(paired(500, worse=11), max_forgetting=0.03).refused is False


def one_class_falls(images: int, worse: int, classes: int) -> tuple[Paired, np.ndarray]:
    """Class 0 loses some of its images, and the others win as many."""
    ids = np.repeat(np.arange(classes), images)
    parent = ids == 0
    candidate = (ids == 0) & (np.arange(len(ids)) >= worse)
    candidate[images : images + worse] = True
    return Paired(parent, candidate), ids


@pytest.mark.parametrize(
    ("images", "worse", "classes", "refused"),
    [
        (10, 8, 10, True),  # p 0.0039 of 0.005
        (10, 7, 10, False),  # p 0.0078, and one of ten classes
        (10, 7, 5, True),  # which it is enough for among five
        (8, 8, 12, True),
        (8, 8, 13, False),  # p 0.0039 of 0.0038
        (7, 7, 6, False),  # too few images of it
        (60, 15, 2, False),  # 25 points exactly
        (60, 16, 2, True),
    ],
)
def test_one_class_that_falls_far_is_refused_though_the_rest_makes_up_for_it(images, worse, classes, refused):
    pairs, ids = one_class_falls(images, worse, classes)
    found = judge(pairs, ids, LABELS)
    assert found.drop == 0
    assert found.refused is refused
    assert [row.label for row in found.classes if row.dropped] == (["class 0"] if refused else [])
    row = found.classes[0]
    assert (row.images, row.before, row.after) == (images, images, images - worse)
    if refused:
        left = images - worse
        assert found.reasons[0].startswith(f"it recognises {left} of {images} images of 'class 0', {images} before")


def test_only_classes_with_enough_images_share_the_chance():
    pairs, ids = one_class_falls(8, 8, 2)
    few = Paired(np.append(pairs.parent, [True] * 36), np.append(pairs.candidate, [True] * 36))
    assert judge(few, np.append(ids, np.arange(2, 14).repeat(3)), LABELS).refused is True


def test_too_few_images_advise_in_words_and_refuse_nothing():
    found = judged(paired(12, worse=8))
    assert (found.refused, found.advisory) == (False, True)
    assert found.warnings[0] == "cannot detect drops below 50.0 points with 12 images: too few to refuse a version"
    assert found.warnings[1] == found.reasons[0]
    assert found.reasons[0].startswith("it recognises 66.7 points fewer of 12 images")
    assert judged(paired(39, worse=30)).refused is False
    assert judged(paired(40, worse=30)).refused is True


def test_what_few_images_cannot_show_is_said_even_when_nothing_changed():
    assert judged(paired(20, worse=2, better=1)).warnings[0] == (
        "cannot detect any drop with 20 images, 3 of which changed: too few to refuse a version"
    )
    nothing = judged(paired(0))
    assert (nothing.advisory, nothing.images, nothing.drop, nothing.p, nothing.classes) == (True, 0, 0.0, 1.0, ())
    assert nothing.warnings == (
        "no held-out image of the known classes can be compared, so nobody knows what was forgotten",
    )


def test_new_names_that_draw_old_images_are_a_warning_however_many():
    found = judged(paired(200, worse=1), full=paired(200, worse=30))
    assert found.refused is False
    assert found.warnings == (
        "with the new classes to choose from, it recognises 15.0 points fewer of 200 images of the known classes"
        " (30 worse, 0 better, p below 0.0001)",
    )


def test_classes_on_which_zero_shot_is_better_are_named():
    pairs = paired(80, right=1.0)
    worse = pairs.candidate & (np.arange(80) >= 3)
    found = judged(Paired(pairs.parent & (np.arange(80) >= 3), worse), classes=4, zero_shot=np.ones(80, bool))
    assert found.warnings == (
        "zero-shot is better on 'class 0' (20 of 20 images, this version 19),"
        " 'class 1' (20 of 20 images, this version 19), 'class 2' (20 of 20 images, this version 19)",
    )
    none = np.zeros(80, bool)
    many = judged(Paired(none, none), classes=8, zero_shot=~none)
    assert many.warnings[0].endswith("'class 4' (10 of 10 images, this version 0), 3 more")
    assert judged(Paired(none, none), zero_shot=none).warnings == ()


def test_a_reference_is_named_from_three_points_ahead():
    pairs = paired(100, right=0.9)
    found = judged(pairs, references={"ridge": 0.94, "nearest mean": 0.93, "LDA": 0.5})
    assert found.warnings == ("ridge recognises 94.0 % of the known classes' images, this version 90.0 %",)


def test_both_are_compared_as_the_version_will_answer():
    """Zero-shot and the references choose among all classes, so the version does too."""
    same, full = paired(100, right=1.0), paired(100, right=0.5)
    found = judged(same, full=full, zero_shot=np.arange(100) >= 40, references={"ridge": 0.6})
    assert [warning.partition(" ")[0] for warning in found.warnings] == ["zero-shot", "ridge"]
    assert judged(same, zero_shot=np.arange(100) >= 40, references={"ridge": 0.6}).warnings == ()


# ----------------------------------------------------------------------------------- any arrays

bools = arrays.arrays(bool, st.shared(st.integers(0, 120), key="n"))
ids = arrays.arrays(np.int64, st.shared(st.integers(0, 120), key="n"), elements=st.integers(0, 9))


@given(bools, bools, ids, st.floats(0, 0.3))
def test_a_version_is_refused_by_the_written_rule_and_no_other(parent, candidate, class_ids, limit):
    stats = pytest.importorskip("scipy.stats")
    found = judge(Paired(parent, candidate), class_ids, LABELS, max_forgetting=limit)

    def falls(chosen, most, alpha):
        b, c = int((parent & ~candidate & chosen).sum()), int((~parent & candidate & chosen).sum())
        p = stats.binomtest(b, b + c, 0.5, alternative="greater").pvalue if b + c else 1
        return (b - c) / max(1, chosen.sum()) > most and p < alpha

    large = [id for id in range(10) if (class_ids == id).sum() >= 8]
    bad = falls(np.ones(len(parent), bool), limit, 0.05)
    bad = bad or any(falls(class_ids == id, 0.25, 0.05 / len(large)) for id in large)
    assert found.refused == (bad and len(parent) >= 40)
    assert bool(found.reasons) == bad
    assert set(found.reasons) <= set(found.warnings) or not found.advisory


@given(bools, bools, ids)
def test_nothing_depends_on_the_order_of_the_images_and_no_one_is_worse_than_itself(parent, candidate, class_ids):
    order = np.random.default_rng(len(parent)).permutation(len(parent))
    found = judge(Paired(parent, candidate), class_ids, LABELS)
    assert judge(Paired(parent[order], candidate[order]), class_ids[order], LABELS) == found
    back = judge(Paired(candidate, parent), class_ids, LABELS)
    assert (back.drop, back.worse, back.better) == (-found.drop, found.better, found.worse)
    still = judge(Paired(parent, parent), class_ids, LABELS)
    assert (still.refused, still.drop, still.p) == (False, 0.0, 1.0)
    assert sum(row.images for row in found.classes) == found.images
    assert sum(row.before - row.after for row in found.classes) == found.worse - found.better


@given(st.integers(0, 80), st.integers(1, 500))
def test_the_detectable_drop_is_the_least_that_is_significant(changed, images):
    significant = [
        (2 * worse - changed) / images for worse in range(changed + 1) if mcnemar(worse, changed - worse) < 0.05
    ]
    assert detectable_drop(changed, images) == min(significant, default=None)


def test_a_verdict_is_frozen_and_of_plain_values():
    found = judged(paired(100, worse=4), classes=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.refused = True  # type: ignore[misc]
    assert {type(value) for value in dataclasses.astuple(found.classes[0])} == {int, str, float, bool}
    assert (type(found.refused), type(found.drop), type(found.detectable)) == (bool, float, type(None))


def test_reading_a_verdict_needs_no_numpy():
    code = "import sys, promptctl.context.guard; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_thousand_images_are_judged_in_no_time():
    pairs = paired(100_000, worse=2000, better=1900)
    assert judged(pairs, classes=20).refused is False


# ------------------------------------------------------------- honest updates and bad ones

# points that an update gains on the old classes, share of changed answers (docs: both measured on Caltech-101)
HONEST = [(gain, changed) for gain in (0.007, 0.02, 0.045) for changed in (0.02, 0.045, 0.06)]
BAD = [(-gain, max(changed, gain)) for gain in (0.12, 0.19, 0.27) for changed in (0.14, 0.2)]


def refused(kind, images: int, times: int, seed: int) -> float:
    """The share of simulated updates that the guard refuses: 20 classes, each image changes by itself."""
    chance, count = np.random.default_rng(seed), 0
    for turn in range(times):
        gain, changed = kind[turn % len(kind)]
        changed = max(changed, abs(gain))
        draw = chance.random(images)
        worse, better = draw < (changed - gain) / 2, draw > 1 - (changed + gain) / 2
        rest = chance.random(images) < 0.8
        pairs = Paired(worse | (rest & ~better), better | (rest & ~worse))
        count += judge(pairs, chance.integers(0, 20, images), LABELS).refused
    return count / times


@pytest.mark.parametrize("images", [40, 100, 300])
def test_honest_updates_pass(images):
    assert refused(HONEST, images, times=72, seed=images) == 0


@pytest.mark.parametrize(("images", "caught"), [(40, 0.6), (100, 0.95), (300, 1.0)])
def test_bad_updates_are_caught(images, caught):
    assert refused(BAD, images, times=72, seed=images) >= caught


def test_a_bare_threshold_would_refuse_honest_updates(monkeypatch):
    """Why there is a test at all."""
    monkeypatch.setattr(guard, "ALPHA", 1.1)
    assert refused(HONEST, 40, times=72, seed=0) > 0.05


# ------------------------------------------------------------- probabilities beside the answers


def swapped(steps) -> tuple[float, float]:
    """Every way to swap the two versions, one after another: the share that loses as much in the mean, and by class."""
    ways = np.array(list(itertools.product((1, -1), repeat=len(steps)))) * steps
    halves = ways[:, ::2], ways[:, 1::2]  # two classes, one image after another
    by_class = sum(np.maximum(0, half.sum(1)) for half in halves)
    return float((ways.sum(1) >= ways[0].sum()).mean()), float((by_class >= by_class[0]).mean())


@given(st.lists(st.integers(-200, 200), min_size=1, max_size=11), st.sampled_from([0.0, 0.02, 0.1]))
def test_graded_tests_are_exact(half_points, allowed):
    lost = np.array(half_points) / 200
    mean, by_class = swapped(np.array(half_points) - round(200 * allowed))
    assert graded.p_of_more_than(allowed, lost) == pytest.approx(mean, abs=1e-9)
    assert graded.p_of_classes_losing(allowed, lost, np.arange(len(lost)) % 2) == pytest.approx(by_class, abs=1e-9)


def test_of_answers_alone_the_graded_test_is_mcnemars():
    for worse, better in [(8, 2), (20, 1), (5, 5), (0, 3), (130, 90)]:
        pairs = paired(300, worse=worse, better=better)
        lost = pairs.parent.astype(float) - pairs.candidate
        assert graded.p_of_more_than(0.0, lost) == pytest.approx(mcnemar(worse, better), abs=1e-12)
    assert graded.p_of_more_than(0.02, np.zeros(0)) == graded.p_of_classes_losing(0.02, np.zeros(0), np.zeros(0)) == 1


def test_a_surer_version_is_not_a_better_one():
    chance = np.random.default_rng(0)
    logits, targets = chance.normal(size=(200, 5)), chance.integers(0, 5, 200)
    logits[np.arange(200), targets] += 1.5
    found = []
    for sharper in (0.5, 1, 2):
        weights = np.exp(sharper * logits)
        found.append(graded.right_probability(weights / weights.sum(1, keepdims=True), targets))
    assert np.ptp([one.mean() for one in found]) < 0.005
    assert np.isfinite(graded.right_probability(np.eye(5)[targets], (targets + 1) % 5)).all(), "certain and wrong"


def with_losses(images: int, *, worse: int, better: int, lost: float) -> Paired:
    """All right classes lose as much, give or take a tenth."""
    pairs = paired(images, worse=worse, better=better)
    return Paired(pairs.parent, pairs.candidate, lost + 0.1 * np.resize([-1, 1], images))


def test_a_drop_of_few_answers_is_refused_where_all_images_say_so():
    found = judged(with_losses(100, worse=8, better=4, lost=0.08))
    assert found.refused and found.p > 0.05 and found.p_graded < 0.001
    assert found.reasons[0] == (
        "it recognises 4.0 points fewer of 100 images of the known classes (8 worse, 4 better, p 0.19), and the right"
        " class is 8.0 points less probable in the mean, more than 2.0 points and more than chance (p below 0.0001)"
    )
    assert judged(with_losses(100, worse=8, better=4, lost=0.02)).refused is False, "no more than may be forgotten"
    assert judged(with_losses(100, worse=4, better=4, lost=0.08)).refused is False, "no fewer are recognised"
    assert judged(with_losses(100, worse=8, better=4, lost=0.08), max_forgetting=0.08).refused is False


def test_answers_that_changed_by_a_hair_are_answers_that_changed():
    assert judged(with_losses(100, worse=12, better=0, lost=0.0)).refused is True
    assert judged(with_losses(100, worse=8, better=1, lost=0.0)).refused is False, "p 0.02, and nothing else says so"
    assert judged(paired(100, worse=8, better=1)).refused is True, "where nothing else can"


def classes_fall(losing: int, of: int, classes: int = 20) -> tuple[Paired, np.ndarray]:
    """Five images of each class; some classes lose of theirs, and what they lose the others gain."""
    ids = np.repeat(np.arange(classes), 5)
    worse = (ids < losing) & (np.arange(len(ids)) % 5 < of)
    better = np.arange(len(ids)) >= len(ids) - worse.sum()
    return Paired(~better, ~worse, np.where(worse, 0.6, np.where(better, -0.6, 0.0))), ids


def test_classes_that_lose_together_are_refused_though_the_others_gain():
    pairs, ids = classes_fall(7, of=4)
    found = judge(pairs, ids, LABELS)
    assert (found.drop, [row.dropped for row in found.classes]) == (0, [False] * 20)
    assert found.refused
    assert found.reasons == (
        "it recognises 7 of 35 images of classes that fell, 35 before, more than 5.0 points and more than chance"
        f" (p {guard._chance(graded.p_of_classes_losing(0.05, pairs.lost, ids))}): 'class 0' (1 of 5, 5 before),"
        " 'class 1' (1 of 5, 5 before), 'class 2' (1 of 5, 5 before), 'class 3' (1 of 5, 5 before),"
        " 'class 4' (1 of 5, 5 before), 2 more",
    )
    few = judge(*classes_fall(3, of=1), LABELS)
    assert (few.refused, few.reasons) == (False, ()), "which is what chance does"
    assert judge(pairs, ids, LABELS, max_forgetting=0.5).refused is False


def test_probabilities_alone_refuse_nothing():
    pairs, ids = classes_fall(7, of=4)
    same = Paired(pairs.parent, pairs.parent, pairs.lost)
    assert judge(same, ids, LABELS).reasons == ()


@given(bools, ids, st.integers(0, 9))
def test_graded_verdicts_depend_on_no_order(parent, class_ids, seed):
    lost = np.random.default_rng(seed).normal(0.1, 0.3, len(parent)).clip(-1, 1)
    pairs = Paired(parent, parent & (lost < 0.3), lost)
    order = np.random.default_rng(seed).permutation(len(parent))
    found, again = judge(pairs, class_ids, LABELS), judge(pairs.of(order), class_ids[order], LABELS)
    assert (again.refused, again.classes, len(again.reasons)) == (found.refused, found.classes, len(found.reasons))
    assert again.p_graded == pytest.approx(found.p_graded, abs=1e-9)
    assert judge(Paired(parent, parent, np.zeros(len(parent))), class_ids, LABELS).reasons == ()


def test_thousands_of_images_are_graded_in_a_moment():
    lost = np.random.default_rng(0).normal(0, 0.2, 5000).clip(-1, 1)
    assert 0 < graded.p_of_more_than(0.0, lost) < 1
    assert 0 < graded.p_of_classes_losing(0.05, lost, np.arange(5000) % 100) <= 1
