"""Apply: a plan that `sort --plan` wrote, carried out; run again, the same operation goes on."""

from __future__ import annotations

import os

from promptctl import checks
from promptctl.commands.sort import KINDS, carry_out, target_of
from promptctl.progress import OnProgress
from promptctl.report import ApplyReport
from promptctl.sorting.plan import read_plan
from promptctl.store.journal import Head, Journal
from promptctl.store.store import Store


def apply(
    plan: str | os.PathLike[str],
    *,
    store: Store | None = None,
    on_progress: OnProgress | None = None,
) -> ApplyReport:
    """Carry out a plan; what is not as the plan says is left where it is, and named.

    plan          the file
    store         whose journal; None: the store of PROMPTCTL_HOME
    on_progress   called with what is being done, how much is done, and of how much
    raises        BadPlan, BadTarget, OperationRuns, BadJournal and its kinds, StorageFailed
    """
    path = checks.local_path("plan", plan, "photos are sorted")
    read, sha256 = read_plan(path)
    store = store or Store()
    target_of(read.into, store)
    journal = Journal(store.home)
    begun = _begun(journal, sha256)
    report = ApplyReport(
        context=read.context,
        into=read.into,
        mode=read.mode,
        operation=begun.number if begun else None,
        plan=path,
        photos=(),
        sidecars=0,
        before=0,
        there=0,
        skipped=(),
        is_whole=read.is_whole,
        xmp=read.keywords is not None,
    )
    if not read.photos:
        return report
    resume = begun.number if begun else None
    done = carry_out(read, sha256, report, journal, "apply", on_progress, resume)
    assert isinstance(done, ApplyReport)
    return done


def _begun(journal: Journal, sha256: str) -> Head | None:
    """The operation that carries out this very plan, unless it was taken back."""
    heads = journal.heads()
    gone = journal.taken_back(heads)
    mine = [head for head in heads if head.kind in KINDS and head.about.get("plan") == sha256]
    return next((head for head in mine if head.number not in gone), None)
