"""What the shell completes: names, versions and candidates in the store and its trash, learners and recipes."""

from __future__ import annotations

from typer import Context

from promptctl.learners import LEARNERS, all_recipes
from promptctl.store.refs import Ref
from promptctl.store.store import Store


def known_names(incomplete: str) -> list[str]:
    return [name for name in Store().names() if name.casefold().startswith(incomplete.casefold())]


def learner_names(incomplete: str) -> list[str]:
    return [name for name in LEARNERS if name.startswith(incomplete)]


def recipe_names(incomplete: str) -> list[str]:
    return [name for name in all_recipes() if name.startswith(incomplete)]


def known_refs(incomplete: str) -> list[str]:
    """Names; after an @ the versions of one, and its candidate."""
    name, at, _ = incomplete.partition("@")
    if not at:
        return known_names(incomplete)
    refs = [str(Ref(known, number)) for known in known_names(name) for number in Store().numbers(known)]
    return [ref for ref in [*refs, *candidates(name)] if ref.casefold().startswith(incomplete.casefold())]


def candidates(incomplete: str) -> list[str]:
    """`NAME@candidate` of every name that has one."""
    refs = [str(Ref(name, candidate=True)) for name in Store().names() if Store().candidate(name)]
    return [ref for ref in refs if ref.casefold().startswith(incomplete.casefold())]


def in_trash(incomplete: str) -> list[str]:
    removed = [r.name if r.versions else str(Ref(r.name, candidate=True)) for r in Store().trash() if r.refs]
    found = [*known_refs(incomplete), *removed]
    return [name for name in dict.fromkeys(found) if name.casefold().startswith(incomplete.casefold())]


def known_classes(context: Context, incomplete: str) -> list[str]:
    """Labels of the context that was typed before."""
    name = context.params.get("context")
    entry = next((one for one in Store().entries() if name and one.ref.name.casefold() == str(name).casefold()), None)
    labels = entry.card.labels if entry and entry.card else ()
    return [label for label in labels if label.casefold().startswith(incomplete.casefold())]
