"""Push: a context into a repository of a hub, for other people or other machines."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from promptctl import __version__, checks, signals
from promptctl.commands.export import say_what_a_head_tells
from promptctl.commands.sources import as_text, is_file_reference, locate
from promptctl.errors import BadSetting, HubClash, HubFailed, InvalidRepository, NoRepository, NoRevision
from promptctl.report import PushedFile, PushReport
from promptctl.store.store import Store

if TYPE_CHECKING:
    from promptctl.hub.outgoing import Outgoing
    from promptctl.hub.repository import Repository, State

_LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")


@dataclass(frozen=True)
class _Asked:
    """What a person wants uploaded, and where."""

    context: str  # birds@3
    private: bool | None  # None: as it is, and a new repository is private
    license: str | None
    tag: str | None


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is written where, looked at before anything is."""

    repository: Repository
    state: State | None  # of the branch; None: there is no repository
    new_branch: bool
    files: Mapping[str, bytes]
    report: PushReport


def push(
    ref: str | os.PathLike[str],
    repository: str,
    *,
    shots: bool = False,
    private: bool | None = None,
    license: str | None = None,
    revision: str | None = None,
    tag: str | None = None,
    dry_run: bool = False,
    confirm: Callable[[str], None] | None = None,
    store: Store | None = None,
) -> PushReport:
    """Upload a context and a model card written from it, in one commit; nothing where both are there already.

    ref          NAME, NAME@VERSION or a context file
    repository   OWNER/NAME; it is made where there is none
    shots        with the features and checksums of the photos it was learned from
    private      of a new repository; None: private, and one that is there stays as it is
    license      as the hub calls it, such as cc-by-4.0
    revision     a branch; None: main
    tag          a name for the commit, such as v3
    dry_run      only look what would be written
    confirm      is told what is to be written before it is; what it raises stops it
    store        where names are looked up; None: the store of PROMPTCTL_HOME
    raises       BadSetting, NotInStore and its kind, BadContextFile, HubError and its kinds
    """
    from promptctl.hub.address import Address

    command = shlex.join(["promptctl", "push", as_text(ref), repository])
    address = Address.parse(checks.string("repository", repository, "you/birds-context"), _example(ref))
    if address.revision:
        again = ["promptctl", "push", as_text(ref), address.repository, "--revision", address.revision]
        raise InvalidRepository(repository, shlex.join(again))
    asked = _Asked(as_text(ref), private, _checked_license(license), _checked_revision("tag", tag))
    source = locate(ref, store)
    context = source.load()
    from promptctl.hub.outgoing import Outgoing, check_size
    from promptctl.hub.repository import Repository

    outgoing = Outgoing.of(context, shots=shots)
    if not shots:
        say_what_a_head_tells(context)
    check_size(outgoing.data, source.name)
    branch = replace(address, revision=_checked_revision("revision", revision))
    there = Repository(branch, command)
    there.check_reachable()
    if not dry_run:
        there.check_token()
    plan = _planned(replace(asked, context=source.name), outgoing, there, dry_run)
    if dry_run or plan.report.unchanged:
        return plan.report
    if confirm:
        confirm(plan.report.what)
    return _carried_out(plan, "a context" if is_file_reference(asked.context) else source.name)


def _example(ref: str | os.PathLike[str]) -> str:
    name = as_text(ref).partition("@")[0]
    return f"promptctl push {shlex.quote(as_text(ref))} OWNER/{'birds' if is_file_reference(name) else name}-context"


def _checked_license(license: str | None) -> str | None:
    if license is not None and not _LICENSE.fullmatch(license):
        raise BadSetting("license", license, "a license as the hub calls it", "cc-by-4.0")
    return license


def _checked_revision(setting: str, revision: str | None) -> str | None:
    from promptctl.hub.address import is_revision

    if revision is not None and not is_revision(revision):
        raise BadSetting(setting, revision, "a name that git allows", "v3")
    return None if setting == "revision" and revision == "main" else revision


def _planned(asked: _Asked, outgoing: Outgoing, there: Repository, dry_run: bool) -> _Plan:
    from promptctl.hub import model_card
    from promptctl.hub.outgoing import FILE

    state, new_branch = _state(there)
    _check_visibility(asked, there, state)
    shared = model_card.Shared(outgoing, there.address.repository, asked.license)
    files = {FILE: outgoing.data, model_card.README: model_card.written(shared, _readme(there, state)).encode()}
    new = state is None or new_branch
    changed = {path: data for path, data in files.items() if new or (state and not state.has(path, data))}
    report = PushReport(
        context=asked.context,
        repository=there.address.repository,
        url=there.url,
        revision=there.address.revision or "main",
        created=state is None,
        private=state.private if state else asked.private is not False,
        commit=state.commit if state and not changed else None,
        files=tuple(_file(path, data, path in changed) for path, data in files.items()),
        shots=outgoing.shots,
        tag=asked.tag,
        tagged=_is_new_tag(asked.tag, there, state, bool(changed)),
        dry_run=dry_run,
        card=files[model_card.README].decode(),
    )
    return _Plan(there, state, new_branch, changed, report)


def _state(there: Repository) -> tuple[State | None, bool]:
    """What is there, and whether a branch has to be made for it."""
    try:
        return there.state(), False
    except NoRevision:
        return there.main_state(), True
    except NoRepository:
        return None, there.address.revision is not None


def _check_visibility(asked: _Asked, there: Repository, state: State | None) -> None:
    """HubClash where a repository is not what it was asked to be; nothing changes that in passing."""
    if state is None or asked.private in (None, state.private):
        return
    now = "private" if state.private else "public"
    raise HubClash(
        f"{there.address.repository} is {now}, and push does not change that",
        f"leave out --{'public' if state.private else 'private'}, or change it in its settings at {there.url}",
    )


def _readme(there: Repository, state: State | None) -> str:
    from promptctl.hub.model_card import LARGEST, README

    if state is None or README not in state.files:
        return ""
    try:
        return there.fetch(README, state, at_most=LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"its {README} is not UTF-8, and what people wrote there would be lost"
        raise HubFailed(there.address.repository, reason, f"correct it at {there.url}") from error


def _is_new_tag(tag: str | None, there: Repository, state: State | None, changes: bool) -> bool:
    """Whether the tag is to be made; HubClash where it stands elsewhere, for a tag is never moved."""
    if tag is None:
        return False
    tags = there.tags() if state else {}
    if tag not in tags:
        return True
    if changes or state is None or tags[tag] != state.commit:
        raise HubClash(
            f"{there.address.repository} has a tag '{tag}' already, at {tags[tag][:12]}", "another --tag, or none"
        )
    return False


def _file(path: str, data: bytes, changed: bool) -> PushedFile:
    from hashlib import sha256

    return PushedFile(path, len(data), sha256(data).hexdigest(), changed)


def _carried_out(plan: _Plan, named: str) -> PushReport:
    report, there = plan.report, plan.repository
    if plan.state is None:
        there.create(private=report.private)
        signals.say(f"{report.repository} was made and has no context yet, the same command goes on")
    if plan.new_branch:
        there.create_branch()
    commit = report.commit
    if plan.files:
        after = plan.state.commit if plan.state else None
        commit = there.commit(plan.files, f"Upload {named} with promptctl {__version__}", after=after)
        signals.say(f"{report.repository} holds {named} at {commit[:12]}")
    if report.tag and report.tagged and commit:
        there.tag(report.tag, commit)
    return replace(report, commit=commit)
