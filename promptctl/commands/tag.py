"""Tag: what a context says of photos as keywords in XMP sidecars; the photos themselves stay as they are."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from promptctl import checks, typed
from promptctl.commands.seen import Limits, Seen, by_answers, by_results
from promptctl.errors import BadSetting, WrongOption
from promptctl.progress import OnProgress
from promptctl.remote import is_remote
from promptctl.report import SkippedFile, TaggedPhoto, TagReport
from promptctl.sorting.plan import Keywords, Refused
from promptctl.sorting.tagging import NONE, Change, Library, Tagged, changes_of, write_sidecars
from promptctl.store.journal import Journal
from promptctl.store.store import SUFFIX, Store

KIND = "tag"


def tag(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    ref: str | os.PathLike[str] | None = None,
    *,
    dry_run: bool = False,
    results: str | os.PathLike[str] | None = None,
    parent: str | None = None,
    unknown_tag: str | None = None,
    doubtful_tag: str | None = None,
    adobe: bool = False,
    unknown: float | Literal["default"] | None = "default",
    min_confidence: float | None = None,
    accept_error: float | None = None,
    together: bool = True,
    store: Store | None = None,
    on_progress: OnProgress | None = None,
    **answering: Any,
) -> TagReport:
    """Write what every image among files and folder trees shows as a keyword into an XMP sidecar beside it.

    A sidecar that is there is merged: of what others keep in it every byte stays, and what the same context wrote
    before is replaced. Images of none of the classes and doubtful ones get no keyword unless one is named for them.
    Whatever is written is in the journal before it is: `undo` brings back the bytes that were there.

    inputs           files and folders, searched through
    ref              NAME, NAME@VERSION or a context file
    dry_run          only tell it
    results          instead of inputs: lines that `classify` printed or wrote to a file; no image is opened
    parent           keyword above the others in a tree of keywords; "": none; None: the name of the context
    unknown_tag      keyword of images of none of the classes; None: none
    doubtful_tag     keyword of doubtful ones; None: none
    adobe            a raw photo without a sidecar gets IMG.xmp, as Adobe's programs call it, not IMG.CR2.xmp
    unknown          share of one's own photos that may be called unknown; None: no photo is; "default": 0.05, and of
                     results what they say
    min_confidence   images of a smaller probability are doubtful; None: as results say, else none is
    accept_error     share of wrong ones among the answers that are taken; None: any
    together         all photos are answered together, so that each answer depends on the others
    store            where names are looked up, and whose journal it is; None: the store of PROMPTCTL_HOME
    on_progress      called with what is being done, how much is done, and of how much
    answering        the other arguments of `classify`
    raises           what `classify` raises, WrongOption, BadResults, StorageFailed
    """
    store, asked = store or Store(), Limits(unknown, min_confidence, accept_error)
    for name, keyword in (("unknown_tag", unknown_tag), ("doubtful_tag", doubtful_tag)):
        if keyword is not None and not keyword.strip():
            raise BadSetting(name, keyword, "a keyword", "look again")
    paths = checks.paths("inputs", inputs)
    if results is None:
        _refuse_elsewhere(paths)
        answering = {**answering, **asked.for_classify(), "together": together}
        seen = by_answers(paths, ref, None, store, on_progress, answering)
    else:
        seen = by_results(checks.path("results", results), paths, ref, store, asked, answering)
    keywords = keywords_of(seen.context, parent, unknown_tag, doubtful_tag)
    library = Library(adobe=adobe)
    found, seen.refused = library.paired(seen.found, seen.refused)
    changes = changes_of(found, keywords, library)
    if dry_run:
        return _report(seen, _told(changes), dry_run=True)
    journal, total = Journal(store.home), len(found)
    on_done = (lambda done: on_progress("tagging", min(done, total), total)) if on_progress else None
    tagged = write_sidecars(
        changes, lambda: journal.begin(KIND, typed.words(), about={"context": seen.context}), on_done
    )
    return _report(seen, tagged, dry_run=False)


def keywords_of(
    context: str | None, parent: str | None = None, unknown: str | None = None, doubtful: str | None = None
) -> Keywords:
    """Which keywords answers become.

    context   NAME@VERSION, a context file as it was given, or None of words
    parent    as `tag` takes it
    """
    name, _, version = (context or "").rpartition("@")
    if not version.isdigit():
        name, version = Path(context or "").name.removesuffix(SUFFIX), ""
    above = name if parent is None else parent.strip()
    return Keywords(name, int(version) if version else None, (above,) if above else (), unknown, doubtful)


def _refuse_elsewhere(paths: Iterable[Path]) -> None:
    for path in paths:
        if is_remote(path):
            raise WrongOption(
                f"a sidecar lies beside its photo on this machine, and {path} is elsewhere",
                "promptctl classify tells what such photos show",
            )


def _told(changes: Iterable[Change | Refused]) -> Tagged:
    tagged = Tagged()
    for one in changes:
        if isinstance(one, Refused):
            tagged.refused.append(one)
        else:
            tagged.changes.append(one)
    return tagged


def _report(seen: Seen, tagged: Tagged, *, dry_run: bool) -> TagReport:
    return TagReport(
        context=seen.context,
        dry_run=dry_run,
        operation=tagged.operation.number if tagged.operation and tagged.changed else None,
        photos=tuple(
            TaggedPhoto(
                one.photo,
                one.sidecar if one.action != NONE else None,
                one.action,
                one.keyword,
                one.shown.label,
                one.shown.probability,
                one.shown.unknown,
                one.shown.doubtful,
            )
            for one in tagged.changes
        ),
        skipped=(
            *(SkippedFile(one.path, one.reason) for one in seen.refused),
            *(SkippedFile(one.path, one.reason) for one in tagged.refused),
        ),
        passed_over=dict(seen.passed_over),
        full=tagged.full,
        together=seen.together,
        taken=seen.taken,
        detections=seen.detections,
    )
