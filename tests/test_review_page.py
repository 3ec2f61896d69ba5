"""The page of a review in a real browser: ten photos labelled by keyboard outlast the program that is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browser import browser_page, chromium  # noqa: F401
from conftest import paint
from test_review import served, session_of

from promptctl.data.images import LabelledImage, hash_images
from promptctl.review import decisions
from promptctl.review.session import Question
from promptctl.store.store import Store

expect = pytest.importorskip("playwright.sync_api").expect


@contextmanager
def running(folder: Path, output: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program and the address of its page."""
    command = [sys.executable, "-m", "promptctl", "review", folder, "-p", "colours", "--output", output, "--no-open"]
    with subprocess.Popen(
        [*map(str, command), "--json", "--port", str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            said = ""
            for line in process.stderr:
                said += line
                if found := re.search(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", line):
                    yield process, found[0]
                    return
            raise AssertionError(said)
        finally:
            process.kill()


def kept(output: Path) -> list[tuple[str, str | None]]:
    return [(one.decision, one.label) for one in decisions.read(output).decisions]


def press(page, key: str, then: str) -> None:
    page.keyboard.press(key)
    expect(page.locator("#count")).to_have_text(then)


@pytest.mark.skipif(os.name == "nt", reason="a program is killed")
def test_ten_photos_labelled_by_keyboard_outlast_the_program(browser_page, colours_bytes, answering, tmp_path):  # noqa: F811
    Store().save("colours", colours_bytes, new=True)
    folder, output = paint(tmp_path / "unsorted", images=4, seed=7), tmp_path / "review.jsonl"
    page = browser_page
    with running(folder, output) as (process, url):
        page.goto(url)
        expect(page.locator("#count")).to_have_text("0 of 12")
        guess = page.locator("#likely button").first.locator(".name").inner_text()
        expect(page.locator("#question")).to_contain_text(f"Looks like {guess}, ")
        press(page, "Enter", "1 of 12")
        second = page.locator("#likely button").nth(1).locator(".name").inner_text()
        press(page, "2", "2 of 12, 1 changed")
        page.keyboard.press("ArrowDown")
        press(page, "Enter", "3 of 12, 2 changed")
        press(page, "u", "4 of 12, 2 changed")
        press(page, "ArrowRight", "5 of 12, 2 changed")
        press(page, "z", "4 of 12, 2 changed")
        press(page, "s", "5 of 12, 2 changed")
        page.keyboard.press("/")
        page.keyboard.type("Buzzard")
        expect(page.locator("#classes li")).to_have_text(["New class: Buzzard"])
        press(page, "Enter", "6 of 12, 3 changed")
        for done in (7, 8, 9, 10):
            press(page, "Enter", f"{done} of 12, 3 changed")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kept(output)[:4] == [("accept", guess), ("change", second), *kept(output)[2:3], ("unknown", None)]
    assert kept(output)[4:8] == [("skip", None), ("undo", None), ("skip", None), ("change", "Buzzard")]
    assert len(kept(output)) == 12
    seen = {one.file for one in decisions.read(output).decisions}

    with running(folder, output, urlsplit(url).port) as (process, url):
        page.goto(url)
        expect(page.locator("#count")).to_have_text("10 of 12, 3 changed")
        expect(page.locator("#next li")).to_have_count(1)
        press(page, "1", "11 of 12, 3 changed")
        page.keyboard.press("c")
        page.keyboard.type("r")
        expect(page.locator("#classes li")).to_have_text(["red", "Buzzard", "green", "New class: r"])
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page.locator("#finish")).to_have_text("All 12 photos are answered")
        expect(page.locator("#learn")).to_have_text(f"promptctl learn {output} --name colours")
        expect(page.locator("#relabel")).to_have_text(f"promptctl relabel colours {output}")
        page.get_by_role("button", name="Look at the skipped ones again").click()
        press(page, "Enter", "12 of 12, 4 changed")
        expect(page.locator("#finish")).to_be_visible()
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
        assert time.monotonic() - started < 2.0 and process.returncode == 0
    assert '"sentence": "12 of 12 photos decided, 4 changed"' in out and '"skip": 0' in out
    assert len({one.file for one in decisions.read(output).decisions} - seen) == 2


@pytest.fixture
def questions(tmp_path: Path) -> list[Question]:
    folder = paint(tmp_path / "unsorted", images=3, colours={"any": (200, 40, 40)})
    found, _ = hash_images([LabelledImage(path, "") for path in sorted(folder.rglob("*.png"))])
    hostile = "<img src=x onerror=alert(1)>"
    likely = ((hostile, 0.6), *((f"bird {i}", 0.04) for i in range(10)))
    return [
        Question(one.path, one.path, one.sha256, hostile, hostile, 0.6, True, likely, ("/a", "/b")) for one in found
    ]


@pytest.fixture
def page(browser_page, questions, tmp_path):  # noqa: F811
    with session_of(questions, tmp_path / "review.jsonl") as session, served(session) as running:
        browser_page.goto(running.url)
        expect(browser_page.locator("#count")).to_have_text("0 of 3")
        yield browser_page
        browser_page.evaluate("window.stop()")  # photos still on their way would be refused once nobody serves them


def test_an_answer_that_is_not_kept_is_said_so_and_the_photo_stays(page, tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("promptctl.store.files.append", fail)
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("This answer was NOT kept.")
        expect(page.get_by_role("alert")).to_contain_text("review.jsonl: no space left on device.")
        expect(page.locator("#count")).to_have_text("0 of 3")
        expect(page.locator("#file")).to_have_text("0.png")
    press(page, "Enter", "1 of 3")
    expect(page.locator("#alert")).to_be_hidden()
    assert [kind for kind, _ in kept(tmp_path / "review.jsonl")] == ["accept"]


def test_a_name_that_no_class_can_have_is_not_blamed_on_the_file(page, tmp_path):
    def refuse(route) -> None:
        answer = route.fetch()
        assert answer.status == 400
        route.fulfill(status=200, body=answer.body())  # of anything else a browser complains on its console

    page.route("**/decisions", refuse)
    page.keyboard.press("/")
    page.keyboard.type("emu|ibis")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text(
        "This answer was NOT kept.A name begins with a letter, and has no / \\ or | in it."
    )


def test_the_page_is_one_for_a_screen_reader_and_names_are_text(page):
    expect(page.get_by_role("heading", level=1)).to_have_text("Looks like <img src=x onerror=alert(1)>, 60 %")
    expect(page.locator("#copies")).to_have_text("and 2 more like it")
    expect(page.locator("#doubt")).to_be_visible()
    expect(page.locator("#likely button")).to_have_count(9)
    expect(page.get_by_role("progressbar")).to_have_accessible_name("0 of 3")
    expect(page.locator("#frame img")).to_have_accessible_name("Photo 0.png")
    page.get_by_role("button", name="Unknown").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Unknown. 1 of 3. Looks like ")
    unnamed = [one for one in page.get_by_role("button").all() if not one.inner_text().strip()]
    assert unnamed == []
    field = page.get_by_role("combobox", name="Another class")
    field.fill("bird")
    expect(page.get_by_role("listbox")).to_be_visible()
    assert page.get_by_role("option", selected=True).get_attribute("id") == field.get_attribute("aria-activedescendant")
    field.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut_off_and_text_stands_out(page, scheme):
    page.set_viewport_size({"width": 360, "height": 700})
    page.emulate_media(color_scheme=scheme)
    wide = page.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= 360
    for selector in ("#question", "#doubt", "#count", "#file", "#likely .share", "#skip"):
        assert contrast(*page.evaluate(_COLOURS, selector)) >= 4.5, selector


_COLOURS = """(selector) => {
  const own = document.querySelector(selector);
  let behind = own;
  while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
  return [getComputedStyle(own).color, getComputedStyle(behind).backgroundColor];
}"""


def contrast(one: str, other: str) -> float:
    """WCAG's contrast of two colours as a browser says them."""
    lights = sorted(luminance(tuple(map(int, re.findall(r"\d+", colour)[:3]))) for colour in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(colour: tuple[int, ...]) -> float:
    linear = [(c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
