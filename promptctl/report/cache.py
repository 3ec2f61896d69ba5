"""What `cache` found."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row
from promptctl.report.phrases import size


@dataclass(frozen=True)
class CachedFeatures:
    """How many images of one backbone are known."""

    backbone: str | None  # its name, where a stored context tells
    fingerprint: str
    features: int


@dataclass(frozen=True)
class CacheReport(Report):
    type: ClassVar[str] = "cache info"

    path: Path
    keeps: bool  # False where it cannot be written
    n_bytes: int
    limit_bytes: int
    backbones: tuple[CachedFeatures, ...]
    results: int = 0  # of `compare` and `--blend auto`

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(row) for row in self.backbones]

    def columns(self) -> list[str]:
        return ["backbone", "fingerprint", "features"]

    def tables(self) -> list[list[Row]]:
        return [[{**row, "fingerprint": row["fingerprint"][:12]} for row in self.rows()]]

    def summary(self) -> list[str]:
        if not self.keeps:
            return [f"no cache, image features are computed every time: {self.path} cannot be written"]
        kept = sum(row.features for row in self.backbones)
        return [
            f"{kept} image features{_and_results(self.results)} in {size(self.n_bytes)} of at most "
            f"{size(self.limit_bytes)}: {self.path}"
        ]


@dataclass(frozen=True)
class ClearedReport(Report):
    type: ClassVar[str] = "cache clear"

    path: Path
    features: int
    n_bytes: int  # given back
    results: int = 0  # of `compare` and `--blend auto`

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(self)]

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        forgotten = f"{self.features} image features{_and_results(self.results)} forgotten"
        return [f"{forgotten}, {size(self.n_bytes)} given back: {self.path}"]


def _and_results(count: int) -> str:
    return f" and {count} result{'' if count == 1 else 's'} of compare and --blend auto" if count else ""
