"""Progress: how far a stage is, how fast it goes and how long it will still take, on stderr."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from promptctl.render.reader import is_person
from promptctl.render.stderr import talk
from promptctl.render.text import columns_of, width

if TYPE_CHECKING:
    from rich.console import RenderableType

Clock = Callable[[], float]  # seconds

_QUIET = 30.0  # seconds between lines where no terminal is
_BAR = 24  # cells
_NARROW = 64  # columns; below, no bar
_SLOWER = 10  # times: what went so much faster before tells nothing of the rest


class Pace:
    """One stage: its rate and the time left, over all of the stage as far as it tells."""

    def __init__(self, done: int, total: int, now: float) -> None:
        self.total = total
        self._first, self._started = done, now
        self.done, self._at = done, now
        self._step = 0
        self._slow: tuple[int, float] | None = None  # where the stage became slow, if it just did

    def goes_on(self, done: int, total: int) -> bool:
        """Whether this is the same stage still, and not its second pass."""
        return total == self.total and done >= self.done

    def advance(self, done: int, now: float) -> None:
        if done == self.done:
            return
        step, seconds = done - self.done, now - self._at
        if self.rate and seconds * self.rate > _SLOWER * step:
            # known from the cache until here, say; once may be a pause, twice is the pace
            if self._slow:
                self._first, self._started = self._slow
            self._slow = None if self._slow else (self.done, self._at)
        else:
            self._slow = None
        self._step, self.done, self._at = step, done, now

    @property
    def rate(self) -> float | None:
        """Of the stage, a second; None until it can be told."""
        seconds = self._at - self._started
        return (self.done - self._first) / seconds if seconds > 0 and self.done > self._first else None

    def left(self, now: float) -> float | None:
        """Seconds still to go; it counts down between two steps, but not below what is left after the next."""
        if self.rate is None:
            return None
        to_go = self.total - self.done
        after_next = max(0, to_go - self._step) / self.rate
        return max(to_go / self.rate - (now - self._at), after_next, 1.0) if to_go > 0 else 0.0


class Work:
    """All stages of a command. `advance` may be called often, and by one thread while another one reads."""

    def __init__(self, beginning: str, clock: Clock = time.monotonic) -> None:
        self._beginning, self._clock = beginning, clock
        self._stages: dict[str, Pace] = {}
        self._stage: str | None = None

    def advance(self, stage: str, done: int, total: int) -> None:
        pace = self._stages.get(stage)
        if pace and pace.goes_on(done, total):
            pace.advance(done, self._clock())
        else:
            self._stages[stage] = Pace(done, total, self._clock())
        self._stage = stage

    def lines(self, available: int) -> list[str]:
        """For a terminal: a bar for every stage so far."""
        now = self._clock()
        return [
            _bar_line(stage, pace, pace.left(now) if stage == self._stage else None, available)
            for stage, pace in list(self._stages.items())
        ]

    def sentence(self) -> str:
        """For a log: where the work is."""
        if self._stage is None:
            return self._beginning
        pace = self._stages[self._stage]
        left = pace.left(self._clock())
        said = [f"{self._stage} {pace.done:,} of {pace.total:,}", *([rate_words(pace.rate)] if pace.rate else [])]
        return ", ".join([*said, f"{time_words(left)} left"] if left else said)


class Reports:
    """When to say something in a log: after half a minute, and every half minute."""

    def __init__(self, work: Work, say: Callable[[str], object], clock: Clock = time.monotonic) -> None:
        self._work, self._say, self._clock = work, say, clock
        self._last = clock()

    def tick(self) -> None:
        if self._clock() - self._last >= _QUIET:
            self._last = self._clock()
            self._say(self._work.sentence())


@dataclass(frozen=True)
class Progress:
    """What is shown of the work, until it ends."""

    _work: Work
    _shown: ExitStack

    def __call__(self, stage: str, done: int, total: int) -> None:
        self._work.advance(stage, done, total)

    def end(self) -> None:
        """Show no more of it; the work may go on."""
        self._shown.close()


@contextmanager
def progress(beginning: str = "loading the model") -> Iterator[Progress]:
    """On a terminal a bar for every stage, elsewhere a line every half minute; both on stderr.

    beginning   what is being done before the first stage
    """
    work = Work(beginning)
    with ExitStack() as shown:
        shown.enter_context(_on_terminal(work, beginning) if is_person(sys.stderr) else _in_log(work))
        yield Progress(work, shown)


@contextmanager
def _on_terminal(work: Work, beginning: str) -> Iterator[None]:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.text import Text

    spinner = Spinner("dots", beginning)
    available = columns_of(sys.stderr)

    def shown() -> RenderableType:
        lines = work.lines(available - 1)
        return Group(*(Text(line, no_wrap=True, overflow="crop") for line in lines)) if lines else spinner

    console = Console(stderr=True, width=available)
    with Live(console=console, transient=True, refresh_per_second=8, get_renderable=shown, redirect_stdout=False):
        yield


@contextmanager
def _in_log(work: Work) -> Iterator[None]:
    """Says something from a thread of its own, because a stage may be long in coming."""
    over = threading.Event()
    reports = Reports(work, talk)

    def watch() -> None:
        while not over.wait(1.0):
            reports.tick()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def rate_words(rate: float) -> str:
    """38/s; below one a second by the minute, below one a minute by the piece."""
    if rate >= 1:
        return f"{rate:,.0f}/s" if rate >= 9.95 else f"{rate:.1f}/s"
    return f"{60 * rate:.0f}/min" if 60 * rate >= 0.95 else f"{time_words(1 / rate)} each"


def time_words(seconds: float) -> str:
    """Rounded to what somebody who waits wants to know: 40 s, 4 min, 2 h 10 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _clock_face(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _bar_line(stage: str, pace: Pace, left: float | None, available: int) -> str:
    counted = f"{pace.done:,}/{pace.total:,}"
    rate = rate_words(pace.rate) if pace.rate else ""
    remaining = f"{_clock_face(left)} left" if left else ""
    full = round(_BAR * pace.done / pace.total) if pace.total else _BAR
    bar = "━" * full + " " * (_BAR - full) if available >= _NARROW else ""
    parts = [f"{stage:<14}", bar, f"{counted:>13}", f"{rate:>8}", f"{remaining:>14}"]
    line = " ".join(part for part in parts if part)
    return line.rstrip() if width(line) <= available else " ".join(line.split())
