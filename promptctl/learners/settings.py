"""LearnSettings: how a context is to be learned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from promptctl import checks
from promptctl.context.limits import DEEPEST, LARGEST_VALUE, MOST_VISUAL, POSITIONS
from promptctl.errors import DatasetError, SettingsClash, SettingUnheeded, TokensClash, option_of
from promptctl.learners import LEARNERS, all_recipes

if TYPE_CHECKING:
    from promptctl.clip.text_tower import TextTower
    from promptctl.context.card import ClassEntry

DEFAULT_TOKENS = 16  # docs/benchmarks.md
DEFAULT_VISUAL_TOKENS = 4  # of vpt; PromptSRC's count
VISUAL_BATCH = 4  # photos of a step; of independent prompting in PromptSRC, as the next two
VISUAL_EPOCHS = 50
VISUAL_RATE = 0.0025
LEAST_RATE = 1e-9


@dataclass(frozen=True)
class LearnSettings:
    """How to learn; what is None the learner decides.

    learner          of LEARNERS
    context_tokens   M, from 1; None: 16, or what fits beside the longest name; or as many as the words of init are
    init             words to start from; None: noise
    class_specific   a context of its own for every class
    position         of the class name among the vectors: end, middle or front
    recipe           how coop gets to its minimum: fast or paper
    epochs           passes over the shots, from 0, which keeps what the learner starts from
    lr               learning rate, above 0
    views            random crops of every shot, one per epoch; 0: the centre
    anchor           lambda of KgCoOp's loss, from 0
    average          keep the mean of the late epochs, not the last step
    head             fit a head on the photos beside the context; None: yes, but not for the paper's recipe
    visual_tokens    T, learned tokens in a block of the image tower, a ViT; 0: none, but of vpt 4
    visual_depth     D, in how many of its blocks, each with tokens of its own; 1: the first alone (VPT-shallow)
    seed             from 0 to 2^32 - 1; decides the shots, the start and the batches
    raises           BadSetting for a value that means nothing, SettingsClash for one that its learner does not heed
    """

    learner: str = "coop"
    context_tokens: int | None = None
    init: str | None = None
    class_specific: bool = False
    position: str = "end"
    recipe: str = "fast"
    epochs: int | None = None
    lr: float | None = None
    views: int | None = None
    anchor: float = 0.0
    average: bool = False
    head: bool | None = None
    visual_tokens: int = 0
    visual_depth: int = 1
    seed: int = 1

    def __post_init__(self) -> None:
        for setting, value in self._checked().items():
            object.__setattr__(self, setting, value)  # 16.0 of numpy is 16.0 of Python from here on
        learner = LEARNERS[self.learner]
        for setting in self._beyond(learner.heeds):
            raise SettingsClash(self.learner, learner.does, self._typed_as(setting), _takers(setting))
        if learner.recipes:
            checks.one_of("recipe", self.recipe, learner.recipes)
        self._check_tokens()

    @property
    def tokens_shape(self) -> tuple[int, int] | None:
        """D and T of the visual tokens; None where none are to be learned."""
        count = self.visual_tokens or (0 if LEARNERS[self.learner].of_features else DEFAULT_VISUAL_TOKENS)
        return (self.visual_depth, count) if count else None

    def visual_steps(self, photos: int) -> tuple[int, int]:
        """How many steps visual tokens take to learn from so many photos, and of how many each; 0 where there are none.

        The last partial batch of an epoch is dropped.
        """
        if self.tokens_shape is None or not photos:
            return 0, 0
        batch, epochs = min(VISUAL_BATCH, photos), VISUAL_EPOCHS if self.epochs is None else self.epochs
        return epochs * (photos // batch), batch

    def _check_tokens(self) -> None:
        """TokensClash for what cannot be said beside visual tokens, and for what is said of none."""
        if self.tokens_shape is None:
            if self.visual_depth != LearnSettings.visual_depth:
                raise TokensClash("there are no visual tokens, so --visual-depth has no effect", "--visual-tokens 4")
        elif self.head:
            because = "the image tower learns from every shot, so no fold of them could tell how good a head is"
            raise TokensClash(because, "leave out --head or --visual-tokens")
        elif self.average:
            raise TokensClash(
                "--average keeps the mean of a context, not of visual tokens", "leave out --average or --visual-tokens"
            )

    def _checked(self) -> dict[str, object]:
        """Every setting, as its kind; BadSetting for the first that is none of it."""

        def some(check: Any, setting: str, *bounds: object) -> Any:
            found = getattr(self, setting)
            return None if found is None else check(setting, found, *bounds)

        return {
            "learner": checks.one_of("learner", self.learner, tuple(LEARNERS)),
            "context_tokens": some(checks.whole, "context_tokens", 1, checks.MOST, DEFAULT_TOKENS),
            "init": some(checks.text, "init", "a photo of a"),
            "class_specific": checks.flag("class_specific", self.class_specific),
            "position": checks.one_of("position", self.position, POSITIONS),
            "recipe": checks.one_of("recipe", self.recipe, all_recipes()),
            "epochs": some(checks.whole, "epochs", 0, checks.MOST, 100),
            "lr": some(checks.number, "lr", LEAST_RATE, LARGEST_VALUE, 0.002),
            "views": some(checks.whole, "views", 0, checks.MOST, 0),
            "anchor": checks.number("anchor", self.anchor, 0, LARGEST_VALUE, 8),
            "average": checks.flag("average", self.average),
            "head": None if self.head is None else checks.flag("head", self.head),
            "visual_tokens": checks.whole("visual_tokens", self.visual_tokens, 0, MOST_VISUAL, 4),
            "visual_depth": checks.whole("visual_depth", self.visual_depth, 1, DEEPEST, 9),
            "seed": checks.whole("seed", self.seed, 0, checks.HIGHEST_SEED, 1),
        }

    def of(self, learner: str, instead: Mapping[str, object] | None = None) -> LearnSettings:
        """As much of these settings as a learner heeds; and `instead` of those that nobody asked for."""
        heeded: dict[str, Any] = {setting: getattr(self, setting) for setting in LEARNERS[learner].heeds}
        heeded |= {setting: value for setting, value in (instead or {}).items() if not self._asks_for(setting)}
        return LearnSettings(**heeded, learner=learner, seed=self.seed)

    def check_heeded(self, learners: Iterable[str], asked: Sequence[str]) -> None:
        """SettingUnheeded for a setting that none of several learners takes; `asked` is what they were called."""
        for setting in self._beyond({setting for name in learners for setting in LEARNERS[name].heeds}):
            raise SettingUnheeded(option_of(setting), asked, add=sorted(_takers(setting)))

    def tokens(self, tower: TextTower, names: Sequence[str | ClassEntry]) -> int:
        """How many context vectors to learn: those asked for, those the words of init are, or as many as fit up to 16.

        names    what the prompts call the classes; the longest leaves room for one at least, or is too long itself
        raises   DatasetError
        """
        if not LEARNERS[self.learner].has_context:
            return 0
        if self.takes_what_fits:
            return max(1, min(DEFAULT_TOKENS, tower.room_beside(names)))
        if self.init is None:
            return self.context_tokens or 0
        found = len(tower.tokens(self.init))
        if not found:
            raise DatasetError("--init has no words in it", 'for example --init "a photo of a"')
        if self.context_tokens not in (None, found):
            raise DatasetError(
                f"'{self.init}' is {found} token{'' if found == 1 else 's'}, "
                f"--context-tokens {self.context_tokens} was asked",
                "leave --context-tokens out: the words of --init decide",
            )
        return found

    @property
    def takes_what_fits(self) -> bool:
        """Whether nobody said how many context vectors to learn."""
        return LEARNERS[self.learner].has_context and self.context_tokens is None and self.init is None

    def _beyond(self, heeded: Iterable[str]) -> list[str]:
        """The settings that somebody has asked for and `heeded` does not name."""
        known = {"learner", "seed", *heeded}
        return [setting for setting in self.__dataclass_fields__ if setting not in known and self._asks_for(setting)]

    def _asks_for(self, setting: str) -> bool:
        return bool(getattr(self, setting) != getattr(LearnSettings, setting))

    def _typed_as(self, setting: str) -> str:
        return "--no-head" if setting == "head" and not self.head else option_of(setting)


def _takers(setting: str) -> list[str]:
    """The learners of frozen features that heed it."""
    return [name for name, learner in LEARNERS.items() if setting in learner.heeds and learner.of_features]


PLAIN = LearnSettings()


def settings_of(settings: LearnSettings, changes: Mapping[str, object]) -> LearnSettings:
    """The settings with some of their fields changed, as keywords give them; TypeError for a word that is no field."""
    known = LearnSettings.__dataclass_fields__
    if unknown := sorted(set(changes) - set(known)):
        raise TypeError(f"{unknown[0]!r} is not an argument, and not one of the settings: {', '.join(known)}")
    return replace(settings, **changes)  # type: ignore[arg-type]
