"""The head of the shots: beside written-out formulas and scikit-learn, folds, offset, and when it stays zero-shot."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedKFold

from promptctl.data.groups import first_places
from promptctl.learners import clap, head, proker

SCALE = 20.0


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def shots(*counts, noise=0.2, text_noise=0.2, seed=0, width=24):
    """Unit rows around a direction for each class, their classes, and what text says of the classes."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(counts), width))
    y = np.repeat(np.arange(len(counts)), counts)
    x = centres[y] + noise * width**0.5 * rng.normal(size=(len(y), width))
    return unit(x), y, unit(centres + text_noise * width**0.5 * rng.normal(size=centres.shape))


def fitted(x, y, z, **options):
    return head.fit(x, y, z, logit_scale=SCALE, **options)


def logits(found, x):
    return SCALE * x @ found.weight.T + found.bias


def by_hand(x, y, z, epochs=300, *, complete=True):
    """(C', E + 1) rows and bias of the classes there are: (CLAP + 2 ProKeR + (n / 16)^2 GDA) / 3.

    n is the harmonic mean of the shots of each class. Where some class has none it is CLAP and a ridge regression,
    which counts five times, ten at sixteen shots, and is held as to a third as much there.
    """
    classes, y = np.unique(y, return_inverse=True)
    z = z[classes]
    settings = clap.Settings(epochs=epochs, seed=1)
    rows = clap.learn(x, y, z, logit_scale=SCALE, settings=settings, balanced=True).text_features
    counts = np.bincount(y)
    per_class = min(16, len(counts) / (1 / counts).sum())
    x, z = x.astype(float), z.astype(float)
    if not complete:
        regression = Ridge(alpha=8 / (8 + per_class), fit_intercept=False)
        regression.fit(x, np.eye(len(z))[y], sample_weight=len(y) / (len(z) * counts[y]))
        return with_bias(SCALE * rows + 5 * (16 + per_class) / 16 * regression.coef_, 0)
    of_gda = (per_class / 16) ** 2
    return (SCALE * with_bias(rows, 0) + 2 * kernel_ridge(x, y, z) + of_gda * gaussians(x, y)) / 3


def kernel_ridge(x, y, z):
    """Of what zero-shot leaves unsaid, by scikit-learn, in which classes weigh alike; times 20."""
    weights = len(y) / (len(z) * np.bincount(y)[y])
    residual = np.eye(len(z))[y] - x @ z.T
    theirs = KernelRidge(alpha=1, kernel="linear").fit(x, residual, sample_weight=weights)
    return 20 * with_bias(z + theirs.dual_coef_.T @ x, 0)


def gaussians(x, y):
    """GDA with its shrunk covariance in units of its trace; nothing where there is none."""
    n, d = x.shape
    means = np.stack([x[y == c].mean(0) for c in np.unique(y)])
    covariance = (x - means[y]).T @ (x - means[y]) / max(n - 1, 1)
    trace = np.trace(covariance)
    if trace < 1e-9:
        return np.zeros((len(means), d + 1))
    rows = means @ (trace * d * np.linalg.inv((n - 1) * covariance + trace * np.eye(d)))
    return with_bias(rows, [-mean @ row / 2 for mean, row in zip(means, rows, strict=True)])


def with_bias(rows, bias):
    return np.c_[rows, np.zeros(len(rows)) + bias]


def answers(known, x):
    """(N, C') logits"""
    return with_bias(x, 1) @ known.T


def own(found):
    return with_bias(SCALE * found.weight, found.bias)


@pytest.mark.parametrize("counts", [(4, 4, 4), (30, 8, 9), (1, 1, 1), (30, 30, 30)])
def test_a_head_is_clap_proker_and_gda(counts):
    x, y, z = shots(*counts)
    found = fitted(x, y, z)
    assert (found.weight.dtype, found.bias.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(own(found), by_hand(x, y, z), atol=2e-3)
    assert found.bias.any() == (max(counts) > 1)
    assert np.abs(SCALE * (found.weight - z)).max() > 1


@pytest.mark.parametrize(
    ("counts", "of_gda"),
    [
        ((1, 1, 1), 1 / 768),
        ((4, 4), 1 / 48),
        ((16, 16), 1 / 3),
        ((64, 64), 1 / 3),  # as at sixteen, the most it was measured at
        ((20, 20, 2), 25 / 768),  # as at five: a class of two is known no better for its neighbours
    ],
)
def test_gaussians_count_for_more_the_more_shots_each_class_has(counts, of_gda):
    x, y, z = shots(*counts)
    assert fitted(x, y, z).parts == pytest.approx({"clap": 1 / 3, "proker(1)": 2 / 3, "gda-relative": of_gda})


@pytest.mark.parametrize(("counts", "gain"), [((1, 1, 0), 5.3125), ((16, 0, 16), 10), ((20, 20, 2, 0), 6.5625)])
def test_a_class_without_shots_leaves_gaussians_and_proker_out(counts, gain):
    assert fitted(*shots(*counts)).parts == pytest.approx({"clap": 1, "ridge": gain})


@pytest.mark.parametrize("apart", [0, 1e-7, 1e-3])
def test_shots_that_are_nearly_copies_of_one_another_leave_the_head_of_its_size(apart):
    """A covariance of next to nothing has an inverse of any size, which would drown the other parts."""
    x, y, z = shots(1, 1, 1)
    again = np.repeat(np.arange(3), 16)
    near = unit(x[again] + apart * np.random.default_rng(1).normal(size=(48, 24)))
    found = fitted(near, again, z)
    others = unit(np.random.default_rng(2).normal(size=(200, 24)))
    largest = np.ptp(logits(found, others), axis=1).mean()
    assert 1 < largest < 4 * SCALE, largest
    assert (logits(found, x).argmax(1) == y).all()


@pytest.mark.parametrize("counts", [(20, 4, 2), (4, 2, 1)])
def test_a_class_of_few_photos_is_helped(counts):
    """As far as it has fewer than the largest, and than eight: by three quarters of what learning raises scores by."""
    x, y, z = shots(*counts)
    found = fitted(x, y, z)
    wanted = by_hand(x, y, z)
    np.testing.assert_allclose(SCALE * found.weight, wanted[:, :-1], atol=2e-3)
    offset = found.offset
    assert abs(offset) > 0.1
    lacks = [1 - min(1, count / min(8, counts[0])) for count in counts]
    np.testing.assert_allclose(found.bias - wanted[:, -1], 0.75 * offset * np.array(lacks), atol=2e-3)


def test_two_photos_beside_twenty_are_recognised():
    wins = []
    for seed in range(6):
        x, y, z = shots(60, 60, 60, noise=0.6, text_noise=0.1, seed=seed)
        few = np.concatenate([np.arange(20), 60 + np.arange(20), 120 + np.arange(2)])
        fresh = np.setdiff1d(np.arange(180), few)
        wins.append(
            [
                np.mean([(of[fresh][y[fresh] == c].argmax(1) == c).mean() for c in range(3)])
                for of in (logits(fitted(x[few], y[few], z), x), answers(by_hand(x[few], y[few], z), x))
            ]
        )
    helped, without = np.mean(wins, 0)
    assert helped > without + 0.01


def test_a_large_class_does_not_drown_small_ones():
    x, y, z = shots(103, 103, 103, noise=0.5, text_noise=0.8, seed=4)
    some = np.concatenate([np.arange(60), 103 + np.arange(3), 206 + np.arange(3)])
    found = fitted(x[some], y[some], z)
    settings = clap.Settings(seed=1)
    rows = SCALE * clap.learn(x[some], y[some], z, logit_scale=SCALE, settings=settings).text_features
    unweighted = rows + 5 * Ridge(alpha=1.0, fit_intercept=False).fit(x[some], np.eye(3)[y[some]]).coef_
    fresh = np.setdiff1d(np.flatnonzero(y > 0), some)
    right = [(answer[fresh].argmax(1) == y[fresh]).mean() for answer in (logits(found, x), x @ unweighted.T)]
    assert right[0] > right[1] + 0.05
    assert right[0] > ((x @ z.T).argmax(1) == y)[fresh].mean()


@pytest.mark.parametrize("counts", [(4, 4, 4, 4), (7, 3, 1, 0), (1, 1, 1, 1)])
def test_the_order_of_the_images_changes_no_byte(counts):
    x, y, z = shots(*counts)
    pairs, places = np.arange(len(y)) // 2, np.arange(len(y))
    again = np.random.default_rng(5).permutation(len(y))
    # groups are called by the place of their first image, so that in another order they are called otherwise
    for own, theirs in ((None, None), (pairs, pairs[again]), (places, places), (pairs, first_places(pairs[again]))):
        one = fitted(x, y, z, groups=own)
        other = fitted(x[again], y[again], z, groups=theirs)
        assert other.weight.tobytes() == one.weight.tobytes()
        assert other.bias.tobytes() == one.bias.tobytes()
        assert (other.offset, other.share, other.folds) == (one.offset, one.share, one.folds)
        assert other.predicted.tolist() == one.predicted[again].tolist()


def test_a_head_of_zeros_alone_is_one():
    z = unit(np.eye(3))
    found = fitted(-z[:1], np.zeros(1, np.int64), z, ways=proker.WAYS)  # the regression takes all of zero-shot away
    assert not found.weight[0].any() and found.bias[0] < 0


def test_a_seed_divides_the_images_otherwise():
    _, y, _ = shots(10, 10)
    one, same, other = (head.folds_of(y, np.arange(20), seed) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist() != other.tolist()


def test_classes_without_shots_keep_their_text_and_the_others_make_room():
    x, y, z = shots(4, 0, 4, 0, 4)
    found = fitted(x, y, z)
    shown = [0, 2, 4]
    np.testing.assert_array_equal(found.weight[[1, 3]], z[[1, 3]])
    assert found.bias[[1, 3]].tolist() == [0, 0]

    fold_of = folds_seen(x, y)
    raised = []
    for fold in range(4):
        inside = fold_of == fold
        learned = answers(by_hand(x[~inside], y[~inside], z, epochs=60, complete=False), x[inside])
        raised += [*(learned.max(1) - (SCALE * x[inside] @ z[shown].T).max(1))]
    assert len(raised) == 12
    offset = np.mean(raised)
    assert abs(offset) > 0.5
    np.testing.assert_allclose(found.bias[shown], -0.75 * offset, atol=2e-3)
    np.testing.assert_allclose(SCALE * found.weight[shown], by_hand(x, y, z, complete=False)[:, :-1], atol=2e-3)
    assert found.offset == pytest.approx(offset, abs=2e-3)


def folds_seen(x, y):
    """The folds of images, which `fit` makes of them in an order of its own."""
    order = np.array(sorted(range(len(y)), key=lambda i: (y[i], x[i].tobytes())))
    fold_of = np.empty(len(y), int)
    fold_of[order] = head.folds_of(y[order], np.arange(len(y)), 1)
    return fold_of


def test_single_shots_are_judged_by_the_rows_of_other_classes_for_the_offset():
    x, y, z = shots(*[1] * 7, 0)
    found = fitted(x, y, z)
    raised = []
    for c in range(7):
        others = np.flatnonzero(np.arange(7) % 5 != c % 5)
        learned = answers(by_hand(x[others], y[others], z, epochs=60, complete=False), x[[c]])
        raised.append(learned.max() - SCALE * (z[others] @ x[c]).max())
    np.testing.assert_allclose(found.bias, [*[-0.75 * np.mean(raised)] * 7, 0], atol=2e-3)
    assert found.folds is None
    assert found.predicted.tolist() == [-1] * 7


def test_the_offset_weighs_classes_alike():
    x, y, z = shots(9, 1, 0, noise=0.5)
    found = fitted(x, y, z, groups=y)  # a group for each class: no folds
    raised = []
    for c in range(2):
        learned = answers(by_hand(x[y != c], y[y != c], z, epochs=60, complete=False), x[y == c])[:, 0]
        raised.append(learned - SCALE * x[y == c] @ z[1 - c])
    assert found.offset == pytest.approx(np.mean([of_class.mean() for of_class in raised]), abs=2e-3)
    assert found.offset != pytest.approx(np.concatenate(raised).mean(), abs=0.05)


def test_a_class_by_name_alone_is_predictable():
    """In the mean of four draws, of which each has its luck."""
    every = []
    for seed in range(4):
        x, y, z = shots(40, 40, 40, 40, noise=0.5, text_noise=0.7, seed=seed)
        found = fitted(x[y < 3], y[y < 3], z)
        offset = found.offset * head.HELP * np.array([1, 1, 1, 0])
        made_room = logits(found, x)
        answers = {"without": made_room + offset, "all": made_room + offset - offset / head.HELP}
        answers |= {"offset": made_room, "text": x @ z.T}
        right = {name: of.argmax(1) == y for name, of in answers.items()}
        every.append({(name, new): of[(y == 3) == new].mean() for name, of in right.items() for new in (True, False)})
    mean = {key: np.mean([of[key] for of in every]) for key in every[0]}
    assert mean["without", True] < 0.8 * mean["text", True]
    assert mean["offset", True] >= 0.95 * mean["text", True]
    assert mean["offset", False] > mean["text", False] + 0.1
    assert mean["all", False] < mean["offset", False], "all of the rise would cost the others more"


def test_what_folds_say_is_counted_by_class():
    x, y, z = shots(10, 5, 2, 1, noise=0.4, text_noise=0.5)
    found = fitted(x, y, z)
    judged = found.predicted >= 0
    assert judged.tolist() == [True] * 17 + [False], "the only image of its class is always learned from"
    of_class = [(found.predicted == y)[y == c].mean() for c in range(3)]
    text = [((x @ z.T).argmax(1) == y)[y == c].mean() for c in range(3)]
    assert found.folds is not None
    assert (found.folds.n_folds, found.folds.n_images) == (5, 17)
    assert found.folds.accuracy == pytest.approx(np.mean(of_class))
    assert found.folds.zero_shot_accuracy == pytest.approx(np.mean(text))
    assert len(set(of_class)) > 1
    assert found.folds.accuracy != pytest.approx((found.predicted == y)[judged].mean())


def test_classes_that_folds_halve_do_not_take_the_head_away():
    """Two classes of 8 shots, four of 2: folds leave these one, find zero-shot better by it, and are wrong."""
    rng = np.random.default_rng(10)
    means, y = rng.normal(size=(6, 32)), np.repeat(np.arange(6), [8, 8, 2, 2, 2, 2])
    x, z = means[y] + 2 * rng.normal(size=(24, 32)), means + rng.normal(size=(6, 32))
    x, z = (np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32) for rows in (x, z))
    found = head.fit(x, y, z, logit_scale=20.0)
    assert found.folds is not None and found.folds.is_below_zero_shot
    assert found.share == 1.0
    true = np.repeat(np.arange(6), 50)
    unseen = means[true] + 2 * rng.normal(size=(300, 32))
    right = ((20 * unseen @ found.weight.T + found.bias).argmax(1) == true).mean()
    assert right > ((unseen @ z.T).argmax(1) == true).mean() + 0.05


def test_what_is_predicted_was_not_learned_from():
    """Labels at random: what has not seen an image is right by chance, what has seen it far more often."""
    x, y, z = shots(*[12] * 5)
    y = np.random.default_rng(1).permutation(y)
    found = fitted(x, y, z)
    assert (found.predicted == y).mean() < 0.4
    assert (answers(by_hand(x, y, z), x).argmax(1) == y).mean() > 0.6


@pytest.mark.parametrize("noise", [1.0, 0.75])
def test_it_is_mixed_with_zero_shot_where_folds_find_that_better(noise):
    """By the largest share that is not below it there, each image by the folds that it is not in."""
    x, y, z = shots(*[3] * 6, noise=noise, text_noise=0.0, seed=2)
    found = fitted(x, y, z)
    unseen = np.zeros((len(y), 6))
    fold_of = folds_seen(x, y)
    for fold in range(3):
        inside = fold_of == fold
        unseen[inside] = answers(by_hand(x[~inside], y[~inside], z, epochs=60), x[inside])
    by_words = SCALE * x @ z.T
    right = {
        share: int(((share * unseen + (1 - share) * by_words).argmax(1) == y).sum())
        for share in (1, 0.75, 0.5, 0.25, 0)
    }
    assert right[1] < right[0]
    share = next(share for share, count in right.items() if count >= right[0])
    assert found.share == share < 1
    assert found.folds is not None and found.folds.accuracy == pytest.approx(right[share] / 18)
    wanted = share * by_hand(x, y, z) + (1 - share) * SCALE * with_bias(z, 0)
    np.testing.assert_allclose(own(found), wanted, atol=2e-3)


def test_two_folds_do_not_decide():
    """A head of one shot a class says little about that of two: tests/benchmarks/two_folds.py."""
    x, y, z = shots(*[2] * 6, noise=0.9, text_noise=0.0)
    found = fitted(x, y, z)
    assert found.folds is not None
    assert found.folds.accuracy < found.folds.zero_shot_accuracy
    assert found.share == 1


def test_fractions_that_rounding_parts_are_the_same():
    assert not head.Folds(5, 10, 0.3, 0.1 + 0.2).is_below_zero_shot
    assert head.Folds(5, 10, 0.3, 0.4).is_below_zero_shot


def test_equally_good_is_good_enough():
    x, y, z = shots(2, 2, noise=0.01, text_noise=0.0)
    found = fitted(x, y, z)
    assert found.folds is not None
    assert found.folds.accuracy == found.folds.zero_shot_accuracy == 1
    assert found.share == 1


@pytest.mark.parametrize("counts", [(1,), (3,), (1, 0), (0, 2)])
def test_one_class_is_a_head_too(counts):
    x, y, z = shots(*counts)
    found = fitted(x, y, z)
    assert np.isfinite(found.weight).all()
    assert np.isfinite(found.bias).all()
    assert found.weight.shape == z.shape


@pytest.mark.parametrize("counts", [(16, 16, 16), (4, 4), (9, 8, 13), (20, 20, 6)])
def test_folds_are_stratified_like_those_of_scikit_learn(counts):
    y = np.repeat(np.arange(len(counts)), counts)
    n_folds = min(head.FOLDS, max(counts))

    def counted(fold_of):
        """How many folds have so many images of a class."""
        return [Counter((fold_of[y == c][:, None] == np.arange(n_folds)).sum(0).tolist()) for c in range(len(counts))]

    theirs = np.empty(len(y), int)
    for fold, (_, inside) in enumerate(StratifiedKFold(n_folds, shuffle=True, random_state=1).split(y, y)):
        theirs[inside] = fold
    ours = head.folds_of(y, np.arange(len(y)), 1)
    assert counted(ours) == counted(theirs)
    assert np.ptp(np.bincount(ours)) <= 2


def test_groups_never_lie_in_two_folds():
    rng = np.random.default_rng(2)
    y = np.repeat(np.arange(6), 15)
    groups = rng.integers(0, 35, len(y)) * 7 - 50  # of several classes, in no order, and negative too
    fold_of = head.folds_of(y, groups, 1)
    assert all(len(set(fold_of[groups == group])) == 1 for group in groups)
    sizes = np.bincount(fold_of[fold_of >= 0])
    assert len(sizes) == head.FOLDS
    assert np.ptp(sizes) <= 6


@pytest.mark.parametrize("seed", range(20))
def test_every_class_keeps_an_image_outside_every_fold(seed):
    rng = np.random.default_rng(seed)
    y = np.sort(rng.integers(0, 7, 25))
    groups = rng.integers(0, 12, 25)
    fold_of = head.folds_of(y, groups, seed)
    for fold in range(head.FOLDS):
        assert set(y[fold_of != fold]) == set(y)
    assert all(len(set(fold_of[groups == group])) == 1 for group in groups)


def test_one_burst_of_a_class_is_always_learned_from():
    y, groups = np.array([0, 0, 0, 1, 1, 1]), np.array([4, 4, 4, 5, 6, 7])
    fold_of = head.folds_of(y, groups, 1)
    assert fold_of[:3].tolist() == [-1] * 3
    assert sorted(fold_of[3:]) == [0, 1, 2]
