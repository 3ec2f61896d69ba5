"""`skill`: with its page alone a program goes from labelled photos to sorted ones, and every command is on it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
from conftest import copy_into_splits, paint
from manual import ROOT, man_page

import promptctl
from promptctl.cli.manual import manual
from promptctl.cli.skill import EXIT_CODES, KEYS, page_of
from promptctl.store.store import Store

UNSEEN = {"moss": (90, 120, 60), "rust": (170, 80, 30), "night": (20, 20, 60), "sand": (220, 200, 150)}


@pytest.fixture(scope="module")
def page() -> str:
    return page_of(manual(), whole=True)


def section(page: str, heading: str) -> str:
    return page.split(f"## {heading}\n")[1].split("\n## ")[0]


def the_way(page: str) -> list[str]:
    (block,) = re.findall(r"^```sh\n(.*?)^```", section(page, "The usual way"), re.M | re.S)
    return [line for line in block.splitlines() if not line.startswith("#")]


# --------------------------------------------------------------------------- the page


def test_the_page_begins_as_a_skill_does(cli, page):
    assert cli("skill").out == page
    head = re.match(r'---\nname: promptctl\ndescription: "([^"\\\n]+)"\n---\n\n# promptctl ', page)
    assert head and 100 < len(head[1]) < 1024


def test_the_page_costs_little(page):
    assert len(page) < 15_000  # a quarter of the manual; what is said of one command is its own page
    assert page.index("promptctl learn") < 1_200


def test_the_page_names_every_command_and_option(page):
    shared, *entries = section(page, "Commands").split("\n- `")
    assert len(entries) == len(manual())
    for one, entry in zip(manual(), entries, strict=True):
        assert entry.startswith(f"{one.usage.removeprefix('promptctl ')}`: ")
        listed = [option.spelled for option in one.options if f"`{option.spelled}`" not in shared]
        assert re.findall(r"^  `(.*)`$", entry, re.M) == (["  ".join(listed)] if listed else [])


def test_what_all_commands_take_is_said_once_and_of_whom_not(page):
    said = section(page, "Commands")
    (whole,) = re.findall(r"^All but (.*) take `--json`\.$", said, re.M)
    assert whole == "demo" and said.count("--json") == 1
    assert re.search(r"^All but .*skill.* take `--format [a-z|]*\bagent\b", said, re.M)


def test_the_page_of_a_command_explains_every_option(cli):
    drop, every = cli("skill", "class", "drop").out, cli("skill", "class").out
    assert drop.startswith("## promptctl class drop\n\n    promptctl class drop CONTEXT LABELS…\n\nDrop classes")
    assert "- `--yes, -y`: Purge without asking; needed without a terminal.\n" in drop
    assert drop in every and every.count("## promptctl class ") == 6
    unknown = cli("skill", "lern")
    assert unknown.code == 2 and "there is no command 'lern'" in unknown.err


def test_its_exit_codes_are_those_of_the_readme(page):
    if not (ROOT / "README.md").exists():
        pytest.skip("the README is not here")
    readme = man_page().split(".SH EXIT STATUS")[1].split(".SH ENVIRONMENT")[0]
    assert set(re.findall(r"fB([\d, ]+)", readme)) | {"141"} == EXIT_CODES.keys()
    assert all(f"| {code} | " in page for code in EXIT_CODES)


# --------------------------------------------------------------------------- with that page alone


def test_the_usual_way_goes_through_on_photos_never_seen(page, tmp_path, home, tiny):
    copy_into_splits(paint(tmp_path / "painted", images=7, seed=3, colours=UNSEEN), tmp_path)
    (tmp_path / "train").rename(tmp_path / "photos")
    paint(tmp_path / "unsorted", images=2, seed=5, colours=UNSEEN)
    environment = {**os.environ, "AI_AGENT": "a test", "PROMPTCTL_MODEL": tiny}
    lines = the_way(page)
    assert [line.split()[1] for line in lines] == ["learn", "evaluate", "classify", "sort", "sort", "undo"]
    done = {}
    for line in lines:
        command = [sys.executable, "-m", *shlex.split(line)]
        done[line] = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
        assert done[line].returncode == 0, f"{line}\n{done[line].stderr}"
    learned, evaluated, classified, planned, sorted_, taken_back = (one.stdout for one in done.values())
    assert table(learned)[0]["classes"] == "4"
    assert [row["label"] for row in table(evaluated)] == sorted(UNSEEN)
    assert len(table(classified)) == 8 and {row["label"] for row in table(classified)} <= UNSEEN.keys()
    assert len(planned.splitlines()) == 10 and sum(int(row["photos"]) for row in table(sorted_)) == 8
    assert table(taken_back)[0]["left"] == "0" and not list((tmp_path / "sorted").rglob("*.png"))


def table(printed: str) -> list[dict[str, str]]:
    head, *rows = [line.split("\t") for line in printed.splitlines()]
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_the_keys_that_it_names_are_in_json(cli, photos, tiny, tmp_path, colours_bytes):
    Store().save("birds", colours_bytes, new=True)
    words = {
        "learn": ["learn", photos, "--name", "new", "--epochs", 1, "--model", tiny],
        "evaluate": ["evaluate", "birds", photos],
        "classify": ["classify", photos, "--prompt", "birds"],
        "sort": ["sort", photos, "--prompt", "birds", "--into", tmp_path / "sorted"],
    }
    for command, keys in KEYS.items():
        found = json.loads(cli(*words[command], "--json").out)
        for key in keys:
            at(found, key)


def at(value: Any, key: str) -> Any:
    for name, is_list in re.findall(r"\.(\w+)(\[\])?", key):
        value = value[name][0] if is_list else value[name]
    return value


def test_the_error_that_it_shows_is_one(cli, page, colours_bytes):
    Store().save("birds", colours_bytes, new=True)
    assert f"```\n{cli('show', 'brids').err}```" in page


# --------------------------------------------------------------------------- a file


def test_the_page_is_written_to_a_file_and_replaced_only_by_force(cli, page, tmp_path):
    out = tmp_path / "SKILL.md"
    assert cli("skill", "--output", out).out == f"the page is written: {out}\n"
    assert out.read_text("utf-8") == page
    out.write_text("mine", "utf-8")
    refused = cli("skill", "--output", out)
    assert (refused.code, out.read_text("utf-8")) == (1, "mine") and "--force replaces it" in refused.err
    assert cli("skill", "--output", out, "--force").code == 0 and out.read_text("utf-8") == page
    assert "add --output FILE" in cli("skill", "--force").err
    nowhere = cli("skill", "--output", tmp_path / "no" / "SKILL.md")
    assert nowhere.code == 1 and "mkdir -p" in nowhere.err


def test_json_has_what_the_page_is_made_of(cli):
    found = json.loads(cli("skill", "--json").out)
    assert found["version"] == promptctl.__version__ and len(found["commands"]) == len(manual())
    (learn,) = json.loads(cli("skill", "learn", "--json").out)["commands"]
    (name,) = [option for option in learn["options"] if "--name" in option["names"]]
    assert (name["names"], name["value"], name["required"]) == (["--name", "-n"], "TEXT", True)
    (model,) = [option for option in learn["options"] if option["names"] == ["--model"]]
    assert (model["default"], model["variable"]) == ("mini", "PROMPTCTL_MODEL")
