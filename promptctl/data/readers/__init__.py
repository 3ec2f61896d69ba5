"""Readers: lists of labelled images as spreadsheets, tools and data sets write them, one file for each format.

A new format is a file with a `read` and a line of READERS; one that is JSON, a line of `json_text.SHAPES`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from promptctl.data.readers import delimited, json_text, tables
from promptctl.data.readers.containers import refuse_containers
from promptctl.data.readers.headings import USUAL, ColumnNames
from promptctl.data.readers.records import Listed
from promptctl.data.readers.text import file_bytes
from promptctl.errors import NoImages

READERS: dict[str, Callable[[Path, ColumnNames], list[Listed]]] = {  # by how a file ends
    ".csv": delimited.read,
    ".tsv": delimited.read,
    ".txt": delimited.read,
    ".json": json_text.read,
    ".jsonl": json_text.read_lines,
    ".ndjson": json_text.read_lines,
    ".parquet": tables.read_parquet,
    ".arrow": tables.read_arrow,
}

TABLES = (".parquet", ".arrow")


def read_list(path: Path, names: ColumnNames = USUAL) -> list[Listed]:
    """The labelled images a file lists.

    names    what somebody says that its columns are called
    raises   NoImages for a file that is no list, DatasetError for one that cannot be understood
    """
    refuse_containers(path, READERS)
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise NoImages(
            f"{path} is neither a folder nor a list of images",
            "give a folder of class folders, or a .csv with the columns path,label",
        )
    if path.suffix.lower() not in TABLES and not file_bytes(path).strip():
        raise NoImages(f"{path} is empty", "write one image per line: path,label")
    return read(path, names)
