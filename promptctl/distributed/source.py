"""Source: the photos under files, folders and shards, listed by one task while the first of them are answered."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from queue import Full, Queue
from typing import Any, TypeVar

import pyarrow as pa
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from promptctl.data.exclusion import Exclusion
from promptctl.data.walk import Closed, every_file, is_beside, suffix_of
from promptctl.distributed.elsewhere import every_file_elsewhere
from promptctl.distributed.shards import Photo, is_shard, photos_of
from promptctl.remote import is_remote

SCHEMA = pa.schema(
    [
        ("path", pa.binary()),  # a name may be of any bytes
        ("shard", pa.binary()),
        ("at", pa.int64()),
        ("of", pa.int64()),
        ("reason", pa.string()),
    ]
)
_ROWS = 1024  # of a table; Ray puts them together
_SHARDS = 16  # that are listed at once, most of the time waiting for an object store

Tell = Callable[[int, Counter[str]], object]  # photos found, and how files end that are passed over by their names
Item = TypeVar("Item")


@dataclass(frozen=True)
class Wanted:
    """Which photos somebody asked about."""

    inputs: tuple[str, ...]  # that are named
    listed: tuple[str, ...] = ()  # in a list
    exclude: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()  # folders that are not entered
    cwd: str = "."  # that paths are relative to

    def tables(self, tell: Tell) -> Iterator[pa.Table]:
        be_in(self.cwd)
        beside: Counter[str] = Counter()  # since it was told last
        photos = self._photos(beside)
        while some := list(islice(photos, _ROWS)):
            tell(len(some), beside)
            beside.clear()
            yield table_of(some)
        tell(0, beside)

    def _photos(self, beside: Counter[str]) -> Iterator[Photo]:
        meant = frozenset(self.inputs)
        shards: list[Iterator[Photo]] = []
        for found in self._files(beside, meant):
            if not is_shard(found.path) or found.reason:
                yield found
                continue
            shards.append(photos_of(found.path, meant=found.path in meant))
            if len(shards) == _SHARDS:
                yield from side_by_side(shards)
                shards = []
        yield from side_by_side(shards)

    def _files(self, beside: Counter[str], meant: frozenset[str]) -> Iterator[Photo]:
        for found in self._found():
            if isinstance(found, Closed):
                yield Photo(os.fspath(found.path), reason=found.reason)
            elif is_beside(found) and found not in meant and not is_shard(found):
                beside[suffix_of(found)] += 1
            else:
                yield Photo(found)

    def _found(self) -> Iterator[str | Closed]:
        roots, exclusion = dict.fromkeys([*self.inputs, *self.listed]), Exclusion.of(self.exclude)
        here = [root for root in roots if not is_remote(root)]
        yield from every_file(here, excluded=map(Path, self.apart), exclusion=exclusion)
        yield from every_file_elsewhere([root for root in roots if is_remote(root)], exclusion)


def be_in(cwd: str) -> None:
    """Where the command was typed, in a process of Ray's; on a machine without that folder paths are whole."""
    with suppress(OSError):
        os.chdir(cwd)


class Photos(Datasource):  # type: ignore[misc]
    """What Ray reads: the listing, as one task, so that no path lies in the process that asked."""

    def __init__(self, wanted: Wanted, tell: Tell) -> None:
        super().__init__()
        self._wanted, self._tell = wanted, tell

    def get_name(self) -> str:
        return "Photos"

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        facts = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(partial(self._wanted.tables, self._tell), facts, SCHEMA)]


def table_of(photos: Iterable[Photo]) -> pa.Table:
    rows = [(os.fsencode(one.path), one.shard and os.fsencode(one.shard), one.at, one.of, one.reason) for one in photos]
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA)


def photos_in(table: pa.Table) -> list[Photo]:
    columns = (table.column(name).to_pylist() for name in SCHEMA.names)
    return [
        Photo(os.fsdecode(path), None if shard is None else os.fsdecode(shard), at, of, reason)
        for path, shard, at, of, reason in zip(*columns, strict=True)
    ]


def side_by_side(streams: list[Iterator[Item]]) -> Iterator[Item]:
    """The items of several streams, each in a thread of its own, in no order; few of them wait at a time."""
    waiting: Queue[list[Item] | BaseException | None] = Queue(maxsize=2 * _SHARDS)
    over = threading.Event()

    def put(item: list[Item] | BaseException | None) -> None:
        while not over.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except Full:
                continue

    def drain(stream: Iterator[Item]) -> None:
        try:
            while not over.is_set() and (some := list(islice(stream, _ROWS))):
                put(some)
            put(None)
        except BaseException as error:  # raised again where the items are taken
            put(error)

    with ThreadPoolExecutor(max_workers=max(1, len(streams))) as pool:
        try:
            for stream in streams:
                pool.submit(drain, stream)
            left = len(streams)
            while left:
                some = waiting.get()
                if isinstance(some, BaseException):
                    raise some
                left -= some is None
                yield from some or ()
        finally:
            over.set()
