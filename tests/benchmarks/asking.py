"""What answers about a few photos teach, by the rule that chose the photos: python asking.py FOLDER … [--part train]

Each folder has train/ and test/ with class folders. Two or four photos of each class are learned from, then 10, 20 or
40 others of train/ are asked about at once and learned with their true labels. Accuracy is of test/; with `--part
train`, which is for choosing between rules, of a half of train/ from which nothing is learned or asked about. In the
last tables three of ten photos that may be asked about are of another set: that one is of no class teaches nothing.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from promptctl.classification import asking, calibration
from promptctl.classification.asking import Judged
from promptctl.classification.blend import as_kept
from promptctl.classification.classifier import Classifier
from promptctl.clip import templates
from promptctl.clip.quick import backbone_of
from promptctl.data.folder import ImageFolder
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.pipeline import encode_files
from promptctl.learners import head

SHOTS = (2, 4)
ASKED = (10, 20, 40)
FOREIGN = 0.3  # share of the photos that may be asked about
BY_CHANCE = 3  # draws of a rule that draws, for each draw of the shots
ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class Photos:
    """A data set as features."""

    name: str
    x: np.ndarray  # (N, E) of train/
    y: np.ndarray  # (N,)
    test_x: np.ndarray
    test_y: np.ndarray
    zero_shot: np.ndarray  # (C, E)
    scale: float


@dataclass(frozen=True, eq=False)
class Round:
    """Photos that may be asked about, and what is known before."""

    shots: np.ndarray  # (S, E)
    targets: np.ndarray  # (S,)
    x: np.ndarray  # (P, E)
    y: np.ndarray  # (P,) -1: of no class
    photos: Judged
    chance: np.random.Generator


def encoded(folder: Path) -> Photos:
    backbone = backbone_of("mini", "cpu")
    scanned, parts = ImageFolder.scan(folder), {}
    for part in ("train", "test"):
        images = scanned.only(part)
        label_of = {image.path: image.label for image in images}
        with FeatureCache() as cache:
            features, _ = encode_files([image.path for image in images], backbone.encoder, cache)
        parts[part] = features.vectors, [label_of[path] for path in features.paths]
    labels = sorted(set(parts["train"][1]))
    x, y = (
        {part: parts[part][0] for part in parts},
        {p: np.array([labels.index(c) for c in parts[p][1]]) for p in parts},
    )
    texts = templates.text_features(backbone.tower, [c.replace("_", " ") for c in labels], templates.DEFAULT)
    return Photos(folder.name, x["train"], y["train"], x["test"], y["test"], texts, backbone.logit_scale)


def learned(x: np.ndarray, y: np.ndarray, of: Photos) -> Classifier:
    """As `learn` has a head for a context with these shots."""
    kept = as_kept(x)
    found = head.fit(kept, y, of.zero_shot, logit_scale=of.scale)
    by = calibration.temperature(found.logits, y) if found.tells_confidence else 1.0
    return Classifier(found.weight, of.scale, bias=found.bias, temperature=by)


def judged(x: np.ndarray, shots: np.ndarray, targets: np.ndarray, answer: Classifier, of: Photos) -> Judged:
    found = Judged.of(x, answer)
    rows = as_kept(shots).astype(np.float64)
    own = calibration.likeness_without(rows, targets, np.arange(len(targets)))
    floor = calibration.threshold(own, targets, np.ones(len(of.zero_shot), bool), ALPHA).floors[0]
    unknown = calibration.likeness(x, calibration.references(rows, targets)) < floor
    return Judged(**{**vars(found), "unknown": unknown})


# ---------------------------------------------------------------- rules


def spread(order: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The first of each predicted class, then the second of each, and so on."""
    seen: defaultdict[int, int] = defaultdict(int)
    rank = []
    for i in order:
        rank.append(seen[classes[i]])
        seen[classes[i]] += 1
    return order[np.argsort(rank, kind="stable")]


def centres(among: np.ndarray, of: Round, count: int) -> np.ndarray:
    """Each farthest from the shots and from those before it."""
    nearest, found = (of.x[among] @ of.shots.T).max(1), []
    for _ in range(count):
        place = int(nearest.argmin())
        found.append(among[place])
        nearest = np.maximum(nearest, of.x[among] @ of.x[among[place]])
        nearest[place] = np.inf
    return np.array(found)


def typical(of: Round, count: int) -> np.ndarray:
    """One photo of the middle of each cluster that has no shot, the largest first."""
    middles = np.concatenate([of.shots, of.x[of.chance.permutation(len(of.x))[:count]]])
    for _ in range(10):
        home = (of.x @ middles.T).argmax(1)
        for k in np.unique(home):
            mean = of.x[home == k].mean(0)
            middles[k] = mean / np.linalg.norm(mean)
    home, taken = (of.x @ middles.T).argmax(1), set((of.shots @ middles.T).argmax(1))
    free = sorted((k for k in np.unique(home) if k not in taken), key=lambda k: -(home == k).sum())
    found = [np.flatnonzero(home == k)[(of.x[home == k] @ middles[k]).argmax()] for k in free[:count]]
    rest = np.setdiff1d(of.chance.permutation(len(of.x)), found)
    return np.array([*found, *rest[: count - len(found)]])


def by_margin(of: Round) -> np.ndarray:
    return np.argsort(of.photos.margin, kind="stable")


Rule = Callable[[Round, int], np.ndarray]
RULES: Mapping[str, Rule] = {
    "random": lambda of, n: of.chance.permutation(len(of.x))[:n],
    "random, spread over predicted classes": lambda of, n: spread(of.chance.permutation(len(of.x)), of.photos.first)[
        :n
    ],
    "smallest margin": lambda of, n: by_margin(of)[:n],
    "smallest margin, spread": lambda of, n: spread(by_margin(of), of.photos.first)[:n],
    "farthest from every shot": lambda of, n: np.argsort((of.x @ of.shots.T).max(1))[:n],
    "k-centre": lambda of, n: centres(np.arange(len(of.x)), of, n),
    "k-centre among the smallest margins": lambda of, n: centres(by_margin(of)[: 3 * n], of, n),
    "one typical photo of each cluster": typical,
    "ours": lambda of, n: asking.asked(of.photos, n),
}
AMONG_FOREIGN = ("random", "smallest margin", "ours")


# ---------------------------------------------------------------- measuring


def rounds(of: Photos, other: Photos | None, shots: int, seed: int, part: str) -> tuple[Round, np.ndarray, np.ndarray]:
    """What may be asked about, and (M, E), (M,) to measure on."""
    chance = np.random.default_rng([seed, shots])
    order = chance.permutation(len(of.x))
    pool = order[: len(order) // 2] if part == "train" else order
    test = (of.x[order[len(pool) :]], of.y[order[len(pool) :]]) if part == "train" else (of.test_x, of.test_y)
    first = np.concatenate([pool[of.y[pool] == c][:shots] for c in range(len(of.zero_shot))])
    rest = np.setdiff1d(pool, first)
    x, y = of.x[rest], of.y[rest]
    if other is not None:
        n = min(len(other.x), round(FOREIGN / (1 - FOREIGN) * len(rest)))
        own = chance.permutation(len(rest))[: round(n * (1 - FOREIGN) / FOREIGN)]
        x = np.concatenate([x[own], other.x[chance.permutation(len(other.x))[:n]]])
        y = np.concatenate([y[own], np.full(n, -1)])
    answer = learned(of.x[first], of.y[first], of)
    found = judged(x, of.x[first], of.y[first], answer, of)
    return Round(of.x[first], of.y[first], x, y, found, chance), *test


def figures(
    of: Photos, other: Photos | None, shots: int, seed: int, part: str, names: Sequence[str]
) -> Iterator[tuple[str, int, float, float]]:
    """(rule, answers, accuracy after them, share of them about foreign photos)."""
    one, x, y = rounds(of, other, shots, seed, part)
    yield "", 0, learned(one.shots, one.targets, of).accuracy(x, y), 0.0
    for name in names:
        for count in (count for count in ASKED if count <= (one.y >= 0).sum()):
            for _ in range(BY_CHANCE if name.startswith("random") else 1):
                chosen = RULES[name](one, count)
                own = chosen[one.y[chosen] >= 0]
                features, targets = np.concatenate([one.shots, one.x[own]]), np.concatenate([one.targets, one.y[own]])
                yield name, count, learned(features, targets, of).accuracy(x, y), float((one.y[chosen] < 0).mean())


def measure(sets: Sequence[Photos], shots: int, draws: int, part: str, *, foreign: bool) -> None:
    names = AMONG_FOREIGN if foreign else tuple(RULES)
    found: defaultdict[tuple[str, int], list[tuple[str, float, float]]] = defaultdict(list)
    for i, of in enumerate(sets):
        for seed in range(draws):
            other = sets[(i + 1 + seed % (len(sets) - 1)) % len(sets)] if foreign else None
            for name, count, accuracy, share in figures(of, other, shots, seed, part, names):
                found[name, count].append((of.name, accuracy, share))
    mixed = ", three of ten photos foreign" if foreign else ""
    print(
        f"\n{shots} shots per class{mixed}: {_means(found['', 0], sets)[0]:.1f} before; after {ASKED} answers",
        flush=True,
    )
    for name in names:
        cells = [_cell(found[name, count], sets, foreign) for count in ASKED if found[name, count]]
        print(f"  {name:40} {'   '.join(cells)}", flush=True)


def _cell(rows: Sequence[tuple[str, float, float]], sets: Sequence[Photos], foreign: bool) -> str:
    mean, spread_of, each = _means(rows, sets)
    share = f" ({100 * np.mean([share for _, _, share in rows]):.0f} % foreign)" if foreign else ""
    return f"{mean:.1f} ± {spread_of:.1f}{share} [{each}]"


def _means(rows: Sequence[tuple[str, float, float]], sets: Sequence[Photos]) -> tuple[float, float, str]:
    """Of the sets' means, the mean of their spreads over draws, and each set's mean; in per cent."""
    of_set = {one.name: [100 * accuracy for name, accuracy, _ in rows if name == one.name] for one in sets}
    means = {name: float(np.mean(some)) for name, some in of_set.items() if some}
    spread_of = float(np.mean([np.std(some) for some in of_set.values() if some]))
    return float(np.mean(list(means.values()))), spread_of, " ".join(f"{mean:.1f}" for mean in means.values())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--part", choices=("train", "test"), default="test")
    given = parser.parse_args()
    sets = [encoded(folder) for folder in given.sets]
    for foreign in (False, True)[: len(sets)]:
        for shots in SHOTS:
            measure(sets, shots, given.draws, given.part, foreign=foreign)


if __name__ == "__main__":
    main()
