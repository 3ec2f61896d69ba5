"""Settings check themselves, whoever makes them: the command line, Python, or `replace`."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys

import numpy as np
import pytest

import promptctl
from promptctl import commands
from promptctl.errors import BadSetting, PromptctlError, SettingsClash
from promptctl.learners import LEARNERS
from promptctl.learners.settings import LearnSettings
from promptctl.store.refs import Ref
from promptctl.store.store import Store

KNOWN = ", ".join(LEARNERS)
WRONG = [
    ("learner", "clip", f"one of {KNOWN}", "coop"),
    ("learner", None, f"one of {KNOWN}", "coop"),
    ("context_tokens", 0, "a whole number from 1 to 1000000000", 16),
    ("context_tokens", "16", "a whole number from 1 to 1000000000", 16),
    ("init", 7, "text", "'a photo of a'"),
    ("init", "a\0b", "text in UTF-8 without a NUL", "'a photo of a'"),
    ("init", "\udce9", "text in UTF-8 without a NUL", "'a photo of a'"),
    ("class_specific", 1, "True or False", None),
    ("position", "left", "one of end, middle, front", "end"),
    ("position", ["end"], "one of end, middle, front", "end"),
    ("recipe", "quick", "one of fast, paper", "fast"),
    ("recipe", "clap", "one of fast, paper", "fast"),
    ("epochs", -1, "a whole number from 0 to 1000000000", 100),
    ("epochs", 1.5, "a whole number from 0 to 1000000000", 100),
    ("epochs", True, "a whole number from 0 to 1000000000", 100),
    ("epochs", 10**10, "a whole number from 0 to 1000000000", 100),
    ("lr", 0, "a number from 1e-09 to 1e+15", 0.002),
    ("lr", float("nan"), "a number from 1e-09 to 1e+15", 0.002),
    ("lr", float("inf"), "a number from 1e-09 to 1e+15", 0.002),
    ("lr", 10**400, "a number from 1e-09 to 1e+15", 0.002),
    ("lr", 1j, "a number from 1e-09 to 1e+15", 0.002),
    ("views", -1, "a whole number from 0 to 1000000000", 0),
    ("anchor", -1, "a number from 0 to 1e+15", 8),
    ("anchor", float("nan"), "a number from 0 to 1e+15", 8),
    ("anchor", None, "a number from 0 to 1e+15", 8),
    ("average", "yes", "True or False", None),
    ("head", 1, "True or False", None),
    ("visual_tokens", -1, "a whole number from 0 to 248", 4),
    ("visual_tokens", 249, "a whole number from 0 to 248", 4),
    ("visual_tokens", None, "a whole number from 0 to 248", 4),
    ("visual_depth", 0, "a whole number from 1 to 256", 9),
    ("visual_depth", True, "a whole number from 1 to 256", 9),
    ("seed", -1, "a whole number from 0 to 4294967295", 1),
    ("seed", 2**70, "a whole number from 0 to 4294967295", 1),
    ("seed", None, "a whole number from 0 to 4294967295", 1),
]


@pytest.mark.parametrize(("setting", "value", "expected", "example"), WRONG)
def test_a_setting_that_means_nothing_is_refused_where_it_is_made(setting, value, expected, example):
    with pytest.raises(BadSetting) as refused:
        LearnSettings(**{setting: value})
    assert str(refused.value) == f"{setting} is {value!r:.80}, {expected} was expected"
    option = "--" + setting.replace("_", "-")
    assert refused.value.hint == (option if example is None else f"{option} {example}")
    with pytest.raises(BadSetting):
        dataclasses.replace(LearnSettings(), **{setting: value})


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_setting_that_its_learner_does_not_heed_is_refused_where_it_is_made(learner):
    another = {"context_tokens": 4, "init": "a", "class_specific": True, "position": "front", "recipe": "paper"}
    another |= {"epochs": 3, "lr": 0.5, "views": 1, "anchor": 1.0, "average": True, "head": False}
    another |= {"visual_tokens": 4, "visual_depth": 2}
    assert {*another, "learner", "seed"} == {field.name for field in dataclasses.fields(LearnSettings)}
    for setting, value in another.items():
        if setting in LEARNERS[learner].heeds:
            beside = {"visual_tokens": 2} if setting == "visual_depth" else {}
            assert getattr(LearnSettings(learner=learner, **beside, **{setting: value}), setting) == value
        else:
            option = "--no-head" if setting == "head" else f"--{setting.replace('_', '-')}"
            with pytest.raises(SettingsClash, match=f"{option} has no effect"):
                LearnSettings(learner=learner, **{setting: value})


def test_numbers_of_numpy_are_numbers():
    settings = LearnSettings(epochs=np.int64(3), lr=np.float32(0.5), anchor=2, seed=np.uint8(7))
    assert settings == LearnSettings(epochs=3, lr=0.5, anchor=2.0, seed=7)
    assert [type(value) for value in (settings.epochs, settings.lr, settings.anchor)] == [int, float, float]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"shots": 0}, "shots is 0, a whole number from 1 to 1000000000 was expected"),
        ({"shots": "4"}, "shots is '4', a whole number from 1 to 1000000000 was expected"),
        ({"learner": "clip"}, f"learner is 'clip', one of {KNOWN} was expected"),
        ({"template": 5}, "template is 5, text was expected"),
        ({"device": "gpu"}, "device is 'gpu', one of auto, cpu, cuda, mps was expected"),
        ({"model": 5}, "model is 5, text was expected"),
        ({"default_model": None}, "default_model is None, text was expected"),
        ({"dry_run": 1}, "dry_run is 1, True or False was expected"),
        ({"into": 5}, "into is 5, text was expected"),
        ({"map": "a=b"}, "map is 'a=b', the class of each folder, in text, was expected"),
        ({"map": {"a": 1}}, "map is {'a': 1}, the class of each folder, in text, was expected"),
        ({"on_conflict": "ask"}, "on_conflict is 'ask', one of relabel, keep, error was expected"),
        ({"max_forgetting": 2}, "max_forgetting is 2, a number from 0 to 1 was expected"),
        ({"shots_kept": 0}, "shots_kept is 0, a whole number from 1 to 1000000000 was expected"),
        ({"name": 5}, "name is 5, text was expected"),
        ({"classes": 5}, "classes is 5, a path was expected"),
        ({"photos": 5}, "photos is 5, a path was expected"),
        ({"photos": b"photos"}, "photos is b'photos', a path was expected"),
    ],
)
def test_learn_refuses_what_it_cannot_take_before_anything_is_encoded(photos, tiny, home, arguments, sentence):
    with pytest.raises(BadSetting) as refused:
        commands.learn(**{"photos": photos, "name": "c", "model": tiny, **arguments})
    assert str(refused.value) == sentence
    assert not (home / "cache" / "features.sqlite").exists()
    assert not Store().names()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"shots": (1, 0)}, "shots is 0, a whole number from 1 to 1000000000 was expected"),
        ({"shots": 4}, "shots is 4, a sequence was expected"),
        ({"shots": ()}, "shots is (), one number or more was expected"),
        ({"seeds": (-1,)}, "seeds is -1, a whole number from 0 to 4294967295 was expected"),
        ({"seeds": (2**70,)}, f"seeds is {2**70}, a whole number from 0 to 4294967295 was expected"),
        ({"learners": "coop"}, "learners is 'coop', a sequence was expected"),
        ({"learners": [5]}, "no learner is called '5'"),
        ({"epochs": -1}, "epochs is -1, a whole number from 0 to 1000000000 was expected"),
        ({"plot": 5}, "plot is 5, a path was expected"),
    ],
)
def test_compare_refuses_what_it_cannot_take_before_anything_is_encoded(photos, tiny, home, arguments, sentence):
    with pytest.raises(PromptctlError) as refused:
        commands.compare(photos, **{"model": tiny, **arguments})
    assert str(refused.value) == sentence
    assert not (home / "cache" / "features.sqlite").exists()


@pytest.mark.parametrize("share", [2, -0.1, float("nan"), "half", True])
def test_a_share_that_is_none_is_refused_before_any_context_is_looked_for(photos, share):
    for use in (
        lambda: commands.evaluate("no", photos, blend=share),
        lambda: commands.classify([photos], "no", blend=share),
    ):
        with pytest.raises(BadSetting, match=re.escape(f"blend is {share!r}, a number from 0 to 1 was expected")):
            use()


def test_an_argument_that_is_no_setting_is_pythons_own_error(photos):
    with pytest.raises(
        TypeError, match="'epoch' is not an argument, and not one of the settings: learner, context_tokens"
    ):
        promptctl.learn(photos, "c", epoch=3)


def test_settings_are_given_whole_or_one_by_one(photos, tiny):
    settings = promptctl.LearnSettings(epochs=2, seed=5)
    for name, how in (
        ("a", {"settings": settings}),
        ("b", {"epochs": 2, "seed": 5}),
        ("c", {"settings": settings, "seed": 6}),
    ):
        promptctl.learn(str(photos), name, shots=2, model=tiny, **how)
    methods = [Store().find(Ref(name)).card.method for name in "abc"]
    assert methods[0] == methods[1] == dataclasses.replace(methods[2], seed=5)
    assert (methods[0].epochs, methods[2].seed) == (2, 6)


@pytest.mark.parametrize("wrong", [("--learner", "clip"), ("--recipe", "quick"), ("--recipe", "clap")])
def test_the_command_line_says_the_same_and_ends_as_for_any_wrong_option(cli, photos, wrong):
    done = cli("learn", photos, "--name", "c", *wrong)
    assert done.code == 2
    option, value = wrong
    known = KNOWN if option == "--learner" else "fast, paper"
    assert done.err.startswith(f"error: {option[2:]} is '{value}', one of {known} was expected\nhint:  {option} ")


def test_zero_shot_is_learned_in_no_steps(cli, photos, tiny):
    done = cli("learn", photos, "--name", "z", "--model", tiny, "--init", "a photo of a", "--epochs", 0, "--shots", 2)
    assert done.code == 0, done.err


@pytest.mark.parametrize("learner", ["coop", "clap"])
def test_no_more_crops_are_made_than_there_are_epochs_to_see_them_in(photos, tiny, learner):
    commands.learn(photos, "c", shots=1, model=tiny, learner=learner, epochs=2, views=5)
    assert Store().find(Ref("c")).card.method.views == 2


def test_the_tables_and_settings_import_nothing_heavy():
    code = (
        "import sys, promptctl.learners.settings, promptctl.benchmark.variants, promptctl.context.limits as l; "
        "promptctl.learners.settings.LearnSettings(learner='clap'); print(promptctl.benchmark.variants.names()); "
        "assert not {'numpy', 'torch', 'sklearn', 'open_clip'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
