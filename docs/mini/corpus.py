"""Every text with its direction, sorted into pools, and the token embeddings to start from."""

from __future__ import annotations

import re

import numpy as np
import torch
import torch.nn.functional as F

from looks import Looks, synonyms
from sources import CLASS_NAMES, CLASS_SYNSETS, Sentences, encode, token_texts, tokenizer
from targets import Nouns, Targets
from texts import Pool, Reading, Steering

GLOSSED = ("artifact", "animal", "food", "plant")
LONGEST = 20  # tokens of a gloss
EMBEDDING_STD = 0.02  # as CLIP's, and as random contexts start


def reading(
    known: Targets,
    nouns: Nouns,
    rows: torch.Tensor,
    looks: Looks,
    *,
    width: int,
    seed: int,
) -> Reading:
    """All that is read in training.

    rows    (N, 512) the balanced directions of the nouns
    looks   directions by kind and word
    """
    like = {word: looks[kind][name] for word, (kind, name) in synonyms().items()}
    painted = {word for word, (kind, _) in synonyms().items() if kind != "look"}  # these are what they look like
    targets: list[torch.Tensor] = []
    pools: dict[str, Pool] = {}

    def add(sort: str, texts: list[tuple[tuple[int, ...], int, float]], directions: torch.Tensor) -> None:
        first = sum(len(t) for t in targets)
        targets.append(directions)
        pools[sort] = Pool([t for t, _, _ in texts], [first + k for _, k, _ in texts], [w for _, _, w in texts])

    add("classes", _class_texts(known, nouns), torch.from_numpy(known.directions).float())
    add("nouns", _noun_texts(known, nouns, painted), rows)
    words = [w for w in known.wordnet.total if _plain_word(w, known) and w not in like]
    uses = [float(np.log1p(known.wordnet.total[w])) for w in words]
    add(
        "words",
        [(encode(w), k, u) for k, (w, u) in enumerate(zip(words, uses, strict=True))],
        _float(known.texts(words)),
    )
    ids, token_rows = _tokens(known, {**dict(zip(nouns.names, rows, strict=True)), **_classes(known), **like})
    add("tokens", [((i,), k, 1.0) for k, i in enumerate(ids)], token_rows)
    senses = sorted({s for ss in known.nouns.values() for s in ss if known.wordnet.synsets[s].kind in GLOSSED})
    add("glosses", _gloss_texts(known, senses), _float(known.senses(senses)))
    plain = [(encode(w), k, 3.0 if w == synonyms()[w][1] else 1.0) for k, w in enumerate(like)]
    add("looks", plain, torch.stack(list(like.values())))
    table, turn = token_table(known.sentences, ids, token_rows, width=width, seed=seed)
    draw = torch.Generator().manual_seed(seed)
    steering = Steering(F.normalize(torch.randn(77, 512, generator=draw), dim=-1), turn)
    return Reading(torch.cat(targets), pools, [(encode(w), row) for w, row in like.items()], steering, table)


def _float(rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(rows).float()


def _classes(known: Targets) -> dict[str, torch.Tensor]:
    return {CLASS_NAMES[c]: torch.from_numpy(known.directions[c]).float() for c in known.seen}


def plural(noun: str) -> str:
    if noun.endswith("s"):
        return noun
    if re.search("(x|ch|sh)$", noun):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if re.search("[^aeiou]y$", noun) else f"{noun}s"


def _class_texts(known: Targets, nouns: Nouns) -> list[tuple[tuple[int, ...], int, float]]:
    """Usual names, their plurals, and the nouns whose main sense is the class."""
    number = {CLASS_SYNSETS[c]: c for c in known.seen}
    found = [(encode(CLASS_NAMES[c]), c, 3.0) for c in known.seen]
    found += [(encode(plural(CLASS_NAMES[c])), c, 0.3) for c in known.seen]
    pairs = zip(nouns.names, nouns.main, strict=True)
    return found + [(encode(n), number[s], 1.0) for n, s in pairs if s in number and n not in CLASS_NAMES]


def _noun_texts(known: Targets, nouns: Nouns, painted: set[str]) -> list[tuple[tuple[int, ...], int, float]]:
    """Nouns that are no class, common ones more often, long ones less."""
    classes = {CLASS_SYNSETS[c] for c in known.seen}
    found = []
    for k, (name, sense) in enumerate(zip(nouns.names, nouns.main, strict=True)):
        if name not in CLASS_NAMES and name not in painted and sense not in classes:
            weight = (1 + 0.8 * np.log1p(known.wordnet.total[name])) / (1 + 0.3 * max(0, len(encode(name)) - 3))
            found += [(encode(name), k, weight), (encode(plural(name)), k, 0.15 * weight)]
    return found


def _plain_word(word: str, known: Targets) -> bool:
    """A word met at least twice, that is no visible noun."""
    used = known.wordnet.total[word] > 1 and re.fullmatch(r"[a-z][a-z '\-]*", word)
    return bool(used) and word not in known.nouns and word not in known.hidden_words


def _tokens(known: Targets, named: dict[str, torch.Tensor]) -> tuple[list[int], torch.Tensor]:
    """Readable tokens and their directions: that of the word a token is, else by its text alone."""
    texts = [t.strip().lower() for t in token_texts()]
    special = len(texts) - 2
    ids = [i for i, t in enumerate(texts[:special]) if t.isascii() and re.search("[a-z0-9]", t)]
    ids = [i for i in ids if texts[i] not in known.hidden_words]
    whole = [tokenizer().decoder[i].endswith("</w>") for i in ids]
    alone = _float(known.texts([texts[i] for i in ids]))
    rows = [named.get(texts[i], row) if w else row for i, w, row in zip(ids, whole, alone, strict=True)]
    return ids, torch.stack(rows)


def _gloss_texts(known: Targets, senses: list[str]) -> list[tuple[tuple[int, ...], int, float]]:
    found = []
    for k, sense in enumerate(senses):
        gloss = encode(known.wordnet.synsets[sense].gloss)
        named = encode(f"{known.words(sense)[0].lower()}:") + gloss
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
