"""Figures that need no photo: how well classes are found whose names the tower never read."""

from __future__ import annotations

import torch

from directions import Head, draw_features, raised
from sources import CLASS_NAMES, CLASS_SYNSETS, Projection
from targets import Targets

PICTURES = 20_000


def near_their_own(texts: torch.Tensor, known: Targets) -> float:
    """Mean cosine of the texts of classes (1000, 512) to their directions, over the classes the tower may know."""
    return float((texts[known.seen] * torch.from_numpy(known.directions[known.seen])).sum(1).mean())


def read_found(texts: torch.Tensor, known: Targets, head: Head, project: Projection) -> dict[str, float]:
    """Percent of drawn pictures of the classes the tower may know that their own text is nearest to, among all 1000."""
    seen, shown = _pictures(head, project, known.seen, seed=2)
    directions = torch.from_numpy(known.directions).float()
    return {"text": _found(seen, shown, texts), "true directions": _found(seen, shown, directions)}


def share_of_mean(texts: torch.Tensor, known: Targets, mean: torch.Tensor) -> dict[str, dict[str, float]]:
    """How much of the mean picture (512) the texts of classes have, read and held out: mean and deviation."""
    share = texts @ mean
    sorts = {"read": known.seen, "held": sorted(known.held)}
    return {who: {"mean": share[of].mean().item(), "std": share[of].std().item()} for who, of in sorts.items()}


def held_out(
    texts: torch.Tensor, known: Targets, head: Head, project: Projection, mean: torch.Tensor
) -> dict[str, dict[str, float]]:
    """Percent of pictures of held-out classes that their own text is nearest to, among all 1000 and among the held.

    The pictures are drawn as in directions.py, any other class beside the held one. "text" is the tower's (1000, 512),
    also with nothing along the mean picture (512). The others say the held classes in another way and the 900 by their
    true directions: by what regression makes of name, gloss and place in WordNet, or of the name alone (the tower reads
    no more than that), or truly.
    Classes that share a name count as one.
    """
    held = sorted(known.held)
    seen, shown = _pictures(head, project, held, seed=1)
    directions = torch.from_numpy(known.directions).float()
    by_sense, by_name = directions.clone(), directions.clone()
    by_sense[held] = torch.from_numpy(known.senses([CLASS_SYNSETS[c] for c in held])).float()
    by_name[held] = torch.from_numpy(known.texts([CLASS_NAMES[c] for c in held])).float()
    rows_of = {"text": texts, "text, nothing along the mean picture": raised(texts, mean, 0)}
    rows_of |= {"regression": by_sense, "regression, name alone": by_name, "true directions": directions}
    return {
        who: {"among 1000": _found(seen, shown, rows), "among the held": _found(seen, shown, rows, held)}
        for who, rows in rows_of.items()
    }


def _pictures(head: Head, project: Projection, among: list[int], *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of these classes in the joint space (PICTURES, 512), any class beside them, and the class of each."""
    every = torch.arange(len(head.weight))
    draw = torch.Generator().manual_seed(seed)
    features, shown = draw_features(head, PICTURES, draw, among=torch.tensor(among), beside=every)
    return project(features), shown


def _found(seen: torch.Tensor, shown: torch.Tensor, rows: torch.Tensor, among: list[int] | None = None) -> float:
    chosen = torch.arange(1000) if among is None else torch.tensor(among)
    said = chosen[(seen @ rows[chosen].T).argmax(1)].tolist()
    return 100 * sum(CLASS_NAMES[a] == CLASS_NAMES[b] for a, b in zip(said, shown.tolist(), strict=True)) / len(said)
