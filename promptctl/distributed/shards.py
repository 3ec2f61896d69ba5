"""Shards: photos inside of tar files, as WebDataset writes them, and of Parquet files.

A photo is called `shard.tar/name.jpg`, or `shard.parquet/17` by its row. Only headers are read to find them, and what a
stranger's file says of its sizes is believed only as far as a photo may be large.
"""

from __future__ import annotations

import os
import tarfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from promptctl.data.readers.parquet_file import check_footer
from promptctl.data.walk import is_beside
from promptctl.encoding.budget import FILES
from promptctl.encoding.files import UnreadableImage, check_size, megabytes
from promptctl.errors import reason_of
from promptctl.remote import path_of

if TYPE_CHECKING:
    from pyarrow import parquet

SUFFIXES = (".tar", ".parquet")
_BESIDE = (
    ".cls",
    ".cls2",
    ".id",
    ".index",
    ".inx",
)  # what WebDataset puts beside a photo, and `is_beside` does not know
_LONGEST_HEADER = 1 << 20  # bytes; names of members are in it
_MOST_NAMES = 1 << 20  # that are remembered, to tell a second member of the same name
_ROWS = 32  # of a table, read at a time


@dataclass(frozen=True)
class Photo:
    """A photo, or a file in its place, and where it lies."""

    path: str
    shard: str | None = None  # the file that it is inside of; None: it is a file
    at: int = 0  # its first byte in a tar file; its row in a row group
    of: int = 0  # how many bytes; which row group
    reason: str | None = None  # why it is none


def is_shard(path: str) -> bool:
    return path.lower().endswith(SUFFIXES)


def photos_of(shard: str, *, meant: bool) -> Iterator[Photo]:
    """All that a shard holds; a sentence about it where it is damaged.

    meant   somebody named it, so that a table without photos is worth a word
    """
    try:
        if shard.lower().endswith(".tar"):
            yield from _members(shard)
        else:
            yield from _rows(shard, meant)
    except OSError as error:
        yield Photo(shard, reason=reason_of(error))


# --------------------------------------------------------------------------- tar


def _members(shard: str) -> Iterator[Photo]:
    names: set[str] = set()
    for number, member in enumerate(_headers(shard)):
        if isinstance(member, str):
            yield Photo(shard, reason=f"damaged after member {number}: {member}")
            return
        name = "/".join(part for part in member.name.split("/") if part not in ("", ".", ".."))
        if not member.isreg() or not name or is_beside(name) or name.lower().endswith(_BESIDE):
            continue
        if name in names:  # a tar file may hold two of a name
            name = f"{name}#{number}"
        elif len(names) < _MOST_NAMES:
            names.add(name)
        reason = "a sparse member of a tar file" if member.issparse() else None
        yield Photo(f"{shard}/{name}", shard, member.offset_data, member.size, reason)


def _headers(shard: str) -> Iterator[tarfile.TarInfo | str]:
    """Every header, without what lies between them; last why there is no other, where the file does not say so."""
    with path_of(shard).open("rb") as file:
        bounded = _Bounded(file)
        try:
            with tarfile.TarFile(fileobj=bounded, mode="r") as tar:  # type: ignore[arg-type]
                tar.offset = 0
                while True:
                    bounded.seek(tar.offset)
                    yield tarfile.TarInfo.fromtarfile(tar)
        except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
            return
        except (tarfile.TarError, ValueError, OverflowError, RecursionError, EOFError) as error:
            yield (str(error) or type(error).__name__)[:80]


class _Bounded:
    """A file of which no header may be longer than headers are, with all that continues it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._n_bytes = file, 0

    def read(self, n_bytes: int) -> bytes:
        self._n_bytes += n_bytes
        if self._n_bytes > _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {megabytes(self._n_bytes)}")
        return self._file.read(n_bytes)

    def seek(self, at: int) -> int:
        self._n_bytes = 0
        return self._file.seek(at)

    def tell(self) -> int:
        return self._file.tell()


class Opened:
    """Files that several threads read from, each opened once."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[threading.Lock, BinaryIO]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._files.values():
            each[1].close()

    @contextmanager
    def bytes_of(self, photo: Photo) -> Iterator[bytes]:
        """A member of a tar file, counted in the budget for as long as it is needed; or UnreadableImage."""
        check_size(photo.of)
        with FILES.reserve(photo.of):
            try:
                lock, file = self._file(photo.shard or photo.path)
                with lock:
                    file.seek(photo.at)
                    data = file.read(photo.of)
            except OSError as error:
                raise UnreadableImage(reason_of(error)) from error
            if len(data) < photo.of:
                raise UnreadableImage("cut off, the tar file ends before it does")
            yield data

    def _file(self, path: str) -> tuple[threading.Lock, BinaryIO]:
        with self._lock:
            if path not in self._files:
                self._files[path] = threading.Lock(), path_of(path).open("rb")
            return self._files[path]


# --------------------------------------------------------------------------- Parquet


def _rows(shard: str, meant: bool) -> Iterator[Photo]:
    try:
        with _table(shard) as table:
            if _column(table) is None:
                if meant:
                    yield Photo(shard, reason="a table without a column of photos")
                return
            groups = [table.metadata.row_group(number).num_rows for number in range(table.num_row_groups)]
    except UnreadableImage as error:
        yield Photo(shard, reason=str(error))
        return
    number = 0
    for group, n_rows in enumerate(groups):
        for row in range(n_rows):
            yield Photo(f"{shard}/{number}", shard, row, group)
            number += 1


def cells_of(photos: Sequence[Photo]) -> Iterator[tuple[Photo, bytes | UnreadableImage]]:
    """The bytes of photos in Parquet files, or why there are none; those of a row group one after the other."""
    for (shard, group), some in groupby(photos, key=lambda photo: (photo.shard or "", photo.of)):
        wanted = {photo.at: photo for photo in some}
        try:
            for at, cell in _cells(shard, group, wanted):
                yield wanted.pop(at), cell
        except UnreadableImage as error:
            reason: UnreadableImage = error
        else:
            reason = UnreadableImage("no such row")
        for photo in wanted.values():
            yield photo, reason


def _cells(shard: str, group: int, rows: Iterable[int]) -> Iterator[tuple[int, bytes | UnreadableImage]]:
    wanted = sorted(rows)
    with _table(shard) as table:
        column, at = _column(table), 0
        if column is None:
            raise UnreadableImage("a table without a column of photos")
        for batch in table.iter_batches(batch_size=_ROWS, row_groups=[group], columns=[column]):
            for row in (row for row in wanted if at <= row < at + batch.num_rows):
                yield row, _cell(batch.column(0)[row - at])
            at += batch.num_rows
            if at > wanted[-1]:
                return


def _cell(found: Any) -> bytes | UnreadableImage:
    """The bytes in a cell: as they are, or in a struct beside the path that they had."""
    inner = found["bytes"] if found.is_valid and "bytes" in getattr(found.type, "names", ()) else found
    if not inner.is_valid:
        return UnreadableImage("no photo in this row")
    try:
        check_size(inner.as_buffer().size)
    except UnreadableImage as error:
        return error
    return bytes(inner.as_py())


@contextmanager
def _table(shard: str) -> Iterator[parquet.ParquetFile]:
    from pyarrow import ArrowException, parquet

    try:
        with path_of(shard).open("rb") as file:
            check_footer(file)
            with parquet.ParquetFile(file) as table:
                yield table
    except OSError as error:
        raise UnreadableImage(reason_of(error)[:80]) from error
    except (ArrowException, ValueError, LookupError) as error:
        said = str(error).partition("\n")[0] or type(error).__name__
        raise UnreadableImage(f"damaged ({said:.60})") from error


def _column(table: parquet.ParquetFile) -> str | None:
    """Of the photos: `image`, or the first that holds bytes."""
    import pyarrow as pa

    def holds_bytes(kind: pa.DataType) -> bool:
        if pa.types.is_struct(kind):
            return any(
                kind.field(i).name == "bytes" and holds_bytes(kind.field(i).type) for i in range(kind.num_fields)
            )
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    found = [field.name for field in table.schema_arrow if holds_bytes(field.type)]
    return "image" if "image" in found else found[0] if found else None


def is_table(photo: Photo) -> bool:
    return photo.shard is not None and photo.shard.lower().endswith(".parquet")


def named_like(photo: Photo) -> Path:
    """What decides by a name which format it should have; of a row nothing does."""
    return Path("row") if is_table(photo) else Path(os.path.basename(photo.path))  # noqa: PTH119
