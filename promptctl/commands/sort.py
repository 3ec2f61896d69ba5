"""Sort: photos into one folder per class, by what a context says of them."""

from __future__ import annotations

import dataclasses
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptctl import checks, typed
from promptctl.commands import answers as taking
from promptctl.commands.classify import classify
from promptctl.commands.places import check_places
from promptctl.commands.results import read_results
from promptctl.commands.sources import locate
from promptctl.commands.writing import check_free, place_file, refuse_inside_store
from promptctl.errors import BadTarget, WrongOption
from promptctl.progress import OnProgress
from promptctl.report import Carried, Classified, PlanReport, SkippedFile, SortReport, Taken
from promptctl.sorting.apply import Applied, apply_plan
from promptctl.sorting.arrange import Answered, Identity, arrange
from promptctl.sorting.places import DOUBTFUL, UNKNOWN, folder_names
from promptctl.sorting.plan import COPY, LINK, MODES, Photo, Plan, Refused, Shown
from promptctl.sorting.steps import leads_to, looks_unchanged, status_of
from promptctl.store.journal import Journal, Operation, Record, Step
from promptctl.store.store import Store

KINDS = ("sort", "apply")  # operations that carry out a plan


def sort(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    ref: str | os.PathLike[str] | None = None,
    *,
    into: str | os.PathLike[str],
    mode: str = COPY,
    plan: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    results: str | os.PathLike[str] | None = None,
    together: bool = True,
    unknown: float | None = taking.UNKNOWN,
    min_confidence: float = 0.0,
    accept_error: float | None = None,
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
    results          instead of inputs: lines that `classify` printed or wrote; no image is opened. With `ref`, which
                     answers are taken is asked anew, else only the smallest probability
    together         photos are answered together, as the whole folder is known before any has a place
    unknown, min_confidence, accept_error   which answers are taken, as in `classify`
    store            where names are looked up, and whose journal it is; None: the store of PROMPTCTL_HOME
    on_progress      called with what is being done, how much is done, and of how much
    answering        the other arguments of `classify`
    raises           what `classify` raises, BadTarget, BadResults, ExportFailed, StorageFailed
    """
    mode, store = checks.one_of("mode", mode, MODES), store or Store()
    target = _target(checks.path("into", into), store)
    out = None if plan is None else checks.path("plan", plan)
    if out is not None:
        check_free(out, force=False)
        refuse_inside_store(out, store)
    taken = taking.Taking(unknown, min_confidence, accept_error)
    if results is None:
        answering = {**answering, "together": together, **dataclasses.asdict(taken)}
        seen = _by_answers(checks.paths("inputs", inputs), ref, target, store, on_progress, answering)
    else:
        seen = _by_results(checks.path("results", results), checks.paths("inputs", inputs), ref, store, taken)
    planned = arrange(
        seen.found,
        seen.refused,
        into=target,
        mode=mode,
        context=seen.context,
        labels=seen.labels,
        there=carried_before(Journal(store.home), target, mode),
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
        taken=seen.taken,
        together=seen.together,
    )
    if out is not None:
        place_file(out, planned.to_bytes(), force=False)
        return report
    if not planned.photos:
        return report
    return carry_out(planned, planned.sha256, report, Journal(store.home), "sort", on_progress)


# --------------------------------------------------------------------------- what photos show


@dataclass
class _Seen:
    """What is known of photos before they get a place."""

    context: str | None
    labels: Sequence[str]
    found: list[Answered] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    apart: tuple[Path, ...] = ()
    taken: Taken = field(default_factory=Taken)
    together: bool = False


def _by_answers(
    paths: Sequence[Path],
    ref: str | os.PathLike[str] | None,
    into: Path,
    store: Store,
    on_progress: OnProgress | None,
    answering: Mapping[str, Any],
) -> _Seen:
    if ref is not None:
        check_places(ref, paths, store, "promptctl sort {photos} --prompt {context} --into FOLDER")
    elif answering.get("words") is None:
        raise WrongOption("a context or words are needed to sort by", 'add --prompt NAME, or --words "emu, ibis"')
    apart = _apart(into, _labels(ref, answering.get("words"), store))
    report = classify(paths, ref, **{**answering, "top": 1}, store=store, apart=apart, on_progress=on_progress)
    seen = _Seen(report.context, report.labels, taken=report.taken, together=report.together)
    seen.apart = tuple(one for one in apart if _is_below(one, paths))
    for item in report.items():
        if isinstance(item, Classified):
            seen.found.append((item.path, _shown(item)))
        elif isinstance(item, SkippedFile):
            seen.refused.append(Refused(item.path, item.reason))
    seen.passed_over = Counter(report.tail()["passed_over"])
    return seen


def _shown(item: Classified) -> Shown:
    best = item.top[0]
    taken = item.unknown, item.doubtful, item.likeness
    return Shown(best.label, best.name, best.probability, *taken, item.sha256)


def _labels(ref: str | os.PathLike[str] | None, words: Any, store: Store) -> Sequence[str]:
    """Of the classes, before any photo is opened."""
    if ref is None:
        from promptctl.commands.words import class_words

        return tuple(entry.label for entry in class_words(words))
    source = locate(ref, store)
    return tuple(source.load().card.labels)


def _apart(into: Path, labels: Sequence[str]) -> tuple[Path, ...]:
    """What is sorted already: all of the folder that is sorted into, or where it is sorted itself, its folders."""
    return (into, *(into / folder for folder in (*folder_names(labels).values(), UNKNOWN, DOUBTFUL)))


def _is_below(folder: Path, paths: Sequence[Path]) -> bool:
    """Whether a folder is there, and lies in one of those that are searched through."""
    if not folder.is_dir() or folder.parent.is_symlink():
        return False
    roots = [Path(os.path.realpath(path)) for path in paths]
    return folder not in roots and any(folder.is_relative_to(root) for root in roots)


def _by_results(
    results: Path, paths: Sequence[Path], ref: str | os.PathLike[str] | None, store: Store, taken: taking.Taking
) -> _Seen:
    """Answers as they were, of which those are taken that are asked for now."""
    if paths:
        raise WrongOption("results name their photos, and others are given too", "leave out one of the two")
    found, refused = read_results(results)
    labels = sorted({shown.label for _, shown in found})
    if ref is None:
        if taken.accept_error is not None:
            raise WrongOption("a context knows how often it is wrong, and none is given", "add --prompt NAME")
        least = taken.min_confidence
        return _Seen(None, labels, [(path, _doubted(shown, least)) for path, shown in found], refused)
    source = locate(ref, store)
    context = source.load()
    known = context.card.labels
    gate, said = taking.gate_of(context, source.name, taken)
    floor_of = {} if gate.floors is None else dict(zip(known, gate.floors.tolist(), strict=True))
    seen = [(path, _doubted(_judged(shown, floor_of), gate.least)) for path, shown in found]
    return _Seen(source.name, (*known, *(label for label in labels if label not in known)), seen, refused, taken=said)


def _judged(shown: Shown, floor_of: Mapping[str, float]) -> Shown:
    """Unknown or not by the floors of classes; as it was where its likeness is not known."""
    if shown.likeness is None and floor_of:
        return shown
    below = shown.likeness is not None and shown.likeness < floor_of.get(shown.label, -math.inf)
    return dataclasses.replace(shown, unknown=below)


def _doubted(shown: Shown, least: float) -> Shown:
    """Doubtful or not by its probability; as it was where nothing is asked."""
    if not least:
        return shown
    return dataclasses.replace(shown, doubtful=not shown.unknown and shown.probability < least)


# --------------------------------------------------------------------------- where


def _target(into: Path, store: Store) -> Path:
    """Where photos are sorted into, its links resolved; BadTarget where they cannot be."""
    target = Path(os.path.realpath(into))
    if os.path.lexists(target) and not target.is_dir():
        raise BadTarget(into, "it is not a folder")
    home = Path(os.path.realpath(store.home))
    if any(target.is_relative_to(home / part) for part in ("contexts", "trash", "journal", "cache")):
        raise BadTarget(into, "it is inside the store")
    return target


def carried_before(journal: Journal, into: Path, mode: str) -> dict[Identity, Path]:
    """What an operation that is in force copied or linked into a folder: a file as it was → where it lies."""
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
                if step["do"] == mode and _stands(number, step, record):
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
