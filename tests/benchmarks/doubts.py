"""How many wrong labels doctor finds, and how many right ones it doubts: python doubts.py FOLDER …

Each folder has train/ with class folders. Of sixteen photos of each class a tenth is given the label of another class
by chance; the same photos with their right labels say what is doubted without cause. Five seeds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from promptctl.classification.blend import as_kept
from promptctl.classification.doubts import PROBABLY, Seen, seen
from promptctl.clip import templates
from promptctl.clip.quick import backbone_of
from promptctl.data.folder import ImageFolder
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.pipeline import encode_files
from promptctl.learners import head

SHOTS = 16
WRONG = 0.1  # share of the labels
SEEDS = 5


def sampled(targets: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Rows of SHOTS images of each class."""
    return np.concatenate([chance.permutation(np.flatnonzero(targets == c))[:SHOTS] for c in np.unique(targets)])


def some_wrong(true: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """The labels, a tenth of them those of another class."""
    given, classes = true.copy(), true.max() + 1
    bad = chance.permutation(len(true))[: round(WRONG * len(true))]
    given[bad] = (true[bad] + chance.integers(1, classes, len(bad))) % classes
    return given


def looked_at(x: np.ndarray, labels: np.ndarray, zero_shot: np.ndarray, scale: float) -> Seen:
    """As doctor sees a version without images held out."""
    folds = head.fit(x, labels, zero_shot, logit_scale=scale).predicted
    return seen(x, labels, np.arange(len(x)), np.zeros(len(x), bool), folds)


def measure(folder: Path) -> None:
    backbone = backbone_of("mini", "cpu")
    images = ImageFolder.scan(folder).only("train")
    labels = sorted({image.label for image in images})
    with FeatureCache() as cache:
        features, _ = encode_files([image.path for image in images], backbone.encoder, cache)
    label_of = {image.path: image.label for image in images}
    targets = np.array([labels.index(label_of[path]) for path in features.paths])
    zero_shot = templates.text_features(
        backbone.tower, [label.replace("_", " ") for label in labels], templates.DEFAULT
    )
    total = np.zeros(8)
    for seed in range(SEEDS):
        chance = np.random.default_rng(seed)
        rows = sampled(targets, chance)
        x, true = as_kept(features.vectors[rows].astype(np.float16).astype(np.float32)), targets[rows]
        given = some_wrong(true, chance)
        found, clean = (looked_at(x, of, zero_shot, backbone.logit_scale) for of in (given, true))
        doubted, wrong = np.array(found.doubtful(), np.int64), given != true
        sure = doubted[found.margin[doubted] >= PROBABLY]
        right = found.best[doubted] == true[doubted]
        of_clean = np.array(clean.doubtful(), np.int64)
        total += [
            *(len(doubted), wrong[doubted].sum(), len(sure), wrong[sure].sum(), wrong.sum()),
            *((right & wrong[doubted]).sum(), len(of_clean), (clean.margin[of_clean] >= PROBABLY).sum()),
        ]
    every, hits, sure_n, sure_hits, bad, suggested, clean_n, clean_sure = total
    print(
        f"{folder.name}: {bad / SEEDS:.0f} wrong of {len(rows)}; doubted {every / SEEDS:.1f}, precision"
        f" {100 * hits / every:.0f} %, recall {100 * hits / bad:.0f} %, suggestion right"
        f" {100 * suggested / hits:.0f} %; probably wrong {sure_n / SEEDS:.1f}, {100 * sure_hits / sure_n:.0f} %,"
        f" {100 * sure_hits / bad:.0f} %;"
        f" of right labels doubted {clean_n / SEEDS:.1f}, probably {clean_sure / SEEDS:.1f}",
        flush=True,
    )


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        measure(Path(argument))
