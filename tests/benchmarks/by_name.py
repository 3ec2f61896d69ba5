"""Classes added by name alone: how often they and the others are recognised, beside zero-shot.

    python tests/benchmarks/by_name.py photos/birds emu,rooster flamingo,emu

learns 8 shots of every class but the two from train/, adds the two by `class add`, and measures on all of test/, once
for every pair. Accuracy is the mean over classes, in percent.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from pathlib import Path

import numpy as np

from promptctl import Store, commands, learn
from promptctl.classification.classifier import Classifier
from promptctl.clip.quick import backbone_of
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.pipeline import Features, encode_files
from promptctl.learners.head import HELP

SHOTS = 8


def measured(photos: Path, new: list[str]) -> dict[str, tuple[float, float, float]]:
    """Row → accuracy of the new classes, of the others, and of all."""
    labels = sorted(path.name for path in (photos / "train").iterdir() if path.is_dir())
    with tempfile.TemporaryDirectory() as folder:
        for label in set(labels) - set(new):
            (Path(folder) / label).symlink_to((photos / "train" / label).resolve(), target_is_directory=True)
        store = Store(Path(folder) / ".store")
        learn(folder, "c", shots=SHOTS, store=store)
        commands.add_classes("c", new, force=True, store=store)
        context = store["c"]
    head = Classifier.of(context)
    rows = {
        "zero-shot": Classifier.zero_shot(context),
        "the context alone, no head": Classifier.of(context, head=False),
        "head, without the offset": dataclasses.replace(head, bias=None),
        "head, the whole offset": dataclasses.replace(head, bias=head.bias / HELP),
        "head": head,
    }
    features = tested(photos, labels)
    true = np.array([context.card.labels.index(path.parent.name) for path in features.paths])
    return {name: by_class(row, features, true, len(new)) for name, row in rows.items()}


def tested(photos: Path, labels: list[str]) -> Features:
    files = [path for label in labels for path in sorted((photos / "test" / label).iterdir())]
    with FeatureCache() as cache:
        return encode_files(files, backbone_of("mini", "cpu").encoder, cache)[0]


def by_class(row: Classifier, features: Features, true: np.ndarray, n_new: int) -> tuple[float, float, float]:
    right = row.predict(features.vectors).best == true
    per_class = np.array([100 * right[true == c].mean() for c in np.unique(true)])
    return float(per_class[-n_new:].mean()), float(per_class[:-n_new].mean()), float(per_class.mean())


def main() -> None:
    found = [measured(Path(sys.argv[1]), pair.split(",")) for pair in sys.argv[2:]]
    for name in found[0]:
        new, others, every = np.mean([one[name] for one in found], 0)
        print(f"{name:28} new {new:5.1f}   others {others:5.1f}   all {every:5.1f}")


if __name__ == "__main__":
    main()
