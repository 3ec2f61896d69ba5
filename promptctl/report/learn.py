"""What `learn` found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptctl.context.card import Chosen
from promptctl.report.base import Report, Row, SkippedFile
from promptctl.report.guard import GuardFacts, not_the_next, refused_under
from promptctl.report.phrases import (
    chosen_line,
    counted_images,
    listed,
    next_lines,
    number_of,
    passed_over_lines,
    percent,
    size,
    skipped_lines,
)

_CLASSES_SHOWN = 40
_MOVED_SHOWN = 5


@dataclass(frozen=True)
class ClassPhotos:
    """How many photos of a class there were, and what became of them."""

    label: str
    name: str
    images: int  # readable, each content once
    train: int  # learned from
    held_out: int  # measured on


@dataclass(frozen=True)
class PlannedClass:
    """A class as it is stored, and what a folder brings it."""

    label: str
    stored: int  # photos
    new: int


@dataclass(frozen=True)
class MovedPhoto:
    """A photo that is stored under another class than its folder's."""

    path: Path
    sha256: str
    before: str
    after: str


@dataclass(frozen=True)
class LearnPlan(Report):
    """What `learn` is about to do; its report where it does no more."""

    type: ClassVar[str] = "learn"

    context: str  # birds@1, or the name of a new one
    dry_run: bool
    nothing_new: bool
    classes: tuple[str, ...]  # all it will know
    added: tuple[str, ...]
    stored: int  # photos of the folder that are there already
    new: int  # photos that will be learned from or held out
    moved: tuple[MovedPhoto, ...]
    per_class: tuple[PlannedClass, ...]
    skipped: tuple[SkippedFile, ...]
    passed_over: Mapping[str, int]
    copied_as: str | None = None  # birds2@1, of what has nothing new to learn and was to be stored there
    steps: int = 0  # of visual tokens, each of which runs the image tower; 0: none are learned
    photos_a_step: int = 0

    def rows(self) -> list[Row]:
        return [dataclasses.asdict(row) for row in self.per_class]

    def tables(self) -> list[list[Row]]:
        return []

    def lines(self) -> list[str]:
        """The plan, before anything is learned; of a new name the classes alone, for its photos are counted after."""
        found = [f"classes: {listed(self.classes, _CLASSES_SHOWN)}"]
        return found if self.is_first else [*found, *self._beyond_the_parent()]

    @property
    def is_first(self) -> bool:
        """Whether nothing was learned under the name before, or all of it is left behind."""
        return self.added == self.classes

    def _beyond_the_parent(self) -> list[str]:
        found = [f"new classes: {listed(self.added, _CLASSES_SHOWN)}"] if self.added else []
        if self.stored:
            found.append(f"known: {number_of(self.stored, 'photo')} stored already, skipped")
        found += [f"moved: {one.path} is stored as '{one.before}', its folder says '{one.after}'" for one in self._few]
        if len(self.moved) > len(self._few):
            found.append(f"moved: {len(self.moved) - len(self._few)} more")
        return [*found, *self._brings()]

    def _brings(self) -> list[str]:
        brings = [f"{one.label} {one.new}" for one in self.per_class if one.new]
        return [f"new: {number_of(self.new, 'photo')}: {listed(brings, _CLASSES_SHOWN)}"] if brings else []

    def summary(self) -> list[str]:
        if self.nothing_new:
            became = f"{self.copied_as} is a copy of it" if self.copied_as else "no version was made"
            return [f"nothing new for {self.context}: {became}", *self.lines()]
        photos = self._brings() if self.is_first else []
        return [*self.lines(), *photos, *self._costs(), "nothing was learned: this was a dry run"]

    def _costs(self) -> list[str]:
        if not self.steps:
            return []
        photos = number_of(self.photos_a_step, "photo")
        return [f"visual tokens: {self.steps} steps of {photos} through the image tower, forth and back, at most"]

    def notes(self) -> list[str]:
        return passed_over_lines(self.passed_over)

    def warnings(self) -> list[str]:
        return skipped_lines(self.skipped)

    @property
    def _few(self) -> tuple[MovedPhoto, ...]:
        return self.moved[:_MOVED_SHOWN]


@dataclass(frozen=True)
class UpdateFacts(GuardFacts):
    """What became of the version before."""

    stored: int  # photos of the folder that were there already
    new: int
    relabelled: int
    kept_as_stored: int  # photos whose folder says another class, and nobody asked to relabel them
    new_classes: tuple[str, ...]
    incoming_accuracy: float | None  # of the version before on the new photos, before they were learned (fraction)
    incoming_zero_shot_accuracy: float | None


@dataclass(frozen=True)
class LearnReport(Report):
    type: ClassVar[str] = "learn"

    context: str  # birds@1
    path: Path
    classes: int
    shots: int | None  # per class; None: all
    train_images: int
    measured_on: str | None  # which images the accuracy is of
    measured_images: int
    accuracy: float | None  # fraction
    zero_shot_accuracy: float | None  # fraction
    steps: int
    head: tuple[str, ...]  # what it is mixed of: clap and ridge, or zero-shot; empty where the context answers
    chosen: Chosen | None  # what the head is made of, where there was a choice
    seconds: float
    n_bytes: int
    skipped: tuple[SkippedFile, ...]
    per_class: tuple[ClassPhotos, ...]
    passed_over: Mapping[str, int]  # files that were no photos, by the end of their names
    update: UpdateFacts | None  # of a version that goes on from another
    forced: bool  # stored although the guard refused it
    asked_as: str | None  # another name it was to be stored under, which is not there if it is refused
    next: tuple[str, ...]
    projection: bool = False  # the image tower ends in one of its own
    kept_in_tower: str = ""  # what an earlier version learned in the image tower: a projection or visual tokens

    def rows(self) -> list[Row]:
        keys = ("context", "classes", "train_images", "measured_images", "accuracy", "zero_shot_accuracy", "seconds")
        return [{key: getattr(self, key) for key in keys}]

    def tables(self) -> list[list[Row]]:
        return [self.update.moved()] if self.update else []

    def summary(self) -> list[str]:
        images = number_of(self.train_images, "image")
        learned = f"{self.context} learned {self.classes} classes from {images} in {self.seconds:.1f} s"
        if self._learned_nothing:
            learned = f"{self.context} has {self.classes} classes and {images} to learn from, and learned nothing more"
        stored = f"stored: {self.path} ({size(self.n_bytes)})"
        return [
            learned + self._score(),
            self._photos(),
            *([f"{self._how} {chosen_line(self.chosen, self.head)}"] if self.chosen else []),
            *(self._beside_parent(self.update) if self.update else ()),
            *self._tower(),
            stored,
        ]

    @property
    def _learned_nothing(self) -> bool:
        """Whether what the image tower has learned answers as it did, since no image to learn from came."""
        return bool(self.kept_in_tower) and not self.head and not self.steps

    def _tower(self) -> list[str]:
        found = []
        if self.kept_in_tower and self.update and not self._learned_nothing:
            what = "a head" if self.head else "the context"
            found.append(f"the {self.kept_in_tower} of {self.update.parent} stayed, {what} has learned beside it")
        if self.projection:
            found.append(f"{self.context} has a projection of its own: to answer takes PyTorch")
        return found

    @property
    def _how(self) -> str:
        return "chose" if self.head == ("zero-shot",) else "answers by"  # and a warning says what answers instead

    def _beside_parent(self, facts: UpdateFacts) -> list[str]:
        lines = []
        if facts.incoming_accuracy is not None:
            right, by_hand = percent(facts.incoming_accuracy), percent(facts.incoming_zero_shot_accuracy)
            photos = number_of(facts.new, "new photo")
            lines.append(f"before: {facts.parent} recognised {right} of the {photos} (zero-shot {by_hand})")
        return [*lines, *facts.lines()]

    def notes(self) -> list[str]:
        return passed_over_lines(self.passed_over)

    def advice(self) -> list[str]:
        return next_lines(*self.next)

    def warnings(self) -> list[str]:
        found = [
            *skipped_lines(self.skipped),
            *self._unmeasured(),
            *(self.update.guard_warnings if self.update else ()),
        ]
        if self.update and self.update.kept_as_stored:
            photos = number_of(self.update.kept_as_stored, "photo")
            found.append(f"{photos} kept the class that is stored, not that of the folder")
        if self.kept_in_tower and "template" in self.head:
            how = "answers by it alone" if len(self.head) == 1 else "mixes the two"
            found.append(
                f"the template behind the {self.kept_in_tower} recognises more of the new photos than what learned "
                f"from the others, so {self.context} {how}: promptctl doctor looks for wrong labels"
            )
        if "zero-shot" in self.head:
            how = "answers as zero-shot does" if len(self.head) == 1 else "mixes what it learned with zero-shot"
            found.append(
                f"zero-shot recognises more of the shots than what learned from the others, so {self.context} {how}: "
                "promptctl doctor looks for wrong labels"
            )
        if self.accuracy is not None and self.accuracy < (self.zero_shot_accuracy or 0):
            found.append(
                f"{self.context} is worse than zero-shot on {self.measured_on}: more shots may help, and promptctl "
                "compare shows which learner would"
            )
        return found

    def complaint(self) -> str | None:
        if not self.is_refused or self.update is None:
            return None
        if self.asked_as:
            return refused_under(self.asked_as, self.context, self.update.parent, "; ".join(self.update.reasons))
        return not_the_next(self.context, self.update.reasons)

    @property
    def exit_code(self) -> int:
        return 4 if self.is_refused else 0

    @property
    def is_refused(self) -> bool:
        """Whether it lies beside the versions, for a person to decide."""
        return self.update is not None and self.update.refused and not self.forced

    def _photos(self) -> str:
        # in brackets, for a class may be called 1, or "iPhone 12"
        shown = [f"{one.name} ({one.train}+{one.held_out})" for one in self.per_class[:_CLASSES_SHOWN]]
        more = len(self.per_class) - len(shown)
        rest = f" and {more} more class{'' if more == 1 else 'es'}, all in --json" if more else ""
        return f"photos learned from + measured on: {', '.join(shown)}{rest}"

    def _unmeasured(self) -> list[str]:
        """Which classes the accuracy does not cover."""
        if self.accuracy is None or self._is_on_folds:
            return []
        names = [one.name for one in self.per_class if not one.held_out]
        if not names:
            return []
        where = "was held out" if self.measured_on == "images held out" else f"is among the {self.measured_on}"
        them = "it" if len(names) == 1 else "them"
        return [f"no photo of {listed(names, _CLASSES_SHOWN)} {where}: the accuracy does not cover {them}"]

    @property
    def _is_on_folds(self) -> bool:
        return self.measured_on is not None and self.measured_on.startswith("shots")

    def _score(self) -> str:
        if self.accuracy is None or self.measured_on is None:
            return "; no image was left to measure it on"
        return (
            f": {percent(self.accuracy)} right on {counted_images(self.measured_images, self.measured_on)}, "
            f"zero-shot {percent(self.zero_shot_accuracy)}"
            + (
                f"; no photo was held out, so each{' new one' if self.kept_in_tower else ''} was judged by what "
                "learned from the others"
                if self._is_on_folds
                else ""
            )
        )
