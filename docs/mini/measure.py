"""Figures that need no photo: how well classes are found whose names the tower never read."""

from __future__ import annotations

import numpy as np
import torch
from open_clip.model import CLIP

from directions import Head, draw_features
from sources import CLASS_SYNSETS, Projection
from targets import Targets
from train import class_texts

PICTURES = 20_000


def held_out(model: CLIP, known: Targets, head: Head, project: Projection) -> dict[str, dict[str, float]]:
    """Percent of held-out classes found by text, beside what regression makes of name, gloss and place in WordNet.

    direction   the text's nearest direction among all 1000 is its own
    picture     a drawn picture (directions.py) of a held-out class has its own text nearest among all 1000; the other
                900 answer with their texts, or with their directions beside regression
    """
    held = sorted(known.held)
    directions = torch.from_numpy(known.directions).float()
    regressed = directions.clone()
    regressed[held] = torch.from_numpy(known.senses([CLASS_SYNSETS[c] for c in held])).float()
    features, shown = draw_features(head, PICTURES, torch.Generator().manual_seed(1), among=torch.tensor(held))
    seen = project(features)
    return {
        who: {"direction": _own(rows[held], directions, held), "picture": _found(seen, shown, rows)}
        | {"picture among the held": _found(seen, shown, rows, held)}
        for who, rows in (("text", class_texts(model)), ("regression", regressed), ("true directions", directions))
    }


def _own(rows: torch.Tensor, directions: torch.Tensor, held: list[int]) -> float:
    return 100 * float(np.mean((rows @ directions.T).argmax(1).numpy() == np.array(held)))


def _found(seen: torch.Tensor, shown: torch.Tensor, rows: torch.Tensor, among: list[int] | None = None) -> float:
    chosen = torch.arange(1000) if among is None else torch.tensor(among)
    return 100 * (chosen[(seen @ rows[chosen].T).argmax(1)] == shown).float().mean().item()
