"""The pictures of `evaluate --report` in docs/: drawn patterns, spoiled as bad photos are, learned and evaluated.

python tests/benchmarks/report_pictures.py [FOLDER]     writes docs/pictures/report*.png, and the page to FOLDER
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

import promptctl
from promptctl.demo import PATTERNS, _picture
from promptctl.render.html import page

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
SHOTS, TEST = 4, 24
COLOURS = 160  # of a palette: a third of the bytes, and no eye sees it


def draw(home: Path) -> None:
    """`photos/` clear, `test/` blurred, noisy and pale in different measure, the same pixels every time."""
    for order, (name, pattern) in enumerate(PATTERNS.items()):
        rng = random.Random(100 + order)
        for i in range(2 * SHOTS + TEST):
            picture = _picture(pattern, rng)
            part = "photos" if i < 2 * SHOTS else "test"
            path = home / part / name / f"{i:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            (picture if part == "photos" else spoiled(picture, rng)).save(path, quality=90)


def spoiled(picture: Image.Image, rng: random.Random) -> Image.Image:
    blurred = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, 3.5)))
    noise = np.random.default_rng(rng.randrange(1 << 30)).normal(0, rng.uniform(2, 32), (224, 224, 1))
    pale = 128 + rng.uniform(0.5, 1) * (np.asarray(blurred, float) - 128)
    return Image.fromarray(np.clip(pale + noise, 0, 255).astype(np.uint8))


def written(home: Path) -> Path:
    draw(home)
    os.environ["PROMPTCTL_HOME"] = str(home / "store")
    os.chdir(home)
    promptctl.learn("photos", "patterns", shots=SHOTS)
    report = promptctl.evaluate("patterns", "test")
    command = "promptctl evaluate patterns ./test --report out.html"
    (home / "out.html").write_text(page(report, backbone="mini", command=command), "utf-8")
    print(f"{report.learned.top1:.3f} right of {report.images}, zero-shot {report.zero_shot.top1:.3f}")
    return home / "out.html"


def photograph(file: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, width, height, scheme, top in (
            ("report", 1080, 1150, "light", "body"),
            ("report-mistakes", 1080, 640, "light", "#mistakes"),
            ("report-phone", 390, 1400, "dark", "body"),
        ):
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            tab = context.new_page()
            tab.goto(file.as_uri())
            tab.evaluate(f"document.querySelector('{top}').scrollIntoView()")
            shot = PICTURES / f"{name}.png"
            tab.screenshot(path=shot)
            Image.open(shot).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(shot, optimize=True)
            print(f"{shot}: {shot.stat().st_size / 1000:.0f} KB")
            context.close()
        browser.close()


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    photograph(written(Path(sys.argv[1] if sys.argv[1:] else tempfile.mkdtemp()).resolve()))
