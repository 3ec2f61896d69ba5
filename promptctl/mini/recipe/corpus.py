"""Every text with its direction, sorted into pools, and the token embeddings to start from."""

from __future__ import annotations

import re

import numpy as np
import torch

from directions import raised
from looks import Looks, synonyms
from sources import CLASS_NAMES, Sentences, encode, token_texts, tokenizer
from targets import Nouns, Targets
from texts import Pool, Reading, steering
from tower import START

GLOSSED = ("artifact", "animal", "food", "plant")
LONGEST = 20  # tokens of a gloss
Text = tuple[tuple[int, ...], int, float]  # its tokens, the number of its direction, how often it is read
RAISED = 0.04  # share of the mean picture in every direction but a class's; see README.md
EMBEDDING_STD = 0.02  # as CLIP's, and as random contexts start


def reading(
    known: Targets,
    nouns: Nouns,
    rows: torch.Tensor,
    looks: Looks,
    mean: torch.Tensor,
    *,
    width: int,
    seed: int,
) -> Reading:
    """All that is read in training.

    rows    (N, 512) the balanced directions of the nouns
    looks   directions by kind and word
    mean    (512) the mean picture
    """
    stands_for = synonyms()

    def up(directions: torch.Tensor) -> torch.Tensor:
        return raised(directions, mean, RAISED)

    like = {word: up(looks[kind][name]) for word, (kind, name) in stands_for.items()}
    rows = up(rows)
    targets: list[torch.Tensor] = []
    pools: dict[str, Pool] = {}
    taken: set[tuple[int, ...]] = set()

    def add(sort: str, texts: list[Text], directions: torch.Tensor) -> None:
        """A text has one target, that of the pool which comes first."""
        first = sum(len(t) for t in targets)
        targets.append(directions)
        new = [text for text in texts if text[0] not in taken]
        taken.update(tokens for tokens, _, _ in new)
        pools[sort] = Pool([t for t, _, _ in new], [first + k for _, k, _ in new], [w for _, _, w in new])

    add("classes", _class_texts(known, nouns, set(like)), raised(_float(known.directions), mean, 0))
    main = [(encode(w), k, 3.0 if w == stands_for[w][1] else 1.0) for k, w in enumerate(like) if not known.hides(w)]
    add("looks", main, torch.stack(list(like.values())))
    add("nouns", _noun_texts(known, nouns), rows)
    words = [w for w in known.wordnet.total if _plain_word(w, known)]
    uses = [float(np.log1p(known.wordnet.total[w])) for w in words]
    counted = [(encode(w), k, u) for k, (w, u) in enumerate(zip(words, uses, strict=True))]
    add("words", counted, up(_float(known.texts(words))))
    senses = sorted({s for ss in known.nouns.values() for s in ss if known.wordnet.synsets[s].kind in GLOSSED})
    add("glosses", _gloss_texts(known, senses), up(_float(known.senses(senses))))
    ids, texts, token_rows = _tokens(known, {**dict(zip(nouns.names, rows, strict=True)), **like, **_classes(known)})
    single = [((i,), k, 1.0) for k, (i, text) in enumerate(zip(ids, texts, strict=True)) if not known.hides(text)]
    add("tokens", single, up(token_rows))
    table, turn = token_table(known.sentences, ids, token_rows, width=width, seed=seed)
    changes = [(encode(word), row) for word, row in like.items() if not known.hides(word)]
    return Reading(torch.cat(targets), pools, changes, steering(turn, mean, seed=seed + 1), table)


def _float(rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(rows).float()


def _classes(known: Targets) -> dict[str, torch.Tensor]:
    return {CLASS_NAMES[c]: _float(known.directions[c]) for c in known.seen}


def plural(noun: str) -> str:
    if noun.endswith("s"):
        return noun
    if re.search("(x|ch|sh)$", noun):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if re.search("[^aeiou]y$", noun) else f"{noun}s"


def _class_texts(known: Targets, nouns: Nouns, painted: set[str]) -> list[Text]:
    """Usual names, the nouns whose main sense is the class, then plurals that are nothing else."""
    found = [(encode(CLASS_NAMES[c]), c, 3.0) for c in known.seen]
    pairs = zip(nouns.names, nouns.main, strict=True)
    found += [(encode(n), known.class_of[s], 1.0) for n, s in pairs if s in known.class_of and n not in painted]
    words = {*nouns.names, *CLASS_NAMES, *painted}
    found += [(encode(plural(CLASS_NAMES[c])), c, 0.3) for c in known.seen if plural(CLASS_NAMES[c]) not in words]
    return _once(found)


def _noun_texts(known: Targets, nouns: Nouns) -> list[Text]:
    """Nouns, common ones more often, long ones less; then their plurals."""
    uses = [known.wordnet.total[name] for name in nouns.names]
    extra = [max(0, len(encode(name)) - 3) for name in nouns.names]
    weights = [(1 + 0.8 * np.log1p(n)) / (1 + 0.3 * more) for n, more in zip(uses, extra, strict=True)]
    found = [(encode(name), k, w) for k, (name, w) in enumerate(zip(nouns.names, weights, strict=True))]
    found += [(encode(plural(name)), k, 0.15 * w) for k, (name, w) in enumerate(zip(nouns.names, weights, strict=True))]
    return _once(found)


def _once(texts: list[Text]) -> list[Text]:
    """Of texts that are the same, the first."""
    return list({tokens: (tokens, row, weight) for tokens, row, weight in reversed(texts)}.values())[::-1]


def _plain_word(word: str, known: Targets) -> bool:
    """A word met at least twice, that is no visible noun."""
    used = known.wordnet.total[word] > 1 and re.fullmatch(r"[a-z][a-z '\-]*", word)
    return bool(used) and word not in known.nouns and not known.hides(word)


def _tokens(known: Targets, named: dict[str, torch.Tensor]) -> tuple[list[int], list[str], torch.Tensor]:
    """Readable tokens, what they read and their directions: that of the word a token is, else by its text alone."""
    read = [t.strip().lower() for t in token_texts()]
    ids = [i for i, t in enumerate(read[:START]) if t.isascii() and re.search("[a-z0-9]", t)]
    texts = [read[i] for i in ids]
    whole = [tokenizer().decoder[i].endswith("</w>") for i in ids]
    alone = _float(known.texts(texts))
    rows = [named.get(text, row) if w else row for text, w, row in zip(texts, whole, alone, strict=True)]
    return ids, texts, torch.stack(rows)


def _gloss_texts(known: Targets, senses: list[str]) -> list[Text]:
    found = []
    for k, sense in enumerate(senses):
        if known.hides(known.wordnet.synsets[sense].gloss):
            continue
        gloss = encode(known.wordnet.synsets[sense].gloss)
        named = encode(f"{known.words(sense)[0].lower()}:") + gloss if known.words(sense) else ()
        found += [(text[:LONGEST], k, 1.0) for text in (gloss, named) if text]
    return found


def token_table(
    sentences: Sentences, ids: list[int], directions: torch.Tensor, *, width: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token embeddings to start from (V, W), and the turn (W, 512) that best brings them to their directions.

    A token starts where its text and its direction put it: principal axes of both, as the nearest neighbours in CLIP's
    own table are words of like meaning. Tokens that cannot be read start at random.
    """
    texts = [text.strip().lower() for text in token_texts()]
    text = sentences([texts[i] for i in ids])
    rows = directions.numpy()
    parts = [part - part.mean(0) for part in (text, rows)]
    both = np.concatenate([part / part.std() / part.shape[1] ** 0.5 for part in parts], 1)
    values, axes = np.linalg.eigh(both.T @ both / len(both))
    values, axes = values[::-1][:width], axes[:, ::-1][:, :width]
    start = both @ axes / values**0.25  # the spread of the axes, softened
    start *= EMBEDDING_STD / start.std()
    table = 0.5 * EMBEDDING_STD * torch.randn(len(texts), width, generator=torch.Generator().manual_seed(seed))
    table[torch.tensor(ids)] = _float(start)
    left, _, right = np.linalg.svd(start.T @ parts[1], full_matrices=False)
    return table, _float(left @ right)
