"""Take the hubs out of the nouns: words that would win pictures of everything.

The mean of many directions lies near everything, and a word placed there attracts half of all pictures. So nouns sit a
quiz: a picture is drawn (a feature, as in directions.py), and some nouns of one part of WordNet say how well they fit;
their directions move until they say so as WordNet and the sentence model do, and no more than that.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from directions import Head, draw_features
from sources import CLASS_SYNSETS, Projection
from targets import Nouns, Targets

PICTURES, WORDS, QUIZZES = 96, 48, 8  # of one quiz, of one quiz, of one step
DOUBT = 0.3  # what likeness says is raised to 1 / DOUBT
STAY = 0.6  # weight of staying where regression put a noun
RATE = 2e-3
SCALE = 26.0  # of cosines, while the nouns answer


def balance(nouns: Nouns, known: Targets, head: Head, project: Projection, *, steps: int, seed: int) -> torch.Tensor:
    """Unit rows (N, 512) of the nouns, balanced. A noun that is a class has its direction and keeps it."""
    draw = torch.Generator().manual_seed(seed)
    classes = [known.class_of.get(sense, -1) for sense in nouns.main]
    fixed = torch.tensor(classes) >= 0
    start = torch.from_numpy(nouns.rows).float()
    start[fixed] = torch.from_numpy(known.directions[[c for c in classes if c >= 0]]).float()
    likeness = torch.from_numpy(nouns.likeness).float().clamp(min=1e-3)
    parts = _parts(nouns, known)
    weight = torch.tensor([len(words) ** 0.5 for _, words in parts])
    table = torch.nn.Embedding.from_pretrained(start.clone(), freeze=False, sparse=True)
    adam = torch.optim.SparseAdam(table.parameters(), lr=RATE)
    falling = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step / steps)
    for _ in range(steps):
        loss = torch.zeros(())
        for k in torch.multinomial(weight, QUIZZES, generator=draw).tolist():
            classes, words = parts[k]
            asked = words[torch.randperm(len(words), generator=draw)[:WORDS]]
            rows = torch.where(fixed[asked, None], start[asked], F.normalize(table(asked), dim=-1))
            features, shown = draw_features(head, PICTURES, draw, among=classes)
            fits = likeness[asked][:, shown].T  # (PICTURES, WORDS)
            wanted = F.log_softmax(fits.log() / DOUBT, 1)
            said = F.log_softmax(SCALE * project(features) @ rows.T, 1)
            wrong = F.kl_div(said, wanted, log_target=True, reduction="none").sum(1)
            loss = loss + (fits.amax(1) * wrong).mean() + STAY * (1 - (rows * start[asked]).sum(1)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        falling.step()
    return torch.where(fixed[:, None], start, F.normalize(table.weight.detach(), dim=-1))


def _parts(nouns: Nouns, known: Targets) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The classes and the nouns below every sense that has enough of both; the topmost has all."""
    classes: dict[str, list[int]] = {}
    words: dict[str, list[int]] = {}
    for c in known.seen:
        for sense in known.wordnet.ancestors(CLASS_SYNSETS[c]):
            classes.setdefault(sense, []).append(c)
    for n, synset in enumerate(nouns.main):
        for sense in known.wordnet.ancestors(synset):
            words.setdefault(sense, []).append(n)
    large = [s for s in classes if len(classes[s]) >= 4 and len(words.get(s, ())) >= 20]
    return [(torch.tensor(classes[s]), torch.tensor(words[s])) for s in large]
