"""Make an embedded backbone from registry packages. See README.md beside this file.

    python promptctl/mini/recipe/build.py --wordnet DIR --work DIR --out DIR [--steps 3000] [--seed 0] [--hold 100]

--wordnet   the folder with data.noun, index.noun and cntlist.rev, from Debian's wordnet-base
--work      where sentences and painted pictures are kept as they were seen, for the next run
--out       where the backbone is written, for `--model local-dir:DIR`
--hold      leave this many ImageNet classes out of every text, and say how well they are found all the same
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from pathlib import Path

import numpy as np
import torch
from open_clip import create_model
from open_clip.model import CLIP
from safetensors.torch import save_file

from corpus import reading
from directions import class_directions, head, mean_picture
from hubs import balance
from looks import grounded, pooled
from measure import held_out, near_their_own, read_found, share_of_mean
from sources import Projection, Sentences, WordNet, classifier, projection, save_arrays
from targets import Targets
from train import CONFIG, WIDTH, class_texts, new_model, train

STEPS, SEED = 3000, 0
HELD_SEED = 7
DIRECTION_STEPS, QUIZ_STEPS = 400, 1000
LOGIT_SCALE = 20.0  # between what zero-shot and what learned contexts ask for; see README.md
PREPROCESS = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for folder in ("--wordnet", "--work", "--out"):
        parser.add_argument(folder, type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--hold", type=int, default=0)
    options = parser.parse_args()
    if not 0 <= options.hold <= 900 or options.steps < 1:
        parser.error("--hold takes 0 to 900 classes, --steps at least one")
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)  # Adam's averages of rows seldom read fade into numbers that are slow to count with

    wordnet = WordNet(options.wordnet)
    image_side, project = classifier(), projection()
    last = head(image_side, seed=options.seed)
    directions, scale = class_directions(last, project, steps=DIRECTION_STEPS, seed=options.seed)
    looks = grounded(*_seen_looks(image_side, options.work, options.seed), project)
    held = np.random.default_rng(HELD_SEED).permutation(1000)[: options.hold].tolist()
    known = Targets(wordnet, Sentences(options.work), directions.numpy(), frozenset(held))
    nouns = known.noun_rows()
    rows = balance(nouns, known, last, project, steps=QUIZ_STEPS, seed=options.seed)
    mean = mean_picture(last, project, seed=options.seed)
    lessons = reading(known, nouns, rows, looks, mean, width=WIDTH, seed=options.seed)
    model = new_model(lessons.table, lessons.steering, seed=options.seed)
    train(model, lessons, directions[known.seen], mean, scale=scale, steps=options.steps, seed=options.seed)
    write(model, image_side, project, options.out)
    texts = class_texts(create_model(f"local-dir:{options.out}").eval())
    print(f"{len(known.seen)} class texts to their directions: mean cosine {near_their_own(texts, known):.3f}")
    print(f"of pictures of these classes, percent found among 1000: {read_found(texts, known, last, project)}")
    if held:
        found, share = held_out(texts, known, last, project, mean), share_of_mean(texts, known, mean)
        figures = json.dumps({"found": found, "share of the mean picture": share}, indent=1)
        (options.out / "held-out.json").write_text(figures + "\n")
        print(figures)


def _seen_looks(image_side: torch.nn.Module, work: Path, seed: int) -> tuple[list[tuple[str, str]], torch.Tensor]:
    """What the image tower pools from the painted pictures, painted once."""
    painters = b"".join((Path(__file__).parent / name).read_bytes() for name in ("patterns.py", "looks.py"))
    kept = work / f"looks-{seed}-{hashlib.sha256(painters).hexdigest()[:12]}.npz"
    if not kept.exists():
        model = image_side.to(memory_format=torch.channels_last)
        kinds, rows = pooled(lambda x: model.forward_head(model.forward_features(x), pre_logits=True), seed=seed)
        save_arrays(kept, kinds=np.array(kinds), rows=rows.numpy())
    found = np.load(kept)
    return [(kind, word) for kind, word in found["kinds"].tolist()], torch.from_numpy(found["rows"])


def write(model: CLIP, image_side: torch.nn.Module, project: Projection, out: Path) -> None:
    """An open_clip folder: float16, the running statistics float32, the token table float8 (e4m3)."""
    state = model.state_dict()
    for name, tensor in image_side.state_dict().items():
        if not name.startswith("classifier"):
            state[f"visual.trunk.{name}"] = tensor
    state["visual.head.proj.weight"], state["visual.head.proj.bias"] = project.weight, project.bias
    state["logit_scale"] = torch.tensor(math.log(LOGIT_SCALE), dtype=torch.float32)
    out.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.to(_kept_as(name, tensor)).contiguous().clone() for name, tensor in state.items()}
    save_file(tensors, out / "open_clip_model.safetensors", metadata={"format": "pt"})
    config = {"model_cfg": CONFIG, "preprocess_cfg": PREPROCESS}
    (out / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _kept_as(name: str, tensor: torch.Tensor) -> torch.dtype:
    if name == "token_embedding.weight":
        return torch.float8_e4m3fn
    half = tensor.is_floating_point() and tensor.ndim > 0 and "running" not in name
    return torch.float16 if half else tensor.dtype


if __name__ == "__main__":
    main()
