"""What shared contexts would reach if the text tower did to the letter what it is taught of contexts.

    python promptctl/mini/recipe/reach.py FOLDER [FOLDER ...] [--names NAMES.csv] [--model mini]
                              [--shots 16] [--seeds 1,2,…] [--parts 1,8] [--sharpness 30,60] [--far 2.2] [--test]

No tower is trained: names start where the backbone puts their bare texts, and `texts.Steering` moves them, with a turn
at random and nothing taken out along the mean picture. The recipe is the paper's on centre crops. Shots are drawn from
train/; what is left of train/ is what the figures are measured on, or with --test all of test/. Top-1 in percent, mean
over the seeds.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from promptctl.benchmark.pool import Pool
from promptctl.benchmark.protocol import Trial
from promptctl.clip.backbone import Backbone
from promptctl.learners import coop
from texts import FAR, PARTS, SHARPNESS, Steering, steering
from train import WIDTH

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "benchmarks"))
from accuracy import pool_of


class Obedient:
    """In a text tower's place: bare names (C, 512) and what contexts do to them."""

    def __init__(self, names: torch.Tensor, steered: Steering) -> None:
        self.names, self.steered = names, steered
        self.width, self.token_table = WIDTH, names

    def prompts(self, names: object, context_tokens: int, **how: object) -> None:
        """Nothing: no text is read."""

    def operations(self, prompts: None) -> float:
        return 2.0 * len(self.names) * WIDTH * WIDTH

    def encode(self, context: torch.Tensor, prompts: None) -> torch.Tensor:
        return self.steered(self.names, context)


def accuracies(pool: Pool, steered: Steering, shots: int, seeds: list[int], *, on_test: bool) -> list[float]:
    names = F.normalize(pool.backbone.tower.encode_sentences(list(pool.names)), dim=-1).cpu()
    tower, found = Obedient(names, steered), []
    for seed in seeds:
        shown = Trial(pool, shots, seed).sample.train
        taken = set(shown)
        rest = pool.test if on_test else tuple(i for i in pool.train if i not in taken)
        settings = coop.Settings(recipe="paper", epochs=coop.paper_epochs(shots), seed=seed)
        learned = coop.learn(
            *pool.arrays(shown),
            pool.names,
            tower,
            logit_scale=pool.backbone.logit_scale,
            settings=settings,
        )
        found.append(100 * replace(pool, test=rest).accuracy(learned.text_features))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--names", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--seeds", default="1,2,3,4,5,6,7,8,9,10")
    parser.add_argument("--parts", default=str(PARTS))
    parser.add_argument("--sharpness", default=str(SHARPNESS))
    parser.add_argument("--far", default=str(FAR))
    parser.add_argument("--test", action="store_true")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    backbone = Backbone(options.model)
    pools = [pool_of(folder, options.names, backbone) for folder in options.folders]
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0))).Q
    mean = torch.zeros(WIDTH)
    choices = (map(float, given.split(",")) for given in (options.parts, options.sharpness, options.far))
    for parts, sharpness, far in itertools.product(*choices):
        steered = steering(turn, mean, seed=1, parts=int(parts), sharpness=sharpness, far=far)
        means = [np.mean(accuracies(p, steered, options.shots, seeds, on_test=options.test)) for p in pools]
        each = ", ".join(f"{f.name} {m:.1f}" for f, m in zip(options.folders, means, strict=True))
        print(
            f"{int(parts)} parts, sharpness {sharpness:g}, {far:g} far: {each}, mean {np.mean(means):.1f}", flush=True
        )


if __name__ == "__main__":
    main()
