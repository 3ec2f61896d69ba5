"""Seen: what photos show, by a context or by results of before, as far as they need it to get a place."""

from __future__ import annotations

import dataclasses
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from promptctl.commands import answers
from promptctl.commands.answers import Taking, gate_of
from promptctl.commands.classify import classify
from promptctl.commands.detected import PASSED
from promptctl.commands.places import check_places
from promptctl.commands.results import read_results
from promptctl.commands.sources import locate
from promptctl.context.card import read_card
from promptctl.errors import WrongOption
from promptctl.progress import OnProgress
from promptctl.report import Classified, DetectorSaid, SkippedFile, Taken
from promptctl.sorting.arrange import Answered
from promptctl.sorting.places import DOUBTFUL, UNKNOWN, folder_names
from promptctl.sorting.plan import Refused, Shown
from promptctl.store.store import Store

_OF_PHOTOS = ("words", "files_from", "exclude", "burst", "detections", "detection_threshold")  # not of results


@dataclass
class Seen:
    """What is known of photos before they get a place."""

    context: str | None
    labels: Sequence[str]
    found: list[Answered] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    apart: tuple[Path, ...] = ()
    together: bool = False
    taken: Taken = field(default_factory=Taken)
    detections: DetectorSaid | None = None


@dataclass(frozen=True)
class Limits:
    """Which answers somebody wants to be taken, as far as it was said."""

    unknown: float | Literal["default"] | None
    min_confidence: float | None
    accept_error: float | None

    @property
    def taking(self) -> Taking:
        unknown = answers.UNKNOWN if self.unknown == "default" else self.unknown
        return Taking(unknown, self.min_confidence or 0.0, self.accept_error)

    def for_classify(self) -> dict[str, Any]:
        return vars(self.taking)

    @property
    def need_a_context(self) -> bool:
        return self.accept_error is not None or self.unknown not in ("default", None)


def by_answers(
    paths: Sequence[Path],
    ref: str | os.PathLike[str] | None,
    into: Path | None,
    store: Store,
    on_progress: OnProgress | None,
    answering: Mapping[str, Any],
) -> Seen:
    """What is said of photos now.

    into   where they are sorted into, of which nothing is looked at; None: they are tagged where they are
    """
    if ref is not None:
        verb, more = ("tag", "") if into is None else ("sort", " --into FOLDER")
        check_places(ref, paths, store, f"promptctl {verb} {{photos}} --prompt {{context}}{more}")
    elif answering.get("words") is None:
        goal = "tag" if into is None else "sort"
        raise WrongOption(f"a context or words are needed to {goal} by", 'add --prompt NAME, or --words "emu, ibis"')
    apart = () if into is None else apart_of(into, _labels(ref, answering.get("words"), store))
    report = classify(paths, ref, **{**answering, "top": 1}, store=store, apart=apart, on_progress=on_progress)
    seen = Seen(
        report.context,
        report.labels,
        apart=tuple(one for one in apart if _is_below(one, paths)),
        together=report.together,
        taken=report.taken,
        detections=report.detections,
    )
    for item in report.items():
        if isinstance(item, Classified):
            seen.found.append((item.path, _shown(item)))
        elif isinstance(item, SkippedFile):
            seen.refused.append(Refused(item.path, item.reason))
    seen.passed_over = Counter(report.tail()["passed_over"])
    return seen


def _shown(item: Classified) -> Shown:
    best = item.top[0]
    return Shown(best.label, best.name, best.probability, item.unknown, item.doubtful, item.likeness, item.sha256)


def _labels(ref: str | os.PathLike[str] | None, words: Any, store: Store) -> Sequence[str]:
    """Of the classes, before any photo is opened."""
    if ref is None:
        from promptctl.commands.words import class_words

        return tuple(entry.label for entry in class_words(words))
    return read_card(locate(ref, store).path).labels  # all of it is read, and verified, by what answers


def apart_of(into: Path, labels: Sequence[str]) -> tuple[Path, ...]:
    """What is sorted already: all of the folder that is sorted into, or where it is sorted itself, its folders."""
    folders = folder_names(dict.fromkeys((*labels, *PASSED))).values()
    return (into, *(into / folder for folder in (*folders, UNKNOWN, DOUBTFUL)))


def _is_below(folder: Path, paths: Sequence[Path]) -> bool:
    """Whether a folder is there, and lies in one of those that are searched through."""
    if not folder.is_dir() or folder.parent.is_symlink():
        return False
    roots = [Path(os.path.realpath(path)) for path in paths]
    return folder not in roots and any(folder.is_relative_to(root) for root in roots)


def by_results(
    results: Path,
    paths: Sequence[Path],
    ref: str | os.PathLike[str] | None,
    store: Store,
    asked: Limits,
    answering: Mapping[str, Any],
) -> Seen:
    """What was said of photos before.

    answering   how photos are answered, which nobody asks for here
    """
    useless = next((name for name in _OF_PHOTOS if answering.get(name)), None)
    if useless is not None:
        option = f"--{useless.replace('_', '-')}"
        raise WrongOption(f"results are answers already, {option} has no effect", f"leave out {option} or --from")
    if paths:
        raise WrongOption("results name their photos, and others are given too", "leave out one of the two")
    found, refused = read_results(results)
    labels = sorted({shown.label for _, shown in found})
    if ref is None:
        if asked.need_a_context:
            raise WrongOption("what is unknown or too often wrong only a context can tell", "add --prompt NAME")
        limited = [(path, _limited(shown, asked, asked.min_confidence, -math.inf)) for path, shown in found]
        return Seen(None, labels, limited, refused)
    source = locate(ref, store)
    context = source.load()
    known = context.card.labels
    seen = Seen(source.name, (*known, *(label for label in labels if label not in known)), found, refused)
    floors: dict[str, float] = {}
    least = asked.min_confidence
    if asked.need_a_context or least is not None:
        gate, taken = gate_of(context, source.name, asked.taking)
        floors = {} if gate.floors is None else dict(zip(known, map(float, gate.floors), strict=True))
        least = gate.least or None
        seen.taken = taken if asked.unknown != "default" else dataclasses.replace(taken, rejection=None, cannot=None)
    seen.found = [(path, _limited(shown, asked, least, floors.get(shown.label, -math.inf))) for path, shown in found]
    return seen


def _limited(shown: Shown, asked: Limits, least: float | None, floor: float) -> Shown:
    """What is taken of an answer that was found before; where nothing is asked, as it was.

    least   probability from which on it is taken; None: as it was
    floor   least likeness of a photo of its class
    """
    if shown.passed:
        return shown
    unknown = shown.unknown
    if asked.unknown is None:
        unknown = False
    elif asked.unknown != "default" and shown.likeness is not None:
        unknown = shown.likeness < floor
    doubtful = shown.doubtful if least is None else shown.probability < least
    return dataclasses.replace(shown, unknown=unknown, doubtful=doubtful and not unknown)
