"""What `show` found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.context.card import Card
from promptctl.report.base import Report, Row
from promptctl.report.phrases import card_lines


@dataclass(frozen=True)
class ShowReport(Report):
    type: ClassVar[str] = "show"

    context: str
    path: Path
    n_bytes: int
    versions: tuple[int, ...]
    candidate: bool  # whether there is one beside the versions
    card: Card

    def rows(self) -> list[Row]:
        return [{"id": c.id, "label": c.label, "name": c.name} for c in self.card.classes]

    def summary(self) -> list[str]:
        facts = card_lines(self.context, self.card, self.path, self.n_bytes)
        if not self.versions:  # a file of its own
            return facts
        kept = [*(f"@{number}" for number in self.versions), *(["@candidate"] if self.candidate else [])]
        return [*facts, f"versions:  {', '.join(kept)}"]
