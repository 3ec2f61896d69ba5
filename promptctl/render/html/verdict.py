"""Verdict: what the figures of an evaluation mean, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from promptctl.render.html import findings
from promptctl.render.html.findings import Cover, Interval
from promptctl.report import EvaluateReport, PhotoAnswer
from promptctl.report import Interval as Drawn
from promptctl.report.phrases import number_of


@dataclass(frozen=True)
class Verdict:
    """How good a context is, how much better than zero-shot, and whether chance could have done that."""

    accuracy: Interval
    zero_shot: Interval
    gain: Interval
    corrected: int  # photos that zero-shot gets wrong and the context right
    spoiled: int  # and the other way round
    both_wrong: int

    @staticmethod
    def of(photos: Sequence[PhotoAnswer]) -> Verdict:
        hits, others = findings.right(photos), findings.zero_shot_right(photos)
        return Verdict(
            accuracy=findings.accuracy(hits),
            zero_shot=findings.accuracy(others),
            gain=findings.gain(hits, others),
            corrected=int((hits & ~others).sum()),
            spoiled=int((others & ~hits).sum()),
            both_wrong=int((~hits & ~others).sum()),
        )

    @property
    def judgement(self) -> str:
        if not self.gain.excludes_zero:
            return "with so many photos, chance alone could do that"
        return "more than chance explains" if self.gain.value > 0 else "worse, and by more than chance explains"


def percent(fraction: float) -> str:
    """The same as everywhere, but what is not all is never called so, and no line ends before its unit."""
    shown = f"{100 * fraction:.1f}"
    if fraction < 1 and shown == "100.0":
        shown = "> 99.9"
    if fraction > 0 and shown == "0.0":
        shown = "< 0.1"
    return f"{shown} %".replace(" ", "\xa0")


def between(interval: Interval | Drawn) -> str:
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}\xa0%"


def points(fraction: float) -> str:
    """A difference of fractions, with its sign."""
    return f"{100 * fraction:+.1f}".replace("-", "−")


def calibration(photos: Sequence[PhotoAnswer], accuracy: Interval) -> str:
    """Whether what is stated is about as often right as it says."""
    stated = float(np.mean([photo.probability for photo in photos]))
    if accuracy.low <= stated <= accuracy.high:
        judged = "so on the whole its probabilities can be believed"
    else:
        judged = f"so on the whole it is too {'sure of itself' if stated > accuracy.value else 'careful'}"
    return f"On average it states {percent(stated)} and is right in {percent(accuracy.value)}, {judged}."


def covering(curve: Sequence[Cover], images: int) -> str:
    """What taking only the surest half of the answers would leave wrong."""
    half = next(point for point in curve if point.coverage >= 0.5)
    taken = round(half.coverage * images)
    wrong = round(half.risk * taken)
    return (
        f"Of the {number_of(taken, 'answer')} that it is surest of (at {100 * half.least:.1f} % or more), "
        f"{wrong or 'none'} {'is' if wrong == 1 else 'are'} wrong; of all {images}, {round(curve[-1].risk * images)}."
    )


def shots_of_mistakes(report: EvaluateReport) -> str:
    """Whether mistakes lie beside a shot of the class that was answered, or of their own."""
    wrong = [photo for photo in report.photos if not photo.is_right and photo.nearest_shot is not None]
    if not wrong:
        return ""
    own = sum(photo.nearest_shot == photo.label for photo in wrong)
    taken = sum(photo.nearest_shot == photo.answer for photo in wrong)
    return (
        f"In {taken} of {number_of(len(wrong), 'mistake')}, the most similar photo that it learned from shows "
        f"the class that was answered; in {own}, the right one."
    )
