"""Accuracy on real photos: zero-shot, linear probe, CoOp unified and class-specific, several shots and seeds.

    python tests/benchmarks/accuracy.py FOLDER [FOLDER ...] [--shots 1,4,16] [--seeds 1,2,3] [--names NAMES.csv]
                                        [--methods zero-shot,linear-probe,unified,class-specific] [--json OUT.json]

Each FOLDER has train/ and test/ with class folders. Shots are drawn from train/ as `promptctl learn` draws them;
every figure is top-1 on all of test/, mean and population standard deviation over the seeds.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from promptctl import zero_shot as by_hand
from promptctl.api import _class_entries
from promptctl.backbone import Backbone
from promptctl.cache import FeatureCache
from promptctl.features import encode
from promptctl.images import ImageFolder, hash_images, sample
from promptctl.learners import coop
from promptctl.learners import linear_probe as linear_probe_module

METHODS = ("zero-shot", "linear-probe", "unified", "class-specific")


class Photos:
    """One data set, encoded."""

    def __init__(self, folder: Path, names: Path | None, backbone: Backbone) -> None:
        found = ImageFolder.scan(folder)
        self.name, self.backbone = folder.name, backbone
        self.labels = found.labels
        own_names = names if names and set(_first_column(names)) <= set(self.labels) else None
        self.names = [entry.name for entry in _class_entries(self.labels, own_names)]
        self.train, _ = hash_images(found.only("train"))
        self.test, _ = hash_images(found.only("test"))
        cache = FeatureCache()
        features, _ = encode([image.path for image in (*self.train, *self.test)], backbone, cache)
        self.vector_of = dict(zip(features.paths, features.vectors, strict=True))

    def arrays(self, images):
        x = np.stack([self.vector_of[image.path] for image in images])
        return x, np.array([self.labels.index(image.label) for image in images])


def zero_shot(photos: Photos, shots: int, seed: int) -> float:
    return accuracy(photos, by_hand.text_features(photos.backbone.tower, photos.names))


def unified(photos: Photos, shots: int, seed: int, class_specific: bool = False) -> float:
    x, y = photos.arrays(sample(photos.train, shots, seed=seed).train)
    settings = coop.Settings(epochs=coop.fast_epochs(shots), seed=seed, class_specific=class_specific)
    tower, scale = photos.backbone.tower, photos.backbone.logit_scale
    learned = coop.learn(x, y, photos.names, tower, logit_scale=scale, settings=settings)
    return accuracy(photos, learned.text_features)


def class_specific(photos: Photos, shots: int, seed: int) -> float:
    return unified(photos, shots, seed, class_specific=True)


def linear_probe(photos: Photos, shots: int, seed: int) -> float:
    """CoOp's probe: logistic regression, strength searched on min(shots, 4) further images a class."""
    drawn = sample(photos.train, shots, seed=seed)
    further = sample(drawn.held_out, linear_probe_module.validation_shots(shots), seed=seed)
    probe = linear_probe_module.learn(*photos.arrays(drawn.train), *photos.arrays(further.train))
    x_test, y_test = photos.arrays(photos.test)
    return 100 * probe.score(x_test, y_test)


def accuracy(photos: Photos, texts: np.ndarray) -> float:
    x, y = photos.arrays(photos.test)
    return 100 * float(((x @ texts.T).argmax(1) == y).mean())


def _first_column(path: Path) -> list[str]:
    return [line.split(",")[0] for line in path.read_text().splitlines() if line]


RUN = {"zero-shot": zero_shot, "linear-probe": linear_probe, "unified": unified, "class-specific": class_specific}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--shots", default="1,4,16")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--names", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    results = {}
    backbone = Backbone(options.model)
    for folder in options.folders:
        photos = Photos(folder, options.names, backbone)
        for method in options.methods.split(","):
            for shots in map(int, options.shots.split(",")):
                started = time.time()
                runs = [RUN[method](photos, shots, seed) for seed in seeds]
                key = f"{photos.name} {method} {shots}"
                results[key] = runs
                print(
                    f"{key:34s} {np.mean(runs):5.1f} ± {np.std(runs):3.1f}   {' '.join(f'{run:5.1f}' for run in runs)}"
                    f"   {(time.time() - started) / len(seeds):.1f} s a run",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
