"""Stored contexts as lines of `list` and `log`."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from promptctl.report import StoredContext
from promptctl.store.store import Entry


def stored_context(entry: Entry) -> StoredContext:
    """A line of `list`."""
    return StoredContext(
        name=entry.ref.name,
        backbone=entry.card.backbone.name if entry.card else None,
        changed=changed_at(entry),
        **stored_facts(entry),
    )


def stored_facts(entry: Entry) -> dict[str, Any]:
    """What a line of `list` and one of `log` both say of a version."""
    card = entry.card
    score = card.score if card else None
    return {
        "version": entry.ref.version or 0,
        "classes": len(card.classes) if card else None,
        "shots": str(card.shots.asked or "all") if card and not card.is_imported else None,
        "accuracy": score.accuracy if score else None,
        "zero_shot_accuracy": score.zero_shot_accuracy if score else None,
        "n_bytes": entry.n_bytes,
        "fault": entry.fault,
    }


def changed_at(entry: Entry) -> str:
    """When the file was written: ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(entry.mtime_ns / 1e9, timezone.utc).isoformat(timespec="seconds")
