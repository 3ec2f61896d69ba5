"""The picture of the review page: drawn pictures reviewed half-way in Chromium, light and dark side by side.

python tests/benchmarks/review_picture.py docs/pictures/review.png
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from promptctl import LearnSettings, commands, learn
from promptctl.demo import draw_pictures
from promptctl.review.decisions import opened
from promptctl.review.server import serving
from promptctl.review.session import Session

SIZE = {"width": 980, "height": 680}
COLOURS = 128  # of the picture, so that it stays small


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        os.environ["PROMPTCTL_HOME"] = str(Path(name, "home"))
        draw_pictures(Path(name))
        learn(Path(name, "photos"), "shapes", shots=2, settings=LearnSettings(epochs=20))
        asked = commands.review(Path(name, "test"), prompt="shapes")
        with opened(Path(name, "review.jsonl")) as log:
            session = Session(asked.context, asked.names, asked.questions, log)
            with serving(session, {"output": "review.jsonl", "commands": {"learn": "", "relabel": ""}}) as server:
                shots = photographed(server.url, Path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        beside(shots).quantize(COLOURS).save(target, optimize=True)


def photographed(url: str, folder: Path) -> list[Path]:
    """The page after five answers, light and dark."""
    with sync_playwright() as playwright:
        program = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=SIZE)
        page.goto(url)
        expect(page.locator("#count")).to_contain_text("0 of ")
        for done, key in enumerate(("Enter", "2", "Enter", "Enter", "Enter"), 1):
            page.keyboard.press(key)
            expect(page.locator("#count")).to_contain_text(f"{done} of ")
        shots = [shot(page, scheme, folder / f"{scheme}.png") for scheme in ("light", "dark")]
        browser.close()
    return shots


def shot(page: Page, scheme: str, file: Path) -> Path:
    page.emulate_media(color_scheme=scheme)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=file)
    return file


def beside(files: list[Path]) -> Image.Image:
    """Pictures of one size side by side."""
    some = [Image.open(file).convert("RGB") for file in files]
    width, height = some[0].size
    joined = Image.new("RGB", (width * len(some), height))
    for place, one in enumerate(some):
        joined.paste(one, (place * width, 0))
    return joined


if __name__ == "__main__":
    main(Path(sys.argv[1]))
