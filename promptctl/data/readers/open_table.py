"""OpenTable: the columns of a Parquet or Arrow file, a few rows at a time."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptctl.errors import DatasetError, reason_of

MOST_ROWS = 5_000_000  # of a table, since each is remembered
ROWS_AT_ONCE = 64
_HINT = "save it again: dataset.save_to_disk(…) or dataset.to_parquet(…) in Python"


@dataclass(frozen=True)
class OpenTable:
    """A table that was opened, its schema and how to read some of its columns."""

    schema: Any  # pyarrow.Schema
    batches: Callable[[Sequence[str]], Iterator[Any]]  # pyarrow.RecordBatch with these columns in this order


def mapped(path: Path) -> Any:
    """What a file holds, as a buffer of pyarrow's that takes no memory; DatasetError where it cannot be read."""
    import pyarrow as pa

    try:
        with path.open("rb") as file:
            return pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {reason_of(error)}", f"ls -l {path}") from error
    except ValueError as error:  # of an empty file
        raise DatasetError(f"{path} is empty", _HINT) from error


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
