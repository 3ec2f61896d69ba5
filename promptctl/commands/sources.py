"""Sources: which context file a person means by a name, a version or a path."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.context.card import context_file
from promptctl.errors import (
    ContextNotFound,
    InvalidName,
    NotAContext,
    WrongArgument,
)
from promptctl.store.refs import Ref
from promptctl.store.store import SUFFIX, Store

if TYPE_CHECKING:
    from promptctl.context.context import Context


@dataclass(frozen=True)
class Source:
    """A context file, and what to call it."""

    name: str  # birds@3, or the path as it was given
    path: Path

    def load(self) -> Context:
        from promptctl.context.context import Context

        return Context.load(self.path)


def locate(ref: str | os.PathLike[str], store: Store | None) -> Source:
    """What NAME, NAME@VERSION or the path of a context file means; a PathLike is always a path.

    raises   InvalidName, ContextNotFound, VersionNotFound, NoSuchFile, NotAFile, NotAContext,
             WrongArgument
    """
    if not isinstance(store, Store | None):
        raise WrongArgument("store", f"{store!r:.60}", "a Store or None")
    text = as_text(ref)
    if is_file_reference(text):
        path = Path(os.path.expanduser(text))  # noqa: PTH111  which lets be what it cannot expand
        if path.is_dir():
            raise NotAContext(text)
        return Source(text, context_file(path))
    try:
        entry = (store or Store()).find(Ref.parse(text))
    except (InvalidName, ContextNotFound) as error:
        if Path(text).is_file():
            error.hint = f"did you mean the file {shlex.quote(f'./{text}')}?"
        elif Path(text).is_dir() and isinstance(error, ContextNotFound):
            error.hint = f"{error.hint}   ({text} is a folder here, and a context was expected)"
        raise
    return Source(str(entry.ref), entry.path)


def as_text(ref: str | os.PathLike[str]) -> str:
    """A reference as a person types it: a path is one that `is_file_reference` knows for one."""
    if isinstance(ref, str):
        return ref
    text = str(checks.path("context", ref))
    return text if is_file_reference(text) else os.path.join(os.curdir, text)  # noqa: PTH118  which Path takes away


def is_file_reference(text: str) -> bool:
    """Names hold neither slashes nor dots."""
    return "/" in text or os.sep in text or text.lower().endswith(SUFFIX)


def whole_name(text: str, command: str) -> str:
    """A name without a version; InvalidName where there is one, which `command` does not take."""
    ref = Ref.parse(text)
    if not ref.is_whole:
        raise InvalidName(text, f"{command} takes a name with all its versions", suggestion=ref.name)
    return ref.name
