"""What is said of answers that are not taken: of unknown photos and doubtful answers, the same for every command."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from promptctl.report.base import Row
from promptctl.report.phrases import number_of, percent

TOGETHER = "answered together: each answer depends on the other photos"


@dataclass(frozen=True)
class Rejection:
    """What a threshold of likeness is from, and how many of one's own photos it may call unknown; fractions."""

    asked: float
    photos: int  # of one's own, near copies counted once
    expected: float
    low: float  # nine times in ten between
    high: float

    def sentence(self, unknown: int, images: int) -> str:
        between = f"{_short(self.low)[:-2]} to {_short(self.high)} nine times in ten"
        from_ = f"threshold from {number_of(self.photos, 'photo')}"
        if self.expected > self.asked:
            from_ += f", too few to promise {_short(self.asked)}, so the score of the least alike"
        expected = f"expect {_short(self.expected)} of your own photos called so, {between}"
        return f"{unknown:,} of {images:,} unknown; {from_}: {expected}"


@dataclass(frozen=True)
class TakenLine:
    """A probability below which an answer is doubtful, and what is known of those above it."""

    least: float | None  # None: none is known above which so few are wrong
    photos: int  # above it, that were not learned from
    right: float | None  # fraction of these
    asked_error: float | None  # None: the probability itself was asked for

    def sentence(self, doubtful: int, images: int) -> str:
        some = f"{doubtful:,} of {images:,} doubtful"
        if self.least is None:
            assert self.asked_error is not None
            return (
                f"{some}: no line is known above which {_short(1 - self.asked_error)} are right, "
                f"{number_of(self.photos, 'photo')} of yours are too few or too often mistaken"
            )
        line = f"{some}, less probable than {percent(self.least)}"
        if self.right is None:
            return f"{line}; nothing is known of the answers above this line"
        on = number_of(self.photos, "photo")
        return f"{line}; above this line you are right about {percent(self.right)}, on {on}"


@dataclass(frozen=True)
class Taken:
    """Which answers are taken, and what may be expected of that."""

    rejection: Rejection | None = None  # None: no photo is called unknown
    line: TakenLine | None = None  # None: no answer is called doubtful
    cannot: str | None = None  # why unknown photos cannot be told, where that was asked for

    def closing(self, unknown: int, doubtful: int, images: int) -> list[str]:
        return [
            *([self.rejection.sentence(unknown, images)] if self.rejection else []),
            *([self.line.sentence(doubtful, images)] if self.line else []),
        ]

    def record(self) -> Row:
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "cannot"}


def _short(fraction: float) -> str:
    """`4.9 %`, `11 %`; two digits that count."""
    value = 100 * fraction
    return (
        f"{value:.0f} %" if value >= 9.95 and value < 99 else f"{value:.1f} %" if value % 1 > 0.05 else f"{value:.0f} %"
    )
