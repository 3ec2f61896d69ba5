"""Accuracy on real photos: baselines, learners and recipes, several shots and seeds.

    python tests/benchmarks/accuracy.py FOLDER [FOLDER ...] [--shots 1,4,16] [--seeds 1,2,3] [--names NAMES.csv]
                                        [--methods fast,fast-csc,paper,paper-csc,crops,crops-csc] [--views 200]

Each FOLDER has train/ and test/ with class folders. Shots are drawn from train/ as `promptctl learn` draws them;
every figure is top-1 on all of test/, mean and population standard deviation over the seeds.

fast, paper     the recipes on centre crops; with -csc class-specific
crops           the paper's recipe on random crops of every shot, as many as it has epochs unless --views says otherwise
fast-M4 …       the fast recipe with 4 or 8 vectors, fast-words from "a photo of a"
anything else   a learner of `promptctl compare`
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from promptctl.benchmark import protocol, variants
from promptctl.benchmark.pool import Pool, Reach, divide_photos, encode_pool
from promptctl.benchmark.results import Results
from promptctl.benchmark.unprojected import seen_before
from promptctl.clip import templates
from promptctl.clip.backbone import Backbone
from promptctl.commands.compare import _with_lengths
from promptctl.commands.photos import class_entries, to_learn_from
from promptctl.data.folder import ImageFolder
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.pipeline import Features, encode_views
from promptctl.learners import coop

METHODS = ("fast", "paper", "crops", "fast-csc", "paper-csc", "crops-csc")
VARIANTS = {
    "fast-M4": {"context_tokens": 4},
    "fast-M8": {"context_tokens": 8},
    "fast-words": {"context_tokens": 4, "init": "a photo of a"},
}


def pool_of(folder: Path, names: Path | None, backbone: Backbone) -> Pool:
    found = ImageFolder.scan(folder)
    named = [line.split(",")[0] for line in names.read_text().splitlines()] if names else []
    own = names if set(named) & set(found.labels) else None
    entries = class_entries(found.labels, own)
    divided, names_of = divide_photos(found, to_learn_from(found)), {entry.label: entry.name for entry in entries}
    everything = Reach((1,), len(divided.train))
    return encode_pool(divided, found, names_of, everything, backbone, templates.DEFAULT)[0]


def accuracy(pool: Pool, method: str, shots: int, seed: int, views: int | None) -> float:
    if method in variants.names():
        return protocol.run(pool, method, shots, seed).accuracy
    trial = protocol.Trial(pool, shots, seed)
    x, y = pool.arrays(trial.sample.train)
    recipe = "fast" if method.startswith("fast") else "paper"
    epochs = coop.recipe_of(recipe, class_specific=method.endswith("-csc")).epochs(shots)
    if method.startswith("crops"):
        shown = trial.sample.train
        known = Features(tuple(i.path for i in shown), tuple(i.sha256 for i in shown), x)
        x = encode_views(known, views or epochs, pool.backbone.encoder, FeatureCache())
    settings = coop.Settings(
        recipe=recipe,
        class_specific=method.endswith("-csc"),
        epochs=epochs,
        seed=seed,
        **VARIANTS.get(method, {}),
    )
    scale = pool.backbone.logit_scale
    learned = coop.learn(x, y, pool.names, pool.backbone.tower, logit_scale=scale, settings=settings)
    return pool.accuracy(learned.text_features)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--shots", default="1,4,16")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--names", type=Path)
    parser.add_argument("--views", type=int)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    backbone = Backbone(options.model)
    for folder in options.folders:
        pool = pool_of(folder, options.names, backbone)
        if "linear-probe-raw" in options.methods:
            pool = _with_lengths(pool, Results(), None)
        if any(map(variants.learns_projection, options.methods.split(","))):
            pool = seen_before(pool)
        for method in options.methods.split(","):
            for shots in map(int, options.shots.split(",")):
                started = time.time()
                runs = [100 * accuracy(pool, method, shots, seed, options.views) for seed in seeds]
                print(
                    f"{folder.name + ' ' + method + ' ' + str(shots):30s} {np.mean(runs):5.1f} ± {np.std(runs):3.1f}   "
                    f"{' '.join(f'{run:5.1f}' for run in runs)}   {(time.time() - started) / len(seeds):.1f} s a run",
                    flush=True,
                )


if __name__ == "__main__":
    main()
