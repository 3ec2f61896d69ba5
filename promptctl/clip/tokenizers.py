"""Tokenizers: CLIP's own byte pairs and those of Hugging Face, asked in the same way.

A prompt is `start, tokens, end, padding, last`, as open_clip's tokenizer lays a text out; all around the tokens may
be empty.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

from promptctl.clip.vocabulary import GOES_ON
from promptctl.errors import CorruptTokens, UnsupportedBackbone

_BEFORE = "a"  # a word that stands in front, to see how the tokens of what follows it are
_PROBES = ("a", "cat", "1")
# a text in which two tokenizers of one vocabulary differ, if they do in what they take for the same
_SPOKEN = (
    "A  photo of Cats' caf\u00e9 (na\u00efve, cafe\u0301): C++ \ufb01\uff21 no. 2024_7! "
    "\u7fe1\u7fe0 \u0623\u0628\u0648 \u0e19\u0e01 \U0001f426\nx"
)
# scripts that put no blank between words: there, a token need not begin a word to be one
_WITHOUT_BLANKS = re.compile("[฀-໿က-႟ក-៿぀-ヿ㐀-鿿豈-﫿\U00020000-\U0003ffff]+")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_BLANK, _BLANK_BYTE, _CONTINUED, _ENDED = "▁", "Ġ", "##", "</w>"


class Tokenizer(Protocol):
    """What a text tower asks of a tokenizer."""

    is_clips: bool  # CLIP's own byte pairs, in small letters
    start: tuple[int, ...]  # in front of every text
    end: tuple[int, ...]  # behind it
    padding: int
    last: tuple[int, ...]  # behind the padding, where the tower pools

    @property
    def digest(self) -> str | None:
        """What tells it from others; None for CLIP's own, of which there is one."""

    @property
    def ends_highest(self) -> bool:
        """Whether no token has a higher number than `end`."""

    @property
    def special(self) -> tuple[int, ...]:
        """Tokens that are no text."""

    @property
    def stop(self) -> list[int]:
        """The full stop behind a word; empty where the tokenizer takes punctuation away."""

    def tokens(self, words: str) -> list[int]:
        """Of a text from its beginning, without what stands around it."""

    def following(self, words: str) -> list[int]:
        """Of words behind other words: in many vocabularies a word that begins a text is another token."""

    def word(self, token: int) -> str:
        """A token as a person reads it; GOES_ON marks where its word goes on."""

    def read(self, tokens: Sequence[int]) -> str:
        """The words of tokens."""

    def is_loose(self, token: int) -> bool:
        """Whether a token is less than a part of a word: a byte, a letter that was broken off, or nothing known."""


def tokenizer_of(made: Any, n_tokens: int, *, name: str) -> Tokenizer:
    """One of open_clip's tokenizers.

    n_tokens   V, rows of the tower's table
    name       of the backbone, for UnsupportedBackbone
    """
    if hasattr(made, "byte_decoder"):
        return BytePairs(made)
    if hasattr(made, "tokenizer") and hasattr(made, "clean_fn"):
        return OfTransformers(made, n_tokens, name=name)
    raise UnsupportedBackbone(name, "its tokenizer is not known here")


class BytePairs:
    """CLIP's own: small letters, byte pairs that never join two words, numbers of which the end's is the highest."""

    is_clips = True
    digest = None

    def __init__(self, made: Any) -> None:
        self._made, self.padding = made, 0
        self.start: tuple[int, ...] = (int(made.sot_token_id),)
        self.end: tuple[int, ...] = (int(made.eot_token_id),)
        self.last: tuple[int, ...] = ()
        self.special = tuple(int(token) for token in made.all_special_ids)
        self.ends_highest = self.end[0] == max(self.special)

    @cached_property
    def stop(self) -> list[int]:
        return self.tokens(".")

    def tokens(self, words: str) -> list[int]:
        return [int(token) for token in self._made.encode(words)]

    def following(self, words: str) -> list[int]:
        return self.tokens(words)

    def word(self, token: int) -> str:
        piece = self._made.decoder[token]
        text = bytearray(self._made.byte_decoder[c] for c in piece.removesuffix(_ENDED))
        read = text.decode("utf-8", errors="replace")
        return read if piece.endswith(_ENDED) else f"{read}{GOES_ON}"

    def read(self, tokens: Sequence[int]) -> str:
        return str(self._made.decode(tokens)).strip()

    def is_loose(self, token: int) -> bool:
        piece = self.word(token).removesuffix(GOES_ON)
        return "\ufffd" in piece or (len(piece) == 1 and not piece.isascii())


class OfTransformers:
    """One of Hugging Face's, as open_clip's HFTokenizer uses it: SentencePiece, WordPiece or byte pairs.

    A text is cleaned first, as the settings of the model say: for SigLIP without punctuation and in small letters.
    """

    is_clips = False

    def __init__(self, made: Any, n_tokens: int, *, name: str) -> None:
        self._made, self._hf, self._n_tokens = made, made.tokenizer, n_tokens
        if getattr(self._hf, "padding_side", "right") != "right":
            raise UnsupportedBackbone(name, "its tokenizer pads in front of a text")
        if self._hf.pad_token_id is None:
            raise UnsupportedBackbone(name, "its tokenizer has no padding")
        self.padding = int(self._hf.pad_token_id)
        self.start, self.end, self.last = self._clips() if made.tokenizer_mode == "clips" else self._around(name)

    @cached_property
    def digest(self) -> str:
        """sha256 over all that decides which tokens a text has, the same for every form of its files."""
        around = (self.start, self.end, self.padding, self.last)
        spoken = self._made.clean_fn(_SPOKEN)
        says = [sorted(self._piece_of.items()), self._rules(), around, self._ids(spoken), self._behind_a_word(spoken)]
        return hashlib.sha256(json.dumps(says).encode()).hexdigest()

    @cached_property
    def ends_highest(self) -> bool:
        return len(self.end) == 1 and self.end[0] >= max(self._piece_of)

    @cached_property
    def special(self) -> tuple[int, ...]:
        """Those of the tokenizer, and rows of the tower's table that no text has."""
        known = {int(token) for token in self._hf.all_special_ids}
        return tuple(t for t in range(self._n_tokens) if t in known or t not in self._piece_of)

    @cached_property
    def stop(self) -> list[int]:
        return self._behind_a_word(self._made.clean_fn("."), between="")

    def tokens(self, words: str) -> list[int]:
        return self._known(self._ids(self._made.clean_fn(words)), words)

    def following(self, words: str) -> list[int]:
        return self._known(self._behind_a_word(self._made.clean_fn(words)), words)

    def word(self, token: int) -> str:
        piece = self._piece_of.get(token)
        if piece is None:
            return f"<{token}>"
        if token in self._unmarked or _BYTE.fullmatch(piece):
            return piece
        text, begins, ends = self._read(piece)
        begins = begins or _WITHOUT_BLANKS.fullmatch(text) is not None
        return f"{'' if begins else GOES_ON}{text}{'' if ends else GOES_ON}"

    def read(self, tokens: Sequence[int]) -> str:
        return str(self._hf.decode([*tokens], skip_special_tokens=True)).strip()

    def is_loose(self, token: int) -> bool:
        piece = self.word(token).strip(GOES_ON)
        lone = len(piece) == 1 and not piece.isascii() and not _WITHOUT_BLANKS.fullmatch(piece)
        return lone or "\ufffd" in piece or token in self._unmarked or _BYTE.fullmatch(piece) is not None

    def _ids(self, text: str, *, whole: bool = False) -> list[int]:
        """Tokens of a text that is clean already; whole: with what stands around it."""
        found = self._hf(text, add_special_tokens=whole, verbose=False)["input_ids"] if text or whole else []
        stripped = self._hf.sep_token_id if self._made.strip_sep_token else None
        return [0 if token == stripped else int(token) for token in found]

    def _around(self, name: str) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """What the tokenizer puts around a text, seen on one."""
        for probe in _PROBES:
            bare, whole = self._ids(probe), self._ids(probe, whole=True)
            for at in range(len(whole) - len(bare) + 1):
                if bare and whole[at : at + len(bare)] == bare:
                    return tuple(whole[:at]), tuple(whole[at + len(bare) :]), ()
        raise UnsupportedBackbone(name, "what its tokenizer puts around a text cannot be told")

    def _clips(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """The same in the mode that open_clip calls clips: the class token stands behind the padding."""
        own = self._hf
        return (int(own.bos_token_id),), (int(own.eos_token_id),), (int(own.cls_token_id),)

    def _rules(self) -> list[Any]:
        """How entries of the vocabulary are chosen: how likely each is, or which of them merge, first those that do."""
        backend = getattr(self._hf, "backend_tokenizer", None)
        model = json.loads(backend.to_str())["model"] if backend else {}
        merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model.get("merges", ())]
        return merges or [entry for entry in model.get("vocab", ()) if not isinstance(entry, str)]

    def _behind_a_word(self, text: str, *, between: str = " ") -> list[int]:
        if not text:
            return []
        before, both = self._ids(_BEFORE), self._ids(f"{_BEFORE}{between}{text}")
        return both[len(before) :] if both[: len(before)] == before else self._ids(text)

    def _known(self, tokens: list[int], words: str) -> list[int]:
        """CorruptTokens for a token that the tower has no row for."""
        if any(token >= self._n_tokens for token in tokens):
            raise CorruptTokens(words, self._n_tokens)
        return tokens

    @cached_property
    def _piece_of(self) -> dict[int, str]:
        """Token → its entry in the vocabulary."""
        return {int(token): piece for piece, token in self._hf.get_vocab().items()}

    @cached_property
    def _unmarked(self) -> frozenset[int]:
        return frozenset(int(token) for token in self._hf.all_special_ids)

    @cached_property
    def _mark(self) -> str:
        """How the vocabulary marks where words begin, go on or end, seen on a text of two."""
        pieces = [self._piece_of[token] for token in self._ids(f"{_BEFORE} {_BEFORE}") if token in self._piece_of]
        for mark in (_BLANK, _BLANK_BYTE, _ENDED):
            if any(mark in piece for piece in pieces):
                return mark
        return _CONTINUED

    @cached_property
    def _byte_of(self) -> dict[str, int]:
        from open_clip.tokenizer import bytes_to_unicode

        return {character: byte for byte, character in bytes_to_unicode().items()}

    def _read(self, piece: str) -> tuple[str, bool, bool]:
        """The text of an entry, whether it begins a word and whether it may end one."""
        mark = self._mark
        if mark == _CONTINUED:
            return piece.removeprefix(mark), not piece.startswith(mark), True
        if mark == _ENDED:
            return self._of_bytes(piece.removesuffix(mark)), True, piece.endswith(mark)
        text, begins = piece.removeprefix(mark), piece.startswith(mark)
        text = self._of_bytes(text) if mark == _BLANK_BYTE else text.replace(mark, " ")
        return text.strip() or _BLANK, begins, True

    def _of_bytes(self, piece: str) -> str:
        """The text of an entry, of which each character stands for a byte; not so in tokens that were added."""
        if not set(piece) <= self._byte_of.keys():
            return piece
        return bytes(self._byte_of[character] for character in piece).decode("utf-8", errors="replace")
