"""How well photos of nothing known are told, and probabilities believed: python unknown.py SET SET … [--draws 30]

Each set is a folder with train/ and test/ of class folders. Shots are drawn from train/, the photos measured are
those of test/, the unknown ones those of the other sets' test/ (far) or of one class left out of the shots (near).
The softmax maximum, the cosine to the nearest class mean and that to the nearest shot are measured on the same draws.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from promptctl.classification import calibration
from promptctl.classification.blend import as_kept
from promptctl.classification.calibration import line_for, rank, threshold
from promptctl.classification.classifier import Classifier, Predictions, calibration_error
from promptctl.classification.metrics import auroc, kept_at
from promptctl.clip import templates
from promptctl.clip.quick import backbone_of
from promptctl.data.folder import ImageFolder
from promptctl.data.groups import groups_of
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.pipeline import encode_files
from promptctl.learners import head

SHOTS = (1, 2, 4, 8, 16)
FITTED_DRAWS = 3  # with a head, whose fitting takes a second
ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class Photos:
    """A data set as features."""

    name: str
    x: np.ndarray  # (N, E) of train/
    y: np.ndarray
    groups: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    zero_shot: np.ndarray  # (C, E)


@dataclass(frozen=True, eq=False)
class Draw:
    """Shots, one's own photos and unknown ones."""

    x: np.ndarray
    y: np.ndarray
    groups: np.ndarray
    own: np.ndarray
    foreign: np.ndarray
    zero_shot: np.ndarray
    scale: float


def encoded(folder: Path) -> tuple[Photos, float]:
    backbone = backbone_of("mini", "cpu")
    scanned, parts = ImageFolder.scan(folder), {}
    for part in ("train", "test"):
        images = scanned.only(part)
        label_of = {image.path: image.label for image in images}
        with FeatureCache() as cache:
            features, _ = encode_files([image.path for image in images], backbone.encoder, cache)
        parts[part] = features, [label_of[path] for path in features.paths]
    labels = sorted(set(parts["train"][1]))
    rows = {part: np.array([labels.index(label) for label in of]) for part, (_, of) in parts.items()}
    train, names = parts["train"][0], [label.replace("_", " ") for label in labels]
    groups = groups_of(train.vectors, parts["train"][1], train.sha256, train.paths)
    texts = templates.text_features(backbone.tower, names, templates.DEFAULT)
    found = Photos(folder.name, train.vectors, rows["train"], groups, parts["test"][0].vectors, rows["test"], texts)
    return found, backbone.logit_scale


def drawn(photos: Photos, others: np.ndarray | None, shots: int, seed: int, scale: float) -> Draw:
    """Shots of all classes beside other photos, or of all but one beside the photos of that one."""
    chance = np.random.default_rng([seed, shots])
    classes = chance.permutation(len(photos.zero_shot))
    kept = np.sort(classes[1:] if others is None else classes)
    rows = np.concatenate([chance.permutation(np.flatnonzero(photos.y == c))[:shots] for c in kept])
    is_own = np.isin(photos.test_y, kept)
    foreign = photos.test_x[~is_own] if others is None else others
    y = np.searchsorted(kept, photos.y[rows])
    own = photos.test_x[is_own]
    return Draw(as_kept(photos.x[rows]), y, photos.groups[rows], own, foreign, photos.zero_shot[kept], scale)


Score = Callable[[np.ndarray, Draw, np.ndarray], np.ndarray]  # of photos, by some of the shots


def ours(x: np.ndarray, draw: Draw, some: np.ndarray) -> np.ndarray:
    return calibration.likeness(x, calibration.references(draw.x[some], draw.y[some]))


def to_mean(x: np.ndarray, draw: Draw, some: np.ndarray) -> np.ndarray:
    means = np.array([draw.x[some][draw.y[some] == c].mean(0) for c in np.unique(draw.y[some])])
    return (x @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T).max(1)


def to_shot(x: np.ndarray, draw: Draw, some: np.ndarray) -> np.ndarray:
    return (x @ draw.x[some].T).max(1)


SCORES: Mapping[str, Score] = {"ours": ours, "nearest class mean": to_mean, "nearest shot": to_shot}


def figures(draw: Draw, score: Score) -> tuple[float, ...]:
    """AUROC, kept at 95 %, own rejected and foreign kept at the threshold of the shots, own inside what is promised."""
    every = np.ones(len(draw.y), bool)
    own, foreign = score(draw.own, draw, every), score(draw.foreign, draw, every)
    firsts = np.unique(draw.groups, return_index=True)[1]
    left_out = np.array([score(draw.x[i : i + 1], draw, draw.groups != draw.groups[i])[0] for i in firsts])
    known = np.ones(len(draw.zero_shot), bool)
    found = threshold(left_out, draw.y[firsts], known, ALPHA)
    floor, promise = found.floors[0], found.promise
    rejected = float((own < floor).mean())
    inside = float(promise.low <= rejected <= promise.high)
    return auroc(own, foreign), kept_at(0.95, own, foreign), rejected, float((foreign >= floor).mean()), inside


def softmax_maximum(draw: Draw) -> tuple[float, float]:
    answer = Classifier(draw.zero_shot, draw.scale)
    own, foreign = (answer.predict(x).confidence for x in (draw.own, draw.foreign))
    return auroc(own, foreign), kept_at(0.95, own, foreign)


def told(kind: str, sets: Sequence[Photos], scale: float, draws: int) -> None:
    print(f"\n{kind}: AUROC / kept at 95 % / own rejected / kept at the threshold / inside what is promised")
    for shots in SHOTS:
        every = list(_draws(kind, sets, shots, draws, scale))
        means = [np.mean([softmax_maximum(draw) for _, draw in every], 0)]
        print(f"  {shots:2} shots  softmax maximum (zero-shot)  {means[0][0]:.3f} / {100 * means[0][1]:.1f} %")
        for name, score in SCORES.items():
            found = [(of, figures(draw, score)) for of, draw in every]
            auc, kept, rejected, taken, inside = np.mean([row for _, row in found], 0)
            each = ", ".join(
                f"{one.name} {100 * np.mean([row[2] for of, row in found if of == one.name]):.1f}" for one in sets
            )
            print(
                f"  {shots:2} shots  {name:28} {auc:.3f} / {100 * kept:.1f} % / {100 * rejected:.1f} % ({each}) / "
                f"{100 * taken:.1f} % / {100 * inside:.0f} %",
                flush=True,
            )


def _draws(kind: str, sets: Sequence[Photos], shots: int, draws: int, scale: float) -> Iterator[tuple[str, Draw]]:
    for photos in sets:
        others = np.concatenate([one.test_x for one in sets if one is not photos])
        for seed in range(draws):
            yield photos.name, drawn(photos, others if kind == "far" else None, shots, seed, scale)


def believed(sets: Sequence[Photos], scale: float) -> None:
    print("\nprobabilities: temperature, ECE before and after; at --accept-error 2, 5, 10 %: wrong / taken")
    for shots in SHOTS:
        every = []
        for photos in sets:
            others, rows = photos.test_x[:0], []
            for seed in range(FITTED_DRAWS):
                rows.append(_of_head(photos, drawn(photos, others, shots, seed, scale), seed))
            every += rows
            print(f"  {shots:2} shots  {photos.name:10} {_in_words(rows)}", flush=True)
        print(f"  {shots:2} shots  {'mean':10} {_in_words(every)}", flush=True)


def _of_head(photos: Photos, draw: Draw, seed: int) -> tuple[float, ...]:
    found = head.fit(draw.x, draw.y, draw.zero_shot, logit_scale=draw.scale, groups=draw.groups, seed=seed)
    judged = found.predicted >= 0
    by = calibration.temperature(found.logits[judged], draw.y[judged]) if found.tells_confidence else 1.0
    logits = draw.scale * draw.own.astype(np.float64) @ found.weight.T + found.bias
    before, after = Predictions.of(logits), Predictions.of(logits / by)
    wrong, confidence = after.best != photos.test_y, Predictions.of(found.logits[judged] / by).confidence
    lines = []
    for error in (0.02, 0.05, 0.1):
        line = line_for(error, confidence, (found.predicted == draw.y)[judged])
        taken = after.confidence >= (2.0 if line is None else line.least)
        lines += [float(wrong[taken].mean()) if taken.any() else np.nan, float(taken.mean())]
    return by, calibration_error(before, photos.test_y), calibration_error(after, photos.test_y), *lines


def _in_words(rows: Sequence[tuple[float, ...]]) -> str:
    table = np.array(rows)
    by, before, after = table[:, :3].mean(0)
    wrong = [table[np.isfinite(table[:, i]), i] for i in (3, 5, 7)]
    lines = [
        f"{100 * some.mean():.1f} % / {100 * table[:, i].mean():.0f} %" if len(some) else "none"
        for some, i in zip(wrong, (4, 6, 8), strict=True)
    ]
    return f"{by:.2f}, {before:.3f} -> {after:.3f} (worst {table[:, 2].max():.3f}); {', '.join(lines)}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--draws", type=int, default=30)
    asked = parser.parse_args()
    assert rank(19, ALPHA) == 1
    found = [encoded(folder) for folder in asked.sets]
    sets, scale = [photos for photos, _ in found], found[0][1]
    for kind in ("far", "near"):
        told(kind, sets, scale, asked.draws)
    believed(sets, scale)


if __name__ == "__main__":
    main()
