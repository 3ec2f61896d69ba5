"""What answering photos together gains, on folders as people have them: python together.py FOLDER FOLDER …

    [--shots 1,2,4,16] [--seeds 1,2,3] [--draws 3] [--part test|train] [--names NAMES.csv]

Each folder has train/ and test/ with class folders. Shots are drawn from train/ as `promptctl learn` draws them, and
CLAP, CoOp and the head are learned from them. From the photos of test/ (with --part train from those of train/ that
are no shots) folders are made: all photos; those of 60 % and of 30 % of the classes; of one class; of one class 70 %
and the others sparse; with photos of another of the sets, 30 % of the folder; 100, 50 and 20 at random. Every figure
is the gain in points of top-1 over the same photos one by one, foreign photos not counted, the mean over sets, seeds
and draws; of the whole folder there is one draw.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accuracy import pool_of

from promptctl.benchmark import protocol
from promptctl.benchmark.pool import Pool
from promptctl.classification import calibration
from promptctl.classification.classifier import Classifier, calibration_error
from promptctl.classification.together import together
from promptctl.clip.quick import backbone_of
from promptctl.learners import clap, coop, head

ANSWERS = ("CLAP", "CoOp", "head")
KINDS = ("all", "60 %", "30 %", "one class", "one 70 %", "30 % foreign", "100", "50", "20")
FOREIGN = 0.3  # share of a folder


@dataclass(frozen=True)
class Photos:
    features: np.ndarray  # (N, E) unit rows
    targets: np.ndarray  # (N,)


@dataclass(frozen=True)
class Run:
    """One folder answered by one classifier."""

    answer: str
    shots: int
    kind: str
    where: str
    alone: float  # top-1 in percent
    together: float
    ece: tuple[float, float]  # alone, together

    @property
    def gain(self) -> float:
        return self.together - self.alone


def classifiers(pool: Pool, shots: int, seed: int) -> dict[str, Classifier]:
    x, y = pool.arrays(protocol.Trial(pool, shots, seed).sample.train)
    zero_shot, scale = pool.zero_shot_features(pool.template), pool.backbone.logit_scale
    settings = coop.Settings(epochs=coop.fast_epochs(shots), seed=seed)
    texts = coop.learn(x, y, pool.names, pool.backbone.tower, logit_scale=scale, settings=settings).text_features
    rows = clap.learn(x, y, zero_shot, logit_scale=scale, settings=clap.Settings(seed=seed)).text_features
    fitted = head.fit(x, y, zero_shot, logit_scale=scale, seed=seed)
    own = Classifier.of_head(fitted.weight, fitted.bias, zero_shot, scale)
    if fitted.tells_confidence:
        own = replace(own, temperature=calibration.temperature(fitted.logits, y))
    return dict(zip(ANSWERS, (Classifier(rows, scale), Classifier(texts, scale), own), strict=True))


def unseen(pool: Pool, part: str, shots: int, seed: int) -> Photos:
    """The photos that folders are made of."""
    if part == "test":
        return Photos(*pool.arrays(pool.test))
    learned_from = {image.path for image in protocol.Trial(pool, shots, seed).sample.train}
    return Photos(*pool.arrays([image for image in pool.train if image.path not in learned_from]))


def folders(
    photos: Photos, others: list[np.ndarray], chance: np.random.Generator
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """What a folder is called, the (n, E) features in it, and the (m,) classes of the first of them; no others' are."""
    x, y = photos.features, photos.targets
    rows, classes = np.arange(len(y)), y.max() + 1
    yield "all", x, y
    for share in (0.6, 0.3):
        some = np.isin(y, chance.permutation(classes)[: int(np.ceil(share * classes))])
        yield f"{100 * share:.0f} %", x[some], y[some]
    one = y == chance.integers(classes)
    yield "one class", x[one], y[one]
    one = y == chance.integers(classes)
    some = np.concatenate([rows[one], chance.permutation(rows[~one])[: round(one.sum() * 3 / 7)]])
    yield "one 70 %", x[some], y[some]
    if others:
        foreign = chance.permutation(others[chance.integers(len(others))])[: round(len(y) * FOREIGN / (1 - FOREIGN))]
        some = chance.permutation(rows)[: round(len(foreign) * (1 - FOREIGN) / FOREIGN)]
        yield "30 % foreign", np.concatenate([x[some], foreign]), y[some]
    for n in (100, 50, 20):
        some = chance.permutation(rows)[:n]
        yield str(n), x[some], y[some]


def runs(pools: list[Pool], part: str, shots: int, seed: int, draws: int) -> Iterator[Run]:
    parts = [unseen(pool, part, shots, seed) for pool in pools]
    for place, (pool, photos) in enumerate(zip(pools, parts, strict=True)):
        others = [other.features for i, other in enumerate(parts) if i != place]
        known = classifiers(pool, shots, seed)
        for draw in range(draws):
            where = f"{pool.labels[0]} …, seed {seed}, draw {draw + 1}"
            for kind, x, y in folders(photos, others, np.random.default_rng([shots, seed, draw, place])):
                if draw == 0 or kind != "all":
                    yield from (measured(name, shots, kind, where, by, x, y) for name, by in known.items())


def measured(answer: str, shots: int, kind: str, where: str, by: Classifier, x: np.ndarray, y: np.ndarray) -> Run:
    """(n, E) features of a folder, the first of which are of the classes (m,)."""
    both = [type(found)(found.probabilities[: len(y)]) for found in (by.predict(x), together(x, by, shots))]
    right = [100 * float((found.best == y).mean()) for found in both]
    errors = [100 * calibration_error(found, y) for found in both]
    return Run(answer, shots, kind, where, right[0], right[1], (errors[0], errors[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--shots", default="1,2,4,16")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--part", choices=["test", "train"], default="test")
    parser.add_argument("--names", type=Path)
    options = parser.parse_args()
    shots, seeds = ([int(n) for n in text.split(",")] for text in (options.shots, options.seeds))
    torch.set_num_threads(1)
    backbone = backbone_of("mini", "cpu")
    pools = [pool_of(folder, options.names, backbone) for folder in options.folders]
    found = [run for n in shots for seed in seeds for run in runs(pools, options.part, n, seed, options.draws)]
    tell(found, shots)


def tell(found: list[Run], shots: list[int]) -> None:
    kinds = [kind for kind in KINDS if any(run.kind == kind for run in found)]
    print("| shots | one by one, all | ECE one by one → together | " + " | ".join(kinds) + " |")
    for answer in ANSWERS:
        for n in shots:
            mine = [run for run in found if (run.answer, run.shots) == (answer, n)]
            whole = [run for run in mine if run.kind == "all"]
            ece = " → ".join(f"{np.mean([run.ece[i] for run in whole]):.1f}" for i in range(2))
            cells = [f"{np.mean([run.gain for run in mine if run.kind == kind]):+.1f}" for kind in kinds]
            print(
                f"| {answer}, {n} | {np.mean([run.alone for run in whole]):.1f} | {ece} | " + " | ".join(cells) + " |"
            )
    for title, of in (
        ("mean", np.mean),
        ("5th percentile", lambda gains: np.percentile(gains, 5)),
        ("worst", np.min),
        ("worse, %", lambda gains: 100 * np.mean(np.array(gains) < 0)),
    ):
        cells = [f"{of([run.gain for run in found if run.kind == kind]):+.1f}" for kind in kinds]
        print(f"| {title} | | | " + " | ".join(cells) + " |")
    gains = [run.gain for run in found]
    print(f"{len(found)} runs: mean {np.mean(gains):+.2f}, 5th percentile {np.percentile(gains, 5):+.1f}")
    for run in sorted(found, key=lambda run: run.gain)[:5]:
        print(f"  {run.gain:+.1f}: {run.answer}, {run.shots} shots, {run.kind}, {run.where}")


if __name__ == "__main__":
    main()
