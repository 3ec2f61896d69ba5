"""How many near copies are found, and how many different photos are taken for some: python near_copies.py FOLDER …

Each folder has train/ and test/ with class folders. Fifty photos of test/ are changed in ways people's copies are and
looked for among the unchanged; then every photo of test/ is looked for in train/, where whoever wants to know whether
what is found are copies looks at the pairs printed.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from promptctl.clip.backbone import Backbone
from promptctl.data import near_copies
from promptctl.encoding.decode import decode, thumbnail

Change = Callable[[Image.Image], Image.Image]
PHOTOS = 50


def saved(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def without_edges(picture: Image.Image, share: float) -> Image.Image:
    width, height = picture.size
    return picture.crop((int(width * share), int(height * share), int(width * (1 - share)), int(height * (1 - share))))


CHANGES: dict[str, Change] = {
    "JPEG 75": lambda picture: saved(picture, 75),
    "JPEG 30": lambda picture: saved(picture, 30),
    "half size": lambda picture: picture.resize((picture.width // 2, picture.height // 2)),
    "brighter": lambda picture: picture.point(lambda value: int(255 * (value / 255) ** 0.8)),
    "mirrored": ImageOps.mirror,
    "2 % off each side": lambda picture: without_edges(picture, 0.02),
    "5 % off each side": lambda picture: without_edges(picture, 0.05),
}


def features(pictures: list[Image.Image], backbone: Backbone) -> np.ndarray:
    batches = [pictures[first : first + 32] for first in range(0, len(pictures), 32)]
    encoder = backbone.encoder
    return np.concatenate([encoder.encode(np.stack([encoder.preprocess(p) for p in some])) for some in batches])


def small(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L").resize((near_copies.SIDE,) * 2, Image.Resampling.BOX), np.float64)


def found_again(pictures: list[Image.Image], rows: np.ndarray, change: Change, backbone: Backbone) -> tuple[int, int]:
    """How many changed pictures are found among the unchanged: by a cosine of 0.95, and as promptctl finds them."""
    changed = [change(picture) for picture in pictures]
    pairs = [
        (i, cosine)
        for i, j, cosine in near_copies.alike(features(changed, backbone), rows, near_copies.ALIKE)
        if i == j
    ]
    near = [near_copies.is_near_copy(cosine, small(changed[i]), small(pictures[i])) for i, cosine in pairs]
    return sum(cosine >= 0.95 for _, cosine in pairs), sum(near)


def report(folder: Path, backbone: Backbone) -> None:
    test, train = (sorted(folder.glob(f"{part}/*/*")) for part in ("test", "train"))
    chosen = np.random.default_rng(0).choice(len(test), PHOTOS, replace=False)
    pictures = [decode(test[i].read_bytes()) for i in chosen]
    rows = features(pictures, backbone)
    for name, change in CHANGES.items():
        by_cosine, both = found_again(pictures, rows, change, backbone)
        print(f"{folder.name:10} {name:18} cosine alone {by_cosine:3} of {PHOTOS}, with pixels {both:3}")
    sides = [features([decode(path.read_bytes()) for path in part], backbone) for part in (test, train)]
    pairs = near_copies.alike(*sides, near_copies.ALIKE)
    near = [
        (test[i], train[j])
        for i, j, cosine in pairs
        if near_copies.is_near_copy(cosine, *(thumbnail(path, near_copies.SIDE) for path in (test[i], train[j])))
    ]
    by_cosine = sum(cosine >= 0.95 for *_, cosine in pairs)
    print(f"{folder.name:10} test in train: cosine alone {by_cosine} of {len(test)}, with pixels {len(near)}")
    for one, other in near:
        print(f"           {one.relative_to(folder)}  {other.relative_to(folder)}")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        report(Path(argument), Backbone("mini"))
