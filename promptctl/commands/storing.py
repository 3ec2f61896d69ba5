"""Storing: a new version in its place: the next of its name, the first of another, or beside them if it was refused."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from promptctl.errors import ContextExists, LearnedButNotStored, NotDurable, Outdated, StorageFailed, StoreLocked
from promptctl.store import files
from promptctl.store.store import SUFFIX, Entry, Store

if TYPE_CHECKING:
    from promptctl.commands.guarding import Judged
    from promptctl.context.context import Context

T = TypeVar("T")
_TRIES = 3  # where others store versions of the name meanwhile


@dataclass(frozen=True, eq=False)
class Placed:
    """A version, and where it is now."""

    entry: Entry
    context: Context
    refused: bool  # it lies beside the versions, for a person to decide


def once_more(make: Callable[[], T]) -> T:
    """What `make` returns; where another version was stored meanwhile, it is made again on top of that."""
    for _ in range(_TRIES - 1):
        with contextlib.suppress(Outdated):
            return make()
    return make()


def place(judged: Judged, source: Entry, store: Store, *, force: bool, into: str | None = None) -> Placed:
    """A version that the guard has judged, after the one it goes on from.

    force    although it is refused; the card says so
    into     as the first version of another name
    raises   Outdated where there is a newer version by now
    """
    context, refused = judged.recorded(forced=force), judged.verdict.refused and not force
    data, name, version = context.to_bytes(), source.ref.name, source.ref.version
    if refused:
        entry, _ = store.save_candidate(name, data, after=version)
    elif into:
        entry = store_version(context, into, store, new=True)
    else:
        entry = store_version(context, name, store, new=False, after=version)
    return Placed(entry, context, refused)


def store_version(context: Context, name: str, store: Store, *, new: bool, after: int | None = None) -> Entry:
    """The new version; where the store does not take it, a file beside, so that no learning is lost."""
    data = context.to_bytes()
    try:
        return store.save(name, data, new=new, after=after)
    except NotDurable:  # it is stored
        raise
    except (StorageFailed, StoreLocked, ContextExists) as error:
        for folder in (Path.cwd(), Path(tempfile.gettempdir())):
            file = folder / f"{name}-{secrets.token_hex(4)}{SUFFIX}"
            with contextlib.suppress(OSError):
                files.write_atomic(file, data, replace=True)
                raise LearnedButNotStored(error, file, name) from error
        raise
