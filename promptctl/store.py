"""Store: named contexts, every version written once and never changed."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from difflib import get_close_matches
from pathlib import Path

from promptctl.card import Card, read_card
from promptctl.errors import BadContextFile, ContextExists, ContextNotFound, NotInTrash, StorageFailed, VersionNotFound
from promptctl.files import finished_file, fsync_folder, link_or_copy
from promptctl.homes import data_home
from promptctl.refs import Ref

_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Entry:
    """One stored version, as far as its header tells."""

    ref: Ref
    path: Path
    n_bytes: int
    mtime_ns: int
    card: Card | None  # None where the header cannot be read
    fault: str | None = None  # why not


class Store:
    """`<home>/contexts/<name>/<version>.safetensors`; the largest number is the current version.

    A version is claimed by linking a finished, fsynced temporary file to its name, so a reader sees a
    whole file or none and two writers never get the same number. Removing moves a name to `<home>/trash`.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = home or data_home()

    def names(self) -> tuple[str, ...]:
        """Every name that has at least one version, sorted."""
        return tuple(sorted((f.name for f in _folders(self._contexts) if _versions(f)), key=str.casefold))

    def has(self, name: str) -> bool:
        folder = self._folder(name)
        return folder is not None and bool(_versions(folder))

    def find(self, ref: Ref) -> Entry:
        """The stored version a reference means, or ContextNotFound, VersionNotFound."""
        folder = self._folder(ref.name)
        versions = _versions(folder) if folder else {}
        if folder is None or not versions:
            raise ContextNotFound(ref.name, near=self._near(ref.name), removed=bool(self._removed(ref.name)))
        newest = max(versions)
        version = ref.version or newest
        if version not in versions:
            raise VersionNotFound(folder.name, version, newest=newest)
        return _entry(Ref(folder.name, version), versions[version])

    def entries(self) -> tuple[Entry, ...]:
        """The current version of every name, from headers only."""
        return tuple(self.find(Ref(name)) for name in self.names())

    def versions(self, name: str) -> tuple[Entry, ...]:
        """Every version of a name, oldest first."""
        folder = self.find(Ref(name)).path.parent
        return tuple(_entry(Ref(folder.name, number), path) for number, path in sorted(_versions(folder).items()))

    def save(self, name: str, data: bytes, *, new: bool) -> Entry:
        """Store the bytes of a context as the next version; with `new`, only if the name is free."""
        if new and self.has(name):
            raise ContextExists(name)
        folder = self._folder(name) or self._contexts / name
        try:
            _make_folder(folder)
            with finished_file(folder, data) as temporary:
                version = _claim_next(folder, temporary, name, new=new)
            fsync_folder(folder)
        except OSError as error:
            raise StorageFailed(error, f"store '{name}' in", folder) from error
        return _entry(Ref(folder.name, version), folder / f"{version}{_SUFFIX}")

    def remove(self, name: str) -> Path:
        """Move a name with all its versions to the trash; the folder it is in now."""
        folder = self.find(Ref(name)).path.parent
        stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
        target = self._trash / f"{folder.name}@{stamp}-{secrets.token_hex(3)}"
        try:
            _make_folder(self._trash)
            folder.rename(target)
            fsync_folder(self._trash)
            fsync_folder(self._contexts)
        except OSError as error:
            raise StorageFailed(error, f"remove '{name}' from", folder) from error
        return target

    def restore(self, name: str) -> Entry:
        """Bring the newest removal of a name back out of the trash, if the name is free."""
        removed = self._removed(name)
        if not removed:
            raise NotInTrash(name, stored=self.has(name))
        if self.has(name):
            raise ContextExists(name, f"promptctl remove {name}   (it goes to the trash as well)")
        newest = max(removed, key=lambda folder: folder.name.rpartition("@")[2])
        try:
            _make_folder(self._contexts)
            newest.rename(self._contexts / newest.name.rpartition("@")[0])
            fsync_folder(self._contexts)
            fsync_folder(self._trash)
        except OSError as error:
            raise StorageFailed(error, f"restore '{name}' to", self._contexts) from error
        return self.find(Ref(name))

    def check_writable(self) -> None:
        """StorageFailed now rather than after an hour of learning."""
        try:
            _make_folder(self._contexts)
            with finished_file(self._contexts, b""):
                pass
        except OSError as error:
            raise StorageFailed(error, "write to", self._contexts) from error

    @property
    def _contexts(self) -> Path:
        return self.home / "contexts"

    @property
    def _trash(self) -> Path:
        return self.home / "trash"

    def _folder(self, name: str) -> Path | None:
        # names that differ only in case are one name, on every file system
        return next((f for f in _folders(self._contexts) if f.name.casefold() == name.casefold()), None)

    def _removed(self, name: str) -> list[Path]:
        return [f for f in _folders(self._trash) if f.name.rpartition("@")[0].casefold() == name.casefold()]

    def _near(self, name: str) -> str | None:
        return next(iter(get_close_matches(name, self.names(), n=1)), None)


def _folders(parent: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        yield from (Path(item.path) for item in os.scandir(parent) if item.is_dir())


def _versions(folder: Path) -> dict[int, Path]:
    numbered = {path.stem: path for path in folder.glob(f"*{_SUFFIX}")}
    return {int(stem): path for stem, path in numbered.items() if stem.isascii() and stem.isdigit()}


def _entry(ref: Ref, path: Path) -> Entry:
    stat = path.stat()
    try:
        return Entry(ref, path, stat.st_size, stat.st_mtime_ns, read_card(path))
    except BadContextFile as error:
        return Entry(ref, path, stat.st_size, stat.st_mtime_ns, None, str(error))


def _claim_next(folder: Path, finished: Path, name: str, *, new: bool) -> int:
    version = max(_versions(folder), default=0) + 1
    while True:
        if new and version > 1:
            raise ContextExists(name)
        try:
            link_or_copy(finished, folder / f"{version}{_SUFFIX}")
            return version
        except FileExistsError:
            version += 1


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync_folder(folder.parent)
