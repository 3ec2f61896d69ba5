"""URLs: how one is told from a path, and what a path does not keep of it."""

from __future__ import annotations

import os
import re
from pathlib import PurePath

SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "http", "https", "hf", "memory", "sftp", "hdfs")
ONE_BY_ONE = ("http:", "https:")  # servers that list nothing
STORES = ("s3:", "gs:", "gcs:", "memory:")  # one service whatever the bucket is

URL = re.compile(rf"({'|'.join(SCHEMES)}|file)://+(?=.)", re.DOTALL)
PATH = re.compile(rf"({'|'.join(SCHEMES)}|file):/+(?=.)", re.DOTALL)  # a path takes a slash away
FILE = re.compile(r"file:/+(?:localhost/)?")
# A path leaves out empty names and dots, which are names to an object store: a//b, a/./b. Inside a path they carry a
# mark that no name has, and `str()` takes it away again.
MARK = "\0"
MARKED = re.compile(r"(?<=/)\0(?=\.?(?:/|\Z))")


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path lies on another machine."""
    found = matched(path)
    return found is not None and found[1] != "file"


def matched(path: str | os.PathLike[str]) -> re.Match[str] | None:
    """How a URL begins; None for a path of this machine that is written as one."""
    return (PATH if isinstance(path, PurePath) else URL).match(os.fspath(path))


def marked(part: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Text with its empty names and dots marked, so that a path keeps them; a path has that behind it."""
    if isinstance(part, PurePath) or not isinstance(part, str):
        return part
    found = PATH.match(part)
    if not found:
        return part
    names = part[found.end() :].removesuffix("/").split("/")
    return found[1] + ":/" + "/".join(map(mark, names))


def mark(name: str) -> str:
    return MARK + name if name in ("", ".") else name
