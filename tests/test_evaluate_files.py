"""Files of an evaluation: they say what the report says, and replace nothing unasked."""

from __future__ import annotations

import csv
import json
import sys

import pytest

import promptctl
from promptctl.cells import unescape
from promptctl.errors import ExtraMissing, WrongOption


@pytest.fixture
def learned(colours_bytes):
    return promptctl.Store().save("colours", colours_bytes, new=True)


@pytest.fixture
def swapped(photos):
    """The photos of two colours under each other's name, so that there are mistakes."""
    for name, other in (("red", "x"), ("blue", "red"), ("x", "blue")):
        (photos / name).rename(photos / other)
    return photos


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: unescape(cell) for key, cell in row.items()} for row in csv.DictReader(file)]


def test_every_photo_its_mistakes_and_the_matrix(cli, swapped, learned, tmp_path):
    files = {kind: tmp_path / f"{kind}.csv" for kind in ("predictions", "mistakes", "confusion")}
    options = [word for kind, path in files.items() for word in (f"--{kind}", path)]
    done = cli("evaluate", "colours", swapped, *options, "--json")
    report = json.loads(done.out)
    assert report["written"] == {kind: str(path) for kind, path in files.items()}
    said, wrong, matrix = (rows_of(path) for path in files.values())
    assert len(said) == report["images"] == 18
    right = [row["label"] == row["answer"] for row in said]
    assert sum(right) / 18 == pytest.approx(report["learned"]["top1"])
    by_hand = [row["label"] == row["zero_shot"] for row in said]
    assert sum(by_hand) / 18 == pytest.approx(report["zero_shot"]["top1"])
    assert all(row["answer"] == row["one_by_one"] and row["together"] for row in said)
    assert 0 < len(wrong) == 18 - sum(right)
    assert {row["sha256"] for row in wrong} == {
        row["sha256"] for row, good in zip(said, right, strict=True) if not good
    }
    sure = [float(row["probability"]) for row in wrong]
    assert sure == sorted(sure, reverse=True)
    assert list(matrix[0]) == ["label", "blue", "green", "red"]
    counted = {(row["label"], given): int(row[given]) for row in matrix for given in ("blue", "green", "red")}
    for pair in report["confused"]:
        assert counted[pair["label"], pair["given_label"]] == pair["images"]
    assert sum(counted.values()) == 18


def test_with_together_the_answer_is_theirs(swapped, learned, tmp_path):
    said = {}
    for together in (False, True):
        path = tmp_path / f"{together}.csv"
        promptctl.evaluate("colours", swapped, together=together, predictions=path)
        said[together] = rows_of(path)
    for alone, as_one in zip(said[False], said[True], strict=True):
        assert as_one["answer"] == as_one["together"] == alone["together"]
        assert as_one["probability"] == as_one["together_probability"] == alone["together_probability"]
        assert alone["answer"] == alone["one_by_one"] == as_one["one_by_one"]
    assert any(row["probability"] != row["one_by_one_probability"] for row in said[True])


def test_mistakes_are_a_list_that_is_measured_on_again(cli, swapped, learned, tmp_path, monkeypatch):
    monkeypatch.chdir(swapped.parent)
    (tmp_path / "elsewhere").mkdir()
    mistakes = tmp_path / "elsewhere" / "mistakes.csv"
    assert cli("evaluate", "colours", swapped.name, "--mistakes", mistakes).code == 0
    again = json.loads(cli("evaluate", "colours", mistakes, "--json").out)
    assert (again["images"], again["learned"]["top1"]) == (len(rows_of(mistakes)), 0)


def test_a_spreadsheet_computes_nothing_of_a_class(cli, photos, tiny, tmp_path):
    (photos / "red").rename(photos / "=1+1")
    assert cli("learn", photos, "--name", "c", "--shots", 2, "--epochs", 1, "--model", tiny).code == 0
    for option in ("predictions", "confusion"):
        assert cli("evaluate", "c", photos, f"--{option}", tmp_path / f"{option}.csv").code == 0
        text = (tmp_path / f"{option}.csv").read_text("utf-8")
        assert "'=1+1," in text and ",=1+1" not in text and "\n=1+1" not in text
        assert "=1+1" in {row["label"] for row in rows_of(tmp_path / f"{option}.csv")}


def test_a_parquet_file_has_the_same_columns(photos, learned, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    names = {suffix: tmp_path / f"said{suffix}" for suffix in (".csv", ".parquet")}
    for path in names.values():
        promptctl.evaluate("colours", photos, predictions=path)
    as_csv, table = rows_of(names[".csv"]), parquet.read_table(names[".parquet"]).to_pylist()
    for one, other in zip(as_csv, table, strict=True):
        assert list(one) == list(other)
        assert float(one["probability"]) == other["probability"] and one["answer"] == other["answer"]


def test_nothing_is_measured_for_a_file_that_cannot_be_written(cli, photos, learned, tmp_path, home, monkeypatch):
    taken = tmp_path / "taken.csv"
    taken.write_text("mine")
    for options, sentence, hint in (
        (["--predictions", taken], f"{taken} cannot be written: it already exists", "--force replaces it"),
        (
            ["--predictions", tmp_path / "x.xlsx"],
            f"--predictions writes a file that ends in .csv or .parquet, {tmp_path / 'x.xlsx'} does not",
            f"--predictions {tmp_path / 'x.csv'}",
        ),
        (
            ["--confusion", tmp_path / "a.csv", "--mistakes", tmp_path / "a.csv"],
            f"two of the files to write are {tmp_path / 'a.csv'}",
            "give each a name of its own",
        ),
        (
            ["--mistakes", home / "contexts" / "a.csv"],
            f"{home / 'contexts' / 'a.csv'} cannot be written: it is inside the store",
            "name a file elsewhere",
        ),
    ):
        done = cli("evaluate", "colours", photos, *options)
        assert (done.code, done.out, done.err) == (1, "", f"error: {sentence}\nhint:  {hint}\n")
    assert taken.read_text() == "mine"
    assert cli("evaluate", "colours", photos, "--predictions", taken, "--force").code == 0
    assert taken.read_text("utf-8").startswith("path,label,answer,")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("promptctl.commands.evaluate_files.find_spec", lambda name: None)
    with pytest.raises(ExtraMissing, match="needs the library pyarrow"):
        promptctl.evaluate("colours", photos, predictions=tmp_path / "x.parquet")
    with pytest.raises(WrongOption):
        promptctl.evaluate("colours", photos, confusion=tmp_path / "x.parquet")


def test_no_list_that_is_read_is_replaced(cli, photos, learned, tmp_path):
    labels, names, link = tmp_path / "labels.csv", tmp_path / "names.csv", tmp_path / "link.csv"
    labels.write_text("path,label\n" + "".join(f"{file},{file.parent.name}\n" for file in photos.glob("*/*.png")))
    names.write_text("folder,name\nred,red\ngreen,green\nblue,blue\n")
    link.symlink_to(labels)
    before = labels.read_text(), names.read_text()
    for out in (labels, names, link):
        done = cli("evaluate", "colours", labels, "--classes", names, "--mistakes", out, "--force")
        assert (done.code, done.err) == (
            1,
            f"error: {out} cannot be written: it is read here, and what stands in it would be lost\n"
            "hint:  name another file\n",
        )
    assert (labels.read_text(), names.read_text()) == before


def test_the_page_is_written_with_the_command_that_was_typed(cli, swapped, learned, tmp_path):
    out = tmp_path / "page.html"
    done = cli("evaluate", "colours", swapped, "--report", out, "--json")
    assert json.loads(done.out)["written"] == {"report": str(out)}
    page = out.read_text("utf-8")
    assert page.lstrip().startswith("<!doctype html>") and "--report" in page and "colours@1" in page
    assert cli("evaluate", "colours", swapped, "--report", out).code == 1
    done = cli("evaluate", "colours", swapped, "--report", tmp_path / "page.pdf")
    assert f"--report writes a file that ends in .html or .htm, {tmp_path / 'page.pdf'} does not" in done.err
    assert promptctl.evaluate("colours", swapped, report=out, force=True).written == {"report": str(out)}
