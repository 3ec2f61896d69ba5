"""Parquet and Arrow files and the folders of Hugging Face's `datasets`, written by that library and read without it."""

from __future__ import annotations

import io
import json
import os
import time

import pytest
from PIL import Image

from promptctl.data import unpacked
from promptctl.data.folder import ImageFolder
from promptctl.data.readers import open_table, parquet_file
from promptctl.data.readers.headings import USUAL, ColumnNames
from promptctl.errors import DatasetError, ExtraMissing, NoImages
from promptctl.remote import path_of

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

NAMES = ["emu", "ibis"]
PARTS = {"train": (0, 1, 2, 3), "test": (4, 5)}


def png(shade: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(data, "PNG")
    return data.getvalue()


PICTURES = [png(40 * i) for i in range(6)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Data sets as the library itself writes them."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    home = tmp_path_factory.mktemp("hub")
    features = datasets.Features({"photo": datasets.Image(), "kind": datasets.ClassLabel(names=NAMES)})
    cells = [{"path": f"{i}.png", "bytes": data} for i, data in enumerate(PICTURES)]
    whole = datasets.Dataset.from_dict({"photo": cells, "kind": [0, 1] * 3}, features=features)
    parts = datasets.DatasetDict({name: whole.select(rows) for name, rows in PARTS.items()})
    whole.save_to_disk(home / "saved", num_shards=2)
    parts.save_to_disk(home / "dict")
    (home / "hub" / "data").mkdir(parents=True)
    for name, part in parts.items():
        part.to_parquet(home / "hub" / "data" / f"{name}-00000-of-00001.parquet")
    whole.to_parquet(home / "one.parquet")
    for i, data in enumerate(PICTURES):
        (home / "outside" / f"{i}.png").parent.mkdir(exist_ok=True)
        (home / "outside" / f"{i}.png").write_bytes(data)
    paths = [str(home / "outside" / f"{i}.png") for i in range(6)]
    outside = datasets.Dataset.from_dict({"photo": paths, "kind": [0, 1] * 3}, features=features)
    outside.to_parquet(home / "paths.parquet")
    return home


def found(root, columns=USUAL):
    """(photo's content, label, split) of every image, which must be readable under its path."""
    images = ImageFolder.scan(root, columns).images
    return [(PICTURES.index(image.path.read_bytes()), image.label, image.split) for image in images]


@pytest.mark.parametrize("name", ["saved", "one.parquet", "paths.parquet", "saved/data-00001-of-00002.arrow"])
def test_a_data_set_is_read_wherever_its_photos_lie(hub, name):
    every = [(i, NAMES[i % 2], None) for i in range(6)]
    assert found(hub / name) == (every[3:] if name.endswith(".arrow") else every)


@pytest.mark.parametrize("name", ["dict", "hub"])
def test_the_parts_of_a_data_set_are_its_splits(hub, name):
    every = {(i, NAMES[i % 2], split) for split, rows in PARTS.items() for i in rows}
    assert set(found(hub / name)) == every
    inside = hub / name / ("test" if name == "dict" else "data/test-00000-of-00001.parquet")
    assert found(inside) == [(4, "emu", None), (5, "ibis", None)]


def test_what_load_dataset_keeps_and_what_an_older_one_saved_is_read_too(hub, tmp_path):
    """Without the features in the schema: they are in dataset_info.json then."""
    (tmp_path / "dataset_info.json").write_bytes((hub / "saved" / "dataset_info.json").read_bytes())
    for i, split in enumerate(("train", "test")):
        with pa.memory_map(str(hub / "saved" / f"data-0000{i}-of-00002.arrow")) as source:
            table = pa.ipc.open_stream(source).read_all().replace_schema_metadata(None)
        with pa.ipc.new_stream(str(tmp_path / f"birds-{split}.arrow"), table.schema) as writer:
            writer.write_table(table)
    (tmp_path / "cache-123.arrow").write_bytes(b"x")
    assert [split for _, _, split in found(tmp_path)] == ["test"] * 3 + ["train"] * 3
    assert {label for _, label, _ in found(tmp_path)} == set(NAMES)


def test_photos_are_unpacked_once_and_named_as_in_their_table(hub, cli):
    images = ImageFolder.scan(hub / "one.parquet").images
    assert [image.path.name for image in images] == [f"{i}.png" for i in range(6)]
    written = {image.path: image.path.stat().st_mtime_ns for image in images}
    again = ImageFolder.scan(hub / "saved").images
    assert {image.path: image.path.stat().st_mtime_ns for image in again} == written
    said = json.loads(cli("cache", "info", "--json").out)
    assert (said["unpacked"], said["unpacked_bytes"]) == (6, sum(map(len, PICTURES)))
    assert "6 photos unpacked in" in cli("cache", "info").out
    assert json.loads(cli("cache", "clear", "--json").out)["unpacked"] == 6
    assert (unpacked.count(), list(unpacked.home().iterdir())) == (0, [])


def test_one_photo_in_two_classes_is_two_files(tmp_path):
    rows = [{"bytes": PICTURES[0], "path": "a.png"}, {"bytes": PICTURES[0], "path": "a.png"}]
    pq.write_table(pa.table({"image": rows, "label": NAMES}), tmp_path / "t.parquet")
    images = ImageFolder.scan(tmp_path / "t.parquet").images
    assert [(image.path.name, image.label) for image in images] == [("a.png", "emu"), ("a (2).png", "ibis")]
    assert images[1].path.read_bytes() == PICTURES[0]


def test_room_is_made_by_what_nobody_used_for_a_day_and_never_by_more(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacked, "limit_from_environment", lambda: 4 * len(PICTURES[0]))
    store = unpacked.Unpacked(tmp_path / "t.parquet", tmp_path / "kept", 3 * 1000)
    first, second, third = (store.put(memoryview(bytes([i]) * 1000), f"{i}.png") for i in range(3))
    store.put(memoryview(bytes([0]) * 1000), "0.png")  # is there
    with pytest.raises(DatasetError) as refused:
        store.put(memoryview(b"x" * 1000), "x.png")
    assert "need more room than the 0 MB that unpacked photos may take" in str(refused.value)
    yesterday = time.time() - 25 * 3600
    for path in (first, second):
        os.utime(path, (yesterday, yesterday))
    again = unpacked.Unpacked(tmp_path / "t.parquet", tmp_path / "kept", 3 * 1000)
    again.put(memoryview(bytes([0]) * 1000), "0.png")  # in use from now on
    again.put(memoryview(b"x" * 1000), "x.png")
    assert [path.exists() for path in (first, second, third)] == [True, False, True]


def test_what_cannot_be_used_is_named_by_its_row(tmp_path):
    cells = [
        {"bytes": PICTURES[0], "path": "../../../etc/a:b*.png"},
        {"bytes": b"<html>no photo", "path": "x.png"},
        {"bytes": b"MZ\x90\0" + bytes(99), "path": "x.exe"},
        {"bytes": PICTURES[1], "path": "CON.png"},
        None,
        {"bytes": PICTURES[2], "path": None},
        {"bytes": PICTURES[3], "path": "y"},
    ]
    labels = pa.array([0, 0, 1, 1, 1, -1, 9])
    info = {"info": {"features": {"label": {"names": NAMES, "_type": "ClassLabel"}}}}
    table = pa.table({"image": cells, "label": labels}).replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, tmp_path / "t.parquet")
    folder = ImageFolder.scan(tmp_path / "t.parquet")
    assert [image.path.name for image in folder.images] == ["a_b.png", "t-3.png"]
    assert {image.path.parent.parent for image in folder.images} == {unpacked.home()}
    assert [(item.path.name, item.reason) for item in folder.skipped] == [
        ("t.parquet#1", "not an image"),
        ("t.parquet#2", "not an image"),
        ("t.parquet#4", "it has no photo"),
        ("t.parquet#5", "it has no class"),
        ("t.parquet#6", "no class has the number 9"),
    ]
    assert unpacked.count() == 2  # nothing else of a stranger's was written


def test_columns_of_classes_that_are_several_have_to_be_named(tmp_path):
    kinds = {name: {"names": NAMES, "_type": "ClassLabel"} for name in ("fine", "coarse")}
    info = json.dumps({"info": {"features": {"img": {"_type": "Image"}, **kinds}}})
    cells = [{"bytes": data, "path": None} for data in PICTURES[:2]]
    table = pa.table({"img": cells, "fine": [0, 1], "coarse": [1, 1]}).replace_schema_metadata({"huggingface": info})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DatasetError) as refused:
        ImageFolder.scan(tmp_path / "t.parquet")
    assert str(refused.value).endswith("t.parquet has 2 label columns: 'fine' and 'coarse'")
    assert refused.value.hint == "--label-column fine"
    assert [label for _, label, _ in found(tmp_path / "t.parquet", ColumnNames(label="coarse"))] == ["ibis", "ibis"]


def test_a_data_frame_with_paths_is_a_list_like_a_csv(tmp_path):
    for i, data in enumerate(PICTURES[:2]):
        (tmp_path / NAMES[i]).mkdir()
        (tmp_path / NAMES[i] / f"{i}.png").write_bytes(data)
    pq.write_table(pa.table({"id": ["0", "1"], "species": NAMES, "split": ["train", "test"]}), tmp_path / "l.parquet")
    assert found(tmp_path / "l.parquet") == [(0, "emu", "train"), (1, "ibis", "test")]
    (tmp_path / "l.parquet").rename(tmp_path / "metadata.parquet")
    assert found(tmp_path) == [(0, "emu", "train"), (1, "ibis", "test")]


def test_class_folders_beside_a_table_are_class_folders(tmp_path):
    for i, data in enumerate(PICTURES[:2]):
        (tmp_path / NAMES[i]).mkdir()
        (tmp_path / NAMES[i] / f"{i}.png").write_bytes(data)
    pq.write_table(pa.table({"path": ["x"], "label": ["y"]}), tmp_path / "predictions.parquet")
    assert found(tmp_path) == [(0, "emu", None), (1, "ibis", None)]


# --------------------------------------------------------------------------- what strangers may have made


def test_a_page_that_becomes_longer_than_is_read_is_refused_before(tmp_path, monkeypatch):
    cells = [{"bytes": bytes(300_000), "path": "x"}] * 4
    pq.write_table(pa.table({"image": cells, "label": NAMES * 2}), tmp_path / "t.parquet", compression="zstd")
    assert (tmp_path / "t.parquet").stat().st_size < 3_000
    monkeypatch.setattr(parquet_file, "LARGEST_PAGE", 200_000)
    with pytest.raises(DatasetError, match=r"a page of it takes 300,\d\d\d bytes, and at most 200,000 are read"):
        ImageFolder.scan(tmp_path / "t.parquet")
    monkeypatch.setattr(parquet_file, "LARGEST_PAGE", 400_000)  # one row at once, and nothing in it is a photo
    with pytest.raises(NoImages, match="not an image"):
        ImageFolder.scan(tmp_path / "t.parquet")


def test_one_value_in_every_row_is_not_read_for_ever(tmp_path, monkeypatch):
    monkeypatch.setenv(unpacked.LIMIT_VARIABLE, "1")
    many = pa.DictionaryArray.from_arrays(pa.array([0] * 5_000, pa.int32()), pa.array([bytes(300_000)]))
    how = {"compression": "zstd", "dictionary_pagesize_limit": 1 << 30, "store_schema": False}
    pq.write_table(pa.table({"image": many, "label": NAMES[:1] * 5_000}), tmp_path / "t.parquet", **how)
    with pytest.raises(DatasetError, match="need more room than the 1 MB"):
        ImageFolder.scan(tmp_path / "t.parquet")


def test_every_page_of_real_files_is_found_and_none_is_longer_than_it_says(tmp_path):
    """What pages say of themselves adds up to what the file says of its columns."""
    table = pa.table({"a": [os.urandom(5_000) for _ in range(300)], "b": list(range(300)), "c": ["x", "y"] * 150})
    for compression, version in (("none", "1.0"), ("snappy", "2.0"), ("zstd", "1.0")):
        pq.write_table(table, tmp_path / "t", compression=compression, data_page_version=version, data_page_size=50_000)
        data = memoryview((tmp_path / "t").read_bytes())
        metadata, footer = pq.ParquetFile(tmp_path / "t").metadata, parquet_file.footer_of(data)
        for i, name in enumerate(table.column_names):
            chunk = metadata.row_group(0).column(i)
            sizes = list(parquet_file.page_sizes(footer, data, {name}))
            assert 0 <= chunk.total_uncompressed_size - sum(sizes) < 100 * len(sizes), (compression, name)
            assert len(sizes) > 1 or name == "b"


def test_a_footer_is_looked_at_before_pyarrow_sees_it(tmp_path):
    pq.write_table(pa.table({"image": [b"photo"] * 9}), tmp_path / "t")
    data = (tmp_path / "t").read_bytes()
    whole = io.BytesIO(data)
    parquet_file.check_footer(whole)
    assert whole.tell() == 0, "whoever reads it next begins at the start"
    length = int.from_bytes(data[-8:-4], "little")
    broken = data[: -8 - length] + b"\x19\xfc" + data[-6 - length :]  # a list longer than all of it
    for bad in (data[:-1], data[:6], broken):
        with pytest.raises((ValueError, LookupError)):
            parquet_file.check_footer(io.BytesIO(bad))


def test_compressed_batches_are_refused_and_plain_ones_are_not(tmp_path):
    batch = pa.record_batch({"image": [b"x" * 100] * 3, "label": pa.array(["a", "b", "a"]).dictionary_encode()})
    for codec in (None, "lz4", "zstd"):
        how = pa.ipc.IpcWriteOptions(compression=codec)
        for make in (pa.ipc.new_stream, pa.ipc.new_file):
            with make(str(tmp_path / "t.arrow"), batch.schema, options=how) as out:
                out.write_batch(batch)
            with pytest.raises((DatasetError, NoImages)) as refused:
                ImageFolder.scan(tmp_path / "t.arrow")
            assert ("its batches are compressed" in str(refused.value)) == (codec is not None), (codec, make)


def test_damaged_tables_end_in_a_sentence(hub, tmp_path):
    for name in ("one.parquet", "saved/data-00000-of-00002.arrow"):
        data = (hub / name).read_bytes()
        path = tmp_path / f"t{(hub / name).suffix}"
        for seed in range(120):
            harmed = bytearray(data)
            for k in range(1 + seed % 4):
                harmed[(seed * 7919 + k * 104729) % len(data)] ^= 1 << (seed + k) % 8
            path.write_bytes(harmed[: len(data) - (seed % 5 == 0) * (seed * 13 % len(data))])
            try:
                ImageFolder.scan(path)
            except (DatasetError, NoImages) as error:
                assert error.hint, seed


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("t.parquet", b"", "t.parquet is empty"),
        ("t.arrow", b"\0" * 40, "is not a table that can be read"),
        ("t.parquet", b"PAR1 and no more PAR1", "is not a table that can be read"),
        ("state.json", b'{"_data_files": [{"filename": "../../x.arrow"}]}', "names a file that is not in it: ../../x"),
        ("state.json", b'{"_data_files": [{"filename": "x.arrow"}]}', "lacks x.arrow, which its state.json names"),
        ("dataset_dict.json", b'{"splits": ["/etc"]}', "names a file that is not in it: /etc"),
        ("dataset_dict.json", b"[" * 100_000, "cannot be read"),
    ],
)
def test_what_is_no_table_says_so(tmp_path, name, data, sentence):
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DatasetError) as refused:
        ImageFolder.scan(tmp_path / name if name.startswith("t.") else tmp_path)
    assert sentence in str(refused.value) and refused.value.hint


def test_a_table_elsewhere_is_fetched_whole_up_to_a_bound(hub, monkeypatch):
    fsspec = pytest.importorskip("fsspec")
    files = fsspec.filesystem("memory")
    for name in ("hub/data/train-00000-of-00001.parquet", "hub/data/test-00000-of-00001.parquet"):
        files.pipe(f"/{name}", (hub / name).read_bytes())
    assert set(found(path_of("memory://hub"))) == set(found(hub / "hub"))
    monkeypatch.setattr(open_table, "LARGEST_FETCHED", 100)
    with pytest.raises(DatasetError, match="is too large: of tables elsewhere at most 0 MB are fetched"):
        ImageFolder.scan(path_of("memory://hub/data/test-00000-of-00001.parquet"))


def test_too_many_rows_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(open_table, "MOST_ROWS", 2)
    pq.write_table(pa.table({"path": ["a"] * 3, "label": NAMES[:1] * 3}), tmp_path / "t.parquet")
    with pytest.raises(DatasetError, match="has 3 rows or more, and at most 2 are read"):
        ImageFolder.scan(tmp_path / "t.parquet")


def test_without_pyarrow_one_sentence_says_what_to_install(hub, monkeypatch):
    monkeypatch.setattr("promptctl.data.readers.tables.find_spec", lambda name: None)
    for name in ("one.parquet", "saved"):
        with pytest.raises(ExtraMissing, match="needs the library pyarrow") as refused:
            ImageFolder.scan(hub / name)
        assert refused.value.hint == "pip install 'promptctl[parquet]'"


def test_a_data_set_is_learned_and_measured(cli, tmp_path, tiny):
    from conftest import paint

    cells, labels = [], []
    for path in sorted(paint(tmp_path / "photos", images=4).rglob("*.png")):
        cells.append({"bytes": path.read_bytes(), "path": path.name})
        labels.append(path.parent.name)
    pq.write_table(pa.table({"image": cells, "species": labels}), tmp_path / "train.parquet")
    table = ("--label-column", "species")
    done = cli("learn", tmp_path / "train.parquet", "--name", "new", "--model", tiny, "--epochs", 1, *table)
    assert done.code == 0, done.err
    measured = json.loads(cli("evaluate", "new", tmp_path / "train.parquet", *table, "--json").out)
    assert measured["images"] == len(cells)
