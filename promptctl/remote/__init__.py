"""Remote: files in object stores and on other machines, as paths that fsspec reads.

`path_of` gives a path of any kind: those of this machine stay the plain paths that they are and cost nothing. fsspec is
imported only where somebody names a URL. What a URL names is only ever read.
"""

from promptctl.remote.listing import look
from promptctl.remote.path import RemotePath, list_whole, path_of, same_system
from promptctl.remote.reach import AT_ONCE, filesystem, how_to_copy, how_to_look
from promptctl.remote.urls import is_remote

__all__ = [
    "AT_ONCE",
    "RemotePath",
    "filesystem",
    "how_to_copy",
    "how_to_look",
    "is_remote",
    "list_whole",
    "look",
    "path_of",
    "same_system",
]
