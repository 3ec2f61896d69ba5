"""Sink: answers as a flat folder of files, JSON lines or Parquet, each of them whole or not there."""

from __future__ import annotations

import io
import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet
from ray.data.block import Block, BlockAccessor
from ray.data.datasource import BlockBasedFileDatasink, FilenameProvider, WriteResult

from promptctl.report.distributed import Tally
from promptctl.store import files

_GUESS = pa.struct([("label", pa.string()), ("name", pa.string()), ("probability", pa.float64())])
_TOLD = [
    ("label", pa.string()),
    ("name", pa.string()),
    ("probability", pa.float64()),
    ("unknown", pa.bool_()),
    ("doubtful", pa.bool_()),
    ("likeness", pa.float64()),
    ("top", pa.list_(_GUESS)),
]
_TABLE = pa.schema(
    [
        ("path", pa.string()),
        *_TOLD,
        ("sha256", pa.string()),
        ("others", pa.list_(pa.struct([("context", pa.string()), *_TOLD]))),
        ("reason", pa.string()),
        ("type", pa.string()),
    ]
)


class Named(FilenameProvider):  # type: ignore[misc]
    """Names that no other run gives, and a task that is run again gives once more."""

    def get_filename_for_task(self, write_uuid: str, task_index: int) -> str:
        return f"answers-{write_uuid}-{task_index:09}.{self.file_format}"


class Answers(BlockBasedFileDatasink):  # type: ignore[misc]
    """Lines as `stages.Answering` gives them, so many to a file."""

    def __init__(self, path: str, filesystem: Any, *, suffix: str, rows: int, is_local: bool) -> None:
        """rows   of a file, at least, but for the last"""
        # what they are called, `folder.OURS` knows
        provider = Named(file_format=suffix)
        super().__init__(
            path,
            filesystem=filesystem,
            filename_provider=provider,
            file_format=suffix,
            min_rows_per_file=rows,
            try_create_dir=False,
        )
        self._suffix, self._is_local = suffix, is_local
        self.tally = Tally()

    def write(self, blocks: Iterable[Block], ctx: Any) -> Tally:  # type: ignore[override]
        """A file of all blocks, and what it says, counted."""
        found = Tally()
        tables = [BlockAccessor.for_block(block).to_arrow() for block in blocks]
        lines = [line for table in tables if len(table) for line in table.column("line").to_pylist()]
        if lines:
            for line in lines:
                found.add(json.loads(line))
            name = self.filename_provider.get_filename_for_task(ctx.kwargs["write_uuid"], ctx.task_idx)
            self._put(posixpath.join(self.path, name), _WRITERS[self._suffix](lines))
        return found

    def _put(self, path: str, data: bytes) -> None:
        if self._is_local:
            files.write_atomic(Path(path), data, replace=True)
            return
        with self.open_output_stream(path) as file:  # of an object store nothing is seen before it is closed
            file.write(data)

    def on_write_complete(self, write_result: WriteResult[Any]) -> None:
        for one in write_result.write_returns:
            self.tally.add_all(one)


def _as_lines(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _as_table(lines: Sequence[bytes]) -> bytes:
    rows = [_row(json.loads(line)) for line in lines]
    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows, _TABLE), out)
    return out.getvalue()


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    others = [{"context": context, **told} for context, told in record.get("others", {}).items()]
    return dict(_utf8({**record, "others": others}))


def _utf8(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Parquet holds no name of other bytes: what is none of UTF-8 is written as \\xff."""
    for key, value in record.items():
        if key == "path":
            value = value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        yield key, value


_WRITERS = {"jsonl": _as_lines, "parquet": _as_table}
