"""Names: what classes are called, when two names are one, and which of them a text tower can read."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from promptctl.context.card import ClassEntry
from promptctl.errors import DatasetError

if TYPE_CHECKING:
    from promptctl.clip.text_tower import TextTower

_BYTES = 0.75  # of a name's bytes, in tokens of one foreign letter or less; German and French names stay below
_WORDNET = re.compile(r"n\d{8}")
_UNSEEN = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad\u200e\u200f"))  # no width, and no part of a letter
_NUMBER = re.compile(r"[\d\s]*\d[\d\s]*|\d+[.,]\d+")


def one_form(name: str) -> str:
    """The name in Unicode's composed form (NFC): a Mac writes accents apart, other systems do not."""
    return unicodedata.normalize("NFC", name)


def readable(label: str) -> str:
    """The class name a folder name stands for, as CoOp reads it: underscores are spaces."""
    return label.replace("_", " ").strip()


def prompt_form(name: str) -> str:
    """What two names that a prompt says alike have in common, as far as it can be told without a text tower."""
    return " ".join(one_form(one_form(name).casefold()).translate(_UNSEEN).split())


def is_text(name: str) -> bool:
    """Whether the name is text at all: a file name may hold any bytes."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def check_names(entries: Sequence[ClassEntry]) -> None:
    """DatasetError for a name that is none, and for two that a prompt would say alike."""
    for entry in entries:
        if not is_text(entry.label) or not is_text(entry.name):
            raise DatasetError(
                f"the class {entry.label!r} is not called in UTF-8, so nobody could read it again",
                "rename its folder (convmv -f latin1 -t utf-8 --notest FOLDER)",
            )
        if not entry.name:
            raise DatasetError(f"the folder '{entry.label}' is not a name", "give it one with --classes names.csv")
    _refuse_alike(entries, [prompt_form(entry.name) for entry in entries])


def check_tokens(entries: Sequence[ClassEntry], tower: TextTower) -> None:
    """DatasetError for two names whose tokens are the same: the tower would take them for one class."""
    _refuse_alike(entries, [tuple(tower.tokens(entry.name)) for entry in entries])


def _refuse_alike(entries: Sequence[ClassEntry], said: Sequence[object]) -> None:
    first: dict[object, ClassEntry] = {}
    for entry, key in zip(entries, said, strict=True):
        other = first.setdefault(key, entry)
        if other is not entry:
            look_alike = _seen(other.label) == _seen(entry.label)
            one, two = (ascii(e.label) if look_alike else f"'{e.label}'" for e in (other, entry))
            raise DatasetError(
                f"the prompt would call both {one} and {two} '{entry.name}'",
                "give each a name of its own with --classes names.csv, or put them in one folder",
            )


def _seen(label: str) -> str:
    """What a person sees of a name."""
    return " ".join(one_form(label).translate(_UNSEEN).split())


# --------------------------------------------------------------------------- which class is meant


def meant_by(labels: Sequence[str], classes: Sequence[ClassEntry], tower: TextTower | None = None) -> dict[str, int]:
    """Which class each label means, as an index, where it means one.

    By label, else by name or alias, else by any of them as a prompt says them, else (where there is a tower) by
    their tokens; a word that means two classes means none.
    """
    by_label = _meanings((i, entry.label) for i, entry in enumerate(classes))
    by_name = _meanings((i, word) for i, entry in enumerate(classes) for word in (entry.name, *entry.aliases))
    words = [(i, word) for some in (by_label, by_name) for word, found in some.items() for i in found]
    as_said = _meanings((i, prompt_form(word)) for i, word in words)
    by_tokens = _meanings((i, _token_key(word, tower)) for i, word in words) if tower else {}
    index = {}
    for label in labels:
        meant = by_label.get(label) or by_name.get(label) or as_said.get(prompt_form(label))
        if not meant and tower:
            meant = by_tokens.get(_token_key(label, tower))
        if meant and len(meant) == 1:
            (index[label],) = meant
    return index


def _meanings(words: Iterable[tuple[int, str]]) -> Mapping[str, set[int]]:
    meant: defaultdict[str, set[int]] = defaultdict(set)
    for i, word in words:
        meant[one_form(word)].add(i)
    return dict(meant)


def _token_key(word: str, tower: TextTower) -> str:
    return " ".join(map(str, tower.tokens(readable(word)))) if is_text(word) else word


# --------------------------------------------------------------------------- what a tower makes of them


def unread(entries: Sequence[ClassEntry], tower: TextTower) -> list[str]:
    """Names that mean nothing to the tower: numbers, WordNet's ids, and what its tokens break into letters or bytes."""
    names = [entry.name for entry in entries]
    return [name for name in names if _NUMBER.fullmatch(name) or _WORDNET.fullmatch(name) or _in_bytes(name, tower)]


def _in_bytes(name: str, tower: TextTower) -> bool:
    pieces = [tower.word(token).removesuffix("·") for token in tower.tokens(name)]
    loose = [piece for piece in pieces if "\ufffd" in piece or (len(piece) == 1 and not piece.isascii())]
    return sum(map(_n_bytes, loose)) > _BYTES * sum(map(_n_bytes, pieces))


def _n_bytes(piece: str) -> int:
    return sum(1 if character == "\ufffd" else len(character.encode()) for character in piece)
