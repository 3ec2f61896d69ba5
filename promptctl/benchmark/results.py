"""Results: what took long to measure or to choose, on disk, in a table that may be deleted at any time."""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from promptctl import lossy_table, signals
from promptctl.errors import CacheBusy
from promptctl.paths import cache_home

# kind → what its numbers are; those in _UNBOUNDED may be above 1
KINDS: Mapping[str, tuple[str, ...]] = {
    "run": ("accuracy", "seconds"),  # of `compare`
    "halves": ("base", "new", "seconds"),  # of `compare --base-to-new`
    "share": ("share",),  # of `--blend auto`
    "length": ("length",),  # of an image feature before it is made a unit row
}
_TABLE = "CREATE TABLE results (key TEXT PRIMARY KEY, kind TEXT, numbers TEXT, seal TEXT)"
_UNBOUNDED = frozenset({"seconds", "length"})
_UNCOUNTED = "length"  # thousands, and not what a person asked for

Facts = Mapping[str, Any]  # everything that decides a result, as JSON takes it
Numbers = tuple[float, ...]


class Results:
    """SQLite table of a few numbers a row; several processes may use it, and losing it loses only time.

    A row is believed only if its checksum fits and its numbers are what its kind has.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.path = (folder or cache_home()) / "results.sqlite"
        self._db: sqlite3.Connection | None = None
        self._db = self._open()

    def get(self, kind: str, facts: Facts) -> Numbers | None:
        """The numbers of a kind under what decides them, or None when they are not known."""
        key = _key(kind, facts)
        row = self._first("SELECT numbers, seal FROM results WHERE key = ?", (key,))
        if row is None or row[1] != _seal(key, row[0]):
            return None
        return _believed(kind, row[0])

    def put(self, kind: str, facts: Facts, numbers: Numbers) -> None:
        self.put_all(kind, [(facts, numbers)])

    def put_all(self, kind: str, known: Iterable[tuple[Facts, Numbers]]) -> None:
        rows = [(_key(kind, facts), kind, json.dumps(numbers)) for facts, numbers in known]
        if self._db is None:
            return
        try:
            with self._db:
                self._db.executemany(
                    "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?)",
                    [(key, kind, text, _seal(key, text)) for key, kind, text in rows],
                )
            signals.keep("result", len(rows) * (kind != _UNCOUNTED))
        except sqlite3.OperationalError:  # in use for too long, or the disk is full
            pass
        except sqlite3.DatabaseError:
            self._db = self._start_again()

    def measured(self) -> int:
        """How many runs and shares are known; the lengths of features are not worth counting."""
        row = self._first("SELECT count(*) FROM results WHERE kind != ?", (_UNCOUNTED,))
        return int(row[0]) if row else 0

    def n_bytes(self) -> int:
        """On disk."""
        return lossy_table.n_bytes(self.path)

    def clear(self) -> None:
        """Forget everything and give the disk back; CacheBusy while another program is writing."""
        if self._db is None:
            return
        try:
            lossy_table.empty(self._db, "results")
        except sqlite3.OperationalError as error:
            if not lossy_table.is_full(error):
                raise CacheBusy(self.path, str(error)) from error
            self._db = self._start_again()
        except sqlite3.DatabaseError:
            self._db = self._start_again()

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *_: object) -> None:
        if self._db is not None:
            self._db.close()

    def _first(self, query: str, values: tuple[str, ...]) -> Any:
        if self._db is None:
            return None
        try:
            return self._db.execute(query, values).fetchone()
        except sqlite3.OperationalError:
            return None
        except sqlite3.DatabaseError:
            self._db = self._start_again()
            return None

    def _open(self) -> sqlite3.Connection | None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and not self.path.is_file():  # a folder, a pipe
                return None
            return lossy_table.connect(self.path, _TABLE)
        except sqlite3.DatabaseError as error:
            # in use by another program for too long: work without
            return None if "locked" in str(error) else self._start_again()
        except OSError:  # a read-only home: work without
            return None

    def _start_again(self) -> sqlite3.Connection | None:
        if self._db is not None:
            self._db.close()
        return lossy_table.start_again(self.path, _TABLE)


def digest(rows: Iterable[object]) -> str:
    """One sha256 for many facts, whatever their order."""
    return hashlib.sha256("\n".join(sorted(json.dumps(row) for row in rows)).encode()).hexdigest()


def _believed(kind: str, text: str) -> Numbers | None:
    try:
        numbers = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
    names = KINDS[kind]
    if not isinstance(numbers, list) or len(numbers) != len(names):
        return None
    return tuple(numbers) if all(map(_is_sound, names, numbers)) else None


def _is_sound(name: str, number: object) -> bool:
    if type(number) is not float or not math.isfinite(number) or number < 0:
        return False
    return name in _UNBOUNDED or number <= 1


def _key(kind: str, facts: Facts) -> str:
    text = json.dumps([kind, facts], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _seal(key: str, numbers: object) -> str:
    """What tells a row that was written from one that was damaged."""
    return hashlib.sha256(f"{key}:{numbers}".encode(errors="replace")).hexdigest()
