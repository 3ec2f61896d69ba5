"""What a page shows of a command beside what the command prints, where figures and photos are others.

Compared are the words, whatever their order, how often they come and where lines end. Before, every number is made one
sign, every name of a class another, and what depends on the photos is left out: warnings, and the verdicts on single
photos.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

BY_CHANCE = {"unknown", "doubtful", "CLASS?", "CLASS", "+#"}
WIDER = {"#rd"}  # a column that 80 have no room for
WARNING = re.compile(r"^warning: .*\n(?:  .*\n)*", re.M)


def differences(shown: str, printed: str, home: Path, classes: Iterable[str]) -> set[str]:
    """Words that are only in one of the two."""
    printed = printed.replace(str(home), "/home/you/.local/share/promptctl")
    return (words(shown, classes) ^ words(printed, classes)) - BY_CHANCE - WIDER


def words(text: str, classes: Iterable[str]) -> set[str]:
    text = re.sub(r"\./(test|unsorted)\b", lambda found: f"{found[1].upper()}-FOLDER", text)  # what next: calls them
    named = re.sub(rf"\b({'|'.join(map(re.escape, classes))})\b", "CLASS", WARNING.sub("", text))
    plain = re.sub(r"\d[\d.:]*", "#", named)
    return {word.strip("().,;:") for word in plain.split()} - {"", "…"} - {"─" * n for n in range(200)}
