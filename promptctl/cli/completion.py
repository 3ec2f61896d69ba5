"""What the shell completes: names and versions in the store and its trash, learners and recipes."""

from __future__ import annotations

from promptctl.learners import LEARNERS, all_recipes
from promptctl.store.store import Store


def known_names(incomplete: str) -> list[str]:
    return [name for name in Store().names() if name.casefold().startswith(incomplete.casefold())]


def learner_names(incomplete: str) -> list[str]:
    return [name for name in LEARNERS if name.startswith(incomplete)]


def recipe_names(incomplete: str) -> list[str]:
    return [name for name in all_recipes() if name.startswith(incomplete)]


def known_refs(incomplete: str) -> list[str]:
    """Names; after an @ the versions of one."""
    name, at, _ = incomplete.partition("@")
    if not at:
        return known_names(incomplete)
    refs = [str(entry.ref) for known in known_names(name) for entry in Store().versions(known)]
    return [ref for ref in refs if ref.casefold().startswith(incomplete.casefold())]


def in_trash(incomplete: str) -> list[str]:
    found = [*known_refs(incomplete), *(removed.name for removed in Store().trash())]
    return [name for name in dict.fromkeys(found) if name.casefold().startswith(incomplete.casefold())]
