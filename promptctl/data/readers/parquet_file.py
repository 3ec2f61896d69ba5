"""Parquet files: rows of some columns, in bounded memory.

A page may say that it becomes two gigabytes, and a value of a dictionary may stand in every row. So the heads of the
pages that will be read are looked at before: none may be longer than LARGEST_PAGE, and the longer they are, the fewer
rows are read at once.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from promptctl.data.readers.open_table import ROWS_AT_ONCE, OpenTable, mapped, understood
from promptctl.data.readers.thrift import Thrift

LARGEST_PAGE = 512_000_000  # bytes
_LARGEST_FOOTER = 64_000_000  # bytes; a thousand columns in ten thousand row groups would be as long
_LONGEST_HEAD = 1 << 20  # bytes of a page's; it may hold the least and the largest value
_MOST_PAGES = 1_000_000
# numbers of fields in parquet.thrift
_ROW_GROUPS = 4  # of FileMetaData
_COLUMNS = 1  # of RowGroup
_OF_CHUNK = 3  # of ColumnChunk
_NAMES, _CHUNK_COMPRESSED, _DATA_PAGE, _DICTIONARY_PAGE = 3, 7, 9, 11  # of ColumnMetaData
_UNCOMPRESSED, _COMPRESSED = 2, 3  # of PageHeader


def open_table(path: Path) -> OpenTable:
    """The schema and rows; DatasetError for what is no Parquet file or would take too much memory."""
    from pyarrow import parquet

    buffer = mapped(path)
    data = memoryview(buffer).cast("B")
    with understood(path):
        footer = footer_of(data)  # pyarrow's own metadata ends the program where it is broken
        opened = parquet.ParquetFile(buffer, pre_buffer=False)

    def batches(columns: Sequence[str]) -> Iterator[Any]:
        largest = max(page_sizes(footer, data, columns), default=0)
        if largest > LARGEST_PAGE:
            raise ValueError(f"a page of it takes {largest:,} bytes, and at most {LARGEST_PAGE:,} are read")
        at_once = max(1, min(ROWS_AT_ONCE, LARGEST_PAGE // max(largest, 1)))
        for batch in opened.iter_batches(at_once, columns=list(columns), use_threads=False):
            yield batch.select(list(columns))

    return OpenTable(opened.schema_arrow, batches)


def footer_of(data: memoryview) -> dict[int, Any]:
    """FileMetaData, by the numbers of its fields."""
    length = int.from_bytes(data[-8:-4], "little")
    if bytes(data[-4:]) != b"PAR1" or length > min(len(data) - 8, _LARGEST_FOOTER):
        raise ValueError("it is not a Parquet file, or not whole")
    return Thrift(data[-8 - length : -8]).struct()


def check_footer(file: BinaryIO) -> None:
    """The same of an open file: ValueError or LookupError for one that would end the program in pyarrow."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    length = min(int.from_bytes(file.read(8)[:4], "little"), _LARGEST_FOOTER)
    file.seek(max(0, size - 8 - length))
    footer_of(memoryview(file.read()))
    file.seek(0)


def page_sizes(footer: dict[int, Any], data: memoryview, columns: Collection[str]) -> Iterator[int]:
    """Bytes of every page of some columns, once it is read."""
    for group in footer[_ROW_GROUPS]:
        for chunk in (column[_OF_CHUNK] for column in group[_COLUMNS]):
            if bytes(chunk[_NAMES][0]).decode("utf-8") in columns:
                start = min(offset for field in (_DATA_PAGE, _DICTIONARY_PAGE) if (offset := chunk.get(field)))
                end = start + chunk[_CHUNK_COMPRESSED]
                if not 0 < start <= end <= len(data):
                    raise ValueError("its pages are outside of it")
                yield from _sizes(data[start:end])


def _sizes(pages: memoryview) -> Iterator[int]:
    at = n_pages = 0
    while at < len(pages):
        head = Thrift(pages[at : at + _LONGEST_HEAD])
        fields = head.struct()
        if fields[_UNCOMPRESSED] < 0 or fields[_COMPRESSED] < 0 or (n_pages := n_pages + 1) > _MOST_PAGES:
            raise ValueError("its pages are broken")
        yield fields[_UNCOMPRESSED]
        at += head.at + fields[_COMPRESSED]
