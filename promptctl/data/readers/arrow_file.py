"""Arrow files: the record batches of a `save_to_disk` folder, read where they lie in the file.

Batches that are not compressed take no memory whatever they hold. Compressed ones may become a thousand times as long,
and `datasets` writes none: they are refused before any is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from promptctl.data.readers.open_table import ROWS_AT_ONCE, OpenTable, mapped, understood

_MAGIC = b"ARROW1\0\0"  # of a file with random access; a stream begins with its first message
# numbers of fields and types in Arrow's Message.fbs
_HEADER, _RECORD_BATCH_OF_DICTIONARY, _COMPRESSION = 2, 1, 3


def open_table(path: Path) -> OpenTable:
    """The schema and rows; DatasetError for what is no Arrow file or is compressed."""
    import pyarrow as pa

    buffer = mapped(path)
    with understood(path):
        is_file = buffer[: len(_MAGIC)].to_pybytes() == _MAGIC
        # a file with random access is read as the stream in it: where else its end points is not looked at
        stream = buffer[len(_MAGIC) :] if is_file else buffer
        _check_messages(stream)
        opened = pa.ipc.open_stream(stream)

    def batches(columns: Sequence[str]) -> Iterator[Any]:
        for batch in opened:
            some = batch.select(list(columns))
            some.validate(full=True)  # offsets of a stranger would lead anywhere in memory
            for first in range(0, some.num_rows, ROWS_AT_ONCE):
                yield some.slice(first, ROWS_AT_ONCE)

    return OpenTable(opened.schema, batches)


def _check_messages(stream: Any) -> None:
    import pyarrow as pa

    for message in pa.ipc.MessageReader.open_stream(stream):
        if message.type in ("record batch", "dictionary") and is_compressed(
            message.metadata.to_pybytes(), of_dictionary=message.type == "dictionary"
        ):
            raise ValueError("its batches are compressed")


def is_compressed(metadata: bytes, *, of_dictionary: bool = False) -> bool:
    """Whether a message's FlatBuffers table has a record batch that says how its buffers are compressed."""
    (root,) = struct.unpack_from("<I", metadata)
    batch = _table_at(metadata, root, _HEADER)
    if of_dictionary:
        batch = _table_at(metadata, batch, _RECORD_BATCH_OF_DICTIONARY)
    return _field(metadata, batch, _COMPRESSION) != 0


def _table_at(data: bytes, table: int, number: int) -> int:
    at = table + _field(data, table, number)
    return at + int(struct.unpack_from("<I", data, at)[0])


def _field(data: bytes, table: int, number: int) -> int:
    """Where a field of a table lies, counted from the table; 0 for one that is left out."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, vtable)
    at = 4 + 2 * number
    return int(struct.unpack_from("<H", data, vtable + at)[0]) if at < size else 0
