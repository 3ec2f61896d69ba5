"""Learners that are linear in the features: beside their papers' equations, scikit-learn's and PyTorch's own."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.metrics import log_loss

from promptctl import commands
from promptctl.classification import blend
from promptctl.clip.backbone import Backbone
from promptctl.context import limits
from promptctl.context.card import ChoiceScore, Chosen, ClassEntry, HeadPart
from promptctl.context.context import Context
from promptctl.learners import auto, gda, head, proker, prolip, ridge
from promptctl.learners.parts import Choice, Lesson, Linear, Ways, combined
from promptctl.report.phrases import chosen_line
from promptctl.store.refs import Ref
from promptctl.store.store import Store

SCALE = 20.0
NO_FOLDS = "no class has two shots that differ, to choose by folds"
FAR = {"rtol": 1e-9, "atol": 1e-9}


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def lesson_of(*counts, width=12, noise=0.3, seed=0, dtype=np.float64):
    """Unit rows around a direction for each class, and text that lies beside these directions."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(counts), width))
    y = np.repeat(np.arange(len(counts)), counts)
    x = unit(centres[y] + noise * width**0.5 * rng.normal(size=(len(y), width)))
    texts = unit(centres + noise * width**0.5 * rng.normal(size=centres.shape))
    return Lesson(x.astype(dtype), y, texts.astype(dtype), np.arange(len(counts)), SCALE, 1)


def others(lesson, n=50, seed=9):
    return unit(np.random.default_rng(seed).normal(size=(n, lesson.features.shape[1])))


def centred(logits):
    """(N, C) less what is added to all classes of an image, which decides nothing."""
    return logits - logits.mean(1, keepdims=True)


# --------------------------------------------------------------------------- GDA


class Known(BaseEstimator):
    """A covariance that is there already."""

    def __init__(self, covariance_=None):
        self.covariance_ = covariance_

    def fit(self, x):
        return self


def pooled(lesson):
    """Around the class means, by numpy.cov of each class."""
    parts = [lesson.features[lesson.targets == c] for c in range(len(lesson.zero_shot_features))]
    scatter = sum(np.cov(part.T, bias=True) * len(part) for part in parts)
    return scatter / (len(lesson.features) - 1)


@pytest.mark.parametrize("counts", [(4, 4, 4), (30, 8, 9), (2, 2)])
def test_gda_is_the_discriminant_of_the_shrunk_covariance_added_to_zero_shot(counts):
    lesson = lesson_of(*counts)
    n, d = lesson.features.shape
    covariance = pooled(lesson)
    inverse = d * np.linalg.inv((n - 1) * covariance + np.trace(covariance) * np.eye(d))
    means = np.stack([lesson.features[lesson.targets == c].mean(0) for c in range(len(counts))])
    found = gda.gaussians(lesson)
    np.testing.assert_allclose(found.weight, means @ inverse, **FAR)
    np.testing.assert_allclose(found.bias, [-m @ inverse @ m / 2 for m in means], **FAR)
    alike = np.full(len(counts), 1 / len(counts))
    known = Known(np.linalg.inv(inverse))
    theirs = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=known, priors=alike)
    theirs.fit(lesson.features, lesson.targets)
    images = others(lesson)
    ours = combined({name: part(lesson) for name, part in gda.PARTS.items()}, gda.CHOICES[0.1].of(lesson.targets))
    of_theirs = images @ np.atleast_2d(theirs.coef_).T + theirs.intercept_
    if len(counts) == 2:  # of two classes it keeps the difference
        of_theirs = np.hstack([np.zeros_like(of_theirs), of_theirs])
    expected = SCALE * images @ lesson.zero_shot_features.T + 0.1 * of_theirs
    np.testing.assert_allclose(centred(ours.logits(images)), centred(expected), atol=1e-7)


@pytest.mark.parametrize("copies", [1, 3])
def test_gda_of_shots_that_are_their_own_means_compares_with_these(copies):
    lesson = lesson_of(1, 1, 1)
    again = np.repeat(np.arange(3), copies)
    found = gda.gaussians(dataclasses.replace(lesson, features=lesson.features[again], targets=again))
    np.testing.assert_allclose(found.weight, lesson.features, atol=1e-6)
    np.testing.assert_allclose(found.bias, [-0.5] * 3, atol=1e-6)


def test_gaussians_of_near_copies_fit_into_a_file_and_answer_alike():
    lesson = lesson_of(4, 4, 4, noise=1e-4)
    found = fitted(lesson, gda.WAYS)
    assert max(np.linalg.norm(SCALE * found.weight, axis=1).max(), np.abs(found.bias).max()) == pytest.approx(2500)
    images = others(lesson, 500)
    rows = combined({name: part(lesson) for name, part in gda.PARTS.items()}, found.parts)
    assert rows.largest > 1e5
    expected = rows.logits(images).argmax(1)
    assert ((SCALE * images @ found.weight.T + found.bias).argmax(1) == expected).mean() > 0.99


# --------------------------------------------------------------------------- ProKeR


@pytest.mark.parametrize("ridge", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("counts", [(3, 3, 3), (20, 7, 4)])  # fewer shots than the features are wide, and more
def test_proker_is_kernel_ridge_of_what_zero_shot_leaves_in_which_classes_weigh_alike(counts, ridge):
    lesson = lesson_of(*counts)
    x, y, texts = lesson.features, lesson.targets, lesson.zero_shot_features
    residual = np.eye(len(counts))[y] - x @ texts.T
    weights = len(y) / (len(counts) * np.bincount(y)[y])
    theirs = KernelRidge(alpha=ridge, kernel="linear").fit(x, residual, sample_weight=weights)
    images = others(lesson)
    # the equation's (K / l + I)^-1 is l times what scikit-learn inverts
    expected = 20 * (images @ texts.T + ridge * theirs.predict(images))
    np.testing.assert_allclose(proker.residual_ridge(lesson, ridge).logits(images), expected, **FAR)


@pytest.mark.parametrize("times", [2, 9])  # the latter leaves more shots than features
def test_proker_weighs_a_class_alike_however_often_its_shots_are_there(times):
    lesson = lesson_of(3, 3, 3)
    again = np.concatenate([np.flatnonzero(lesson.targets == 0).repeat(times), np.arange(3, 9).repeat(times)])
    more = np.concatenate([np.arange(3).repeat(times), np.arange(3, 9)])
    all_alike, one_larger = (
        proker.residual_ridge(dataclasses.replace(lesson, features=lesson.features[i], targets=lesson.targets[i]), r)
        # copies of all make the whole sum larger by so much, copies of one class the mean count
        for i, r in ((again, times), (more, (times + 2) / 3))
    )
    one = proker.residual_ridge(lesson, 1.0).weight - 20 * lesson.zero_shot_features
    for found, strength in ((all_alike, times), (one_larger, (times + 2) / 3)):
        np.testing.assert_allclose(
            (found.weight - 20 * lesson.zero_shot_features) / strength, one, rtol=1e-8, atol=1e-9
        )


# --------------------------------------------------------------------------- ridge, of older heads


@pytest.mark.parametrize("counts", [(3, 3, 3), (40, 7, 4), (1, 1)])
def test_the_part_of_older_heads_is_ridge_regression_in_which_classes_weigh_alike(counts):
    lesson = lesson_of(*counts)
    n = min(16, len(counts) / (1 / np.array(counts)).sum())
    theirs = Ridge(alpha=8 / (8 + n), fit_intercept=False)
    weights = len(lesson.targets) / (len(counts) * np.bincount(lesson.targets)[lesson.targets])
    theirs.fit(lesson.features, np.eye(len(counts))[lesson.targets], sample_weight=weights)
    np.testing.assert_allclose(ridge.regression(lesson).weight, theirs.coef_, **FAR)


# --------------------------------------------------------------------------- ProLIP


def loss_of(projection, lesson):
    """The equation, every class alike."""
    y = torch.from_numpy(lesson.targets)
    seen = torch.from_numpy(lesson.features) @ projection
    cosines = (seen / seen.norm(dim=1, keepdim=True)) @ torch.from_numpy(lesson.zero_shot_features).T
    log_p = (SCALE * cosines).log_softmax(1)[torch.arange(len(y)), y]
    by_class = [-log_p[y == c].mean() for c in range(len(lesson.zero_shot_features))]
    counts = np.bincount(lesson.targets)
    n = len(counts) / (1 / counts).sum()
    return sum(by_class) / len(by_class) + ((projection - torch.eye(len(projection))) ** 2).sum() / n**2


@pytest.mark.parametrize("counts", [(2, 2, 2), (6, 2, 3), (1, 1, 1)])
@pytest.mark.parametrize("steps", [1, 5])
def test_prolip_goes_the_way_of_pytorchs_adam_under_its_loss(counts, steps):
    lesson = lesson_of(*counts)
    theirs = torch.eye(12, dtype=torch.float64).requires_grad_()
    optimiser = torch.optim.Adam([theirs], lr=0.05, eps=1e-4)  # far enough for the penalty to count
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        loss_of(theirs, lesson).backward()
        optimiser.step()
        schedule.step()
    found = prolip.map_of(lesson, prolip.Settings(steps, 0.05))
    torch.testing.assert_close(found, theirs.detach(), rtol=1e-9, atol=1e-11)


def test_the_gradient_of_prolip_is_that_of_its_loss_by_small_differences():
    lesson = lesson_of(3, 2, 2)
    found = prolip.map_of(lesson, prolip.Settings(1, 1.0)).numpy() - np.eye(12)  # -g / (|g| + e) of Adam's first step
    gradient = -1e-4 * found / (1 - np.abs(found))
    for i, j in ((0, 0), (3, 7), (11, 2)):
        step = torch.zeros(12, 12, dtype=torch.float64)
        step[i, j] = 1e-5
        begin = torch.eye(12, dtype=torch.float64)
        difference = loss_of(begin + step, lesson) - loss_of(begin - step, lesson)
        assert gradient[i, j] == pytest.approx(float(difference) / 2e-5, rel=1e-4)


def test_the_linear_answer_of_prolip_is_that_of_the_projected_features():
    lesson = lesson_of(4, 4, 4, 4, dtype=np.float32)
    settings = prolip.Settings(20, 0.02)
    projection = prolip.map_of(lesson, settings).numpy()
    images = others(lesson, 500)
    seen = unit(images @ projection) @ lesson.zero_shot_features.T
    found = prolip.projected(lesson, settings).logits(images)
    assert (found.argmax(1) == seen.argmax(1)).all()
    assert (found.argmax(1) != (images @ lesson.zero_shot_features.T).argmax(1)).any()
    shots = lesson.features @ projection
    of_shots = SCALE * shots @ lesson.zero_shot_features.T / np.linalg.norm(shots, axis=1).mean()
    np.testing.assert_allclose(
        prolip.projected(lesson, settings).logits(lesson.features), of_shots, rtol=1e-4, atol=1e-4
    )


# --------------------------------------------------------------------------- choices


def means(lesson):
    return Linear.of(
        SCALE * np.stack([lesson.features[lesson.targets == c].mean(0) for c in np.unique(lesson.targets)])
    )


def disturbed(strength, seed=3):
    """The means with noise of its own for every class."""

    def part(lesson):
        found = means(lesson).weight
        noise = np.random.default_rng(seed).normal(size=(40, found.shape[1]))[lesson.classes]
        return Linear.of(found + strength * SCALE * noise)

    return part


def ways(strength, prefers="usual", seed=3):
    parts = {"usual": disturbed(strength, seed), "means": means}
    return Ways(parts, tuple(Choice(name, {name: 2.0}) for name in parts), prefers)


def fitted(lesson, some):
    shots = lesson.features.astype(np.float32), lesson.targets, lesson.zero_shot_features.astype(np.float32)
    return head.fit(*shots, logit_scale=SCALE, ways=some)


def out_of_fold(lesson, part):
    """(N, C) logits of a part, twice, from the other folds."""
    x, y = lesson.features.astype(np.float32), lesson.targets
    order = np.array(sorted(range(len(y)), key=lambda i: (y[i], x[i].tobytes())))
    x, y = x[order], y[order]
    fold_of = head.folds_of(y, np.arange(len(y)), 1)
    logits = np.empty((len(y), len(lesson.zero_shot_features)))
    for fold in np.unique(fold_of):
        apart = fold_of == fold
        rows = part(dataclasses.replace(lesson, features=x[~apart], targets=y[~apart])).weight
        logits[apart] = 2 * x[apart] @ rows.T
    return logits, y


def softmax(logits):
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def best_temperature(logits, y):
    """Whose log-loss is least, from 0.02 to 20."""
    labels = range(logits.shape[1])
    found = minimize_scalar(
        lambda log_t: log_loss(y, softmax(logits / np.exp(log_t)), labels=labels),
        bounds=(np.log(0.02), np.log(20)),
        method="bounded",
    )
    return np.exp(found.x)


@pytest.mark.parametrize("strength", [0.05, 0.4])
def test_folds_choose_what_is_clearly_better_and_keep_what_is_preferred_within_chance(strength):
    lesson = lesson_of(8, 8, 8, 8, noise=0.35)
    chosen = {}
    for seed in range(4):
        found = fitted(lesson, ways(strength, seed=seed))
        losses, right = [], []
        for part in (disturbed(strength, seed), means):
            logits, y = out_of_fold(lesson, part)
            right.append((logits.argmax(1) == y).sum())
            at = best_temperature(logits, y)
            losses.append(-np.log(softmax(logits / at)[np.arange(len(y)), y]))
        gain = losses[0] - losses[1]
        errors = gain.mean() / (gain.std() / len(gain) ** 0.5)
        assert found.choice == ("means" if errors > 1.5 and right[1] > right[0] else "usual"), errors
        assert set(found.parts) == {found.choice}
        chosen.setdefault(found.choice, []).append(errors)
    assert max(chosen["means"]) > 2
    assert strength > 0.1 or 0 < max(chosen["usual"]) < 1.5  # better, by as little as chance may give it


def test_what_is_preferred_stays_where_none_is_right_more_often():
    """However much less another's log-loss: where nearly all is right, that is luck."""
    lesson = lesson_of(8, 8, 8)
    found = fitted(lesson, ways(0.15, seed=6))
    losses, right = [], []
    for part in (disturbed(0.15, 6), means):
        logits, y = out_of_fold(lesson, part)
        right.append((logits.argmax(1) == y).sum())
        losses.append(head.log_losses(logits, y))
    gain = losses[0] - losses[1]
    assert right[0] == right[1]
    assert gain.mean() > 2 * gain.std() / len(gain) ** 0.5
    assert (found.choice, found.why) == ("usual", "none is right more often")


def test_scores_are_how_often_each_choice_was_right_out_of_fold():
    lesson = lesson_of(9, 6, 5, noise=0.4)
    found = fitted(lesson, ways(0.3))
    for name, part in (("usual", disturbed(0.3)), ("means", means)):
        logits, y = out_of_fold(lesson, part)
        right = logits.argmax(1) == y
        assert found.scores[name] == pytest.approx(np.mean([right[y == c].mean() for c in range(3)]))
    assert found.scores["usual"] != found.scores["means"]


def test_two_folds_leave_what_is_preferred_and_none_the_first():
    bad = ways(3.0)
    assert fitted(lesson_of(8, 8, 8), bad).choice == "means"
    assert fitted(lesson_of(2, 2, 2), bad).choice == "usual"
    of_one = fitted(lesson_of(1, 1, 1), bad)
    assert (of_one.choice, dict(of_one.scores), of_one.folds) == ("usual", {}, None)


def test_without_a_preference_the_least_log_loss_is_chosen():
    assert fitted(lesson_of(8, 8, 8, noise=0.35), ways(0.1, prefers=None)).choice == "means"


@pytest.mark.parametrize("sharp", [0.3, 4.0])
def test_log_losses_are_those_at_the_best_temperature_of_a_fine_grid(sharp):
    rng = np.random.default_rng(0)
    y = rng.integers(5, size=80)
    logits = sharp * (rng.normal(size=(80, 5)) + np.eye(5)[y])
    logits[:20, 4] = -np.inf  # of a class that a fold had no shots of
    y[:10] = 4  # these say nothing
    y[10:20] %= 4
    found = head.log_losses(logits, y)
    assert len(found) == 70
    finite, y = np.where(np.isfinite(logits), logits, -1e9)[10:], y[10:]
    least = log_loss(y, softmax(finite / best_temperature(finite, y)), labels=range(5))
    assert least - 1e-9 <= found.mean() <= 1.002 * least


# --------------------------------------------------------------------------- as contexts


@pytest.mark.parametrize(
    ("counts", "why"), [((4, 4), None), ((2, 2), "too few folds to choose by"), ((1, 1), NO_FOLDS)]
)
def test_it_is_said_which_folds_chose_or_why_none_did(counts, why):
    found = fitted(lesson_of(*counts), ways(0.0))
    assert found.by == ("" if why is NO_FOLDS else f"{counts[0]} folds of {sum(counts)} shots")
    assert found.why == (why or "none is right more often")


def test_what_answers_in_place_of_a_choice_is_no_part_of_it():
    scores = (ChoiceScore("mean", 0.0), ChoiceScore("clap", 0.5))
    chosen = Chosen("mean", "3 folds of 9 shots", "none is better", scores)
    found = "3 folds of 9 shots give it 0.0 %, clap 50.0 %; none is better"
    assert chosen_line(chosen, ["zero-shot"]) == f"the mean: {found}"
    assert chosen_line(chosen, ["clap", "gda", "zero-shot", "parent"]) == f"the mean of clap and gda: {found}"


@pytest.mark.parametrize("learner", ["auto", "gda", "proker"])  # prolip is in the tower: tests/test_projection.py
def test_a_learner_by_head_learns_is_shown_measured_blended_and_learns_more(cli, photos, tiny, learner):
    facts = ("--model", tiny, "--learner", learner, "--shots", 3, "--json")
    epochs = ("--epochs", 5) if learner == "auto" else ()
    learned = cli("learn", photos, "--name", "c", *facts, *epochs)
    assert learned.code == 0, learned.err
    report = json.loads(learned.out)
    first = Context.load(Store().find(Ref("c")).path)
    assert (first.card.method.learner, first.head is not None) == (learner, True)
    assert report["chosen"] is not None and first.card.chosen is not None
    assert "chosen: " in cli("show", "c").out
    measured = json.loads(cli("evaluate", "c", photos, "--blend", "auto", "--json").out)
    assert (measured["without_head"] is not None) == (learner == "auto")
    assert 0 <= measured["blend"] <= 1
    assert cli("class", "add", "c", "teal").code == 0
    grown = Context.load(Store().find(Ref("c")).path)
    assert (grown.card.method.learner, len(grown.head.bias)) == (learner, 4)
    np.testing.assert_array_equal(grown.head.weight[-1], grown.zero_shot_features[-1])
    assert cli("check").code == 0


def test_a_choice_that_no_folds_could_give_is_refused(photos, tiny):
    card = Context.load(commands.learn(photos, "c", shots=3, model=tiny, learner="gda").path).card
    assert limits.fault_of(card) is None
    score = card.chosen.scores[0]
    too_good = dataclasses.replace(score, accuracy=2.0)
    for chosen, fault in (
        (
            dataclasses.replace(card.chosen, scores=(too_good,)),
            "accuracy of a choice is 2",
        ),
        (dataclasses.replace(card.chosen, scores=(score,) * 65), "its count of choices is 65"),
        (dataclasses.replace(card.chosen, why="\0"), "chose among is called"),
    ):
        assert fault in limits.fault_of(dataclasses.replace(card, chosen=chosen))


def test_a_blend_learns_the_parts_of_the_head_that_answers_once_more(photos, tiny):
    context = Context.load(commands.learn(photos, "c", shots=4, model=tiny, learner="auto", epochs=5).path)
    parts = (HeadPart("coop", 0.5), HeadPart("gda", 0.25), HeadPart("zero-shot", 0.5))
    card = dataclasses.replace(context.card, head=parts)
    features, rows = context.learned_from()
    x = blend.as_kept(features)
    found = auto.as_before(card, lambda: Backbone(tiny).tower, x, rows)
    assert found.choices[0].of(rows) == {"coop": 1.0, "gda": 0.5}
    lesson = Lesson(x, rows, context.zero_shot_features, np.arange(3), card.logit_scale, 1)
    np.testing.assert_allclose(found.parts["gda"](lesson).weight, gda.gaussians(lesson).weight)
    again = found.parts["coop"](lesson).weight / card.logit_scale  # learned anew, and so not the context's own
    np.testing.assert_allclose(np.linalg.norm(again, axis=1), 1, atol=1e-5)
    assert not np.allclose(again, context.text_features, atol=1e-4)
    assert auto.as_before(dataclasses.replace(card, head=parts[2:]), None, x, rows) is None


def test_a_blend_of_a_head_of_other_parts_learns_these_once_more(photos, tiny):
    """Of 0.3.0 and 0.4.0; the parts of today are asked for by what few shots there are."""
    context = Context.load(commands.learn(photos, "c", shots=4, model=tiny, epochs=5).path)
    features, rows = context.learned_from()
    x = blend.as_kept(features)
    assert [part.kind for part in context.card.head] == ["clap", "proker(1)", "gda-relative"]
    assert auto.as_before(context.card, None, x, rows) is None
    older = dataclasses.replace(context.card, head=(HeadPart("clap", 1.0), HeadPart("ridge", 6.0)))
    found = auto.as_before(older, None, x, rows)
    assert found.choices[0].of(rows) == {"clap": 1.0, "ridge": 6.0}
    lesson = Lesson(x, rows, context.zero_shot_features, np.arange(3), older.logit_scale, 1)
    np.testing.assert_allclose(found.parts["ridge"](lesson).weight, ridge.regression(lesson).weight)
    named = dataclasses.replace(older, classes=(*older.classes, ClassEntry(9, "teal", "teal")))
    assert auto.as_before(named, None, x, rows) is None, "of every context with a class without photos"


def test_auto_says_how_far_its_folds_are(photos, tiny):
    told = []
    settings = {"learner": "auto", "epochs": 20}
    commands.learn(photos, "c", shots=3, model=tiny, on_progress=lambda *one: told.append(one), **settings)
    steps = [(done, total) for stage, done, total in told if stage == "choosing"]
    assert steps == [
        (done, 60) for done in range(1, 61)
    ]  # a third of the epochs, twenty at least, in each of three folds
