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
PIPED = {"#rd", "photos"}  # a column that only a pipe has, and the sum that only a terminal has
WARNING = r"^warning: .*\n(?:  .*\n)*"
PROGRESS = r"^[a-z]+ing .*\d of \d+,.*\n"  # on a slow day
PASSING = re.compile(f"{WARNING}|{PROGRESS}", re.M)


def other_words(shown: str, printed: str, home: Path, classes: Iterable[str]) -> set[str]:
    """Words that are only in one of the two; where a page leaves lines out by …, those that only it has."""
    printed = printed.replace(str(home), "/home/you/.local/share/promptctl")
    ours, theirs = words(shown, classes), words(printed, classes)
    return (ours - theirs if "\n…\n" in shown else ours ^ theirs) - BY_CHANCE - PIPED


def words(text: str, classes: Iterable[str]) -> set[str]:
    text = re.sub(r"\./(test|unsorted)\b", lambda found: f"{found[1].upper()}-FOLDER", text)  # what next: calls them
    named = re.sub(rf"\b({'|'.join(map(re.escape, classes))})\b", "CLASS", PASSING.sub("", text))
    plain = re.sub(r"\d[\d.:]*", "#", named)
    return {word.strip("().,;:") for word in plain.split()} - {"", "…"} - {"─" * n for n in range(200)}
