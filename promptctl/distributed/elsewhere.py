"""Elsewhere: the files below a place in an object store, as its pages come, however many lie in one folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from promptctl.data.walk import Closed, is_clutter
from promptctl.distributed.filesystem import unlisted
from promptctl.errors import reason_of
from promptctl.remote import path_of
from promptctl.remote.listing import pages_in_s3

if TYPE_CHECKING:
    from promptctl.data.exclusion import Exclusion


def every_file_elsewhere(roots: Sequence[str], exclusion: Exclusion | None) -> Iterator[str | Closed]:
    """URLs of all visible files under the roots, once; a root that is a file is taken as it is."""
    earlier: set[str] = set()
    for root in roots:
        if not earlier.intersection(_above(root)):
            try:
                yield from _files(root, earlier, exclusion)
            except OSError as error:
                yield Closed(path_of(root), reason_of(error))
        earlier.add(root.rstrip("/"))


def _files(root: str, earlier: set[str], exclusion: Exclusion | None) -> Iterator[str]:
    files, place = unlisted(path_of(root))
    if not files.isdir(place):
        yield root
        return
    start = len(place) + 1
    for name in _names(files, place):
        below = name[start:]
        if below and not _is_left_out(below, exclusion):
            url = str(files.unstrip_protocol(name))
            if url not in earlier and not (earlier and earlier.intersection(_above(url))):
                yield url


def _names(files: Any, place: str) -> Iterator[str]:
    """What lies in a place at any depth: of S3 a page at a time, elsewhere a folder at a time."""
    if hasattr(files, "call_s3"):
        keys = (one["Key"] for page in pages_in_s3(files, place) for one in page.get("Contents") or ())
        yield from (f"{place.partition('/')[0]}/{key}" for key in keys if not key.endswith("/"))
        return
    for folder, _, inside in files.walk(place):
        yield from (f"{folder.rstrip('/')}/{name}" for name in inside)


def _is_left_out(below: str, exclusion: Exclusion | None) -> bool:
    """What a walk would not enter or take, by the names on the way to it."""
    parts = below.split("/")
    if any(map(is_clutter, parts)):
        return True
    if exclusion is None:
        return False
    folders = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
    return any(exclusion.covers(folder, True) for folder in folders) or exclusion.covers(below, False)


def _above(url: str) -> Iterable[str]:
    """The places that a URL lies in, and itself."""
    parts = url.rstrip("/").split("/")
    return ("/".join(parts[:depth]) for depth in range(3, len(parts) + 1))
