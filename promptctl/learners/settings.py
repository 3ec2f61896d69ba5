"""Wish: how somebody wants a context learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from promptctl.errors import DatasetError, SettingsClash, SettingUnheeded

if TYPE_CHECKING:
    from promptctl.clip.text_tower import TextTower

DEFAULT_TOKENS = 16  # docs/benchmarks.md
ANCHOR = 8.0  # KgCoOp's own lambda
_OF_CLAP = ("epochs", "lr", "views")
_OF_COOP = ("context_tokens", "init", "class_specific", "position", "recipe", *_OF_CLAP, "anchor", "average")
# what `compare` calls a learner of a context or of class weights → its one difference
_DIFFERENCES: Mapping[str, Mapping[str, Any]] = {
    "coop": {},
    "coop-csc": {"class_specific": True},
    "coop-anchor": {"anchor": ANCHOR},
    "coop-average": {"average": True},
    "coop-blend": {},
    "clap": {"learner": "clap"},
}


@dataclass(frozen=True)
class Wish:
    """How to learn; what is None the learner decides."""

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
    seed: int = 1

    def check(self) -> None:
        """SettingsClash for a wish that means nothing to its learner."""
        for field in self._beyond(_heeded(self.learner)):
            raise SettingsClash("clap", "learns weights of its classes and no context", _option(field))

    def check_for(self, learners: Sequence[str]) -> None:
        """SettingUnheeded for a wish that means nothing to any of `compare`'s learners."""
        for field in self._beyond({field for name in learners for field in _heeded(name)}):
            raise SettingUnheeded(_option(field), learners, add="clap or coop" if field in _OF_CLAP else "coop")

    def of(self, compared: str) -> Wish:
        """The wish of one of `compare`'s learners: as much of this one as it heeds, and its own difference.

        An anchor that was asked for is that of `coop-anchor` too.
        """
        heeded = {field: getattr(self, field) for field in _heeded(compared)}
        difference = dict(_DIFFERENCES.get(compared, {}))
        if "anchor" in difference:
            difference["anchor"] = self.anchor or ANCHOR
        return replace(Wish(seed=self.seed), **{**heeded, **difference})

    @property
    def speaks_of_new_classes(self) -> bool:
        """Whether what is learned so can be asked about classes it was not taught."""
        return self.learner == "coop" and not self.class_specific

    def tokens(self, tower: TextTower) -> int:
        """How many context vectors to learn: those asked for, or those the words of init are."""
        if self.learner == "clap":
            return 0
        if self.init is None:
            return DEFAULT_TOKENS if self.context_tokens is None else self.context_tokens
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

    def _beyond(self, heeded: Sequence[str] | set[str]) -> list[str]:
        """The settings that somebody has asked for and `heeded` does not name."""
        return [field for field in _OF_COOP if field not in heeded and getattr(self, field) != getattr(Wish, field)]


PLAIN = Wish()


def learns(compared: str) -> bool:
    """Whether a learner of `compare` learns a context or class weights, by a wish."""
    return compared in _DIFFERENCES


def _heeded(learner: str) -> tuple[str, ...]:
    if not learns(learner):
        return ()
    return _OF_CLAP if learner == "clap" else _OF_COOP


def _option(field: str) -> str:
    return "--" + field.replace("_", "-")
