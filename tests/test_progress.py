"""Progress: rates and times that somebody may believe, on a terminal and in a log."""

from __future__ import annotations

import pytest

from promptctl.render.progress import Reports, Work, rate_words, time_words


class Clock:
    """A clock that goes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def work(clock) -> Work:
    return Work("loading the model", clock)


def encode(work: Work, clock: Clock, *, images: int, a_second: float, first: int = 0, of: int = 0) -> None:
    for done in range(first + 32, first + images + 1, 32):
        clock.wait(32 / a_second)
        work.advance("encoding", done, of or first + images)


def seconds_left(line: str) -> int:
    hours, minutes, seconds = line.split()[-2].split(":")
    return 3600 * int(hours) + 60 * int(minutes) + int(seconds)


def test_a_second_pass_starts_its_clock_anew(work, clock):
    encode(work, clock, images=64, a_second=32)
    clock.wait(60)
    work.advance("encoding", 32, 3200)
    (line,) = work.lines(100)
    assert "32/3,200" in line and "left" not in line
    encode(work, clock, images=32 * 9, a_second=64, first=32, of=3200)
    (line,) = work.lines(100)
    assert "320/3,200" in line and "64/s" in line and line.endswith("0:00:45 left")


def test_a_longer_pass_is_told_by_its_length(work, clock):
    work.advance("encoding", 20, 20)
    clock.wait(5)
    work.advance("encoding", 32, 3200)
    encode(work, clock, images=320, a_second=64, first=32, of=3200)
    assert "64/s" in work.lines(100)[0]


def test_a_pass_of_the_same_length_is_told_by_going_back(work, clock):
    encode(work, clock, images=320, a_second=320)
    work.advance("encoding", 32, 320)
    encode(work, clock, images=96, a_second=8, first=32, of=320)
    assert "8.0/s" in work.lines(100)[0]


def test_time_left_counts_down_between_two_steps_and_never_shows_nothing(work, clock):
    for done in range(1, 4):
        work.advance("comparing", done, 5)
        clock.wait(20)
    assert seconds_left(work.lines(100)[0]) == 20
    clock.wait(500)
    assert seconds_left(work.lines(100)[0]) == 20, "one is left after this one"
    work.advance("comparing", 4, 5)
    clock.wait(10_000)
    assert seconds_left(work.lines(100)[0]) == 1


def test_time_left_of_an_even_stage_never_rises(work, clock):
    shown = []
    for done in range(1, 40):
        work.advance("comparing", done, 40)
        for _ in range(20):
            clock.wait(1)
            if "left" in work.lines(100)[0]:
                shown.append(seconds_left(work.lines(100)[0]))
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == 38 * 20 - 1


def test_what_was_known_already_tells_nothing_of_the_rest(work, clock):
    encode(work, clock, images=3200, a_second=3200, of=6400)
    encode(work, clock, images=128, a_second=32, first=3200, of=6400)
    assert seconds_left(work.lines(100)[0]) == pytest.approx((3200 - 128) / 32, abs=1)


def test_one_pause_is_not_taken_for_the_pace(work, clock):
    encode(work, clock, images=640, a_second=64, of=6400)
    clock.wait(20)  # compiling, say
    encode(work, clock, images=640, a_second=64, first=640, of=6400)
    assert seconds_left(work.lines(100)[0]) < 200


@pytest.mark.parametrize(
    ("a_second", "words"),
    [(1234.4, "1,234/s"), (38, "38/s"), (3.44, "3.4/s"), (0.5, "30/min"), (1 / 45, "1/min"), (1 / 300, "5 min each")],
)
def test_a_slow_rate_is_no_zero(a_second, words):
    assert rate_words(a_second) == words


@pytest.mark.parametrize(("seconds", "words"), [(4.4, "4 s"), (240, "4 min"), (7800, "2 h 10 min")])
def test_time_in_words(seconds, words):
    assert time_words(seconds) == words


def test_every_line_fits_the_terminal(work, clock):
    encode(work, clock, images=3200, a_second=7, of=10_000)
    work.advance("encoding crops", 1_000_000, 2_000_000)
    for columns in (40, 60, 80, 100):
        assert all(len(line) <= columns for line in work.lines(columns)), columns
        assert "3,200/10,000" in work.lines(columns)[0]
    assert "left" not in work.lines(100)[0], "a stage before this one"


def test_a_log_hears_nothing_of_a_short_run_and_a_line_every_half_minute_of_a_long_one(work, clock):
    said: list[str] = []
    reports = Reports(work, said.append, clock)
    for second in range(1, 101):
        clock.wait(1)
        if second > 35:
            work.advance("encoding", 38 * (second - 35), 10_000)
        reports.tick()
        if second == 29:
            assert said == []
    assert said == [
        "loading the model",
        "encoding 950 of 10,000, 38/s, 4 min left",
        "encoding 2,090 of 10,000, 38/s, 3 min left",
    ]
