"""Tables: Parquet and Arrow files, as data frames and the `datasets` library of Hugging Face write them.

Photos are paths, or lie inside as a struct of `bytes` and `path`. Classes are text, or numbers that the schema names.
They are read row by row through pyarrow (the extra `parquet`); nothing of a file is run, and its memory is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from promptctl.data.readers import arrow_file, parquet_file
from promptctl.data.readers.headings import LABELS, PATHS, USUAL, ColumnNames, plain
from promptctl.data.readers.labels import one_label
from promptctl.data.readers.open_table import OpenTable, check_rows, understood
from promptctl.data.readers.records import Listed, Record, asked_column, missing_column, split_in
from promptctl.data.shelf import Shelf, refuse_address
from promptctl.data.unpacked import Unpacked, safe_name
from promptctl.encoding.formats import HEAD, foreign, of_content
from promptctl.errors import DatasetError, ExtraMissing

_LARGEST = 250_000_000  # bytes of a photo, as of a file
_LONGEST = 4096  # characters of a path or a class
_LARGEST_INFO = 16_000_000  # bytes of dataset_info.json
_METADATA = b"huggingface"  # of a schema, as JSON


@dataclass(frozen=True)
class Photo:
    """A photo inside a table."""

    data: memoryview | None  # None: too large
    name: str | None  # as the table calls it


@dataclass(frozen=True)
class Features:
    """What a schema, or the dataset_info.json beside it, says of columns beside their types."""

    of_column: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @staticmethod
    def of(path: Path, metadata: Mapping[bytes, bytes] | None) -> Features:
        try:
            found = json.loads((metadata or {}).get(_METADATA) or b"{}")
            features = found.get("info", {}).get("features") or _features_beside(path)
            return Features({str(name): one for name, one in features.items() if isinstance(one, dict)})
        except (ValueError, RecursionError, AttributeError, OSError) as error:
            raise DatasetError(f"{path} has a broken description of its columns: {error}", f"ls -l {path}") from error

    def of_type(self, kind: str) -> list[str]:
        return [name for name, one in self.of_column.items() if one.get("_type") == kind]

    def names_of(self, column: str) -> list[str]:
        """What the classes of a column are called, by their numbers; none where it has the names themselves."""
        feature = self.of_column.get(column, {})
        inner = feature.get("feature")
        names = (inner if isinstance(inner, dict) else feature).get("names")
        return [str(name) for name in names] if isinstance(names, list) else []


def _features_beside(path: Path) -> Mapping[str, Any]:
    info = path.parent / "dataset_info.json"
    if not info.is_file() or info.stat().st_size > _LARGEST_INFO:
        return {}
    found = json.loads(info.read_text("utf-8")).get("features")
    return found if isinstance(found, dict) else {}


def read_parquet(path: Path, names: ColumnNames = USUAL) -> list[Listed]:
    """The images of a Parquet file."""
    _check_library(path)
    return _Table(path, parquet_file.open_table(path), names).listed()


def read_arrow(path: Path, names: ColumnNames = USUAL) -> list[Listed]:
    """The images of an Arrow file."""
    _check_library(path)
    return _Table(path, arrow_file.open_table(path), names).listed()


def _check_library(path: Path) -> None:
    if find_spec("pyarrow") is None:
        raise ExtraMissing(str(path), "pyarrow", "parquet")


@dataclass(frozen=True)
class _Row:
    """A row as it is, with the photo in its place."""

    photo: str | Path  # as a path is written, or the file it was unpacked to
    label: str
    split: str | None
    left_out: str | None = None


class _Table:
    """Which columns of a table say what, and the images in its rows."""

    def __init__(self, path: Path, table: OpenTable, names: ColumnNames) -> None:
        self._path, self._table = path, table
        with understood(path):
            self._columns: list[str] = list(table.schema.names)
            metadata = table.schema.metadata
        self._features = Features.of(path, metadata)
        self._by_name = {plain(column): column for column in reversed(self._columns)}
        asked = {what: asked_column(path, self._columns, what, name) for what, name in names.asked.items()}
        self._file = asked.get("path") or self._told("path", "Image", PATHS)
        self._label = asked.get("label") or self._told("label", "ClassLabel", LABELS)
        self._split = asked.get("split") or self._by_name.get("split")
        self._names = self._features.names_of(self._label)
        self._unpacked = Unpacked(path)

    def _told(self, what: str, kind: str, usual: Sequence[str]) -> str:
        """The column that is of a kind, or else is called so."""
        of_kind = [name for name in self._features.of_type(kind) if name in self._columns]
        if len(of_kind) > 1:
            shown = " and ".join(f"'{name}'" for name in of_kind)
            raise DatasetError(
                f"{self._path} has {len(of_kind)} {what} columns: {shown}", f"--{what}-column {of_kind[0]}"
            )
        called = (self._by_name[name] for name in usual if name in self._by_name)
        found = next(iter(of_kind), None) or next(called, None)
        if found is None:
            raise missing_column(self._path, self._columns, what)
        return found

    def listed(self) -> list[Listed]:
        rows = [self._row(number, *cells) for number, cells in enumerate(self._cells())]
        shelf = Shelf(self._path)
        shelf.choose_folder([(row.photo, row.label) for row in rows if isinstance(row.photo, str) and not row.left_out])
        return [_in_place(shelf, row) for row in rows]

    def _cells(self) -> Iterator[tuple[Photo | str | None, object, str | None]]:
        """The photo, the class and the split of every row, as they are there."""
        used = dict.fromkeys([self._file, self._label, *([self._split] if self._split else [])])
        with understood(self._path):
            n_rows = 0
            for batch in self._table.batches(list(used)):
                check_rows(self._path, n_rows := n_rows + batch.num_rows)
                columns = {name: batch.column(at) for at, name in enumerate(used)}
                for i in range(batch.num_rows):
                    split = columns[self._split][i].as_py() if self._split else None
                    label = columns[self._label][i].as_py()
                    yield _photo_in(columns[self._file][i]), _short(label), _short(split)

    def _row(self, number: int, photo: Photo | str | None, said: object, split_said: str | None) -> _Row:
        here = f"{self._path.name}#{number}"
        label = self._class(said)
        if label is None:
            is_none = said in (None, -1, "")
            return _Row(here, "", None, "it has no class" if is_none else f"no class has the number {said}")
        name = one_label(self._path, number + 1, label)
        split = split_in(self._path, Record(number + 1, {self._split or "": split_said}), self._split)
        if isinstance(photo, str):
            refuse_address(self._path, photo)
            return _Row(photo, name, split)
        file, left_out = self._file_of(photo, f"{self._path.stem}-{number}")
        return _Row(file or here, name, split, left_out)

    def _class(self, said: object) -> object:
        """The name of a class; None for a number that is none's."""
        if not self._names or not isinstance(said, (int, list)):
            return None if said == "" else said
        if isinstance(said, list):
            return [self._class(one) for one in said]
        return self._names[said] if 0 <= said < len(self._names) else None

    def _file_of(self, photo: Photo | None, otherwise: str) -> tuple[Path | None, str | None]:
        """The file of a photo inside the table, or why there is none."""
        if photo is None:
            return None, "it has no photo"
        if photo.data is None:
            return None, f"larger than {_LARGEST // 1_000_000} MB"
        self._unpacked.check(photo.data.nbytes)
        head = bytes(photo.data[:HEAD])
        kind = of_content(head)
        if kind is None or kind.refusal:
            return None, kind.refusal if kind else foreign(head)
        return self._unpacked.put(photo.data, safe_name(photo.name, otherwise, kind.suffixes[0])), None


def _in_place(shelf: Shelf, row: _Row) -> Listed:
    if isinstance(row.photo, Path):
        return Listed(row.photo, row.label, row.split, left_out=row.left_out)
    if row.left_out:
        return Listed(shelf.find(row.photo), row.label, row.split, left_out=row.left_out)
    path, doubt = shelf.looked_up(row.photo, row.label)
    return Listed(path, row.label, row.split, left_out=doubt)


def _photo_in(cell: Any) -> Photo | str | None:
    """What a scalar of pyarrow's says of a photo: where it is, or the photo itself; None where it says nothing."""
    import pyarrow as pa

    if not cell.is_valid:
        return None
    if not pa.types.is_struct(cell.type):
        return Photo(_view(cell), None) if _is_binary(cell.type) else _short(str(cell.as_py()))
    inside = {name: cell[name] for name in ("bytes", "path") if name in cell}
    name = _short(str(inside["path"].as_py() or "")) if "path" in inside else None
    if "bytes" in inside and inside["bytes"].is_valid:
        return Photo(_view(inside["bytes"]), name)
    return name or None


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _view(cell: Any) -> memoryview | None:
    data = memoryview(cell.as_buffer()).cast("B")
    return data if data.nbytes <= _LARGEST else None


def _short(said: Any) -> Any:
    """A cell as it is; ValueError for a text so long that it is no path and no class."""
    if isinstance(said, str) and len(said) > _LONGEST:
        raise ValueError(f"a text of {len(said):,} characters stands where a path or a class was expected")
    return said
