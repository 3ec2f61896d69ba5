"""FeatureCache: every feature once computed, on disk, in a table that may be deleted at any time."""

from __future__ import annotations

import os
import sqlite3
import threading
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from promptctl import lossy_table, signals
from promptctl.errors import CacheBusy, InvalidSetting
from promptctl.paths import cache_home

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

LIMIT_VARIABLE = "PROMPTCTL_CACHE_LIMIT"
_LIMIT_MB = 2000  # a million features of width 512
_SHARE_DROPPED = 8  # one in so many features, the oldest, when the limit is reached
_TABLE = "CREATE TABLE features (key TEXT PRIMARY KEY, vector BLOB NOT NULL)"  # rowids tell which are the oldest
_SUM_BYTES = 4  # after the vector in its row
_FARTHEST_FROM_UNIT = 1e-3
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# promptctl's image features; may be deleted at any time\n"

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Contents:
    """What is in a cache."""

    n_bytes: int  # on disk
    features: Mapping[str, int]  # fingerprint of the backbone → how many


class FeatureCache:
    """SQLite table of feature vectors; several processes may use it, and losing it loses only time.

    Beyond `limit_bytes` the features that were computed first are dropped.
    """

    def __init__(self, folder: Path | None = None, *, limit_bytes: int | None = None) -> None:
        self.path = (folder or cache_home()) / "features.sqlite"
        self.limit_bytes = limit_from_environment() if limit_bytes is None else limit_bytes
        self.n_new = 0  # features it was given, known from now on
        self._lock = threading.Lock()
        self._db = self._open()

    @property
    def keeps(self) -> bool:
        """False where nothing can be written, and everything is computed every time."""
        return self._db is not None

    def get(self, key: str, width: int) -> Vector | None:
        """The unit vector of `width` numbers under a key, or None when it is not known or is no such vector."""
        query = "SELECT vector FROM features WHERE key = ? AND typeof(vector) = 'blob' AND length(vector) = ?"
        found = self._ask(lambda db: db.execute(query, (key, 4 * width + _SUM_BYTES)).fetchone())
        return None if found is None else _vector(key, found[0])

    def put(self, vectors: Mapping[str, Vector], *, beside: bool = False) -> None:
        """Keep vectors by their keys.

        beside   of images that are counted already
        """
        rows = [(key, _row(key, vector)) for key, vector in vectors.items()]
        n_images = 0 if beside else len(rows)
        self.n_new += n_images

        def write(db: sqlite3.Connection) -> None:
            with db:
                while self._used_bytes(db) > self.limit_bytes and self._drop_oldest(db):
                    pass
                db.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)
            signals.keep("image feature", n_images)

        self._ask(write)

    def contents(self) -> Contents:
        # whoever put something else into the table did not put features there
        query = (
            "SELECT substr(key, 1, instr(key, ':') - 1) AS backbone, count(*) FROM features "
            "WHERE typeof(key) = 'text' AND typeof(vector) = 'blob' AND instr(key, ':') > 1 GROUP BY backbone"
        )
        counts = self._ask(lambda db: db.execute(query).fetchall())
        return Contents(lossy_table.n_bytes(self.path), dict(counts or ()))

    def clear(self) -> None:
        """Forget everything and give the disk back; CacheBusy while another program is writing."""

        def forget(db: sqlite3.Connection) -> bool:
            lossy_table.empty(db, "features")
            return True

        try:
            self._ask(forget, quietly=False)
        except sqlite3.OperationalError as error:
            if not lossy_table.is_full(error):
                raise CacheBusy(self.path, str(error)) from error
            self.close()
            self._db = self._start_again()

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is known or kept from here on; a decoder that still asks, after Ctrl-C, say, is waited for."""
        with self._lock:  # SQLite crashes where it is closed under a query
            if self._db is not None:
                self._db.close()
            self._db = None

    def _ask(self, question: Callable[[sqlite3.Connection], Answer], *, quietly: bool = True) -> Answer | None:
        """The answer of the database; None where there is none or it cannot give one, and then it starts again empty.

        quietly   or else a database that is busy, or on a full disk, raises OperationalError
        """
        with self._lock:
            if self._db is None:
                return None
            try:
                return question(self._db)
            except sqlite3.Error as error:
                if type(error) is sqlite3.DatabaseError:  # malformed; all that may pass has a class of its own
                    self._db.close()
                    self._db = self._start_again()
                elif not quietly and isinstance(error, sqlite3.OperationalError):
                    raise
                return None

    def _used_bytes(self, db: sqlite3.Connection) -> int:
        pages, free, size = (db.execute(f"PRAGMA {x}").fetchone()[0] for x in _SPACE)
        return int((pages - free) * size)

    def _drop_oldest(self, db: sqlite3.Connection) -> int:
        (count,) = db.execute("SELECT count(*) FROM features").fetchone()
        oldest = "SELECT rowid FROM features ORDER BY rowid LIMIT ?"
        dropped = db.execute(f"DELETE FROM features WHERE rowid IN ({oldest})", (max(1, count // _SHARE_DROPPED),))
        return dropped.rowcount

    def _open(self) -> sqlite3.Connection | None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError), (self.path.parent / "CACHEDIR.TAG").open("x") as tag:
                tag.write(_TAG)
            return lossy_table.connect(self.path, _TABLE)
        except sqlite3.DatabaseError as error:
            # in use by another program for too long: work without
            return None if "locked" in str(error) else self._start_again()
        except OSError:  # a read-only home: work without
            return None

    def _start_again(self) -> sqlite3.Connection | None:
        return lossy_table.start_again(self.path, _TABLE)


_SPACE = ("page_count", "freelist_count", "page_size")


def limit_from_environment() -> int:
    """Bytes the cache may take, from PROMPTCTL_CACHE_LIMIT in MB; InvalidSetting when that is no number."""
    asked = os.environ.get(LIMIT_VARIABLE) or str(_LIMIT_MB)
    if not asked.isascii() or not asked.isdigit():
        raise InvalidSetting(LIMIT_VARIABLE, asked, "a number of megabytes", f"export {LIMIT_VARIABLE}={_LIMIT_MB}")
    return int(asked) * 1_000_000


def _row(key: str, vector: Vector) -> bytes:
    data = vector.astype("<f4").tobytes()
    return data + _checksum(key, data)


def _vector(key: str, row: bytes) -> Vector | None:
    """What a row holds, if it is what was put there under that key: a unit vector."""
    import numpy as np

    data, checksum = row[:-_SUM_BYTES], row[-_SUM_BYTES:]
    vector = np.frombuffer(data, dtype="<f4").astype(np.float32)
    length = float(np.linalg.norm(vector.astype(np.float64)))  # not a number if any is none
    is_unit = abs(length - 1) < _FARTHEST_FROM_UNIT
    return vector if is_unit and checksum == _checksum(key, data) else None


def _checksum(key: str, data: bytes) -> bytes:
    # the database does not notice when a disk has changed a number
    return zlib.crc32(data, zlib.crc32(key.encode())).to_bytes(_SUM_BYTES, "little")
