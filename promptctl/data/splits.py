"""Splits: which part of a data set the name of a folder, or a cell of a list, stands for."""

from __future__ import annotations

import re

_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "holdout"), "test"),
}
_KIND = "sets?|splits?|data|datasets?|images?|imgs?|photos?|pics?|pictures?|folders?|files?|parts?|jpe?g|png"
_YEAR = r"(?:19|20)\d\d"
_SPLIT = re.compile(f"(?:{_KIND})?({'|'.join(sorted(_WORDS, key=len, reverse=True))})(?:{_KIND})?")
_SAYS_NOTHING = re.compile(f"{_KIND}|{_YEAR}|the|my|of|for")
_NUMBERED = re.compile(r"[^\W\d_]|\d{1,2}|fold|old|new|small|full|copy|backup")
_FOLD = re.compile(r"(?:fold|split|cv)[\W_]*\d+")


def split_of(name: str) -> str | None:
    """train, val or test, where a name says nothing else: "Train-Set", "imgs_val", "test2017"."""
    look = look_of(name)
    return look[0] if look and not look[1] else None


def look_of(name: str) -> tuple[str, str] | None:
    """The split in a name, and the rest of it: "birds_train" is ("train", "birds"); None without a split."""
    words = re.findall(r"[^\W\d_]+|\d+", re.sub(r"h[eo]ld[\W_]*out", "holdout", _parted(name).casefold()))
    named = [match[1] if (match := _SPLIT.fullmatch(word)) else None for word in words]
    found = [word for word in named if word]
    if len(found) != 1:
        return None
    rest = [word for word, split in zip(words, named, strict=True) if not split and not _SAYS_NOTHING.fullmatch(word)]
    return _WORDS[found[0]], " ".join(rest)


def _parted(name: str) -> str:
    """ "trainA" and "testSet" with a blank where a capital begins a word."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


def is_one_of_several(name: str) -> bool:
    """Whether a name looks like one part of many: "train_a", "test (2)", "fold3"."""
    look = look_of(name)
    numbered = look is not None and look[1] and all(_NUMBERED.fullmatch(word) for word in look[1].split())
    return bool(numbered or _FOLD.fullmatch(name.casefold()))
