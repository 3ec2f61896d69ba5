"""Reports in notebooks: as HTML, and as data frames of pandas."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import browser_page, chromium  # noqa: F401

import promptctl
from promptctl import commands
from promptctl.cells import unescape
from promptctl.errors import ExtraMissing
from promptctl.render.formats import as_csv
from promptctl.render.notebook import MOST_ROWS
from promptctl.report import Classified, ClassifyReport, Guess, SkippedFile
from promptctl.report.base import Report
from promptctl.store.store import Store

pd = pytest.importorskip("pandas")

EVIL = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">&amp;\u202e\x1b[2J"


class Balanced(HTMLParser):
    """Whether every tag that opens is closed, and what is in the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.append(tag)
        assert {name for name, _ in attrs} <= {"class"}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += "" if self.open[-1:] == ["style"] else data + "\n"


def answers(count, name="emu"):
    for i in range(count):
        yield Classified(Path(f"{i}.jpg"), (Guess(name, name, 0.5 + i / 1000),), unknown=i == 1)


def classified(found):
    return ClassifyReport("birds", 1.0, False, ("emu",), 1, ["0.jpg"], found)


@pytest.fixture
def reports(photos, colours_bytes, answering):
    Store().save("colours", colours_bytes, new=True)
    (photos / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    of_context = (commands.inspect, commands.log, commands.doctor, commands.show, commands.list_classes)
    return [
        commands.evaluate("colours", photos),
        commands.classify(photos, "colours"),
        *(command("colours") for command in of_context),
        commands.list_contexts(),
        commands.cache_info(),
        commands.learn(photos, "colours", dry_run=True),
    ]


def test_every_report_is_shown_and_is_a_data_frame_like_its_csv(reports):
    for report in reports:
        page = Balanced(report._repr_html_())
        assert page.text.strip() and len(page.text) < 20_000, report.type
        frame = report.to_pandas()
        if isinstance(report, ClassifyReport):
            assert "1 skipped:" in Balanced(report._repr_html_()).text
        columns, *rows = csv.reader(io.StringIO(as_csv(report), newline=""))
        assert list(frame.columns) == columns, report.type
        assert len(frame) == len(rows)
        for key, written in zip(columns, zip(*rows, strict=True), strict=False):
            told = ["" if pd.isna(cell) else str(cell) for cell in frame[key].tolist()]
            assert told == [unescape(cell) for cell in written], (report.type, key)


def test_types_are_those_of_the_values():
    found = answers(3)
    frame = classified([*found, SkippedFile(Path("x"), "broken")]).to_pandas()
    assert (frame["probability"].dtype, frame["unknown"].dtype) == ("float64", "bool")
    assert [type(cell) for cell in frame["path"]] == [str] * 3
    assert frame["unknown"].tolist() == [False, True, False]
    from promptctl.report.frame import frame_of

    rows = [{"n": 1, "x": 1, "b": True, "p": Path("a"), "none": None}, {"n": None, "x": 0.5, "b": None, "p": None}]
    kinds = frame_of(["n", "x", "b", "p", "none", "never"], rows).dtypes
    assert list(map(str, kinds)) == ["Int64", "float64", "boolean", "object", "object", "object"]
    assert list(frame_of(["a", "b"], []).columns) == ["a", "b"]


def test_a_stream_is_shown_by_its_first_rows_and_loses_none():
    taken = []

    def found():
        for item in answers(50):
            taken.append(item)
            yield item

    report = classified(found())
    page = Balanced(report._repr_html_())
    assert (page.seen.count("tr"), len(taken)) == (1 + MOST_ROWS, MOST_ROWS + 1)
    assert "more rows follow" in page.text
    assert report._repr_html_() and len(taken) == MOST_ROWS + 1
    assert [item.path.name for item in report.items()] == [f"{i}.jpg" for i in range(50)]
    assert "rows were taken as they came" in Balanced(report._repr_html_()).text
    with pytest.raises(promptctl.PromptctlError, match="the rows of this report were taken before"):
        report.to_pandas()


def test_a_data_frame_may_be_asked_for_twice_and_the_items_still_come():
    report = classified(answers(50))
    first, second = report.to_pandas(), report.to_pandas()
    assert len(first) == 50 and first.equals(second)
    assert (len(list(report.items())), report.images) == (50, 50)
    page = Balanced(report._repr_html_())
    assert f"and {50 - MOST_ROWS} more rows: .to_pandas() has all" in page.text
    assert "50 photos: " in page.text


def test_what_was_interrupted_is_not_taken_for_all():
    def found():
        yield from answers(5)
        raise KeyboardInterrupt

    report = classified(found())
    with pytest.raises(KeyboardInterrupt):
        report.to_pandas()
    with pytest.raises(promptctl.PromptctlError, match="were taken before"):
        report.to_pandas()


def test_whoever_stops_early_lets_go_of_all_and_another_goes_on():
    let_go = []

    def found():
        try:
            yield from answers(3)
        finally:
            let_go.append(True)

    items = classified(found()).items()
    next(items)
    items.close()
    assert let_go == [True]
    report = classified(answers(3))
    first = report.items()
    next(first)
    first.close()
    assert len(list(report.items())) == 2


def test_a_watch_is_not_asked_for_rows_to_show_it():
    from promptctl.report import WatchReport

    def arriving():
        raise AssertionError("asked")
        yield

    report = WatchReport("birds", Path("in"), Path("out"), "copy", ("emu",), arriving())
    assert "rows come as they are found" in report._repr_html_()


def test_names_are_text_and_nothing_else_in_a_page():
    report = classified(answers(2, EVIL))
    page = report._repr_html_()
    assert set(Balanced(page).seen) == {"div", "style", "table", "thead", "tbody", "tr", "th", "td", "p"}
    assert "\u202e" not in page and "\x1b" not in page and "<img" not in page
    surrogate = classified([Classified(Path("caf\udce9.jpg"), (Guess("emu", "emu", 1.0),))])
    surrogate._repr_html_().encode("utf-8")  # a notebook is JSON in UTF-8
    assert surrogate.to_pandas()["path"][0] == "caf\udce9.jpg"  # and opens the file


def test_without_pandas_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr("promptctl.report.frame.find_spec", lambda name: None)
    report = classified(answers(2))
    for one in (report, Report()):
        with pytest.raises(ExtraMissing, match="a data frame needs the library pandas") as refused:
            one.to_pandas()
        assert refused.value.hint == "pip install 'promptctl[pandas]'"
    assert len(list(report.items())) == 2  # nothing was lost by asking


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_in_the_colours_of_the_notebook(browser_page, scheme):  # noqa: F811
    ink, paper = ("rgb(10, 20, 30)", "white") if scheme == "light" else ("rgb(230, 240, 250)", "black")
    page = classified(answers(30, EVIL))._repr_html_()
    browser_page.set_content(f"<title>mine</title><body style='color:{ink};background:{paper}'>{page}")
    assert browser_page.title() == "mine"
    assert browser_page.locator("tbody tr").count() == MOST_ROWS
    cell = browser_page.locator("td").nth(1)
    assert cell.inner_text().startswith("<script>document.title")
    colours = cell.evaluate("cell => [getComputedStyle(cell).color, getComputedStyle(cell).backgroundColor]")
    assert colours == [ink, "rgba(0, 0, 0, 0)"]
    numbers = browser_page.locator("td.number").first
    assert re.fullmatch(r"50\.0 %", numbers.inner_text())
    assert numbers.evaluate("cell => getComputedStyle(cell).textAlign") == "right"
