"""Diff: how one context differs from another, in words, from their cards alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptctl.context.card import Card, Change, ClassEntry


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


def same_classes(before: Card, after: Card, parent_of: Mapping[str, str | None]) -> dict[int, int]:
    """Class id in `before` → id of the same class in `after`.

    Where both come of one first version, an id is the same class for ever. Elsewhere classes are the same that are
    called the same, now or before.

    parent_of   sha256 → sha256 of the parent, of every version at hand
    """
    if _root(before, parent_of) == _root(after, parent_of):
        return {entry.id: entry.id for entry in before.classes if entry.id in {other.id for other in after.classes}}
    id_of = {word: entry.id for entry in after.classes for word in entry.aliases}
    id_of |= {entry.label: entry.id for entry in after.classes}
    return {entry.id: id_of[entry.label] for entry in before.classes if entry.label in id_of}


def _root(card: Card, parent_of: Mapping[str, str | None]) -> str:
    """The first version that a card comes of, as far back as they are known."""
    sha256, seen = card.sha256, set()
    own = {**parent_of, card.sha256: card.parent}
    while (parent := own.get(sha256)) and sha256 not in seen:
        seen.add(sha256)
        sha256 = parent
    return sha256


def class_changes(before: Card, after: Card, same: Mapping[int, int] | None = None) -> ClassChanges:
    """What became of the classes; `same` as `same_classes` has it, else by their labels."""
    if same is None:
        same = same_classes(before, after, {})
    old, new = ({entry.id: entry for entry in card.classes} for card in (before, after))
    pairs = [(old[one], new[other]) for one, other in same.items()]
    return ClassChanges(
        added=tuple(entry.label for entry in after.classes if entry.id not in same.values()),
        removed=tuple(entry.label for entry in before.classes if entry.id not in same),
        renamed=tuple(_renamed(a, b) for a, b in pairs if (a.label, a.name) != (b.label, b.name)),
    )


def _renamed(before: ClassEntry, after: ClassEntry) -> tuple[str, str, str]:
    """What the prompt says now; of a class whose prompt is the same, what its folder is called now."""
    if before.name == after.name:
        return before.label, before.label, after.label
    return before.label, before.name, after.name


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
    asked = {"model": model, "shots": card.shots.asked or "all", "template": card.zero_shot_template}
    return {**asked, **method, "chosen": card.chosen.name if card.chosen else None}


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
