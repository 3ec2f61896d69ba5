"""Image features in a file, for other programs."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from conftest import copy_into_splits, full_disk
from PIL import Image
from test_cli import refused

from promptctl.clip.backbone import Backbone
from promptctl.commands.encode import encode
from promptctl.errors import ExportFailed


@pytest.fixture(autouse=True)
def on_tiny(monkeypatch, tiny):
    monkeypatch.setenv("PROMPTCTL_MODEL", tiny)


def test_features_are_open_clips_with_path_hash_and_backbone(cli, photos, tiny, tmp_path):
    out = tmp_path / "f.npz"
    outcome = cli("encode", photos / "red", photos / "blue" / "0.png", out)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"the features of 7 images are in {out} (")
    assert outcome.out.endswith(f": 32 numbers each, from {tiny}\n")
    with np.load(out, allow_pickle=False) as file:
        found = dict(file)
    assert [*found] == ["features", "paths", "sha256", "backbone", "fingerprint"]
    paths = [photos / "red" / f"{i}.png" for i in range(6)] + [photos / "blue" / "0.png"]
    assert found["paths"].tolist() == list(map(str, paths))
    assert found["sha256"].tolist() == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert (str(found["backbone"]), str(found["fingerprint"])) == (tiny, Backbone(tiny, "cpu").id.fingerprint)
    model, _, preprocess = open_clip.create_model_and_transforms(tiny)
    with torch.no_grad():
        pixels = torch.stack([preprocess(Image.open(path)) for path in paths])
        expected = torch.nn.functional.normalize(model.eval().encode_image(pixels), dim=-1).numpy()
    assert found["features"].dtype == np.float32
    np.testing.assert_allclose(found["features"], expected, atol=1e-5)


def test_the_same_photos_give_the_same_file(photos, tiny, tmp_path):
    for name in ("a.npz", "b.npz"):
        encode(photos, tmp_path / name, model=tiny)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_labels_and_splits_are_those_learn_reads(cli, photos, tmp_path):
    folder = copy_into_splits(photos, tmp_path / "set")
    outcome = cli("encode", folder, tmp_path / "f.npz", "--labels", "--json")
    assert json.loads(outcome.out)["classes"] == 3
    found = np.load(tmp_path / "f.npz")
    for path, label, split in zip(found["paths"], found["labels"], found["splits"], strict=True):
        assert Path(path).parts[-3:-1] == (split, label)
    assert sorted(set(found["splits"].tolist())) == ["test", "train"]


def test_labels_of_a_list_and_of_photos_without_a_split(cli, photos, tmp_path):
    (tmp_path / "list.csv").write_text("path,label\nphotos/red/1.png,warm\nphotos/blue/2.png,cold\n")
    assert cli("encode", tmp_path / "list.csv", tmp_path / "f.npz", "--labels").code == 0
    found = np.load(tmp_path / "f.npz")
    assert (found["labels"].tolist(), found["splits"].tolist()) == (["warm", "cold"], ["", ""])


def test_a_parquet_file_has_the_same_as_columns(cli, photos, tiny, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("f.npz", "f.parquet"):
        assert cli("encode", photos, tmp_path / name, "--labels").code == 0
    arrays, table = np.load(tmp_path / "f.npz"), parquet.read_table(tmp_path / "f.parquet")
    assert table.column_names == ["path", "sha256", "label", "split", "features"]
    np.testing.assert_array_equal(np.array(table["features"].to_pylist(), np.float32), arrays["features"])
    for column, array in (("path", "paths"), ("sha256", "sha256"), ("label", "labels")):
        assert table[column].to_pylist() == arrays[array].tolist()
    assert table.schema.metadata[b"backbone"].decode() == tiny
    assert table.schema.metadata[b"fingerprint"].decode() == str(arrays["fingerprint"])


def test_a_parquet_file_needs_its_library(cli, photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused(
        cli("encode", photos, tmp_path / "f.parquet"),
        1,
        "a .parquet file needs the library pyarrow, which is not installed",
        "pip install 'promptctl[parquet]'",
    )


def test_what_cannot_be_read_is_named_and_the_rest_is_written(cli, photos, tmp_path):
    (photos / "red" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (photos / "red" / "notes.txt").write_text("a note")
    outcome = cli("encode", photos / "red", tmp_path / "f.npz")
    assert outcome.code == 3
    assert len(np.load(tmp_path / "f.npz")["paths"]) == 5
    note, warning, line = outcome.err.splitlines()
    assert (note, warning) == ("passed over: 1 that is not a photo (1 .txt)", "warning: 1 skipped:")
    assert line.startswith(f"  {photos / 'red' / '0.png'}: ")


def test_nothing_is_written_where_nothing_could_be_read(cli, tmp_path):
    (tmp_path / "x.jpg").write_text("no photo")
    outcome = cli("encode", tmp_path / "x.jpg", tmp_path / "f.npz")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.splitlines()[-1] == "error: none of these could be read as an image"
    assert not (tmp_path / "f.npz").exists()


def test_a_file_of_features_is_replaced_only_when_asked_and_ends_as_it_should(cli, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.npz").write_text("precious")
    refused(cli("encode", photos, "f.npz"), 1, "f.npz cannot be written: it already exists", "--force replaces it")
    assert (tmp_path / "f.npz").read_text() == "precious"
    assert cli("encode", photos, "f.npz", "--force").code == 0
    wanted = "a file of features ends in .npz or .parquet, 2.png does not"
    refused(cli("encode", "photos/red/1.png", "2.png"), 1, wanted, "promptctl encode PHOTOS 2.npz")
    wanted = "--labels takes one folder or list of labelled photos"
    refused(cli("encode", "photos", "b", "g.npz", "--labels"), 1, wanted, "leave out --labels, or give one")
    refused(cli("encode", "nowhere", "g.npz"), 1, "there is no file or folder nowhere", "ls .")
    refused(cli("encode", "photos", "no/g.npz"), 1, "no/g.npz cannot be written: there is no folder no", "mkdir -p no")
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["f.npz"]


def test_a_full_disk_leaves_no_half_a_file(photos, tiny, tmp_path):
    encode(photos, tmp_path / "f.npz", model=tiny)
    before = (tmp_path / "f.npz").read_bytes()
    with full_disk(), pytest.raises(Exception, match="cannot be written"):
        encode(photos, tmp_path / "f.npz", model=tiny, force=True)
    assert (tmp_path / "f.npz").read_bytes() == before
    assert [path for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_no_features_are_written_into_the_store(cli, photos, home):
    (home / "contexts" / "birds").mkdir(parents=True)
    for out in (home / "contexts" / "birds" / "9.npz", home / "trash" / ".." / "contexts" / "f.npz"):
        (home / "trash").mkdir(exist_ok=True)
        sentence = f"{out} cannot be written: it is inside the store"
        refused(cli("encode", photos, out, "--force"), 1, sentence, "name a file elsewhere")


def test_one_class_is_one_class(cli, photos, tmp_path):
    for name in ("blue", "green"):
        shutil.rmtree(photos / name)
    assert " of 6 images of 1 class are in " in cli("encode", photos, tmp_path / "f.npz", "--labels").out


def test_a_file_that_came_meanwhile_is_not_replaced(photos, tiny, tmp_path):
    out = tmp_path / "features.npz"
    with pytest.raises(ExportFailed):
        encode(photos, out, model=tiny, on_progress=lambda *_: out.write_text("mine"))
    assert out.read_text() == "mine"


def test_what_a_list_names_is_meant_to_be_a_photo(photos, tiny, tmp_path):
    (photos / "README").write_text("no picture at all")
    rows = [f"{path.relative_to(photos)},{path.parent.name}" for path in sorted(photos.glob("*/0.png"))]
    (photos / "list.csv").write_text("\n".join(["path,label", *rows, "README,red"]))
    report = encode(photos / "list.csv", tmp_path / "x.npz", labels=True, model=tiny)
    assert (report.images, [item.path.name for item in report.skipped], report.passed_over) == (3, ["README"], {})
