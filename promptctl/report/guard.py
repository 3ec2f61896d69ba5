"""What the guard found of a version that goes on from another, as reports say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from promptctl.report.base import Row
from promptctl.report.phrases import counted_images, joined


def refused_under(name: str, candidate: str, parent: str, reasons: str) -> str:
    """Where a version is that was to be the first of another name."""
    return f"there is no '{name}': what was learned lies beside {parent}, as {candidate}, since {reasons}"


def not_the_next(context: str, reasons: Sequence[str]) -> str:
    """Why a version is none of its name."""
    return f"{context} is not the next version: {'; '.join(reasons)}"


@dataclass(frozen=True)
class ClassMoved:
    """A class of the version before: how many of its photos that neither learned from either recognises."""

    label: str
    images: int
    before: float  # fraction
    after: float


@dataclass(frozen=True)
class GuardFacts:
    """A version beside the one it goes on from, on photos that neither learned from."""

    parent: str  # birds@1
    compared_on: str  # which images both versions answered
    compared_images: int
    worse: int  # that only the version before recognises
    better: int
    p: float  # of so many worse by chance, by the answers alone: McNemar, exact, one-sided
    refused: bool
    advisory: bool  # too few images to refuse anything
    by_name: tuple[str, ...]  # new classes without a photo, which the new version answered among too
    kept: str  # which of the guard's retries this is; empty: the first try
    reasons: tuple[str, ...]
    guard_warnings: tuple[str, ...]
    per_class: tuple[ClassMoved, ...]

    def lines(self) -> list[str]:
        """How the two compare, in a line."""
        if not self.compared_images:
            return []
        photos = counted_images(self.compared_images, self.compared_on)
        found = f"{self.better} more right, {self.worse} more wrong" + (f"; kept: {self.kept}" if self.kept else "")
        among = joined(["its classes", *(f"'{label}'" for label in self.by_name)])
        return [f"against {self.parent}, among {among}, on {photos}: {found}"]

    def moved(self) -> list[Row]:
        """The classes that are recognised more or less often than before."""
        return [
            {"class": row.label, "photos": row.images, "before": row.before, "after": row.after}
            for row in self.per_class
            if row.before != row.after
        ]
