"""Where every text should point: the directions of the ImageNet classes, carried over to other words.

The known points are the 1000 classes and the senses above two or more of them (the mean of what they cover). All other
nouns get theirs by kernel ridge regression on three likenesses: of the name, of the gloss, and of the place in WordNet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sources import CLASS_NAMES, CLASS_SYNSETS, Sentences, WordNet

KEEP = {"animal": 3, "artifact": 3, "food": 3, "body": 2, "object": 2, "plant": 2}  # words of a sense, else 1
TAXA = ("genus ", "family ", "order ", "class ", "phylum ", "suborder ", "subfamily ", "superfamily ", "subclass ",
        "division ", "kingdom ", "tribe ", "subkingdom ", "superorder ")  # fmt: skip
WIDTH = 0.3  # of the kernel: exp((cosine - 1) / WIDTH)
RIDGE = 0.1  # of a class; twice that of a sense above classes
LONGEST_NAME = 6  # words
FIT = 0.1  # how much a sense gains whose gloss reads like the bare word
TEXT_SHARE = 0.4  # of a noun's direction that comes from its text alone


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True).clip(1e-6)


def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Likeness of unit rows."""
    return np.exp((a @ b.T - 1) / WIDTH)


@dataclass
class Targets:
    """Unit directions (512) for classes, senses and words.

    directions   (1000, 512), of the classes
    held         classes whose names, words and glosses are to stay unknown
    """

    wordnet: WordNet
    sentences: Sentences
    directions: np.ndarray
    held: frozenset[int] = field(default_factory=frozenset)

    # ---- known points

    @cached_property
    def seen(self) -> list[int]:
        return [c for c in range(1000) if c not in self.held]

    @cached_property
    def class_of(self) -> dict[str, int]:
        """The class of a synset that is one and may be known."""
        return {CLASS_SYNSETS[c]: c for c in self.seen}

    @cached_property
    def hidden_words(self) -> frozenset[str]:
        words = {CLASS_NAMES[c] for c in self.held}
        return frozenset(words | {w.lower() for c in self.held for w in self.wordnet.synsets[CLASS_SYNSETS[c]].words})

    @cached_property
    def _hidden(self) -> frozenset[str]:
        """Hidden words and their plurals, as `_words_of` writes them."""
        plain = [" ".join(_words_of(word)) for word in self.hidden_words]
        return frozenset(form for word in plain for form in (word, f"{word}s", f"{word}es"))

    def hides(self, text: str) -> bool:
        """Whether a text has a hidden word in it, alone or in the plural."""
        words = _words_of(text) if self._hidden else []
        runs = (" ".join(words[k : k + n]) for n in range(1, LONGEST_NAME + 1) for k in range(len(words) - n + 1))
        return any(run in self._hidden for run in runs)

    @cached_property
    def _held_synsets(self) -> frozenset[str]:
        return frozenset(CLASS_SYNSETS[c] for c in self.held)

    @cached_property
    def covered(self) -> dict[str, list[int]]:
        """The classes below every sense that stands above at least two of them."""
        below: dict[str, list[int]] = {}
        for c in self.seen:
            for sense in self.wordnet.ancestors(CLASS_SYNSETS[c]) - {CLASS_SYNSETS[c]}:
                below.setdefault(sense, []).append(c)
        return {sense: classes for sense, classes in below.items() if len(classes) > 1}

    @cached_property
    def known(self) -> dict[str, np.ndarray]:
        above = {sense: unit(self.directions[classes].mean(0)) for sense, classes in self.covered.items()}
        return above | {synset: self.directions[c] for synset, c in self.class_of.items()}

    # ---- regression

    @cached_property
    def _axes(self) -> dict[str, tuple[int, float]]:
        """Every sense of ImageNet's tree: its column and weight, rare senses weighing more."""
        tree = sorted(set().union(*(self.wordnet.ancestors(CLASS_SYNSETS[c]) for c in self.seen)))
        uses: dict[str, int] = {}
        for synset in self.wordnet.synsets:
            for sense in self.wordnet.ancestors(synset):
                uses[sense] = uses.get(sense, 0) + 1
        n = len(self.wordnet.synsets)
        return {sense: (k, float(np.log(n / uses[sense]) ** 0.5)) for k, sense in enumerate(tree)}

    def place(self, synsets: list[str]) -> np.ndarray:
        """Rows over ImageNet's tree: which senses stand above each."""
        rows = np.zeros((len(synsets), len(self._axes)), np.float32)
        for row, synset in zip(rows, synsets, strict=True):
            for sense in self.wordnet.ancestors(synset):
                if sense in self._axes:
                    column, weight = self._axes[sense]
                    row[column] = weight
        return unit(rows)

    def words(self, synset: str) -> tuple[str, ...]:
        """The words of a sense that are not hidden; a held class keeps its own, to be asked about."""
        words = self.wordnet.synsets[synset].words
        return words if synset in self._held_synsets else tuple(w for w in words if not self.hides(w))

    def name(self, synsets: list[str]) -> np.ndarray:
        """What the words of each sense mean to the sentence model, together; a class has its usual name as well."""
        usual = {synset: [CLASS_NAMES[c]] for synset, c in self.class_of.items()}
        texts = [[w.lower() for w in self.words(s)] + usual.get(s, []) for s in synsets]
        flat = iter(self.sentences([t for ts in texts for t in ts]))
        return unit(np.stack([np.mean([next(flat) for _ in ts] or [np.zeros(384)], axis=0) for ts in texts]))

    def gloss(self, synsets: list[str]) -> np.ndarray:
        first = [next(iter(self.words(s)), "") for s in synsets]
        return self.sentences([f"{w}: {self.wordnet.synsets[s].gloss}" for w, s in zip(first, synsets, strict=True)])

    def likeness(self, synsets: list[str]) -> np.ndarray:
        """Of each sense to each known point, mean of the three."""
        return np.concatenate([self._likeness_of(synsets[k : k + 2000]) for k in range(0, len(synsets), 2000)])

    def _likeness_of(self, synsets: list[str]) -> np.ndarray:
        rows = (self.name(synsets), self.gloss(synsets), self.place(synsets))
        return sum(kernel(a, b) for a, b in zip(rows, self._known_rows, strict=True)) / 3

    @cached_property
    def _known_rows(self) -> tuple[np.ndarray, ...]:
        synsets = list(self.known)
        return self.name(synsets), self.gloss(synsets), self.place(synsets)

    @cached_property
    def _by_sense(self) -> np.ndarray:
        ridge = [RIDGE if s in self.class_of else 2 * RIDGE for s in self.known]
        return np.linalg.solve(self.likeness(list(self.known)) + np.diag(ridge), np.stack(list(self.known.values())))

    def senses(self, synsets: list[str]) -> np.ndarray:
        """Unit rows: what is known, else regressed."""
        return self._pointing(synsets, self.likeness(synsets))

    def _pointing(self, synsets: list[str], likeness: np.ndarray) -> np.ndarray:
        rows = unit(likeness @ self._by_sense)
        return np.stack([self.known.get(s, row) for s, row in zip(synsets, rows, strict=True)])

    @cached_property
    def _by_text(self) -> tuple[np.ndarray, np.ndarray]:
        """Regression from the text alone, for words that are no visible noun."""
        pairs = [(CLASS_NAMES[c], self.directions[c]) for c in self.seen]
        pairs += [(w.lower(), row) for s, row in self.known.items() for w in self.words(s)]
        rows = self.sentences([text for text, _ in pairs])
        system = kernel(rows, rows) + 3 * RIDGE * np.eye(len(rows))
        return rows, np.linalg.solve(system, np.stack([row for _, row in pairs]))

    def texts(self, texts: list[str]) -> np.ndarray:
        """Unit rows from the text alone."""
        known, weights = self._by_text
        rows = self.sentences(texts)
        return unit(np.concatenate([kernel(rows[k : k + 4000], known) @ weights for k in range(0, len(rows), 4000)]))

    # ---- nouns

    @cached_property
    def nouns(self) -> dict[str, list[str]]:
        """Every noun for a visible thing, and its visible senses."""
        tree = set().union(*(self.wordnet.ancestors(CLASS_SYNSETS[c]) for c in range(1000)))
        found: dict[str, list[str]] = {}
        for synset in self.wordnet.synsets:
            if not self._held_synsets & self.wordnet.ancestors(synset):
                for word in self._words_kept(synset, synset in tree):
                    if not self.hides(word):
                        found.setdefault(word.lower(), []).append(synset)
        return found

    def _words_kept(self, synset: str, in_tree: bool) -> list[str]:
        sense = self.wordnet.synsets[synset]
        if any(w.startswith(TAXA) for w in sense.words):
            return []
        if in_tree:
            return list(sense.words)
        if not sense.kind or sense.instance:
            return []
        words = [w for w in sense.words if len(w) < 32 and not _latin(w) and not re.search(r"[0-9/]", w)]
        used = any(self._uses(w.lower(), synset) for w in words)
        rare = sense.kind in ("person", "substance", "phenomenon", "body") or (
            sense.kind == "plant" and words and words[0][0].isupper()
        )
        if rare and not used and (not words or sense.kind == "plant" or " " in words[0] or len(words[0]) > 9):
            return []
        return words[: KEEP.get(sense.kind, 1)]

    def _uses(self, word: str, synset: str) -> int:
        senses = self.wordnet.senses.get(word, [])
        return self.wordnet.uses[word, senses.index(synset) + 1] if synset in senses else 0

    def noun_rows(self) -> Nouns:
        """Every noun: its senses, weighed by use and by how well their glosses fit the bare word, and its text."""
        names = sorted(self.nouns)
        synsets = sorted({s for senses in self.nouns.values() for s in senses})
        number = {s: k for k, s in enumerate(synsets)}
        to_known = self.likeness(synsets)
        directions, likeness = self._pointing(synsets, to_known), self._class_likeness(synsets, to_known)
        glosses, texts, alone = self.gloss(synsets), self.sentences(names), self.texts(names)
        rows, likes, main = [], [], []
        for name, text, own in zip(names, texts, alone, strict=True):
            senses = self._senses_of(name)
            at = [number[s] for s in senses]
            shares = np.array([self.wordnet.share(word, s) for s, word in senses.items()])
            weights = shares * np.exp((glosses[at] @ text - 1) / FIT)
            weights /= weights.sum()
            rows.append(weights @ directions[at] + TEXT_SHARE * own)
            likes.append(weights @ likeness[at])
            main.append(synsets[at[int(weights.argmax())]])
        return Nouns(names, unit(np.stack(rows)), np.stack(likes), main)

    def _senses_of(self, name: str) -> dict[str, str]:
        """The visible senses of a noun and the form it has them from: shoes are a shoe, pants also pant."""
        single = name.removesuffix("s")
        found = dict.fromkeys(self.nouns.get(single, []), single) if single != name else {}
        return found | dict.fromkeys(self.nouns[name], name)

    def _class_likeness(self, synsets: list[str], to_known: np.ndarray) -> np.ndarray:
        """Of each sense to each class (S, 1000): 1 where it stands above the class, 0 for a class held out."""
        order = {s: k for k, s in enumerate(self.known)}
        row = {s: k for k, s in enumerate(synsets)}
        among = [order[CLASS_SYNSETS[c]] for c in self.seen]
        found = np.zeros((len(synsets), 1000), np.float32)
        found[:, self.seen] = to_known[:, among]
        for c in self.seen:
            for sense in self.wordnet.ancestors(CLASS_SYNSETS[c]):
                if sense in row:
                    found[row[sense], c] = 1
        return found


@dataclass(frozen=True)
class Nouns:
    """N nouns for visible things.

    rows       (N, 512) unit
    likeness   (N, 1000) to each class, 0 to 1
    main       the sense a picture of it most likely shows
    """

    names: list[str]
    rows: np.ndarray
    likeness: np.ndarray
    main: list[str]


def _words_of(text: str) -> list[str]:
    return [word for word in (part.strip(".,:;()\"'!?") for part in text.lower().split()) if word]


def _latin(word: str) -> bool:
    """A scientific name of two words, such as Quercus alba."""
    parts = word.split()
    return len(parts) == 2 and parts[0][0].isupper() and parts[1].islower() and len(parts[0]) > 4
