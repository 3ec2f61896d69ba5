"""A store that is watched from outside: what it holds, a plain model of its verbs, and a disk that stops or fails."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_context import make

from promptctl.store.refs import Ref
from promptctl.store.store import Store

# every call of `os` in promptctl/store/files.py that changes a disk or makes a change durable
CALLS = (
    *("open", "write", "utime", "chmod", "fsync", "link", "symlink", "rename", "replace", "unlink", "mkdir", "rmdir"),
    "ftruncate",
)

State = dict[str, dict[int, str]]  # name, or "name in the trash" → version → sha256 of the file
CANDIDATE = 0  # stands for the candidate among the versions


def payload(number: int) -> bytes:
    """A small context unlike those of other numbers."""
    context = make()
    method = dataclasses.replace(context.card.method, seed=number)
    return dataclasses.replace(context, card=dataclasses.replace(context.card, method=method)).to_bytes()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def state(home: Path) -> State:
    """What lies in a store, read without its code; what was removed twice under a name lies there once more."""
    found: State = {}
    for folder in sorted(home.glob("contexts/*")) + sorted(home.glob("trash/*")):
        versions = {int(file.stem): sha(file.read_bytes()) for file in folder.glob("[0-9]*.safetensors")}
        candidate = folder / "candidate.safetensors"
        if candidate.exists():
            versions[CANDIDATE] = sha(candidate.read_bytes())
        if folder.name.startswith(".") or not versions:
            continue
        name = folder.name if folder.parent.name == "contexts" else f"{folder.name.rpartition('@')[0]} in the trash"
        while name in found:
            name += ", again"
        found[name] = versions
    return found


def leftovers(home: Path) -> list[Path]:
    """Everything in a store that no name leads to."""
    every = [path for part in ("contexts", "trash") for path in (home / part).rglob("*")]
    empty = [path for path in every if path.is_dir() and not any(path.iterdir())]
    return empty + [
        path for path in every if path.is_file() and not re.fullmatch(r"(\d+|candidate)\.safetensors", path.name)
    ]


def prepared(home: Path) -> Store:
    """birds@2, @3 and a candidate, plants@1, and in the trash fish@1, @2, birds@1 and a candidate of plants."""
    store = Store(home)
    for number in (1, 2):
        store.save("fish", payload(number), new=number == 1)
    store.remove(Ref("fish"))
    for number in (3, 4, 5):
        store.save("birds", payload(number), new=number == 3)
    store.remove(Ref("birds", 1))
    store.save("plants", payload(6), new=True)
    store.save_candidate("birds", payload(8))
    store.save_candidate("plants", payload(9))
    store.remove(Ref("plants", candidate=True))
    return store


OPERATIONS: dict[str, Callable[[Store], object]] = {
    "save the next version": lambda store: store.save("birds", payload(7), new=False),
    "save a new name": lambda store: store.save("trees", payload(7), new=True),
    "copy": lambda store: store.copy(Ref("birds"), "finches"),
    "copy a version": lambda store: store.copy(Ref("birds", 2), "finches"),
    "rename": lambda store: store.rename("birds", "finches"),
    "rename in another case": lambda store: store.rename("birds", "Birds"),
    "remove": lambda store: store.remove(Ref("birds")),
    "remove a version": lambda store: store.remove(Ref("birds", 2)),
    "restore an old version": lambda store: store.restore(Ref("birds", 2)),
    "restore a name": lambda store: store.restore(Ref("fish")),
    "restore a removed version": lambda store: store.restore(Ref("birds", 1)),
    "restore one of a removed name": lambda store: store.restore(Ref("fish", 1)),
    "save a candidate": lambda store: store.save_candidate("plants", payload(7)),
    "replace a candidate": lambda store: store.save_candidate("birds", payload(7)),
    "promote": lambda store: store.promote("birds"),
    "copy a candidate": lambda store: store.copy(Ref("birds", candidate=True), "finches"),
    "remove a candidate": lambda store: store.remove(Ref("birds", candidate=True)),
    "restore a candidate": lambda store: store.restore(Ref("plants", candidate=True)),
    "collect garbage": lambda store: store.gc(0),
}


@contextmanager
def watched(on_call: Callable[[str, str, object], None]) -> Iterator[None]:
    """`on_call(call, "before" or "after", path)` around every call that changes the disk; a lock's own are not."""
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, _around(name, getattr(os, name), on_call))
        yield


def _around(name: str, original: Callable[..., object], on_call: Callable[[str, str, object], None]):
    def call(*arguments: object, **options: object) -> object:
        if name == "open" and str(arguments[0]).endswith((".lock", ".lock-holder")):
            return original(*arguments, **options)
        on_call(name, "before", arguments[0])
        result = original(*arguments, **options)
        on_call(name, "after", arguments[0])
        return result

    return call


def killed_at(home: Path, operation: Callable[[Store], object], point: int) -> str | None:
    """Run an operation in a process that ends by SIGKILL at its n-th point; the point's name, or None at the end."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _die_at(home, operation, point, write)
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read) as pipe:
        name = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return name
    assert os.WEXITSTATUS(status) == 0
    return None


def _die_at(home: Path, operation: Callable[[Store], object], point: int, pipe: int) -> None:
    passed, write = 0, os.write

    def on_call(name: str, when: str, path: object) -> None:
        nonlocal passed
        passed += 1
        if passed == point:
            write(pipe, f"{when} {name}({path})".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    with watched(on_call):
        operation(Store(home))
    os._exit(0)


class Model:
    """What the store's verbs do, on a dict; `trash` is what was removed, oldest first."""

    def __init__(self) -> None:
        self.names: State = {}
        self.trash: list[tuple[str, dict[int, str]]] = []

    def state(self) -> State:
        found = {name: dict(versions) for name, versions in self.names.items()}
        for removed, versions in self.trash:
            name = f"{removed} in the trash"
            while name in found:
                name += ", again"
            found[name] = dict(versions)
        return found

    def save(self, name: str, digest: str) -> int:
        versions = self.names.setdefault(name, {})
        number = max(versions, default=0) + 1
        versions[number] = digest
        return number

    def save_candidate(self, name: str, digest: str) -> None:
        if CANDIDATE in self.names[name]:
            self.remove_version(name, CANDIDATE)
        self.names[name][CANDIDATE] = digest

    def promote(self, name: str) -> None:
        self.save(name, self.names[name].pop(CANDIDATE))

    def copy(self, name: str, target: str) -> None:
        self.names[target] = {number: digest for number, digest in self.names[name].items() if number != CANDIDATE}

    def rename(self, name: str, target: str) -> None:
        self.names[target] = self.names.pop(name)

    def remove(self, name: str) -> None:
        self.trash.append((name, self.names.pop(name)))

    def remove_version(self, name: str, number: int) -> None:
        self.trash.append((name, {number: self.names[name].pop(number)}))

    def restore(self, name: str) -> None:
        place = max(i for i, (removed, kept) in enumerate(self.trash) if removed == name and any(kept))
        self.names.setdefault(name, {}).update(self.trash.pop(place)[1])

    def restore_candidate(self, name: str) -> None:
        place = max(i for i, (removed, kept) in enumerate(self.trash) if removed == name and not any(kept))
        self.names[name].update(self.trash.pop(place)[1])

    def restore_version(self, name: str, number: int) -> int:
        return self.save(name, self.names[name][number])

    def empty_trash(self) -> None:
        self.trash.clear()


def signalled_at(home: Path, arguments: Sequence[object], point: int, number: int) -> tuple[str | None, int]:
    """Run a command in a process that gets a signal at its n-th point: the point's name, or None, and the exit code."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _run_with_signal(home, arguments, point, number, write)
        finally:
            os._exit(99)
    os.close(write)
    with os.fdopen(read) as pipe:
        name = pipe.read()
    _, status = os.waitpid(child, 0)
    return name or None, os.waitstatus_to_exitcode(status)


def _run_with_signal(home: Path, arguments: Sequence[object], point: int, number: int, pipe: int) -> None:
    from promptctl.cli.main import main

    passed, write = 0, os.write

    def on_call(name: str, when: str, path: object) -> None:
        nonlocal passed
        passed += 1
        if passed == point:
            write(pipe, f"{when} {name}({path})".encode())
            os.kill(os.getpid(), number)

    os.environ["PROMPTCTL_HOME"] = str(home)
    sys.argv = ["promptctl", *map(str, arguments)]
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    try:
        with watched(on_call):
            main()
    except SystemExit as end:
        os._exit(int(end.code or 0))
