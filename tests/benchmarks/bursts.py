"""Bursts answered as one, on bursts that are made up: python bursts.py FOLDER … [--draws 3]

Each folder has train/ and test/ with class folders. From 1, 4 and 16 shots of each class, drawn anew for each seed,
top-1 in percent over all photos, of

alone          each photo by itself: the baseline
one subject    one photo seen several times, as by a hand that moves: cropped to 60 to 100 % of its area, turned by up
               to 10 degrees, lighter or darker by up to 40 %, blurred a little, compressed; alone is of these
one class      different photos of one class, as of a flock
one stranger   the same with one photo of another class among them, as where a burst does not end in time

bursts of 2, 3, 5 and 10 photos. The mean of log-probabilities, which `--burst` takes, stands beside the mean of
probabilities and the vote of the photos (a tie goes to the more probable).
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from promptctl import LearnSettings, Store, learn
from promptctl.classification.classifier import Classifier
from promptctl.clip.quick import backbone_of
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.decode import decode
from promptctl.encoding.pipeline import encode_files

SHOTS = (1, 4, 16)
SIZES = (2, 3, 5, 10)
MOST_SEEN = 200  # photos that are seen several times: ten times each


def seen_again(path: Path, chance: np.random.Generator) -> Image.Image:
    """A photo as the next of a burst may be."""
    picture = decode(path.read_bytes())
    picture = picture.rotate(chance.uniform(-10, 10), Image.Resampling.BICUBIC, fillcolor=(128, 128, 128))
    side = np.sqrt(chance.uniform(0.6, 1.0))
    width, height = (max(1, round(side * length)) for length in picture.size)
    left, top = (
        int(chance.integers(0, whole - part + 1)) for whole, part in zip(picture.size, (width, height), strict=True)
    )
    picture = picture.crop((left, top, left + width, top + height))
    picture = ImageEnhance.Brightness(picture).enhance(chance.uniform(0.6, 1.4))
    file = io.BytesIO()
    quality = int(chance.integers(40, 90))
    picture.filter(ImageFilter.GaussianBlur(chance.uniform(0, 1))).save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def features_of(folder: Path, labels: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(N, E) of the test photos and their (N,) classes; (M, 10, E) of some seen ten times, and theirs."""
    encoder = backbone_of("mini", "cpu").encoder
    files = [path for label in labels for path in sorted((folder / "test" / label).iterdir())]
    with FeatureCache() as cache:
        found, _ = encode_files(files, encoder, cache)
    targets = np.array([labels.index(path.parent.name) for path in found.paths])
    chance = np.random.default_rng(0)
    some = np.sort(chance.permutation(len(found))[:MOST_SEEN])
    views = [
        encoder.encode(np.stack([encoder.preprocess(seen_again(found.paths[i], chance)) for _ in range(max(SIZES))]))
        for i in some
    ]
    return found.vectors, targets, np.array(views), targets[some]


def answers(probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Rule → (B,) the class of each burst; (B, K, C) probabilities."""
    votes = np.eye(probabilities.shape[2])[probabilities.argmax(2)].sum(1) + 1e-3 * probabilities.mean(1)
    logs = np.log(np.maximum(probabilities, 1e-300))
    return {"logs": logs.mean(1).argmax(1), "mean": probabilities.mean(1).argmax(1), "vote": votes.argmax(1)}


def of_one_class(targets: np.ndarray, size: int, chance: np.random.Generator) -> np.ndarray:
    """(B, K) places of photos of one class, each photo in at most one burst."""
    found = [np.empty((0, size), np.int64)]
    for c in np.unique(targets):
        places = chance.permutation(np.flatnonzero(targets == c))
        found.append(places[: len(places) // size * size].reshape(-1, size))
    return np.concatenate(found)


def measured(
    classifier: Classifier, x: np.ndarray, targets: np.ndarray, views: np.ndarray, of_views: np.ndarray, seed: int
) -> Iterator[tuple[str, int, dict[str, float]]]:
    """(kind, size, rule → top-1 over photos) of one classifier; rule "alone" is the baseline on the same photos."""
    chance = np.random.default_rng(seed)
    own, of_seen = classifier.predict(x).probabilities, classifier.predict(views.reshape(-1, x.shape[1])).probabilities
    of_seen = of_seen.reshape(*views.shape[:2], -1)
    for size in SIZES:
        probabilities = of_seen[:, :size]
        yield "one subject", size, scores(probabilities, np.repeat(of_views[:, None], size, 1))
        bursts = of_one_class(targets, size, chance)
        if not len(bursts):
            continue
        yield "one class", size, scores(own[bursts], targets[bursts])
        strangers = bursts.copy()
        strangers[:, -1] = np.roll(bursts[:, -1], len(bursts) // 2)
        yield "one stranger", size, scores(own[strangers], targets[strangers])


def scores(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """(B, K, C) and (B, K) → rule → percent of photos whose answer is right."""
    found = {rule: 100 * (best[:, None] == targets).mean() for rule, best in answers(probabilities).items()}
    return {"alone": 100 * (probabilities.argmax(2) == targets).mean(), **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--draws", type=int, default=3)
    options = parser.parse_args()
    total: dict[tuple[int, str, int], list[dict[str, float]]] = {}
    for folder in options.folders:
        labels = sorted(path.name for path in (folder / "train").iterdir() if path.is_dir())
        x, targets, views, of_views = features_of(folder, labels)
        with tempfile.TemporaryDirectory() as home:
            for shots in SHOTS:
                for seed in range(1, options.draws + 1):
                    store = Store(Path(home) / f"{shots}-{seed}")
                    learn(folder / "train", "c", shots=shots, settings=LearnSettings(seed=seed), store=store)
                    found = measured(Classifier.of(store["c"]), x, targets, views, of_views, seed)
                    for kind, size, rules in found:
                        total.setdefault((shots, kind, size), []).append(rules)
                print(f"{folder.name}, {shots} shots: {len(x)} photos", file=sys.stderr, flush=True)
    print("shots  burst          photos  alone   logs   mean   vote")
    for (shots, kind, size), runs in sorted(total.items()):
        row = [np.mean([run[rule] for run in runs]) for rule in ("alone", "logs", "mean", "vote")]
        print(f"{shots:5}  {kind:13} {size:7}  " + "  ".join(f"{value:5.1f}" for value in row))


if __name__ == "__main__":
    main()
