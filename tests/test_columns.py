"""Columns that somebody names reach every command that reads a list."""

from __future__ import annotations

import json

import pytest

from promptctl.store.store import Store

LEARN = ("learn", "LIST", "--name", "new", "--model", "TINY", "--epochs", 1)
COMMANDS = {
    "learn": LEARN,
    "learn more": ("learn", "LIST", "--name", "colours"),
    "evaluate": ("evaluate", "colours", "LIST"),
    "evaluate several": ("evaluate", "colours", "LIST", "LIST"),
    "compare": ("compare", "LIST", "--model", "TINY", "--shots", 1),
    "compare tasks": ("compare", "LIST", "--model", "TINY", "--tasks", 2),
    "encode": ("encode", "LIST", "out.npz", "--labels", "--model", "TINY"),
    "class split": ("class", "split", "colours", "red", "--from", "LIST"),
    "relabel": ("relabel", "colours", "LIST"),
}


@pytest.fixture
def ids(photos):
    """A list as somebody's camera program writes it, and photos in folders that say nothing."""
    lines = ["Specimen no;Determined as;Part;Label"]
    for i, path in enumerate(sorted(photos.rglob("*.png"))):
        place = photos.parent / "scans" / f"box {i % 3}" / f"{i:04x}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
        lines.append(f"{i:04x};{path.parent.name};{'test' if i % 4 == 0 else 'train'};drawer {i}")
    list_of_ids = photos.parent / "collection.csv"
    list_of_ids.write_text("\n".join(lines), "utf-8")
    return list_of_ids


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_reads_a_list_takes_the_names_of_its_columns(command, cli, ids, tiny, colours_bytes):
    Store().save("colours", colours_bytes, new=True)
    words = [{"LIST": ids, "TINY": tiny}.get(word, word) for word in COMMANDS[command]]
    for option in ("--path-column", "--label-column", *([] if command == "relabel" else ["--split-column"])):
        done = cli(*words, option, "Determined by")
        assert done.code == 1 and f"{ids} has no column 'Determined by': its columns are 'Specimen no'" in done.err
        assert "hint: " in done.err and f"{option} 'Determined as'" in done.err


def test_paths_are_no_classes_because_one_column_is_given_twice(cli, ids, tiny):
    columns = ("--path-column", "Specimen no", "--label-column", "Specimen no")
    done = cli(*[{"LIST": ids, "TINY": tiny}.get(word, word) for word in LEARN], *columns)
    assert (done.code, "is to hold paths and something else" in done.err) == (1, True), done.err


def test_a_list_of_ids_with_columns_of_any_name_is_learned_and_measured(cli, ids, tiny):
    columns = ("--path-column", "specimen no", "--label-column", "Determined as", "--split-column", "Part")
    done = cli(*[{"LIST": ids, "TINY": tiny}.get(word, word) for word in LEARN], *columns)
    assert done.code == 0, done.err
    found = json.loads(cli("evaluate", "new", ids, *columns, "--json").out)
    assert (found["where"], found["skipped"]) == (f"{ids} (test)", [])
    assert found["images"] == sum(";test;" in line for line in ids.read_text("utf-8").splitlines())
