"""FeatureCache: every feature once computed, on disk, in a table that may be deleted at any time."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from promptctl.errors import CacheBusy, InvalidSetting
from promptctl.homes import cache_home

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

LIMIT_VARIABLE = "PROMPTCTL_CACHE_LIMIT"
_LIMIT_MB = 2000  # a million features of width 512
_SHARE_DROPPED = 8  # one in so many features, the oldest, when the limit is reached
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# promptctl's image features; may be deleted at any time\n"


@dataclass(frozen=True)
class Contents:
    """What is in a cache."""

    n_bytes: int  # on disk
    features: Mapping[str, int]  # fingerprint of the backbone → how many


class FeatureCache:
    """SQLite table of feature vectors; several processes may use it, and losing it loses only time.

    Beyond `limit_bytes` the features that were computed first are dropped.
    """

    added = 0  # by this process, in all caches; what is told to whoever interrupts it

    def __init__(self, folder: Path | None = None, *, limit_bytes: int | None = None) -> None:
        self.path = (folder or cache_home()) / "features.sqlite"
        self.limit_bytes = limit_from_environment() if limit_bytes is None else limit_bytes
        self._lock = threading.Lock()
        self._db = self._open()

    @property
    def keeps(self) -> bool:
        """False where nothing can be written, and everything is computed every time."""
        return self._db is not None

    def get(self, key: str) -> Vector | None:
        """The vector under a key, or None when it is not known."""
        import numpy as np

        if self._db is None:
            return None
        with suppress(sqlite3.Error), self._lock:
            row = self._db.execute("SELECT vector FROM features WHERE key = ?", (key,)).fetchone()
            whole = row is not None and len(row[0]) % 4 == 0
            return np.frombuffer(row[0], dtype="<f4").astype(np.float32) if whole else None
        return None

    def put(self, vectors: Mapping[str, Vector]) -> None:
        if self._db is None:
            return
        rows = [(key, vector.astype("<f4").tobytes()) for key, vector in vectors.items()]
        with suppress(sqlite3.Error), self._lock, self._db:
            while self._used_bytes() > self.limit_bytes and self._drop_oldest():
                pass
            self._db.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)
            FeatureCache.added += len(rows)

    def contents(self) -> Contents:
        files = [Path(f"{self.path}{suffix}") for suffix in ("", "-wal")]
        n_bytes = sum(file.stat().st_size for file in files if file.exists())
        query = "SELECT substr(key, 1, instr(key, ':') - 1) AS backbone, count(*) FROM features GROUP BY backbone"
        with suppress(sqlite3.Error), self._lock:
            return Contents(n_bytes, dict(self._db.execute(query)) if self._db else {})
        return Contents(n_bytes, {})

    def clear(self) -> None:
        """Forget everything and give the disk back; CacheBusy while another program is writing."""
        if self._db is None:
            return
        try:
            with self._lock:
                self._db.execute("DELETE FROM features")
                self._db.commit()
                self._db.execute("VACUUM")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:
            raise CacheBusy(self.path) from error

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    def _used_bytes(self) -> int:
        assert self._db is not None
        pages, free, size = (self._db.execute(f"PRAGMA {x}").fetchone()[0] for x in _SPACE)
        return int((pages - free) * size)

    def _drop_oldest(self) -> int:
        assert self._db is not None
        (count,) = self._db.execute("SELECT count(*) FROM features").fetchone()
        oldest = "SELECT rowid FROM features ORDER BY rowid LIMIT ?"
        dropped = self._db.execute(
            f"DELETE FROM features WHERE rowid IN ({oldest})", (max(1, count // _SHARE_DROPPED),)
        )
        return dropped.rowcount

    def _open(self) -> sqlite3.Connection | None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError), (self.path.parent / "CACHEDIR.TAG").open("x") as tag:
                tag.write(_TAG)
            return _connect(self.path)
        except sqlite3.DatabaseError as error:
            # in use by another program for too long: work without
            return None if "locked" in str(error) else self._start_again()
        except OSError:  # a read-only home: work without
            return None

    def _start_again(self) -> sqlite3.Connection | None:
        # an unreadable cache is an empty cache
        with suppress(OSError, sqlite3.Error):
            self.path.unlink(missing_ok=True)
            return _connect(self.path)
        return None


_SPACE = ("page_count", "freelist_count", "page_size")


def limit_from_environment() -> int:
    """Bytes the cache may take, from PROMPTCTL_CACHE_LIMIT in MB; InvalidSetting when that is no number."""
    asked = os.environ.get(LIMIT_VARIABLE) or str(_LIMIT_MB)
    if not asked.isascii() or not asked.isdigit():
        raise InvalidSetting(LIMIT_VARIABLE, asked, "a number of megabytes", f"export {LIMIT_VARIABLE}={_LIMIT_MB}")
    return int(asked) * 1_000_000


def _connect(path: Path) -> sqlite3.Connection:
    # worker threads look up, one at a time under the cache's lock
    db = sqlite3.connect(path, timeout=10, check_same_thread=False)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    # rowids tell which features are the oldest
    db.execute("CREATE TABLE IF NOT EXISTS features (key TEXT PRIMARY KEY, vector BLOB NOT NULL)")
    db.execute("SELECT rowid FROM features LIMIT 1")
    return db
