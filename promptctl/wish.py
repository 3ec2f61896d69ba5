"""Wish: how somebody wants a context learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from promptctl.errors import DatasetError, SettingsClash

if TYPE_CHECKING:
    from promptctl.text import TextTower

DEFAULT_TOKENS = 16  # docs/benchmarks.md


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
        if self.learner != "clap":
            return
        for field in ("context_tokens", "init", "class_specific", "position", "recipe", "anchor", "average"):
            if getattr(self, field) != getattr(Wish, field):
                option = "--" + field.replace("_", "-")
                raise SettingsClash("clap", "learns weights of its classes and no context", option)

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
