"""Labels: the one class that a cell gives."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from pathlib import Path

from promptctl.data.names import one_form
from promptctl.data.readers.headings import WANTED
from promptctl.errors import DatasetError


def one_label(manifest: Path, line: int, said: object, singles: Collection[str] = ()) -> str:
    """The one label a cell gives; DatasetError for none, for several and for what is no text."""
    if isinstance(said, str) and re.fullmatch(r"\s*[\[({].*[\])}]\s*", said, re.DOTALL):
        said = _literal(said)
    if isinstance(said, (list, tuple, set)) and len(said) < 2:
        said = next(iter(said), None)
    text = "" if said is None or said != said else str(said).strip()  # NaN is no label either
    if not text:
        raise DatasetError(f"{manifest} has no label in line {line}", WANTED)
    several = [str(one) for one in said] if isinstance(said, (list, tuple, set)) else _several(text, singles)
    if several:
        raise DatasetError(
            f"{manifest} gives several labels in line {line}: {', '.join(several)}",
            "an image shows one class: keep one of them",
        )
    if re.search(r"[\r\n]", text):
        raise DatasetError(
            f"{manifest} has a label in line {line} that goes on in the next line: {text.splitlines()[0][:40]}",
            "a quotation mark is missing, or there is one too many",
        )
    if isinstance(said, dict):
        raise DatasetError(f"{manifest} has a label in line {line} that is not text: {text[:40]}", WANTED)
    return one_form(text)


def _several(text: str, singles: Collection[str]) -> list[str]:
    """The labels in "emu|bird" and "[emu, bird]", and in "emu; bird" and "emu, bird" if other lines have each."""
    if re.fullmatch(r"\[.*,.*\]|\{.*,.*\}", text):
        return [part.strip() for part in text[1:-1].split(",")]
    for separator in "|;,":
        parts = [part.strip() for part in text.split(separator) if part.strip()]
        if len(parts) > 1 and (separator == "|" or all(part in singles for part in parts)):
            return parts
    return []


def _literal(text: str) -> object:
    """A Python list that a data frame wrote as text, or the text."""
    try:
        found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return found if isinstance(found, (list, tuple, set)) else text
