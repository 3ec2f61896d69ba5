"""Session: the photos that a person is asked about in one run, and what was said of each, before the run and in it."""

from __future__ import annotations

import threading
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from promptctl.data.names import one_form, prompt_form, readable
from promptctl.data.readers.decisions import ACCEPT, CHANGE, SKIP, UNDO, UNKNOWN, in_force
from promptctl.review.decisions import Decision, DecisionLog, now

LONGEST_LABEL = 80  # characters
_JOINERS = dict.fromkeys((0x200C, 0x200D))  # that Persian and Indian names are written with
_PARTS = "/\\|"  # what would be folders in a label, or several of them


class BadDecision(ValueError):
    """What a page asked for and nobody can do; `str()` says why."""


@dataclass(frozen=True)
class Question:
    """A photo that a person is asked about, and what it is taken for."""

    file: Path  # absolute, as a person knows it
    place: Path  # where it lies, no part of which is a link
    sha256: str
    label: str
    name: str
    probability: float
    unknown: bool = False  # too unlike all that the context knows
    likely: tuple[tuple[str, float], ...] = ()  # labels with probabilities, best first
    copies: tuple[str, ...] = ()  # absolute paths of what looks the same


@dataclass(frozen=True)
class Progress:
    """How far a person is, of the photos of this run."""

    total: int
    decided: int
    by_kind: Mapping[str, int]


class Session:
    """Questions, each answered by its place among them, and an answer is kept before it counts."""

    def __init__(self, context: str, names: Mapping[str, str], questions: Sequence[Question], log: DecisionLog) -> None:
        """names   of the context's classes by their labels"""
        self.context, self.questions, self._log = context, tuple(questions), log
        self._lock, self._ended = threading.Lock(), False
        self._in_force = in_force(log.known)
        self._names = dict(names)
        self._names |= {one.label: one.name or one.label for one in self._in_force if one.label is not None}
        self._names |= names
        self._places = {question.sha256: i for i, question in enumerate(self.questions)}
        self._of_copies = {path: i for i, question in enumerate(self.questions) for path in _files_of(question)}

    @property
    def names(self) -> dict[str, str]:
        """Of all classes by their labels, those that were typed last."""
        with self._lock:
            return dict(self._names)

    def decisions(self) -> dict[int, Decision]:
        """What is said of each question that is answered."""
        with self._lock:
            return self._standing()

    def progress(self) -> Progress:
        standing = self.decisions()
        by_kind = Counter(one.decision for one in standing.values())
        return Progress(len(self.questions), len(standing), {kind: by_kind[kind] for kind in _ORDER})

    def decide(self, index: int, kind: str, label: str | None = None) -> Decision:
        """What a person says of a photo, kept.

        label    of a class, or a new one's name as it was typed; for `change` alone
        raises   BadDecision, and OSError where it cannot be kept, after which nothing is said of the photo
        """
        if not 0 <= index < len(self.questions):
            raise BadDecision(f"there is no photo {index}")
        if kind not in _ORDER:
            raise BadDecision("it is accepted, changed, unknown or skipped")
        question = self.questions[index]
        with self._lock:
            self._check_open()
            found = self._meant(label) if kind == CHANGE else question.label if kind == ACCEPT else None
            kind = ACCEPT if found == question.label else kind
            name = None if found is None else self._names.get(found) or readable(found)
            decision = self._said(question, kind, found, name)
            self._log.add(decision)
            self._in_force.append(decision)
            if found is not None and name is not None:
                self._names.setdefault(found, name)
        return decision

    def undo(self) -> int | None:
        """Take back the last decision about a photo of this run, and say which; None where there is none. OSError."""
        with self._lock:
            self._check_open()
            placed = ((i, self._place_of(self._in_force[i])) for i in reversed(range(len(self._in_force))))
            last, place = next(((i, place) for i, place in placed if place is not None), (None, None))
            if last is None or place is None:
                return None
            before = self._in_force[last]
            undone = self._said(self.questions[place], UNDO)
            self._log.add(replace(undone, sha256=before.sha256, file=before.file))
            del self._in_force[last]
        return place

    def end(self) -> None:
        """Keep nothing more, so that the file can be closed."""
        with self._lock:
            self._ended = True

    def _check_open(self) -> None:
        if self._ended:
            raise BadDecision("the review has ended")

    def _said(self, question: Question, kind: str, label: str | None = None, name: str | None = None) -> Decision:
        return Decision(
            self.context,
            str(question.file),
            question.sha256,
            kind,
            label,
            name,
            question.label,
            question.probability,
            question.copies,
            now(),
        )

    def _standing(self) -> dict[int, Decision]:
        return {place: one for one in self._in_force if (place := self._place_of(one)) is not None}

    def _place_of(self, decision: Decision) -> int | None:
        """The question a decision is about: that of its photo, or of one that was shown with it."""
        place = self._places.get(decision.sha256)
        if place is not None:
            return place
        return next((i for copy in decision.copies if (i := self._of_copies.get(copy)) is not None), None)

    def _meant(self, typed: str | None) -> str:
        """The label of the class that is meant by a label or a name; that of a new class where it is none's."""
        if isinstance(typed, str) and typed in self._names:
            return typed
        text = clean(typed)
        said = prompt_form(readable(text))
        known = ((label, word) for label, name in self._names.items() for word in (name, readable(label)))
        return next((label for label, word in known if prompt_form(word) == said), text)


_ORDER = (ACCEPT, CHANGE, UNKNOWN, SKIP)


def _files_of(question: Question) -> Iterable[str]:
    return (str(question.file), *question.copies)


def clean(typed: str | None) -> str:
    """A new class's label as it was typed, without blanks around it; BadDecision for what is no name."""
    if not isinstance(typed, str):
        raise BadDecision("a class has a name")
    if any(unicodedata.category(character).startswith("C") for character in typed.translate(_JOINERS)):
        raise BadDecision("a name has no control characters")
    text = " ".join(one_form(typed).split())
    if not text or not any(character.isalnum() for character in text):
        raise BadDecision("a class has a name of letters")
    if len(text) > LONGEST_LABEL:
        raise BadDecision(f"a name has {LONGEST_LABEL} characters at most")
    if text.startswith((".", "-")) or any(character in _PARTS for character in text):
        raise BadDecision("a name begins with a letter, and has no / \\ or | in it")
    return text
