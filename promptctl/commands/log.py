"""Log: the versions of a context, newest first, what changed between them, and how good each is on the same images."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from promptctl.commands.sources import whole_name
from promptctl.commands.stored import changed_at, stored_facts
from promptctl.context import diff as differences
from promptctl.context.card import HELD_OUT, UNSEEN_SHOTS, Card
from promptctl.errors import BadContextFile, reason_of
from promptctl.report import (
    Batch,
    LogReport,
    VersionRow,
)
from promptctl.store.journal import Journal
from promptctl.store.store import Entry, Store

if TYPE_CHECKING:
    from promptctl.commands.history import Exam, Found, Line, Version


def log(name: str, *, store: Store | None = None) -> LogReport:
    """The versions of a context, the newest first: when, what changed, and how good each is on the same images.

    name     what the context is called
    store    where contexts are kept; None: the store of PROMPTCTL_HOME
    raises   InvalidName, ContextNotFound
    """
    store = store or Store()
    entries = store.versions(whole_name(name, "log"))
    line, faults = _measured(entries)
    number_of: dict[str, int] = {}
    rows: list[VersionRow] = []
    before: Card | None = None
    origins = Journal(store.home).origins()
    for entry in entries:
        rows.append(_version(entry, before, number_of, line, faults, _origin(entry, origins)))
        if entry.card:
            number_of.setdefault(entry.card.sha256, entry.ref.version or 0)
            before = entry.card
    exam = line.exam
    return LogReport(
        name=entries[0].ref.name,
        versions=tuple(reversed(rows)),
        candidate=store.candidate(name) is not None,
        measured_on=None if exam is None else HELD_OUT if exam.held_out else UNSEEN_SHOTS,
        measured_of=exam.version if exam else None,
        images=len(exam.truth) if exam else 0,
        batches=tuple(Batch(version, images) for version, images in line.batches),
        elsewhere=line.elsewhere,
        learned_from=line.seen_before,
    )


def _measured(entries: Sequence[Entry]) -> tuple[Line, dict[int, str]]:
    """The versions on the images of the newest that has some; why some cannot be read, by number."""
    from promptctl.commands.history import line_of

    faults: dict[int, str] = {}
    versions: list[Version] = []
    exam: Exam | None = None
    spare: Exam | None = None  # where no version holds any image out
    for entry in reversed(entries):  # each file is read once, and only what is needed of it is kept
        number = entry.ref.version or 0
        if entry.card is None:
            continue
        try:
            version, own = _read(entry, number, exam)
        except (BadContextFile, OSError) as error:
            faults[number] = str(error) if isinstance(error, BadContextFile) else _unreadable(entry, error)
            continue
        versions.append(version)
        exam = exam or (own if own and own.held_out else None)
        spare = spare or own
    return line_of(versions[::-1], exam or spare), faults


def _read(entry: Entry, number: int, exam: Exam | None) -> tuple[Version, Exam | None]:
    """What is needed of a version, and what there is to measure on in it, where that is not known yet."""
    from promptctl.commands.history import Exam, Version
    from promptctl.context.context import Context

    context = Context.from_bytes(entry.path.read_bytes(), entry.path)
    own = None if exam else Exam.of(number, context)
    return Version.of(number, context, by_folds=exam is None and not (own and own.held_out)), own


def _unreadable(entry: Entry, error: OSError) -> str:
    return f"{entry.path} cannot be read: {reason_of(error)}"


def _origin(entry: Entry, origins: Mapping[str, str]) -> str | None:
    """Where the file was fetched from; a copy of it under another name was too."""
    if not origins or entry.card is None:
        return None
    with contextlib.suppress(OSError):
        return origins.get(hashlib.sha256(entry.path.read_bytes()).hexdigest())
    return None


def _version(
    entry: Entry,
    before: Card | None,
    number_of: dict[str, int],
    line: Line,
    faults: dict[int, str],
    origin: str | None,
) -> VersionRow:
    card = entry.card
    parent = card.parent if card else None
    facts = stored_facts(entry)
    fault = facts.pop("fault") or faults.get(entry.ref.version or 0)
    return VersionRow(
        when=changed_at(entry),
        change=differences.change(before, card, number_of) if card else "",
        parent=None if parent is None else f"@{number_of[parent]}" if parent in number_of else parent[:12],
        sha256=card.sha256 if card else None,
        fault=fault,
        origin=origin,
        **facts,
        **_figures(line.found.get(entry.ref.version or 0), line),
    )


def _figures(found: Found | None, line: Line) -> dict[str, Any]:
    from promptctl.commands.history import Found

    found = found or Found(batches=(None,) * len(line.batches))
    measures = found.measures
    return {
        "n": found.n,
        "acc": found.acc,
        "zero_shot": found.zero_shot,
        "nearest_mean": found.nearest_mean,
        "ridge": found.ridge,
        "before": found.before,
        "acc_per_batch": found.batches,
        "avg": measures.average if measures else None,
        "last": measures.last if measures else None,
        "forgetting": measures.forgetting if measures else None,
        "pure_forgetting": measures.pure_forgetting if measures else None,
        "bwt": measures.bwt if measures else None,
        "fwt": found.fwt,
    }
