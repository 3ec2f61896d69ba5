"""What is measured of answers: scores, intervals, classes, coverage, time."""

from __future__ import annotations

from dataclasses import dataclass

from promptctl.report.phrases import percent


@dataclass(frozen=True)
class Scores:
    """How good one classifier is on one set of images; all fractions."""

    top1: float
    top5: float  # the true class among the five most probable
    macro_f1: float  # mean over the classes present
    ece: float  # expected calibration error, 15 bins
    macro_precision: float  # mean over the classes present
    macro_recall: float  # likewise
    aurc: float  # area under the risk-coverage curve: the mean error among the k most certain, over all k


@dataclass(frozen=True)
class Interval:
    """From where to where a fraction, or a difference of fractions, is with 95 % confidence; by bootstrap."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.low:.1f} to {100 * self.high:.1f} %"

    @property
    def points(self) -> str:
        """As a difference: `+5.7 to +14.9 points`."""
        return f"{100 * self.low:+.1f} to {100 * self.high:+.1f} points"

    @property
    def verdict(self) -> str:
        """Whether a difference may be chance, in words."""
        if self.low == self.high == 0:
            return "since both are right on the same images"
        return "which may be chance" if self.low <= 0 <= self.high else "which is more than chance"


def accuracy_interval(accuracy: float, images: int, interval: Interval) -> str:
    """In words; where no answer is wrong or none right, the exact bound, since a bootstrap has nothing to draw from."""
    exact = 0.025 ** (1 / images)
    if accuracy == 1:
        return f"at least {percent(exact)} right, as none is wrong here"
    if accuracy == 0:
        return f"at most {percent(1 - exact)} right, as none is right here"
    return f"{interval} right"


@dataclass(frozen=True)
class ClassScore:
    """One class: the learned context beside zero-shot."""

    label: str
    name: str
    images: int
    accuracy: float  # of its images, the fraction recognised (recall)
    zero_shot_accuracy: float
    f1: float
    mistaken_for: str | None  # the class most of its errors went to


@dataclass(frozen=True)
class ConfusedPair:
    """Images of one class that were taken for another."""

    label: str
    name: str
    given_label: str
    given_name: str
    images: int


@dataclass(frozen=True)
class CoverageRow:
    """How good the most certain answers are, each classifier's own."""

    share: float  # of the images, the most certain
    images: int
    accuracy: float
    zero_shot_accuracy: float


@dataclass(frozen=True)
class Speed:
    """How long an image took in this run."""

    seconds_per_image: float | None  # read, encoded and answered; None: the features of all came from the cache
    cached: int  # images whose features were known, or copies of others, and that count for no time


@dataclass(frozen=True)
class BaselineScore:
    """Another classifier on the same images."""

    name: str
    top1: float
    interval: Interval
    macro_f1: float
    ece: float | None  # None: it gives no probabilities
    gain: float  # what `learned` is above it, a fraction of the images
    gain_interval: Interval
    remark: str  # what it lacks, or ""
