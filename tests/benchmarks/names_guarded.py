"""Names added without a photo, as the guard judges them: honest ones far from the classes and near them, and bad ones.

    python tests/benchmarks/names_guarded.py photos/birds photos/clothing photos/textures [--seeds 1,2,3]

Each folder has train/ and test/. A context is learned from train/, once as `learn` does (a fifth of each class held
out) and with 16 shots of each seed, and every name is added to it by itself. Harmful is what costs the old classes more
than two points of all photos in test/, whatever the name means. Beside the guard the same without its test: a bare
drop of two points on the photos that it sees.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from promptctl import Store, learn
from promptctl.classification.blend import as_kept
from promptctl.classification.classifier import Classifier
from promptctl.clip.quick import backbone_of
from promptctl.clip.templates import text_features
from promptctl.context.context import Context
from promptctl.context.guard import FEWEST_IMAGES, MAX_FORGETTING, Paired, Taken, judge
from promptctl.encoding.cache import FeatureCache
from promptctl.encoding.pipeline import Features, encode_files
from promptctl.learners import head

FAR = "car, bicycle, laptop, pizza, piano, bridge, sofa, airplane, cup, clock, bus, guitar"
NEAR = {  # other things of the same kind, none of which the photos show
    "birds": "ostrich, heron, duck, swan, eagle, owl, parrot, crow, peacock, penguin, pelican, hummingbird",
    "clothing": "sock, glove, scarf, necktie, belt, bra, handbag, bathrobe, swimsuit, umbrella, sunglasses, wristwatch",
    "textures": "dotted, swirly, freckled, frilly, honeycombed, knitted, paisley, pleated, porous, scaly, woven, lace",
}
BAD = {  # what the classes are together, another word for one of them, or a part of one
    "birds": "bird, animal, wading bird, flightless bird, chicken, dove, poultry, feathers",
    "clothing": "clothes, garment, apparel, jeans, sneakers, jacket, trousers, blouse, sweater, cap",
    "textures": "texture, pattern, surface, stripes, plaid, spider web, foam, crystals, lines, cracks",
}


@dataclass(frozen=True)
class Added:
    """One name, added."""

    photos: str
    kind: str  # far, near or bad
    name: str
    compared: int  # photos that the guard saw
    drop: float  # on these, fraction
    p: float
    refused: bool
    harm: float  # of the old classes on all test photos, fraction

    @property
    def harmful(self) -> bool:
        return self.harm > MAX_FORGETTING


def words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def added(photos: Path, shots: int | None, seed: int, named: Mapping[str, Sequence[str]]) -> list[Added]:
    """Every name by itself to one context; the head's rows and offset are the same whatever it is."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        learn(photos / "train", "c", shots=shots, seed=seed, epochs=1, store=store)
        context = store["c"]
    names, card = [name for some in named.values() for name in some], context.card
    rows = text_features(backbone_of("mini", "cpu").tower, names, card.zero_shot_template)
    own = context.shots.held_out == 0
    x, y = context.learned_from()
    zero_shot, groups = np.concatenate([context.zero_shot_features, rows]), context.shots.groups[own].astype(np.int64)
    found = head.fit(as_kept(x), y, zero_shot, logit_scale=card.logit_scale, groups=groups, seed=card.method.seed)
    assert found.share == 1
    after = Classifier(found.weight, card.logit_scale, bias=found.bias)
    seen = compared(context, found, after)
    tested = features_of(photos, card.labels)
    test = of_images(context, after, tested.vectors, np.array([card.labels.index(p.parent.name) for p in tested.paths]))
    columns = {name: [*range(len(card.labels)), len(card.labels) + i] for i, name in enumerate(names)}
    return [
        made(photos.name, kind, name, seen(columns[name]), test(columns[name]))
        for kind, some in named.items()
        for name in some
    ]


Compared = tuple[Paired, np.ndarray, list[Taken]]  # and (N,) the classes
Seen = Callable[[Sequence[int]], Compared]  # among some columns, the last of which is the new name's


def compared(context: Context, found: head.FittedHead, after: Classifier) -> Seen:
    """What the guard sees: images held out, or where there are too few, the shots as folds saw them."""
    held_out, rows = context.held_out()
    if len(rows) >= FEWEST_IMAGES:
        return of_images(context, after, as_kept(held_out), rows)
    own, (_, y) = context.shots.held_out == 0, context.learned_from()
    judged = found.predicted >= 0
    before = context.shots.predicted[own] == context.shots.class_ids[own]
    return lambda among: beside(before[judged], found.logits[judged][:, among], y[judged])


def of_images(context: Context, after: Classifier, x: np.ndarray, true: np.ndarray) -> Seen:
    before, logits = Classifier.of(context).predict(x).best == true, after.logits(x)
    return lambda among: beside(before, logits[:, among], true)


def beside(before: np.ndarray, logits: np.ndarray, true: np.ndarray) -> Compared:
    answered, new = logits.argmax(1), logits.shape[1] - 1
    return Paired(before, answered == true), true, [Taken("new", "old", int((before & (answered == new)).sum()))]


def made(photos: str, kind: str, name: str, seen: Compared, test: Compared) -> Added:
    pairs, classes, taken = seen
    verdict = judge(pairs, classes, {c: str(c) for c in range(100)}, taken=taken)
    return Added(photos, kind, name, verdict.images, verdict.drop, verdict.p, verdict.refused, test[0].drop)


def features_of(photos: Path, labels: Sequence[str]) -> Features:
    files = [path for label in labels for path in sorted((photos / "test" / label).iterdir())]
    with FeatureCache() as cache:
        return encode_files(files, backbone_of("mini", "cpu").encoder, cache)[0]


def line(title: str, some: Sequence[Added]) -> str:
    harmless, harmful = ([one for one in some if one.harmful is harm] for harm in (False, True))
    seen = sorted({one.compared for one in some})
    harms = [100 * one.harm for one in some]
    cells = [
        title,
        "/".join(map(str, seen)),
        f"{sum(one.refused for one in some)} of {len(some)}",
        f"{sum(one.drop > MAX_FORGETTING for one in some)}",
        f"{np.median(harms):.1f}, {max(harms):.1f}",
        f"{sum(one.refused for one in harmless)} of {len(harmless)}",
        f"{sum(one.refused for one in harmful)} of {len(harmful)}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--each", action="store_true", help="a line of every name too")
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[1, 2, 3])
    options = parser.parse_args()
    found: defaultdict[str, list[Added]] = defaultdict(list)
    for photos in options.folders:
        named = {"far": words(FAR), "near": words(NEAR[photos.name]), "bad": words(BAD[photos.name])}
        found["all photos"] += added(photos, None, 1, named)
        for seed in options.seeds:
            found["16 shots"] += added(photos, 16, seed, named)
    for one in [one for every in found.values() for one in every] if options.each else ():
        print(one)
    print("| names | guard sees | refused | bare drop | harm: median, most | refused of harmless | of harmful |")
    for way, every in found.items():
        for kind in ("far", "near", "bad"):
            for name in [folder.name for folder in options.folders]:
                print(line(f"{way}, {name}, {kind}", [one for one in every if (one.photos, one.kind) == (name, kind)]))
            print(line(f"{way}, {kind}", [one for one in every if one.kind == kind]))


if __name__ == "__main__":
    main()
