"""Which photos are looked at: lists of paths of any bytes, and what is left out."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import NAMES, refused
from test_walk import touch

from promptctl import commands
from promptctl.commands.gather import gathered, listed_in
from promptctl.data import walk as walking
from promptctl.data.exclusion import Exclusion
from promptctl.data.walk import every_file
from promptctl.errors import BadSetting, WrongOption
from promptctl.store.store import Store

TREE = ("a.png", "raw/1.png", "b/raw/2.png", "b/raw.png", "b/keep.tmp.png", "b/x.tmp.png", "2019/3.png", "b/2019/4.png")


@pytest.fixture
def learned(colours_bytes):
    Store().save("colours", colours_bytes, new=True)


@pytest.fixture
def tree(tmp_path):
    for name in TREE:
        touch(tmp_path / "in" / name)
    return tmp_path / "in"


def below(tree: Path, *patterns: str) -> list[str]:
    return [os.path.relpath(path, tree) for path in every_file([tree], exclusion=Exclusion.of(patterns))]


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        ((), sorted(TREE)),
        (("raw/",), ["2019/3.png", "a.png", "b/2019/4.png", "b/keep.tmp.png", "b/raw.png", "b/x.tmp.png"]),
        (("raw",), ["2019/3.png", "a.png", "b/2019/4.png", "b/keep.tmp.png", "b/raw.png", "b/x.tmp.png"]),
        (("/2019", "b/"), ["a.png", "raw/1.png"]),
        (("*.tmp.png", "!keep.tmp.png", "2019", "raw/"), ["a.png", "b/keep.tmp.png", "b/raw.png"]),
        (("b/**", "!b/raw.png"), ["2019/3.png", "a.png", "b/raw.png", "raw/1.png"]),
        (("b/", "!b/raw.png"), ["2019/3.png", "a.png", "raw/1.png"]),
        (
            ("b/**/", "!keep.tmp.png"),
            ["2019/3.png", "a.png", "b/keep.tmp.png", "b/raw.png", "b/x.tmp.png", "raw/1.png"],
        ),
        (("A.PNG",), sorted(TREE)),
    ],
)
def test_patterns_mean_what_they_mean_to_git(tree, patterns, left):
    assert sorted(below(tree, *patterns)) == left
    subprocess.run(["git", "init", "-q", tree], check=True)
    (tree / ".gitignore").write_text("\n".join(patterns))
    listed = ["git", "-C", tree, "ls-files", "--others", "--exclude-standard", "--exclude", ".gitignore"]
    assert sorted(subprocess.check_output(listed, text=True).split()) == left


def test_an_excluded_folder_is_not_entered(tree, monkeypatch):
    entered, own = [], walking._visible
    monkeypatch.setattr(walking, "_visible", lambda folder: entered.append(folder) or own(folder))
    below(tree, "raw/", "/b")
    assert entered == [str(tree), str(tree / "2019")]


def test_a_folder_that_is_named_is_entered_and_a_file_is_matched_as_it_is_written(tree, monkeypatch):
    assert below(tree / "raw", "raw/") == ["1.png"]
    monkeypatch.chdir(tree)
    files = ["a.png", "./b/raw/2.png", str(tree / "b" / "raw.png")]
    assert list(every_file(files, exclusion=Exclusion.of(["raw/"]))) == [files[0], files[2]]
    assert list(every_file(files, exclusion=Exclusion.of(["/a.png"]))) == files[1:]


@pytest.mark.parametrize("pattern", ["", "#recycle", "!", "a[", "[z-a]", "/", "\\"])
def test_a_pattern_that_says_nothing_is_refused(tree, pattern):
    with pytest.raises(BadSetting) as refusal:
        gathered([tree], exclude=["a.png", pattern])
    assert str(refusal.value) == f"exclude is {pattern!r}, a pattern as in a .gitignore was expected"


def test_what_is_left_out_is_said_where_nothing_is_left(cli, tree, learned):
    refused(
        cli("classify", tree, "--prompt", "colours", "--exclude", "*.png"),
        1,
        f"there is no file in {tree}, apart from what --exclude leaves out",
        "give photos, or folders that have some in them",
    )
    assert cli("classify", tree, "--prompt", "colours", "--exclude", "#x").code == 2


def listed(data: bytes, *, null: bool, monkeypatch) -> list[bytes]:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    return [os.fsencode(path) for path in listed_in(Path("-"), null=null)]


def test_a_list_keeps_every_byte(monkeypatch):
    assert listed(b"\0".join(NAMES), null=True, monkeypatch=monkeypatch) == NAMES
    on_lines = [name for name in NAMES if b"\n" not in name]
    assert listed(b"\r\n".join(on_lines) + b"\n\n", null=False, monkeypatch=monkeypatch) == on_lines
    assert listed(b"\xef\xbb\xbfa.png", null=False, monkeypatch=monkeypatch) == [b"a.png"]
    with pytest.raises(WrongOption, match="the list on stdin has a NUL between paths and no line end"):
        listed(b"a\0b", null=False, monkeypatch=monkeypatch)


def test_a_listed_file_that_is_gone_is_one_bad_photo_and_a_sidecar_is_counted(cli, photos, learned, tmp_path):
    (photos / "red" / "0.json").write_text("{}")
    names = ["red/0.png", "red/gone.png", "red/0.json", "blue", "red/0.png"]
    (tmp_path / "list.txt").write_text("\n".join(str(photos / name) for name in names))
    done = cli("classify", "--files-from", tmp_path / "list.txt", "--prompt", "colours", "--format", "jsonl")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["0.png", "gone.png", *(f"{i}.png" for i in range(6))]
    assert (done.code, rows[1]["reason"]) == (3, "no such file or directory")
    assert "passed over: 1 that is not a photo (1 .json)" in done.err


def test_a_list_that_is_not_there_and_nothing_at_all_are_refused(cli, learned, tmp_path):
    refused(
        cli("classify", "-p", "colours", "--files-from", tmp_path / "no"),
        1,
        f"{tmp_path / 'no'}: no such file or directory",
    )
    refused(
        cli("classify", "-p", "colours"),
        1,
        "there is nothing to classify",
        "give photos or folders, or a list with --files-from",
    )
    (tmp_path / "empty").touch()
    assert "there is no file in the list" in cli("classify", "-p", "colours", "--files-from", tmp_path / "empty").err


def test_any_name_goes_through_a_list_and_comes_back_byte_for_byte(photos, learned, answering, tmp_path):
    (tmp_path / "odd").mkdir()
    odd = sorted(os.fsencode(shutil.copy(photos / "red" / "0.png", tmp_path / "odd" / os.fsdecode(n))) for n in NAMES)
    command = [sys.executable, "-m", "promptctl", "classify", "-p", "colours", "--files-from", "-"]
    done = subprocess.run([*command, "-0", "-q"], input=b"\0".join(odd), capture_output=True, check=True)
    rows = [row.split(b"\t", 1) for row in done.stdout.removesuffix(b"\0").split(b"\0")]
    assert [path for _, path in rows] == odd
    assert {label for label, _ in rows} <= {b"red", b"green", b"blue"}
    lines = subprocess.run([*command, "-q"], input=odd[0], capture_output=True, check=True).stdout
    assert lines.count(b"\n") == 1 and lines.count(b"\t") == 1


def test_a_nul_that_ends_nothing_is_refused(cli, photos):
    done = cli("classify", photos, "-p", "colours", "-0")
    assert done.code == 2 and "nothing here ends in a NUL" in done.err


def test_lists_and_patterns_are_those_of_python_too(photos, learned, tmp_path):
    (tmp_path / "list").write_bytes(os.fsencode(photos))
    report = commands.classify(ref="colours", files_from=tmp_path / "list", null=True, exclude="blue/")
    assert len(list(report.items())) == 12
    with pytest.raises(BadSetting):
        commands.classify(photos, "colours", exclude=b"x")


def test_patterns_are_read_only_where_there_are_some(photos, learned, answering):
    probe = (
        "import sys; from promptctl import commands; "
        "list(commands.classify(sys.argv[1], 'colours', exclude={}).items()); print('pathspec' in sys.modules)"
    )
    for patterns, imported in (((), b"False"), (("x",), b"True")):
        done = subprocess.check_output([sys.executable, "-c", probe.format(patterns), photos])
        assert done.strip() == imported
