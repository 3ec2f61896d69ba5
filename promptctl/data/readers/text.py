"""Text: a list as characters, in whatever encoding it was saved."""

from __future__ import annotations

import codecs
from pathlib import Path

from promptctl.encoding.budget import FILES
from promptctl.errors import DatasetError, reason_of
from promptctl.remote import is_remote


def file_bytes(path: Path, most: int = -1) -> bytes:
    """What a file holds, or its first bytes; DatasetError where it cannot be read."""
    try:
        if is_remote(path) and path.stat().st_size > FILES.n_bytes:
            raise DatasetError(f"{path} is larger than a list may be", f"list fewer than {FILES.n_bytes:,} bytes")
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {reason_of(error)}", f"ls -l {path}") from error


def text_of(path: Path) -> str:
    return _decoded(file_bytes(path))


def _decoded(data: bytes) -> str:
    """Text in UTF-8, UTF-16 or Windows' Latin code page; in UTF-8 single bytes may be of no character."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    if data[1:2] == b"\0" or data[:1] == b"\0":  # UTF-16 that does not say so
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # names as a file system has them, some of them not UTF-8; where none is, it is an old code page
        text = data.decode("utf-8-sig", errors="surrogateescape")
        is_utf8 = any(character >= "\x80" and not "\udc80" <= character <= "\udcff" for character in text)
        return text if is_utf8 else data.decode("cp1252", errors="replace")
