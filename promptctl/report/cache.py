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
    """How many image features of one backbone are cached."""

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
    kept: int = 0  # backbones that answer without PyTorch
    kept_bytes: int = 0  # of them, among n_bytes
    unpacked: int = 0  # photos from inside Parquet and Arrow files
    unpacked_bytes: int = 0  # of them, among n_bytes
    unfinished: int = 0  # runs of `learn` that were interrupted
    unfinished_bytes: int = 0  # of them, among n_bytes

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(row) for row in self.backbones]

    def columns(self) -> list[str]:
        return ["backbone", "fingerprint", "features"]

    def tables(self) -> list[list[Row]]:
        return [[{**row, "fingerprint": row["fingerprint"][:12]} for row in self.rows()]]

    def summary(self) -> list[str]:
        if not self.keeps:
            return [f"no cache, image features are computed every time: {self.path} cannot be written"]
        features = sum(row.features for row in self.backbones)
        n_bytes = self.n_bytes - self.kept_bytes - self.unpacked_bytes - self.unfinished_bytes
        return [
            f"{features} image features{_and_results(self.results)} take {size(n_bytes)} of at most "
            f"{size(self.limit_bytes)}: {self.path}",
            *_and_kept(self.kept, f"in {size(self.kept_bytes)}, to answer without PyTorch"),
            *_and_unpacked(self.unpacked, f"in {size(self.unpacked_bytes)}, from inside tables"),
            *_and_unfinished(self.unfinished, f"in {size(self.unfinished_bytes)}, to go on with"),
        ]


@dataclass(frozen=True)
class ClearedReport(Report):
    type: ClassVar[str] = "cache clear"

    path: Path
    features: int
    n_bytes: int  # freed
    results: int = 0  # of `compare` and `--blend auto`
    kept: int = 0  # backbones that answered without PyTorch
    unpacked: int = 0  # photos from inside tables
    unfinished: int = 0  # runs of `learn` that were interrupted

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(self)]

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        deleted = f"{self.features} image features{_and_results(self.results)} deleted"
        return [
            f"{deleted}, {size(self.n_bytes)} freed: {self.path}",
            *_and_kept(self.kept, "no more; an answer loads PyTorch again, and keeps what it needs of it"),
            *_and_unpacked(self.unpacked, "no more; the tables that have them are as they were"),
            *_and_unfinished(self.unfinished, "no more; the same commands start from the beginning"),
        ]


def _and_kept(count: int, how: str) -> list[str]:
    return [f"{count} backbone{'' if count == 1 else 's'} kept {how}"] if count else []


def _and_unpacked(count: int, how: str) -> list[str]:
    return [f"{count} photo{'' if count == 1 else 's'} unpacked {how}"] if count else []


def _and_unfinished(count: int, how: str) -> list[str]:
    return [f"{count} interrupted run{'' if count == 1 else 's'} of learn kept {how}"] if count else []


def _and_results(count: int) -> str:
    return f" and {count} result{'' if count == 1 else 's'} of compare and --blend auto" if count else ""
