"""Where promptctl keeps things: contexts are data, features are cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from promptctl.errors import HomeUnknown, InvalidSetting

VARIABLE = "PROMPTCTL_HOME"


def data_home() -> Path:
    """The folder of the store; PROMPTCTL_HOME moves it and the cache together."""
    return _moved() or _own(platformdirs.user_data_dir)


def cache_home() -> Path:
    """The folder of everything that may be deleted at any time."""
    moved = _moved()
    return moved / "cache" if moved else _own(platformdirs.user_cache_dir)


def give_libraries_a_home() -> None:
    """Where nobody's home is known, as in containers, libraries that keep files there keep them in PROMPTCTL_HOME."""
    if not _is_known(_expanded("~")) and (moved := os.environ.get(VARIABLE)):
        os.environ["HOME"] = str(Path(moved).absolute())


def _moved() -> Path | None:
    home = os.environ.get(VARIABLE)
    if not home:
        return None
    expanded = _expanded(home)
    if expanded.startswith("~"):
        raise InvalidSetting(VARIABLE, home, "the path of a folder", f"export {VARIABLE}=/a/folder")
    return Path(expanded).absolute()


def _own(folder: Callable[..., str]) -> Path:
    """The system's own place, or HomeUnknown."""
    try:
        found = folder("promptctl", appauthor=False)
    except RuntimeError as error:  # of newer platformdirs; older ones give "~/..." back
        raise HomeUnknown(VARIABLE) from error
    if not _is_known(found):
        raise HomeUnknown(VARIABLE)
    return Path(found)


def _expanded(path: str) -> str:
    return os.path.expanduser(path)  # noqa: PTH111  which lets be what it cannot expand


def _is_known(path: str) -> bool:
    return Path(path).is_absolute()
