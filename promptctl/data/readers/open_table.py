"""OpenTable: the columns of a Parquet or Arrow file, a few rows at a time."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from promptctl.errors import DatasetError, reason_of
from promptctl.remote import is_remote

MOST_ROWS = 5_000_000  # of a table, since each is remembered
ROWS_AT_ONCE = 64
LARGEST_FETCHED = 1_000_000_000  # bytes
_HINT = "save it again: dataset.save_to_disk(…) or dataset.to_parquet(…) in Python"


@dataclass(frozen=True)
class OpenTable:
    """A table that was opened, its schema and how to read some of its columns."""

    schema: Any  # pyarrow.Schema
    batches: Callable[[Sequence[str]], Iterator[Any]]  # pyarrow.RecordBatch with these columns in this order


def mapped(path: Path) -> Any:
    """What a file holds, as a buffer of pyarrow's; DatasetError where it cannot be read.

    It takes no memory, unless the file lies elsewhere: that is fetched whole, if it is not larger than LARGEST_FETCHED.
    """
    import pyarrow as pa

    try:
        with path.open("rb") as file:
            if is_remote(path):
                return _fetched(path, file)
            return pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {reason_of(error)}", f"ls -l {path}") from error
    except ValueError as error:  # of an empty file
        raise DatasetError(f"{path} is empty", _HINT) from error


def _fetched(path: Path, file: IO[bytes]) -> Any:
    import pyarrow as pa

    data = file.read(LARGEST_FETCHED + 1)
    if len(data) > LARGEST_FETCHED:
        at_most = f"of tables elsewhere at most {LARGEST_FETCHED // 1_000_000:,} MB are fetched"
        raise DatasetError(f"{path} is too large: {at_most}", "download it, and give the file")
    if not data:
        raise ValueError
    return pa.py_buffer(data)


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """DatasetError for whatever pyarrow raises of a file that is broken, or was made to break it."""
    import pyarrow as pa

    try:
        yield
    # pyarrow's own errors are of many kinds, some of them Python's
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError, struct.error, MemoryError) as error:
        said = str(error).partition("\n")[0][:200] or type(error).__name__
        raise DatasetError(f"{path} is not a table that can be read: {said}", _HINT) from error


def check_rows(path: Path, count: int) -> None:
    if count > MOST_ROWS:
        raise DatasetError(
            f"{path} has {count:,} rows or more, and at most {MOST_ROWS:,} are read", "save it in several files"
        )
