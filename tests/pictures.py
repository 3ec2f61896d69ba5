"""Paint what a phone might hold, sort it for real, and draw both folders: the pictures of docs/first-library.md.

`python tests/pictures.py` writes docs/pictures/phone.png and library.png again; it needs Chromium and Playwright.
"""

from __future__ import annotations

import base64
import html
import io
import math
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

SIZE = (320, 240)
KINDS = ("beach", "flowers", "food", "pets")
STYLE = """
body { margin: 0; padding: 18px; width: 864px; background: #fff; color: #222; font: 15px "DejaVu Sans", sans-serif }
h2 { margin: 14px 0 6px; font-size: 16px } h2:first-child { margin-top: 0 }
div { display: flex; flex-wrap: wrap; gap: 10px } figure { margin: 0; width: 135px }
img { width: 135px; height: 101px; border-radius: 6px; display: block } figcaption { font-size: 11px; color: #555 }
"""


def paint_phone(home: Path) -> None:
    """`examples/`, `more-examples/` (a folder per kind) and `phone/`: the same pictures every time."""
    rng = random.Random(4)
    for kind in KINDS:
        for part, count in (("examples", 8), ("more-examples", 4)):
            for i in range(count):
                _save(paint_scene(kind, rng), home / part / kind / f"{i}.jpg")
    shuffled = [*KINDS * 5, "screen", "screen"]
    rng.shuffle(shuffled)
    for number, kind in enumerate(shuffled, start=4031):
        _save(paint_scene(kind, rng), home / "phone" / f"IMG_{number}.jpg")


def paint_scene(kind: str, rng: random.Random) -> Image.Image:
    image = Image.new("RGB", SIZE)
    {"beach": _beach, "flowers": _flowers, "food": _food, "pets": _pet, "screen": _screen}[kind](image, rng)
    return image.filter(ImageFilter.GaussianBlur(0.7))


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=90)


def _round(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: tuple[int, int, int]) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _near(rng: random.Random, *colour: int) -> tuple[int, int, int]:
    red, green, blue = (max(0, min(255, c + rng.randint(-22, 22))) for c in colour)
    return red, green, blue


def _beach(image: Image.Image, rng: random.Random) -> None:
    draw, sea, sand = ImageDraw.Draw(image), rng.randint(90, 125), rng.randint(150, 180)
    draw.rectangle((0, 0, 320, sea), fill=_near(rng, 140, 205, 245))
    draw.rectangle((0, sea, 320, sand), fill=_near(rng, 30, 130, 190))
    draw.polygon([(0, sand), (320, sand - 15), (320, 240), (0, 240)], fill=_near(rng, 232, 205, 140))
    _round(draw, rng.randint(30, 290), rng.randint(25, 60), 20, (255, 240, 150))
    for _ in range(3):
        x, y = rng.randint(0, 280), rng.randint(sea + 5, sand - 8)
        draw.line((x, y, x + 40, y), fill=(200, 230, 245), width=2)
    x, shade = rng.randint(60, 260), _near(rng, 220, 60, 60)
    draw.line((x, 150, x + 8, 220), fill=(110, 80, 50), width=4)
    draw.pieslice((x - 50, 118, x + 52, 200), 185, 355, fill=shade)


def _flowers(image: Image.Image, rng: random.Random) -> None:
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 320, 240), fill=_near(rng, 70, 140, 60))
    petal = rng.choice([(235, 70, 150), (240, 190, 40), (150, 90, 220), (245, 245, 250), (225, 50, 50)])
    for _ in range(rng.randint(4, 7)):
        x, y, size = rng.randint(30, 290), rng.randint(30, 190), rng.randint(13, 22)
        draw.line((x, y, x + rng.randint(-10, 10), 240), fill=(40, 100, 40), width=4)
        for i in range(6):
            _round(draw, x + size * math.cos(i * 1.047), y + size * math.sin(i * 1.047), size * 0.6, petal)
        _round(draw, x, y, size * 0.55, (250, 210, 70))


def _food(image: Image.Image, rng: random.Random) -> None:
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 320, 240), fill=_near(rng, 150, 100, 60))
    for y in range(0, 240, 34):
        draw.line((0, y, 320, y), fill=(115, 75, 45), width=2)
    x, y = rng.randint(130, 190), rng.randint(110, 130)
    _round(draw, x, y, 100, (225, 225, 225))
    _round(draw, x, y, 90, (250, 250, 248))
    for colour in ((190, 50, 35), (235, 190, 90), (95, 150, 60), (160, 95, 45)):
        for _ in range(rng.randint(2, 4)):
            angle, far = rng.uniform(0, 6.28), rng.uniform(0, 55)
            _round(draw, x + far * math.cos(angle), y + far * math.sin(angle), rng.randint(10, 20), _near(rng, *colour))


def _pet(image: Image.Image, rng: random.Random) -> None:
    draw, fur = ImageDraw.Draw(image), rng.choice([(60, 58, 62), (205, 130, 60), (235, 225, 210), (130, 125, 120)])
    draw.rectangle((0, 0, 320, 240), fill=_near(rng, 190, 175, 200))
    draw.rectangle((0, 190, 320, 240), fill=_near(rng, 130, 70, 80))
    x, y, size = rng.randint(120, 200), rng.randint(100, 130), rng.randint(52, 66)
    draw.ellipse((x - size, y + size // 2, x + size, 260), fill=fur)
    for side in (-1, 1):
        tip = (x + side * size * 0.85, y - size * 1.35)
        draw.polygon(
            [(x + side * size * 0.95, y - size * 0.2), tip, (x + side * size * 0.1, y - size * 0.85)], fill=fur
        )
    _round(draw, x, y, size, fur)
    for side in (-1, 1):
        _round(draw, x + side * size * 0.42, y - 6, size * 0.2, (225, 215, 90))
        _round(draw, x + side * size * 0.42, y - 6, size * 0.1, (20, 20, 20))
    draw.polygon([(x - 8, y + 16), (x + 8, y + 16), (x, y + 26)], fill=(235, 140, 150))


def _screen(image: Image.Image, rng: random.Random) -> None:
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 320, 240), fill=(248, 248, 250))
    for y in range(20, 230, 18):
        draw.rectangle((20, y, rng.randint(140, 300), y + 7), fill=(60, 62, 70))


# --------------------------------------------------------------------------- folders as pictures


def _sheet(folders: Iterator[tuple[str, list[Path]]]) -> str:
    """A page with the photos of each folder under its name."""
    parts = [f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>"]
    for name, photos in folders:
        parts += [f"<h2>{html.escape(name)}</h2><div>", *map(_figure, photos), "</div>"]
    return "".join(parts)


def _figure(photo: Path) -> str:
    small = io.BytesIO()
    Image.open(photo).resize((135, 101)).save(small, "PNG")
    shown = base64.b64encode(small.getvalue()).decode()
    return (
        f'<figure><img src="data:image/png;base64,{shown}"><figcaption>{html.escape(photo.name)}</figcaption></figure>'
    )


def _draw(page: str, target: Path) -> None:
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 900, "height": 200})
        tab.set_content(page)
        tab.screenshot(path=str(target), full_page=True)
        browser.close()
    Image.open(target).quantize(128).save(target, optimize=True)


def main() -> None:
    import promptctl

    pictures = Path(__file__).resolve().parent.parent / "docs" / "pictures"
    pictures.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        os.environ["PROMPTCTL_HOME"] = f"{home}/store"
        os.chdir(home)
        paint_phone(Path())
        promptctl.learn("examples", "my-photos")
        promptctl.sort("phone", "my-photos", into="library")
        _draw(_sheet(iter([("phone", sorted(Path("phone").iterdir()))])), pictures / "phone.png")
        sorted_folders = (
            (f"library/{path.name}", sorted(path.iterdir())) for path in sorted(Path("library").iterdir())
        )
        _draw(_sheet(sorted_folders), pictures / "library.png")


if __name__ == "__main__":
    main()
