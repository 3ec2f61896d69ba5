"""`--format agent`, and what an agent's variable changes: rows for a program, no bars, no questions."""

from __future__ import annotations

import csv
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from conftest import COLOURS
from manual import commands, option_names, parameters
from typer.models import OptionInfo

import promptctl
from promptctl import render, report
from promptctl.cli.agent import SWITCH, VARIABLES, is_driven
from promptctl.store.store import Store

CLI = Path(promptctl.__file__).parent / "cli"


@pytest.fixture
def learned(colours_bytes):
    return Store().save("colours", colours_bytes, new=True)


@pytest.fixture
def terminal(monkeypatch):
    def opened() -> None:  # in the test: its streams are not those of the fixtures before it
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            monkeypatch.setattr(stream, "isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", "40")

    return opened


# --------------------------------------------------------------------------- who drives


@pytest.mark.parametrize(
    ("environment", "driven"),
    [
        ({}, False),
        *(({name: "1"}, True) for name in VARIABLES),
        ({"AI_AGENT": "any-name@2"}, True),
        ({"AI_AGENT": " "}, False),
        ({"AI_AGENT": "x", SWITCH: "0"}, False),
        ({"AI_AGENT": "x", SWITCH: "off"}, False),
        ({"AI_AGENT": "x", SWITCH: ""}, True),
        ({SWITCH: "1"}, True),
        ({"SSH_AGENT_PID": "1", "USER_AGENT": "x"}, False),
    ],
)
def test_an_agent_is_known_by_what_it_sets(environment, driven):
    assert is_driven(environment) is driven


def test_every_command_with_formats_has_that_of_agents():
    n_commands = 0
    for title, function in commands():
        for name, kind, _, info in parameters(function):
            if isinstance(info, OptionInfo) and option_names(name, info)[0] == "--format":
                assert name == "output", f"{title}: the default of an agent is set by that name"
                assert "agent" in [member.value for member in kind], title
                n_commands += 1
    assert n_commands >= 40


def test_the_variable_chooses_the_format_and_what_is_typed_wins(cli, learned, monkeypatch):
    agent = cli("list", "--format", "agent").out
    assert agent.split("\n")[0].split("\t")[:3] == ["name", "version", "classes"]
    plain = {options: cli("list", *options) for options in ((), ("--format", "table"), ("--json",), ("-q",))}
    monkeypatch.setenv("AI_AGENT", "x")
    assert cli("list").out == agent
    assert cli("class", "list", "colours").out.startswith("id\tlabel\tname\taliases\ttrain\t")
    for options in plain.keys() - {()}:
        assert cli("list", *options) == plain[options]
    monkeypatch.setenv(SWITCH, "0")
    assert cli("list") == plain[()]


def test_sentences_of_a_report_stand_on_stderr(cli, learned):
    shown = cli("show", "colours", "--format", "agent")
    assert shown.out == "id\tlabel\tname\n0\tblue\tblue\n1\tgreen\tgreen\n2\tred\tred\n"
    assert shown.err.startswith("colours@1: 3 classes: blue, green, red\n") and "\nfile: " in shown.err
    copied = cli("copy", "colours", "more", "--format", "agent")
    assert copied.out.count("\n") == 2
    assert "next: promptctl show more" in copied.err


def test_a_plan_stays_what_apply_takes(cli, learned, photos, tmp_path, monkeypatch, answering):
    monkeypatch.setenv("AI_AGENT", "x")
    plan = cli("sort", photos, "-p", "colours", "--into", tmp_path / "sorted", "--dry-run")
    assert plan.out.startswith('{"type": "plan"')
    assert cli("sort", photos, "-p", "colours", "--into", tmp_path / "sorted").out.startswith("folder\tphotos\n")


# --------------------------------------------------------------------------- cells

ODD = (
    "a\tb",
    "a\nb",
    "a\r\nb",
    "a\x1b[31mb",
    "a\x85b",
    "a\u2028b",
    "a\x0cb",
    "=1+1",
    "'tis",
    '"quoted", twice',
    "ü 红",
)


@dataclass(frozen=True)
class Odd(report.Report):
    values: tuple[Any, ...] = ()
    type: ClassVar[str] = "odd"

    def rows(self):
        return [{"value": value, "after": 1} for value in self.values]


def test_whatever_a_cell_holds_a_row_is_a_line():
    values = (*ODD, None, True, 0.123456789, float("nan"), 10**12, ("a", "b"), "\udce9.jpg", "half \ud800")
    lines = render.FORMATS["agent"](Odd(values)).splitlines()
    assert lines[0] == "value\tafter"
    assert len(lines) == 1 + len(values) and all(line.count("\t") == 1 for line in lines)
    cells = [line.split("\t")[0] for line in lines[1:]]
    assert cells[:6] == ["a\\tb", "a\\nb", "a\\r\\nb", "a\\x1b[31mb", "a\\x85b", "a\\u2028b"]
    assert cells[7:19] == [
        "=1+1",
        "'tis",
        '"quoted", twice',
        "ü 红",
        "",
        "true",
        "0.123457",
        "",
        "1000000000000",
        '["a", "b"]',
        "\udce9.jpg",
        "half \\ud800",
    ]


def test_rows_that_come_one_at_a_time_have_the_columns_of_csv(cli, learned, photos, answering):
    shutil.rmtree(photos / "green")
    agent = cli("classify", photos, "-p", "colours", "--format", "agent").out
    (photos / "red" / "broken.jpg").write_bytes(b"no image")
    done = cli("classify", photos, "-p", "colours", "--format", "agent")
    assert (done.code, done.out) == (3, agent) and "broken.jpg" in done.err
    assert "\n12 photos: " in f"\n{done.err}"
    rows = [line.split("\t") for line in agent.splitlines()]
    same = list(csv.reader(io.StringIO(cli("classify", photos, "-p", "colours", "--format", "csv").out)))
    assert rows[0] == same[0] and len(rows) == len(same) == 13
    assert [row[:3] for row in rows] == [row[:3] for row in same]


def test_a_name_of_any_bytes_is_one_cell(learned, photos, answering):
    odd = b"tab\tline\nend \xe9\xc2\x85.png"
    shutil.copy(photos / "red" / "0.png", bytes(photos) + b"/" + odd)
    line = [sys.executable, "-m", "promptctl", "classify", photos, "-p", "colours"]
    done = subprocess.run(line, capture_output=True, check=True, env={**os.environ, "AI_AGENT": "x"})
    rows = done.stdout.decode("utf-8", "surrogateescape").splitlines()
    assert len(rows) == 20 and {row.count("\t") for row in rows} == {12}
    assert any("/tab\\tline\\nend \udce9\\x85.png\t" in row for row in rows)


def test_a_path_has_no_heading_where_a_variable_chose(cli, home, monkeypatch):
    monkeypatch.setenv("AI_AGENT", "x")
    assert cli("path").out == f"{home}\n"
    assert cli("path", "--format", "agent").out == f"path\n{home}\n"


def test_no_row_is_a_head_alone(cli):
    assert cli("list", "--format", "agent").out.count("\n") == 1
    assert cli("operations", "--format", "agent").out.count("\n") == 1


# --------------------------------------------------------------------------- a terminal


@pytest.mark.parametrize("chosen", ["typed", "variable"])
def test_on_a_terminal_too_nothing_is_cut_or_drawn(cli, learned, photos, terminal, answering, monkeypatch, chosen):
    terminal()
    if chosen == "variable":
        monkeypatch.setenv("CLAUDECODE", "1")
    options = ["--format", "agent"] if chosen == "typed" else []
    done = cli("classify", photos, "-p", "colours", *options)
    assert done.code == 0 and "\x1b" not in done.out + done.err
    assert len(done.out.splitlines()) == 19 and all(line.count("\t") > 8 for line in done.out.splitlines())
    assert cli("list", *options).out.count("\n") == 2
    shown = cli("show", "colours", *options)
    assert any(len(line) > 60 for line in shown.err.splitlines())


def test_a_person_at_a_terminal_gets_what_fits_it(cli, learned, terminal):
    terminal()
    assert "\t" not in cli("list").out
    assert all(len(line) <= 40 or "/" in line for line in cli("show", "colours").out.splitlines())


# --------------------------------------------------------------------------- questions


def test_what_would_be_asked_is_refused_with_the_command(cli, learned, photos, terminal, monkeypatch, answering):
    terminal()
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    monkeypatch.setattr("getpass.getpass", lambda *_: pytest.fail("asked"))
    monkeypatch.setenv("AI_AGENT", "x")
    assert cli("copy", "colours", "more").code == 0
    asking = [("class", "drop", "more", "red", "--purge"), ("remove", "colours"), ("gc", "--days", "0")]
    for line in asking:
        refused = cli(*line)
        sentence, hint = refused.err.splitlines()[-2:]
        assert refused.code == 1 and refused.out == ""
        assert sentence.startswith("error: ") and sentence.endswith(" asks first, and an agent is asked nothing")
        command = hint.removeprefix("hint:  promptctl ")
        assert "--yes" in command
        assert cli(*shlex.split(command)).code == 0, command
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)


def test_labels_that_speak_against_what_is_stored_are_not_asked_about(cli, learned, photos, terminal, monkeypatch):
    terminal()
    monkeypatch.setenv("AI_AGENT", "x")
    for name in COLOURS:
        shutil.move(photos / name, photos / f"was {name}")
    for name, other in zip(COLOURS, ("green", "blue", "red"), strict=True):
        shutil.move(photos / f"was {name}", photos / other)
    done = cli("learn", photos, "--name", "colours", "--epochs", 1)
    assert done.code == 1 and "--on-conflict relabel" in done.err.splitlines()[-1]


def test_every_question_looks_first_whether_anybody_answers():
    question = re.compile(r"typer\.(confirm|prompt)\(|\binput\(|getpass\(|(confirmation_)?prompt=(True|[\"'])")
    asking = [text for path in CLI.rglob("*.py") if question.search(text := path.read_text("utf-8"))]
    assert len(asking) >= 2 and all("can_ask()" in text for text in asking)


def test_the_page_names_every_variable():
    page = CLI.parent.parent / "docs" / "skill.md"
    if not page.exists():
        pytest.skip("the docs are not here")
    assert set(re.findall(r"`([A-Z_]+)(?:=\d)?`", page.read_text("utf-8"))) == {SWITCH, *VARIABLES}
