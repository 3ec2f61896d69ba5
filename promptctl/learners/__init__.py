"""The learners: one table, and a file for each.

A new learner is one file and one entry of LEARNERS. The file has

    Settings    a frozen dataclass: what the learner takes of LearnSettings, with its own defaults
    fit         shots → what was learned: vectors, text features and the facts of the method
    refit       the same once more on other features, for the folds that choose a blend
    effort      about how long a fit takes

and imports what it likes. The entry says the rest, so that `--help`, cards and settings need neither numpy nor torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from promptctl.clip.text_tower import TextTower
    from promptctl.context.card import ClassEntry, Method
    from promptctl.learners.fitting import Learned, Targets, TrainingSet, Vectors
    from promptctl.learners.settings import LearnSettings
    from promptctl.progress import OnProgress


class LearnerFile(Protocol):
    """What the file of a learner has beside its Settings."""

    def fit(self, training_set: TrainingSet, settings: LearnSettings, on_progress: OnProgress | None = None) -> Learned:
        """What the learner makes of the shots; settings that are None it decides itself."""

    def refit(
        self,
        method: Method,
        features: Vectors,
        targets: Targets,
        *,
        classes: Sequence[str | ClassEntry],
        zero_shot_features: Vectors,
        tower: TextTower,
        logit_scale: float,
    ) -> Vectors:
        """What it makes of other shots by the method of a context.

        features              (N, E) unit rows, of the centres of photos
        targets               (N,) index into classes
        classes               C, names or the entries of a card
        zero_shot_features    (C, E) unit rows
        returns               (C, E) unit rows
        """

    def effort(self, settings: LearnSettings, shots: int) -> float:
        """About how long a fit takes, in steps of coop."""


@dataclass(frozen=True)
class Variant:
    """A learner as `compare` measures it beside its plain self: with settings of its own, or blended with zero-shot."""

    settings: Mapping[str, object] = field(default_factory=dict)  # where nobody asked for others
    blended: bool = False


@dataclass(frozen=True)
class Learner:
    """What is said of a learner, and where its code is."""

    module: str  # imported when something is learned
    does: str  # so that its name before it makes a sentence
    heeds: tuple[str, ...]  # of the fields of LearnSettings, beside the seed
    recipes: tuple[str, ...] = ()  # that may be asked for
    has_context: bool = False  # learned vectors, which the text tower reads; or text features alone
    by_head: bool = False  # a head of its own parts answers
    of_projection: bool = False  # with photos at hand it learns what the image tower ends in, where that is linear
    of_features: bool = True  # frozen features are all it needs; False: every step runs the image tower
    variants: Mapping[str, Variant] = field(default_factory=dict)  # what follows its name and a hyphen

    @property
    def has_own_text(self) -> bool:
        """Whether it learns what text features there are, which else are the template's beside a head."""
        return self.has_context or not self.by_head

    @property
    def code(self) -> LearnerFile:
        return cast(LearnerFile, import_module(self.module))

    def generalises_to_new_classes(self, settings: LearnSettings) -> bool:
        """Whether what is learned so can be asked about classes that nobody showed it."""
        return self.has_context and not self.by_head and not settings.class_specific


_OF_ANY_STEPS = ("epochs", "lr", "views")
_OF_TOKENS = ("visual_tokens", "visual_depth")
ANCHOR = 8.0  # KgCoOp's own lambda

# whoever adds one that is stored: an older promptctl refuses its contexts in words
LEARNERS: dict[str, Learner] = {
    "coop": Learner(
        "promptctl.learners.coop",
        "learns a context",
        heeds=(
            "context_tokens",
            "init",
            "class_specific",
            "position",
            "recipe",
            *_OF_ANY_STEPS,
            "anchor",
            "average",
            "head",
            *_OF_TOKENS,
        ),
        recipes=("fast", "paper"),
        has_context=True,
        variants={
            "csc": Variant({"class_specific": True}),
            "anchor": Variant({"anchor": ANCHOR}),  # held to the template (KgCoOp)
            "average": Variant({"average": True}),  # the mean of late epochs (PromptSRC)
            "blend": Variant(blended=True),  # as much as folds choose; half and half at one shot
        },
    ),
    "auto": Learner(
        "promptctl.learners.auto",
        "learns a context and chooses what answers beside it",
        heeds=("context_tokens", "init", "position", "epochs", "lr"),
        recipes=("fast",),
        has_context=True,
        by_head=True,
    ),
    "clap": Learner("promptctl.learners.clap", "learns weights of its classes and no context", heeds=_OF_ANY_STEPS),
    "prolip": Learner(
        "promptctl.learners.prolip",
        "learns a projection of image features and no context",
        heeds=("epochs", "lr"),
        by_head=True,
        of_projection=True,
    ),
    "gda": Learner(
        "promptctl.learners.gda",
        "adds Gaussians of the classes to zero-shot and learns no context",
        heeds=(),
        by_head=True,
    ),
    "proker": Learner(
        "promptctl.learners.proker",
        "adds a kernel regression to zero-shot and learns no context",
        heeds=(),
        by_head=True,
    ),
    "vpt": Learner(
        "promptctl.learners.visual",
        "learns visual tokens and no context",
        heeds=(*_OF_ANY_STEPS, *_OF_TOKENS),
        of_features=False,
    ),
}


def all_recipes() -> tuple[str, ...]:
    """Every recipe that some learner has."""
    return tuple(dict.fromkeys(recipe for learner in LEARNERS.values() for recipe in learner.recipes))


def written_recipes(name: str) -> tuple[str, ...]:
    """What the card of a context may call the recipe of its learner; one without recipes writes its own name."""
    # files of before there were recipes are read as if they said paper
    return LEARNERS[name].recipes or (*all_recipes(), name)


def what_they_do() -> str:
    """A sentence for each learner, for `--help`."""
    return "; ".join(f"{name} {learner.does}" for name, learner in LEARNERS.items()) + "."
