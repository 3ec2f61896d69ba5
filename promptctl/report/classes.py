"""What the class commands, `relabel` and `merge` did: each is a new version of a context."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.report.base import Report, Row
from promptctl.report.guard import GuardFacts, not_the_next, refused_under
from promptctl.report.phrases import counted_images, joined, next_lines, number_of, percent, size


@dataclass(frozen=True)
class ListedClass:
    """One class of a context."""

    id: int
    label: str
    name: str  # what the prompt says
    aliases: tuple[str, ...]
    train: int  # photos it was learned from
    held_out: int
    since: int | None  # number of the version that added it; None: not known


@dataclass(frozen=True)
class ClassListReport(Report):
    type: ClassVar[str] = "class list"

    context: str
    classes: tuple[ListedClass, ...]

    def rows(self) -> list[Row]:
        return [{**dataclasses.asdict(row), "aliases": " | ".join(row.aliases)} for row in self.classes]

    def tables(self) -> list[list[Row]]:
        return [
            [
                {
                    "id": row.id,
                    "label": row.label,
                    "name": row.name if row.name != row.label else None,
                    "aliases": ", ".join(row.aliases) or None,
                    "photos": row.train,
                    "held out": row.held_out,
                    "since": row.since,
                }
                for row in self.classes
            ]
        ]

    def spare(self) -> list[str]:
        return ["since", "held out", "aliases"]

    def names(self) -> list[str]:
        return [row.label for row in self.classes]

    def summary(self) -> list[str]:
        return [f"{self.context}: {len(self.classes)} classes"]


@dataclass(frozen=True)
class MovedClass:
    """A class, and photos that it gave or got."""

    label: str
    id: int
    photos: int


@dataclass(frozen=True)
class HeldElsewhere:
    """Another name that holds photos which were purged here."""

    name: str
    photos: int
    label: str  # what they are called there


@dataclass(frozen=True)
class VersionReport(Report):
    """A version that came of another without new photos."""

    context: str  # birds@2
    path: Path
    parent: str  # birds@1
    sentence: str
    classes: tuple[str, ...]  # labels
    train_images: int
    measured_on: str | None  # which images the accuracy is of
    measured_images: int
    accuracy: float | None  # fraction
    zero_shot_accuracy: float | None  # fraction
    seconds: float
    n_bytes: int
    next: tuple[str, ...]

    def rows(self) -> list[Row]:
        keys = ("context", "parent", "train_images", "measured_images", "accuracy", "zero_shot_accuracy", "seconds")
        return [{key: getattr(self, key) for key in keys}]

    def tables(self) -> list[list[Row]]:
        return []

    def summary(self) -> list[str]:
        return [
            f"{self.context}: {self.sentence}",
            *self._score(),
            f"stored: {self.path} ({size(self.n_bytes)})",
        ]

    def _score(self) -> list[str]:
        if self.accuracy is None or self.measured_on is None:
            return []
        on = counted_images(self.measured_images, self.measured_on)
        return [f"{percent(self.accuracy)} right on {on}, zero-shot {percent(self.zero_shot_accuracy)}"]

    def advice(self) -> list[str]:
        return next_lines(*self.next)


@dataclass(frozen=True)
class JudgedReport(VersionReport):
    """A version that the guard has compared with the one before."""

    guard: GuardFacts | None  # None: no answer could have changed
    refused: bool  # it lies beside the versions, for a person to decide
    forced: bool  # stored although the guard refused it

    def tables(self) -> list[list[Row]]:
        return [self.guard.moved()] if self.guard else []

    def _score(self) -> list[str]:
        return [*super()._score(), *(self.guard.lines() if self.guard else ())]

    def warnings(self) -> list[str]:
        return list(self.guard.guard_warnings) if self.guard else []

    def complaint(self) -> str | None:
        if not self.refused or self.guard is None:
            return None
        return not_the_next(self.context, self.guard.reasons)

    @property
    def exit_code(self) -> int:
        return 4 if self.refused else 0


@dataclass(frozen=True)
class ClassRenameReport(JudgedReport):
    type: ClassVar[str] = "class rename"

    before: str
    after: str
    name: str  # what the prompt says now
    aliases: tuple[str, ...]
    display_only: bool


@dataclass(frozen=True)
class ClassAddReport(JudgedReport):
    type: ClassVar[str] = "class add"

    added: tuple[str, ...]
    new_head: bool  # the version before answered without a head
    taken: int  # held-out images, all of other classes, that are answered by an added name

    def warnings(self) -> list[str]:
        if not self.taken or self.refused:
            return super().warnings()
        photos, verb = number_of(self.taken, "held-out photo"), "is" if self.taken == 1 else "are"
        said = joined([f"'{label}'" for label in self.added])
        return [*super().warnings(), f"{photos} of other classes {verb} answered {said} now: learn photos of it"]

    def notes(self) -> list[str]:
        if not self.new_head:
            return []
        return [f"{self.context} answers with a head, or a class without photos would hardly ever be answered"]


@dataclass(frozen=True)
class ClassDropReport(VersionReport):
    type: ClassVar[str] = "class drop"

    dropped: tuple[str, ...]
    photos: int
    purged: bool
    rewritten: int  # files
    elsewhere: tuple[HeldElsewhere, ...]

    def summary(self) -> list[str]:
        lines = super().summary()
        if self.purged:
            lines.append(f"purged: {number_of(self.rewritten, 'file')} rewritten, which cannot be undone")
        return lines

    def warnings(self) -> list[str]:
        return [
            f"'{one.name}' holds {number_of(one.photos, 'photo')} of these as '{one.label}': "
            f"promptctl class drop {shlex.join([one.name, one.label])} --purge"
            for one in self.elsewhere
        ]


@dataclass(frozen=True)
class ClassMergeReport(JudgedReport):
    type: ClassVar[str] = "class merge"

    into: str
    aliases: tuple[str, ...]
    members: tuple[MovedClass, ...]


@dataclass(frozen=True)
class ClassSplitReport(JudgedReport):
    type: ClassVar[str] = "class split"

    split: str
    moved: tuple[MovedClass, ...]
    left: int  # photos that stay in the class
    not_stored: int  # photos of the folder that the context does not know
    of_others: int  # photos of the folder that are stored under other classes, and stay there
    gone: bool  # the class had no photo left

    def warnings(self) -> list[str]:
        found = super().warnings()
        if self.not_stored:
            found.append(f"{number_of(self.not_stored, 'photo')} of the folder not stored yet, and not learned")
        if self.of_others:
            found.append(
                f"{number_of(self.of_others, 'photo')} of the folder stored under other classes, and left there"
            )
        return found


@dataclass(frozen=True)
class CorrectedPhoto:
    """A photo that is of another class after all."""

    sha256: str
    before: str  # label; of one that was stored under several, all of them
    after: str


@dataclass(frozen=True)
class RelabelPlan(Report):
    """What `relabel` would change; its report where it changes nothing."""

    type: ClassVar[str] = "relabel"

    context: str  # birds@1
    dry_run: bool
    relabelled: tuple[CorrectedPhoto, ...]
    unchanged: int  # photos that have the class already

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(photo) for photo in self.relabelled]

    def tables(self) -> list[list[Row]]:
        return [[{**row, "sha256": row["sha256"][:12]} for row in self.rows()]]

    def columns(self) -> list[str]:
        return ["sha256", "before", "after"]

    def summary(self) -> list[str]:
        if not self.relabelled:
            return [f"every photo has its class in {self.context} already: no version was made"]
        return [f"{number_of(len(self.relabelled), 'photo')} of {self.context} would be of another class"]


@dataclass(frozen=True)
class RelabelReport(JudgedReport):
    type: ClassVar[str] = "relabel"

    relabelled: tuple[CorrectedPhoto, ...]
    unchanged: int
    empty: tuple[str, ...]  # classes that no photo is left of, which answer by their name

    def warnings(self) -> list[str]:
        emptied = [f"no photo of '{label}' is left: it answers by its name alone" for label in self.empty]
        return [*super().warnings(), *emptied]


@dataclass(frozen=True)
class MergeReport(JudgedReport):
    type: ClassVar[str] = "merge"

    second: str  # seabirds@1; parent is the first
    known: tuple[str, ...]  # classes that both have
    added: tuple[str, ...]  # classes of the second alone
    shared: int  # photos that both have
    learned_by_other: int  # photos that one held out and the other learned from
    name: str  # what the new context was to be called, which is not there if it is refused

    def complaint(self) -> str | None:
        if not self.refused or self.guard is None:
            return None
        return refused_under(self.name, self.context, self.parent, "; ".join(self.guard.reasons))

    def warnings(self) -> list[str]:
        found = super().warnings()
        if self.learned_by_other:
            photos = number_of(self.learned_by_other, "photo")
            found.append(f"{photos} held out in one and learned from in the other: not held out any more")
        return found
