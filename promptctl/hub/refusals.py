"""Refusals: what huggingface_hub raises, as sentences; its classes and those of its network differ by version."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from promptctl.clip.registry import first_line
from promptctl.errors import (
    GatedRepository,
    HubChanged,
    HubError,
    HubFailed,
    HubForbids,
    HubTokenRefused,
    HubUnreachable,
    NoRepository,
    NoRevision,
    NotShared,
    PromptctlError,
)
from promptctl.hub.address import Address


@contextmanager
def in_words(address: Address, command: str, url: str, *, file: str = "") -> Iterator[None]:
    """HubError for whatever is raised inside, except our own errors.

    command   to type again once the hub can be reached
    url       the page of the repository
    file      what is asked of the repository
    """
    try:
        yield
    except PromptctlError:
        raise
    except Exception as error:
        raise _told(error, address, command, url, file) from error


def _told(error: Exception, address: Address, command: str, url: str, file: str) -> HubError:
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if type(error) is RuntimeError and isinstance(error.__cause__, Exception):  # so an upload wraps what happened to it
        error = error.__cause__
    if isinstance(error, GatedRepoError):
        return GatedRepository(address.repository, url)
    if isinstance(error, RevisionNotFoundError):
        return NoRevision(address.repository, address.revision or "main")
    if isinstance(error, RepositoryNotFoundError):
        return NoRepository(address.repository, has_token=has_token())
    if isinstance(error, EntryNotFoundError):
        return NotShared(address.repository, file)
    return _of_status(error, address, command)


def _of_status(error: Exception, address: Address, command: str) -> HubError:
    status, said = status_of(error), _said(error)
    if status == 401:
        return HubTokenRefused(of_variable=bool(os.environ.get("HF_TOKEN")))
    if status == 403:
        return HubForbids(address.repository, said)
    if status in (409, 412):
        return HubChanged(address.repository)
    if status is not None:
        again = None if 400 <= status < 500 and status not in (408, 429) else "try again later"
        return HubFailed(address.repository, f"the hub answers {status}{f': {said}' if said else ''}", again)
    if isinstance(error, ValueError):  # of what it was given, such as metadata that the hub does not take
        return HubFailed(address.repository, " ".join(str(error).split())[:300], None)
    return HubUnreachable(address.repository, first_line(error), command)


def status_of(error: BaseException) -> int | None:
    """The HTTP status of an answer that was an error; None where there was no answer."""
    found = getattr(getattr(error, "response", None), "status_code", None)
    return found if isinstance(found, int) else None


def _said(error: Exception) -> str:
    """What the hub itself says of it, on one line."""
    return " ".join(str(getattr(error, "server_message", None) or "").split())[:200].rstrip(".")


def has_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None
