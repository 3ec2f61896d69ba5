"""Variants: what `compare` can measure, by name: what is written by hand or probed, and every learner of the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from promptctl.errors import TokensClash
from promptctl.learners import LEARNERS, Learner, Variant
from promptctl.learners.settings import PLAIN, LearnSettings

BY_HAND = (
    "zero-shot",  # the template that was asked for
    "ensemble-7",  # CLIP's seven selected templates, and the set's own if another than the default is asked for
    "ensemble-80",  # all of CLIP's
)
PROBES = (
    "linear-probe",  # logistic regression on image features of unit length
    "linear-probe-raw",  # the paper's: on image features as they leave the tower
)
HEAD = "coop-head"  # what a context of `learn` answers with; settings of its learner change nothing about it


def names() -> tuple[str, ...]:
    """Everything that can be compared, in the order of the table."""
    return (*BY_HAND, *PROBES, HEAD, *_variants())


def learner_of(name: str) -> str | None:
    """The learner behind a name; None where nothing is learned by settings."""
    return _variants()[name][0] if name in _variants() else None


def variant_of(name: str) -> Variant:
    """How a name differs from its learner."""
    return _variants()[name][1]


def settings_of(name: str, settings: LearnSettings) -> LearnSettings:
    """As much of the settings as is heeded under a name, and what makes it differ from its learner."""
    learner = learner_of(name)
    if learner is None:
        return replace(PLAIN, seed=settings.seed)
    return settings.of(learner, variant_of(name).settings)


def check_heeded(settings: LearnSettings, names: Sequence[str]) -> None:
    """SettingUnheeded for a setting that has no effect on anything that is compared; TokensClash for visual tokens."""
    if settings.tokens_shape is not None:
        raise not_compared("visual tokens", "--visual-tokens 4")
    settings.check_heeded(filter(None, map(learner_of, names)), names)


def not_compared(what: str, option: str) -> TokensClash:
    """Why not, and how it is measured instead."""
    return TokensClash(
        f"{what} cannot be compared: what is compared learns from features, and a learning image tower changes them",
        f"promptctl learn PHOTOS --name NAME {option}, then promptctl evaluate NAME TEST",
    )


def generalises_to_new_classes(name: str, settings: LearnSettings = PLAIN) -> bool:
    """Whether it says something of classes that nobody showed it."""
    if name in (*PROBES, HEAD):
        return False
    learner = learner_of(name)
    return learner is None or LEARNERS[learner].generalises_to_new_classes(settings_of(name, settings))


def learns_projection(name: str) -> bool:
    """Whether it learns from what comes before the projection of the image tower."""
    learner = learner_of(name)
    return learner is not None and LEARNERS[learner].of_projection


def _variants() -> dict[str, tuple[str, Variant]]:
    every = ((learner, facts) for learner, facts in LEARNERS.items() if facts.of_features)
    return {name: both for learner, facts in every for name, both in _of(learner, facts).items()}


def _of(learner: str, facts: Learner) -> dict[str, tuple[str, Variant]]:
    further = {f"{learner}-{kind}": (learner, variant) for kind, variant in facts.variants.items()}
    return {learner: (learner, Variant()), **further}
