"""A SQLite file with one table that may be lost: what the feature cache and the kept results have in common."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path


def connect(path: Path, table: str) -> sqlite3.Connection:
    """The database, with its table made if there is none; DatabaseError where it holds anything else.

    table   the CREATE TABLE of it, to the letter
    """
    # the cache's worker threads look up, one at a time under its lock
    db = sqlite3.connect(path, timeout=10, check_same_thread=False)
    try:
        # what others wrote into it may be no text
        db.text_factory = lambda text: text.decode("utf-8", "replace")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
            db.execute(table.replace("TABLE", "TABLE IF NOT EXISTS"))  # another program may be as quick
        if [tuple(row) for row in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")] != [(table,)]:
            raise sqlite3.DatabaseError("another shape of table, a view or a trigger")
        return db
    except sqlite3.Error:
        db.close()
        raise


def start_again(path: Path, table: str) -> sqlite3.Connection | None:
    """The database empty, because an unreadable one is an empty one; None where nothing can be written."""
    with suppress(OSError, sqlite3.Error):
        for suffix in ("", "-wal", "-shm"):  # an old journal would be played into the new file
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        return connect(path, table)
    return None


def empty(db: sqlite3.Connection, name: str) -> None:
    """Delete every row of the table and give the disk back; OperationalError while another program is writing."""
    db.execute(f"DELETE FROM {name}")
    db.commit()
    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def n_bytes(path: Path) -> int:
    """On disk."""
    files = (Path(f"{path}{suffix}") for suffix in ("", "-wal"))
    return sum(file.stat().st_size for file in files if file.is_file())


def is_full(error: sqlite3.OperationalError) -> bool:
    """Whether the disk is too full even to forget what is on it, so that only deleting the file gives room."""
    return "full" in str(error) or "disk I/O" in str(error)
