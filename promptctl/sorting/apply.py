"""Apply: a plan carried out, block by block, each written down before it is; and going on where one was stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from promptctl import signals
from promptctl.encoding.formats import is_image_name
from promptctl.errors import reason_of
from promptctl.sorting.arrange import why_not
from promptctl.sorting.carry import CHANGED, GONE, TAKEN, Carrier, Numbered
from promptctl.sorting.places import key_of
from promptctl.sorting.plan import COPY, LINK, Moved, Photo, Plan, Refused
from promptctl.sorting.sidecars import XmpNames, is_xmp, read_sidecar
from promptctl.sorting.steps import folder_step, status_of, write_step
from promptctl.sorting.xmp import BadSidecar, tagged
from promptctl.store.journal import Operation, Record, Step

_BLOCK = 100  # photos that are written down together

OnDone = Callable[[int], None]


@dataclass
class Applied:
    """What has become of a plan."""

    photos: list[Photo] = field(default_factory=list)  # that went where the plan says
    sidecars: int = 0
    tagged: int = 0  # sidecars that got keywords
    before: int = 0  # photos that an earlier run had carried
    refused: list[Refused] = field(default_factory=list)
    full: str | None = None  # why it was stopped


def apply_plan(plan: Plan, operation: Operation, record: Record | None, on_done: OnDone | None = None) -> Applied:
    """Carry out what of a plan is not done yet.

    record    what is known of the operation, where it goes on
    on_done   called with how many photos are done with
    """
    applied = Applied()
    carrier = Carrier(operation.head.token, frozenset(record.open) if record else frozenset())
    gone = _went(record, operation, carrier) if record else set()
    aim = _Aim(plan, gone)
    rest = [photo for photo in plan.photos if aim.rest_of(photo)]
    applied.before = len(plan.photos) - len(rest)
    for first in range(0, len(rest), _BLOCK):
        signals.say(
            f"what was done is operation {operation.number}: the same command goes on, promptctl undo takes it back"
        )
        _carry_block(rest[first : first + _BLOCK], aim, operation, carrier, applied)
        if on_done:
            on_done(applied.before + min(first + _BLOCK, len(rest)))
    applied.full = carrier.full
    return applied


def finish_begun(operation: Operation, record: Record) -> int:
    """Carry on with what an operation was at when it was stopped, and with nothing else; how many files that were."""
    carrier = Carrier(operation.head.token, frozenset(record.open))
    return len(_went(record, operation, carrier)) - len(_pairs(record, record.done))


def _went(record: Record, operation: Operation, carrier: Carrier) -> set[tuple[str, str]]:
    """From where to where files went before, and those of which nobody knew went on."""
    outcomes: dict[int, str | None] = {}
    try:
        carrier.carry([(number, record.steps[number]) for number in record.open], outcomes)
    finally:
        operation.told(outcomes)
    return _pairs(record, record.done | {number for number, reason in outcomes.items() if reason is None})


def _pairs(record: Record, numbers: Iterable[int]) -> set[tuple[str, str]]:
    return {(record.steps[n]["from"], record.steps[n]["to"]) for n in numbers if "from" in record.steps[n]}


def _carry_block(photos: Sequence[Photo], aim: _Aim, operation: Operation, carrier: Carrier, applied: Applied) -> None:
    steps: list[Step] = []
    owner: list[tuple[Photo, Moved | None] | None] = []
    for photo in photos:
        reason = carrier.full or aim.why_not(photo)
        if reason:
            applied.refused.append(Refused(photo.file.source, reason))
            continue
        folders = list(aim.folders_of(photo))
        steps += folders
        owner += [None] * len(folders)
        for file in aim.rest_of(photo):
            steps.append(aim.step_of(file, photo))
            owner.append((photo, file))
        tags = list(aim.tags_of(photo, applied.refused))
        steps += tags
        owner += [(photo, None)] * len(tags)
    outcomes: dict[int, str | None] = {}
    numbers = operation.ahead(steps) if steps else range(0)
    numbered: list[Numbered] = list(zip(numbers, steps, strict=True))
    try:
        carrier.carry(numbered, outcomes)
    finally:
        operation.told(outcomes)
    for number, step, owned in zip(numbers, steps, owner, strict=True):
        if owned is not None:
            _count(*owned, Path(step.get("from", step["to"])), outcomes[number], applied)


def _count(photo: Photo, file: Moved | None, path: Path, reason: str | None, applied: Applied) -> None:
    if reason is not None:
        applied.refused.append(Refused(path, reason))
    elif file is None:
        applied.tagged += 1
    elif file is photo.file:
        applied.photos.append(photo)
    else:
        applied.sidecars += 1


class _Aim:
    """Where a plan leads, as the disk is now."""

    def __init__(self, plan: Plan, gone: set[tuple[str, str]]) -> None:
        self.plan = plan
        self._gone = gone  # what went before, from where to where
        self.into = Path(os.path.realpath(plan.into))
        self._taken: dict[str, set[str]] = {}
        self._made: set[Path] = set()
        self._sources: set[Path] = set()
        self._why: dict[str, str | None] = {}

    def rest_of(self, photo: Photo) -> list[Moved]:
        """What of a photo and its sidecars has not gone where it should."""
        if not self._gone:
            return list(photo.files)
        return [file for file in photo.files if (os.fspath(file.source), self._target(file)) not in self._gone]

    def _target(self, file: Moved) -> str:
        return os.path.join(self.into, *file.target.split("/"))  # noqa: PTH118  a Path costs its length

    def why_not(self, photo: Photo) -> str | None:
        """Why a photo stays where it is; a place that is free is its own from then on."""
        rest = self.rest_of(photo)
        reason = self._why_not_into(photo.folder) or self._why_not_from(rest[0])
        taken = self._taken_in(photo.folder)
        keys = [key_of(file.target.rpartition("/")[2]) for file in rest]
        sources = {file.source for file in rest}
        if not reason and not self._sources.isdisjoint(sources):
            reason = "it is named twice"
        if not reason and (len(set(keys)) < len(keys) or not taken.isdisjoint(keys)):
            reason = TAKEN
        if not reason:
            taken.update(keys)
            self._sources |= sources
        return reason

    def folders_of(self, photo: Photo) -> Iterator[Step]:
        """The folders that are still to be made for it, the outer ones first."""
        folder = self.into / photo.folder
        missing = []
        while folder not in self._made and not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        self._made.update(missing)
        return map(folder_step, reversed(missing))

    def step_of(self, file: Moved, photo: Photo) -> Step:
        """A file on its way, which stays if it is not as it was when this was planned."""
        status = status_of(file.source)
        found = {"dev": status.st_dev, "ino": status.st_ino} if status else {"dev": 0, "ino": 0}
        is_link = self.plan.mode == LINK and not (self.plan.keywords and is_xmp(file.target))
        step = {
            "do": self.plan.mode if self.plan.mode != LINK or is_link else COPY,  # nothing is written through a link
            "from": os.fspath(file.source),
            "to": self._target(file),
            "size": file.size,
            "mtime_ns": file.mtime_ns,
            **found,
        }
        if file is not photo.file:
            return {**step, "lead": os.fspath(photo.file.source)}
        return {**step, "sha256": photo.shown.sha256} if photo.shown.sha256 else step

    def tags_of(self, photo: Photo, refused: list[Refused]) -> Iterator[Step]:
        """What is written into the sidecars of a photo, and of a raw photo beside it, once they are in their places."""
        if self.plan.keywords is None:
            return
        tag = self.plan.keywords.tag(photo.shown)
        files = {file.target.rpartition("/")[2]: file for file in photo.files}
        names = XmpNames(files)
        those = (sidecar for name in files if is_image_name(Path(name)) for sidecar in names.of(name))
        for name in dict.fromkeys(those):
            try:
                before, was_ns = read_sidecar(files[name].source) if name in files else (None, None)
                after = tagged(before, tag)
            except (BadSidecar, OSError) as error:
                reason = reason_of(error) if isinstance(error, OSError) else str(error)
                refused.append(Refused(files[name].source, reason))
                continue
            if after != before:
                target = self.into / photo.folder / name
                yield write_step(target, before, after, was_ns=was_ns, lead=os.fspath(photo.file.source))

    def _why_not_from(self, file: Moved) -> str | None:
        try:
            status = file.source.lstat()
        except FileNotFoundError:
            return GONE
        except OSError as error:
            return reason_of(error)
        if reason := why_not(file.source, status, self.plan.mode):
            return reason
        changed = (status.st_size, status.st_mtime_ns) != (file.size, file.mtime_ns)
        return f"{CHANGED} it was planned" if changed else None

    def _why_not_into(self, folder: str) -> str | None:
        if folder not in self._why:
            try:
                self._why[folder] = _leads_out(self.into, folder)
            except OSError as error:  # a name that is too long, a folder that cannot be entered
                self._why[folder] = reason_of(error)
        return self._why[folder]

    def _taken_in(self, folder: str) -> set[str]:
        if folder not in self._taken:
            try:
                self._taken[folder] = {key_of(name) for name in os.listdir(self.into / folder)}  # noqa: PTH208
            except OSError:
                self._taken[folder] = set()
        return self._taken[folder]


def _leads_out(into: Path, folder: str) -> str | None:
    """Why nothing is put into a folder: a link on the way leads elsewhere, or something else stands there."""
    path = into
    for part in folder.split("/"):
        path = path / part
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(into):
            return f"{path} is a link that leads out of {into}"
        if os.path.lexists(path) and not path.is_dir():
            return f"{path} is not a folder"
    return None
