"""History: how one context differs from another, in words, from their cards alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptctl.context.card import Card, Change


@dataclass(frozen=True)
class ClassChanges:
    """Labels that came and went, and those the prompt calls something else now."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    renamed: tuple[tuple[str, str, str], ...]  # label, name before, name after


@dataclass(frozen=True)
class SettingChange:
    """A setting that differs."""

    setting: str
    before: Any
    after: Any


def class_changes(before: Card, after: Card) -> ClassChanges:
    old, new = ({entry.label: entry.name for entry in card.classes} for card in (before, after))
    return ClassChanges(
        added=tuple(label for label in new if label not in old),
        removed=tuple(label for label in old if label not in new),
        renamed=tuple((label, old[label], new[label]) for label in new if label in old and old[label] != new[label]),
    )


def setting_changes(before: Card, after: Card) -> tuple[SettingChange, ...]:
    """Everything that decides a context beside its classes and images, where it differs."""
    old, new = _settings(before), _settings(after)
    return tuple(SettingChange(name, old[name], new[name]) for name in new if old[name] != new[name])


def change(before: Card | None, after: Card, earlier: Mapping[str, int]) -> str:
    """What a version changed, in words.

    before    the version before it
    earlier   sha256 → number of every version before it
    """
    if after.sha256 in earlier:
        return f"@{earlier[after.sha256]} restored"
    if after.change is not None:
        return _as_told(after.change)
    if before is None:
        return "imported" if after.is_imported else "learned"
    classes, settings = class_changes(before, after), setting_changes(before, after)
    words = [
        *_counted("+", classes.added),
        *_counted("-", classes.removed),
        *(f"{label} is now '{name}'" for label, _, name in classes.renamed),
        *(f"{change.setting} {_word(change.before)} → {_word(change.after)}" for change in settings),
    ]
    return ", ".join(words) or "learned again"


def _as_told(change: Change) -> str:
    """What the command that made a version says it did."""
    return (change.words or change.kind) + (", forced" if change.forced else "")


def _settings(card: Card) -> dict[str, Any]:
    """Settings by the words the command line has for them."""
    method = {name.replace("_", "-"): value for name, value in dataclasses.asdict(card.method).items()}
    method.pop("steps")
    model = f"{card.backbone.name} ({card.backbone.fingerprint[:12]})"
    method["init"] = card.method.init or "noise"
    return {"model": model, "shots": card.shots.asked or "all", "template": card.zero_shot_template, **method}


def _counted(sign: str, labels: Sequence[str]) -> list[str]:
    if not labels:
        return []
    shown = ", ".join(labels[:3]) + (", …" if len(labels) > 3 else "")
    return [f"{sign}{len(labels)} class{'' if len(labels) == 1 else 'es'} ({shown})"]


def _word(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
