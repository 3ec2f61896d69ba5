"""Containers: files that hold a table or photos and are no list, refused for what they are."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from promptctl.data.readers.text import file_bytes
from promptctl.errors import NoImages

_TABLES = (".parquet", ".feather", ".arrow", ".pkl", ".xml", ".yaml", ".yml")


def refuse_containers(path: Path, lists: Collection[str]) -> None:
    """NoImages that names what a file really is, where it holds a table or photos but is no list.

    lists   how files end that are called like lists
    """
    suffix, head = path.suffix.lower(), file_bytes(path, 4000)
    sheet = "a spreadsheet", f"save it as CSV with the columns path,label: {path.with_suffix('.csv')}"
    archive = (
        "an archive, and photos are read from folders",
        f"unpack it and give the folder: {path.with_name(path.name.split('.')[0] or path.name)}",
    )
    table = "a table in a form that is not read", f"save it as CSV with the columns path,label: {path.stem}.csv"
    page = "a web page", "download the list itself"
    pointer = "a pointer of Git LFS, not the file", "git lfs pull"
    what = None
    if head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar":
        what = archive
    elif head.startswith(b"version https://git-lfs"):
        what = pointer
    elif re.match(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head)\b", head, re.IGNORECASE):
        what = page
    elif suffix in lists and head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8")):
        what = "a picture", "give a folder of class folders, or a list in a .csv"
    elif head.startswith(b"PK\x03\x04"):
        what = sheet if suffix in (".xlsx", ".xlsm", ".ods", ".numbers") or b"xl/" in head else archive
    elif head.startswith(b"\xd0\xcf\x11\xe0") or suffix in (".xls", ".xlsx", ".ods", ".numbers"):
        what = sheet
    elif suffix in (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"):
        what = archive
    elif suffix not in lists and (head.startswith(b"PAR1") or suffix in _TABLES):
        what = table
    if what:
        raise NoImages(f"{path} is {what[0]}", what[1])
