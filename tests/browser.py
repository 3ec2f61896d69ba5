"""A page in a real browser: Debian's Chromium without a window, driven by Playwright. Without one, tests skip."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    """A browser; a module shares it."""
    sync_api = pytest.importorskip("playwright.sync_api")
    program = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    if program is None:
        pytest.skip("no Chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def browser_page(chromium: object) -> Iterator[object]:
    """An empty page. It must not complain on its console, nor ask for anything outside its own origin."""
    context = chromium.new_context(viewport={"width": 1100, "height": 800})
    page = context.new_page()
    page.set_default_timeout(15_000)
    complaints, asked = [], []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    own = urlsplit(page.url)
    context.close()
    assert not complaints, complaints
    strangers = [
        url for url in asked if not url.startswith(("data:", "blob:")) and _origin(url) != (own.scheme, own.netloc)
    ]
    assert not strangers, strangers


def _origin(url: str) -> tuple[str, str]:
    return urlsplit(url).scheme, urlsplit(url).netloc
