"""What `inspect` found."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.context.card import Card
from promptctl.report.base import Report, Row
from promptctl.report.phrases import card_lines


@dataclass(frozen=True)
class NearWordRow:
    """A vocabulary token near a vector."""

    word: str
    euclidean: float
    cosine: float


@dataclass(frozen=True)
class VectorReport:
    """One context vector and the words near it."""

    of_class: str | None  # None: shared by all classes
    vector: int  # 1 is the first
    norm: float
    by_euclidean: tuple[NearWordRow, ...]
    by_cosine: tuple[NearWordRow, ...]


@dataclass(frozen=True)
class InspectReport(Report):
    type: ClassVar[str] = "inspect"

    context: str
    card: Card
    n_bytes: int
    path: Path
    vectors: tuple[VectorReport, ...]

    def rows(self) -> list[Row]:
        return [
            {
                "class": vector.of_class,
                "vector": vector.vector,
                "norm": vector.norm,
                "metric": metric,
                "rank": rank,
                **dataclasses.asdict(word),
            }
            for vector in self.vectors
            for metric, words in (("euclidean", vector.by_euclidean), ("cosine", vector.by_cosine))
            for rank, word in enumerate(words, 1)
        ]

    def tables(self) -> list[list[Row]]:
        return [
            [
                {
                    **({"class": vector.of_class} if vector.of_class else {}),
                    "vector": vector.vector,
                    "norm": round(vector.norm, 3),
                    "nearest (Euclidean)": "  ".join(f"{w.word} {w.euclidean:.2f}" for w in vector.by_euclidean),
                    "nearest (cosine)": "  ".join(f"{w.word} {w.cosine:.2f}" for w in vector.by_cosine),
                }
                for vector in self.vectors
            ]
        ]

    def records(self) -> list[Row]:
        return [dataclasses.asdict(vector) for vector in self.vectors]

    def summary(self) -> list[str]:
        return card_lines(self.context, self.card, self.path, self.n_bytes)
