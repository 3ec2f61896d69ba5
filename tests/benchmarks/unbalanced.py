"""Classes of very different numbers of photos: what two of one beside twenty of the others come to.

    python tests/benchmarks/unbalanced.py photos/birds photos/clothing [--shots 20,20,2] [--draws 12] [--part test]

Each draw takes as many classes of train/ as --shots has numbers, shuffled, and so many photos of each, and measures on
all photos of these classes in test/ (with --part train on those of train/ that are left). Accuracy is the mean over
the classes in percent: mean ± deviation over the draws, and the least.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from promptctl.clip import templates
from promptctl.clip.quick import backbone_of
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.pipeline import encode_files
from promptctl.learners import clap, coop, head

Rows = np.ndarray


def features(folder: Path, part: str, labels: list[str], encoder) -> dict[str, Rows]:
    with FeatureCache() as cache:
        return {
            label: encode_files(sorted((folder / part / label).iterdir()), encoder, cache)[0].vectors
            for label in labels
        }


def head_without_help(*arguments, **options) -> head.FittedHead:
    help_given, head.HELP = head.HELP, 0.0
    try:
        return head.fit(*arguments, **options)
    finally:
        head.HELP = help_given


def ways(x: Rows, y: Rows, z: Rows, names: list[str], backbone, seed: int) -> dict[str, tuple[Rows, Rows | float]]:
    """Way → rows (C, E) and bias of logits divided by the scale."""
    scale = backbone.logit_scale
    fitted: dict[str, Callable[..., head.FittedHead]] = {"head without help": head_without_help, "head": head.fit}
    found: dict[str, tuple[Rows, Rows | float]] = {"zero-shot": (z, 0.0)}
    settings = coop.Settings(epochs=coop.fast_epochs(len(y) / len(z)), seed=seed)
    learned = coop.learn(x, y, names, backbone.tower, logit_scale=scale, settings=settings)
    found["coop"] = (learned.text_features, 0.0)
    rows = clap.learn(x, y, z, logit_scale=scale, settings=clap.Settings(seed=seed), balanced=True).text_features
    found["clap"] = (rows, 0.0)
    for name, fit in fitted.items():
        one = fit(x, y, z, logit_scale=scale, seed=seed)
        found[name] = (one.weight, one.bias / scale)
    return found


def drawn(folder: Path, counts: list[int], options: argparse.Namespace, backbone) -> dict[str, list[float]]:
    labels = sorted(path.name for path in (folder / "train").iterdir() if path.is_dir())
    train, test = (features(folder, part, labels, backbone.encoder) for part in ("train", "test"))
    accuracies: dict[str, list[float]] = {}
    for draw in range(options.draws):
        rng = np.random.default_rng(draw)
        chosen = [labels[i] for i in rng.permutation(len(labels))[: len(counts)]]
        order = [rng.permutation(len(train[label])) for label in chosen]
        x = np.concatenate([train[label][o[:n]] for label, o, n in zip(chosen, order, counts, strict=True)])
        left = [train[label][o[n:]] for label, o, n in zip(chosen, order, counts, strict=True)]
        unseen = left if options.part == "train" else [test[label] for label in chosen]
        names = [label.replace("_", " ") for label in chosen]
        z = templates.text_features(backbone.tower, names, "a photo of a {}.")
        y = np.repeat(np.arange(len(counts)), counts)
        for name, way in ways(x, y, z, names, backbone, draw + 1).items():
            accuracies.setdefault(name, []).append(accuracy(way, unseen))
    return accuracies


def accuracy(way: tuple[Rows, Rows | float], unseen: list[Rows]) -> float:
    """Of rows and bias on the images of each class, the mean over the classes in percent."""
    rows, bias = way
    right = [((one @ rows.T + bias).argmax(1) == c).mean() for c, one in enumerate(unseen) if len(one)]
    return 100 * float(np.mean(right))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--shots", type=lambda text: [int(n) for n in text.split(",")], default=[20, 20, 2])
    parser.add_argument("--draws", type=int, default=12)
    parser.add_argument("--part", choices=["test", "train"], default="test")
    options = parser.parse_args()
    torch.set_num_threads(1)
    backbone = backbone_of("mini", "cpu")
    print(f"| {'/'.join(map(str, options.shots))} | " + " | ".join(folder.name for folder in options.folders) + " |")
    columns = [drawn(folder, options.shots, options, backbone) for folder in options.folders]
    for name in columns[0]:
        cells = [f"{np.mean(c[name]):.1f} ± {np.std(c[name]):.1f}, {np.min(c[name]):.1f}" for c in columns]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
