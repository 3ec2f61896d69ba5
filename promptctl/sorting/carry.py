"""Carry: steps that the journal has, carried out, so that at any moment a photo stands in one place or in both.

Within a file system a file gets its new name as a second one, the folder is made durable, and only then the old name
goes. Across file systems it is copied, made durable, compared, named, and then the old one goes. Where there are no
second names, an empty file holds the place, and the photo is renamed over it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from promptctl import signals
from promptctl.errors import reason_of
from promptctl.sorting.plan import COPY, LINK, MOVE
from promptctl.sorting.steps import (
    DROP,
    FOLDER,
    MOST_WRITTEN,
    RMDIR,
    WRITE,
    ends,
    is_same_file,
    leads_to,
    looks_unchanged,
    same_bytes,
    status_of,
    written,
)
from promptctl.store import files
from promptctl.store.journal import Step

Outcomes = MutableMapping[int, "str | None"]  # step → None: it was carried out; else why not
Numbered = tuple[int, Step]

TAKEN = "there is a file of this name already"
CHANGED = "it has changed since"
GONE = "it has gone"
_CHUNK = 1 << 20  # bytes that are read at a time
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_SECOND_NAMES = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES)


class _Stays(Exception):
    """A file that is not carried; `str()` says why."""


@dataclass
class Carrier:
    """Carries out the steps of one operation."""

    token: str  # of the operation: what is unfinished is called by it
    again: frozenset[int] = frozenset()  # steps that may have been begun before
    full: str | None = None  # why nothing more can be written
    _no_folder: dict[Path, str] = field(default_factory=dict)  # folders that could not be made, and why
    _parts: list[Path] = field(default_factory=list)  # what is unfinished and is still to go
    _stayed: set[str] = field(default_factory=set)  # photos that were not carried
    _goes: set[str] = field(default_factory=set)  # what steps that were begun take away

    def carry(self, steps: Sequence[Numbered], outcomes: Outcomes) -> None:
        """A block of steps: folders, files, what goes; what became of them is told even if this is stopped."""
        self._prepare([one for one in steps if one[0] in self.again])
        for number, step in steps:
            if step["do"] == FOLDER:
                outcomes[number] = self._make_folder(Path(step["to"]))
        placed: list[Numbered] = []
        try:
            for number, step in steps:
                if step["do"] in (MOVE, COPY, LINK, DROP, WRITE):
                    self._place(number, step, placed, outcomes)
        finally:
            with signals.held():
                self._finish(placed, outcomes)
        for number, step in steps:
            if step["do"] == RMDIR:
                outcomes[number] = self._remove_folder(Path(step["to"]))

    def settle(self, steps: Iterable[Numbered], outcomes: Outcomes) -> None:
        """What became of steps that were begun and of which nobody wrote it down; half a step is taken back."""
        steps = list(steps)
        self._prepare(steps)
        for number, step in steps:
            try:
                outcomes[number] = None if self._happened(number, step) else "it was stopped before"
            except OSError as error:
                outcomes[number] = reason_of(error)

    def _prepare(self, begun: Sequence[Numbered]) -> None:
        """Have files as they were carried, without what was written then, before it is asked what became of steps."""
        self._goes = {step["to" if step["do"] == DROP else "from"] for _, step in begun if step["do"] in (DROP, MOVE)}
        carried = set()
        for number, step in begun:
            if step["do"] in (MOVE, COPY):
                carried.add(step["to"])
            elif step["do"] == WRITE and step["to"] in carried:
                with contextlib.suppress(OSError):  # it is named when it is its turn
                    self._unwrite(number, step)

    def _unwrite(self, number: int, step: Step) -> None:
        target, before = Path(step["to"]), written(step, "before")
        if before is None or _bytes_of(target) != written(step, "after"):
            return
        part = self._part(number, step)
        with contextlib.suppress(FileNotFoundError):
            files.delete(part)
        files.write(part, before, step["was_ns"])
        if status_of(target) is None:
            files.name_exclusively(part, target)
        else:
            files.put_over(part, target)

    def _has_happened(self, step: Step, found: bytes | None) -> bool:
        """Whether a file was written; one that a later step took away was."""
        return found == written(step, "after") or (found is None and step["to"] in self._goes)

    # ---------------------------------------------------------------- into place

    def _place(self, number: int, step: Step, placed: list[Numbered], outcomes: Outcomes) -> None:
        do: dict[str, Callable[[int, Step], bool]] = {
            MOVE: self._move,
            COPY: self._copy,
            LINK: self._link,
            DROP: self._may_drop,
            WRITE: self._write,
        }
        try:
            if self.full:
                raise _Stays(self.full)
            step = _as_it_is(step) if number in self.again or not step.get("ino", 1) else step
            if reason := self._no_folder.get(Path(step["to"]).parent):
                raise _Stays(reason)
            if step.get("lead") in self._stayed:
                raise _Stays("its photo stays where it is")
            with contextlib.suppress(FileNotFoundError):
                if number in self.again:
                    files.delete(self._part(number, step))
            if do[step["do"]](number, step):
                placed.append((number, step))
            else:
                outcomes[number] = None
        except _Stays as stays:
            self._stays(number, step, str(stays), outcomes)
        except OSError as error:
            if error.errno in _FULL:
                self.full = reason_of(error)
            self._stays(number, step, reason_of(error), outcomes)

    def _stays(self, number: int, step: Step, reason: str, outcomes: Outcomes) -> None:
        outcomes[number] = reason
        self._stayed.add(step.get("from", step["to"]))

    def _move(self, number: int, step: Step) -> bool:
        """Whether the old name is still to go."""
        source, target = ends(step)
        if number in self.again and status_of(source) is None and _is_it(target, step):
            return False
        _check(source, step)
        if status_of(target) is not None:
            return self._stands_already(number, step)
        try:
            with signals.held():
                files.hard_link(source, target)
                if not is_same_file(status_of(target), step):
                    files.delete(target)
                    raise _Stays(CHANGED)
            return True
        except FileExistsError:
            raise _Stays(TAKEN) from None
        except OSError as error:
            if error.errno == errno.EXDEV:
                return self._copied(number, step, compare=True)
            if error.errno not in _NO_SECOND_NAMES:
                raise
        with signals.held(), _naming():
            files.take_name(source, target)
            _confirm(target.parent, source.parent)
        return False

    def _stands_already(self, number: int, step: Step) -> bool:
        """A move that was begun before goes on where it was stopped."""
        source, target = ends(step)
        status = status_of(target)
        if number in self.again and status is not None:
            if os.path.samestat(source.lstat(), status) or (
                looks_unchanged(status, step) and same_bytes(source, target)
            ):
                return True
            if status.st_size == 0 and step["size"]:
                with signals.held():
                    files.take_over(source, target)
                    _confirm(target.parent, source.parent)
                return False
        raise _Stays(TAKEN)

    def _copy(self, number: int, step: Step) -> bool:
        source, target = ends(step)
        if number in self.again and looks_unchanged(status_of(target), step) and same_bytes(source, target):
            return True
        if number in self.again:
            _free(target, step)
        _check(source, step)
        return self._copied(number, step, compare=False)

    def _copied(self, number: int, step: Step, *, compare: bool) -> bool:
        source, target = ends(step)
        if status_of(target) is not None:
            raise _Stays(TAKEN)
        part = self._part(number, step)
        try:
            sha256 = files.copy_file(source, part)
            if not looks_unchanged(status_of(source), step) or step.get("sha256", sha256) != sha256:
                raise _Stays(CHANGED)
            if compare and _sha256(part) != sha256:
                raise _Stays("the copy is not like it")
            with signals.held(), _naming():
                try:
                    files.hard_link(part, target)
                except FileExistsError:
                    raise
                except OSError:
                    files.take_name(part, target)
        finally:
            self._parts.append(part)
            self._clear_parts()
        return True

    def _link(self, number: int, step: Step) -> bool:
        source, target = ends(step)
        if number in self.again and leads_to(target, source):
            return True
        _check(source, step)
        with _naming():
            files.symbolic_link(source, target)
        return True

    def _may_drop(self, number: int, step: Step) -> bool:
        """Nothing goes that is not there a second time."""
        source, target = ends(step)
        if status_of(target) is None:
            return False
        if step["was"] == LINK:
            if not leads_to(target, source):
                raise _Stays("it is not the link that was made")
            return True
        original, copy = status_of(source), status_of(target)
        if original is None:
            raise _Stays("its original has gone")
        if not looks_unchanged(copy, step) or not looks_unchanged(original, step) or not same_bytes(source, target):
            raise _Stays(CHANGED)
        if os.path.samestat(original, target.lstat()) and original.st_nlink < 2:
            raise _Stays("it is its original")
        return True

    def _write(self, number: int, step: Step) -> bool:
        """Other bytes in a small file: only where it holds what it held when they were made."""
        target = Path(step["to"])
        before, after = written(step, "before"), written(step, "after")
        found = _bytes_of(target)
        if number in self.again and self._has_happened(step, found):
            return found is not None
        if found != before:
            raise _Stays(GONE if found is None else TAKEN if before is None else CHANGED)
        if after is None:
            files.delete(target)
            return True
        part = self._part(number, step)
        try:
            files.write(part, after, step["set_ns"])
            with signals.held(), _naming():
                if before is None:
                    files.name_exclusively(part, target)
                else:
                    files.put_over(part, target)
        finally:
            self._parts.append(part)
            self._clear_parts()
        return True

    def _clear_parts(self) -> None:
        """Take away what is unfinished; what the disk does not let go now is tried again when the block is done."""
        self._parts = [part for part in self._parts if not _is_gone(part)]

    # ---------------------------------------------------------------- made durable, and what goes

    def _finish(self, placed: Sequence[Numbered], outcomes: Outcomes) -> None:
        """New names durable, then old names gone."""
        self._clear_parts()
        lost = _unconfirmed(Path(step["to"]).parent for _, step in placed if step["do"] != DROP)
        for number, step in placed:
            target = Path(step["to"])
            try:
                if target.parent in lost and step["do"] not in (DROP, WRITE):  # what is written says itself what it is
                    self._take_away(step)
                    self._stays(number, step, lost[target.parent], outcomes)
                    continue
                self._let_go(step)
                outcomes[number] = None
            except _Stays as stays:
                self._stays(number, step, str(stays), outcomes)
            except OSError as error:
                self._stays(number, step, reason_of(error), outcomes)
        gone = {MOVE: 0, DROP: 1}
        _unconfirmed(ends(step)[gone[step["do"]]].parent for _, step in placed if step["do"] in gone)

    def _let_go(self, step: Step) -> None:
        if step["do"] == WRITE:
            return
        source, target = ends(step)
        if step["do"] == DROP:
            files.delete(target)
        elif step["do"] == MOVE:
            old = status_of(source)
            if old is not None and not is_same_file(old, step):  # another has come to its place
                return
            try:
                if old is None:
                    raise FileNotFoundError(source)
                if not (os.path.samestat(old, target.lstat()) or looks_unchanged(old, step)):  # the copy is an old one
                    raise _Stays(CHANGED)
                files.delete(source)
            except (OSError, _Stays):
                if status_of(source) is None:
                    self._leave_to_another(step)
                    return
                self._take_away(step)
                raise

    @staticmethod
    def _leave_to_another(step: Step) -> None:
        """Of two sorts that move one photo the quicker has it; what a person deleted meanwhile stays where it went."""
        target = Path(step["to"])
        status = status_of(target)
        if status is not None and not (is_same_file(status, step) and status.st_nlink > 1):
            return
        if status is not None:
            files.delete(target)
        raise _Stays(GONE)

    @staticmethod
    def _take_away(step: Step) -> None:
        """The new name again, while the old one stands."""
        source, target = ends(step)
        if step["do"] == LINK or status_of(source) is not None:
            with contextlib.suppress(OSError):
                files.delete(target)

    # ---------------------------------------------------------------- folders

    def _make_folder(self, folder: Path) -> str | None:
        try:
            files.make_folder(folder)
        except OSError as error:
            if not folder.is_dir():
                self._no_folder[folder] = reason_of(error)
                return reason_of(error)
        return None

    @staticmethod
    def _remove_folder(folder: Path) -> str | None:
        try:
            files.delete_empty(folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            return reason_of(error)
        return None

    # ---------------------------------------------------------------- after a crash

    def _happened(self, number: int, step: Step) -> bool:
        if step["do"] in (FOLDER, RMDIR):
            return bool(Path(step["to"]).is_dir() == (step["do"] == FOLDER))
        with contextlib.suppress(FileNotFoundError):
            files.delete(self._part(number, step))
        if step["do"] == WRITE:
            return self._has_happened(step, _bytes_of(Path(step["to"])))
        source, target = ends(step)
        if step["do"] == DROP:
            return status_of(target) is None
        if step["do"] == LINK:
            return leads_to(target, source)
        if step["do"] == COPY:
            _free(target, step)
            return looks_unchanged(status_of(target), step)
        return self._moved(step)

    def _moved(self, step: Step) -> bool:
        """A move that stands in both places is taken back."""
        source, target = ends(step)
        old, new = status_of(source), status_of(target)
        if new is None or old is None or not _is_it(source, step):
            return _is_it(target, step)
        copied = looks_unchanged(new, step) and same_bytes(source, target)
        if os.path.samestat(old, new) or copied or (new.st_size == 0 and step["size"]):
            files.delete(target)
        return False

    def _part(self, number: int, step: Step) -> Path:
        """What a step leaves unfinished: called so that whoever comes next knows it."""
        return Path(step["to"]).parent / f".{self.token}{number:08x}.part"


def _bytes_of(path: Path) -> bytes | None:
    """What a file holds; None where there is none. A link is not followed."""
    status = status_of(path)
    if status is None:
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_WRITTEN:
        raise OSError(f"{path.name} is not the file that it was")
    return path.read_bytes()


def _is_it(path: Path, step: Step) -> bool:
    status = status_of(path)
    return is_same_file(status, step) or looks_unchanged(status, step)


def _is_gone(part: Path) -> bool:
    try:
        files.delete(part)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _free(target: Path, step: Step) -> None:
    """Take away the empty file that held the place of a copy."""
    status = status_of(target)
    if status is not None and step["size"] and not status.st_size:
        files.delete(target)


def _as_it_is(step: Step) -> Step:
    """A step of before, with what the system calls its file today: a disk that was mounted again has another number."""
    if step["do"] == WRITE:
        return step
    status = status_of(Path(step["from"]))
    if status is None or not looks_unchanged(status, step):
        return step
    return {**step, "dev": status.st_dev, "ino": status.st_ino}


def _check(source: Path, step: Step) -> None:
    status = status_of(source)
    if status is None:
        raise _Stays(GONE)
    if not looks_unchanged(status, step):
        raise _Stays(CHANGED)


def _confirm(*folders: Path) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            files.fsync_folder(folder)


def _unconfirmed(folders: Iterable[Path]) -> dict[Path, str]:
    """Folders whose change the disk did not confirm, and why."""
    lost = {}
    for folder in dict.fromkeys(folders):
        try:
            files.fsync_folder(folder)
        except OSError as error:
            lost[folder] = reason_of(error)
    return lost


@contextlib.contextmanager
def _naming() -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise _Stays(TAKEN) from None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest()
