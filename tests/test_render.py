"""What a terminal shows: tables where they fit, one record after the other where they do not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rich.text import Text

from promptctl import render
from promptctl.report import Classified, ClassifyReport, Guess, SkippedFile

IMAGES = tuple(
    Classified(Path(f"unsorted/IMG_{i}.jpg"), (Guess("ibis", "glossy ibis", 0.875), Guess("emu", "emu", 0.125)))
    for i in range(3)
)
REPORT = ClassifyReport("birds@1", 1.0, False, IMAGES, ())


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    return lambda columns: monkeypatch.setenv("COLUMNS", str(columns))


def shown_lines() -> list[str]:
    return Text.from_ansi(render.as_table(REPORT)).plain.splitlines()


def test_a_table_where_it_fits(terminal):
    terminal(80)
    lines = shown_lines()
    assert lines[0].split() == ["path", "class", "probability", "2nd"]
    assert lines[2].rstrip() == "unsorted/IMG_0.jpg   glossy ibis        87.5 %   emu 12.5 %"
    assert len(lines) == 2 + len(IMAGES)


@pytest.mark.parametrize("columns", [30, 40, 50, 60, 70, 80])
def test_no_path_and_no_number_is_ever_broken(terminal, columns):
    terminal(columns)
    shown = "\n".join(shown_lines())
    assert all(shown.count(f"unsorted/IMG_{i}.jpg") == 1 for i in range(3))
    assert shown.count("87.5 %") == 3


def test_records_where_it_does_not_fit(terminal):
    terminal(40)
    assert shown_lines()[:5] == [
        "path: unsorted/IMG_0.jpg",
        "class: glossy ibis",
        "probability: 87.5 %",
        "2nd: emu 12.5 %",
        "",
    ]


@pytest.mark.parametrize("output", ["table", "json", "jsonl", "csv"])
def test_warnings_go_to_stderr_in_every_format(capsys, output):
    render.render(ClassifyReport("birds@1", 1.0, False, (), (SkippedFile(Path("a.txt"), "not an image"),)), output)
    printed = capsys.readouterr()
    assert printed.err == "warning: 1 skipped:\n  a.txt: not an image\n"
    if output == "csv":
        assert printed.out == "path,label,name,probability\n"
