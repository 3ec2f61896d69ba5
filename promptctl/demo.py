"""The demo: a small picture set drawn on the spot, and the four verbs run on it as a person would type them."""

from __future__ import annotations

import math
import os
import random
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from promptctl.errors import DatasetError, ExportFailed, reason_of
from promptctl.render import talk

SIZE = 224
SHOTS = 4
TEST = 8
UNSORTED = 1
Colour = tuple[int, int, int]


def run(folder: Path | None, command: Callable[[Sequence[str]], object]) -> None:
    """Draw the pictures, then run learn, evaluate, inspect and classify on them with a store of their own."""
    started = time.monotonic()
    home = _new_folder(folder)
    draw_pictures(home)
    os.environ["PROMPTCTL_HOME"] = str(home / "store")
    os.chdir(home)
    talk(f"# {len(PATTERNS)} kinds of pattern drawn in {home}, where this demo keeps its own store")
    for line in (
        f"promptctl learn ./photos --name patterns --shots {SHOTS}",
        "promptctl evaluate patterns ./test",
        "promptctl inspect patterns --top 3",
        "promptctl classify ./unsorted --prompt patterns --top 2",
    ):
        talk("")
        talk(f"$ {line}")
        command(shlex.split(line)[1:])
    talk("")
    talk(
        f"# done in {time.monotonic() - started:.0f} s; to go on with it: "
        f"export PROMPTCTL_HOME={shlex.quote(str(home / 'store'))}"
    )
    talk("# on your own photos, one folder per class: promptctl learn ./photos --name NAME --shots 4")


def draw_pictures(home: Path) -> None:
    """`photos/ test/ unsorted/`, the same pixels on every machine and every time."""
    for order, (name, pattern) in enumerate(PATTERNS.items()):
        rng = random.Random(order)  # a generator per class: a new pattern changes no old picture
        pictures = [_picture(pattern, rng) for _ in range(2 * SHOTS + TEST + UNSORTED)]
        for i, picture in enumerate(pictures):
            part = "photos" if i < 2 * SHOTS else "test" if i < 2 * SHOTS + TEST else "unsorted"
            path = home / part / (f"{order + 1}.png" if part == "unsorted" else f"{name}/{i}.png")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path)
            except OSError as error:  # of a full disk, which does not say of which file
                raise ExportFailed(path, reason_of(error), "promptctl demo ./another-folder") from error


def _new_folder(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="promptctl-demo-"))
    if folder.exists() and any(folder.iterdir()):
        raise DatasetError(f"{folder} is not empty, and the demo overwrites nothing", "promptctl demo ./a-new-folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _picture(pattern: Callable[[ImageDraw.ImageDraw, random.Random, Colour], None], rng: random.Random) -> Image.Image:
    light = _colour(rng, 150, 255)
    dark = _colour(rng, 0, 120)
    ground, ink = (light, dark) if rng.random() < 0.5 else (dark, light)
    image = Image.new("RGB", (2 * SIZE, 2 * SIZE), ground)
    pattern(ImageDraw.Draw(image), rng, ink)
    turned = image.rotate(rng.uniform(-20, 20), Image.Resampling.BICUBIC)
    return turned.crop((SIZE // 2, SIZE // 2, SIZE // 2 + SIZE, SIZE // 2 + SIZE))


def _colour(rng: random.Random, low: int, high: int) -> Colour:
    return rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)


def _stripes(draw: ImageDraw.ImageDraw, rng: random.Random, ink: Colour) -> None:
    step = rng.randint(16, 44)
    for x in range(0, 2 * SIZE, step):
        draw.rectangle((x, 0, x + step // 2, 2 * SIZE), fill=ink)


def _dots(draw: ImageDraw.ImageDraw, rng: random.Random, ink: Colour) -> None:
    step = rng.randint(24, 56)
    radius = step * rng.uniform(0.2, 0.36)
    for row, y in enumerate(range(0, 2 * SIZE, step)):
        for x in range(step // 2 * (row % 2), 2 * SIZE, step):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)


def _checks(draw: ImageDraw.ImageDraw, rng: random.Random, ink: Colour) -> None:
    step = rng.randint(16, 44)
    for row, y in enumerate(range(0, 2 * SIZE, step)):
        for x in range(step * (row % 2), 2 * SIZE, 2 * step):
            draw.rectangle((x, y, x + step - 1, y + step - 1), fill=ink)


def _rings(draw: ImageDraw.ImageDraw, rng: random.Random, ink: Colour) -> None:
    step = rng.randint(14, 32)
    x, y = SIZE + rng.randint(-40, 40), SIZE + rng.randint(-40, 40)
    for radius in range(step, 2 * SIZE, step):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=ink, width=step // 3)


def _waves(draw: ImageDraw.ImageDraw, rng: random.Random, ink: Colour) -> None:
    step, height, length = rng.randint(22, 48), rng.uniform(8, 18), rng.uniform(40, 90)
    for y in range(-step, 2 * SIZE + step, step):
        line = [(x, y + height * math.sin(2 * math.pi * x / length)) for x in range(0, 2 * SIZE, 4)]
        draw.line(line, fill=ink, width=step // 4, joint="curve")


def _bricks(draw: ImageDraw.ImageDraw, rng: random.Random, ink: Colour) -> None:
    height = rng.randint(18, 40)
    for row, y in enumerate(range(0, 2 * SIZE, height)):
        for x in range(-height * (row % 2), 2 * SIZE, 2 * height):
            draw.rectangle((x, y, x + 2 * height - 5, y + height - 5), fill=ink)


PATTERNS = {
    "bricks": _bricks,
    "checkerboard": _checks,
    "polka_dots": _dots,
    "rings": _rings,
    "stripes": _stripes,
    "waves": _waves,
}
