"""Features that lie close together, as CLIP's do: what CLAP and the head learn from the same photos in a cone.

    python tests/benchmarks/cone.py photos/birds photos/clothing photos/textures [--draws 3]

Features f and text features z of `mini`, whose logit scale is 20, get a number of their own each, (f, w) and (z, w),
that is the same for all, and are made unit rows again. With w = 2 the cosine of any two photos is 0.8 and more, and a
scale of 100 gives the same zero-shot logits as before. Each draw takes shots of every class of train/ and measures on
the photos of train/ that are left: accuracy, the mean over the classes, in percent.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from unbalanced import Rows, accuracy, features

from promptctl.clip import templates
from promptctl.clip.quick import backbone_of
from promptctl.learners import clap, head

WIDTHS = (0.0, 1.0, 1.5, 2.0)
SHOTS = (1, 2, 4, 16)


def beside(rows: Rows, own: int, width: float) -> Rows:
    """(N, E + 2) unit rows"""
    constant = np.full((len(rows), 2), width * np.eye(2)[own])
    return np.asarray(np.hstack([rows, constant]) / math.hypot(1, width), np.float32)


def answers(x: Rows, y: Rows, z: Rows, scale: float) -> dict[str, tuple[Rows, Rows | float]]:
    """Way → rows (C, E) and bias of logits divided by the scale."""
    found: dict[str, tuple[Rows, Rows | float]] = {"zero-shot": (z, 0.0)}
    usual = clap.SCALE_OF_UNIT_ROWS
    for suffix, unit in ((", unit rows", math.inf), ("", usual)):
        clap.SCALE_OF_UNIT_ROWS = unit
        rows = clap.learn(x, y, z, logit_scale=scale, settings=clap.Settings()).text_features
        one = head.fit(x, y, z, logit_scale=scale)
        found |= {f"clap{suffix}": (rows, 0.0), f"head{suffix}": (one.weight, one.bias / scale)}
    return found


def drawn(folder: Path, width: float, shots: int, draws: int, backbone) -> dict[str, list[float]]:
    labels = sorted(path.name for path in (folder / "train").iterdir() if path.is_dir())
    train = features(folder, "train", labels, backbone.encoder)
    z = templates.text_features(backbone.tower, [label.replace("_", " ") for label in labels], "a photo of a {}.")
    z, scale = beside(z, 1, width), backbone.logit_scale * (1 + width**2)
    accuracies: dict[str, list[float]] = {}
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        order = [rng.permutation(len(train[label])) for label in labels]
        chosen = [beside(train[label], 0, width)[o] for label, o in zip(labels, order, strict=True)]
        x, left = np.concatenate([rows[:shots] for rows in chosen]), [rows[shots:] for rows in chosen]
        y = np.repeat(np.arange(len(labels)), shots)
        for name, way in answers(x, y, z, scale).items():
            accuracies.setdefault(name, []).append(accuracy(way, left))
    return accuracies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--draws", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    backbone = backbone_of("mini", "cpu")
    for width in WIDTHS:
        title = f"scale {backbone.logit_scale * (1 + width**2):g}, photos alike by {width**2 / (1 + width**2):.2f}"
        print(f"| {title} | " + " | ".join(map(str, SHOTS)) + " |")
        columns = [
            [drawn(folder, width, shots, options.draws, backbone) for folder in options.folders] for shots in SHOTS
        ]
        for name in columns[0][0]:
            cells = [f"{np.mean([np.mean(one[name]) for one in column]):.1f}" for column in columns]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
