"""What is shown runs: every example of --help, and the commands of every page in docs/, in a world of painted photos.

Left out, visibly: an example under a comment that names the network or Ctrl-C, and a block under `<!-- not run: … -->`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import paint
from manual import ROOT, commands, roff
from PIL import Image
from shown import other_words

from promptctl.cli.app import GROUPS, described
from promptctl.store.refs import Ref
from promptctl.store.store import Store

BIRDS = {"emu": (120, 80, 40), "ibis": (230, 230, 240), "moa": (30, 140, 40), "owl": (90, 60, 200)}
SEA = {"gull": (250, 250, 120), "tern": (120, 250, 250)}
PHONE = {"beach": (230, 200, 120), "flowers": (220, 40, 160), "food": (200, 90, 30), "pets": (60, 60, 70)}
ANIMALS = {"badger": (90, 90, 100), "deer": (150, 90, 40), "fox": (230, 100, 20)}
ALL = (*BIRDS, *PHONE, *ANIMALS)
ELSEWHERE = {"README.md", "format.md", "python.md", "cli.md", "benchmarks.md"}  # in test_docs; above; by hand
LEFT_OUT = re.compile(r"network|Ctrl-C")
WRITES = ("--output", "--plan", "--write-fixes", " export ", " encode ", "--report", "--label-studio")
MADE = ("results.jsonl", "plan.jsonl", "fixes.csv", "birds.safetensors")


def build(cli, world: Path) -> None:
    """Photos of birds, a phone and camera traps, contexts of them, and what some commands leave for others."""
    paint(world / "photos", images=8, colours=BIRDS)
    for seed, folder in enumerate(("test", "more-photos"), start=1):
        paint(world / folder, images=4, seed=seed, colours=BIRDS)
    paint(world / "examples", images=6, colours=PHONE)
    paint(world / "more-examples", images=3, seed=4, colours=PHONE)
    paint(world / "species", images=6, colours=ANIMALS)
    paint(world / "next-season", images=3, seed=4, colours=ANIMALS)
    for seed, folder in enumerate(("sketches", "night"), start=11):
        paint(world / folder, images=2, seed=seed, colours=BIRDS)
    paint(world / "at-sea", images=4, colours=SEA)
    paint(world / "others", images=4, colours={"car": (10, 10, 10)})
    for folder, colours in (("unsorted", BIRDS), ("phone", PHONE), ("inbox", BIRDS), ("traps/site-1", ANIMALS)):
        paint(world / "new", images=1, seed=9, colours=colours)
        (world / folder).mkdir(parents=True)
        for number, photo in enumerate(sorted((world / "new").rglob("*.png"))):
            Image.open(photo).save(world / folder / f"IMG_{number:04}.jpg", quality=95)
        shutil.rmtree(world / "new")
    shutil.copy(world / "unsorted" / "IMG_0000.jpg", world / "IMG_0159.jpg")
    shutil.copytree(world / "photos" / "owl", world / "owls-sorted" / "owl")
    (world / "owls-sorted" / "barn_owl").mkdir()
    for photo in sorted((world / "owls-sorted" / "owl").iterdir())[::2]:
        shutil.move(photo, world / "owls-sorted" / "barn_owl")
    (world / "names.csv").write_text("badger,Meles meles\ndeer,Capreolus capreolus\nfox,Vulpes vulpes\n", "utf-8")
    (world / "stamp").write_text("the last time", "utf-8")
    os.utime(world / "stamp", (0, 0))
    quick = ("--shots", 4, "--epochs", 20, "--force")
    for arguments in (
        ("learn", "photos", "--name", "birds", *quick),
        ("learn", "at-sea", "--name", "seabirds", *quick),
        ("copy", "birds", "pets"),
        ("remove", "pets", "--yes"),
        ("class", "rename", "birds", "emu", "Emu", "--display-only"),
        ("learn", "more-photos", "--name", "birds", "--force"),
        ("classify", "unsorted", "--prompt", "birds", "--output", "results.jsonl"),
        ("sort", "--from", "results.jsonl", "--into", "sorted", "--plan", "plan.jsonl"),
        ("export", "birds", "birds.safetensors"),
        *(("copy", "birds", f"spare-{i}") for i in range(6)),  # so that there is a twelfth operation
    ):
        done = cli(*arguments)
        assert done.code == 0, (arguments, done.err)
    sha256 = Store()["birds"].shots.sha256[0].tobytes().hex()
    (world / "fixes.csv").write_text(f"hash,label\n{sha256},ibis\n", "utf-8")
    shown = world / "phone" / "IMG_0000.jpg"
    answer = {"type": "decision", "schema_version": 2, "context": "my-photos@1", "file": str(shown.absolute())}
    answer |= {"sha256": hashlib.sha256(shown.read_bytes()).hexdigest(), "decision": "change", "label": "beach"}
    answer |= {"name": "beach", "answer": "food", "probability": 0.5, "copies": [], "at": "2026-11-26T12:00:00Z"}
    (world / "review.jsonl").write_text(json.dumps(answer) + "\n", "utf-8")
    Store().save_candidate("birds", Store().find(Ref("birds", 1)).path.read_bytes())


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> tuple[Path, Path]:
    """Where the world is used, and where it is kept as it was: its paths are the same in every test."""
    folder = tmp_path_factory.mktemp("examples")
    return folder / "world", folder / "kept"


@pytest.fixture
def world(places, cli, tiny, monkeypatch, tmp_path) -> Path:
    """The world as it was, with the tiny CLIP for a backbone."""
    here, kept = places
    shutil.rmtree(here, ignore_errors=True)
    if kept.exists():
        shutil.copytree(kept, here)
    here.mkdir(exist_ok=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("PROMPTCTL_HOME", str(here / "home"))
    monkeypatch.setenv("PROMPTCTL_MODEL", tiny)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where demo draws
    if not kept.exists():
        build(cli, here)
        shutil.copytree(here, kept)
    return here


def ready(line: str) -> list[str]:
    """A line as words, once what it would write is out of the way, and nobody is there to be asked."""
    if any(option in line for option in WRITES):
        for name in MADE:
            Path(name).unlink(missing_ok=True)
    more = ["--yes"] if re.match(r"promptctl remove (?!.*--yes)", line) else []
    if line.startswith("promptctl compare "):  # a minute less
        more = ["--seeds", "1"] if "--tasks" in line else ["--seeds", "1", "--epochs", "3"]
    return [*shlex.split(line, comments=True)[1:], *more]


# --------------------------------------------------------------------------- --help


def shown_examples() -> Iterator[tuple[str, str]]:
    """(comment above it, command) of every example of --help; a backslash goes on with a line."""
    for _, command in commands():
        comment = ""
        for line in "\n".join(described(command)[1]).replace("\\\n", " ").splitlines():
            if not line.startswith("#"):
                yield comment, " ".join(line.split())
            comment = line if line.startswith("#") else ""


def test_every_command_and_group_shows_examples_of_itself(cli):
    for title, command in commands():
        lines = [line for line in described(command)[1] if not line.startswith(("#", " "))]
        assert lines and all(line == title or line.startswith(f"{title} ") for line in lines), title
    for group in ((), *((name,) for name in GROUPS)):
        assert "\n  Examples:\n    promptctl " in cli(*group, "--help").out
    assert "    promptctl import birds.safetensors --name birds-again\n" in cli("import", "--help").out


def test_few_examples_are_left_out():
    left_out = sorted(line.split()[1] for comment, line in shown_examples() if LEFT_OUT.search(comment))
    assert left_out == ["import", "models", "pull", "push", "push", "rebase", "review", "watch"]


@pytest.mark.parametrize("line", [line for comment, line in shown_examples() if not LEFT_OUT.search(comment)])
def test_an_example_runs(cli, world, line):
    if "onnx" in line and not all(map(find_spec, ("onnx", "onnxscript"))):
        pytest.skip("no onnx")
    done = cli(*ready(line))
    assert (done.code, "error" in done.err) == (0, False), done.err


# --------------------------------------------------------------------------- man promptctl


def test_roff_reads_text_as_it_was_written():
    program = next(filter(shutil.which, ("mandoc", "groff")), None)
    if program is None:
        pytest.skip("no mandoc, no groff")
    texts = ["first", "a\\b", ".TH is no macro", "'so", "--all", "`b` ~ ^ …", "last"]
    page = "\n".join([".TH X 1", ".SH NAME", ".nf", roff("\n".join(texts)), ""])
    said = subprocess.run([program, "-man", "-Tutf8"], input=page, capture_output=True, text=True, check=True).stdout
    shown = [line.strip() for line in re.sub(r".\x08|\x1b\[\d*m", "", said).splitlines()]
    assert shown[shown.index("first") : shown.index("last") + 1] == texts


# --------------------------------------------------------------------------- the pages


BLOCK = re.compile(r"(?:^ *<!-- not run: ([^\n]*) -->\n)?^( *)```(\w*)\n(.*?)^ *```", re.M | re.S)


def command_blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """(why it is not run, commands, what they are shown to print) of every block of commands of a page."""
    for why, indent, language, text in BLOCK.findall(page.read_text("utf-8")):
        block = text.replace(f"\n{indent}", "\n").removeprefix(indent).replace("\\\n", " ")
        if language == "console":
            typed, shown = re.fullmatch(r"\$ (.*?)\n(.*)", block, re.S).groups()
            yield why, typed, shown
        elif language in ("sh", "python") or (not language and "promptctl " in re.findall(r"^promptctl ", block, re.M)):
            yield why, block, ""


WALKED = [
    pytest.param(page, id=page.name)
    for page in sorted((ROOT / "docs").glob("*.md"))
    if page.name not in ELSEWHERE and any(not why for why, *_ in command_blocks(page))
]


@pytest.mark.parametrize("page", WALKED)
def test_the_commands_of_a_page_run_in_their_order(cli, world, page):
    for why, block, shown in command_blocks(page):
        if why:
            continue
        if block.startswith("import "):
            exec(block, {})
            continue
        if "|" in block or "$(" in block:
            in_a_shell(world, block)
            continue
        for line in block.splitlines():
            if line.strip() and not line.startswith("#"):
                assert line.startswith("promptctl "), f"{page.name}: {line}"
                done = cli(*ready(line))
                assert (done.code, "error" in done.err) == (0, False), f"{line}\n{done.err}"
                assert not shown or other_words(shown, done.err + done.out, world / "home", ALL) == set(), line


def in_a_shell(world: Path, block: str) -> None:
    program = world / "bin" / "promptctl"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m promptctl "$@"\n', "utf-8")
    program.chmod(0o755)
    path = {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    bash = ["bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(bash, env=os.environ | path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout, f"{block}\n{done.stderr}"


def test_what_a_page_does_not_run_needs_the_network_or_does_not_end():
    for page in (ROOT / "docs").glob("*.md"):
        for why, block, _ in command_blocks(page):
            assert not why or re.fullmatch(r"it (needs|runs) [^\n]+", why), f"{page.name}: {why}: {block}"
    walked = {parameter.id for parameter in WALKED}
    assert walked >= {"classes.md", "classifying.md", "first-library.md", "nature.md", "sorting.md"}
