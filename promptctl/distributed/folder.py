"""Folder: where answers go, what was begun there before, and what of it a run that was killed left unfinished.

answers-….jsonl     rows, as many files as there are
_run/head.json      the settings that they were answered with
_run/done/          Ray's checkpoint: for each file of answers a table of the paths in it
"""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptctl.distributed.filesystem import unlisted
from promptctl.errors import FileInUse, NoLocks, NotResults, reason_of
from promptctl.remote import is_remote
from promptctl.store import files
from promptctl.store.lock import held_alone

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

RUN = "_run"
_HEAD, _DONE, _LOCK = "head.json", "done", "lock"
OURS = re.compile(r"answers-[0-9a-f]{32}-\d{9,}\.(?:jsonl|parquet)")
_PENDING = ".pending.parquet"  # how Ray names a table of paths before their answers are written


@dataclass(frozen=True)
class AnswerFolder:
    """A folder of answers, on this machine or in an object store."""

    path: Path

    @property
    def is_local(self) -> bool:
        return not is_remote(self.path)

    @property
    def suffix(self) -> str:
        """What its files are: Parquet where it is called so."""
        return "parquet" if self.path.suffix.lower() == ".parquet" else "jsonl"

    @property
    def place(self) -> str:
        """As the file system calls it."""
        return self._at[1]

    @property
    def done(self) -> str:
        return posixpath.join(self.place, RUN, _DONE)

    @property
    def filesystem(self) -> AbstractFileSystem:
        return self._at[0]

    @cached_property
    def _at(self) -> tuple[AbstractFileSystem, str]:
        return unlisted(self.path)

    @property
    def _head(self) -> str:
        return posixpath.join(self.place, RUN, _HEAD)

    def head(self) -> Mapping[str, Any] | None:
        """The settings it was begun with; None where there is nothing yet.

        raises   NotResults for what is no such folder, OSError
        """
        if not self.filesystem.exists(self.place):
            return None
        if not self.filesystem.isdir(self.place):
            raise NotResults(self.path, "it is a file, and answers of --engine ray are a folder")
        if self.filesystem.exists(self._head):
            return self._read()
        if inside := self._foreign():
            raise NotResults(self.path, f"it holds {inside}, and was not begun by --engine ray")
        return None

    def _read(self) -> Mapping[str, Any]:
        try:
            found = json.loads(self.filesystem.cat_file(self._head))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise NotResults(self.path, f"{RUN}/{_HEAD} is not its own")
        return found

    def _foreign(self) -> str | None:
        """Something that is in it beside what a run that was killed at its start may have left."""
        inside = (one.rstrip("/") for one in self.filesystem.ls(self.place, detail=False))
        names = sorted(posixpath.basename(one) for one in inside if one != self.place.rstrip("/"))
        return next((name for name in names if name != RUN), None)

    def has_rows(self) -> bool:
        return any(not name.endswith(_PENDING) for name in self._tables())

    def begin(self, head: Mapping[str, Any]) -> None:
        data = json.dumps(head, indent=2).encode("ascii")
        if self.is_local:
            Path(self._head).parent.mkdir(parents=True, exist_ok=True)
            files.write_atomic(Path(self._head), data, replace=True)
        else:
            self.filesystem.pipe_file(self._head, data)

    def abandon(self) -> None:
        """Nothing was answered: leave nothing behind."""
        if self.filesystem.exists(self.place) and self._foreign() is None:
            self.filesystem.rm(posixpath.join(self.place, RUN), recursive=True)
            if self.is_local:
                with suppress(OSError):
                    Path(self.place).rmdir()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One run at a time, as far as this machine can tell; FileInUse."""
        if not self.is_local:
            yield
            return
        lock = Path(self.place, RUN, _LOCK)
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with held_alone(lock) as is_ours:
                if not is_ours:
                    raise FileInUse(self.path)
                yield
        except NoLocks:
            yield

    def clean(self) -> int:
        """Take away what a run that was killed had begun to write, and count the rows that are there.

        Where a table of paths lies under both of its names, on an object store that moves by copying, its answers are
        whole: they were written before.
        """
        names = self._tables()
        for name in names:
            if name.endswith(_PENDING):
                self._remove(posixpath.join(self.done, name))
        self.sweep()
        return self._count([name for name in names if not name.endswith(_PENDING)])

    def sweep(self) -> None:
        """Take away files of answers of which nobody said that they are whole.

        A worker of a run that was killed may live a moment longer than it, and write one after all.
        """
        whole = {name.removesuffix(".parquet") for name in self._tables()}
        for path in self.filesystem.ls(self.place, detail=False) if self.filesystem.exists(self.place) else ():
            name = posixpath.basename(path.rstrip("/"))
            is_ours = OURS.fullmatch(name) and name.partition(".")[0] not in whole
            if is_ours or (self.is_local and files.is_part(Path(name))):
                self._remove(posixpath.join(self.place, name))

    def _tables(self) -> frozenset[str]:
        if not self.filesystem.exists(self.done):
            return frozenset()
        return frozenset(map(posixpath.basename, self.filesystem.ls(self.done, detail=False)))

    def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self.filesystem.rm_file(path)

    def _count(self, tables: list[str]) -> int:
        from pyarrow import ArrowException
        from pyarrow.dataset import dataset

        if not tables:
            return 0
        paths = [posixpath.join(self.done, name) for name in tables]
        try:
            return int(dataset(paths, filesystem=self.filesystem, format="parquet").count_rows())
        except (ArrowException, OSError) as error:
            why = reason_of(error) if isinstance(error, OSError) else str(error)
            raise NotResults(self.path, f"{RUN}/{_DONE} is damaged ({why.splitlines()[0]:.80})") from error


def absolute(path: Path) -> Path:
    return path if is_remote(path) else Path(os.path.abspath(path))  # noqa: PTH100  links are not followed
