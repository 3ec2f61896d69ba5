"""Text on a terminal: made harmless, measured in cells, cut and wrapped."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

_JOINERS = "\u200c\u200d"  # of letters in Persian and Hindi, and of emoji; they drive no terminal
_EMOJI_STYLE = "\ufe0f"
_MORE = "…"
_SHARE = re.compile(r" \d+(\.\d+)? %$")
_PREFIX = re.compile(r" *(?:[a-z]+: +)?")
_COMMAND = re.compile(r"(?:next: |hint: |     ) *(?:promptctl|ls|mkdir) ")
_REMARK = "   ("  # behind a command: what it is for
_ARGUMENT = re.compile(r"""(?:'[^']*'|"[^"]*"|\S)+""")
# what no line may part: 93.3 %, 76 KB, 1.5 s, 88.3 ± 2.4, 2026-11-26 00:43
_WHOLE = re.compile(
    r"(?<![\w.])[+-]?\d[\d.,]* (?:(?:%|B|KB|MB|GB|M|s|min|h)(?!\w)|± \d[\d.]*)|\d{4}-\d\d-\d\d \d\d:\d\d(?!\d)"
)


def printable(text: str) -> str:
    """The text for a terminal: whatever could drive it or hide is shown as an escape, raw bytes too."""
    return text if text.isprintable() else "".join(map(_shown, text))


def piped(text: str) -> str:
    """The text for a pipe: on one line and in one cell, otherwise as it was, bytes that are not UTF-8 too."""
    if text.isprintable():
        return text
    return "".join(ascii(c)[1:-1] if c < " " or c == "\x7f" or _is_half(c) else c for c in text)


def one_line(text: str) -> str:
    """The text for a cell that programs read: as `piped`, and nothing that ends a line for any of them."""
    return piped(text) if text.isascii() else "".join(_escaped_end(c) for c in piped(text))


def _escaped_end(character: str) -> str:
    return ascii(character)[1:-1] if unicodedata.category(character) in ("Cc", "Zl", "Zp") else character


def _is_half(character: str) -> bool:
    """Half of a character, as JSON may hold it, which no stream can write; what stands for a byte is none."""
    return "\ud800" <= character < "\udc80" or "\udcff" < character <= "\udfff"


def for_stream(text: str, stream: TextIO) -> str:
    return printable(text) if stream.isatty() else piped(text)


def columns_of(stream: TextIO) -> int:
    """How wide the terminal is: what COLUMNS says, or else the terminal itself."""
    said = os.environ.get("COLUMNS", "")
    if said.isascii() and said.isdigit() and int(said):
        return int(said)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def width(text: str) -> int:
    """Cells the text takes on a terminal, at most: terminals disagree on emoji with a colour or style of their own."""
    if text.isascii():
        return len(text)
    narrow_before = (before for before in " " + text)
    return sum(_cells(c, next(narrow_before)) for c in text)


def cut(text: str, available: int) -> str:
    """The beginning, as far as there is room; a share at the end (`emu 12.5 %`) stays."""
    if width(text) <= available:
        return text
    share = _SHARE.search(text)
    tail = share[0] if share and width(share[0]) < available - 2 else ""
    return _head(text, available - 1 - width(tail)) + _MORE + tail


def cut_middle(text: str, available: int) -> str:
    """Both ends, most of it the last: what a file is called tells more than where it lies."""
    if width(text) <= available:
        return text
    tail = _tail(text, (2 * available - 1) // 3)
    return _head(text, available - 1 - width(tail)) + _MORE + tail


def wrapped(line: str, available: int) -> list[str]:
    """The line in parts of at most so many cells, broken at spaces only, none of them inside a number with its unit.

    A longer word stays whole, and so does a line that is a path. What follows a label (`backbone:  mini`) stands below
    it; a command goes on after a backslash, so that it can still be copied, and a remark on it has lines of its own.
    """
    if width(line) <= available or Path(line).is_absolute():
        return [line]
    is_command = bool(_COMMAND.match(line))
    said, _, remark = line.partition(_REMARK) if is_command else (line, "", "")
    prefix = _PREFIX.match(said)
    indent = prefix[0] if prefix and width(prefix[0]) <= available // 2 else ""
    parts = _ARGUMENT.findall(said[len(indent) :]) if is_command else words(said[len(indent) :])
    first, *others = filled(parts, available - len(indent) - 4 * is_command)
    margin = " " * (len(indent) + 2 * is_command)
    lines = (" \\\n" if is_command else "\n").join([indent + first, *(margin + part for part in others)]).split("\n")
    return lines + [margin + part for part in filled(words(f"({remark}"), available - len(margin)) if remark]


def words(text: str) -> list[str]:
    """What a line may end after."""
    whole = _WHOLE.sub(lambda found: found[0].replace(" ", "\0"), text)
    return [word.replace("\0", " ") for word in whole.split(" ") if word]


def is_whole(word: str) -> bool:
    """Whether a word of `words` says nothing when it is cut."""
    return bool(_WHOLE.fullmatch(word))


def filled(parts: Sequence[str], available: int, gap: str = " ") -> list[str]:
    """Lines as full as they may be."""
    lines: list[str] = []
    for part in parts:
        if lines and width(lines[-1]) + len(gap) + width(part) <= available:
            lines[-1] += gap + part
        else:
            lines.append(part)
    return lines or [""]


def _shown(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs":
        return character
    return ascii(character)[1:-1]


def _cells(character: str, before: str) -> int:
    if character == _EMOJI_STYLE:
        return int(_cells(before, "") == 1)
    if unicodedata.category(character) in ("Mn", "Me", "Cf") or "\u1160" <= character <= "\u11ff":  # Hangul syllables
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _head(text: str, available: int) -> str:
    end = 0
    while end < len(text) and width(text[: end + 1]) <= available:
        end += 1
    return text[:end]


def _tail(text: str, available: int) -> str:
    start = len(text)
    while start and width(text[start - 1 :]) <= available:
        start -= 1
    while start < len(text) and _cells(text[start], " ") == 0:  # a mark without its letter
        start += 1
    return text[start:]
