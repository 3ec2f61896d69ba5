"""Where promptctl keeps things: contexts are data, features are cache."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def data_home() -> Path:
    """The folder of the store; PROMPTCTL_HOME moves it and the cache together."""
    return _moved() or Path(platformdirs.user_data_dir("promptctl", appauthor=False))


def cache_home() -> Path:
    """The folder of everything that may be deleted at any time."""
    moved = _moved()
    return moved / "cache" if moved else Path(platformdirs.user_cache_dir("promptctl", appauthor=False))


def _moved() -> Path | None:
    home = os.environ.get("PROMPTCTL_HOME")
    return Path(os.path.expanduser(home)) if home else None  # noqa: PTH111  which lets be what it cannot expand
