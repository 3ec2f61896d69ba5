"""Checks of what somebody asked for, the same for the command line, Python and tests: the value, or BadSetting."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import SupportsIndex, cast

from promptctl.errors import BadSetting, OnlyHere
from promptctl.remote import how_to_copy, is_remote, path_of

MOST = 10**9  # images, epochs, views: more than anybody has
HIGHEST_SEED = 2**32 - 1
DEVICES = ("auto", "cpu", "cuda", "mps")


def whole(setting: str, found: object, least: int, most: int, example: object) -> int:
    """A whole number in a range, as an int, whichever library made it."""
    is_whole = isinstance(found, Integral) and not isinstance(found, bool)
    count = operator.index(cast(SupportsIndex, found)) if is_whole else None
    if count is None or not least <= count <= most:
        raise BadSetting(setting, found, f"a whole number from {least} to {most}", example)
    return count


def number(setting: str, found: object, least: float, most: float, example: object) -> float:
    """A finite number in a range, as a float."""
    is_number = isinstance(found, Real) and not isinstance(found, bool)
    value = _as_float(cast(Real, found)) if is_number else math.nan
    if not least <= value <= most:
        raise BadSetting(setting, found, f"a number from {least:g} to {most:g}", example)
    return value


def one_of(setting: str, found: object, known: Sequence[str]) -> str:
    if not isinstance(found, str) or found not in known:
        raise BadSetting(setting, found, f"one of {', '.join(known)}", known[0])
    return str(found)


def flag(setting: str, found: object) -> bool:
    if not isinstance(found, bool):
        raise BadSetting(setting, found, "True or False")
    return found


def text(setting: str, found: object, example: str) -> str:
    """Words that a file can keep."""
    words = string(setting, found, example)
    if "\0" in words or not _is_utf8(words):
        raise BadSetting(setting, found, "text in UTF-8 without a NUL", example)
    return words


def texts(setting: str, found: object) -> list[str]:
    """One text or several; the bytes of a file name may be anything."""
    some = found if isinstance(found, Iterable) and not isinstance(found, (str, bytes)) else [found]
    return [string(setting, one, "raw/") for one in some]


def string(setting: str, found: object, example: str) -> str:
    if not isinstance(found, str):
        raise BadSetting(setting, found, "text", example)
    return str(found)


def path(setting: str, found: object) -> Path:
    """A file or folder, named by text, by a path of any kind or by a URL."""
    if not isinstance(found, (str, os.PathLike)) or not isinstance(os.fspath(found), str):
        raise BadSetting(setting, found, "a path")
    if not os.fspath(found):  # which would be the folder one is in
        raise BadSetting(setting, found, "a path")
    return path_of(found)


def local_path(setting: str, found: object, doing: str, hint: str | None = None) -> Path:
    """A file or folder on this machine, as all must be that are written to or whose photos are moved.

    doing   what is done here alone: "photos are sorted"
    hint    what to do instead; None: to copy it here
    """
    asked = path(setting, found)
    if is_remote(asked):
        raise OnlyHere(str(asked), doing, hint or how_to_copy(asked))
    return asked


def local_target(setting: str, found: object, doing: str) -> Path:
    """The same of what is to be written."""
    return local_path(setting, found, doing, "name one on this machine, and copy it there afterwards")


def local_paths(setting: str, found: object, doing: str) -> list[Path]:
    """One file or folder on this machine, or several of them."""
    return [local_path(setting, one, doing) for one in paths(setting, found)]


def paths(setting: str, found: object) -> list[Path]:
    """One file or folder, or several of them."""
    if isinstance(found, (str, bytes, os.PathLike)) or hasattr(found, "read") or not isinstance(found, Iterable):
        return [path(setting, found)]
    return [path(setting, one) for one in found]


def shots_per_class(found: object) -> int | None:
    """How many images of every class to learn from; None: all."""
    return None if found is None else whole("shots", found, 1, MOST, 16)


def share(found: object) -> float | None:
    """How much of what was learned goes into a blend, the rest is zero-shot's; None: chosen by folds."""
    return None if found is None else number("blend", found, 0, 1, 0.5)


def model(found: object) -> str | None:
    """The name of a backbone; None: that of the context."""
    return None if found is None else text("model", found, "mini")


def _as_float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf


def _is_utf8(words: str) -> bool:
    try:
        words.encode()
    except UnicodeEncodeError:
        return False
    return True
