"""Pull: a context from a repository of a hub into the store; what is fetched is data, verified, and never code."""

from __future__ import annotations

import contextlib
import shlex
from typing import TYPE_CHECKING

from promptctl import checks
from promptctl.commands.import_context import check_new
from promptctl.errors import BackboneError, ContextExists, InvalidName
from promptctl.report import PullReport
from promptctl.store.refs import check_name
from promptctl.store.store import Entry, Store

if TYPE_CHECKING:
    from promptctl.context.card import BackboneId
    from promptctl.context.context import Context
    from promptctl.hub.address import Address


def pull(repository: str, name: str | None = None, *, update: bool = False, store: Store | None = None) -> PullReport:
    """Store the context of a repository; nothing where a version of the name is the same file.

    repository   OWNER/NAME, or OWNER/NAME@REVISION: a branch, a tag or a commit
    name         what to call the context; None: what the repository is called
    update       store it as the next version where there is one of this name, or ContextExists
    store        where to keep it; None: the store of PROMPTCTL_HOME
    raises       InvalidRepository, InvalidName, ContextExists, BadContextFile, HubError and its kinds
    """
    from promptctl.hub.address import Address

    example = "promptctl pull OWNER/NAME   (or OWNER/NAME@REVISION)"
    address = Address.parse(checks.string("repository", repository, "you/birds-context"), example)
    store = store or Store()
    name = _checked_name(name, address)
    from promptctl.hub.outgoing import FILE

    data, commit = _fetched(address)
    from promptctl.context.context import Context

    context = Context.from_bytes(data, f"{FILE} of {address}")
    here = _here(name, data, store)
    entry = here or _stored(name, data, f"hf://{address.repository}@{commit}", address, store, update)
    return _report(context, entry, commit, address, stored=here is None)


def _checked_name(name: str | None, address: Address) -> str:
    if name is not None:
        return check_name(name)
    try:
        return check_name(address.name)
    except InvalidName as error:
        raise InvalidName(address.name, error.reason, suggestion=error.suggestion, option="--name ") from None


def _fetched(address: Address) -> tuple[bytes, str]:
    """The file of a context and the commit it is of; it is fetched on once its beginning has said that it is one."""
    from promptctl.hub.incoming import is_context
    from promptctl.hub.outgoing import FILE, LARGEST
    from promptctl.hub.repository import Repository

    there = Repository(address, shlex.join(["promptctl", "pull", str(address)]))
    there.check_reachable()
    state = there.state()
    return there.fetch(FILE, state, at_most=LARGEST, look=is_context(f"{FILE} of {address}", LARGEST)), state.commit


def _here(name: str, data: bytes, store: Store) -> Entry | None:
    """The newest version of a name that is the same file."""
    entries = store.versions(name) if store.has(name) else ()
    same = (entry for entry in reversed(entries) if entry.n_bytes == len(data) and _bytes_of(entry) == data)
    return next(same, None)


def _bytes_of(entry: Entry) -> bytes | None:
    with contextlib.suppress(OSError):
        return entry.path.read_bytes()
    return None


def _stored(name: str, data: bytes, origin: str, address: Address, store: Store, update: bool) -> Entry:
    if not update:
        try:
            check_new(name, store)
        except ContextExists as error:
            again = shlex.join(["promptctl", "pull", str(address), "--name", name, "--update"])
            raise ContextExists(name, f"{again}   (as its next version), or another --name") from error
    return store.save(name, data, new=not update, origin=origin)


def _report(context: Context, entry: Entry, commit: str, address: Address, *, stored: bool) -> PullReport:
    card = context.card
    return PullReport(
        context=str(entry.ref),
        path=entry.path,
        repository=address.repository,
        revision=address.revision,
        commit=commit,
        stored=stored,
        classes=card.labels,
        backbone=card.backbone.name,
        backbone_here=_is_here(card.backbone),
        shots=len(context.shots),
        n_bytes=entry.n_bytes,
        sha256=card.sha256,
    )


def _is_here(backbone: BackboneId) -> bool:
    """Whether its weights are on this machine, as far as can be told without reading them; nothing is fetched."""
    from promptctl.clip import kept, registry

    if kept.find(backbone.fingerprint) is not None:
        return True
    try:
        registry.locate(backbone.name, fetch=False)
    except BackboneError:
        return False
    return True
