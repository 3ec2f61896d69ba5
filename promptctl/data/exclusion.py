"""Exclusion: patterns of files and folders that are not looked at, in the syntax of a .gitignore."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from promptctl.errors import BadSetting

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

_ALL_BELOW = re.compile(r"/\*\*(/?)$")


@dataclass(frozen=True, eq=False)
class Exclusion:
    """What is left out of a walk; a later pattern counts before an earlier one, and `!` takes back."""

    _spec: GitIgnoreSpec

    @staticmethod
    def of(patterns: Sequence[str]) -> Exclusion | None:
        """None where there is no pattern; BadSetting for one that says nothing."""
        for pattern in patterns:
            _check(pattern)
        return Exclusion(_spec_of(patterns)) if patterns else None

    def covers(self, path: str, is_folder: bool) -> bool:
        """Whether a file or folder is left out.

        path   below a folder that is searched, which patterns with a slash begin at
        """
        return self._spec.match_file(path.replace(os.sep, "/") + "/" * is_folder)


def _check(pattern: str) -> None:
    try:
        says_something = any(one.include is not None for one in _spec_of([pattern]).patterns)
    except Exception:  # an error of pathspec's, or of the regular expressions that it makes
        says_something = False
    if not says_something:  # an empty one, a comment, half a bracket
        raise BadSetting("exclude", pattern, "a pattern as in a .gitignore", "raw/")


def _spec_of(patterns: Sequence[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    # all below a folder is not the folder itself, to git; to pathspec it is
    return GitIgnoreSpec.from_lines(_ALL_BELOW.sub(r"/**/*\1", pattern) for pattern in patterns)
