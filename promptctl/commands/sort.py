"""Sort: photos into one folder per class, by what a context says of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from promptctl import checks, typed
from promptctl.commands.seen import Limits, by_answers, by_results
from promptctl.commands.tag import keywords_of
from promptctl.commands.writing import check_free, place_file, refuse_inside_store
from promptctl.errors import BadTarget
from promptctl.progress import OnProgress
from promptctl.report import Carried, PlanReport, SkippedFile, SortReport
from promptctl.sorting.apply import Applied, apply_plan
from promptctl.sorting.arrange import Identity, arrange
from promptctl.sorting.plan import COPY, LINK, MODES, Photo, Plan, Refused
from promptctl.sorting.steps import leads_to, looks_unchanged, status_of
from promptctl.store.journal import Journal, Operation, Record, Step
from promptctl.store.store import Store

KINDS = ("sort", "apply", "watch")  # operations that carry out a plan

_DOING = "photos are sorted"


def sort(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    ref: str | os.PathLike[str] | None = None,
    *,
    into: str | os.PathLike[str],
    mode: str = COPY,
    plan: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    results: str | os.PathLike[str] | None = None,
    xmp: bool = False,
    unknown: float | Literal["default"] | None = "default",
    min_confidence: float | None = None,
    accept_error: float | None = None,
    together: bool = True,
    store: Store | None = None,
    on_progress: OnProgress | None = None,
    **answering: Any,
) -> SortReport | PlanReport:
    """Copy, move or link every image among files and folder trees into the folder of its class.

    Images of none of the classes go to `unknown`, doubtful ones to `doubtful`. Nothing is overwritten, and whatever is
    done is in the journal before it is done: `undo` takes it back.

    inputs           files and folders, searched through
    ref              NAME, NAME@VERSION or a context file
    into             the folder of the folders; it is made
    mode             copy, move or link
    plan             only write down what goes where, to a file for `apply`
    dry_run          only tell it
    results          instead of inputs: lines that `classify` printed or wrote to a file; no image is opened
    xmp              what each photo shows is written as a keyword into the XMP sidecar beside it in its new place
    unknown          share of one's own photos that may be called unknown; None: no photo is; "default": 0.05, and of
                     results what they say
    min_confidence   images of a smaller probability are doubtful; None: as results say, else none is
    accept_error     share of wrong ones among the answers that are taken; None: any
    together         all photos are answered together, so that each answer depends on the others
    store            where names are looked up, and whose journal it is; None: the store of PROMPTCTL_HOME
    on_progress      called with what is being done, how much is done, and of how much
    answering        the other arguments of `classify`
    raises           what `classify` raises, BadTarget, BadResults, ExportFailed, StorageFailed
    """
    mode, store = checks.one_of("mode", mode, MODES), store or Store()
    target = target_of(checks.local_target("into", into, _DOING), store)
    out = None if plan is None else checks.path("plan", plan)
    if out is not None:
        check_free(out, force=False)
        refuse_inside_store(out, store)
    asked = Limits(unknown, min_confidence, accept_error)
    if results is None:
        answering = {**answering, **asked.for_classify(), "together": together}
        seen = by_answers(checks.local_paths("inputs", inputs, _DOING), ref, target, store, on_progress, answering)
    else:
        seen = by_results(
            checks.local_path("results", results, _DOING),
            checks.paths("inputs", inputs),
            ref,
            store,
            asked,
            answering,
        )
    planned = arrange(
        seen.found,
        seen.refused,
        into=target,
        mode=mode,
        context=seen.context,
        labels=seen.labels,
        there=carried_before(Journal(store.home), target, mode),
        together=seen.together,
        keywords=keywords_of(seen.context) if checks.flag("xmp", xmp) else None,
    )
    if dry_run:
        return PlanReport(tuple(planned.lines()), _skipped(planned.refused))
    report = SortReport(
        context=seen.context,
        into=target,
        mode=mode,
        operation=None,
        plan=out,
        photos=_carried(planned.photos),
        sidecars=sum(len(photo.sidecars) for photo in planned.photos),
        before=0,
        there=planned.there,
        skipped=_skipped(planned.refused),
        passed_over=dict(seen.passed_over),
        apart=seen.apart,
        planned=out is not None,
        together=seen.together,
        taken=seen.taken,
        detections=seen.detections,
        xmp=xmp,
    )
    if out is not None:
        place_file(out, planned.to_bytes(), force=False)
        return report
    if not planned.photos:
        return report
    return carry_out(planned, planned.sha256, report, Journal(store.home), "sort", on_progress)


# --------------------------------------------------------------------------- where


def target_of(into: Path, store: Store) -> Path:
    """Where photos are sorted into, its links resolved; BadTarget where they cannot be."""
    target = Path(os.path.realpath(into))
    if os.path.lexists(target) and not target.is_dir():
        raise BadTarget(into, "it is not a folder")
    home = Path(os.path.realpath(store.home))
    if any(target.is_relative_to(home / part) for part in ("contexts", "trash", "journal", "cache")):
        raise BadTarget(into, "it is inside the store")
    return target


def carried_before(journal: Journal, into: Path, mode: str, *, or_lay: bool = False) -> dict[Identity, Path]:
    """What an operation that is in force copied or linked into a folder: a file as it was → where it lies.

    or_lay   also what somebody has taken away from there since
    """
    if mode not in (COPY, LINK):
        return {}
    heads = journal.heads()
    gone = journal.taken_back(heads)
    found: dict[Identity, Path] = {}
    for head in heads:
        about = (head.about.get("into"), head.about.get("mode"))
        if head.kind in KINDS and head.number not in gone and about == (os.fspath(into), mode):
            record = journal.read(head.number)
            for number, step in record.steps.items():
                lay = or_lay and number in record.done
                if step["do"] == mode and (lay or _stands(number, step, record)):
                    found.setdefault((step["from"], step["size"], step["mtime_ns"]), Path(step["to"]))
    return found


def _stands(number: int, step: Step, record: Record) -> bool:
    """Whether a copy or a link is there: of one that was stopped, only a whole one."""
    if number in record.done:
        return os.path.lexists(step["to"])
    found = status_of(Path(step["to"]))
    return number not in record.left and (
        looks_unchanged(found, step) or leads_to(Path(step["to"]), Path(step["from"]))
    )


# --------------------------------------------------------------------------- carried out


def carry_out(
    plan: Plan,
    sha256: str,
    report: SortReport,
    journal: Journal,
    kind: str,
    on_progress: OnProgress | None,
    resume: int | None = None,
) -> SortReport:
    """A plan carried out as an operation of its own, or as one that goes on, and what has become of it."""
    about = {"into": os.fspath(plan.into), "mode": plan.mode, "plan": sha256}
    record: Record | None = None
    if resume is None:
        operation: Operation = journal.begin(kind, typed.words(), about=about)
    else:
        operation, record = journal.resume(resume)
    total = len(plan.photos)
    on_done = (lambda done: on_progress("sorting", done, total)) if on_progress else None
    with operation.carried():
        applied = apply_plan(plan, operation, record, on_done)
    return dataclasses.replace(report, operation=operation.number, **_became(applied, report))


def _became(applied: Applied, report: SortReport) -> dict[str, Any]:
    return {
        "photos": _carried(applied.photos),
        "sidecars": applied.sidecars,
        "tagged": applied.tagged,
        "before": applied.before,
        "skipped": (*report.skipped, *_skipped(applied.refused)),
        "full": applied.full,
    }


def _carried(photos: Iterable[Photo]) -> tuple[Carried, ...]:
    return tuple(
        Carried(
            photo.file.source,
            photo.file.target,
            photo.shown.label,
            photo.shown.probability,
            photo.shown.unknown,
            photo.shown.doubtful,
            len(photo.sidecars),
        )
        for photo in photos
    )


def _skipped(refused: Iterable[Refused]) -> tuple[SkippedFile, ...]:
    return tuple(SkippedFile(one.path, one.reason) for one in refused)
