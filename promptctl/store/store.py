"""Store: named contexts, every version written once and never changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl import checks, signals, typed
from promptctl.context.card import Card, read_card, verify
from promptctl.errors import (
    BadContextFile,
    CandidateNotFound,
    ContextExists,
    ContextNotFound,
    InvalidName,
    NewestVersion,
    NotInStore,
    NotInTrash,
    Outdated,
    StorageFailed,
    VersionNotFound,
    reason_of,
)
from promptctl.paths import data_home
from promptctl.store import files
from promptctl.store.journal import UNDO, Journal, Operation, Step
from promptctl.store.lock import only_writer
from promptctl.store.refs import CANDIDATE, Ref, check_name, is_name

if TYPE_CHECKING:
    from promptctl.context.context import Context

SUFFIX = ".safetensors"
_STAMP = "%Y%m%dT%H%M%S.%f"  # to the microsecond, so that what was removed last comes back first
_NUMBER = re.compile("[1-9][0-9]{0,9}")
_STAMPS = (_STAMP, "%Y%m%dT%H%M%S")  # and as it was written before
EMPTY = "empty folder"
TRASH_DAYS = 30  # what lies longer in the trash, `gc` takes away


@dataclass(frozen=True)
class Entry:
    """One stored version, or a candidate, as far as its header tells."""

    ref: Ref
    path: Path
    n_bytes: int
    mtime_ns: int
    card: Card | None  # None where the header cannot be read
    fault: str | None = None  # why not


@dataclass(frozen=True)
class Removed:
    """What was removed of a name together."""

    name: str
    versions: tuple[int, ...]
    when: datetime
    path: Path
    fault: str | None = None  # why not even its versions are known
    candidate: bool = False  # whether its candidate is there

    @property
    def refs(self) -> tuple[Ref, ...]:
        """The versions and the candidate."""
        last = (Ref(self.name, candidate=True),) if self.candidate else ()
        return (*(Ref(self.name, number) for number in self.versions), *last)

    def file(self, ref: Ref) -> Path:
        return _file_of(self.path, ref)

    @property
    def n_bytes(self) -> int:
        return _size(self.path)


@dataclass(frozen=True)
class Leftover:
    """Something `gc` takes away."""

    path: Path
    what: str  # in words
    n_bytes: int


class Store:
    """`<home>/contexts/<name>/<version>.safetensors`; the largest number is the current version.

    `candidate.safetensors` beside the versions is an update that waits to be promoted or removed, one at most. It goes
    where its name goes, except that a copy of the name is one of its versions alone.

    A change holds the store's lock and comes to pass in one step: a finished, fsynced file is linked to its name, or a
    folder renamed. So a reader needs no lock and sees all of it or nothing, and so does whoever opens the store after
    the power went. What is removed goes to `<home>/trash/<name>@<UTC time>-<random>`.

        store = Store()
        "birds" in store, len(store), list(store), store["birds@2"]

    Every change is an operation of the journal, written down before it is made.

    home         the folder; None: that of PROMPTCTL_HOME, else the system's for data
    takes_back   number of the operation that its changes take back
    raises       BadSetting for what is no path
    """

    def __init__(self, home: str | os.PathLike[str] | None = None, *, takes_back: int | None = None) -> None:
        self.home = data_home() if home is None else checks.path("home", home)
        self._takes_back = takes_back

    def __repr__(self) -> str:
        return f"Store({os.fspath(self.home)!r})"

    # ---------------------------------------------------------------- reading

    def __getitem__(self, ref: str) -> Context:
        """The context of `NAME` or `NAME@VERSION`, verified; InvalidName, ContextNotFound, VersionNotFound."""
        from promptctl.context.context import Context

        return Context.load(self.find(Ref.parse(checks.string("context", ref, "birds"))).path)

    def __contains__(self, ref: object) -> bool:
        """Whether there is a context of this name, at this version where one is given."""
        if not isinstance(ref, str):
            return False
        try:
            self.find(Ref.parse(ref))
        except (InvalidName, NotInStore):
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __bool__(self) -> bool:
        return True  # an empty store is a store

    def names(self) -> tuple[str, ...]:
        """Every name that has at least one version, sorted."""
        return tuple(folder.name for folder in self._kept())

    def has(self, name: str) -> bool:
        """Whether there is a version of a name."""
        folder = self._folder(name)
        return folder is not None and bool(_versions(folder))

    def find(self, ref: Ref) -> Entry:
        """The stored version or candidate a reference means; ContextNotFound, VersionNotFound, CandidateNotFound."""
        folder = self._folder(ref.name)
        versions = _versions(folder) if folder else {}
        if folder is None or not versions:
            raise ContextNotFound(ref.name, near=self._near(ref.name), removed=bool(self._removed(ref.name)))
        if ref.candidate:
            return self._candidate_of(folder)
        newest = max(versions)
        version = ref.version or newest
        if version not in versions:
            in_trash = any(version in removed.versions for removed in self._removed(ref.name))
            raise VersionNotFound(folder.name, version, newest=newest, removed=in_trash)
        return _entry(Ref(folder.name, version), versions[version])

    def entries(self) -> tuple[Entry, ...]:
        """The current version of every name, from headers only."""
        return tuple(entry for folder in self._kept() if (entry := _current(folder)))

    def versions(self, name: str) -> tuple[Entry, ...]:
        """Every version of a name, oldest first."""
        folder = self.find(Ref(name)).path.parent
        return tuple(_entry(Ref(folder.name, number), path) for number, path in sorted(_versions(folder).items()))

    def candidate(self, name: str) -> Entry | None:
        """The candidate of a name; None where there is none, or nobody may look."""
        with contextlib.suppress(PermissionError):
            folder = self._folder(name)
            if folder and _versions(folder) and _candidate(folder):
                return self._candidate_of(folder)
        return None

    def every(self) -> tuple[Entry, ...]:
        """Every version and candidate of every name, and of a name whose folder cannot be read why not."""
        return tuple(entry for folder in self._kept() for entry in _all_entries(folder))

    def numbers(self, name: str) -> tuple[int, ...]:
        """The numbers of the versions of a name; no file is opened."""
        folder = self._folder(name)
        return tuple(sorted(_versions(folder))) if folder else ()

    def trash(self) -> tuple[Removed, ...]:
        """What was removed, the newest first."""
        found = [removed for folder in self._folders(self._trash) if (removed := _removed(folder))]
        return tuple(sorted(found, key=lambda removed: (removed.when, removed.path.name), reverse=True))

    def leftovers(self, older_than_days: float = TRASH_DAYS) -> tuple[Leftover, ...]:
        """What `gc` would delete: unfinished writing, empty folders, and items long enough in the trash."""
        found = []
        for parent in (self._contexts, self._trash):
            for folder in self._folders(parent):
                if folder.is_symlink() or not (is_name(folder.name) if parent == self._contexts else _removed(folder)):
                    continue  # somebody's own
                try:
                    inside = _inside(folder)
                except PermissionError:
                    continue  # nobody knows what is in it
                found += [Leftover(path, "unfinished", _size(path)) for path in inside if files.is_part(path)]
                if all(files.is_part(path) for path in inside):
                    found.append(Leftover(folder, EMPTY, 0))
            found += [Leftover(path, "unfinished", _size(path)) for path in _inside(parent) if files.is_part(path)]
        now = datetime.now(timezone.utc)
        for removed in self.trash():
            if removed.refs and (now - removed.when).total_seconds() >= older_than_days * 86400:
                found.append(Leftover(removed.path, f"removed {removed.when:%Y-%m-%d}", removed.n_bytes))
        return tuple(found)

    # --------------------------------------------------------------- changing

    def save(self, name: str, data: bytes, *, new: bool, after: int | None = None, origin: str | None = None) -> Entry:
        """Store the bytes of a context as the next version.

        new      only if the name is free, or ContextExists
        after    only if this is still the newest version, or Outdated; ContextNotFound when all have gone
        origin   where they were fetched from, for the journal
        """
        with self._changing("store the context"):
            check_name(name)
            if new and self.has(name):
                raise ContextExists(name)
            self._check_newest(name, after)
            folder = self._folder(name) or self._contexts / name
            with self._saved(folder, data, origin):
                files.make_folder(folder)
                return self._add(folder, data)

    def save_candidate(self, name: str, data: bytes, *, after: int | None = None) -> tuple[Entry, Removed | None]:
        """Store the bytes of a context beside the versions of a name, as none of them; `after` as in `save`.

        returns   the candidate, and what there was before, which is in the trash
        """
        with self._changing("store the candidate"):
            self._check_newest(name, after)
            folder = self.find(Ref(name)).path.parent
            before, place = None, self._place_in_trash(folder.name)
            replaced = place.name if _candidate(folder) else None
            with (
                self._recorded("candidate", name=folder.name, replaced=replaced),
                files.finished_file(folder, data) as temporary,
            ):
                if replaced:
                    before = self._discard(_candidate_file(folder), place)
                files.link_exclusive(temporary, _candidate_file(folder))
                files.fsync_folders(folder)
            return self._candidate_of(folder), before

    def promote(self, name: str) -> Entry:
        """The candidate of a name becomes its next version."""
        with self._changing("promote the candidate"):
            found = self.find(Ref(name, candidate=True))
            data = found.path.read_bytes()
            verify(data, found.path)  # or a damaged version would be the newest
            folder = found.path.parent
            version = max(_versions(folder)) + 1
            while os.path.lexists(_file(folder, version)):  # something that is no version, and that renaming replaces
                version += 1
            with self._saved(folder, data):
                files.move(found.path, _file(folder, version))
            return _entry(Ref(folder.name, version), _file(folder, version))

    def copy(self, source: Ref, name: str) -> Entry:
        """The versions of a name under another one; of a version or candidate that one, which becomes the first."""
        with self._changing("copy the context"):
            check_name(name)
            if self.has(name):
                raise ContextExists(name, "choose another name")
            found = self.find(source)
            copied = {1: found} if not source.is_whole else {e.ref.version or 0: e for e in self.versions(source.name)}
            part = files.part_of(self._contexts)
            try:
                files.make_folder(part)
                for number, entry in copied.items():
                    files.write(_file(part, number), entry.path.read_bytes(), entry.mtime_ns)
                files.fsync_folder(part)
                self._make_way(name)
                with self._recorded("copy", source=str(found.ref), name=name):
                    files.move(part, self._contexts / name)
            finally:
                if part.exists():
                    files.delete(part)
            return self.find(Ref(name))

    def rename(self, name: str, target: str) -> Entry:
        """Give a name with all its versions another one."""
        with self._changing("rename the context"):
            check_name(target)
            folder = self.find(Ref(name)).path.parent
            if folder.name == target or (folder != self._folder(target) and self.has(target)):
                raise ContextExists(target, "choose another name")
            if folder != self._folder(target):
                self._make_way(target)
            with self._recorded("rename", name=folder.name, target=target):
                files.move(folder, self._contexts / target)
            return self.find(Ref(target))

    def remove(self, ref: Ref) -> Removed:
        """Move a name with all its versions to the trash, or one version that is not the newest, or the candidate."""
        with self._changing("remove the context"):
            found = self.find(ref)
            folder = found.path.parent
            kept = _versions(folder)
            whole = ref.is_whole or (ref.version is not None and len(kept) == 1)
            if not whole and ref.version == max(kept):
                raise NewestVersion(str(found.ref), str(Ref(folder.name, sorted(kept)[-2])))
            place = self._place_in_trash(folder.name)
            with self._recorded("remove", name=folder.name, place=place.name):
                return self._discard(folder if whole else found.path, place)

    def restore(self, ref: Ref) -> Entry:
        """An old version becomes the newest; or what was removed comes back, if its name or number is free."""
        with self._changing("restore the context"):
            if ref.candidate:
                return self._bring_candidate_back(ref.name)
            if ref.version in self.numbers(ref.name):
                old = self.find(ref)
                data = old.path.read_bytes()
                verify(data, old.path)  # or a damaged version would be the newest
                with self._saved(old.path.parent, data):
                    return self._add(old.path.parent, data)
            removed = next((r for r in self._removed(ref.name) if ref.version in (None, *r.versions)), None)
            if removed is None:
                if ref.version and self.has(ref.name):
                    self.find(ref)  # VersionNotFound
                raise NotInTrash(str(ref), stored=self.has(ref.name))
            return self._bring_back(removed, ref.version)

    def bring_back(self, name: str, place: str) -> Entry:
        """What lies in one folder of the trash comes back; NotInTrash, and ContextExists where something is there."""
        with self._changing("restore the context"):
            removed = next((item for item in self._in_trash(name) if item.path.name == place), None)
            if removed is None or not removed.refs:
                raise NotInTrash(name, stored=self.has(name))
            if not removed.versions:
                return self._bring_candidate_back(name, removed)
            return self._bring_back(removed, None)

    def kept_of(self, name: str) -> tuple[Path, ...]:
        """Every file of a name: its versions, its candidate, and what was removed under this name."""
        folders = [self.find(Ref(name)).path.parent, *(removed.path for removed in self._in_trash(name))]
        return tuple(path for folder in folders for path in _files(folder))

    def rewrite(self, name: str, make: Callable[[bytes, Mapping[str, str]], bytes]) -> tuple[Path, ...]:
        """Put other files in the place of those of a name, and leave nothing of the old ones: for a purge alone.

        A version comes after the one it was learned from, so `make` can name its new parent. Files are replaced in the
        opposite order: whatever an interruption leaves, the same rewriting finishes, if `make` gives the same bytes
        for the same bytes.

        make      from a file and {old sha256: new one} of those before it, the new file; or the same bytes, to keep it
        returns   what was replaced
        raises    ContextNotFound, CorruptContext, and what `make` raises, before anything is replaced
        """
        with self._changing("rewrite the context"):
            found = self.kept_of(name)
            for part in self._unfinished(found):
                files.delete(part)  # an interrupted save, copy or gc may have left the very bytes there
            finished: list[tuple[Path, Path]] = []
            try:
                self._make_again(_parents_first(found), make, finished)
                with self._recorded("purge", name=name):
                    for part, path in reversed(finished):
                        files.replace(part, path)
            finally:
                for part, _ in finished:
                    with contextlib.suppress(FileNotFoundError):
                        files.delete(part)
            return tuple(path for _, path in finished)

    def gc(self, older_than_days: float = TRASH_DAYS) -> tuple[Leftover, ...]:
        """Take leftovers away for good; an item of the trash first loses its name there, so it goes as a whole."""
        with self._changing("clean up"):
            gone = self.leftovers(older_than_days)
            for leftover in gone:
                with signals.step():
                    self._take_away(leftover)
            return gone

    def check_writable(self) -> None:
        """StorageFailed now rather than after an hour of learning."""
        with self._changing("write to the store"):
            files.make_folder(self._contexts)
            with files.finished_file(self._contexts, b""):
                pass

    # ---------------------------------------------------------------- inside

    def _candidate_of(self, folder: Path) -> Entry:
        if not _candidate(folder):
            raise CandidateNotFound(folder.name, removed=self._lone_candidate(folder.name) is not None)
        return _entry(Ref(folder.name, candidate=True), _candidate_file(folder))

    def _lone_candidate(self, name: str) -> Removed | None:
        """The candidate of a name that was removed last, by itself: one removed with its versions is theirs."""
        return next((removed for removed in self._in_trash(name) if removed.candidate and not removed.versions), None)

    def _check_newest(self, name: str, after: int | None) -> None:
        if after is None:
            return
        newest = self.find(Ref(name)).ref
        if newest.version != after:
            raise Outdated(newest.name, after, newest.version or 0)

    def _discard(self, path: Path, place: Path) -> Removed:
        """Move the folder of a name, or one file out of it, to its place in the trash."""
        if path.parent == self._contexts:
            files.make_folder(self._trash)
            files.move(path, place)
        else:
            files.make_folder(place)
            files.move(path, place / path.name)
        removed = _removed(place)
        assert removed is not None
        return removed

    def _place_in_trash(self, name: str) -> Path:
        return self._trash / f"{name}@{self._stamp()}-{secrets.token_hex(3)}"

    def _bring_candidate_back(self, name: str, removed: Removed | None = None) -> Entry:
        folder = self.find(Ref(name)).path.parent
        candidate = Ref(folder.name, candidate=True)
        if _candidate(folder):
            raise ContextExists(str(candidate), f"promptctl promote {candidate}   (it becomes the next version)")
        removed = removed or self._lone_candidate(name)
        if removed is None:
            raise NotInTrash(str(candidate), stored=False)
        with self._recorded("bring back", name=folder.name, ref=str(candidate)):
            files.move(_candidate_file(removed.path), _candidate_file(folder))
        with contextlib.suppress(OSError):
            files.delete_empty(removed.path)
        return self._candidate_of(folder)

    def _unfinished(self, kept: tuple[Path, ...]) -> list[Path]:
        """Parts beside files of a name, and those that may hold a whole one."""
        folders = {self._contexts, self._trash, *(path.parent for path in kept)}
        return [path for folder in folders for path in _inside(folder) if files.is_part(path)]

    @staticmethod
    def _make_again(
        kept: list[Path],
        make: Callable[[bytes, Mapping[str, str]], bytes],
        finished: list[tuple[Path, Path]],
    ) -> None:
        """Write what `make` gives beside each file that it changes, and add both paths to what is finished."""
        new_of: dict[str, str] = {}
        for path in kept:
            old = path.read_bytes()
            new = make(old, new_of)
            if new != old:
                part = files.part_of(path.parent)
                finished.append((part, path))
                files.write(part, new, path.stat().st_mtime_ns)
                new_of[read_card(path).sha256] = read_card(part).sha256

    def _take_away(self, leftover: Leftover) -> None:
        if leftover.path.parent == self._trash and not files.is_part(leftover.path):
            part = files.part_of(self._trash)
            files.move(leftover.path, part)
            files.delete(part)
        elif leftover.what == EMPTY:
            with contextlib.suppress(OSError):  # something came meanwhile, from a writer no lock holds back
                files.delete_empty(leftover.path)
        else:
            files.delete(leftover.path)

    @contextlib.contextmanager
    def _changing(self, doing: str) -> Iterator[None]:
        """Alone, and what the disk refuses told in one sentence."""
        try:
            files.make_folder(self.home)
            with only_writer(self.home):
                yield
        except OSError as error:
            raise StorageFailed(error, doing, self.home) from error

    def _saved(self, folder: Path, data: bytes, origin: str | None = None) -> contextlib.AbstractContextManager[None]:
        """Around the storing of the next version in the folder of a name."""
        version = max(_versions(folder), default=0) + 1
        sha256 = hashlib.sha256(data).hexdigest()
        about = {"origin": origin, "sha256": sha256} if origin else None
        return self._recorded("save", about, name=folder.name, version=version, sha256=sha256)

    @contextlib.contextmanager
    def _recorded(self, step: str, about: Mapping[str, str] | None = None, **what: str | int | None) -> Iterator[None]:
        """Around one change, written down before it is made; once made it stands, whatever the journal has room for."""
        made = False
        try:
            with self._operation({"do": step, **what}, about) as operation:
                try:
                    yield
                except OSError as error:  # NotDurable apart, it did not come about
                    operation.give_up(error)
                    raise
                made = True
                operation.became(done=[0])
        except StorageFailed:
            if not made:
                raise

    def _operation(self, step: Step, about: Mapping[str, str] | None) -> Operation:
        words, journal = typed.words(), Journal(self.home)
        if self._takes_back is not None:
            return journal.begin(UNDO, words, about={"of": self._takes_back}, steps=[step])
        return journal.begin(words[0] if words else str(step["do"]), words, about=about, steps=[step])

    @property
    def _contexts(self) -> Path:
        return self.home / "contexts"

    @property
    def _trash(self) -> Path:
        return self.home / "trash"

    def _folders(self, parent: Path) -> list[Path]:
        """The folders of contexts or trash, none where there is no such; StorageFailed where a file stands for it."""
        try:
            return _folders(parent)
        except OSError as error:
            raise StorageFailed(error, "read the store", self.home) from error

    def _kept(self) -> list[Path]:
        """The folders of names with versions, sorted; one that cannot be read is said to have some."""
        found = []
        for folder in self._folders(self._contexts):
            with contextlib.suppress(PermissionError):
                if not _versions(folder):
                    continue
            if is_name(folder.name):
                found.append(folder)
        return sorted(found, key=lambda folder: (folder.name.casefold(), folder.name))

    def _folder(self, name: str) -> Path | None:
        """The folder of a name, whatever its case; of twins the one with versions, or the one so called."""
        alike = [folder for folder in self._folders(self._contexts) if folder.name.casefold() == name.casefold()]
        return max(alike, key=lambda folder: (bool(_versions(folder)), folder.name == name), default=None)

    def _stamp(self) -> str:
        """Now, or just after the newest removal should the clock have gone back."""
        last = max((removed.when for removed in self.trash()), default=datetime.min.replace(tzinfo=timezone.utc))
        return max(datetime.now(timezone.utc), last + timedelta(microseconds=1)).strftime(_STAMP)

    def _in_trash(self, name: str) -> list[Removed]:
        return [removed for removed in self.trash() if removed.name.casefold() == name.casefold()]

    def _removed(self, name: str) -> list[Removed]:
        return [removed for removed in self._in_trash(name) if removed.versions]

    def _near(self, name: str) -> str | None:
        return next(iter(get_close_matches(name, self.names(), n=1)), None)

    def _add(self, folder: Path, data: bytes) -> Entry:
        """The next version in the folder of a name."""
        with files.finished_file(folder, data) as temporary:
            version = _claim_next(folder, temporary)
        files.fsync_folders(folder, self._contexts)
        return _entry(Ref(folder.name, version), _file(folder, version))

    def _make_way(self, name: str) -> None:
        """Clear what an interrupted save of this name may have left: a folder without any version."""
        folder = self._folder(name)
        if folder:
            for path in _inside(folder):
                if files.is_part(path):
                    files.delete(path)
            files.delete_empty(folder)

    def _bring_back(self, removed: Removed, version: int | None) -> Entry:
        folder = self._folder(removed.name)
        stored = _versions(folder) if folder else {}
        if not stored and version is None:
            self._make_way(removed.name)
            files.make_folder(self._contexts)
            with self._recorded("bring back", name=removed.name, ref=removed.name):
                files.move(removed.path, self._contexts / removed.name)
            return self.find(Ref(removed.name))
        # what was removed alone is older than what stayed; anything else is another life of the name
        if version is None and len(removed.versions) == 1 and removed.versions[0] < max(stored):
            (version,) = removed.versions
        if version is None or version in stored or version > max(stored, default=version):
            raise ContextExists(removed.name, f"promptctl rename {removed.name} ANOTHER-NAME   (then restore it)")
        folder = folder or self._contexts / removed.name
        files.make_folder(folder)
        with self._recorded("bring back", name=folder.name, ref=str(Ref(folder.name, version))):
            files.move(_file(removed.path, version), _file(folder, version))
        with contextlib.suppress(OSError):  # there is more in it
            files.delete_empty(removed.path)
        return self.find(Ref(folder.name, version))


def _folders(parent: Path) -> list[Path]:
    return [path for path in _inside(parent) if _is_folder(path) and not files.is_part(path)]


def _inside(folder: Path) -> list[Path]:
    """What a folder holds; nothing when it is gone."""
    with contextlib.suppress(FileNotFoundError):
        return [Path(item.path) for item in os.scandir(folder)]
    return []


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a link to itself, or to where nobody may look; or this may be such a place, which raises again
        return not path.is_symlink()


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):  # finished meanwhile
        return files.size_of(path)
    return 0


def _file(folder: Path, version: int) -> Path:
    return folder / f"{version}{SUFFIX}"


def _candidate_file(folder: Path) -> Path:
    return folder / f"{CANDIDATE}{SUFFIX}"


def _file_of(folder: Path, ref: Ref) -> Path:
    return _candidate_file(folder) if ref.version is None else _file(folder, ref.version)


def _candidate(folder: Path) -> bool:
    """Whether a candidate lies in a folder; a pipe or a folder that is called so is none."""
    return _candidate_file(folder).is_file()


def _files(folder: Path) -> list[Path]:
    """The versions in a folder, oldest first, and the candidate."""
    return [
        *(path for _, path in sorted(_versions(folder).items())),
        *([_candidate_file(folder)] if _candidate(folder) else []),
    ]


def _parents_first(kept: tuple[Path, ...]) -> list[Path]:
    """Files ordered so that each comes after the one it was learned from; CorruptContext for a damaged one."""
    parent_of: dict[str, str | None] = {}
    sha256_of: dict[Path, str] = {}
    for path in kept:
        verify(path.read_bytes(), path)
        card = read_card(path)
        sha256_of[path], parent_of[card.sha256] = card.sha256, card.parent

    def ancestors(path: Path) -> int:
        count, sha256 = 0, parent_of[sha256_of[path]]
        while sha256 in parent_of:
            count, sha256 = count + 1, parent_of[sha256]
        return count

    return sorted(kept, key=ancestors)


def _versions(folder: Path) -> dict[int, Path]:
    """The versions in a folder; what is only called alike, such as 007.safetensors or a pipe, is none."""
    named = [path for path in _inside(folder) if path.suffix == SUFFIX and _NUMBER.fullmatch(path.stem)]
    return {int(path.stem): path for path in named if path.is_file()}


def _removed(folder: Path) -> Removed | None:
    """What a folder of the trash holds; None for somebody's own."""
    name, _, stamp = folder.name.rpartition("@")
    if not is_name(name):
        return None
    for form in _STAMPS:
        with contextlib.suppress(ValueError):
            when = datetime.strptime(stamp.partition("-")[0], form).replace(tzinfo=timezone.utc)
            try:
                versions = tuple(sorted(_versions(folder)))
                return Removed(name, versions, when, folder, candidate=_candidate(folder))
            except PermissionError as error:
                return Removed(name, (), when, folder, f"{folder} cannot be read: {reason_of(error)}")
    return None


def _current(folder: Path) -> Entry | None:
    """The newest version in a folder of a name; None when they have gone this moment."""
    try:
        versions = _versions(folder)
    except PermissionError as error:
        return _unreadable(folder, error)
    return _entry(Ref(folder.name, max(versions)), versions[max(versions)]) if versions else None


def _all_entries(folder: Path) -> list[Entry]:
    """The versions in a folder of a name, oldest first, and the candidate; or one entry that says why not."""
    try:
        kept = _files(folder)
    except PermissionError as error:
        return [_unreadable(folder, error)]
    return [_entry(_ref_of(path), path) for path in kept]


def _ref_of(path: Path) -> Ref:
    """What a file in the folder of a name is called."""
    name, stem = path.parent.name, path.stem
    return Ref(name, candidate=True) if stem == CANDIDATE else Ref(name, int(stem))


def _unreadable(folder: Path, error: OSError) -> Entry:
    return Entry(Ref(folder.name), folder, 0, 0, None, f"{folder} cannot be read: {reason_of(error)}")


def _entry(ref: Ref, path: Path) -> Entry:
    n_bytes = mtime_ns = 0
    try:
        stat = path.stat()
        n_bytes, mtime_ns = stat.st_size, stat.st_mtime_ns
        return Entry(ref, path, n_bytes, mtime_ns, read_card(path))
    except BadContextFile as error:
        fault = str(error)
    except OSError as error:
        fault = f"{path} cannot be read: {reason_of(error)}"
    return Entry(ref, path, n_bytes, mtime_ns, None, fault)


def _claim_next(folder: Path, finished: Path) -> int:
    version = max(_versions(folder), default=0) + 1
    while True:
        try:
            files.link_exclusive(finished, _file(folder, version))
            return version
        except FileExistsError:  # a writer that the lock does not hold back, on a network drive
            version += 1
