"""Two folds: what a head of two photos a class comes to where folds of them may mix it with zero-shot, or may not.

    python tests/benchmarks/two_folds.py photos/clothing photos/textures [--shots 2] [--draws 24] [--part train]

Each draw takes 2, 3, 5 or 10 classes, --shots photos of each, and measures on up to thirty others of each class of the
same part. Accuracy is the mean over the classes in percent, and over the draws.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from promptctl.clip import templates
from promptctl.clip.quick import backbone_of
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.pipeline import encode_files
from promptctl.learners import head

CLASSES = (2, 3, 5, 10)
MEASURED = 30  # photos of a class


def features(folder: Path, encoder) -> dict[str, np.ndarray]:
    with FeatureCache() as cache:
        return {
            label.name: encode_files(sorted(label.iterdir()), encoder, cache)[0].vectors
            for label in sorted(folder.iterdir())
        }


def fitted(x, y, z, scale: float, *, two_decide: bool) -> head.FittedHead:
    usual = head._FOLDS_THAT_DECIDE
    head._FOLDS_THAT_DECIDE = 1 if two_decide else usual
    try:
        return head.fit(x, y, z, logit_scale=scale)
    finally:
        head._FOLDS_THAT_DECIDE = usual


def drawn(rows: dict[str, np.ndarray], n_classes: int, shots: int, draw: int, backbone) -> tuple[float, ...]:
    """The share that folds would choose, and the accuracy of the head, of that mix and of zero-shot."""
    chance, labels = np.random.default_rng([n_classes, shots, 0, draw]), list(rows)
    some = [labels[i] for i in chance.permutation(len(labels))[:n_classes]]
    order = [chance.permutation(len(rows[label])) for label in some]
    x = np.concatenate([rows[label][own[:shots]] for label, own in zip(some, order, strict=True)])
    others = [rows[label][own[shots : shots + MEASURED]] for label, own in zip(some, order, strict=True)]
    y, scale = np.repeat(np.arange(n_classes), shots), backbone.logit_scale
    z = templates.text_features(backbone.tower, [label.replace("_", " ") for label in some], templates.DEFAULT)
    alone, mix = (fitted(x, y, z, scale, two_decide=decide) for decide in (False, True))

    def accuracy(weight, bias) -> float:
        right = [(((scale * of @ weight.T + bias).argmax(1)) == c).mean() for c, of in enumerate(others)]
        return 100 * float(np.mean(right))

    return mix.share, *(accuracy(one.weight, one.bias) for one in (alone, mix)), accuracy(z, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--shots", type=int, default=2)
    parser.add_argument("--draws", type=int, default=24)
    parser.add_argument("--part", default="train")
    options = parser.parse_args()
    torch.set_num_threads(1)
    backbone = backbone_of("mini", "cpu")
    print("| | classes | head | mixed as two folds say | zero-shot | doubted | mixed is worse | zero-shot is worse |")
    print("|---|---|---|---|---|---|---|---|")
    for folder in options.folders:
        rows = features(folder / options.part, backbone.encoder)
        for n in (n for n in CLASSES if n <= len(rows)):
            found = np.array([drawn(rows, n, options.shots, draw, backbone) for draw in range(options.draws)])
            share, alone, mix, zero_shot = found.T
            doubted = share < 1
            means = " | ".join(f"{column.mean():.1f}" for column in (alone, mix, zero_shot))
            worse = [int((doubted & (alone > other + 1e-9)).sum()) for other in (mix, zero_shot)]
            print(f"| {folder.name} | {n} | {means} | {doubted.sum()} of {len(found)} | {worse[0]} | {worse[1]} |")


if __name__ == "__main__":
    main()
