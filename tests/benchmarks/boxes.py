"""Ways to cut a box out of a photo, compared: python boxes.py BIRDS TEXTURES

BIRDS/train has the class folders emu, flamingo, ibis, pigeon and rooster: the first ten photos of each are learned
from, and in the next eight the birds have boxes drawn by hand, below. TEXTURES/train has class folders of backgrounds.
Accuracy in percent and log-loss, each beside the whole photo as the baseline, of

photos         the photos as they are: the bird is most of the picture
boxes off      the same with every side of a box moved by 6 % of it, standard deviation, drawn four times
scenes         the photo pasted into a picture of 1600 x 1200, so that the bird is 15 % of its width, drawn four times
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from promptctl import Store, learn
from promptctl.classification.classifier import Classifier
from promptctl.clip.quick import backbone_of
from promptctl.encoding.boxes import Box, square_of
from promptctl.encoding.decode import decode

BIRDS = ("emu", "flamingo", "ibis", "pigeon", "rooster")
LEARNED, BOXED, DRAWS = 10, 8, 4
CORNERS = (  # left, upper, right, lower in percent of photos 11 to 18 of each class
    (28, 22, 70, 72), (26, 3, 98, 100), (8, 12, 93, 95), (3, 8, 96, 95), (45, 33, 100, 84), (15, 25, 73, 76),
    (10, 7, 98, 97), (7, 8, 94, 95), (0, 22, 86, 90), (17, 8, 90, 95), (27, 16, 79, 60), (28, 12, 85, 85),
    (35, 8, 56, 93), (4, 0, 92, 86), (12, 2, 100, 70), (16, 3, 95, 94), (16, 20, 95, 78), (8, 10, 100, 99),
    (18, 15, 86, 87), (35, 26, 80, 93), (6, 9, 95, 92), (16, 9, 94, 99), (24, 12, 72, 99), (42, 8, 95, 72),
    (0, 36, 49, 85), (6, 16, 92, 98), (9, 0, 66, 88), (0, 0, 100, 96), (8, 2, 96, 96), (2, 3, 96, 95),
    (0, 28, 100, 100), (12, 20, 67, 75), (0, 0, 88, 90), (3, 6, 84, 90), (6, 20, 90, 93), (8, 5, 88, 99),
    (5, 6, 97, 95), (16, 1, 80, 93), (12, 13, 92, 92), (18, 20, 50, 80),
)  # fmt: skip

Cut = Callable[[Image.Image, Box], Image.Image]
Item = tuple[Image.Image, Box]


def tight(picture: Image.Image, box: Box) -> Image.Image:
    x, y, w, h = box
    width, height = picture.size
    return picture.crop((int(x * width), int(y * height), round((x + w) * width), round((y + h) * height)))


def filled(picture: Image.Image, box: Box) -> Image.Image:
    part = tight(picture, box)
    side = max(part.size)
    square = Image.new("RGB", (side, side))
    square.paste(part, ((side - part.width) // 2, (side - part.height) // 2))
    return square


def square(margin: float) -> Cut:
    def cut(picture: Image.Image, box: Box) -> Image.Image:
        x, y, w, h = box
        side = max(w * picture.width, h * picture.height) * (1 + margin) / 1.25  # which square_of adds a quarter to
        across, down = side / picture.width, side / picture.height
        return picture.crop(square_of((x + w / 2 - across / 2, y + h / 2 - down / 2, across, down), *picture.size))

    return cut


WAYS: dict[str, Cut] = {
    "the whole photo": lambda picture, box: picture,
    "the box, its middle square": tight,
    "the box, stretched": lambda picture, box: tight(picture, box).resize((224, 224), Image.Resampling.BICUBIC),
    "the box, on black": filled,
    **{f"a square, {margin:.0%} longer": square(margin) for margin in (0, 0.1, 0.25, 0.5, 1)},
}


def off(items: list[Item], chance: np.random.Generator) -> Iterator[Item]:
    for picture, (x, y, w, h) in items:
        left, upper, right, lower = chance.normal(0, 0.06, 4)
        x0, y0 = max(0, x + left * w), max(0, y + upper * h)
        x1, y1 = min(1, x + w + right * w), min(1, y + h + lower * h)
        yield picture, (x0, y0, x1 - x0, y1 - y0)


def scenes(items: list[Item], textures: list[Path], chance: np.random.Generator) -> Iterator[Item]:
    for picture, (x, y, w, h) in items:
        scene = decode(textures[chance.integers(len(textures))].read_bytes()).resize((1600, 1200))
        scale = 0.15 * 1600 / max(w * picture.width, h * picture.height)
        small = picture.resize((int(picture.width * scale), int(picture.height * scale)), Image.Resampling.BICUBIC)
        left, upper = (int(chance.integers(max(1, room))) for room in (1600 - small.width, 1200 - small.height))
        scene.paste(small, (left, upper))
        across, down = small.width / 1600, small.height / 1200
        yield scene, (left / 1600 + x * across, upper / 1200 + y * down, w * across, h * down)


def learned(files: dict[str, list[Path]]) -> Classifier:
    with tempfile.TemporaryDirectory() as home:
        for bird, some in files.items():
            (Path(home) / "photos" / bird).mkdir(parents=True)
            for file in some[:LEARNED]:
                (Path(home) / "photos" / bird / file.name).write_bytes(file.read_bytes())
        store = Store(Path(home) / "store")
        learn(Path(home) / "photos", "birds", shots=LEARNED, store=store)
        return Classifier.of(store["birds"])


def main(birds: Path, textures: Path) -> None:
    files = {bird: sorted((birds / "train" / bird).iterdir()) for bird in BIRDS}
    classifier, encoder = learned(files), backbone_of("mini", "cpu").encoder
    boxed = [decode(file.read_bytes()) for some in files.values() for file in some[LEARNED : LEARNED + BOXED]]
    parts = [(x0 / 100, y0 / 100, (x1 - x0) / 100, (y1 - y0) / 100) for x0, y0, x1, y1 in CORNERS]
    photos = list(zip(boxed, parts, strict=True))
    classes = np.repeat([classifier.labels.index(bird) for bird in BIRDS], BOXED)
    chance, grounds = np.random.default_rng(0), sorted((textures / "train").glob("*/*"))
    sets = {
        "photos": photos,
        "boxes off": [item for _ in range(DRAWS) for item in off(photos, chance)],
        "scenes": [item for _ in range(DRAWS) for item in scenes(photos, grounds, chance)],
    }
    for name, items in sets.items():
        right_ones = np.tile(classes, len(items) // len(classes))
        print(f"\n{name}: {len(items)}")
        for way, cut in WAYS.items():
            pixels = np.stack([encoder.preprocess(cut(*item)) for item in items])
            found = classifier.predict(encoder.encode(pixels)).probabilities
            loss = -np.log(found[np.arange(len(found)), right_ones]).mean()
            print(f"  {way:28} {100 * (found.argmax(1) == right_ones).mean():5.1f} %   log-loss {loss:.3f}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
