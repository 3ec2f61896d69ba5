"""What learning gains when photos get worse: python shift.py FOLDER … [--shots 4,16] [--seeds 1,2,3] [--out PICTURES]

Each folder has train/ and test/ with class folders. Shots are drawn from train/ as they are; the photos of test/ are
measured as they are and blurred, grainy, at night, squeezed by JPEG, in fog and in snow, each at three strengths. All
are made 224 pixels high or wide first, the clean ones too, so that a strength means the same for every photo. The
kinds follow those of ImageNet-C (Hendrycks and Dietterich, ICLR 2019), painted here in numpy and Pillow.

A drop is in points of top-1, clean less corrupted; `kept` is the corrupted accuracy as a share of the clean one. Mean
over sets and seeds, with the population standard deviation over seeds of the mean over sets.
"""

from __future__ import annotations

import argparse
import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from accuracy import pool_of
from PIL import Image, ImageFilter

from promptctl.benchmark import protocol
from promptctl.benchmark.pool import Pool
from promptctl.classification.classifier import Classifier
from promptctl.clip.quick import backbone_of
from promptctl.encoding.decode import decoded
from promptctl.learners import clap, coop, head, linear_probe

SIDE = 224
BATCH = 64
STRENGTHS = (1, 2, 3)
Pixels = np.ndarray  # (H, W, 3) from 0 to 1
Answer = Callable[[np.ndarray], np.ndarray]  # (N, E) features → (N,) classes


def blurred(pixels: Pixels, strength: int, _: np.random.Generator) -> Pixels:
    return _array(_picture(pixels).filter(ImageFilter.GaussianBlur((2, 4, 6)[strength - 1])))


def grainy(pixels: Pixels, strength: int, chance: np.random.Generator) -> Pixels:
    return pixels + chance.normal(0, (0.08, 0.18, 0.32)[strength - 1], pixels.shape)


def at_night(pixels: Pixels, strength: int, chance: np.random.Generator) -> Pixels:
    """Dark, bluish, and as grainy as a sensor is at high sensitivity."""
    light = (0.5, 0.3, 0.15)[strength - 1]
    dark = light * pixels**1.5 * np.array([0.8, 0.9, 1.15])
    return dark + chance.normal(0, 0.03, pixels.shape)


def squeezed(pixels: Pixels, strength: int, _: np.random.Generator) -> Pixels:
    file = io.BytesIO()
    _picture(pixels).save(file, "JPEG", quality=(20, 10, 5)[strength - 1])
    return _array(Image.open(file))


def in_fog(pixels: Pixels, strength: int, chance: np.random.Generator) -> Pixels:
    """A grey of uneven thickness between photo and camera."""
    coarse = _array(Image.fromarray(chance.integers(0, 256, (6, 6, 3), np.uint8)).resize(_size(pixels), Image.BICUBIC))
    thickness = (0.45, 0.6, 0.75)[strength - 1] + 0.15 * (coarse.mean(2, keepdims=True) - 0.5)
    return (1 - thickness) * pixels + thickness * 0.85


def in_snow(pixels: Pixels, strength: int, chance: np.random.Generator) -> Pixels:
    """Flakes of many sizes before a paler photo."""
    flakes = np.zeros(pixels.shape[:2])
    for size, share in ((1, 0.02), (2, 0.01), (4, 0.004)):
        height, width = (-(-n // size) for n in flakes.shape)
        some = chance.random((height, width)) < share * (0.7, 1.4, 2.4)[strength - 1]
        flakes = np.maximum(flakes, np.kron(some, np.ones((size, size)))[: flakes.shape[0], : flakes.shape[1]])
    soft = _array(Image.fromarray((255 * flakes).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.7)))[..., None]
    pale = pixels + (0.1, 0.2, 0.3)[strength - 1] * (1 - pixels)
    return np.maximum(pale, np.minimum(1.4 * soft, 1))


KINDS: Mapping[str, Callable[[Pixels, int, np.random.Generator], Pixels]] = {
    "blur": blurred,
    "grain": grainy,
    "night": at_night,
    "JPEG": squeezed,
    "fog": in_fog,
    "snow": in_snow,
}


def _picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray((255 * np.clip(pixels, 0, 1)).round().astype(np.uint8))


def _array(picture: Image.Image) -> Pixels:
    return np.asarray(picture, np.float64) / 255


def _size(pixels: Pixels) -> tuple[int, int]:
    return pixels.shape[1], pixels.shape[0]


def shrunk(path: Path) -> Pixels:
    """The photo with its shorter side at 224."""
    with decoded(path.read_bytes()) as picture:
        rgb = picture.convert("RGB")
        scale = SIDE / min(rgb.size)
        return _array(rgb.resize([max(1, round(scale * n)) for n in rgb.size], Image.BICUBIC))


def seen(pool: Pool, kind: str | None, strength: int) -> np.ndarray:
    """(N, E) features of the test photos, made worse; None: as they are."""
    encoder = pool.backbone.encoder

    def prepared(path: Path) -> np.ndarray:
        pixels = shrunk(path)
        if kind is not None:
            chance = np.random.default_rng([strength, zlib.crc32(f"{kind}/{path.name}".encode())])
            pixels = KINDS[kind](pixels, strength, chance)
        return encoder.preprocess(_picture(pixels))

    paths, found = [image.path for image in pool.test], []
    with ThreadPoolExecutor(2) as threads:
        for first in range(0, len(paths), BATCH):
            found.append(encoder.encode(np.stack(list(threads.map(prepared, paths[first : first + BATCH])))))
    return np.concatenate(found)


def answers(pool: Pool, shots: int, seed: int) -> dict[str, Answer]:
    """Every way to classify, learned from the same shots."""
    trial = protocol.Trial(pool, shots, seed)
    x, y = pool.arrays(trial.sample.train)
    zero_shot, scale = pool.zero_shot_features(pool.template), pool.backbone.logit_scale
    learn = partial(coop.learn, x, y, pool.names, pool.backbone.tower, logit_scale=scale)
    settings = partial(coop.Settings, epochs=coop.fast_epochs(shots), seed=seed)
    shared = learn(settings=settings()).text_features
    four = learn(settings=settings(context_tokens=4)).text_features
    specific = learn(settings=settings(class_specific=True)).text_features
    rows = clap.learn(x, y, zero_shot, logit_scale=scale, settings=clap.Settings(seed=seed)).text_features
    fitted = head.fit(x, y, zero_shot, logit_scale=scale, seed=seed)
    held_out = trial.sample.held_out
    further = protocol.sampling.sample(held_out, linear_probe.validation_shots(shots), seed=seed).train
    probe = linear_probe.learn(x, y, *pool.arrays(further))
    by = {
        "zero-shot": Classifier(zero_shot, scale),
        "CoOp, 16 vectors": Classifier(shared, scale),
        "CoOp, 4 vectors": Classifier(four, scale),
        "CoOp, class-specific": Classifier(specific, scale),
        "CLAP": Classifier(rows, scale),
        "head": Classifier.of_head(fitted.weight, fitted.bias, zero_shot, scale),
    }
    return {"linear probe": probe.predict, **{name: partial(_best, one) for name, one in by.items()}}


def _best(classifier: Classifier, features: np.ndarray) -> np.ndarray:
    return classifier.predict(features).best


@dataclass(frozen=True)
class Conditions:
    """One data set: its classes, and its test photos under every condition."""

    pool: Pool
    features: Mapping[tuple[str | None, int], np.ndarray]

    @staticmethod
    def of(folder: Path) -> Conditions:
        pool = pool_of(folder, None, backbone_of("mini", "cpu"))
        every = [(None, 0), *((kind, strength) for kind in KINDS for strength in STRENGTHS)]
        return Conditions(pool, {condition: seen(pool, *condition) for condition in every})

    def accuracies(self, answer: Answer) -> np.ndarray:
        """(1 + 6 * 3,) in percent: clean, then every kind at every strength."""
        _, y = self.pool.arrays(self.pool.test)
        return np.array([100 * float((answer(x) == y).mean()) for x in self.features.values()])


def told(name: str, found: np.ndarray, plain: np.ndarray) -> None:
    """(sets, seeds, 1 + 18) accuracies of one way beside those of zero-shot."""
    by_seed = found.mean(0)
    worse = by_seed[:, 1:].reshape(len(by_seed), len(KINDS), len(STRENGTHS))
    clean, drop = by_seed[:, 0], by_seed[:, 0] - worse.mean((1, 2))
    strengths = "  ".join(f"{x:5.1f}" for x in worse.mean((0, 1)))
    kinds = "  ".join(f"{x:5.1f}" for x in worse.mean((0, 2)))
    ahead = (found - plain)[:, :, 1:].mean()
    kept = 100 * (1 - drop / clean)
    print(
        f"| {name:20} | {clean.mean():5.1f} ± {clean.std():3.1f} | {strengths} | {kinds} "
        f"| {drop.mean():5.1f} ± {drop.std():3.1f} | {kept.mean():5.1f} % | {ahead:+5.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--shots", default="4,16")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--out", type=Path, help="folder for one photo of each condition, to look at")
    parsed = parser.parse_args()
    sets = [Conditions.of(folder) for folder in parsed.folders]
    if parsed.out:
        shown(sets[0].pool, parsed.out)
    print(f"{sum(len(one.pool.test) for one in sets)} photos of {len(sets)} sets, mini")
    for shots in map(int, parsed.shots.split(",")):
        seeds = [int(seed) for seed in parsed.seeds.split(",")]
        ways = [[answers(one.pool, shots, seed) for seed in seeds] for one in sets]
        print(
            f"\n{shots} shots: clean | strength 1  2  3 | {'  '.join(KINDS)} | drop | kept | over zero-shot, corrupted"
        )
        measured = {
            name: np.array([[one.accuracies(way[name]) for way in of] for one, of in zip(sets, ways, strict=True)])
            for name in (
                "zero-shot",
                "linear probe",
                *(n for n in ways[0][0] if n not in ("zero-shot", "linear probe")),
            )
        }
        for name, found in measured.items():
            told(name, found, measured["zero-shot"])
        _beside_the_probe(measured)


def _beside_the_probe(measured: Mapping[str, np.ndarray]) -> None:
    """In how many of all sets, seeds and conditions CoOp loses less than the probe."""
    drops: Sequence[np.ndarray] = [
        (measured[name][..., :1] - measured[name][..., 1:]) for name in ("CoOp, 16 vectors", "linear probe")
    ]
    less = float((drops[0] < drops[1]).mean())
    print(f"CoOp with 16 vectors falls less than the linear probe in {100 * less:.0f} % of {drops[0].size} conditions")


def shown(pool: Pool, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = shrunk(pool.test[0].path)
    for kind, of in KINDS.items():
        for strength in STRENGTHS:
            _picture(of(pixels, strength, np.random.default_rng(0))).save(folder / f"{kind}-{strength}.png")


if __name__ == "__main__":
    main()
