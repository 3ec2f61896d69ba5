"""Names: what classes are called, when two names are one, and which of them a text tower can read."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


# --------------------------------------------------------------------------- nearly the same name

_LIKE_A_BLANK = re.compile(r"[\s_.\-\u2010-\u2015\u2212\u00b7\u30fb'’‘ʼ`´]+")
_BETWEEN_DIGITS = re.compile(r"(?<=\d) (?=\d)")
_LATIN_WITH_MARKS = re.compile(r"([a-zß-ɏḀ-ỿ])[\u0300-\u036f]+")
_ES = ("s", "x", "z", "ch", "sh", "o")
_OTHER_PLURALS = (  # the end of one, of several, and letters before it at least
    ("y", "ies", 1), ("f", "ves", 2), ("fe", "ves", 2), ("man", "men", 0), ("z", "zzes", 2),
    ("us", "i", 3), ("um", "a", 3), ("a", "ae", 3), ("is", "es", 3), ("ex", "ices", 3), ("ix", "ices", 3),
    ("eau", "eaux", 0), ("eu", "eux", 1), ("al", "aux", 2), ("mouse", "mice", 0), ("louse", "lice", 0),
    ("goose", "geese", 0), ("foot", "feet", 0), ("tooth", "teeth", 0), ("child", "children", 0),
    ("person", "people", 0), ("ox", "oxen", 0),
)  # fmt: skip


def near_names(labels: Iterable[str], classes: Sequence[ClassEntry]) -> dict[str, str]:
    """Labels that no class has, and the class of nearly the same name: perhaps one class by mistake made two.

    Near are names that differ in case, in plural and singular, in what stands between words, in accents or in the form
    that Unicode gives them. A label that a class has as its label, its name or an alias is that class.

    returns   label → label of the class, for those that are near one
    """
    own = {one_form(word) for entry in classes for word in _words_for(entry)}
    said, plurals = _by_said(classes)
    near = {}
    for label in labels:
        if one_form(label) in own:
            continue
        words = _said(label)
        found = said.get("".join(words)) or plurals.get("".join(words))
        found = found or next((said[several] for several in _plurals(words) if several in said), None)
        if found:
            near[label] = found
    return near


def _words_for(entry: ClassEntry) -> tuple[str, ...]:
    return entry.label, entry.name, *entry.aliases


def _by_said(classes: Sequence[ClassEntry]) -> tuple[dict[str, str], dict[str, str]]:
    """What is said of each class without blanks → its label; and the same of its plurals; the first has it."""
    said: dict[str, str] = {}
    plurals: dict[str, str] = {}
    for entry in classes:
        for words in filter(None, map(_said, _words_for(entry))):  # "…" says nothing
            said.setdefault("".join(words), entry.label)
            for several in _plurals(words):
                plurals.setdefault(several, entry.label)
    return said, plurals


def _said(name: str) -> list[str]:
    """The words of a name without case, accents of Latin letters and other forms of the same characters."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).translate(_UNSEEN)
    apart = _LATIN_WITH_MARKS.sub(r"\1", unicodedata.normalize("NFD", plain))
    words = _LIKE_A_BLANK.sub(" ", unicodedata.normalize("NFC", apart)).strip()
    return _BETWEEN_DIGITS.sub(" . ", words).split()  # 1.5 is not 15


def _plurals(words: Sequence[str]) -> Iterator[str]:
    """The name without blanks with one of its words in the plural."""
    for i, word in enumerate(words):
        for several in _plurals_of(word):
            yield "".join((*words[:i], several, *words[i + 1 :]))


def _plurals_of(word: str) -> Iterator[str]:
    if len(word) < 2 or not word[-1].isalpha():
        return
    if not word.endswith("s"):
        yield word + "s"
    if word.endswith(_ES):
        yield word + "es"
    for one, several, n_before in _OTHER_PLURALS:
        stem = word.removesuffix(one)
        if stem != word and len(stem) >= n_before:
            yield stem + several


# --------------------------------------------------------------------------- what a tower makes of them


def unread(entries: Sequence[ClassEntry], tower: TextTower) -> list[str]:
    """Names that mean nothing to the tower: numbers, WordNet's ids, and what its tokens break into letters or bytes."""
    names = [entry.name for entry in entries]
    return [name for name in names if _NUMBER.fullmatch(name) or _WORDNET.fullmatch(name) or _in_bytes(name, tower)]


def _in_bytes(name: str, tower: TextTower) -> bool:
    tokens = tower.tokens(name)
    pieces = {token: tower.word(token).strip("·") for token in tokens}
    loose = [pieces[token] for token in tokens if tower.is_loose(token)]
    return not tokens or sum(map(_n_bytes, loose)) > _BYTES * sum(_n_bytes(pieces[token]) for token in tokens)


def _n_bytes(piece: str) -> int:
    return sum(1 if character == "\ufffd" else len(character.encode()) for character in piece)
