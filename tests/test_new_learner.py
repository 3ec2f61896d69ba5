"""A new learner is one file and one entry of the table: this file is one, and the entry is `TOY`."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys

import numpy as np
import pytest

from promptctl import commands
from promptctl.benchmark import variants
from promptctl.context.context import Context
from promptctl.errors import CorruptContext
from promptctl.learners import LEARNERS, Learner
from promptctl.learners.fitting import without_context
from promptctl.learners.settings import LearnSettings
from promptctl.store.refs import Ref
from promptctl.store.store import Store

TOY = Learner(__name__, "averages the shots of a class", heeds=())


@dataclasses.dataclass(frozen=True)
class Settings:
    """Nothing but the seed."""

    seed: int = 1


def fit(training_set, settings, on_progress=None):
    texts = means(training_set.shots.vectors, training_set.targets, len(training_set.names))
    return without_context("toy", training_set, texts, epochs=0, lr=0.0, seed=settings.seed)


def refit(method, features, targets, *, classes, zero_shot_features, tower, logit_scale):
    return means(features, targets, len(classes))


def effort(settings, shots):
    return 1.0


def means(rows, targets, classes):
    """(C, E) unit rows"""
    sums = np.stack([rows[targets == c].sum(0) for c in range(classes)])
    return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True), np.float32)


def read_anew() -> list[str]:
    """Modules that say which learners there are."""
    return [name for name in sys.modules if name.startswith("promptctl.cli.") or name == "manual"]


@pytest.fixture
def toy(monkeypatch):
    """The table with one entry more, and the modules that read it as they are imported read anew."""
    before = {name: sys.modules.pop(name) for name in read_anew()}
    monkeypatch.setitem(LEARNERS, "toy", TOY)
    yield
    for name in read_anew():
        del sys.modules[name]
    for name, module in before.items():
        sys.modules[name] = module
        home, _, own = name.rpartition(".")
        if home:
            setattr(sys.modules[home], own, module)


def words(text):
    return " ".join(text.split())


def test_a_new_learner_learns_is_stored_evaluated_and_shown(toy, cli, photos, tiny):
    learned = cli("learn", photos, "--name", "c", "--model", tiny, "--shots", 3, "--learner", "toy")
    assert learned.code == 0, learned.err
    kept = Context.load(Store().find(Ref("c")).path)
    assert (kept.card.method.learner, kept.card.method.recipe, kept.vectors.shape) == ("toy", "toy", (0, 32))
    shots = kept.shots.features.astype(np.float32)
    np.testing.assert_allclose(kept.text_features, means(shots, kept.shots.class_ids, 3), atol=1e-3)
    assert json.loads(cli("evaluate", "c", photos, "--json").out)["learned"]["top1"] == 1
    assert 0 <= json.loads(cli("evaluate", "c", photos, "--blend", "auto", "--json").out)["blend"] <= 1
    assert "learned:   toy, " in cli("show", "c").out
    assert cli("classify", photos, "--prompt", "c").code == 0
    assert cli("check").code == 0


def test_a_new_learner_is_compared(toy, cli, photos, tiny):
    asked = ("compare", photos, "--model", tiny, "--shots", "1,2", "--seeds", 1, "--learners")
    done = cli(*asked, "zero-shot,toy", "--json")
    assert done.code == 0, done.err
    accuracy = {(row["learner"], row["shots"]): row["mean"] for row in json.loads(done.out)["learners"]}
    assert accuracy["toy", 2] == 1 > accuracy["zero-shot", 2]
    assert not variants.generalises_to_new_classes("toy")
    refused = cli(*asked, "toy", "--epochs", 3)
    assert refused.err.splitlines() == [
        "error: --epochs has no effect on toy",
        "hint:  leave out --epochs, or add auto, clap, coop or prolip to --learners",
    ]


def test_help_and_the_page_of_commands_name_a_new_learner(toy, cli):
    assert "|".join(LEARNERS) in cli("learn", "--help").out
    assert "toy averages the shots of a class." in words(cli("learn", "--help").out)
    assert ", toy." in words(cli("compare", "--help").out)
    page = importlib.import_module("manual").cli_page()
    known = r"\|".join(LEARNERS)
    assert rf"| `--learner {known}` | coop learns a context; " in page
    assert "coop-blend, auto, clap" in page and ", toy." in page


def test_a_new_learner_refuses_the_settings_it_does_not_heed(toy, cli, photos, tiny):
    done = cli("learn", photos, "--name", "c", "--model", tiny, "--learner", "toy", "--epochs", 3)
    assert done.err.splitlines() == [
        "error: toy averages the shots of a class, so --epochs has no effect",
        "hint:  leave out --epochs, or --learner coop, auto, clap or prolip",
    ]


def test_a_card_of_a_learner_that_is_not_in_the_table_is_refused_in_words(monkeypatch, photos, tiny):
    with monkeypatch.context() as patch:
        patch.setitem(LEARNERS, "toy", TOY)
        path = commands.learn(photos, "c", shots=2, model=tiny, learner="toy").path
        Context.load(path)
    with pytest.raises(CorruptContext) as refused:
        Context.load(path)
    known = ", ".join(LEARNERS)
    assert str(refused.value) == f"{path} is not an intact context: its learner is 'toy', which is none of {known}"


@pytest.mark.parametrize("name", LEARNERS)
def test_the_entry_of_a_learner_says_what_its_file_takes(name):
    code = LEARNERS[name].code
    taken = {field.name for field in dataclasses.fields(code.Settings)}
    of_others = {"views", "head"}  # of the shots, and of what stands beside what was learned
    of_others |= {"visual_tokens", "visual_depth"} - taken  # of visual.py
    assert taken - {"seed"} == set(LEARNERS[name].heeds) - of_others
    assert LEARNERS[name].recipes == tuple(getattr(code, "RECIPES", ()))
    known = {field.name for field in dataclasses.fields(LearnSettings)}
    for variant in LEARNERS[name].variants.values():
        assert set(variant.settings) <= set(LEARNERS[name].heeds) <= known
