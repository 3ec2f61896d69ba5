"""What a terminal shows and what a pipe gets: tables, prose, CSV, JSON."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from rich.cells import cell_len
from test_context import make

from promptctl import render
from promptctl.cells import unescape
from promptctl.render.text import cut, cut_middle, printable, width, wrapped
from promptctl.report import (
    Classified,
    ClassifyReport,
    ClassScore,
    EvaluateReport,
    Guess,
    InspectReport,
    NearWordRow,
    PathReport,
    Report,
    Scores,
    SkippedFile,
    StreamedReport,
    VectorReport,
    VocabularyFacts,
)
from promptctl.report.phrases import joined, number_of

WIDTHS = [60, 61, 70, 80, 100, 140]
PATHS = (
    "unsorted/IMG_0159.jpg",
    "archive/2026/summer holiday/with the whole family at the lake/IMG_20260714_101112_HDR.jpg",
    "旅行の写真/東京の動物園で撮った鳥の写真その一番目から百番目まで/写真.jpg",
    "e\u0301te\u0301/" + "e\u0301" * 60 + ".jpg",
    "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀❤️✊🏽.jpg",
    "תמונות/שלום עולם.jpg",
    "x" * 250 + ".jpg",
)
GUESSES = (
    Guess("a", "southern yellow-billed hornbill of the dry savannah", 0.875),
    Guess("b", "コウノトリ目トキ科の大きな白い鳥", 0.1),
    Guess("c", "emu", 0.025),
)


def classified(*paths: str, top: tuple[Guess, ...] = GUESSES, skipped: tuple[SkippedFile, ...] = ()) -> ClassifyReport:
    return found([Classified(Path(p), top) for p in paths], skipped, classes=top)


def found(images: Sequence[Classified], skipped: Sequence[SkippedFile] = (), *, classes=GUESSES) -> ClassifyReport:
    """What `classify` says of images that it gave one of these classes."""
    names = tuple(guess.name for guess in classes)
    files = [str(image.path) for image in images]
    return ClassifyReport("birds@1", 1.0, False, names, len(names), files, (*images, *skipped))


def evaluated(names: list[str]) -> EvaluateReport:
    scores = Scores(0.5, 1.0, 0.5, 0.1, 0.5, 0.5, 0.3)
    classes = tuple(ClassScore(n, n, 9, i % 5 / 5, 0.5, 0.5, names[0]) for i, n in enumerate(names))
    counts, template = (99, 0, len(names)), "a photo of a {}."
    return EvaluateReport(
        "birds@1", 1.0, False, "photos", *counts, scores, None, scores, template, 0.1, None, classes, (), {}
    )


@pytest.fixture
def terminal(monkeypatch):
    def of(columns: int) -> None:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(columns))

    return of


def shown(report: Report) -> list[str]:
    return text_of(report, "table").splitlines()


def text_of(report: Report, output: str) -> str:
    streamed = isinstance(report, StreamedReport)
    return "".join(render.STREAMS[output](report)) if streamed else render.FORMATS[output](report)


# --------------------------------------------------------------------------- classify


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_photo_is_one_line_at_any_width_from_60(terminal, columns):
    terminal(columns)
    lines = shown(classified(*PATHS))
    assert lines[0].split()[:3] == ["path", "class", "probability"]
    photos = lines[2 : 2 + len(PATHS)]
    assert all("87.5 %" in line for line in photos)
    assert all(width(line) <= columns and cell_len(line) <= columns for line in lines)
    assert lines[2 + len(PATHS) :] == ["", *wrapped(f"{len(PATHS)} photos: {len(PATHS)} {GUESSES[0].name}", columns)]


@pytest.mark.parametrize("columns", WIDTHS)
def test_columns_stand_below_each_other_whatever_the_script(terminal, columns):
    terminal(columns)
    plain = ["unsorted/IMG_1.jpg", "東京/写真.jpg", "e\u0301te\u0301.jpg", "שלום.jpg", "😀.jpg"]
    lines = shown(classified(*plain))[2:7]
    assert len({cell_len(line[: line.index("87.5 %")]) for line in lines}) == 1


def test_a_path_is_cut_in_the_middle_and_a_name_at_its_end(terminal):
    terminal(60)
    line = shown(classified(PATHS[1]))[2]
    assert line.startswith("archive/") and "_HDR.jpg  southern" in line
    assert line.count("…") == 2


def test_nothing_is_cut_where_there_is_room(terminal):
    terminal(80)
    top = (Guess("ibis", "glossy ibis", 0.875), Guess("emu", "emu", 0.125))
    lines = shown(classified("unsorted/IMG_0.jpg", "b.jpg", top=top))
    assert lines[0].split() == ["path", "class", "probability", "2nd"]
    assert lines[2] == "unsorted/IMG_0.jpg   glossy ibis        87.5 %   emu 12.5 %"


def test_runners_up_go_one_by_one_where_there_is_no_room(terminal):
    top = (Guess("ibis", "ibis", 0.6), Guess("flamingo", "flamingo", 0.3), Guess("rooster", "rooster", 0.1))
    found = {}
    for columns in (60, 100):
        terminal(columns)
        found[columns] = shown(classified("birds/test/ibis/020.jpg", top=top))[0].split()[3:]
    assert found == {60: ["2nd"], 100: ["2nd", "3rd"]}


def test_the_closing_line_counts_the_classes_the_largest_first(terminal):
    terminal(200)
    names = ["emu"] * 2 + ["ibis"] * 3 + ["auk"] * 2
    images = tuple(Classified(Path(f"{i}.jpg"), (Guess(name, name, 1.0),)) for i, name in enumerate(names))
    assert shown(found(images))[-1] == "7 photos: 3 ibis, 2 auk, 2 emu"
    many = tuple(Classified(Path("x"), (Guess("", f"class number {i:03}", 1.0),)) for i in range(40))
    last = shown(found(many))[-1]
    assert last.endswith(", 1 class number 004 and 35 more classes")


def test_what_was_skipped_comes_last_and_on_stderr(terminal, capsys):
    terminal(80)
    render.render(classified("a.jpg", skipped=(SkippedFile(Path("b.jpg"), "damaged"),)))
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1].startswith("1 photo: ")
    assert printed.err == "warning: 1 skipped:\n  b.jpg: damaged\n"


def test_a_pipe_gets_every_path_and_runner_up_whole(capsys):
    render.render(classified(*PATHS))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "path\tclass\tprobability\t2nd\t3rd"
    row = f"{PATHS[1]}\t{GUESSES[0].name}\t87.5 %\t{GUESSES[1].name} 10.0 %\temu 2.5 %"
    assert (len(lines), lines[2]) == (1 + len(PATHS), row)


@pytest.mark.parametrize("output", ["table", "json", "jsonl", "csv"])
def test_warnings_go_to_stderr_in_every_format(capsys, output):
    render.render(found([], [SkippedFile(Path("a.txt"), "not an image")], classes=GUESSES[:1]), output)
    printed = capsys.readouterr()
    assert printed.err == "warning: 1 skipped:\n  a.txt: not an image\n"
    if output == "csv":
        assert printed.out == "path,label,name,probability,unknown,doubtful,likeness\n"


@pytest.mark.parametrize("output", ["table", "json", "jsonl", "csv"])
@pytest.mark.parametrize("images", [0, 1, 3])
def test_a_stream_is_the_text_of_the_whole_report(output, images):
    def report() -> ClassifyReport:
        top = (Guess("a", "é=1", 0.5), Guess("b", "b", float("nan")))
        return found([Classified(Path(f"{i}.jpg"), top) for i in range(images)], SKIPPED, classes=top)

    if images or output != "table":  # of no rows the table has not even a head
        assert text_of(report(), output) == render.FORMATS[output](report())
    else:
        assert text_of(report(), output) == ""


SKIPPED = (SkippedFile(Path("bad.jpg"), "damaged"), SkippedFile(Path("b.gif"), "empty file"))


def test_a_stream_begins_with_its_first_row():
    def images() -> Iterator[Classified]:
        yield Classified(Path("a.jpg"), GUESSES)
        pytest.fail("somebody asked for a second row before the first was out")

    for output, stream in render.STREAMS.items():
        report = dataclasses.replace(found([], classes=GUESSES), found=images())
        assert "a.jpg" in next(stream(report)), output


@pytest.mark.parametrize("goes_to", ["file", "pipe", "terminal"])
def test_a_bar_gives_way_to_rows_that_may_be_on_its_screen(tmp_path, monkeypatch, goes_to):
    """Through a pipe they may be read in `less` or `grep`; beside a file it stays."""
    happened = []

    def images() -> Iterator[Classified]:
        yield Classified(Path("a.jpg"), GUESSES)
        happened.append("second row")
        yield Classified(Path("b.jpg"), GUESSES)

    ours, theirs = os.pipe() if goes_to == "pipe" else os.openpty() if goes_to == "terminal" else (None, None)
    with os.fdopen(theirs, "w") if theirs else (tmp_path / "out").open("w") as out, render.progress() as progress:
        progress._shown.callback(happened.append, "bar gone")
        monkeypatch.setattr(sys, "stdout", out)
        render.render(dataclasses.replace(found([]), found=images()), "jsonl", progress)
    if ours:
        os.close(ours)
    assert happened == (["second row", "bar gone"] if goes_to == "file" else ["bar gone", "second row"])


# --------------------------------------------------------------------------- prose and other tables


@dataclasses.dataclass(frozen=True)
class Said(Report):
    lines: tuple[str, ...] = ()
    table: tuple[dict[str, object], ...] = ()
    left_out: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, object]]:
        return list(self.table)

    def summary(self) -> list[str]:
        return list(self.lines)

    def spare(self) -> list[str]:
        return list(self.left_out)


PROSE = (
    "birds@1 on 108 images of test: 93.3 % right, +9.8 points against zero-shot ('a photo of a {}.', 83.5 %), "
    "in 12.5 s, written on 2026-11-26 00:43 as 1.7 GB, 88.3 ± 2.4 over three"
)
WHOLE = ("93.3 %", "83.5 %", "12.5 s", "2026-11-26 00:43", "1.7 GB", "88.3 ± 2.4")


@pytest.mark.parametrize("columns", range(20, 140))
def test_prose_breaks_at_spaces_and_no_number_leaves_its_unit(columns):
    lines = wrapped(PROSE, columns)
    assert " ".join(lines) == PROSE
    assert all(width(line) <= columns for line in lines)
    assert all(any(whole in line for line in lines) for whole in WHOLE)


def test_what_follows_a_label_stands_below_it():
    assert wrapped("vectors:   16 of text width 512, shared by all classes", 40) == [
        "vectors:   16 of text width 512, shared",
        "           by all classes",
    ]


def test_a_word_longer_than_the_line_stays_whole():
    assert f"/{'x' * 50}" in "\n".join(wrapped(f"stored: /{'x' * 50} (76 KB)", 30))


def test_a_path_alone_can_be_copied_whole():
    assert wrapped(path := str(Path.cwd() / "my photos/of last year"), 20) == [path]


def test_a_remark_on_a_command_is_no_part_of_it():
    line = "hint:  promptctl inspect birds@5 --classes --class emu   (what is near the class)"
    assert wrapped(line, 90) == [line]
    assert wrapped(line, 60) == [
        "hint:  promptctl inspect birds@5 --classes --class emu",
        "         (what is near the class)",
    ]
    assert wrapped(line, 40)[:2] == ["hint:  promptctl inspect birds@5 \\", "         --classes --class emu"]
    assert " ".join("".join(wrapped(line, 40)[2:]).split()) == "(what is near the class)"


def test_a_long_command_can_still_be_copied():
    command = "promptctl classify '/home/you/my photos/of last year' --prompt southern-hornbills"
    lines = wrapped(f"next: {command}", 50)
    assert all(width(line) <= 50 for line in lines) and len(lines) > 1
    assert " ".join(line.removesuffix("\\").strip() for line in lines) == f"next: {command}"
    assert all(line.endswith(" \\") for line in lines[:-1])


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_dates_in_a_table_stay_whole(terminal, columns):
    terminal(columns)
    row = {"version": "hornbills@12", "when": "2026-11-26 00:43", "change": "learned again with more of the same"}
    lines = shown(Said(table=({**row, "classes": 10, "learned": 0.933, "parent": "@11"},)))
    assert any("2026-11-26 00:43" in line for line in lines) and any("93.3 %" in line for line in lines)
    assert all(width(line) <= columns for line in lines)


def test_spare_columns_go_before_a_table_falls_apart(terminal):
    table = ({"name": "a" * 20, "backbone": "b" * 24, "size": "76 KB", "changed": "2026-11-26 00:43"},)
    for columns, kept in ((80, "name backbone size changed"), (65, "name backbone changed"), (45, "name changed")):
        terminal(columns)
        assert shown(Said(table=table, left_out=("size", "backbone")))[0].split() == kept.split()
    terminal(25)
    assert shown(Said(table=table, left_out=("size", "backbone")))[-1] == "changed: 2026-11-26 00:43"


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_emoji_leave_no_blank_lines_in_inspect(terminal, columns):
    terminal(columns)
    words = tuple(NearWordRow(word, 0.58, 0.2) for word in ("❤️·", "✊🏽", "ㅋㅋㅋㅋ·", "🇵🇭", "ी", "👨‍👩‍👧", "�️·"))
    vectors = tuple(VectorReport(None, i, 0.6, words, words[::-1]) for i in range(1, 4))
    found = InspectReport("c@1", make().card, 0, Path(), vectors, VocabularyFacts("tokens", 9, 0.5, 9, 0.4))
    lines = shown(Said(table=tuple(found.tables()[0]), left_out=tuple(found.spare())))
    assert all(line.strip() for line in lines)
    assert all(width(line) <= columns and cell_len(line) <= columns for line in lines)
    text = "\n".join(lines)
    assert all(text.count(f" {word.word} {number}") == 3 for word in words for number in ("0.58", "0.20"))


def test_many_classes_come_worst_first_and_few_as_they_are(terminal):
    terminal(80)
    few, many = [f"c{i}" for i in range(10)], [f"c{i:02}" for i in range(11)]
    assert [row["class"] for row in evaluated(few).tables()[1]] == few
    assert [row["class"] for row in evaluated(many).tables()[1]] == [
        *("c00", "c05", "c10", "c01", "c06"),
        *("c02", "c07", "c03", "c08", "c04", "c09"),
    ]
    assert [row["label"] for row in evaluated(many).rows()] == many
    assert [row["label"] for row in evaluated(many).record()["per_class"]] == many


def test_runners_up_with_long_names_are_cut_and_stay(terminal):
    terminal(100)
    assert shown(classified(*PATHS))[0].split()[3:] == ["2nd", "3rd"]


@pytest.mark.parametrize(
    ("text", "cells"),
    [("emu", 3), ("東京", 4), ("e\u0301", 1), ("\u1112\u1161\u11ab", 2), ("❤️", 2), ("❤", 1), ("✊🏽", 4), ("שלום", 4)],
)
def test_width_is_that_of_the_widest_terminal(text, cells):
    assert width(text) == cells >= cell_len(text)


def test_text_is_cut_between_letters_and_keeps_its_share():
    assert cut("southern hornbill 12.5 %", 18) == "southern h… 12.5 %"
    assert cut_middle("archive/summer/IMG_1.jpg", 15) == "archi…IMG_1.jpg"
    assert cut_middle("e\u0301" * 30, 9) == "e\u0301" * 3 + "…" + "e\u0301" * 5
    assert all(width(cut_middle("東京" * 30, room)) <= room for room in range(4, 40))


# --------------------------------------------------------------------------- control bytes


@pytest.mark.parametrize(
    ("name", "on_terminal", "in_pipe"),
    [
        ("a\x1b[31m", r"a\x1b[31m", r"a\x1b[31m"),
        ("a\x9b31m", r"a\x9b31m", "a\x9b31m"),
        ("a\udc9b31m\udcff", r"a\x9b31m\xff", "a\udc9b31m\udcff"),
        ("a\nb\tc\rd", r"a\nb\tc\rd", r"a\nb\tc\rd"),
        ("a\u202egpj", r"a\u202egpj", "a\u202egpj"),
        ("a\u00a0b\u3000c\u200cd", "a\u00a0b\u3000c\u200cd", "a\u00a0b\u3000c\u200cd"),
    ],
)
def test_no_name_drives_the_terminal_and_a_pipe_gets_its_bytes(terminal, name, on_terminal, in_pipe):
    report = PathReport(Path(name))
    assert render.FORMATS["table"](report) == f"{in_pipe}\n"
    row = next(csv.DictReader(io.StringIO(render.FORMATS["csv"](report), newline="")))
    assert (row["path"], json.loads(render.FORMATS["json"](report))["path"]) == (name, name)
    terminal(80)
    assert render.FORMATS["table"](report) == f"{on_terminal}\n"
    for output in ("csv", "json", "jsonl"):
        text = render.FORMATS[output](report)
        assert not any("\x7f" <= c <= "\x9f" or c == "\x1b" or "\udc80" <= c <= "\udcff" for c in text), output


def test_an_error_about_half_a_character_is_said(cli, tmp_path):
    (tmp_path / "photos.json").write_text(r'[{"path": "\ud800.jpg", "label": "emu"}]')
    outcome = cli("learn", tmp_path / "photos.json", "--name", "birds")
    assert outcome.code == 1 and r"\ud800.jpg" in outcome.err and outcome.err.startswith("error: ")


def test_talk_shows_raw_bytes_on_a_terminal_only(terminal, monkeypatch):
    stderr = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="surrogateescape")
    monkeypatch.setattr(sys, "stderr", stderr)
    render.talk("a\udc9b")
    terminal(80)
    render.talk("a\udc9b")
    assert stderr.buffer.getvalue() == b"a\x9b\na\\x9b\n"


def test_printable_text_is_left_as_it_is():
    assert printable("Émeu 東京 👨‍👩‍👧 شماره") == "Émeu 東京 👨‍👩‍👧 شماره"


# --------------------------------------------------------------------------- CSV and JSON

ODD = [
    *("=1+1", "+x", "-dash", "@a", "\ttab", "\rcr", "'", "''", "'=x", "'a", "''=", "a,b", 'say "hi"', "two\nlines"),
    *("cr\rin the middle", "crlf\r\n", " space ", "sep\u2028x", "nel\x85x", "\x9b", "raw\udcff", "東京"),
]


def test_every_cell_comes_back_from_csv_and_every_row_is_one(capsys):
    names = tuple(Guess(text, text, 0.5) for text in ODD)
    images = tuple(Classified(Path(f"{i}.jpg"), (guess,)) for i, guess in enumerate(names))
    text = text_of(found(images, classes=GUESSES[:1]), "csv")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [unescape(row["label"]) for row in rows] == ODD
    assert [row["probability"] for row in rows] == ["0.5"] * len(ODD)
    assert not any(row["label"].startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows)
    assert text.endswith("0.5,False,False,\n") and "False,\r\n" not in text


def test_numbers_in_csv_stay_numbers():
    rows = ({"n": -1, "x": -0.5, "nan": float("nan"), "inf": float("inf"), "none": None, "yes": True, "text": "-1"},)
    line = render.FORMATS["csv"](Said(table=rows)).splitlines()[1]
    assert line == "-1,-0.5,,,,True,'-1"


def test_a_carriage_return_is_quoted_on_every_python(monkeypatch):
    text = render.FORMATS["csv"](Said(table=({"name": "a\rb"},)))
    assert text == 'name\n"a\rb"\n'


@pytest.mark.parametrize("output", ["json", "jsonl"])
def test_json_has_null_where_it_has_no_number(output):
    text = text_of(classified("a.jpg", top=(Guess("a", "a", float("nan")), Guess("b", "b", -1e999))), output)
    found = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    top = (found["images"][0] if output == "json" else found)["top"]
    assert [guess["probability"] for guess in top] == [None, None]


def test_thousands_are_told_apart():
    assert [number_of(count, "photo") for count in (0, 1, 999, 1279)] == [
        "0 photos",
        "1 photo",
        "999 photos",
        "1,279 photos",
    ]


def test_names_in_a_sentence_are_joined_as_people_join_them():
    assert [joined(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
